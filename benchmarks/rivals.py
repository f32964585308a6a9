"""Other ways to make a generator better by a reward, on the product's own models, rewards and data.

    for draw in reward_gradient(ground, knob=1.0, seed=0): ...      # after every round of training, for ever

Each is given the base, or the many-step baseline, and gives after every round of training what draws
samples. Rounds are as large as a rollout of GRPO. Each has one knob, which buys reward with distance from
the base.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from flowmap import Grpo, OneTimeMap, even_grid
from flowmap.asfmc import GaussianStep
from flowmap.data.dataset import Split
from flowmap.evaluation.drawing import Drawing
from flowmap.maps import Condition, FlowMap, RectifiedFlow, compose, euler, mean_flow_loss, over_data
from flowmap.maps.condition import rows
from flowmap.maps.objectives import draw_times, mean_flow_target
from flowmap.models.model import Model
from flowmap.rewards.protocol import Samples, Weighted
from flowmap.seeding import derived_seed, generator_for
from flowmap.settings import GrpoSettings

Parts = Iterable[tuple[Tensor, Tensor]]
Draw = Callable[[Drawing], Parts]
NUM_STEPS = 10  # of the many-step baseline, in training as in sampling
_PATH = RectifiedFlow()
_WEIGHT_DECAY = 1e-4


@dataclass(frozen=True)
class Ground:
    """What all start from.

    Attributes:
        base, baseline: the map, and the velocity of many steps.
        rewards: with their weights; all differentiable.
        data: what the base was trained on, with the captions it saw.
        settings: of GRPO: its grid, sizes and rates are everybody's.
    """

    base: Model
    baseline: Model
    rewards: Sequence[Weighted]
    prompts: Sequence[str]
    data: Split
    settings: GrpoSettings

    @property
    def batch(self) -> int:
        return self.settings.groups * self.settings.group_size


Rival = Callable[[Ground, float, int], Iterator[Draw]]


def flow_map_grpo(
    ground: Ground, knob: float, seed: int, changes: Mapping[str, Any] | None = None
) -> Iterator[Draw]:
    """The product's own; the knob is `kl_target`."""
    update = {"seed": derived_seed(seed, "grpo"), "kl_target": knob, **(changes or {})}
    model, settings = copied(ground.base), ground.settings.model_copy(update=update)
    grpo = Grpo(model, ground.rewards, ground.prompts, settings)
    shipped = copy.copy(model)

    def draw(drawing: Drawing) -> Parts:
        shipped.network = grpo.ema.network_of(model.network)  # as it is by now
        return drawing.composed(shipped, tuple(settings.grid))

    for index in itertools.count():
        grpo.rollout(index)
        yield draw


@dataclass(frozen=True)
class FlowSde:
    """A step of the stochastic differential equation that has a flow's marginals.

    Source: Flow-GRPO (arXiv 2505.05470), equations 8 and 9; at t = 1, where its noise is infinite, it takes
    the next time's.

    Args:
        noise: a, the noise's level.
    """

    noise: float = 0.7

    def step(
        self, flow_map: FlowMap, x_t: Tensor, t: Tensor, r: Tensor, condition: Condition
    ) -> GaussianStep:
        velocity, rest = flow_map.velocity(x_t, t, condition), 1 - torch.where(t < 1, t, r)
        variance = self.noise**2 * t / rest
        towards = velocity + over_data(variance / (2 * t), x_t) * (x_t + over_data(1 - t, x_t) * velocity)
        return GaussianStep(x_t - over_data(t - r, x_t) * towards, (variance * (t - r)).sqrt())


def flow_grpo(ground: Ground, knob: float, seed: int) -> Iterator[Draw]:
    """GRPO of the many-step baseline, all its steps stochastic; the knob is `kl_target`."""
    network = copied(ground.baseline).network
    model = Model(
        network,
        prompts=ground.prompts,
        shape=ground.base.codec.state_shape,
        make_map=lambda module: OneTimeMap(lambda x, t, c: module(x, t, t, c), "velocity"),
    )
    update = {
        "grid": even_grid(NUM_STEPS),
        "window": (),
        "kl_target": knob,
        "seed": derived_seed(seed, "grpo"),
    }
    grpo = Grpo(model, ground.rewards, ground.prompts, ground.settings.model_copy(update=update))
    grpo.kernel = FlowSde()
    for index in itertools.count():
        grpo.rollout(index)
        yield lambda drawing: drawing.integrated(model, NUM_STEPS)


def last_map_gradient(ground: Ground, knob: float, seed: int) -> Iterator[Draw]:
    """The reward's gradient through the last map; the knob weighs the squared distance from the base's.

    Source: direct reward fine-tuning with one step (DRaFT-1, arXiv 2309.17400), of a few-step map.
    """
    yield from _reward_gradient(ground, knob, seed, num_maps=1)


def reward_gradient(ground: Ground, knob: float, seed: int) -> Iterator[Draw]:
    """The reward's gradient through every map of the grid (DRaFT); the knob as before."""
    yield from _reward_gradient(ground, knob, seed, num_maps=len(ground.settings.grid) - 1)


def _reward_gradient(ground: Ground, knob: float, seed: int, num_maps: int) -> Iterator[Draw]:
    model, settings = copied(ground.base), ground.settings
    model.freeze_reference()
    optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate, weight_decay=_WEIGHT_DECAY)
    before, after = settings.grid[: len(settings.grid) - num_maps], settings.grid[-num_maps - 1 :]
    for index in itertools.count():
        condition, prompts, noise = _batch(ground, model, seed, index)
        x = compose(model.flow_map, noise, condition, before)
        with model.reference() as reference:
            was = compose(reference, x, condition, after)
        for t, r in itertools.pairwise(after):
            times = x.new_full((len(x),), t), x.new_full((len(x),), r)
            x = model.flow_map.transport(x, *times, condition)
        values = total(ground.rewards, model.codec.decode(x), prompts)
        away = (x - was).flatten(1).square().sum(1).mean()
        _descend(optimizer, knob * away - values.mean() / values.detach().std())
        yield lambda drawing: drawing.composed(model, tuple(settings.grid))


def diffusion_nft(ground: Ground, knob: float, seed: int) -> Iterator[Draw]:
    """DiffusionNFT (arXiv 2509.16117) of the many-step baseline; the knob holds it to the baseline."""
    yield from _nft(ground, ground.baseline, knob, seed, is_map=False)


def mean_flow_nft(ground: Ground, knob: float, seed: int) -> Iterator[Draw]:
    """The same on the map, its target MeanFlow's; the knob holds it to the base."""
    yield from _nft(ground, ground.base, knob, seed, is_map=True)


def _nft(ground: Ground, start: Model, knob: float, seed: int, *, is_map: bool) -> Iterator[Draw]:
    """Good samples pull a network towards them, bad ones push its mirror image.

    Of what the sampling network says, u_old, the trained one gives u+ = u_old + (u - u_old) and the mirrored
    u- = u_old - (u - u_old); each is regressed onto the sample's own target, weighed by the probability that
    the sample is a good one, and that it is not (equation 5, beta = 1).
    """
    model, old, settings = copied(start), copied(start), ground.settings
    first = copied(start).network
    optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate, weight_decay=_WEIGHT_DECAY)
    for index in itertools.count():
        condition, prompts, noise = _batch(ground, model, seed, index)
        x_0 = (
            compose(old.flow_map, noise, condition, settings.grid)
            if is_map
            else euler(old.flow_map, noise, condition, NUM_STEPS)
        )
        with torch.no_grad():
            values = total(ground.rewards, old.codec.decode(x_0), prompts)
        better = (values - values.mean(1, keepdim=True)) / values.std().clamp(min=1e-6)
        good = (0.5 + 0.5 * better.clamp(-1, 1)).flatten()
        generator = generator_for(seed, "nft", index)
        for _ in range(settings.updates_per_rollout):
            t, r = draw_times(len(x_0), 0.5 if is_map else 1.0, generator, 0.05)
            r = r if is_map else t
            on_path = _PATH.sample(x_0, torch.randn(x_0.shape, generator=generator), t)
            at = (on_path.x_t, t, r, condition)
            target = (
                mean_flow_target(old.network, on_path.x_t, on_path.velocity, t, r, condition)
                if is_map
                else on_path.velocity
            )
            u = model.network(*at)
            with torch.no_grad():
                u_old, u_first = old.network(*at), first(*at)
            pulled, pushed = _squared(u - target), _squared(2 * u_old - u - target)
            loss = (good * pulled + (1 - good) * pushed + knob * _squared(u - u_first)).mean()
            _descend(optimizer, loss)
        share = min(0.5, 0.01 * index)  # how much of itself the sampling network keeps: little at first
        with torch.no_grad():
            for kept, new in zip(old.network.parameters(), model.network.parameters(), strict=True):
                kept.lerp_(new, 1 - share)
        if is_map:
            yield lambda drawing: drawing.composed(old, tuple(settings.grid))
        else:
            yield lambda drawing: drawing.integrated(old, NUM_STEPS)


def best_of_n(ground: Ground, knob: float, seed: int) -> Iterator[Draw]:
    """The best of so many of the base's samples by the rewards; nothing is trained."""

    def draw(drawing: Drawing) -> Parts:
        drawings = [drawing, *(drawing.anew(seed, "best", each) for each in range(1, int(knob)))]
        grid = tuple(ground.settings.grid)
        for parts in zip(*(each.composed(ground.base, grid) for each in drawings), strict=True):
            prompt = parts[0][1]
            data = torch.stack([each for each, _ in parts], 1)
            names = [drawing.prompts[each] for each in prompt.tolist()]
            with torch.no_grad():
                best = total(ground.rewards, data, names).argmax(1)
            yield data[torch.arange(len(prompt)), best], prompt

    yield draw


def trained_on(ground: Ground, knob: float, seed: int) -> Iterator[Draw]:
    """The base trained on, on what it was trained on; the knob is the learning rate."""
    model = copied(ground.base)
    optimizer = torch.optim.AdamW(model.parameters(), knob, weight_decay=_WEIGHT_DECAY)
    generator, conditions = generator_for(seed, "trained on"), model.condition(ground.prompts)
    while True:
        chosen = torch.randint(len(ground.data), (ground.batch,), generator=generator)
        x = model.codec.encode(ground.data.data[chosen])
        condition = rows(conditions, ground.data.prompts[chosen])
        loss, _ = mean_flow_loss(model.network, x, condition, generator=generator, start_times=0.05)
        _descend(optimizer, loss)
        yield lambda drawing: drawing.composed(model, tuple(ground.settings.grid))


class Counted:
    """Rows that go through networks, as long as it is open: of every network that is a copy of these too."""

    def __init__(self, *networks: nn.Module) -> None:
        self.rows, self.is_on = 0, False
        for network in networks:
            network.register_forward_pre_hook(self._count)

    def __deepcopy__(self, memo: object) -> Counted:
        return self  # so that a copied network is counted here

    def _count(self, network: nn.Module, arguments: Sequence[Any]) -> None:
        if self.is_on:
            self.rows += len(arguments[0])


def copied(model: Model) -> Model:
    """With weights of its own, to be trained."""
    same = copy.copy(model)
    same.network = copy.deepcopy(model.network).train().requires_grad_(True)
    return same


def total(rewards: Sequence[Weighted], data: Tensor, prompts: Sequence[str]) -> Tensor:
    """Rewards of data (groups, members, *data), or (groups x members, *data), added up as GRPO does it: each
    over its standard deviation in the batch, weighed."""
    groups = data if data.shape[0] == len(prompts) else data.unflatten(0, (len(prompts), -1))
    samples, added = Samples(groups, prompts), torch.zeros(groups.shape[:2])
    for each in rewards:
        value = each.reward.score(samples)
        added = added + each.weight * value / value.detach().std().clamp(min=1e-6)
    return added / math.sqrt(sum(each.weight**2 for each in rewards))


def _batch(ground: Ground, model: Model, seed: int, index: int) -> tuple[Condition, list[str], Tensor]:
    """Of a round: the condition of each sample, the prompt of each group, and noise."""
    generator, settings = generator_for(seed, "rival", index), ground.settings
    drawn = torch.randint(len(ground.prompts), (settings.groups,), generator=generator)
    prompts = [ground.prompts[each] for each in drawn.tolist()]
    each_sample = drawn.repeat_interleave(settings.group_size)
    noise = torch.randn(ground.batch, *model.codec.state_shape, generator=generator)
    return rows(model.condition(ground.prompts), each_sample), prompts, noise


def _squared(x: Tensor) -> Tensor:
    return x.flatten(1).square().mean(1)


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
