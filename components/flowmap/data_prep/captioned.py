"""Pictures with captions, encoded once: latents and what texts are to a transformer, in shards.

Exact duplicates under the same caption are dropped, pictures are sorted by content and fitted to the size of
the nearest aspect ratio, so that the same pictures in another order are the same shards. Each shard is kept
in the store as it is made: an interrupted run encodes none twice, nor does one with other prompts.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from flowmap.artifacts.digest import sha256_of_file
from flowmap.data.encoded import CAPTIONED, ENCODED, EncodedFacts, ShardFacts, shard_name
from flowmap.data.external import local_path
from flowmap.data.naming import named
from flowmap.data_prep.encoded_before import EncodedBefore, EncodedShard
from flowmap.data_prep.excluding import without_excluded
from flowmap.data_prep.validation import validate
from flowmap.errors import DataError
from flowmap.modality.images.files import BROKEN, ImageReader, normalised, upright_size
from flowmap.modality.images.fitting import fitted, nearest
from flowmap.modality.images.likeness import Seen, seen
from flowmap.modality.images.reading import read_metadata
from flowmap.progress import Progress, say
from flowmap.settings import DataPrep
from flowmap.steps.context import Context

_ENCODING = "flowmap.text_to_image.encoding"  # by name, as all of that room
_WHERE = "data_prep.captioned"
_READERS = 8  # threads that decode files


def encode(context: Context[DataPrep], section: DataPrep, prompts: Sequence[str] = ()) -> EncodedFacts:
    """Write the shards, and `captioned.parquet` with a row for each picture.

    Args: prompts: that the model will be asked for: those that are too long are told before hours are spent.

    Raises:
        DataError: no picture can be read, or more can't than `max_unreadable` allows.
        ConfigError: the encoder lacks a part, or a size of pictures does not suit it.
    """
    captioned, sizes = section.captioned, sizes_of(section)
    assert captioned is not None
    folder = local_path(captioned.source)
    reader = ImageReader(folder, section.model_copy(update={"color": "rgb", "resize": None}))
    with ThreadPoolExecutor(_READERS) as pool:
        table = table_of(section, folder, reader, pool)
        reader.check_readable()  # before hours are spent
        parts = [part for each in _shards(table, captioned.shard) if len(part := _left_in(each))]
        table = _left_in(table)
        expectations = validate(table, "captioned", captioned.expectations)
        context.expectations.extend(expectations)
        coding = importlib.import_module(_ENCODING).Encoder
        encoder = coding.load(captioned, f"{_WHERE}.encoder", context.scratch / "encoder", sizes)
        encoder.tell_cut(sorted(set(table["caption"])), "data_prep: captions")
        encoder.tell_cut(prompts, "data_prep: prompts")
        deciding = {"encoder": encoder.digests, "batch": captioned.batch, "precision": captioned.precision}
        before = EncodedBefore(context, {**deciding, "background": section.background})
        made, kept = [], []
        num_batches = [-(-len(part) // captioned.batch) for part in parts]
        with Progress("data_prep: encoding", sum(num_batches)) as progress:
            for number, part in enumerate(parts):
                size = sizes[part["bucket"].iloc[0]]
                key = before.key([size, part[["digest", "caption"]].to_numpy().tolist()])
                made_in = context.scratch / "shards" / str(number)
                shard = before.find(key, made_in)
                if shard is None:
                    shard = _encoded(
                        before.step, number, part, size, made_in, encoder, reader, pool, progress
                    )
                    before.keep(key, shard, made_in)
                else:
                    progress.skip(num_batches[number])
                    reader.unreadable += shard.unreadable
                    reader.check_readable()
                if shard.rows:
                    _move(made_in / shard_name(shard.number), context.out / shard_name(number))
                whole = part.iloc[shard.rows].assign(shard=number, row=range(len(shard.rows)))
                kept.append(_with_looks(whole, shard.seen).assign(bucket=f"{size[0]}x{size[1]}"))
                made.append(ShardFacts(size=size, num=len(shard.rows)))
    reader.check()
    if not any(shard.num for shard in made):
        raise DataError(f"{folder}: no readable image")
    everything = pd.concat(kept)
    everything.to_parquet(context.out / CAPTIONED, index=False)
    autoencoder, texts = encoder.digests
    facts = EncodedFacts(autoencoder=autoencoder, texts=texts, shards=tuple(made), expectations=expectations)
    (context.out / ENCODED).write_text(facts.model_dump_json(indent=1))
    counts = ", ".join(f"{name} {num}" for name, num in everything["bucket"].value_counts().items())
    say(f"data_prep: {facts.num} pictures with captions in {len(made)} shards; {counts}")
    return facts


def sizes_of(section: DataPrep) -> Sequence[tuple[int, int]]:
    """That pictures are fitted to."""
    assert section.captioned is not None
    assert section.resize is not None
    return section.captioned.buckets or (section.resize,)


def table_of(section: DataPrep, folder: Path, reader: ImageReader, pool: ThreadPoolExecutor) -> pd.DataFrame:
    """One row a picture: `id`, `caption`, `digest`, its size as `rows` and `columns`, `bucket`, and whether
    it is `left_out` on request; in order of bucket and content.

    Args: folder: with the pictures; pool: of threads that look at them.

    Raises DataError: the folder's table and its files do not belong together, or a caption is empty.
    """
    captioned, sizes = section.captioned, sizes_of(section)
    assert captioned is not None
    read_as = section.model_copy(update={"prompt_column": captioned.caption_column})
    table = read_metadata(folder, read_as).rename(columns={"file_name": "id", "prompt": "caption"})
    if empty := table["id"][table["caption"] == ""].tolist():
        raise DataError(f"{_WHERE}: {len(empty)} pictures have an empty caption: {named(empty)}")

    def look(name: str) -> tuple[str, tuple[int, int] | None]:
        try:
            digest = sha256_of_file(folder / name)
        except OSError:
            return "", None
        try:
            with Image.open(folder / name) as image:
                return digest, upright_size(image)
        except BROKEN:
            return digest, None

    found = list(pool.map(look, table["id"]))
    table = table.assign(digest=[digest for digest, _ in found], size=[size for _, size in found])
    _, left_out = without_excluded(table, section.exclude)
    broken = table["size"].isna()
    gone = table["digest"].isin(left_out - {""}) | table["id"].isin(section.exclude)
    for name in table["id"][broken & ~gone]:
        reader.open(name)  # which tells what is wrong with it
    table = table[~broken]
    num_read = len(table)
    table = table.sort_values(["digest", "caption", "id"]).drop_duplicates(["digest", "caption"])
    buckets = [nearest(size, sizes) for size in table["size"]]
    small = sum(
        size[0] < sizes[bucket][0] or size[1] < sizes[bucket][1]
        for size, bucket in zip(table["size"], buckets, strict=True)
    )
    say(f"data_prep: {num_read} pictures with captions, {num_read - len(table)} duplicates")
    if small:
        say(f"data_prep: {small} of them are smaller than what they are fitted to, and enlarged")
    rows, columns = ([size[side] for size in table["size"]] for side in (0, 1))
    told = table.assign(bucket=buckets, rows=rows, columns=columns).drop(columns="size")
    told = told.assign(left_out=told["digest"].isin(left_out))
    return told.sort_values(["bucket", "digest", "caption"])


def _left_in(table: pd.DataFrame) -> pd.DataFrame:
    return table[~table["left_out"]].drop(columns="left_out")


def _with_looks(table: pd.DataFrame, looks: Sequence[Seen]) -> pd.DataFrame:
    """What each picture looks like, for `flowmap data diff`, which decodes none."""
    return table.assign(
        brightness=np.array([each.brightness for each in looks]),
        contrast=np.array([each.contrast for each in looks]),
        likeness=np.array([each.likeness for each in looks], np.uint64),
    )


def _shards(table: pd.DataFrame, most: int) -> Iterator[pd.DataFrame]:
    """Parts of one size each. What is left out has its place all the same: so the others are shards that
    may have been encoded before."""
    for _, part in table.groupby("bucket", sort=True):
        for first in range(0, len(part), most):
            yield part.iloc[first : first + most]


def _encoded(
    step: str,
    number: int,
    part: pd.DataFrame,
    size: tuple[int, int],
    folder: Path,
    encoder: Any,
    reader: ImageReader,
    pool: ThreadPoolExecutor,
    progress: Progress,
) -> EncodedShard:
    """The pictures of a part that can be read, as a shard in the folder."""
    before = len(reader.unreadable)

    def pixels(name: str) -> tuple[NDArray[np.uint8], Seen] | None:
        picture = reader.open(name)
        if picture is None:
            return None
        levels = fitted(picture, size)
        return levels, seen(levels)

    captions, batch = part["caption"].tolist(), encoder.batch
    rows, latents, looks = [], [], []
    read = _ahead(pool, pixels, part["id"], 2 * batch)
    for first in range(0, len(part), batch):
        found = [(first + at, *each) for at, each in enumerate(islice(read, batch)) if each is not None]
        if found:
            rows += [row for row, _, _ in found]
            looks += [look for _, _, look in found]
            latents.append(encoder.latents(normalised([levels for _, levels, _ in found], 3)))
        progress.update()
    reader.check_readable()
    if rows:
        encoder.write_shard(folder, number, latents, [captions[row] for row in rows])
    return EncodedShard(
        step=step, number=number, rows=rows, seen=looks, unreadable=reader.unreadable[before:]
    )


def _ahead(pool: ThreadPoolExecutor, compute: Any, items: Iterable[Any], num: int) -> Iterator[Any]:
    """What comes of each item, in their order; so many are under way before they are asked for."""
    waiting, under_way = iter(items), []
    for item in islice(waiting, num):
        under_way.append(pool.submit(compute, item))
    while under_way:
        done = under_way.pop(0).result()
        under_way += [pool.submit(compute, item) for item in islice(waiting, 1)]
        yield done


def _move(made: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    made.replace(target)
