"""The average of what is trained, and the network that it is put into."""

import pytest
import torch
from torch import nn

from flowmap.training.ema import Ema


def trained_a_little(network: nn.Linear, average: Ema) -> list[torch.Tensor]:
    """The weights after each of three updates."""
    seen = []
    for _ in range(3):
        with torch.no_grad():
            network.weight.add_(1.0)
        average.update(network)
        seen.append(network.weight.detach().clone())
    return seen


def test_early_updates_count_for_more() -> None:
    network = nn.Linear(2, 2)
    start = network.weight.detach().clone()
    average = Ema(network, 0.9)
    seen, expected = trained_a_little(network, average), start
    for num, weights in enumerate(seen):
        expected = expected.lerp(weights, 1 - min(0.9, (1 + num) / (10 + num)))
    torch.testing.assert_close(average.weights["weight"], expected)


def test_it_is_put_into_the_network_and_taken_out_again() -> None:
    network = nn.Linear(2, 2)
    average = Ema(network, 0.9)
    trained_a_little(network, average)
    own = network.weight.detach().clone()
    with average.applied(network):
        assert torch.equal(network.weight, average.weights["weight"])
    assert torch.equal(network.weight, own)
    with pytest.raises(KeyError), average.applied(network):
        raise KeyError
    assert torch.equal(network.weight, own)
    copied = average.network_of(network)
    assert torch.equal(copied.weight, average.weights["weight"])  # type: ignore[arg-type]
    assert not any(each.requires_grad for each in copied.parameters())
    assert torch.equal(network.weight, own)


def test_only_what_is_trained_is_averaged_and_it_comes_back() -> None:
    network = nn.Sequential(nn.Linear(2, 2).requires_grad_(False), nn.Linear(2, 2))
    average = Ema(network, 0.5)
    assert set(average.weights) == {"1.weight", "1.bias"}
    with torch.no_grad():
        network[1].weight.zero_()  # type: ignore[operator]
    average.update(network)
    other = Ema(network, 0.5)
    other.load(average.state())
    assert other.num_updates == 1
    assert torch.equal(other.weights["1.weight"], average.weights["1.weight"])
