"""A step digest is exactly what a result depends on: settings, code, inputs and the libraries that
compute."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

from flowmap.artifacts.local_store import LocalStore
from flowmap.artifacts.manifest import Manifest
from flowmap.registry import Judged, Registry
from flowmap.settings import RunConfig, Section
from flowmap.settings.section import WITHOUT_EFFECT
from flowmap.steps import code_version
from flowmap.steps.code_version import is_without_effect, sources
from flowmap.steps.dag import PIPELINE, step_of
from flowmap.steps.digests import decisions, digest_of
from flowmap.steps.step import Input

STEPS = {step.name: step for step in PIPELINE}
PACKAGES = {f"flowmap.{path.parent.name}" for path in code_version.ROOT.glob("*/__init__.py")}
REUSED = [step.name for step in PIPELINE if step.reuse]


def config(**sections: Any) -> RunConfig:
    return RunConfig.model_validate({"name": "x", **sections})


def digest(step: str, settings: RunConfig, **versions: str) -> str:
    inputs = {"data": Input("d"), "tuned": Input("t")}
    return digest_of(decisions(STEPS[step], settings, inputs, lambda library: versions.get(library, "1.0")))


class Before(Section):
    rate: float = 0.5


class After(Before):
    window: int | None = None
    progress_every: Annotated[int, WITHOUT_EFFECT] = 10


class Outer(Section):
    inner: tuple[After, ...] = (After(),)
    named: dict[str, After] = Field(default_factory=lambda: {"a": After()})


def test_a_new_optional_setting_at_its_default_changes_no_digest() -> None:
    assert After().decisive() == Before().decisive() == {"rate": 0.5}
    assert After(window=3).decisive() == {"rate": 0.5, "window": 3}
    assert Outer().decisive() == {"inner": [{"rate": 0.5}], "named": {"a": {"rate": 0.5}}}


def test_a_none_that_is_not_the_default_is_a_value() -> None:
    fixed = config(grpo_finetuning={"kl_target": None})
    assert fixed.grpo_finetuning.decisive()["kl_target"] is None
    assert digest("grpo_finetuning", fixed) != digest("grpo_finetuning", config())


@pytest.mark.parametrize(
    ("changed", "steps"),
    [
        ({"name": "y"}, set()),
        ({"registry_push": {"alias": "staging", "publish": False}}, set()),
        ({"grpo_finetuning": {"micro_batch": 8, "checkpoint_every": 3}}, set()),
        ({"data_prep": {"color": "grey", "source": "x"}}, {"data_prep"}),
        ({"base_training": {"updates": 7}}, {"base_training"}),
        ({"reward_training": {"seed": 7}}, {"reward_training"}),
        ({"grpo_finetuning": {"rewards": [{"kind": "mmd"}]}}, {"grpo_finetuning"}),
        ({"evaluation": {"resamples": 70}}, {"evaluation"}),
    ],
)
def test_a_setting_changes_the_digest_of_its_own_step(changed: dict[str, Any], steps: set[str]) -> None:
    before, after = config(), config(**changed)
    assert {step for step in REUSED if digest(step, before) != digest(step, after)} == steps


def test_adapters_of_another_rank_are_another_result() -> None:
    """So that no checkpoint of the one is resumed for the other."""
    two, four = (
        config(base_training={"flux": {}}, grpo_finetuning={"lora": {"rank": rank}}) for rank in (2, 4)
    )
    assert {step for step in REUSED if digest(step, two) != digest(step, four)} == {"grpo_finetuning"}


def test_what_a_http_reward_is_asked_and_not_how_decides() -> None:
    def asking(**changes: Any) -> str:
        reward = {"kind": "http", "url": "http://scores/", **changes}
        return digest("grpo_finetuning", config(grpo_finetuning={"rewards": [reward]}))

    assert asking(timeout_s=1.0, batch=1, tries=9, concurrency=1) == asking()
    assert asking(url="http://other/") != asking()


def test_another_version_of_what_computes_runs_again_unless_that_is_said_to_be_the_same() -> None:
    trains = {"base_training", "reward_training", "grpo_finetuning", "evaluation"}
    assert {
        step for step in REUSED if digest(step, config(), torch="2.0") != digest(step, config())
    } == trains
    assert digest("data_prep", config(), pillow="2.0") != digest("data_prep", config())
    same = config(reuse_across_versions=True)
    assert all(digest(step, same, torch="2.0") == digest(step, same) for step in REUSED)


def test_the_incumbent_and_the_trials_number_are_inputs_of_evaluation(tmp_path: Path) -> None:
    store, step = LocalStore(tmp_path / "store"), step_of("evaluation")
    inputs = {"base": Input("b"), "tuned": Input("t")}
    assert step.extra_inputs(config(), store, inputs) == {"trial": Input("1")}
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "ema.safetensors").write_bytes(b"x")
    from flowmap.artifacts.manifest import build_manifest

    made: Manifest = build_manifest(tmp_path / "weights", step="grpo_finetuning", step_digest="s")
    registry = Registry(store, "x")
    judged = Judged(name="x", candidate="c", evaluation="e", incumbent=None, verdict={}, figures={})
    published = registry.upload(tmp_path / "weights", ["ema.safetensors"], made)
    version = registry.write_version(published, judged)
    registry.promote("production", version, judged)
    assert registry.claim_attempt(1, "c", "these terms")
    found = step.extra_inputs(config(), store, inputs)
    assert found["incumbent"].digest == version.manifest.digest
    assert found["trial"].digest == "2"


_LOADED = """
import importlib, json, sys
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
print(json.dumps(sorted(name for name in sys.modules if name.split(".")[0] == "flowmap")))
"""


@pytest.mark.parametrize("name", REUSED)
def test_every_module_that_a_step_loads_is_in_its_code_version(name: str) -> None:
    """By what Python has loaded, where the version goes by what is written."""
    step = STEPS[name]
    modules = step.modules(config())
    folder = code_version.ROOT / name
    own = [
        f"flowmap.{name}.{path.stem}"
        for path in folder.glob("*.py")
        if path.stem not in ("component", "__init__")
    ]
    command = [sys.executable, "-W", "ignore", "-c", _LOADED, json.dumps([*own, *modules])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    counted = {path.removesuffix(".py").replace("/", ".") for path in sources(name, modules)}
    counted |= {module.removesuffix(".__init__") for module in counted}
    found = json.loads(done.stdout)
    loaded = {module for module in found if not is_without_effect(module)}
    # A package that is there only for the sake of a module in it that counts for nothing counts for nothing
    # itself.
    loaded -= {
        name
        for name in loaded
        if not {each for each in loaded if each.startswith(f"{name}.")} and name in PACKAGES
    }
    assert loaded <= counted
    assert len(loaded) > 5
