"""Steps that compute nothing with torch do not wait for it to load."""

import subprocess
import sys

import pytest

from flowmap.steps.dag import PIPELINE

LIGHT = sorted({step.name for step in PIPELINE if "torch" not in step.libraries})
SCRIPT = """
import sys
import flowmap.{step}.component, flowmap.{step}.step, flowmap.steps.frame
from flowmap.modality import reading
from flowmap.seeding import seed_everything
for modality in ("images", "points", "series"):
    reading(modality)
seed_everything(1, with_torch=False)
print("torch" in sys.modules)
"""


HEAVY = """
import sys
import flowmap.{step}.component, flowmap.{step}.step, flowmap.steps.frame
from importlib import import_module, util
if util.find_spec("flowmap.{step}.worker"):
    import_module("flowmap.{step}.worker")
print([name for name in ("diffusers", "transformers", "peft") if name in sys.modules])
"""


def test_there_are_some() -> None:
    assert LIGHT == ["data_prep", "registry_push"]


@pytest.mark.parametrize("step", LIGHT)
def test_a_light_step_loads_no_torch(step: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(step=step)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False"]


@pytest.mark.parametrize("step", sorted({step.name for step in PIPELINE}))
def test_what_is_no_text_to_image_model_loads_nothing_of_theirs(step: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HEAVY.format(step=step)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
