"""The transformer over patches: what its numbers are, what it can be differentiated by, what it refuses."""

import math
from typing import Any

import pytest
import torch
from torch.func import jvp

from flowmap.base_training.sizes import model_facts, with_sizes
from flowmap.data.facts import DataFacts
from flowmap.errors import ConfigError
from flowmap.maps import mean_flow_loss
from flowmap.models import DitFacts, MlpFacts
from flowmap.models.dit import DiT
from flowmap.settings import BaseTraining

FACTS = DitFacts(shape=(3, 8, 12), prompts=("a", "b"), width=64, depth=2, max_frequency=3.0, patch=4)


def network(facts: DitFacts = FACTS) -> DiT:
    torch.manual_seed(0)
    made = facts.network()
    assert isinstance(made, DiT)
    for parameter in made.parameters():  # what starts at zero lets nothing through
        torch.nn.init.normal_(parameter, std=0.1)
    return made


def test_patches_are_cut_and_laid_where_they_were() -> None:
    net, x = network(), torch.arange(2 * 3 * 8 * 12.0).view(2, 3, 8, 12)
    patches = net._patches(x)
    assert patches.shape == (2, 6, 48)
    assert torch.equal(patches[1, 5], x[1, :, 4:8, 8:12].flatten())
    assert torch.equal(net._image(patches, x.shape), x)


def test_every_patch_is_told_of_every_other_and_of_its_place() -> None:
    net, t = network(), torch.full((1,), 0.7)
    condition = {"prompt": torch.tensor([1])}
    x = torch.randn(1, 3, 8, 12, generator=torch.manual_seed(1))
    moved = torch.roll(x, (4, 4), (2, 3))
    far = x.clone()
    far[..., 0, 0] += 1.0
    plain, rolled, other = (net(each, t, t / 2, condition) for each in (x, moved, far))
    assert (other - plain)[..., 4:, 8:].abs().min() > 0
    assert not torch.allclose(torch.roll(plain, (4, 4), (2, 3)), rolled, atol=1e-3)


def test_it_starts_at_zero_and_learns() -> None:
    torch.manual_seed(0)
    net, x = FACTS.network(), torch.randn(16, 3, 8, 12)
    condition = {"prompt": torch.arange(16) % 2}
    t = torch.rand(16)
    assert not net(x, t, t / 2, condition).any()
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    errors = []
    for _ in range(60):
        loss, told = mean_flow_loss(net, x, condition, generator=torch.manual_seed(3))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(float(told["error"]))
    assert errors[-1] < 0.7 * errors[0]


def test_the_derivative_along_the_path_is_the_difference_quotient() -> None:
    net = network().double()
    x, direction = (torch.randn(4, 3, 8, 12, dtype=torch.double) for _ in range(2))
    t, condition = torch.linspace(0.4, 0.8, 4).double(), {"prompt": torch.arange(4) % 2}
    one, none = torch.ones_like(t), torch.zeros_like(t)

    def u(x: torch.Tensor, t: torch.Tensor, r: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = net(x, t, r, condition)
        return out

    slope = jvp(u, (x, t, t / 2), (direction, one, none))[1]
    step = 1e-6
    quotient = (u(x + step * direction, t + step, t / 2) - u(x - step * direction, t - step, t / 2)) / (
        2 * step
    )
    torch.testing.assert_close(slope, quotient, atol=1e-7, rtol=1e-5)


def test_its_size_is_what_a_count_says() -> None:
    assert FACTS.size().parameters == sum(each.numel() for each in FACTS.network().parameters())
    assert FACTS.size().state == math.prod(FACTS.shape)


def data_of(shape: tuple[int, ...]) -> DataFacts:
    known: dict[str, Any] = {"modality": "images", "shape": shape, "prompts": ("a", "b")}
    return DataFacts.model_construct(**known)


def test_a_patch_asks_for_it_and_none_for_the_mlp() -> None:
    data, section = data_of((3, 8, 12)), BaseTraining(patch=4)
    sized = with_sizes(section, "images", data.shape, 100)
    assert model_facts(sized, data) == DitFacts(
        shape=(3, 8, 12), prompts=("a", "b"), width=128, depth=4, max_frequency=3.0, patch=4
    )
    plain = with_sizes(BaseTraining(), "images", data.shape, 100)
    assert isinstance(model_facts(plain, data), MlpFacts)


@pytest.mark.parametrize(
    ("shape", "section", "says"),
    [
        ((1, 14, 14), {"patch": 4}, "patches of 4 x 4 pixels do not divide data of shape 1 x 14 x 14"),
        ((2,), {"patch": 2}, "patches of 2 x 2 pixels do not divide data of shape 2"),
        ((1, 8, 8), {"patch": 2, "width": 100}, "width 100 is no multiple of 32"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    shape: tuple[int, ...], section: dict[str, Any], says: str
) -> None:
    sized = with_sizes(BaseTraining(**{"width": 64, **section}), "images", (1, 8, 8), 100)
    with pytest.raises(ConfigError, match=f"base_training.patch: {says}"):
        model_facts(sized, data_of(shape))
