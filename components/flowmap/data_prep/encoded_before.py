"""Shards that were encoded before: by an interrupted run, or by one with other prompts that has finished.

    before = EncodedBefore(context, {"encoder": digests, "batch": 16})   # what decides every shard
    key = before.key(pictures)                     # and what decides this one
    if (shard := before.find(key, folder)) is None:
        shard = EncodedShard(step=before.step, number=3, rows=[0, 1, 2], seen=looks, unreadable=[])
        before.keep(key, shard, folder)            # its file lies in the folder

A key points to the step that encoded the shard: to its checkpoint while that step is not done, to its
artifact afterwards. No bytes are kept twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from flowmap.artifacts.checkpoints import Checkpoints
from flowmap.artifacts.digest import canonical_json, sha256_of
from flowmap.artifacts.results import finished_result
from flowmap.artifacts.transfer import fetch_artifact
from flowmap.data.encoded import shard_name
from flowmap.errors import IntegrityError
from flowmap.modality.images.likeness import Seen
from flowmap.progress import say
from flowmap.settings import DataPrep
from flowmap.steps.context import Context


class EncodedShard(BaseModel):
    """Where a shard lies, and what it holds of the pictures that were to be encoded.

    Attributes:
        step: the digest of the step that encoded it.
        number: which of its shards.
        rows: those of the pictures that could be read; without one there is no file.
        seen: what is kept of each of them.
        unreadable: the others, and what is wrong with each.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    step: str
    number: int
    rows: list[int]
    seen: list[Seen]
    unreadable: list[str]


class EncodedBefore:
    """The shards that a store knows.

    Args: deciding: what all shards of this step depend on, beside their pictures and the code.
    """

    def __init__(self, context: Context[DataPrep], deciding: Mapping[str, Any]) -> None:
        self.store, self.checkpoints = context.store, context.checkpoints
        self.root, _, self.step = context.checkpoints.prefix.rpartition("/")
        self._deciding = {**deciding, "made_by": context.made_by}

    def key(self, pictures: Any) -> str:
        """Of these pictures with their captions, as anything that JSON can say."""
        return sha256_of(canonical_json({**self._deciding, "pictures": pictures}))

    def find(self, key: str, folder: Path) -> EncodedShard | None:
        """The shard of a key, its file in the folder then; None where it was never made, is gone or is
        damaged."""
        try:
            shard = EncodedShard.model_validate_json(self.store.get(self._name(key)))
        except (KeyError, ValidationError):
            return None
        try:
            there = not shard.rows or self._fetch(shard, folder)
        except IntegrityError as error:
            say(f"data_prep: {str(error).partition(';')[0]}: its pictures are encoded again")
            there = False
        return shard if there else None

    def keep(self, key: str, shard: EncodedShard, folder: Path) -> None:
        """What the folder holds, for an interrupted run and for runs to come."""
        if shard.rows:
            self._checkpoint(shard).save(1, folder)
        self.store.put(self._name(key), shard.model_dump_json().encode())

    def _fetch(self, shard: EncodedShard, folder: Path) -> bool:
        self._checkpoint(shard).restore(folder)
        if (folder / shard_name(shard.number)).is_file():  # not where its step is done, and is clearing up
            return True
        if (made := finished_result(self.store, shard.step)) is None:
            return False
        try:
            fetch_artifact(self.store, made.digest, folder, [shard_name(shard.number)])
        except KeyError:  # taken away since
            return False
        return True

    def _checkpoint(self, shard: EncodedShard) -> Checkpoints:
        return Checkpoints(self.store, f"{self.root}/{shard.step}/shards/{shard.number:06d}")

    def _name(self, key: str) -> str:
        return f"{self.root}/encoded/{key}.json"
