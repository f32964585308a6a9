"""What an exported folder says of the model in it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowmap.models import ModelFacts


@dataclass(frozen=True)
class About:
    """A model, by what it is called.

    Attributes:
        name: with its version, such as `digits@3`.
        digest: of the version's files, or of the candidate where none was published.
        grid: the times that it is drawn at, falling from 1 to 0.
    """

    name: str
    digest: str
    grid: tuple[float, ...]

    def write(self, folder: Path, facts: ModelFacts, **more: Any) -> None:
        """As `config.json`."""
        told = {
            "model": self.name,
            "digest": self.digest,
            "grid": self.grid,
            "modality": facts.modality,
            "prompts": facts.prompts,
            "shape": facts.shape,
            **more,
        }
        (folder / "config.json").write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
