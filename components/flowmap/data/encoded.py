"""What data_prep says of pictures that it has encoded, for those who read no shard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

SHARDS, ENCODED, CAPTIONED = "shards", "encoded.json", "captioned.parquet"
Size = tuple[int, int]


def shard_name(number: int) -> str:
    """The path of a shard in the artifact."""
    return f"{SHARDS}/{number:06d}.safetensors"


class ShardFacts(BaseModel):
    """One shard.

    Attributes:
        size: of its pictures, rows and columns of pixels.
        num: how many they are.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    size: Size
    num: int


class EncodedFacts(BaseModel):
    """All of them.

    Attributes:
        autoencoder, texts: digests of what encoded them: latents of another are noise to a model.
        shards: in the order of their numbers.
        expectations: what was checked of all, as rows of name, column and how many were looked at.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    autoencoder: str
    texts: str
    shards: tuple[ShardFacts, ...]
    expectations: tuple[dict[str, Any], ...] = ()

    @property
    def sizes(self) -> tuple[Size, ...]:
        """Those that there are pictures of."""
        return tuple(sorted({shard.size for shard in self.shards}))

    @property
    def num(self) -> int:
        """Pictures in all."""
        return sum(shard.num for shard in self.shards)


def encoded_facts(directory: Path) -> EncodedFacts | None:
    """Those of an artifact of data_prep; None where no pictures were encoded."""
    path = directory / ENCODED
    return EncodedFacts.model_validate_json(path.read_bytes()) if path.is_file() else None
