"""A user's own text-to-image checkpoint through the whole pipeline: tuned by adapters, judged, and drawn by
the library that it came from."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from flowmap.artifacts.local_store import LocalStore
from flowmap.registry import Registry
from flowmap.text_to_image.network import pack
from tests.cli import flowmap
from tests.evaluation.test_prompts_alone import clip
from tests.text_to_image.facts import FACTS, GRID, PROMPTS, SD3_FACTS
from tests.text_to_image.tiny import tiny, write_stock

COLOURS = {"a blue cat": (40, 60, 230), "a red cat": (230, 40, 40), "a red dog on blue": (130, 50, 140)}
FEW: dict[str, dict[str, Any]] = {
    "reward_training": {"updates": 10, "batch_size": 8, "classifier_updates": 20},
    "grpo_finetuning": {
        "rewards": [{"kind": "classifier"}],
        "rollouts": 2,
        "groups": 2,
        "group_size": 4,
        "learning_rate": 0.01,
        "lora": {"rank": 2, "alpha": 8.0},
        "snapshots": 1,
        "composed": False,
        "sampler": "stochastic",
    },
    "evaluation": {
        "samples_per_prompt": 8,
        "evaluations": [1, 4],
        "baseline_evaluations": [2],
        "judge_updates": 20,
        "resamples": 50,
    },
}


def captioned(path: Path) -> Path:
    """Sixty pictures of each prompt, each in about its colour."""
    generator = np.random.default_rng(0)
    images = np.stack(
        [
            np.clip(np.array(COLOURS[prompt]) + generator.normal(0, 25, (16, 16, 3)), 0, 255)
            for prompt in PROMPTS
            for _ in range(60)
        ]
    ).astype(np.uint8)
    np.savez(path, images=images, prompts=np.array([prompt for prompt in PROMPTS for _ in range(60)]))
    return path


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_goes_through_and_comes_out_as_one(tmp_path: Path) -> None:
    from diffusers import FluxPipeline

    from flowmap.text_to_image.publishing import write_pipeline

    write_pipeline(tiny(tmp_path / "tiny"), FACTS, GRID, tmp_path / "given")
    config = {
        "name": "own",
        "data_prep": {"source": str(captioned(tmp_path / "pictures.npz"))},
        "base_training": {"checkpoint": {"source": str(tmp_path / "given")}},
        **FEW,
    }
    early = {"rollouts": 9, "stop_after": 5}  # what ships is the best rollout's, adapters too
    config["grpo_finetuning"] = FEW["grpo_finetuning"] | early
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(config))
    root = ("--root", str(tmp_path / "root"))
    ran = flowmap("run", str(tmp_path / "own.yaml"), *root)
    assert "took over" in ran.stderr, ran.stderr
    assert "rejected against the base" in ran.stdout, ran.stdout
    store = LocalStore(tmp_path / "root" / "store")
    (rejection,) = Registry(store, "own").rejections()
    told = json.loads(store.get(f"artifacts/{rejection.candidate}/training.json"))
    assert told["shipped_rollout"] < told["rollouts"]
    for command in (
        ("models", "export", "own@rejected", str(tmp_path / "out")),
        ("sample", "own@rejected", "-p", "a blue dog", "-n", "3", "-o", str(tmp_path / "x.npz")),
    ):
        done = flowmap(*command, *root)
        assert done.returncode == 0, done.stderr
    drawn = np.load(tmp_path / "x.npz")["samples"]
    assert drawn.shape == (3, 3, 16, 16)
    assert "stochastic transitions" in (tmp_path / "out" / "README.md").read_text()

    pipeline = FluxPipeline.from_pretrained(tmp_path / "out", trust_remote_code=True)
    given = FluxPipeline.from_pretrained(tmp_path / "given", trust_remote_code=True)
    given.load_lora_weights(tmp_path / "out" / "lora")
    noise = torch.randn(2, *FACTS.latent)

    def draw(by: FluxPipeline) -> torch.Tensor:
        by.set_progress_bar_config(disable=True)
        found: torch.Tensor = by(
            prompt=list(PROMPTS[:2]),
            height=16,
            width=16,
            sigmas=list(GRID[:-1]),
            latents=pack(noise, 2),
            output_type="pt",
            max_sequence_length=FACTS.num_tokens,
            guidance_scale=0.0,
        ).images
        return found

    torch.testing.assert_close(draw(pipeline), draw(given), rtol=0, atol=1e-4)


BRIGHT = """
def bright(samples):
    signs = [-1 if facts["kind"] == "night" else 1 for facts in samples.facts]
    return [[float(sign * x.mean()) for x in group] for sign, group in zip(signs, samples.data)]


def dull(samples):
    return [[-float(x.std()) for x in group] for group in samples.data]
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_prompts_without_data_go_through(tmp_path: Path) -> None:
    from flowmap.text_to_image.publishing import write_pipeline

    write_pipeline(tiny(tmp_path / "tiny", SD3_FACTS), SD3_FACTS, GRID, tmp_path / "given")
    (tmp_path / "rewards.py").write_text(BRIGHT)
    rows = [{"prompt": f"a {c} cat", "kind": k} for c, k in (("red", "day"), ("blue", "night"))]
    rows += [{"prompt": f"a {c} dog", "kind": k} for c, k in (("red", "day"), ("blue", "night"))]
    (tmp_path / "prompts.jsonl").write_text("\n".join(map(json.dumps, rows)))

    def function(name: str) -> dict[str, str]:
        return {"kind": "python", "function": f"rewards:{name}", "name": name}

    config = {
        "name": "alone",
        "data_prep": {"prompts": str(tmp_path / "prompts.jsonl"), "resize": [16, 16]},
        "base_training": {"checkpoint": {"source": str(tmp_path / "given")}},
        "grpo_finetuning": {**FEW["grpo_finetuning"], "rewards": [function("bright")]},
        "evaluation": {
            "samples_per_prompt": 8,
            "evaluations": [1, 4],
            "baseline_evaluations": [2],
            "resamples": 50,
            "rewards": [function("bright"), function("dull")],
            "features": {"source": str(clip(tmp_path / "clip"))},
        },
    }
    (tmp_path / "alone.yaml").write_text(yaml.safe_dump(config))
    root = ("--root", str(tmp_path / "root"))
    ran = flowmap("run", str(tmp_path / "alone.yaml"), *root, "--json")
    assert "4 prompts without data, told apart by kind" in ran.stderr, ran.stderr
    assert "rewards come from elsewhere" in ran.stderr
    told = json.loads(ran.stdout)
    assert ran.returncode in (0, 3)
    metrics = told["metrics"]
    assert list(metrics["accuracy_by_attribute"]) == ["kind, mean of these", "kind: day", "kind: night"]
    assert list(metrics["rewards"]) == ["dull"]
    assert list(metrics["rewards_paid"]) == ["bright"]
    assert set(metrics["rewards_paid"]["bright"]["means"]) == {"tuned", "anchor"}
    assert {each["name"] for each in told["verdict"]["criteria"]} >= {
        "judge_score",
        "kid_judge",
        "reward dull",
    }
    report = Path(told["report"]).read_text()
    named = ("CLIP-FID", "CMMD")
    for words in ("4 prompts without data", "as asked", "what the baseline draws", "kind: night", *named):
        assert words in report
    for words in ("real data", "Real data", "preference model", "the judge recognises"):
        assert words not in report, words
    again = flowmap("run", str(tmp_path / "alone.yaml"), *root)
    assert "reference: half of what it draws" in again.stdout
    assert all(f"{step} reused" in again.stdout for step in ("data_prep", "base_training", "evaluation"))
    drawn = flowmap("sample", "alone", "-p", "a red cat", "-n", "2", "-o", str(tmp_path / "x.npz"), *root)
    assert drawn.returncode == 0, drawn.stderr
    plan = flowmap("plan", str(tmp_path / "alone.yaml"), *root)
    assert plan.returncode == 0, plan.stderr


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("by_adapters", "stage"), [(False, 0), (True, 2), (True, 3)])
def test_a_flow_matching_checkpoint_becomes_a_map(tmp_path: Path, by_adapters: bool, stage: int) -> None:
    checkpoint = {
        "source": str(write_stock(tmp_path / "stock", fastest=6.0)),
        "convert": True,
        "guidance": 2.5,
    }
    lax: dict[str, Any] = {"max_gap": 100.0, "max_speed_ratio": 1000.0}  # it has learnt nothing yet
    if by_adapters:
        checkpoint["precision"] = "bfloat16"
        lax |= {"lora": {"rank": 2, "alpha": 4.0}, "gradient_checkpointing": True, "learning_rate": 0.01}
    config = {
        "name": "converted",
        "data_prep": {"source": str(captioned(tmp_path / "pictures.npz"))},
        "base_training": {"checkpoint": checkpoint, "updates": 8, "batch_size": 8, **lax},
        **FEW,
    }
    if by_adapters:
        config["grpo_finetuning"] = {**FEW["grpo_finetuning"], "processes": 2, "zero_stage": stage}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    ran = flowmap("run", str(tmp_path / "c.yaml"), "--root", str(tmp_path / "root"), "--json")
    assert ran.returncode in (0, 3), ran.stderr
    assert "one time, to be taught a second" in ran.stderr
    told = json.loads(ran.stdout)
    base = tmp_path / "root" / "store" / "artifacts" / told["steps"]["base_training"]["artifact"]
    first, last = (load_file(base / f"{name}.safetensors") for name in ("velocity", "map"))
    assert first.keys() == last.keys()
    moved = [name for name, value in first.items() if not torch.equal(last[name], value)]
    assert "transformer.time_text_embed.outlet.weight" in moved
    assert ("transformer.x_embedder.weight" in moved) != by_adapters  # no adapter lies there
    assert {value.dtype for value in last.values()} == {torch.bfloat16 if by_adapters else torch.float32}
    assert "base trained on" in told["metrics"]["models"]
    report = base.parent / told["steps"]["evaluation"]["artifact"] / "report.html"
    assert "drawn with guidance 2.5, two passes of the network an evaluation" in report.read_text()
