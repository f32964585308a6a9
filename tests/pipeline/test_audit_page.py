"""An auditor's afternoon: every command of docs/audit.md is typed, in its order, on a store of today."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from flowmap.artifacts.local_store import LocalStore
from flowmap.artifacts.manifest import MANIFEST_NAME, parse_manifest
from flowmap.artifacts.transfer import artifact_prefix, fetch_artifact
from flowmap.attestation.keys import new_key_pair
from flowmap.data.dataset import TABLE
from flowmap.registry import Judged, Registry
from tests.pipeline.runs import Finished, run

PAGE = Path(__file__).parents[2] / "docs" / "audit.md"
# What ends with another status than 0, and what is said then.
DIFFERS = {"flowmap data diff": (0, 1)}


@dataclass
class Afternoon:
    """Where commands are typed, and what stands in the page for what is here."""

    folder: Path
    here: dict[str, str]
    environment: dict[str, str]

    def typed(self, line: str) -> subprocess.CompletedProcess[str]:
        for there, mine in self.here.items():
            line = line.replace(there, mine)
        return subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )


@pytest.fixture
def afternoon(
    first_run: Path, first: Finished, catalogue: tuple[str, list[dict[str, Any]]], tmp_path: Path
) -> Afternoon:
    """A model `digits` with a base, a version that was promoted and another that people moved to."""
    root, made = tmp_path / ".flowmap", first.digests()
    shutil.copytree(first_run / "root" / "store", root / "store")
    shutil.rmtree(root / "store" / "models")
    assert run(root, "name=digits").status == 0
    other = run(root, "name=digits", "grpo_finetuning.seed=7")
    store = LocalStore(root / "store")
    registry = Registry(store, "digits")
    if other.status:
        (rejected,) = registry.rejections()
        judged = Judged(**{name: getattr(rejected, name) for name in Judged.model_fields})
        fetch_artifact(store, judged.candidate, tmp_path / "candidate")
        name = f"{artifact_prefix(judged.candidate)}/{MANIFEST_NAME}"
        source = parse_manifest(store.get(name), where=name)
        files = [entry.path for entry in registry.resolve("2").manifest.files]
        registry.write_version(registry.upload(tmp_path / "candidate", files, source), judged)
    for number in ("3", "1"):
        registry.move_alias("production", registry.resolve(number), "for the test")
    table = pd.read_parquet(store.root / "artifacts" / made["data_prep"] / TABLE)
    shims = tmp_path / "bin"
    shims.mkdir()
    for name, module in (("flowmap", "flowmap_pipelines.cli"), ("model_signing", "model_signing")):
        (shims / name).write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
        (shims / name).chmod(0o755)
    config = root.parent / "tiny.yaml"
    here = {
        "8f1b2c39872a": made["data_prep"][:12],
        "1ef9248dcda1": made["data_prep"][:12],
        "cat_017.png": str(table["id"].iloc[0]),
        "http://marquez:5000": catalogue[0],
        "run examples/digits.yaml": f"run {config} --set name=signed",
    }
    path = f"{shims}:{os.environ['PATH']}"
    return Afternoon(tmp_path, here, {"PATH": path, "XDG_CACHE_HOME": str(tmp_path / "cache")})


def _blocks() -> list[str]:
    found = re.findall(r"(?:^    .*\n)+", PAGE.read_text(), re.MULTILINE)
    return ["\n".join(line[4:] for line in block.splitlines()) for block in found]


@pytest.mark.slow
def test_every_command_of_the_page_does_what_it_says(afternoon: Afternoon) -> None:
    num = 0
    for block in _blocks():
        if block.startswith("keys:"):
            _trust(afternoon, block)
            continue
        for line in filter(None, block.splitlines()):
            told = line.split("#")[0].strip()
            if match := re.fullmatch(r"export (\w+)=(\S+)", told):
                afternoon.environment[match[1]] = match[2]
                continue
            done = afternoon.typed(told)
            name = " ".join(told.split()[:3])
            assert done.returncode in DIFFERS.get(name, (0,)), f"{told}\n{done.stdout}{done.stderr}"
            assert "Traceback" not in done.stderr
            num += 1
    assert num == len(re.findall(r"^    (?:flowmap|model_signing) ", PAGE.read_text(), re.MULTILINE))
    assert (afternoon.folder / "three.png").stat().st_size > 100
    assert len((afternoon.folder / "digits.jsonl").read_text().splitlines()) >= 10


def _trust(afternoon: Afternoon, block: str) -> None:
    """The page's file of trusted keys, at a day when it holds; all versions are signed by then."""
    folder = afternoon.folder / "keys"
    for name in ("ours-2027", "laptop"):
        new_key_pair(folder, name)
    told = yaml.safe_load(block)
    told["keys"][0]["until"] = (datetime.now(UTC) + timedelta(days=30)).date()
    for each in told["keys"]:
        each["key"] = f"keys/{each['key']}"
    (afternoon.folder / "trusted.yaml").write_text(yaml.safe_dump(told))
    assert afternoon.typed("flowmap lineage attest").returncode == 0
