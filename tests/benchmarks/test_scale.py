"""The arithmetic of large runs."""

import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmarks.scale import (
    FLUX_LITE,
    Given,
    Model,
    _largest,
    memory,
    seconds_of_rollout,
    seconds_of_update,
    simulated,
)

from flowmap.settings import DataPrep
from flowmap.settings.run_config import load_config
from flowmap_pipelines.gpu_memory import Beside, base_parts
from flowmap_pipelines.workload import workload

EVEN = replace(Given(), straggling=0.0, failures=1e-12)


def test_without_failures_and_stragglers_it_is_the_work_and_its_checkpoints() -> None:
    assert simulated(2.0, 100, 5.0, 10, EVEN, 8, 60.0, seed=0) == (100 * 2.0 + 10 * 5.0, 0)


def test_every_piece_takes_as_long_as_the_slowest_of_all() -> None:
    largest = _largest(512, 4000, np.random.default_rng(0))
    assert float(largest.mean()) == pytest.approx(3.04, abs=0.03)  # of 512 standard normal numbers
    alone, many = (
        simulated(1.0, 2000, 0.0, 100, replace(EVEN, straggling=0.1), gpus, 0.0, seed=0)[0]
        for gpus in (1, 512)
    )
    assert many / alone == pytest.approx(1.35, abs=0.03)


def test_a_failure_costs_a_restart_and_what_was_done_since_the_last_checkpoint() -> None:
    often = replace(EVEN, failures=3600 / 400, restart_s=30.0)  # every 400 seconds on average
    found = [simulated(1.0, 1000, 1.0, 20, often, 1, 10.0, seed) for seed in range(40)]
    seconds, failed = (statistics.mean(each[k] for each in found) for k in (0, 1))
    # Young (1974): half a checkpoint's work is lost each time, and the restart
    assert seconds == pytest.approx(1050 + failed * (40 + 10.5), rel=0.02)
    assert failed == pytest.approx(seconds / 400 * (1 - 40 / 440), rel=0.25)


def test_more_gpus_cost_what_their_gradients_take_to_go_round() -> None:
    one, two, many = (seconds_of_update(Model(), Given(), gpus) for gpus in (1, 2, 512))
    assert one < two < many < two + 2 * 4 * Model().adapters / Given().link


def test_on_one_gpu_it_is_what_a_plan_says() -> None:
    model = Model()
    plan = workload(model.config, FLUX_LITE, num_prompts=1).hours
    base = model.updates * seconds_of_update(model, EVEN, 1) / 3600
    grpo = model.rollouts * seconds_of_rollout(model, EVEN, 1) / 3600
    assert (base, grpo) == pytest.approx((plan["base_training"], plan["grpo_finetuning"]))


def test_memory_is_told_of_every_number_of_gpus() -> None:
    _, _, *rows = memory()
    told = [row.split("|")[1].strip() for row in rows]
    assert told == [
        f"{what}, {gpus}"
        for gpus in ("1 GPU", "each of 8", "each of 64", "each of 512")
        for what in ("base training", "GRPO")
    ]
    needed = [float(row.split("|")[-2]) for row in rows]
    assert needed[1::2] == sorted(needed[1::2], reverse=True)  # more GPUs share the optimiser's state
    assert max(needed) < 80


@pytest.mark.parametrize("example", ["flux_lite_512", "sd35_medium"])
@pytest.mark.parametrize("encoded", [True, False])
def test_what_a_conversion_holds_is_counted_part_by_part(example: str, encoded: bool) -> None:
    config = load_config(Path(__file__).parents[2] / "examples" / f"{example}.yaml")
    beside = Beside(autoencoder=300 << 20, texts=40 << 30)
    if not encoded:
        config = config.model_copy(update={"data_prep": DataPrep(source="tinted_digits")})
    lora = config.base_training.lora
    assert lora is not None
    parts = base_parts(config, FLUX_LITE, beside)
    adapters = FLUX_LITE.adapters(lora.rank)
    assert parts["model"] == parts["teacher"] == 2 * FLUX_LITE.size().parameters  # in bfloat16
    assert parts["average"] == 4 * adapters
    assert parts["optimiser and gradients"] == 12 * adapters
    assert parts["autoencoder"] == 300 << 20
    assert parts["activations"] > 1 << 30
    more = parts.get("text encoders beyond activations", 0)
    assert more == (0 if encoded else (40 << 30) - parts["activations"])
