"""The trainer itself, in this process, on a tiny map: it climbs a reward, keeps its laws, and depends on no process."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from flowmap.config import RunConfig
from flowmap.errors import InvariantError
from flowmap.grpo_finetuning.worker import Trainer
from flowmap.maps import TwoTimeMap, compose
from flowmap.networks import ModelFacts, load_network, save_weights, write_model_facts
from flowmap.rewards.preference import (
    REFERENCE,
    PreferenceFacts,
    PreferenceNetwork,
    write_preference,
)
from flowmap.training.job import Job
from flowmap.training.launcher import launch

SHAPE = (1, 4, 4)
SECTION: dict[str, Any] = {
    "rollouts": 10,
    "groups": 4,
    "group_size": 8,
    "grid": (1.0, 0.5, 0.05, 0.0),
    "learning_rate": 1e-2,
    "kl_target": None,
    "kl_weight": 0.0,
    "snapshots": 1,
    "checkpoint_every": 100,
}


def brightness(x: Tensor, prompt: Tensor) -> Tensor:
    """Mean pixel of each sample: a reward that anything can climb."""
    return x.flatten(2).mean(2)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    untrained(tmp_path)
    return job_of(tmp_path, **SECTION)


def untrained(tmp_path: Path) -> None:
    """Inputs: a map that has learnt nothing, and a preference model that has learnt nothing either."""
    torch.manual_seed(0)
    base, reward = tmp_path / "base", tmp_path / "reward"
    for folder in (base, reward, tmp_path / "out", tmp_path / "scratch"):
        folder.mkdir()
    facts = ModelFacts(shape=SHAPE, prompts=("a", "b"), width=32, depth=2, max_frequency=3.0)
    write_model_facts(base, facts)
    save_weights(facts.build(), base / "map.safetensors")
    preference = PreferenceFacts(shape=SHAPE, num_prompts=2, real_score=0.0, pair_accuracy={}, num_pairs=0)
    write_preference(reward, PreferenceNetwork(SHAPE, 2), preference)
    save_file({"images": torch.randn(20, *SHAPE), "prompts": torch.arange(20) % 2}, reward / REFERENCE)


def job_of(path: Path, **section: Any) -> Job:
    return Job(
        module="none",
        settings=RunConfig.model_validate({"name": "tiny", "grpo_finetuning": section}).to_json(),
        inputs={"base": path / "base", "reward": path / "reward"},
        out=path / "out",
        scratch=path / "scratch",
        store=str(path / "store"),
        checkpoints="checkpoints/test",
    )


def test_a_trivial_reward_rises_within_ten_updates(job: Job) -> None:
    trainer = Trainer(job)
    trainer.rewards = [(brightness, 1.0)]
    noise = torch.randn(400, *SHAPE, generator=torch.Generator().manual_seed(1))
    prompt = torch.arange(400) % 2

    def mean_brightness() -> float:
        return float(compose(TwoTimeMap(trainer.network), noise, prompt, trainer.section.grid).mean())

    before = mean_brightness()
    for rollout in range(5):  # of two updates each
        trainer._rollout(rollout)
    assert mean_brightness() > before + 0.05


def test_what_is_left_is_what_was_trained(job: Job) -> None:
    trainer = Trainer(job)
    trainer.train()
    write_model_facts(job.out, trainer.facts)
    raw, snapshot = load_network(job.out, "raw"), load_network(job.out, "snapshots/000010")
    for name, value in trainer.network.state_dict().items():
        assert torch.equal(raw.state_dict()[name], value)
        assert torch.equal(snapshot.state_dict()[name], value)
    ema = load_network(job.out, "ema").state_dict()
    assert any(not torch.equal(ema[name], value) for name, value in raw.state_dict().items())


def test_members_of_a_group_start_alike_and_part_in_the_transitions(job: Job) -> None:
    noise = Trainer(job)._noise(rollout=3, group=1)
    assert noise.shape == (3, 8, *SHAPE)
    assert bool((noise[0] == noise[0, :1]).all())
    assert noise[1:].flatten(2).unique(dim=1).shape[1] == 8


def test_a_policy_that_differs_between_rollout_and_training_is_caught(job: Job) -> None:
    trainer = Trainer(job)
    trainer.rewards = [(brightness, 1.0)]
    engine = trainer.engine
    trainer.policy = TwoTimeMap(lambda x, t, r, prompt: engine(x, t, r, prompt) + 1e-4)
    with pytest.raises(InvariantError, match="before the first update the ratio is off 1 by"):
        trainer.train()


def test_a_loss_that_is_not_finite_is_caught(job: Job) -> None:
    trainer = Trainer(job)
    trainer.rewards = [(brightness, 1.0)]
    engine = trainer.engine
    trainer.policy = TwoTimeMap(lambda x, t, r, prompt: engine(x, t, r, prompt) * float("nan"))
    with pytest.raises(InvariantError, match="the loss is nan"):
        trainer.train()


def test_a_reward_that_does_not_vary_changes_nothing_but_the_count(job: Job) -> None:
    trainer = Trainer(job)
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    trainer.rewards = [(lambda x, prompt: torch.ones(x.shape[:2]), 1.0)]
    trainer._rollout(0)
    figures = trainer._rollout(1)
    assert figures["zero_std_fraction"] == 1
    decay = 1 - 2 * 2 * SECTION["learning_rate"] * 1e-4  # AdamW's weight decay alone, over four updates
    for name, value in trainer.network.state_dict().items():
        torch.testing.assert_close(value, before[name] * decay if name != "frequencies" else before[name])


def test_processes_and_zero_stages_agree(job: Job, tmp_path: Path) -> None:
    """The same samples, the same first loss, and the same summed gradients: what plain descent adds to the weights."""
    curves, weights = {}, {}
    for processes, stage in ((1, 0), (2, 0), (2, 1), (2, 2)):
        section = SECTION | {"rollouts": 2, "updates_per_rollout": 1, "processes": processes, "zero_stage": stage}
        name = f"{processes}-{stage}"
        each = job_of(tmp_path, **section).model_copy(
            update={
                "module": "tests.grpo_finetuning.sgd_worker",
                "num_processes": processes,
                "out": tmp_path / name,
                "scratch": tmp_path / f"{name}-scratch",
                "checkpoints": f"checkpoints/{name}",
            }
        )
        each.out.mkdir()
        launch([each])
        curves[name] = json.loads((each.out / "curve.json").read_text())
        weights[name] = load_file(each.out / "raw.safetensors")
    alone = curves["1-0"][0]
    for name in ("2-0", "2-1", "2-2"):
        first = curves[name][0]
        assert first["reward"] == pytest.approx(alone["reward"], abs=1e-6), name
        assert first["loss"] == pytest.approx(alone["loss"], abs=1e-6), name
        for key, value in weights["1-0"].items():
            torch.testing.assert_close(weights[name][key], value, atol=1e-6, rtol=1e-4, msg=f"{name} {key}")
