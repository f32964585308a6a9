"""What each facet of a modality offers. A facet is a module, so its functions are the methods here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from flowmap.prompts.facts import PromptFacts
    from flowmap.settings import DataPrep


@dataclass(frozen=True)
class Read:
    """Data as they were read.

    Attributes:
        ids: a name for each datum.
        data: shape (N, *shape), about [-1, 1].
        prompts: one each, in normal form.
        named: whether the names are the data's own, as those of files are; else they only count.
        origins: what each datum was made from, where several come from one: they stay in one split.
        attributes: what prompts demand, by prompt and attribute.
        context: what is known beforehand, (N, *context), where each datum is what came of it and its prompt
            is the occasion's name, its own; None where prompts say all there is to say.
        splits: of each datum, where time and not chance decides; "" for one between two, that is left out.
    """

    ids: list[str]
    data: NDArray[np.float32]
    prompts: list[str]
    named: bool = False
    origins: list[str] | None = None
    attributes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    context: NDArray[np.float32] | None = None
    splits: list[str] | None = None


@dataclass(frozen=True)
class Look:
    """What was seen of a user's data before any of it is read in earnest.

    Attributes:
        prompts: how many data each has.
        shape: that one datum would have.
        told: what they are, in a few words.
        settings: of data_prep, to write down: a value and why, by name.
    """

    prompts: Mapping[str, int]
    shape: tuple[int, ...]
    told: str
    settings: Mapping[str, tuple[object, str]]


@dataclass(frozen=True)
class Occasions:
    """What simpler methods may learn from: contexts (N, *context), in the order of time, and what came of
    each, (N, *data)."""

    context: Tensor
    came: Tensor


class Looking(Protocol):
    """A first look, for `flowmap init`."""

    def look(self, source: Path, preferences: Path | None = None) -> Look:
        """Look at a folder or file, and the table of preferences that goes with it.

        Raises DataError when it is not readable as such data.
        """


class Reading(Protocol):
    """From the user's files to arrays."""

    def read(self, section: DataPrep) -> Read:
        """All that `section.source` names. Raises DataError naming every offender."""

    def read_files(
        self, section: DataPrep, folder: Path, names: Sequence[str], shape: Sequence[int]
    ) -> dict[str, NDArray[np.float32]]:
        """Some files of a folder, each of that shape, by name.

        Raises DataError for those that are of another.
        """


class Corruption(Protocol):
    """From real data to worse ones."""

    def corrupt(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Worse versions of x (batch, *shape), each at a strength of its own; the same shape."""


class JudgeNetwork(Protocol):
    """A classifier whose features distances are measured in."""

    def features(self, x: Tensor) -> Tensor:
        """Shape (batch, features)."""

    def __call__(self, x: Tensor) -> Tensor:
        """Logits of the prompts, shape (batch, prompts)."""


class Judging(Protocol):
    """What a panel of judges is made of."""

    def make_judges(
        self, shape: Sequence[int], num_prompts: int, facts: PromptFacts | None = None
    ) -> Sequence[nn.Module]:
        """Fresh networks for data of that shape, logits of the prompts each, the first a `JudgeNetwork`.

        Prompts that are made of attributes are judged by these.
        """


class MovingJudging(Judging, Protocol):
    """The same of data that can be moved, and are still what they are."""

    def moved(self, x: Tensor, most: int, generator: torch.Generator) -> Tensor:
        """Data (batch, *data), each moved by so much at most."""


class Forecasting(Protocol):
    """What forecasts are judged by, once it is known what came."""

    def features(self, x: Tensor) -> Tensor:
        """What distances are measured in, (batch, features)."""

    def hits(self, x: Tensor, came: Tensor) -> Tensor:
        """Whether each forecast (batch, *data) is as good as what came, (batch, *data), for a purpose."""

    def forecasts(
        self, occasions: Occasions, context: Tensor, num_each: int, generator: torch.Generator
    ) -> Mapping[str, Tensor]:
        """What simpler methods say at contexts (N, *context), (N, num_each, *data) each, by their names."""


class Pictures(Protocol):
    """How samples are shown to people: as PNG, whatever they are."""

    def contact_sheet(self, x: Tensor, num_columns: int, scale: int = 1) -> bytes:
        """Samples (N, *shape) in rows."""

    def labelled_rows(
        self,
        rows: Mapping[str, Tensor],
        columns: Sequence[str] = (),
        right: Mapping[str, Tensor] | None = None,
    ) -> bytes:
        """One row of samples for each label, the same number in each.

        `columns` stand above them, and `right` says of some rows which samples show what they should.
        """

    def sheet_scale(self, shape: Sequence[int], most_px: int, num_columns: int = 1) -> int:
        """How large to draw samples of that shape so that a row of them is at most so wide."""


class Sizes(Protocol):
    """What the data's size asks of training, where the settings leave it open."""

    def suggest(self, shape: Sequence[int], num_data: int) -> dict[str, Any]:
        """`width`, `updates` and `batch_size`."""
