"""The pieces of a run that can be measured on one machine, each on as little as says something."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.encoding import write_pictures
from flowmap.artifacts.digest import sha256_of_file
from flowmap.artifacts.local_store import LocalStore
from flowmap.artifacts.manifest import build_manifest
from flowmap.artifacts.s3_store import S3Store
from flowmap.artifacts.transfer import fetch, publish
from flowmap.data.encoded import ENCODED, EncodedFacts, ShardFacts
from flowmap.data.shards import Shards, write_shard
from flowmap.data_prep.captioned import table_of
from flowmap.modality.images.files import ImageReader
from flowmap.modality.images.fitting import fitted
from flowmap.modality.images.likeness import seen
from flowmap.settings import DataPrep

_MB = 1e6
_PICTURES, _SIZE = 200, (512, 512)


@dataclass(frozen=True)
class Pieces:
    """Seconds a picture, bytes a second, bytes a row.

    Attributes:
        hashed: bytes a second of one core.
        looked_s: for a file's digest and size, and its row in the table; decoded_s: to decode and fit it.
        row_bytes: of the table, in memory; entry_bytes: of a manifest, for each file.
        upload, download: bytes a second of an artifact to the store and back, digests included.
        drawn_s: for one row of a shard, read for a batch.
    """

    hashed: float
    looked_s: float
    decoded_s: float
    row_bytes: float
    entry_bytes: float
    upload: float
    download: float
    drawn_s: float

    def told(self) -> Iterator[str]:
        """Markdown."""
        yield "| piece | |"
        yield "| --- | ---: |"
        yield f"| SHA-256, one core | {self.hashed / _MB:,.0f} MB/s |"
        yield f"| a JPEG of 1024x768 looked at: digest, size, row | {self.looked_s * 1e3:.2f} ms |"
        yield f"| the same decoded and fitted, one core | {self.decoded_s * 1e3:.1f} ms |"
        yield f"| its row in memory | {self.row_bytes:,.0f} bytes |"
        yield f"| a file in a manifest | {self.entry_bytes:,.0f} bytes |"
        yield f"| an artifact to the store | {self.upload / _MB:,.0f} MB/s |"
        yield f"| and back | {self.download / _MB:,.0f} MB/s |"
        yield f"| a picture of a shard, drawn for a batch | {self.drawn_s * 1e3:.2f} ms |"


def measured(store: str | None) -> Pieces:
    """Args: store: its URL; a folder of this machine where there is none."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        there = LocalStore(folder / "store") if store is None else S3Store.from_url(store)
        large = folder / "large"
        large.mkdir()
        for number in range(16):
            (large / f"{number:02d}.bin").write_bytes(os.urandom(16 << 20))
        size = sum(path.stat().st_size for path in large.iterdir())
        hashed = size / _seconds(lambda: [sha256_of_file(path) for path in large.iterdir()])
        manifest = build_manifest(large, step="benchmark", step_digest="0" * 64)
        upload = size / _seconds(lambda: publish(there, large, manifest, "benchmark/large"))
        back = folder / "back"
        back.mkdir()
        download = size / _seconds(lambda: fetch(there, manifest, back, "benchmark/large"))
        entry_bytes = len(manifest.to_bytes()) / len(manifest.files)
        write_pictures(folder / "pictures", _PICTURES)
        looked_s, decoded_s, row_bytes = _pictures(folder / "pictures")
        drawn_s = _drawn(folder / "shards")
    return Pieces(hashed, looked_s, decoded_s, row_bytes, entry_bytes, upload, download, drawn_s)


def _pictures(folder: Path) -> tuple[float, float, float]:
    captioned = {"source": str(folder), "encoder": {"source": "none"}}
    section = DataPrep.model_validate({"prompts": "none.txt", "resize": _SIZE, "captioned": captioned})
    reader = ImageReader(folder, section.model_copy(update={"color": "rgb", "resize": None}))
    with ThreadPoolExecutor(1) as pool:
        began = time.perf_counter()
        table = table_of(section, folder, reader, pool)
        looked_s = (time.perf_counter() - began) / len(table)

    def decode() -> None:
        for name in table["id"]:
            picture = reader.open(name)
            assert picture is not None
            seen(fitted(picture, _SIZE))

    return looked_s, _seconds(decode) / len(table), float(table.memory_usage(deep=True).sum()) / len(table)


def _drawn(folder: Path) -> float:
    """With the latents and texts of FLUX at 512 x 512."""
    num, batch, rounds = 32, 8, 8
    texts = {"tokens": torch.randn(num, 512, 4096).bfloat16(), "pooled": torch.randn(num, 768).bfloat16()}
    write_shard(folder, 0, torch.randn(num, 16, 64, 64).bfloat16(), texts, range(num))
    facts = EncodedFacts(autoencoder="", texts="", shards=(ShardFacts(size=_SIZE, num=num),))
    (folder / ENCODED).write_text(facts.model_dump_json())
    shards, generator = Shards(folder), torch.Generator().manual_seed(0)

    def draw() -> None:
        for _ in range(rounds):
            shards.draw(batch, generator)

    return _seconds(draw) / (rounds * batch)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
