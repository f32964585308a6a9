"""The rewards of examples/prompts_alone see what pictures show, and its configuration is one."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from flowmap.modality.images.tinted import read_tinted
from flowmap.rewards import Samples
from flowmap.settings import load_config

FOLDER = Path(__file__).parents[2] / "examples" / "prompts_alone"


@pytest.fixture(scope="module")
def asked() -> ModuleType:
    spec = importlib.util.spec_from_file_location("asked", FOLDER / "asked.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_real_paintings_are_as_asked_and_others_are_not(asked: ModuleType) -> None:
    found = read_tinted()
    chosen = np.random.default_rng(0).permutation(len(found.data))[:300]
    pictures = torch.from_numpy(found.data[chosen])[:, None]
    prompts = [found.prompts[each] for each in chosen]
    right = Samples(pictures, prompts)
    assert float(asked.is_as_asked(right).mean()) > 0.95
    assert set(prompts) <= set((FOLDER / "prompts.txt").read_text().splitlines())
    other = {"digit": "eight", "colour": "green", "background": "white"}
    for place, word in zip((2, 1, 4), other.values(), strict=True):
        words = [prompt.split() for prompt in prompts]
        wrong = [each for each, told in enumerate(words) if told[place] != word]
        asking = [" ".join([*words[each][:place], word, *words[each][place + 1 :]]) for each in wrong]
        kept = [each for each, prompt in enumerate(asking) if prompt.split()[1] != prompt.split()[4]]
        asking, there = [asking[each] for each in kept], pictures[[wrong[each] for each in kept]]
        mistaken = Samples(there, asking)
        assert float(asked.is_as_asked(mistaken).mean()) < 0.05, word
        paid = asked.nearness(right).mean() - asked.nearness(mistaken).mean()
        assert float(paid) > 1


def test_its_configuration_is_one() -> None:
    config = load_config(FOLDER / "prompts_alone.yaml")
    assert [each.label for each in config.evaluation.rewards or ()] == ["python"]
