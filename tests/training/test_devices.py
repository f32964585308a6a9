"""That training keeps to its device, on machines without a GPU: tensors that know their device and hold no
numbers.

What DeepSpeed and NCCL do on a GPU is not shown by this.
"""

from collections.abc import Iterator

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from flowmap.asfmc import EndpointAnchor, ExactLocalAnchor, Kernel, LocalAnchor, roll_out
from flowmap.grpo.objective import transition_loss
from flowmap.maps import TwoTimeMap
from flowmap.maps.objectives import flow_matching_loss, mean_flow_loss
from flowmap.models.modulated_mlp import ModulatedMLP
from flowmap.rewards import Samples
from flowmap.rewards.mmd import MmdReward
from flowmap.rewards.preference import PreferenceNetwork, PreferenceReward

SHAPE, NUM_PROMPTS, MEMBERS = (1, 8, 8), 3, 4
GRID = (1.0, 0.5, 0.05, 0.0)
GPU = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def _without_numbers() -> Iterator[None]:
    with FakeTensorMode():
        yield


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def network() -> ModulatedMLP:
    with GPU:
        return ModulatedMLP(SHAPE, NUM_PROMPTS, 32, 2, 3.0)


def test_a_tensor_on_another_device_would_be_noticed() -> None:
    with pytest.raises(RuntimeError, match="same device"):
        network()(
            torch.zeros(2, *SHAPE),
            *torch.zeros(2, 2, device=GPU),
            {"prompt": torch.zeros(2, dtype=torch.long)},
        )


@pytest.mark.parametrize("kernel", [EndpointAnchor(), LocalAnchor(), ExactLocalAnchor(0.05)])
def test_rollout_and_objective_stay_on_the_gpu(kernel: Kernel) -> None:
    prompts = ("a", "b", "c")
    members = {"prompt": torch.zeros(2 * MEMBERS, dtype=torch.long, device=GPU)}
    noise = torch.randn(len(GRID) - 1, 2 * MEMBERS, *SHAPE, generator=generator()).to(GPU)
    policy = TwoTimeMap(network())
    drawn = roll_out(policy, kernel, members, GRID, noise)
    with GPU:
        preference = PreferenceNetwork(SHAPE, NUM_PROMPTS).eval()
    samples = Samples(drawn.x_0.unflatten(0, (2, MEMBERS)), prompts[:2])
    reward = PreferenceReward(preference, prompts, 0.0).score(samples)
    advantage = (reward - reward.mean(1, keepdim=True)).flatten()
    at = drawn.transitions[0]
    new = kernel.step(policy, at.x_t, at.t, at.r, members)
    share = torch.ones_like(advantage)
    loss, metrics = transition_loss(
        new, at.old, at, advantage, share, clip=0.1, kl_weight=1.0, ratio_norm=True
    )
    assert {value.device for value in (loss, reward, *metrics.values())} == {GPU}


def test_the_groupwise_reward_stays_on_the_gpu() -> None:
    among = MmdReward({prompt: torch.zeros(5, *SHAPE, device=GPU) for prompt in ("a", "b")})
    samples = Samples(torch.zeros(2, MEMBERS, *SHAPE, device=GPU), ("a", "b"))
    assert among.score(samples).device == GPU


@pytest.mark.parametrize("is_map", [True, False])
def test_base_training_stays_on_the_gpu(is_map: bool) -> None:
    model, x = network(), torch.zeros(6, *SHAPE, device=GPU)
    condition = {"prompt": torch.zeros(6, dtype=torch.long, device=GPU)}
    if is_map:
        loss, metrics = mean_flow_loss(model, x, condition, generator=generator())
    else:
        loss, metrics = flow_matching_loss(TwoTimeMap(model).velocity, x, condition, generator=generator())
    assert {loss.device, metrics["error"].device} == {GPU}
