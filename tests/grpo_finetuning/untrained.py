"""A job of GRPO on a map and a preference model that have learnt nothing."""

from pathlib import Path
from typing import Any

import torch

from flowmap.launching.job import Job
from flowmap.models import MlpFacts
from flowmap.models.storing import save_weights, write_model_facts
from flowmap.rewards.preference import PreferenceFacts, PreferenceNetwork, write_preference
from flowmap.rewards.trained import TrainedFacts, write_reference
from flowmap.settings import GrpoFinetuning

SHAPE, PROMPTS = (1, 4, 4), ("a", "b")
SECTION: dict[str, Any] = {
    "rollouts": 10,
    "groups": 4,
    "group_size": 8,
    "grid": (1.0, 0.5, 0.05, 0.0),
    "kernel": "exact_local",
    "composed": False,
    "window": None,
    "shared_start": True,
    "advantage_std": "group",
    "learning_rate": 1e-2,
    "kl_target": None,
    "kl_weight": 0.0,
    "snapshots": 1,
    "checkpoint_every": 100,
}
FACTS = MlpFacts(shape=SHAPE, prompts=PROMPTS, width=32, depth=2, max_frequency=3.0)


def write_untrained(folder: Path) -> None:
    """The inputs, as `base` and `reward` below a folder."""
    torch.manual_seed(0)
    base, reward = folder / "base", folder / "reward"
    for path in (base, reward):
        path.mkdir()
    write_model_facts(base, FACTS)
    save_weights(FACTS.build().network.state_dict(), base / "map.safetensors")
    told = PreferenceFacts(real_score=0.0, real_reward=-0.7, pair_accuracy={}, num_pairs=0)
    trained = TrainedFacts(shape=SHAPE, prompts=PROMPTS)
    write_reference(reward, trained, torch.randn(20, *SHAPE), torch.arange(20) % 2)
    write_preference(reward, PreferenceNetwork(SHAPE, 2), told)


def job_of(folder: Path, name: str, worker: str, **changes: Any) -> Job:
    section = GrpoFinetuning(**{**SECTION, **changes})
    job = Job(
        worker=worker,
        section=section.model_dump_json(),
        inputs={"base": folder / "base", "reward": folder / "reward"},
        out=folder / name,
        scratch=folder / f"{name}-scratch",
        store=str(folder / "store"),
        checkpoints=f"checkpoints/{name}",
        num_processes=section.processes,
    )
    job.out.mkdir()
    return job
