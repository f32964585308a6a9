"""One training process of GRPO: `torchrun ... -m flowmap.grpo_finetuning.worker JOB`.

A process owns whole groups. Prompts and noise of a group come from (seed, rollout, group), so what is sampled depends
neither on how many processes there are nor on whether the run was interrupted: no generator has a state to keep.

Leaves `raw.safetensors`, `ema.safetensors`, `curve.json`, and `snapshots/<rollouts>.safetensors` for the judge's curve.
"""

from __future__ import annotations

import copy
import json
import shutil
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch import distributed as dist

from flowmap.asfmc import EndpointAnchor, ExactLocalAnchor, Kernel, LocalAnchor, Rollout, Transition, roll_out
from flowmap.config import GrpoFinetuning, RunConfig
from flowmap.errors import InvariantError
from flowmap.grpo_finetuning.controller import KlController
from flowmap.grpo_finetuning.objective import Advantages, advantages, mix, transition_loss
from flowmap.maps import TwoTimeMap
from flowmap.networks import load_network, read_model_facts, save_weights
from flowmap.progress import Progress, say
from flowmap.rewards import MmdReward, PreferenceReward, Reward
from flowmap.rewards.preference import REFERENCE, read_preference
from flowmap.seeding import derived_seed
from flowmap.training.ema import Ema
from flowmap.training.engine import (
    ENGINE_FOLDER,
    device,
    init_distributed,
    is_first_on_node,
    load_engine,
    make_engine,
    node,
    save_engine,
)
from flowmap.training.job import Job, run_worker

_MAX_DRIFT = 1e-5
_WEIGHT_DECAY = 1e-4


class Trainer:
    """Policy, reference, rewards and controller of one process, and the loop over rollouts."""

    def __init__(self, job: Job) -> None:
        init_distributed()
        self.job, self.device = job, device()
        self.section: GrpoFinetuning = RunConfig.model_validate_json(job.settings).grpo_finetuning
        self.rank, self.num_processes, self.is_first_here = dist.get_rank(), dist.get_world_size(), is_first_on_node()
        self.facts = read_model_facts(job.inputs["base"])
        section = self.section
        num_local = section.groups // self.num_processes
        self.groups = range(self.rank * num_local, (self.rank + 1) * num_local)
        self.num_transitions = len(section.grid) - 2
        self.network = load_network(job.inputs["base"], "map").to(self.device).train().requires_grad_(True)
        self.reference = TwoTimeMap(copy.deepcopy(self.network).eval().requires_grad_(False))
        self.engine = make_engine(
            self.network,
            torch.optim.AdamW(self.network.parameters(), section.learning_rate, weight_decay=_WEIGHT_DECAY),
            micro_batch=num_local * section.group_size,
            accumulation=self.num_transitions,
            zero_stage=section.zero_stage,
        )
        self.policy = TwoTimeMap(self.engine)
        self.kernel = kernel_of(section)
        self.rewards = rewards_of(section, job, len(self.facts.prompts), self.device)
        self.ema = Ema(self.network, section.ema)
        self.controller = KlController(section.kl_weight, section.kl_target)
        self.curve: list[dict[str, float]] = []
        self.folder = job.scratch / "checkpoint"
        self.checkpoints, self.events = job.open_checkpoints(), job.open_events()

    def train(self) -> None:
        section, begin = self.section, self._resume()
        snapshots = {round((i + 1) * section.rollouts / section.snapshots) for i in range(section.snapshots)}
        with Progress("grpo_finetuning", section.rollouts, begin) as progress:
            for rollout in range(begin, section.rollouts):
                figures = self._rollout(rollout)
                self.curve.append({"rollout": rollout + 1, **figures})
                if self.rank == 0:
                    self.events.add(rollout + 1, figures)
                    progress.update(reward=figures["reward"], kl=figures["kl"], clipped=figures["clipped"])
                    if rollout + 1 in snapshots:
                        save_weights(self.network, self.folder / "snapshots" / f"{rollout + 1:06d}.safetensors")
                if (rollout + 1) % section.checkpoint_every == 0 and rollout + 1 < section.rollouts:
                    self._checkpoint(rollout + 1)
        if self.rank == 0:
            self.events.upload()
            save_weights(self.network, self.job.out / "raw.safetensors")
            save_weights(self.ema.network, self.job.out / "ema.safetensors")
            shutil.copytree(self.folder / "snapshots", self.job.out / "snapshots")
            (self.job.out / "curve.json").write_text(json.dumps(self.curve))

    def _rollout(self, rollout: int) -> dict[str, float]:
        """Draw samples once, score them, take the updates; the figures of the last update."""
        prompt = self._prompts(rollout)
        members = prompt.repeat_interleave(self.section.group_size)
        drawn = self._draw(rollout, members)
        samples = drawn.x_0.unflatten(0, (len(self.groups), self.section.group_size))
        scores = [reward(samples, prompt) for reward, _ in self.rewards]
        found = advantages(mix(scores, [weight for _, weight in self.rewards]))
        share = self._shares(found)
        figures: dict[str, float] = {}
        for update in range(self.section.updates_per_rollout):
            figures = self._update(rollout, update, drawn, members, found, share)
            self.ema.update(self.network)
        self.controller.update(figures["kl"])
        return {
            **figures,
            "reward": self._mean(scores[0].mean()),
            "kl_weight": self.controller.weight,
            "zero_std_fraction": self._mean(1 - found.alive.float().mean()),
        }

    def _update(
        self, rollout: int, update: int, drawn: Rollout, prompt: Tensor, found: Advantages, share: Tensor
    ) -> dict[str, float]:
        """One optimizer step: a backward pass for each transition, and the invariants on the way."""
        rows = []
        for transition in drawn.transitions:
            at = (transition.x_t, transition.t, transition.r, prompt)
            with torch.no_grad():
                reference = self.kernel.step(self.reference, *at)
            loss, metrics = transition_loss(
                self.kernel.step(self.policy, *at),
                reference,
                transition,
                found.values.flatten(),
                share,
                clip=self.section.clip,
                kl_weight=self.controller.weight,
            )
            _check(rollout, update, transition, loss, metrics)
            self.engine.backward(loss)
            self.engine.step()
            rows.append({**metrics, "loss": loss.detach()})
        return {name: self._mean(torch.stack([row[name] for row in rows]).mean()) for name in rows[0]}

    def _prompts(self, rollout: int) -> Tensor:
        """The prompt of each of this process's groups, shape (groups,)."""
        generator = torch.Generator().manual_seed(derived_seed(self.section.seed, "prompts", rollout))
        drawn = torch.randint(len(self.facts.prompts), (self.section.groups,), generator=generator)
        return drawn[self.groups.start : self.groups.stop].to(self.device)

    def _draw(self, rollout: int, prompt: Tensor) -> Rollout:
        noise = torch.cat([self._noise(rollout, group) for group in self.groups], 1).to(self.device)
        return roll_out(TwoTimeMap(self.network), self.kernel, prompt, self.section.grid, noise)

    def _noise(self, rollout: int, group: int) -> Tensor:
        """Noise of one group, shape (K + 1, members, *data): one start for all, each its own in the transitions.

        With a common start the members differ only by what the policy decided, so the advantage is a cleaner signal.
        """
        generator = torch.Generator().manual_seed(derived_seed(self.section.seed, "noise", rollout, group))
        start = torch.randn(1, 1, *self.facts.shape, generator=generator)
        shape = (self.num_transitions, self.section.group_size, *self.facts.shape)
        return torch.cat([start.expand(1, *shape[1:]), torch.randn(shape, generator=generator)])

    def _shares(self, found: Advantages) -> Tensor:
        """Each sample's weight: the mean over the living groups of all processes, times their number.

        The engine averages gradients over processes, hence the factor.
        """
        num_alive = found.alive.float().sum()
        dist.all_reduce(num_alive)
        each = self.num_processes / (num_alive.clamp(min=1) * self.section.group_size)
        return (found.alive * each).repeat_interleave(self.section.group_size)

    def _mean(self, value: Tensor) -> float:
        """The mean over processes of a figure that each has."""
        total = value.detach().clone()
        dist.all_reduce(total)
        return float(total / self.num_processes)

    def _checkpoint(self, done: int) -> None:
        state = {"ema": self.ema.state(), "kl_weight": self.controller.weight, "curve": self.curve}
        save_engine(self.engine, self.folder, state)
        if self.is_first_here:
            self.checkpoints.save(done, self.folder, node=node(), when_all_have=self._parts_saved)
        else:
            self._parts_saved()
        if self.rank == 0:
            self.events.upload()
        dist.barrier()

    def _parts_saved(self) -> None:
        """Return when every node's part of a checkpoint is in the store."""
        dist.barrier()

    def _resume(self) -> int:
        """Rollouts that a checkpoint has done; 0 without one."""
        found: list[Any] = [self.checkpoints.newest() if self.rank == 0 else None]
        dist.broadcast_object_list(found)
        if not found[0]:
            return 0
        if self.is_first_here:
            self.checkpoints.restore(self.folder, found[0])
        dist.barrier()
        state = load_engine(self.engine, self.folder)
        dist.barrier()
        if self.is_first_here:  # what other nodes wrote must not be saved again with this node's part
            shutil.rmtree(self.folder / ENGINE_FOLDER)
        self.ema.load(state["ema"])
        self.controller.weight, self.curve = state["kl_weight"], state["curve"]
        if self.rank == 0:
            say(f"grpo_finetuning: goes on after {found[0]} rollouts")
        return int(found[0])


def kernel_of(section: GrpoFinetuning) -> Kernel:
    """The kernel that the configuration names."""
    if section.kernel == "endpoint":
        return EndpointAnchor()
    return LocalAnchor() if section.kernel == "local" else ExactLocalAnchor(section.anchor_distance)


def rewards_of(section: GrpoFinetuning, job: Job, num_prompts: int, where: torch.device) -> list[tuple[Reward, float]]:
    """Rewards on a device, and their weights; the first is the one that the curve shows."""
    network, facts = read_preference(job.inputs["reward"])
    rewards: list[tuple[Reward, float]] = [
        (PreferenceReward(network.to(where), facts.real_score, saturating=section.reward == "saturating"), 1.0)
    ]
    if section.mmd_weight:
        real = load_file(job.inputs["reward"] / REFERENCE)
        by_prompt = [real["images"][real["prompts"] == p].to(where) for p in range(num_prompts)]
        rewards.append((MmdReward(by_prompt), section.mmd_weight))
    return rewards


def _check(rollout: int, update: int, transition: Transition, loss: Tensor, metrics: dict[str, Tensor]) -> None:
    """Laws that hold while rollout and training agree; breaking one stops the run."""
    where = f"rollout {rollout + 1}, update {update + 1}, t = {float(transition.t[0]):.3f}"
    if not bool(loss.isfinite()):
        raise InvariantError(
            f"{where}: the loss is {float(loss.detach())}; the KL is {float(metrics['kl']):.3g} nats. Lower "
            "grpo_finetuning.learning_rate, or hold the KL with grpo_finetuning.kl_target"
        )
    if update == 0 and float(metrics["drift"]) > _MAX_DRIFT:
        raise InvariantError(
            f"{where}: before the first update the ratio is off 1 by {float(metrics['drift']):.2g}. Rollout and "
            "training compute different policies: look for dropout, mixed precision, or another kernel or grid"
        )


def train(job: Job) -> None:
    trainer = Trainer(job)
    try:
        trainer.train()
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    run_worker(train)
