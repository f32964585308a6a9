"""A text-to-image model from captions to its judge, each step in its image: diffusers, transformers and peft
are there, and need neither network nor a root that can be written to.

What examples/tiny_flux.yaml trains for ten minutes, for a few updates each.
"""

import json
from pathlib import Path

from kubernetes import client

from flowmap.artifacts.store import open_store
from flowmap.settings import load_config
from flowmap.steps.dag import PIPELINE
from flowmap_pipelines.image_lock import Images
from tests.cli import flowmap
from tests.cluster.test_steps import in_pods

EXAMPLE = Path(__file__).parents[2] / "examples" / "tiny_flux.yaml"
FEWER = (
    "base_training.flux.velocity_updates=20",
    "base_training.updates=8",
    "base_training.max_gap=100",
    "base_training.max_speed_ratio=1000",
    "reward_training.classifier_updates=20",
    "grpo_finetuning.rollouts=2",
    "grpo_finetuning.snapshots=1",
    "evaluation.judge_updates=20",
    "evaluation.samples_per_prompt=4",
    "evaluation.resamples=50",
    "evaluation.evaluations=[4]",
    "evaluation.baseline_evaluations=[2]",
)


def test_pods_come_to_what_a_run_on_this_machine_comes_to(
    chart: object,
    core: client.CoreV1Api,
    namespace: str,
    images: Images,
    store_url: str,
    tmp_path: Path,
) -> None:
    """Up to the judge, who turns down what has learnt so little."""
    config = load_config(EXAMPLE, FEWER)
    steps = [each for each in PIPELINE if each.when is None]
    made = in_pods(config, steps, core, namespace, images, open_store(store_url))
    given = [word for each in FEWER for word in ("--set", each)]
    ran = flowmap("run", str(EXAMPLE), *given, "--root", str(tmp_path), "--json")
    assert ran.returncode in (0, 3), ran.stderr
    here = {step: told["artifact"] for step, told in json.loads(ran.stdout)["steps"].items()}
    assert {step: manifest.digest for step, manifest in made.items()} == {step: here[step] for step in made}
