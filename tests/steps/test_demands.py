"""Demands that no reward could check end a run before anything is trained."""

import json
from pathlib import Path
from typing import Any

import pytest

from flowmap.artifacts.local_store import LocalStore
from flowmap.artifacts.manifest import Manifest, build_manifest
from flowmap.artifacts.transfer import publish
from flowmap.data.facts import FACTS, DataFacts
from flowmap.errors import ConfigError, DataError
from flowmap.prompts.facts import PromptFacts
from flowmap.settings import RunConfig
from flowmap.steps.dag import PIPELINE, step_of
from flowmap.steps.suiting import models_will_do
from tests.faults import fault
from tests.hub_server import COMMIT, NAME, Hub, serving

(DATA_PREP,) = (step for step in PIPELINE if step.name == "data_prep")
RULES = {"kind": "rules", "source": "there"}
PLAIN: dict[str, Any] = {
    "name": "x",
    "data_prep": {"prompts": "p.jsonl", "resize": [16, 16]},
    "base_training": {"checkpoint": {"source": "there"}},
    "grpo_finetuning": {"rewards": [{"kind": "ocr"}]},
    "evaluation": {"rewards": [{"kind": "ocr"}]},
}


def made_of(facts: DataFacts, folder: Path) -> tuple[LocalStore, Manifest]:
    """An artifact of data, in a store."""
    (folder / "data").mkdir()
    (folder / "data" / FACTS).write_text(facts.model_dump_json())
    store = LocalStore(folder / "store")
    manifest = build_manifest(folder / "data", step="data_prep", step_digest="d")
    publish(store, folder / "data", manifest)
    return store, manifest


@pytest.mark.parametrize("section", ["grpo_finetuning", "evaluation"])
def test_they_are_looked_at_when_data_are_there(tmp_path: Path, section: str) -> None:
    told: tuple[dict[str, Any], ...] = (
        {"include": [{"class": "dog"}]},
        {"include": [{"class": "dog", "position": ["left of", 3]}]},
    )
    facts = DataFacts(
        modality="images",
        prompts=("a dog", "a dog beside itself"),
        shape=(3, 16, 16),
        num_read=2,
        num_duplicates=0,
        splits={},
        counts={},
        expectations=(),
        prompt_facts=PromptFacts(told=told),
    )
    store, manifest = made_of(facts, tmp_path)
    DATA_PREP.check(RunConfig.model_validate(PLAIN), store, manifest)
    asked = RunConfig.model_validate({**PLAIN, section: {"rewards": [{"kind": "ocr"}, RULES]}})
    with pytest.raises(
        DataError, match=r"prompt 'a dog beside itself': include\[0\] has the position .* for"
    ):
        DATA_PREP.check(asked, store, manifest)


@fault(
    "the model of a reward or of features is not there",
    "the run ends when its data are ready, before anything is trained",
    of="writing",
)
@pytest.mark.parametrize(
    ("section", "given", "told"),
    [
        (
            "grpo_finetuning",
            {"rewards": [{"kind": "clip", "source": "no-such"}]},
            "reward clip.source: there is no folder no-such",
        ),
        (
            "evaluation",
            {"rewards": [{"kind": "ocr"}, {"kind": "imagereward", "source": "no-such"}]},
            "reward imagereward.source: there is no folder no-such",
        ),
        (
            "evaluation",
            {"rewards": [{"kind": "ocr"}], "features": {"source": "no-such"}},
            "evaluation.features.source: there is no folder no-such",
        ),
    ],
)
def test_models_that_are_asked_for_are_there_before_hours_are_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str, given: dict[str, Any], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    facts = DataFacts(
        modality="images",
        prompts=("a dog",),
        shape=(3, 16, 16),
        num_read=1,
        num_duplicates=0,
        splits={},
        counts={},
        expectations=(),
    )
    store, manifest = made_of(facts, tmp_path)
    with pytest.raises(DataError, match=told):
        DATA_PREP.check(RunConfig.model_validate({**PLAIN, section: given}), store, manifest)


@fault(
    "the model of a reward or of features is gated, of another kind, or has pickled weights alone",
    "the run ends before anything is encoded or trained, by the first kilobytes of the model",
    of="writing",
)
@pytest.mark.parametrize(
    ("section", "given", "kind", "weights", "says"),
    [
        ("grpo_finetuning", "rewards", "siglip", "model.safetensors", "clip: .* a model of the kind siglip"),
        ("grpo_finetuning", "rewards", None, "model.safetensors", "clip: .* is no model of transformers"),
        ("grpo_finetuning", "rewards", "{", "model.safetensors", "clip: .* is no model of transformers"),
        ("grpo_finetuning", "rewards", "clip", "pytorch_model.bin", "no weights as safetensors; pickled"),
        (
            "evaluation",
            "features",
            "t5",
            "model.safetensors",
            "features: .* kind t5, and one of the kind clip",
        ),
    ],
)
def test_models_that_are_asked_for_will_do_before_hours_are_spent(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    section: str,
    given: str,
    kind: str | None,
    weights: str,
    says: str,
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    if kind is not None:
        told = json.dumps({"model_type": kind}) if kind != "{" else kind
        (folder / "config.json").write_text(told)
    (folder / weights).write_bytes(b"x")
    for source in ({"source": str(folder)}, {"source": NAME, "revision": COMMIT}):
        asked = {"features": source} if given == "features" else {"rewards": [{"kind": "clip", **source}]}
        plain = PLAIN[section] | asked if section in PLAIN else asked
        config = RunConfig.model_validate({**PLAIN, section: plain})
        with serving(Hub(folder), monkeypatch) as hub:
            with pytest.raises((ConfigError, DataError), match=says):
                models_will_do(config, tmp_path / f"scratch-{len(source)}")
            assert weights not in hub.asked


def test_a_gated_model_that_is_only_evaluated_by_is_told_before_hours_are_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "clip"}))
    (folder / "model.safetensors").write_bytes(b"x")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    features = {"source": NAME, "revision": COMMIT}
    config = RunConfig.model_validate({**PLAIN, "evaluation": {**PLAIN["evaluation"], "features": features}})
    with serving(Hub(folder, token="hf_sesame"), monkeypatch):
        for name in ("base_training", "grpo_finetuning"):
            with pytest.raises(ConfigError, match=r"evaluation.features: .* set HF_TOKEN"):
                step_of(name, "run").look(config, tmp_path / name)
        monkeypatch.setenv("HF_TOKEN", "hf_sesame")
        step_of("grpo_finetuning", "run").look(config, tmp_path / "again")


def test_a_name_on_the_hub_without_a_commit_is_told_before_anything_is_asked_of_it(tmp_path: Path) -> None:
    for source, says in (("openai/clip", "it wants a revision"), ("no-such", "there is no folder no-such")):
        asked = {**PLAIN, "grpo_finetuning": {"rewards": [{"kind": "clip", "source": source}]}}
        with pytest.raises(DataError, match=says):
            step_of("base_training", "run").look(RunConfig.model_validate(asked), tmp_path)
