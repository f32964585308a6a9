"""The section of GRPO: the method itself, and what makes a step of it."""

from __future__ import annotations

import itertools
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from flowmap.settings.rewards import RewardList
from flowmap.settings.section import (
    WITHOUT_EFFECT,
    Count,
    Decay,
    Fraction,
    Lora,
    NonNegative,
    Positive,
    Section,
    Seed,
)


class GrpoSettings(Section):
    """Flow-Map GRPO itself: kernel, grid, groups, and how far the policy may move from where it began.

    What is set by default is what was found best on digits: `flowmap tune-report` measures it on other data.

    Attributes:
        kernel, anchor_distance: how a deterministic map becomes a stochastic transition.
        composed: reach the anchor through the next time of the grid, so that the gradient goes through the
            maps that are shipped; the kernel `local` always does.
        grid: times from 1 to 0; the last interval is deterministic.
        window: the intervals of the grid, from 0, that are stochastic and trained; None is all but the last.
            The first one decides what is drawn, and carries most of the signal.
        shared_start: the members of a group start from the same noise: a clearer signal, and less diversity.
        advantage_std: what a reward is divided by in an advantage: its standard deviation within the group,
            over the whole batch, or nothing. A group's own undoes a reward's saturation.
        ratio_norm: weigh transitions alike, whatever their noise; `clip` is in units of the data then.
        kl_target: nats that each transition's KL is steered to, by a weight of its own; None keeps
            `kl_weight`.
        micro_batch: samples that a process draws and trains on at once; any number gives the same update,
            and None is all of them.
        max_unscored: the largest share of a rollout's samples that may be left without a verdict.
    """

    kernel: Literal["endpoint", "local", "exact_local"] = "endpoint"
    anchor_distance: Annotated[float, Field(gt=0, lt=1)] = 0.05
    composed: bool = True
    grid: tuple[Fraction, ...] = Field(default=(1.0, 0.75, 0.5, 0.25, 0.0), strict=False)
    window: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(strict=False)] | None = (0,)
    shared_start: bool = False
    advantage_std: Literal["group", "batch", "none"] = "batch"
    ratio_norm: bool = True
    updates_per_rollout: Count = 2
    groups: Count = 16
    group_size: Annotated[int, Field(ge=2)] = 16
    micro_batch: Annotated[Count | None, WITHOUT_EFFECT] = None
    learning_rate: Positive = 5e-5
    clip: Positive = 0.0256
    kl_target: Positive | None = 0.3
    kl_weight: NonNegative = 0.3
    ema: Decay = 0.95
    max_unscored: Fraction = 0.5
    seed: Seed = 0

    @model_validator(mode="after")
    def _grid_falls(self) -> Self:
        grid = self.grid
        if (
            len(grid) < 3
            or grid[0] != 1
            or grid[-1] != 0
            or any(t <= r for t, r in itertools.pairwise(grid))
        ):
            raise ValueError(f"grid {list(grid)} must fall from 1 to 0 with at least one time between them")
        return self

    @model_validator(mode="after")
    def _window_lies_in_the_grid(self) -> Self:
        last = len(self.grid) - 3
        if self.window is not None and (not self.window or max(self.window) > last):
            raise ValueError(
                f"window {list(self.window)} must name intervals of grid {list(self.grid)} from 0 to "
                f"{last}: the last one is deterministic"
            )
        if self.window is not None and list(self.window) != sorted(set(self.window)):
            raise ValueError(f"window {list(self.window)} must rise, each interval named once")
        return self


class GrpoFinetuning(GrpoSettings, RewardList):
    """Flow-Map GRPO as a step: what it is rewarded with, for how long, and by how many processes.

    Attributes:
        stop_after: end when so many rollouts have brought no better total reward, and ship the weights as
            they were at the best one, by the mean of the total reward over five rollouts; None trains for
            all `rollouts` and ships the last.
        lora: train adapters of that rank, and publish them beside the whole; None trains all weights. They
            take a larger learning_rate.
        sampler: `stochastic` ships the transitions of the window as they were trained; None is the map along
            the grid, which draws the same from the same noise.
        gradient_checkpointing: compute the activations of a text-to-image transformer's blocks again on the
            way back, in the place of keeping them: a third more time, and a block's memory in the place of
            all of theirs.
        zero_stage: what processes share, by DeepSpeed's ZeRO: from 1 on the optimiser's state, from 2 on
            gradients, with 3 the weights too, which are gathered layer by layer as they are needed. The
            reference and the average of all weights each process holds whole: 3 is for adapters.
    """

    rollouts: Count = 60
    gradient_checkpointing: Annotated[bool, WITHOUT_EFFECT] = False
    stop_after: Annotated[int, Field(ge=5)] | None = None
    lora: Lora | None = None
    sampler: Literal["stochastic"] | None = None
    snapshots: Count = 6
    checkpoint_every: Annotated[Count, WITHOUT_EFFECT] = 10
    processes: Count = 1
    zero_stage: Literal[0, 1, 2, 3] = 0

    @model_validator(mode="after")
    def _a_sampler_costs_what_the_map_costs(self) -> Self:
        if self.sampler is not None and (self.composed or self.kernel == "local"):
            raise ValueError(
                "sampler 'stochastic' takes one map evaluation a transition: set composed to false, and "
                "kernel to endpoint or exact_local"
            )
        return self

    @model_validator(mode="after")
    def _groups_divide(self) -> Self:
        if self.groups % self.processes:
            raise ValueError(f"groups ({self.groups}) must be a multiple of processes ({self.processes})")
        return self
