"""GRPO's training processes: what they leave, and that their number and the ZeRO stage change nothing."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from flowmap.grpo_finetuning.worker import Loop
from flowmap.launching.launcher import launch
from flowmap.models.storing import load_model, write_model_facts
from tests.faults import fault
from tests.grpo_finetuning.untrained import FACTS, job_of, write_untrained
from tests.text_to_image.tiny import write_tiny

LAUNCH = """
import os, sys
os.environ["FLOWMAP_RUN_PID"] = str(os.getpid())  # its processes end with it
from flowmap.launching.job import Job
from flowmap.launching.launcher import launch
launch([Job.model_validate_json(sys.argv[1])])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_untrained(tmp_path)
    return tmp_path


def test_what_is_left_is_what_was_trained(folder: Path) -> None:
    job = job_of(folder, "one", "none")
    loop = Loop(job.work())
    loop.run()
    write_model_facts(job.out, FACTS)
    raw, snapshot = (load_model(job.out, name).network.state_dict() for name in ("raw", "snapshots/000010"))
    for name, value in loop.model.network.state_dict().items():
        assert torch.equal(raw[name], value)
        assert torch.equal(snapshot[name], value)
    average = load_model(job.out, "ema").network.state_dict()
    assert any(not torch.equal(average[name], value) for name, value in raw.items())
    curve = json.loads((job.out / "curve.json").read_text())
    assert [row["rollout"] for row in curve] == list(range(1, 11))
    assert {"reward_preference", "spread_mmd", "correlation_mmd", "kl", "unscored"} <= set(curve[0])


@pytest.mark.slow
@pytest.mark.parametrize("stages", [(2,), (0, 1), (3,)])
def test_processes_and_zero_stages_agree(
    folder: Path, stages: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same samples, the same first loss, and the same summed gradients.

    Those are what plain descent adds to the weights.
    """
    here = str(Path(__file__).parents[2])  # where the worker of these tests is found from
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")])))
    curves, weights = {}, {}
    for processes, stage in ((1, 0), *((2, stage) for stage in stages)):
        name = f"{processes}-{stage}"
        changes = {"rollouts": 2, "updates_per_rollout": 1, "processes": processes, "zero_stage": stage}
        changes |= {"ratio_norm": False}  # with it the gradients are smaller, and less could be told by them
        job = job_of(folder, name, "tests.grpo_finetuning.plain_descent_worker", **changes)
        launch([job])
        curves[name] = json.loads((job.out / "curve.json").read_text())
        weights[name] = load_file(job.out / "raw.safetensors")
    alone, before = curves["1-0"][0], load_file(folder / "base" / "map.safetensors")
    moved = max(float((weights["1-0"][key] - value).abs().max()) for key, value in before.items())
    assert moved > 1e-3
    for name in (f"2-{stage}" for stage in stages):
        first = curves[name][0]
        assert first["reward_preference"] == pytest.approx(alone["reward_preference"], abs=1e-6), name
        assert first["loss"] == pytest.approx(alone["loss"], abs=1e-6), name
        for key, value in weights["1-0"].items():
            torch.testing.assert_close(weights[name][key], value, atol=1e-6, rtol=1e-4, msg=f"{name} {key}")


@fault(
    "this machine's run is killed, at any moment",
    of="processes",
)
@pytest.mark.parametrize("stage", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_two_processes_killed_in_mid_training_end_with_the_same_weights(folder: Path, stage: int) -> None:
    changes = {
        "rollouts": 16,
        "checkpoint_every": 4,
        "processes": 2,
        "zero_stage": stage,
        "kl_target": 0.5,
        "kl_weight": 0.1,
    }
    worker = "flowmap.grpo_finetuning.worker"
    undisturbed, killed = (job_of(folder, name, worker, **changes) for name in ("undisturbed", "killed"))
    launch([undisturbed])
    command = [sys.executable, "-c", LAUNCH, killed.model_dump_json()]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    limit_s = time.monotonic() + 120
    while not list((folder / "store").glob("checkpoints/killed/*4/complete")):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < limit_s
        time.sleep(0.01)
    process.kill()
    process.wait()
    launch([killed])
    curves = [json.loads((job.out / "curve.json").read_text()) for job in (undisturbed, killed)]
    assert curves[0] == curves[1]
    for name in ("raw", "ema", "snapshots/000016"):
        one, other = ((job.out / f"{name}.safetensors").read_bytes() for job in (undisturbed, killed))
        assert one == other, name


def test_what_stops_early_ships_its_best(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(folder, "early", "none", stop_after=5)
    loop, rewards = Loop(job.work()), iter([0.0, 0.0, 0.0, 1.0, 5.0, 5.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    kept, rollout = {}, loop.grpo.rollout

    def staged(index: int) -> dict[str, float]:
        figures = rollout(index) | {"reward_preference": next(rewards), "reward_mmd": 0.0}
        kept[index + 1] = {name: value.clone() for name, value in loop.grpo.ema.weights.items()}
        return figures

    monkeypatch.setattr(loop.grpo, "rollout", staged)
    monkeypatch.setattr(loop, "section", loop.section.model_copy(update={"rollouts": 12}))
    loop.run()
    told = json.loads((job.out / "training.json").read_text())
    assert (told["rollouts"], told["shipped_rollout"]) == (11, 6)
    shipped = load_file(job.out / "ema.safetensors")
    assert all(torch.equal(shipped[name], value) for name, value in kept[6].items())
    assert any(not torch.equal(shipped[name], value) for name, value in kept[11].items())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("lora", [None, {"rank": 2, "alpha": 4.0}], ids=["all", "adapters"])
@pytest.mark.parametrize("stage", [2, 3])
def test_zero_stages_agree_of_transformers_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: int, lora: dict[str, float] | None
) -> None:
    """All weights, and adapters, of a FLUX transformer: two processes come to what one does."""
    here = str(Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")])))
    write_tiny(tmp_path / "base").joinpath("ema.safetensors").rename(tmp_path / "base" / "map.safetensors")
    (tmp_path / "reward").mkdir()
    weights, curves = [], []
    for processes, each in ((1, 0), (2, stage)):
        changes = {
            "rollouts": 1,
            "updates_per_rollout": 1,
            "processes": processes,
            "zero_stage": each,
            "lora": lora,
            "ratio_norm": False,
            "groups": 2,
            "group_size": 4,
            "kernel": "endpoint",
            "rewards": [{"kind": "python", "function": "tests.grpo_finetuning.plain_descent_worker:bright"}],
        }
        job = job_of(tmp_path, f"of-{processes}", "tests.grpo_finetuning.plain_descent_worker", **changes)
        launch([job])
        curves.append(json.loads((job.out / "curve.json").read_text())[0])
        weights.append(load_file(job.out / "raw.safetensors"))
    before = load_file(tmp_path / "base" / "map.safetensors")
    moved = max(float((weights[0][key] - before[key]).abs().max()) for key in before)
    assert moved > 1e-4
    assert curves[1]["loss"] == pytest.approx(curves[0]["loss"], abs=1e-5)
    for key, value in weights[0].items():
        torch.testing.assert_close(weights[1][key], value, atol=moved / 100, rtol=1e-4, msg=key)
