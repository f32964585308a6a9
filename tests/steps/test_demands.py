"""Demands that no reward could check end a run before anything is trained."""

from pathlib import Path
from typing import Any

import pytest

from flowmap.artifacts.local_store import LocalStore
from flowmap.artifacts.manifest import build_manifest
from flowmap.artifacts.transfer import publish
from flowmap.data.facts import FACTS, DataFacts
from flowmap.errors import DataError
from flowmap.prompts.facts import PromptFacts
from flowmap.settings import RunConfig
from flowmap.steps.dag import PIPELINE

(DATA_PREP,) = (step for step in PIPELINE if step.name == "data_prep")
RULES = {"kind": "rules", "source": "there"}


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
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / FACTS).write_text(facts.model_dump_json())
    store = LocalStore(tmp_path / "store")
    manifest = build_manifest(folder, step="data_prep", step_digest="d")
    publish(store, folder, manifest)
    plain = {
        "name": "x",
        "data_prep": {"prompts": "p.jsonl", "resize": [16, 16]},
        "base_training": {"checkpoint": {"source": "there"}},
        "grpo_finetuning": {"rewards": [{"kind": "ocr"}]},
        "evaluation": {"rewards": [{"kind": "ocr"}]},
    }
    DATA_PREP.check(RunConfig.model_validate(plain), store, manifest)
    asked = RunConfig.model_validate({**plain, section: {"rewards": [{"kind": "ocr"}, RULES]}})
    with pytest.raises(
        DataError, match=r"prompt 'a dog beside itself': include\[0\] has the position .* for"
    ):
        DATA_PREP.check(asked, store, manifest)
