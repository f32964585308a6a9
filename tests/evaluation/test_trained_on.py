"""The control of as much work more on the base."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from flowmap.evaluation.entrants import Entrant
from flowmap.evaluation.trained_on import begun, num_updates
from flowmap.settings import BaseTraining, Evaluation, FluxSettings, GrpoFinetuning
from flowmap.steps.context import Context

REWARDS = ({"kind": "classifier"},)
GRPO = GrpoFinetuning.model_validate(
    {"grid": [1, 0.5, 0], "window": [0], "groups": 2, "group_size": 4, "rewards": REWARDS}
)


@pytest.mark.parametrize(
    ("changes", "evaluations"),
    [
        ({}, 2 + 2 * 2 * 4),  # two maps draw, and two updates take two of each, there and back and once more
        ({"composed": False}, 2 + 2 * 4),
        ({"composed": False, "kernel": "local"}, 2 + 2 * 2 * 4),
        ({"updates_per_rollout": 1, "composed": False}, 2 + 4),
        ({"grid": (1.0, 0.6, 0.3, 0.0), "window": None, "composed": False}, 3 + 2 * 2 * 4),
    ],
)
def test_it_takes_as_many_network_evaluations_as_grpo(changes: dict[str, Any], evaluations: int) -> None:
    base, grpo = BaseTraining(batch_size=8), GRPO.model_copy(update=changes)
    assert num_updates(base, grpo, rollouts=12) == round(12 * evaluations * 8 / (8 * 6))


def test_a_central_difference_is_taken_where_times_differ_only() -> None:
    base = BaseTraining(batch_size=8, flux=FluxSettings(), equal_times=0.75)
    assert num_updates(base, GRPO, rollouts=7) == round(7 * 18 / 3.5)


def context_of(folder: Path, trained: list[Any], *, train_on: bool = True) -> Context[Evaluation]:
    for name in ("base", "tuned", "out"):
        (folder / name).mkdir()
    (folder / "base" / "base.json").write_text(BaseTraining(batch_size=8).model_dump_json())
    (folder / "tuned" / "grpo.json").write_text(json.dumps(GRPO.decisive()))
    (folder / "tuned" / "curve.json").write_text(json.dumps([{"rollout": 1}, {"rollout": 2}]))

    def train(trainings: list[Any]) -> None:
        trained.extend(trainings)
        (folder / "out" / "trained_on.safetensors").write_bytes(b"weights")

    told = SimpleNamespace(
        section=Evaluation(train_on=train_on),
        inputs={"base": folder / "base", "tuned": folder / "tuned"},
        out=folder / "out",
        train=train,
    )
    return cast("Context[Evaluation]", told)


def test_its_weights_are_there_when_asked_for_and_gone_afterwards(tmp_path: Path) -> None:
    trained: list[Any] = []
    with begun(context_of(tmp_path, trained)) as control:
        entrant = control.entrant(Entrant(tmp_path / "base", "map", (1.0, 0.5, 0.0)))
        assert entrant is not None
        assert (entrant.folder / f"{entrant.weights}.safetensors").read_bytes() == b"weights"
        assert entrant.grid == (1.0, 0.5, 0.0)
    assert [each.section.updates for each in trained] == [num_updates(BaseTraining(batch_size=8), GRPO, 2)]
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("without", ["wish", "settings"])
def test_there_is_none_where_it_is_not_wanted_or_a_base_came_as_it_is(tmp_path: Path, without: str) -> None:
    trained: list[Any] = []
    context = context_of(tmp_path, trained, train_on=without != "wish")
    if without == "settings":
        (tmp_path / "base" / "base.json").unlink()
    with begun(context) as control:
        assert control.entrant(Entrant(tmp_path / "base", "map", (1.0, 0.0))) is None
    assert not trained


def test_what_its_training_raised_is_raised(tmp_path: Path) -> None:
    context = context_of(tmp_path, [])

    def fails(trainings: list[Any]) -> None:
        raise RuntimeError("no memory")

    context = cast("Context[Evaluation]", SimpleNamespace(**{**vars(context), "train": fails}))
    with pytest.raises(RuntimeError, match="no memory"), begun(context) as control:
        control.entrant(Entrant(tmp_path / "base", "map", (1.0, 0.0)))
