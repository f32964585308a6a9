"""Pictures with captions, from which a checkpoint is converted, beside prompts that it is tuned for."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from flowmap.artifacts.checkpoints import Checkpoints
from flowmap.artifacts.local_store import LocalStore
from flowmap.artifacts.manifest import build_manifest
from flowmap.artifacts.transfer import publish
from flowmap.data_prep.step import run as prepare
from flowmap.settings.run_config import load_config
from flowmap.steps.context import Context
from tests.cli import flowmap
from tests.records import record
from tests.text_to_image.tiny import write_stock

WORDS = ("blue", "red", "cat", "dog", "on")
REWARD = """
def redness(samples):
    return samples.data[:, :, 0].mean((-1, -2)) - samples.data[:, :, 2].mean((-1, -2))
"""


def write_pictures(folder: Path, num: int = 40) -> None:
    """Wide, high and square ones, each with a caption of its own."""
    folder.mkdir()
    generator, lines = np.random.default_rng(0), []
    for index in range(num):
        rows, columns = ((20, 20), (16, 32), (40, 24))[index % 3]
        pixels = generator.integers(0, 255, (rows, columns, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:03d}.png")
        caption = " ".join(generator.choice(WORDS, 3))
        lines.append(json.dumps({"file_name": f"{index:03d}.png", "text": f"a {caption}"}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))


def config(folder: Path, stock: Path, **captioned: Any) -> Path:
    (folder / "prompts.txt").write_text("a blue cat\na red cat\na red dog on blue\na blue dog\n")
    (folder / "red.py").write_text(REWARD)
    redness = {"kind": "python", "function": "red:redness"}
    lax = {"max_gap": 100.0, "max_speed_ratio": 1000.0}  # it has learnt nothing yet
    settings = {
        "name": "captioned",
        "data_prep": {
            "prompts": str(folder / "prompts.txt"),
            "resize": [16, 16],
            "captioned": {
                "source": str(folder / "pictures"),
                "encoder": {"source": str(stock)},
                "buckets": [[16, 16], [12, 20], [20, 12]],
                "shard": 8,
                "batch": 4,
                "precision": "float32",
                **captioned,
            },
        },
        "base_training": {
            "checkpoint": {"source": str(stock), "convert": True},
            "updates": 8,
            "batch_size": 8,
            **lax,
        },
        "grpo_finetuning": {
            "rewards": [redness],
            "rollouts": 2,
            "groups": 2,
            "group_size": 4,
            "snapshots": 1,
        },
        "evaluation": {
            "samples_per_prompt": 8,
            "evaluations": [4],
            "baseline_evaluations": [2],
            "resamples": 50,
            "rewards": [{**redness, "name": "judge"}],
        },
    }
    path = folder / "captioned.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def prepared(folder: Path) -> str:
    """What data_prep alone comes to now, beside a run's: its digest in the run's store."""
    section = load_config(folder / "captioned.yaml").data_prep
    store = LocalStore(folder / "root" / "store")
    out, scratch = folder / "now", folder / "scratch"
    out.mkdir()
    scratch.mkdir()
    kept = Checkpoints(store, "checkpoints/data_prep/now")
    prepare(Context(section, {}, {}, {}, "code", out, kept, store, scratch, lambda trainings: None))
    manifest = build_manifest(out, step="data_prep", step_digest="now")
    publish(store, out, manifest)
    record(store, "data_prep", manifest.digest)
    return manifest.digest


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_is_converted_on_them_and_tuned_for_prompts(tmp_path: Path) -> None:
    stock = write_stock(tmp_path / "stock", fastest=6.0)
    write_pictures(tmp_path / "pictures")
    run = ("run", str(config(tmp_path, stock)), "--root", str(tmp_path / "root"), "--json")
    ran = flowmap(*run)
    assert ran.returncode in (0, 3), ran.stderr
    assert "40 pictures with captions in 6 shards; 16x16 14, 12x20 13, 20x12 13" in ran.stderr
    told = json.loads(ran.stdout)
    artifacts = tmp_path / "root" / "store" / "artifacts"
    data = artifacts / told["steps"]["data_prep"]["artifact"]
    assert len(list((data / "shards").iterdir())) == 6
    base = artifacts / told["steps"]["base_training"]["artifact"]
    assert (base / "map.safetensors").is_file()
    again = json.loads(flowmap(*run).stdout)
    assert again["steps"]["data_prep"]["reused"]
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / "pictures" / "000.png")
    planned = json.loads(flowmap("plan", run[1], "--root", str(tmp_path / "root"), "--json").stdout)
    assert [step["reused"] for step in planned["steps"] if step["step"] == "data_prep"] == [False]
    both = told["steps"]["data_prep"]["artifact"], prepared(tmp_path)
    assert both[0] != both[1]
    shutil.rmtree(data / "shards")  # which nobody needs in order to compare
    differ = flowmap("data", "diff", *both, "--root", str(tmp_path / "root"))
    assert differ.returncode == 0, differ.stderr
    assert "4 prompts before, 4 now: 0 came, 0 went" in differ.stdout
    assert "40 pictures with captions before, 40 now: 1 came, 1 went" in differ.stdout
    assert "pixels did not move: 0.000" in differ.stdout
    assert "contrast did not move: 0.013" in differ.stdout
    assert "0 of them look like another of them" in differ.stdout


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_s_transformer_is_trained_on_them_from_scratch(tmp_path: Path) -> None:
    """With its autoencoder and text encoders; no weight of the transformer that lies there is read."""
    stock = write_stock(tmp_path / "stock")
    shutil.rmtree(stock / "transformer")
    (stock / "transformer").mkdir()
    other = write_stock(tmp_path / "other")
    (stock / "transformer" / "config.json").write_bytes((other / "transformer" / "config.json").read_bytes())
    write_pictures(tmp_path / "pictures", 12)
    path = config(tmp_path, stock)
    settings = yaml.safe_load(path.read_text())
    settings["base_training"]["checkpoint"] = {"source": str(stock), "train": True}
    path.write_text(yaml.safe_dump(settings))
    ran = flowmap("run", str(path), "--root", str(tmp_path / "root"), "--json")
    assert ran.returncode in (0, 3), ran.stderr
    assert "parameters, to be trained from scratch" in ran.stderr
    told = json.loads(ran.stdout)
    base = tmp_path / "root" / "store" / "artifacts" / told["steps"]["base_training"]["artifact"]
    velocity, updates = (json.loads((base / f"{name}.json").read_text()) for name in ("velocity", "map"))
    assert (velocity["num_updates"], updates["num_updates"]) == (16, 8)
    assert json.loads((base / "model.json").read_text())["two_times"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_what_another_model_encoded_is_refused(tmp_path: Path) -> None:
    stock, other = write_stock(tmp_path / "stock", fastest=6.0), write_stock(tmp_path / "other", fastest=6.0)
    write_pictures(tmp_path / "pictures", 9)
    vae = other / "vae" / "config.json"
    vae.write_text(vae.read_text().replace('"scaling_factor": 2.0', '"scaling_factor": 3.0'))
    path = config(tmp_path, stock, encoder={"source": str(other)})
    ran = flowmap("run", str(path), "--root", str(tmp_path / "root"))
    assert ran.returncode == 2, ran.stderr
    assert "captioned.encoder has another autoencoder than base_training.checkpoint" in ran.stderr
    assert "encoding" not in ran.stderr  # before hours are spent
