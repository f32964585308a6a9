"""A source that is sorted by class teaches and judges the rewards as a shuffled one does."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from flowmap.data_prep.step import run as prepare
from flowmap.modality.images.reading import read
from flowmap.reward_training.step import run
from flowmap.settings import DataPrep, RewardTraining


def test_a_source_sorted_by_class_is_learnt_and_judged_in_every_class(tmp_path: Path) -> None:
    found = read(DataPrep())
    order = np.argsort(np.array(found.prompts), kind="stable")
    levels = np.round((found.data[:, 0] + 1) * 127.5).astype(np.uint8)[order]
    np.savez(tmp_path / "sorted.npz", images=levels, prompts=np.array(found.prompts)[order])
    data, out = tmp_path / "data", tmp_path / "out"
    for folder in (data, out):
        folder.mkdir()
    section = DataPrep(source=str(tmp_path / "sorted.npz"))
    # All of a Context that these steps use; a whole one takes a run.
    prepare(SimpleNamespace(section=section, out=data, scratch=tmp_path, expectations=[]))  # type: ignore[arg-type]
    settings = RewardTraining(updates=300, classifier_updates=200)
    torch.manual_seed(1)
    run(SimpleNamespace(section=settings, inputs={"data": data}, out=out))  # type: ignore[arg-type]
    preference = json.loads((out / "preference.json").read_text())
    assert preference["pair_accuracy"]["against_wrong_prompt"] > 0.85
    classifier = json.loads((out / "classifier.json").read_text())
    assert classifier["real_accuracy"] > 0.85
