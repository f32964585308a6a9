"""Flow-Map GRPO: fine-tune a flow map against rewards, rollout by rollout.

    grpo = Grpo(model, [reward], prompts, GrpoSettings(grid=(1.0, 0.5, 0.0)))
    for index in range(60):
        figures = grpo.rollout(index)                 # draw, score, update

A process owns whole groups. Prompts and noise of a group come from (seed, rollout, group), so what is
sampled depends neither on how many processes there are nor on whether the run was interrupted: no generator
has a state to keep.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from flowmap.asfmc import Rollout, Transition, kernel_named, roll_out
from flowmap.errors import ConfigError, InvariantError
from flowmap.grpo.advantages import Advantages, advantages
from flowmap.grpo.asking import Asking
from flowmap.grpo.kl_controller import KlController
from flowmap.grpo.micro_batches import over_parts, parts_of
from flowmap.grpo.objective import transition_loss
from flowmap.grpo.scoring import Scores, score_figures
from flowmap.maps import Condition, OneTimeMap
from flowmap.maps.condition import repeat, rows
from flowmap.models.model import Model
from flowmap.rewards.protocol import Prompt, Reward, Samples, Weighted, weighted
from flowmap.seeding import generator_for
from flowmap.settings import GrpoSettings
from flowmap.training.ema import Ema
from flowmap.training.engine import Engine, TorchEngine

Figures = dict[str, float]
_MAX_DRIFT = 1e-5
_AHEAD = 16  # rollouts whose prompts are prepared
_WEIGHT_DECAY = 1e-4


class Grpo:
    """Policy, reference, rewards and KL controller of one process.

    Args:
        model: the policy; its network is trained in place.
        rewards: each with its weight; a bare one has weight 1, and a plain function of `Samples` is one too.
        prompts: what groups are drawn of, as text, or with facts that rewards read.
        settings: sizes and rates.
        engine: what trains; plain PyTorch in one process unless a worker brings another.

    Raises:
        ConfigError: the model does not know a prompt, or the kernel does not suit its map.
    """

    def __init__(
        self,
        model: Model,
        rewards: Sequence[Reward | Weighted | Callable[[Samples], Any]],
        prompts: Sequence[str | Prompt],
        settings: GrpoSettings | None = None,
        engine: Engine | None = None,
    ) -> None:
        self.model, self.settings, self.engine = model, settings or GrpoSettings(), engine or TorchEngine()
        self.rewards = [weighted(each) for each in rewards]
        self.prompts = [Prompt(each) if isinstance(each, str) else each for each in prompts]
        section, engine = self.settings, self.engine
        num_local = section.groups // engine.num_processes
        self.groups = range(engine.rank * num_local, (engine.rank + 1) * num_local)
        self.num_transitions = len(section.grid) - 2
        self.window = section.window or tuple(range(self.num_transitions))
        network = model.network.to(engine.device).train()
        model.freeze_reference()
        num_samples = num_local * section.group_size
        self._parts = parts_of(num_samples, section.micro_batch or num_samples)
        engine.prepare(
            network,
            torch.optim.AdamW(model.parameters(), section.learning_rate, weight_decay=_WEIGHT_DECAY),
            batch=self._parts[0].stop,
            accumulation=len(self.window) * len(self._parts),
        )
        self.policy = model.make_map(engine.module)
        if isinstance(self.policy, OneTimeMap) and section.kernel != "endpoint":
            raise ConfigError(
                f"the kernel {section.kernel!r} goes on from where a map arrives between two times, and "
                "this one knows one time only: set kernel to 'endpoint'"
            )
        self.kernel = kernel_named(section.kernel, section.anchor_distance, section.composed)
        with engine.whole(model.parameters()):
            self.ema = Ema(network, section.ema)
        self.controllers = {each: KlController(section.kl_weight, section.kl_target) for each in self.window}
        model.prepare([prompt.text for prompt in self.prompts])
        self._prepared = range(0)

    def rollout(self, index: int) -> Figures:
        """Draw samples once, score them, take the updates.

        Returns:
            Of each reward its mean, spread within groups and correlation with the advantage; of the last
            update its loss, KL in nats and share of clipped ratios, as means and of each transition
            (`kl_0`); the weight of each one's KL; the shares of groups whose rewards are all equal and of
            samples without a verdict.

        Raises:
            InvariantError: a law of the method is broken; the message says which and what to do.
            RewardError: more samples than `max_unscored` allows are without a verdict.
        """
        self._prepare(index)
        groups = self.draw_prompts(index)
        members = self.members(groups)
        drawn, scores = self.draw(index, members, groups)
        weights = [each.weight for each in self.rewards]
        found = advantages(scores.values, weights, self.settings.advantage_std, self.engine.sum)
        told = score_figures(index, scores, found, self.settings.max_unscored, self.engine)
        share = self._shares(found)
        figures: Figures = {}
        for update in range(self.settings.updates_per_rollout):
            figures = self._update(index, update, drawn, members, found, share)
            with self.engine.whole(self.model.parameters()):
                self.ema.update(self.model.network)
        for each, controller in self.controllers.items():
            controller.update(figures[f"kl_{each}"])
            figures[f"kl_weight_{each}"] = controller.weight
        return {
            **told,
            **figures,
            "zero_std_fraction": self._mean(1 - found.alive.float().mean()),
        }

    def state(self) -> dict[str, Any]:
        """What `load` restores beside the engine's own: tensors and plain values."""
        weights = {each: controller.weight for each, controller in self.controllers.items()}
        return {"ema": self.ema.state(), "kl_weights": weights}

    def load(self, state: dict[str, Any]) -> None:
        self.ema.load(state["ema"])
        for each, weight in state["kl_weights"].items():
            self.controllers[each].weight = weight

    def draw_prompts(self, index: int) -> list[Prompt]:
        """The prompt of each of this process's groups."""
        generator = generator_for(self.settings.seed, "prompts", index)
        drawn = torch.randint(len(self.prompts), (self.settings.groups,), generator=generator).tolist()
        return [self.prompts[chosen] for chosen in drawn[self.groups.start : self.groups.stop]]

    def _prepare(self, index: int) -> None:
        """For the prompts of some rollouts at once: encoders of texts come to the device and go from it."""
        if index in self._prepared:
            return
        self._prepared = range(index, index + _AHEAD)
        self.model.prepare([prompt.text for each in self._prepared for prompt in self.draw_prompts(each)])

    def members(self, groups: Sequence[Prompt]) -> Condition:
        """The condition of each member of groups with these prompts."""
        return repeat(self.model.condition([prompt.text for prompt in groups]), self.settings.group_size)

    def draw(self, index: int, members: Condition, groups: Sequence[Prompt]) -> tuple[Rollout, Scores]:
        """Samples of this process's groups with the transitions that led to them, and what each reward says
        of them."""
        noise = torch.cat([self._noise(index, group) for group in self.groups], 1).to(self.engine.device)
        flow_map, grid = self.model.flow_map, self.settings.grid
        parts = []
        with Asking(self.rewards, groups, self.settings.group_size) as asking:
            for part in self._parts:
                drawn = roll_out(
                    flow_map, self.kernel, rows(members, part), grid, noise[:, part], self.window
                )
                parts.append(drawn)
                with torch.no_grad():
                    asking.add(self.model.codec.decode(drawn.x_0))
            scores = asking.scores()
        return (parts[0] if len(parts) == 1 else Rollout.joined(parts)), scores

    def _noise(self, index: int, group: int) -> Tensor:
        """Noise of one group, shape (K + 1, members, *state): the start, and that of each transition.

        With a common start the members differ only by what the policy decided, so the advantage is a cleaner
        signal; with starts of their own they show more of what the model can do.
        """
        state_shape = self.model.codec.state_shape
        generator = generator_for(self.settings.seed, "noise", index, group)
        num_starts = 1 if self.settings.shared_start else self.settings.group_size
        start = torch.randn(1, num_starts, *state_shape, generator=generator)
        shape = (self.num_transitions, self.settings.group_size, *state_shape)
        return torch.cat([start.expand(1, *shape[1:]), torch.randn(shape, generator=generator)])

    def _update(
        self, index: int, update: int, drawn: Rollout, members: Condition, found: Advantages, share: Tensor
    ) -> Figures:
        """One optimizer step: backward passes for each transition, and the invariants on the way."""
        told: dict[int, dict[str, Tensor]] = {}
        for transition in drawn.transitions:
            parts = [
                self._backward(index, update, transition, part, members, found, share)
                for part in self._parts
            ]
            told[transition.index] = over_parts(parts, self._parts)
        figures = {
            name: self._mean(torch.stack([row[name] for row in told.values()]).mean())
            for name in ("kl", "clipped", "drift", "loss")
        }
        for each, row in told.items():
            figures |= {f"{name}_{each}": self._mean(row[name]) for name in ("kl", "clipped")}
        return figures

    def _backward(
        self,
        index: int,
        update: int,
        transition: Transition,
        part: slice,
        members: Condition,
        found: Advantages,
        share: Tensor,
    ) -> dict[str, Tensor]:
        kl_weight = self.controllers[transition.index].weight
        loss, metrics = self.loss(transition, part, members, found, share, kl_weight)
        _check_laws(index, update, transition, loss, metrics)
        self.engine.backward(loss * len(self._parts))  # the engine takes the mean over backward passes
        self.engine.step()
        return {**metrics, "loss": loss.detach()}

    def loss(
        self,
        transition: Transition,
        part: slice,
        members: Condition,
        found: Advantages,
        share: Tensor,
        kl_weight: float,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective of one transition on a part of its rows; `share` is each sample's weight."""
        here = transition.rows(part)
        at = (here.x_t, here.t, here.r, rows(members, part))
        with torch.no_grad(), self.model.reference() as there:
            reference = self.kernel.step(there, *at)
        return transition_loss(
            self.kernel.step(self.policy, *at),
            reference,
            here,
            found.values.flatten()[part],
            share[part],
            clip=self.settings.clip,
            kl_weight=kl_weight,
            ratio_norm=self.settings.ratio_norm,
        )

    def _shares(self, found: Advantages) -> Tensor:
        """Each sample's weight: the mean over what counts on all processes, times their number.

        The engine averages gradients over processes, hence the factor.
        """
        counted = found.counted.float()
        num_counted = self.engine.sum(counted.sum())
        return (counted * (self.engine.num_processes / num_counted.clamp(min=1))).flatten()

    def _mean(self, value: Tensor) -> float:
        """The mean over processes of a figure that each has."""
        return float(self.engine.sum(value) / self.engine.num_processes)


def _check_laws(
    index: int, update: int, transition: Transition, loss: Tensor, metrics: dict[str, Tensor]
) -> None:
    """Laws that hold while rollout and training agree; breaking one stops the run."""
    where = f"rollout {index + 1}, update {update + 1}, t = {float(transition.t[0]):.3f}"
    if not bool(loss.isfinite()):
        raise InvariantError(
            f"{where}: the loss is {float(loss.detach())}; the KL is {float(metrics['kl']):.3g} nats. Lower "
            "grpo_finetuning.learning_rate, or hold the KL with grpo_finetuning.kl_target"
        )
    if update == 0 and float(metrics["drift"]) > _MAX_DRIFT:
        raise InvariantError(
            f"{where}: before the first update the ratio is off 1 by {float(metrics['drift']):.2g}. Rollout "
            "and training compute different policies: look for dropout, mixed precision, or another kernel "
            "or grid"
        )
