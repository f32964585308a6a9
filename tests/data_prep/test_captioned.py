"""Pictures with captions become shards of latents and of what their texts are to a transformer."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from flowmap.artifacts.checkpoints import Checkpoints
from flowmap.artifacts.digest import sha256_of_file
from flowmap.artifacts.local_store import LocalStore
from flowmap.artifacts.manifest import build_manifest
from flowmap.artifacts.transfer import publish
from flowmap.data.encoded import CAPTIONED, encoded_facts
from flowmap.data.external import external_digests
from flowmap.data.shards import Shards
from flowmap.data_prep import captioned
from flowmap.data_prep.step import run as prepare
from flowmap.errors import ConfigError, DataError
from flowmap.modality.images.fitting import fitted, nearest
from flowmap.settings import Checkpoint, DataPrep, RunConfig
from flowmap.steps.context import Context
from flowmap.text_to_image.checkpoints import take_over
from flowmap.text_to_image.latents import LatentCodec
from flowmap.text_to_image.text import FluxText
from tests.faults import fault
from tests.text_to_image.facts import DATA
from tests.text_to_image.tiny import write_stock

SIZES = ((20, 20), (16, 32), (40, 24))
BUCKETS = ((16, 16), (12, 20), (20, 12))


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stock(tmp_path_factory.mktemp("stock"))


def write_pictures(folder: Path, num: int = 20) -> None:
    """Square, wide and high ones in turn; two with the same caption each, one twice as it is."""
    folder.mkdir()
    generator, rows = np.random.default_rng(0), []
    for index in range(num):
        pixels = generator.integers(0, 255, (*SIZES[index % 3], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:03d}.png")
        rows.append({"file_name": f"{index:03d}.png", "text": f"a cat of kind {index // 2}"})
    (folder / "again.png").write_bytes((folder / "000.png").read_bytes())
    rows.append({"file_name": "again.png", "text": rows[0]["text"]})
    (folder / "other.png").write_bytes((folder / "000.png").read_bytes())
    rows.append({"file_name": "other.png", "text": "the same, told otherwise"})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))


def section(pictures: Path, stock: Path, **changes: Any) -> DataPrep:
    given = {"source": str(pictures), "encoder": {"source": str(stock)}, "precision": "float32"}
    sizes = {"buckets": [list(size) for size in BUCKETS], "shard": 4, "batch": 3}
    return DataPrep.model_validate(
        {"prompts": "prompts.txt", "resize": [16, 16], "captioned": {**given, **sizes, **changes}}
    )


def encode(
    given: DataPrep,
    folder: Path,
    store: LocalStore | None = None,
    step: str = "x",
    code: str = "code",
    work: Callable[[Context[DataPrep]], object] = lambda context: captioned.encode(context, context.section),
) -> Path:
    """The artifact that becomes of it, of the pictures alone unless the whole step is the work."""
    out, scratch = folder / "out", folder / "scratch"
    for each in (out, scratch):
        each.mkdir(parents=True)
    there = store or LocalStore(folder / "store")
    kept = Checkpoints(there, f"checkpoints/data_prep/{step}")
    context = Context(given, {}, {}, {}, code, out, kept, there, scratch, lambda trainings: None)
    work(context)
    return out


def test_each_is_fitted_encoded_and_found_again(stock: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures")
    out = encode(section(tmp_path / "pictures", stock), tmp_path / "run")
    table, shards = pd.read_parquet(out / CAPTIONED), Shards(out)
    assert len(table) == len(shards) == 21  # of 22, one of which is there twice
    assert "the same, told otherwise" in set(table["caption"])
    assert table["bucket"].value_counts().to_dict() == {"16x16": 8, "12x20": 7, "20x12": 6}
    assert shards.facts.sizes == tuple(sorted(BUCKETS))
    assert max(shard.num for shard in shards.facts.shards) <= 4
    codec, texts = LatentCodec.load(stock, ()), FluxText.load(stock, 6)
    for row in table.itertuples():
        size = tuple(map(int, row.bucket.split("x")))
        whole = fitted(Image.open(tmp_path / "pictures" / row.id), (size[0], size[1]))
        expected = codec.encode(torch.from_numpy(whole.copy()).permute(2, 0, 1)[None] / 127.5 - 1)[0]
        at = shards.facts.sizes.index((size[0], size[1]))
        same = table[table["bucket"] == row.bucket].reset_index()
        found = shards._row(at, int(same.index[same["id"] == row.id][0]))
        torch.testing.assert_close(found["latents"], expected, atol=1e-4, rtol=1e-4)
        with torch.no_grad():
            tokens, pooled = texts([row.caption])
        torch.testing.assert_close(found["tokens"], tokens[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(found["pooled"], pooled[0], atol=1e-5, rtol=1e-4)


def test_a_batch_is_of_one_size_and_sizes_come_as_often_as_they_have_pictures(
    stock: Path, tmp_path: Path
) -> None:
    write_pictures(tmp_path / "pictures")
    shards = Shards(encode(section(tmp_path / "pictures", stock), tmp_path / "run"))
    generator, seen = torch.Generator().manual_seed(1), Counter[tuple[int, ...]]()
    for _ in range(300):
        x, condition = shards.draw(5, generator)
        assert len(x) == len(condition["tokens"]) == len(condition["pooled"]) == 5
        assert x.dtype == torch.float32
        seen[tuple(x.shape[2:])] += 1
    assert set(seen) == {(8, 8), (6, 10), (10, 6)}
    assert abs(seen[8, 8] / 300 - 8 / 21) < 0.09


def test_the_order_of_files_does_not_matter(stock: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "one")
    write_pictures(tmp_path / "two")
    lines = (tmp_path / "two" / "metadata.jsonl").read_text().splitlines()
    (tmp_path / "two" / "metadata.jsonl").write_text("\n".join(reversed(lines)))
    made = [encode(section(tmp_path / name, stock), tmp_path / f"run-{name}") for name in ("one", "two")]
    for path in (made[0] / "shards").iterdir():
        assert path.read_bytes() == (made[1] / "shards" / path.name).read_bytes()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Counts the pictures in each batch that is encoded from then on; one more than `most` batches dies."""
    plain = LatentCodec.encode

    def count(most: int | None = None) -> list[int]:
        found: list[int] = []

        def encode(codec: LatentCodec, data: torch.Tensor) -> torch.Tensor:
            if len(found) == most:
                raise KeyboardInterrupt
            found.append(len(data))
            return plain(codec, data)

        monkeypatch.setattr(LatentCodec, "encode", encode)
        return found

    return count


def finish(out: Path, store: LocalStore, step: str = "x") -> str:
    """What the frame does when a step's own work is done; returns the artifact's digest."""
    made = build_manifest(out, step="data_prep", step_digest=step)
    publish(store, out, made)
    store.put(f"steps/{step}.json", made.to_bytes())
    Checkpoints(store, f"checkpoints/data_prep/{step}").clear()
    return made.digest


def assert_same_shards(one: Path, other: Path) -> None:
    for path in (one / "shards").iterdir():
        assert path.read_bytes() == (other / "shards" / path.name).read_bytes()


def test_an_interrupted_run_encodes_none_twice(
    stock: Path, tmp_path: Path, counted: Callable[..., list[int]]
) -> None:
    write_pictures(tmp_path / "pictures")
    given, store = section(tmp_path / "pictures", stock), LocalStore(tmp_path / "store")
    first = counted(most=3)  # two of the first shard, of four pictures, and one of the second
    with pytest.raises(KeyboardInterrupt):
        encode(given, tmp_path / "first", store)
    assert first == [3, 1, 3]
    second = counted()
    out = encode(given, tmp_path / "second", store)
    assert sum(second) == 21 - 4
    assert_same_shards(encode(given, tmp_path / "third"), out)


@pytest.mark.parametrize("finished", [False, True])
def test_a_step_with_other_prompts_encodes_none_of_the_same_pictures(
    stock: Path, tmp_path: Path, counted: Callable[..., list[int]], *, finished: bool
) -> None:
    write_pictures(tmp_path / "pictures")
    (tmp_path / "pictures" / "003.png").write_bytes(b"no picture")
    given, store = section(tmp_path / "pictures", stock), LocalStore(tmp_path / "store")
    given = given.model_copy(update={"max_unreadable": 1})
    out = encode(given, tmp_path / "first", store)
    if finished:
        finish(out, store)
    other, again = given.model_copy(update={"prompts": "others.txt"}), counted()
    assert_same_shards(encode(other, tmp_path / "second", store, "y"), out)
    assert again == []
    (tmp_path / "pictures" / "004.png").unlink()
    lines = (tmp_path / "pictures" / "metadata.jsonl").read_text().splitlines()
    (tmp_path / "pictures" / "metadata.jsonl").write_text(
        "\n".join(line for line in lines if "004" not in line)
    )
    encode(other, tmp_path / "third", store, "z")
    assert 0 < sum(again) < 7  # of the pictures of its size, from there on


def test_what_somebody_asked_to_have_left_out_is_gone_and_its_shard_alone_is_encoded_again(
    stock: Path, tmp_path: Path, counted: Callable[..., list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "pictures")
    given, store = section(tmp_path / "pictures", stock), LocalStore(tmp_path / "store")
    finish(out := encode(given, tmp_path / "first", store), store)
    before = pd.read_parquet(out / CAPTIONED)
    same = before["digest"][before["id"] == "other.png"].iloc[0]  # as 000.png, under another caption
    first = before.iloc[0]
    for exclude, gone in (
        (["other.png"], before["digest"] == same),
        ([first["digest"][:12]], before["digest"] == first["digest"]),
    ):
        less, again = given.model_copy(update={"exclude": tuple(exclude)}), counted()
        fewer = encode(less, tmp_path / exclude[0], store, exclude[0])
        after = pd.read_parquet(fewer / CAPTIONED)
        pairs = [set(zip(each["digest"], each["caption"], strict=True)) for each in (before[~gone], after)]
        assert pairs[0] == pairs[1]
        touched = before["shard"][gone].nunique()
        assert 0 < sum(again) <= 4 * touched
        assert "left_out" not in after.columns
        facts = encoded_facts(fewer)
        assert facts is not None
        assert facts.num == len(after)
    assert "data left out as asked" in capsys.readouterr().err


@pytest.mark.parametrize("by", ["name", "digest"])
def test_a_broken_picture_can_be_left_out(by: str, stock: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures")
    broken = tmp_path / "pictures" / "other.png"
    broken.write_bytes(b"no picture")
    given = section(tmp_path / "pictures", stock)
    assert given.max_unreadable == 0
    with pytest.raises(DataError, match=r"1 images can't be read .* other.png \(no image\)"):
        encode(given, tmp_path / "first")
    asked = ("other.png" if by == "name" else sha256_of_file(broken),)
    out = encode(given.model_copy(update={"exclude": asked}), tmp_path / "second")
    assert "other.png" not in set(pd.read_parquet(out / CAPTIONED)["id"])


def test_a_shard_of_nothing_but_what_is_left_out_is_none(stock: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures")
    given = section(tmp_path / "pictures", stock)
    before = pd.read_parquet(encode(given, tmp_path / "first") / CAPTIONED)
    gone = before[before["shard"] == 0]["digest"]
    out = encode(given.model_copy(update={"exclude": tuple(gone)}), tmp_path / "second")
    after = pd.read_parquet(out / CAPTIONED)
    assert sorted(after["shard"].unique()) == list(range(after["shard"].nunique()))
    assert not set(gone) & set(after["digest"])


@pytest.mark.parametrize("change", ["code", "background", "batch", "precision", "caption"])
def test_what_would_make_other_bytes_is_encoded_again(
    stock: Path, tmp_path: Path, counted: Callable[..., list[int]], change: str
) -> None:
    write_pictures(tmp_path / "pictures")
    given, store = section(tmp_path / "pictures", stock), LocalStore(tmp_path / "store")
    finish(encode(given, tmp_path / "first", store), store)
    again = counted()
    if change == "background":
        given = given.model_copy(update={"background": (0, 0, 0)})
    if change == "caption":
        table = tmp_path / "pictures" / "metadata.jsonl"
        table.write_text(table.read_text().replace("a cat", "a dog"))
    changes = (
        {"batch": 2} if change == "batch" else {"precision": "bfloat16"} if change == "precision" else {}
    )
    captioned = given.captioned.model_copy(update=changes) if given.captioned else None
    given = given.model_copy(update={"captioned": captioned})
    encode(given, tmp_path / "second", store, "y", code="other" if change == "code" else "code")
    assert sum(again) == 21


@fault(
    "a shard of encoded pictures is damaged, or gone with its artifact",
    "its pictures are encoded again",
    of="writing",
)
@pytest.mark.parametrize("damage", ["artifact", "gone", "checkpoint", "pointer"])
def test_what_is_damaged_or_gone_is_encoded_again(
    stock: Path, tmp_path: Path, counted: Callable[..., list[int]], damage: str
) -> None:
    write_pictures(tmp_path / "pictures")
    given, store = section(tmp_path / "pictures", stock), LocalStore(tmp_path / "store")
    out = encode(given, tmp_path / "first", store)
    digest = "" if damage == "checkpoint" else finish(out, store)
    if damage == "gone":
        for name in list(store.names(f"artifacts/{digest}")):
            store.delete(name)
    elif damage == "pointer":
        for name in list(store.names("checkpoints/data_prep/encoded")):
            store.put(name, b"{")
    else:
        names = store.names("checkpoints" if damage == "checkpoint" else "artifacts")
        name = next(each for each in names if each.endswith("000001.safetensors"))
        path = store.root / name
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    again = counted()
    assert_same_shards(encode(given, tmp_path / "second", store, "y"), out)
    assert sum(again) == (21 if damage in ("gone", "pointer") else 4)


def test_what_can_not_be_read_is_left_out_where_that_is_allowed(stock: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures")
    whole = (tmp_path / "pictures" / "001.png").read_bytes()
    (tmp_path / "pictures" / "001.png").write_bytes(whole[: len(whole) // 2])  # its header is whole
    (tmp_path / "pictures" / "002.png").write_bytes(b"no picture")
    given = section(tmp_path / "pictures", stock)
    with pytest.raises(DataError, match=r"2 images can't be read .*allows 0\): 0"):
        encode(given, tmp_path / "first")
    out = encode(given.model_copy(update={"max_unreadable": 2}), tmp_path / "second")
    table = pd.read_parquet(out / CAPTIONED)
    assert not {"001.png", "002.png"} & set(table["id"])
    assert len(Shards(out)) == len(table) == 19


def test_what_does_not_suit_the_encoder_is_told(stock: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures", 4)
    with pytest.raises(ConfigError, match=r"pictures of 14 x 16 do not come out even: .* multiples of 4"):
        encode(section(tmp_path / "pictures", stock, buckets=[[14, 16]]), tmp_path / "a")
    with pytest.raises(ConfigError, match=r"captioned.encoder: .* has no model_index.json"):
        encode(section(tmp_path / "pictures", tmp_path / "pictures"), tmp_path / "b")
    with pytest.raises(DataError, match=r"has no column caption; it has file_name, text"):
        encode(section(tmp_path / "pictures", stock, caption_column="caption"), tmp_path / "c")
    (tmp_path / "pictures" / "metadata.jsonl").write_text('{"file_name": "000.png", "text": " "}')
    for name in ("001", "002", "003", "again", "other"):
        (tmp_path / "pictures" / f"{name}.png").unlink()
    with pytest.raises(DataError, match=r"1 pictures have an empty caption: 000.png"):
        encode(section(tmp_path / "pictures", stock), tmp_path / "d")


def test_a_folder_that_is_not_there_is_told(stock: Path, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a cat")
    given = section(tmp_path / "none", stock).model_copy(update={"prompts": str(tmp_path / "prompts.txt")})
    with pytest.raises(DataError, match=r"data_prep.captioned.source: there is no folder .*none"):
        external_digests(given)
    (tmp_path / "none").mkdir()
    with pytest.raises(
        DataError, match=r"a table with the columns `file_name` and `text`, one row an image"
    ):
        encode(given, tmp_path / "run")


def test_the_nearest_aspect_ratio_is_taken() -> None:
    assert [nearest(size, BUCKETS) for size in SIZES] == [0, 1, 2]
    assert nearest((1000, 900), BUCKETS) == 0
    assert nearest((10, 1000), BUCKETS) == 1
    picture = Image.new("RGB", (30, 10), (255, 0, 0))
    picture.paste((0, 0, 255), (10, 0, 20, 10))
    assert (fitted(picture, (10, 10)) == (0, 0, 255)).all()  # the middle


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"data_prep": {"prompts": None}}, "captioned pictures stand beside prompts"),
        ({"base_training": {"checkpoint": {"source": "m"}}}, "on such pictures, and nothing else"),
        ({"data_prep": {"captioned": None}}, "set data_prep.captioned, or leave it out"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(changes: dict[str, Any], told: str) -> None:
    given: dict[str, Any] = {
        "name": "x",
        "data_prep": {
            "prompts": "p.txt",
            "resize": [16, 16],
            "captioned": {"source": "pictures", "encoder": {"source": "m"}},
        },
        "base_training": {"checkpoint": {"source": "m", "convert": True}},
    }
    for name, values in changes.items():
        given[name] |= values
    with pytest.raises(ValidationError, match=told):
        RunConfig.model_validate(given)


def test_the_table_is_checked_before_anything_is_encoded(
    stock: Path, tmp_path: Path, counted: Callable[..., list[int]]
) -> None:
    write_pictures(tmp_path / "pictures")
    wide = {"type": "expect_column_values_to_be_between", "kwargs": {"column": "columns", "min_value": 22}}
    encoded = counted()
    given = section(tmp_path / "pictures", stock, expectations=[wide])
    told = r"_captioned.json and data_prep.captioned.expectations:\n  .*between\(columns\) failed for "
    with pytest.raises(DataError, match=told + r"\d+ of 21 images: \d{3}\.png"):
        encode(given, tmp_path / "run")
    assert encoded == []
    unknown = section(tmp_path / "pictures", stock, expectations=[{"type": "expect_no_such_thing"}])
    with pytest.raises(ConfigError, match=r"data_prep\.captioned\.expectations: expect_no_such_thing: "):
        encode(unknown, tmp_path / "other")
    out = encode(section(tmp_path / "pictures", stock), tmp_path / "right")
    facts = encoded_facts(out)
    assert facts is not None
    assert {row["num_rows"] for row in facts.expectations} == {21}


@pytest.mark.parametrize("of", ["data_prep", "base_training"])
def test_prompts_that_are_cut_are_counted(
    of: str, stock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before pictures are encoded, where there are any, and before anything is trained."""
    write_pictures(tmp_path / "pictures")
    prompts = ("a cat", "a dog that is told of at some length " * 3)
    if of == "data_prep":
        given = section(tmp_path / "pictures", stock)
        (tmp_path / "prompts.txt").write_text("\n".join(prompts))
        given = given.model_copy(update={"prompts": str(tmp_path / "prompts.txt")})
        encode(given, tmp_path / "run", work=prepare)
    else:
        asked = DATA.model_copy(update={"prompts": prompts})
        take_over(Checkpoint(source=str(stock)), asked, tmp_path, tmp_path)
    told = capsys.readouterr().err
    assert f"{of}: 1 of 2 prompts are longer than the 6 tokens that text_encoder_2 takes" in told
    assert "'a dog that is told of" in told
    assert of == "base_training" or told.index("prompts are longer") < told.index("encoding")


def test_captions_that_are_cut_are_counted(
    stock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "pictures")
    table = tmp_path / "pictures" / "metadata.jsonl"
    table.write_text(table.read_text().replace("the same, told otherwise", "the same, told at length " * 9))
    encode(section(tmp_path / "pictures", stock), tmp_path / "run")
    told = capsys.readouterr().err
    assert (
        "11 of 11 captions are longer than the 5 tokens that text_encoder takes, and are cut there: " in told
    )
    of_the_other = (
        "1 of 11 captions are longer than the 6 tokens that text_encoder_2 takes, and are cut there: "
    )
    assert f"data_prep: {of_the_other}'the same" in told
