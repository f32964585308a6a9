"""What a page needs and can't have is said before anything is made."""

from pathlib import Path

import pytest

from flowmap.errors import ConfigError
from flowmap.exporting.about import About
from flowmap.exporting.web import write_page
from tests.exporting.test_graph import GRID, KINDS, filled

ABOUT = About("tiny@1", "d" * 64, GRID)


@pytest.mark.parametrize(
    ("npm", "told"),
    [
        (
            None,
            r"which npm fetches, and there is no npm here: run `npm pack .*name the file .* with --runtime",
        ),
        ("echo 'the network is down' >&2; exit 1", r"`npm pack .*` failed: the network is down"),
        ("exit 0", r"`npm pack .*` failed: it says nothing"),
        ("echo other > x.tgz", r"x.tgz is not onnxruntime-web@.*, whose SHA-512 is"),
    ],
)
def test_a_runtime_that_can_not_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, npm: str | None, told: str
) -> None:
    commands = tmp_path / "bin"
    commands.mkdir()
    if npm is not None:
        (commands / "npm").write_text(f"#!/bin/sh\n{npm}\n")
        (commands / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(commands))
    folder = tmp_path / "page"
    folder.mkdir()
    with pytest.raises(ConfigError, match=told):
        write_page(filled(KINDS["mlp"]), KINDS["mlp"], ABOUT, None, folder)
    assert not [path for path in folder.rglob("*") if path.is_file()]


def test_what_has_no_picture(tmp_path: Path) -> None:
    series = KINDS["occasions"].model_copy(update={"modality": "series"})
    with pytest.raises(
        ConfigError, match="draws images and points, and tiny@1 makes series: take --format onnx"
    ):
        write_page(filled(KINDS["occasions"]), series, ABOUT, None, tmp_path)
