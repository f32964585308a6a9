"""Demands that no reward could check end a run before anything is trained."""

from pathlib import Path
from typing import Any

import pytest

from flowmap.artifacts.local_store import LocalStore
from flowmap.artifacts.manifest import Manifest, build_manifest
from flowmap.artifacts.transfer import publish
from flowmap.data.facts import FACTS, DataFacts
from flowmap.errors import DataError
from flowmap.prompts.facts import PromptFacts
from flowmap.settings import RunConfig
from flowmap.steps.dag import PIPELINE
from tests.faults import fault

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
    "the model of a reward or of features is not there, or has pickled weights alone",
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
        (
            "grpo_finetuning",
            {"rewards": [{"kind": "clip", "source": "pickled"}]},
            "reward clip: pickled holds no weights as safetensors; pickled ones",
        ),
    ],
)
def test_models_that_are_asked_for_are_there_before_hours_are_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str, given: dict[str, Any], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "pytorch_model.bin").write_bytes(b"x")
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
