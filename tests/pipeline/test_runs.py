"""Whole DAGs: promoted, rejected, reused, changed, interrupted."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import numpy as np
import pytest
import yaml

import flowmap
from flowmap.artifacts.local_store import LocalStore
from flowmap.artifacts.transfer import faults
from flowmap_pipelines.profile import shipped_profiles
from tests.cli import flowmap as cli
from tests.faults import fault
from tests.pipeline.runs import TRAINING, Finished, arguments, registry, run


def test_a_good_candidate_is_promoted(root: Path, first: Finished) -> None:
    assert first.status == 0, first.told
    assert (first.outcome["outcome"], first.outcome["version"]) == ("published", 2)
    assert first.outcome["verdict"]["against"] == "base"
    assert set(first.outcome["steps"]) == TRAINING | {"evaluation", "registry_push"}
    assert first.reused() == set()
    shown = Path(first.outcome["report"]).read_text()
    assert shown.startswith("<!doctype html>")
    stored = (root / "store" / "artifacts" / first.digests()["evaluation"] / "report.html").read_text()
    for what in (
        "<b>tiny</b>",
        "alias: production",
        first.outcome["run_id"],
    ):  # no part of what was evaluated
        assert what in shown
        assert what not in stored
    versions = registry(root)
    assert versions.resolve("production").version == 2
    base = versions.resolve("anchor")
    assert (base.version, base.role) == (1, "base")
    assert base.candidate == first.digests()["base_training"]
    assert versions.resolve("2").trial == 1
    figures = first.outcome["metrics"]["models"]
    assert figures["base trained on"]["3"] != figures["base"]["3"]


def test_curves_are_shown_to_mlflow_and_tensorboard(
    root: Path, first: Finished, mlruns: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in mlruns.items():
        monkeypatch.setenv(name, value)
    client = mlflow.MlflowClient()
    (told,) = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    assert told.data.tags["flowmap.evaluation"] == first.digests()["evaluation"]
    assert told.data.metrics["evaluation.judge_accuracy"] > 0.1
    assert len(client.get_metric_history(told.info.run_id, "grpo.reward_preference")) == 16
    for training in ("base_training/*/map", "base_training/*/velocity", "grpo_finetuning/*"):
        (file,) = (root / "store" / "tensorboard").glob(f"{training}/events.out.*")
        assert file.stat().st_size > 500


def test_the_same_run_again_is_reused_whole_and_already_promoted(
    root: Path, first: Finished, tmp_path: Path
) -> None:
    """The second time as a job of GitHub Actions, which gets the outcome on its page.

    What is published is read, and what is damaged of it is written again: no bit of it may be false.
    """
    page, version = tmp_path / "summary.md", registry(root).resolve("2")
    prefix = f"store/{registry(root).files_prefix(version)}"
    weights, gone = root / prefix / "ema.safetensors", root / prefix / "model.json"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    gone.unlink()
    again = run(root, "--github-summary", environment={"GITHUB_STEP_SUMMARY": str(page)})
    assert again.status == 0, again.told
    assert page.read_text().startswith(
        "### already promoted as tiny@2, which `production` points to\n\n| criterion |"
    )
    assert "| tuned | 3 |" in page.read_text()
    assert (again.outcome["outcome"], again.outcome["version"]) == ("already promoted", 2)
    assert again.reused() == TRAINING | {"evaluation"}
    assert weights.read_bytes() == whole
    assert not faults(LocalStore(root / "store"), version.manifest, registry(root).files_prefix(version))
    assert again.told.count("was damaged or missing, and is written again") == 2
    assert {name: again.digests()[name] for name in TRAINING} == {
        name: first.digests()[name] for name in TRAINING
    }


def test_what_is_only_to_be_judged_is_not_published(root: Path, first: Finished) -> None:
    """As a pull request is: nothing is left to do for the run after it but to publish."""
    judged = run(root, "registry_push.publish=false")
    assert (judged.status, judged.outcome["outcome"], judged.outcome["version"]) == (0, "passed", None)
    assert judged.reused() == TRAINING | {"evaluation"}
    assert "tiny passed the gate; not published" in judged.told
    assert registry(root).aliases() == {"anchor": 1, "production": 2}


@pytest.mark.parametrize(
    ("change", "runs"),
    [
        ("name=tiny", {"registry_push"}),
        ("evaluation.resamples=90", {"evaluation", "registry_push"}),
        ("reward_training.seed=9", {"reward_training", "grpo_finetuning", "evaluation", "registry_push"}),
    ],
)
def test_a_plan_says_what_a_run_would_reuse(
    root: Path, first: Finished, change: str, runs: set[str]
) -> None:
    planned = json.loads(cli("plan", *arguments(root, change)[1:]).stdout)
    assert {step["step"] for step in planned if not step["reused"]} == runs
    assert all(step["last"]["wall_s"] > 0 for step in planned)
    told = cli("plan", *(word for word in arguments(root, change)[1:] if word != "--json")).stdout
    assert "registry_push     runs (" in told
    assert "by what the steps last took" in told


def test_the_signal_of_transitions_is_measured_on_what_has_been_trained(root: Path, first: Finished) -> None:
    words = ["tune-report", *arguments(root)[1:-1], "--rollouts", "2"]
    found = json.loads(cli(*words, "--json").stdout)
    assert [each["index"] for each in found] == [0, 1]
    told = cli(*words).stdout
    assert "worth training" in told
    assert "would train what carries signal; it is [0]" in told
    missing = cli(*words, "--set", "base_training.updates=7")
    assert missing.returncode == 2
    assert "base_training of this configuration did not run yet" in missing.stderr


def test_a_plan_holds_a_run_against_a_profile(root: Path, first: Finished, tmp_path: Path) -> None:
    raw = yaml.safe_load(shipped_profiles()["cluster-gpu"].read_text())
    raw["defaults"]["price_per_hour"] = 3600
    (tmp_path / "profile.yaml").write_text(yaml.safe_dump(raw))
    words = arguments(root, "evaluation.resamples=90")[1:]
    found = json.loads(cli("plan", *words, "--profile", str(tmp_path / "profile.yaml")).stdout)
    last = {step["step"]: step["last"]["wall_s"] for step in found["steps"] if not step["reused"]}
    assert found["price"] == pytest.approx(sum(last.values()))
    assert 2**30 < found["gpu_bytes"] < 2**31


def test_an_edit_of_the_report_and_a_changed_setting_of_evaluation_leave_training_reused(
    root: Path, first: Finished, tmp_path: Path
) -> None:
    source = Path(flowmap.__file__).parent
    copy = tmp_path / "components" / "flowmap"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
    report = copy / "evaluation" / "report.html"
    report.write_text(report.read_text().replace("<h2>The gate</h2>", "<h2>The gate, edited</h2>"))
    edited = run(root, "evaluation.resamples=400", environment={"PYTHONPATH": str(copy.parent)})
    assert edited.status == 0, edited.told
    assert edited.reused() == TRAINING
    assert "The gate, edited" in Path(edited.outcome["report"]).read_text()


def test_a_changed_byte_is_named_and_the_step_runs_again_to_the_same(
    root: Path, first: Finished, tmp_path: Path
) -> None:
    copy = tmp_path / "root"
    shutil.copytree(root, copy)
    artifact = copy / "store" / "artifacts" / first.digests()["reward_training"]
    weights = artifact / "preference.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    again = run(copy)
    assert again.status == 0, again.told
    assert f"{artifact.name}/preference.safetensors was changed" in again.told
    assert again.reused() == (TRAINING | {"evaluation"}) - {"reward_training"}
    assert {name: again.digests()[name] for name in TRAINING} == {
        name: first.digests()[name] for name in TRAINING
    }
    assert weights.read_bytes() == whole


@fault(
    "two runs work below one `--root`",
    "the second waits",
    of="rivals",
)
def test_of_two_runs_below_one_root_the_second_waits(root: Path, first: Finished) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: run(root, "name=twice"), range(2)))
    assert [one.status for one in both] == [0, 0], both[0].told + both[1].told
    assert sorted(one.outcome["outcome"] for one in both) == ["already promoted", "published"]
    assert sum("another run works below" in one.told for one in both) == 1


def test_samples_come_from_the_registry(root: Path, first: Finished, tmp_path: Path) -> None:
    common = ["sample", "tiny@2", "--root", str(root), "--prompt", "3", "-n", "5", "--steps", "2"]
    for name in ("a.npz", "b.npz", "c.png"):
        assert cli(*common, "-o", str(tmp_path / name)).returncode == 0
    first_draw, second_draw = (np.load(tmp_path / name)["samples"] for name in ("a.npz", "b.npz"))
    assert first_draw.shape == (5, 1, 8, 8)
    assert (first_draw == second_draw).all()
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    base = cli(*common[:1], "tiny@anchor", *common[2:], "-o", str(tmp_path / "base.npz"))
    assert base.returncode == 0, base.stderr
    assert base.stdout.startswith("wrote 5 samples of tiny@1 to ")
    assert not (np.load(tmp_path / "base.npz")["samples"] == first_draw).all()


def test_the_report_of_a_version_is_written_out_and_a_missing_one_is_named(
    root: Path, first: Finished, tmp_path: Path
) -> None:
    done = cli("report", "tiny@2", "--root", str(root), "-o", str(tmp_path / "report.html"))
    assert done.returncode == 0, done.stderr
    assert first.outcome["run_id"] in (tmp_path / "report.html").read_text()
    evaluation = first.digests()["evaluation"]
    shutil.copytree(root / "store", tmp_path / "root" / "store")
    (tmp_path / "root" / "store" / "artifacts" / evaluation / "report.html").unlink()
    done = cli("report", "tiny@2", "--root", str(tmp_path / "root"), "-o", str(tmp_path / "again.html"))
    assert done.returncode == 1
    assert f"{evaluation}/report.html is missing" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("model", "prompt", "told"),
    [
        ("other", "3", "'other': no such model"),
        ("tiny@77", "3", "tiny@77: unknown; there is 1, 2, "),
        ("tiny@rejected", "3", "tiny: no candidate of that model was rejected"),
        ("tiny@1", "seven", "tiny: prompt 'seven': the model knows 0, 1, 2"),
    ],
)
def test_an_unknown_model_or_prompt_is_named(
    root: Path, first: Finished, tmp_path: Path, model: str, prompt: str, told: str
) -> None:
    done = cli("sample", model, "--root", str(root), "--prompt", prompt, "-o", str(tmp_path / "x.npz"))
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
