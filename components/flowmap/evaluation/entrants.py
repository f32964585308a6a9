"""The models that are compared, and what each of them ships."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from flowmap.asfmc import Policy, kernel_named
from flowmap.errors import DataError
from flowmap.evaluation.drawing import Drawing
from flowmap.models import ModelFacts
from flowmap.models.model import Model
from flowmap.models.storing import AS_BASE, AS_TUNED, load_model, read_model_facts, shipped_weights
from flowmap.prompts.facts import some_of


@dataclass(frozen=True)
class Entrant:
    """A model, with the weights of it that are meant and the grid that it is drawn on.

    Attributes:
        grid: its own, where it was fine-tuned; a base has none and takes the candidate's.
        policy: that it ships; None is the map along the grid.
    """

    folder: Path
    weights: str
    grid: tuple[float, ...]
    policy: Policy | None = None

    @property
    def num_evaluations(self) -> int:
        """Map evaluations of a sample on its own grid."""
        return len(self.grid) - 1

    def drawn(self, drawing: Drawing, model: Model) -> Iterator[tuple[Tensor, Tensor]]:
        """Data and prompts in parts, as it ships them."""
        return drawing.composed(model, self.grid, self.policy)

    def samples(self, drawing: Drawing, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """The same, of a model that is in memory only while it draws."""
        yield from self.drawn(drawing, self.model(device))

    def model(self, device: torch.device) -> Model:
        return load_model(self.folder, self.weights, device)


def entrants(inputs: Mapping[str, Path]) -> dict[str, Entrant]:
    """The base, the candidate's last weights (`raw`) and their average (`tuned`), and where they are others,
    the anchor and the incumbent.

    Raises DataError when one of them makes other data, or knows other prompts.
    """
    candidate = read_model_facts(inputs["tuned"])
    assert candidate.grid is not None
    found = {
        "base": Entrant(inputs["base"], AS_BASE, candidate.grid),
        "raw": Entrant(inputs["tuned"], "raw", candidate.grid, policy_of(candidate)),
        "tuned": Entrant(inputs["tuned"], AS_TUNED, candidate.grid, policy_of(candidate)),
    }
    for name in ("anchor", "incumbent"):
        if name not in inputs:
            continue
        facts = read_model_facts(inputs[name])
        if (facts.shape, facts.prompts) != (candidate.shape, candidate.prompts):
            raise DataError(
                f"the {name} makes data of {facts.shape} for prompts {some_of(facts.prompts)}, the "
                f"candidate {candidate.shape} for {some_of(candidate.prompts)}: they can't be compared; "
                "give the run another `name`"
            )
        weights, grid = shipped_weights(inputs[name]), facts.grid or candidate.grid
        found[name] = Entrant(inputs[name], weights, grid, policy_of(facts))
    return found


def policy_of(facts: ModelFacts) -> Policy | None:
    """What a model draws by, where that is not the map along its grid."""
    if facts.sampler is None:
        return None
    kernel = kernel_named(facts.sampler.kernel, facts.sampler.anchor_distance, composed=False)
    return Policy(kernel, facts.sampler.window)
