"""That training keeps to its device, on machines without a GPU: tensors that know their device and hold no numbers.

What DeepSpeed and NCCL do on a GPU is not shown by this.
"""

from collections.abc import Iterator

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from flowmap.asfmc import EndpointAnchor, ExactLocalAnchor, Kernel, LocalAnchor, roll_out
from flowmap.base_training.losses import flow_matching_loss, mean_flow_loss
from flowmap.grpo_finetuning.objective import normalise, transition_loss
from flowmap.maps import TwoTimeMap
from flowmap.networks import ModulatedMLP
from flowmap.rewards import MmdReward, PreferenceReward
from flowmap.rewards.preference import PreferenceNetwork

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
        network()(torch.zeros(2, *SHAPE), *torch.zeros(2, 2, device=GPU), torch.zeros(2, dtype=torch.long, device=GPU))


@pytest.mark.parametrize("kernel", [EndpointAnchor(), LocalAnchor(), ExactLocalAnchor(0.05)])
def test_rollout_and_objective_stay_on_the_gpu(kernel: Kernel) -> None:
    prompt = torch.randint(NUM_PROMPTS, (2,), generator=generator()).to(GPU)
    members = prompt.repeat_interleave(MEMBERS)
    noise = torch.randn(len(GRID) - 1, len(members), *SHAPE, generator=generator()).to(GPU)
    policy = TwoTimeMap(network())
    drawn = roll_out(policy, kernel, members, GRID, noise)
    with GPU:
        preference = PreferenceNetwork(SHAPE, NUM_PROMPTS).eval()
    samples = drawn.x_0.unflatten(0, (2, MEMBERS))
    reward = PreferenceReward(preference, 0.0, saturating=True)(samples, prompt)
    advantage = normalise(reward).flatten()
    at = drawn.transitions[0]
    new = kernel.step(policy, at.x_t, at.t, at.r, members)
    share = torch.ones_like(advantage)
    loss, metrics = transition_loss(new, at.old, at, advantage, share, clip=0.1, kl_weight=1.0)
    assert {value.device for value in (loss, reward, *metrics.values())} == {GPU}


def test_the_groupwise_reward_stays_on_the_gpu() -> None:
    real = [torch.zeros(5, *SHAPE, device=GPU) for _ in range(NUM_PROMPTS)]
    among = MmdReward(real)
    assert {samples.device for samples in among.real} == {GPU}


@pytest.mark.parametrize("is_map", [True, False])
def test_base_training_stays_on_the_gpu(is_map: bool) -> None:
    model, x = network(), torch.zeros(6, *SHAPE, device=GPU)
    prompt = torch.zeros(6, dtype=torch.long, device=GPU)
    if is_map:
        loss, metrics = mean_flow_loss(model, model, x, prompt, 0.5, generator())
    else:
        loss, metrics = flow_matching_loss(model, x, prompt, generator())
    assert {loss.device, metrics["error"].device} == {GPU}
