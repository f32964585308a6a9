"""What a report is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from flowmap.data.dataset import Split
from flowmap.data.facts import DataFacts
from flowmap.evaluation.measure import Measured
from flowmap.evaluation.shown import shown_indices
from flowmap.registry.evaluation_result import Verdict


@dataclass(frozen=True)
class Report:
    """Everything the report shows.

    Attributes:
        metrics: what `metrics.json` holds.
        models: each model by number of map evaluations, with the samples at `shown_indices`.
        prompt: of each sample, (N,).
        held_out: what samples are compared with, real data or the baseline's.
        training: GRPO's figures, one row a rollout; outcome: how many, which is shipped, what it warned of.
        grpo: the settings it was trained with.
    """

    facts: DataFacts
    metrics: dict[str, Any]
    verdict: Verdict
    models: Mapping[str, Mapping[int, Measured]]
    prompt: Tensor
    held_out: Split
    training: list[dict[str, float]]
    outcome: dict[str, Any]
    grpo: dict[str, Any]

    @property
    def reference(self) -> str:
        """What samples are compared with."""
        return "reference" if self.facts.prompts_alone else "real"

    @property
    def shown_prompt(self) -> Tensor:
        """The prompt of each sample that is shown."""
        return self.prompt[shown_indices(self.prompt, self.facts.shape)]
