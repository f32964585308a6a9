"""What is asked for when a version is made again, without the hours of doing so."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from flowmap.artifacts.local_store import LocalStore
from flowmap.audit.graph import trace
from flowmap.registry import Registry
from flowmap.settings import RunConfig
from flowmap_pipelines import reproducing
from flowmap_pipelines.reproducing import Reproduced, Reproduction, reproduce
from tests.pipeline.runs import Finished


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """Configurations that are run."""
    found: list[RunConfig] = []

    def run_locally(config: RunConfig, *_: Any) -> SimpleNamespace:
        found.append(config)
        return SimpleNamespace(records={})

    monkeypatch.setattr(reproducing, "run_locally", run_locally)
    return found


@pytest.mark.parametrize("number", ["1", "2"])
def test_nobody_needs_the_house_s_key_to_make_a_version_again(
    root: Path, first: Finished, asked: list[RunConfig], tmp_path: Path, number: str
) -> None:
    store = LocalStore(root / "store")
    version = Registry(store, "tiny").resolve(number)
    graph = trace(store, version)
    made = graph.weights.made_by
    assert made is not None
    assert made.config is not None
    made.config["registry_push"]["require_signature"] = True
    before = RunConfig.model_validate(made.config)
    reproduce(store, graph, version, tmp_path / "again")
    (config,) = asked
    assert not config.registry_push.require_signature
    assert config.registry_push.publish
    assert config.grpo_finetuning.rollouts == (1 if number == "1" else before.grpo_finetuning.rollouts)
    assert made.config["registry_push"]["require_signature"]  # what is on record stays as it is


def test_settings_are_asked_for_as_they_were(root: Path, first: Finished, tmp_path: Path) -> None:
    """The code of then knows none that came later."""
    store = LocalStore(root / "store")
    graph = trace(store, Registry(store, "tiny").resolve("2"))
    made = graph.weights.made_by
    assert made is not None
    assert made.config is not None
    del made.config["evaluation"]["judge_shifts"]
    reproducing.write_sources(store, graph, tmp_path / "then")
    assert yaml.safe_load((tmp_path / "then" / "config.yaml").read_text()) == made.config


def test_without_figures_nobody_knows_how_near_it_came(root: Path, first: Finished) -> None:
    store = LocalStore(root / "store")
    made = trace(store, Registry(store, "tiny").resolve("2")).weights.made_by
    assert made is not None
    elsewhere = made.model_copy(update={"output": "f" * 64, "instruction_set": "DEFAULT"})
    step = Reproduced("grpo_finetuning", made, elsewhere)
    assert step.may_differ
    assert not Reproduction([step], []).is_close
