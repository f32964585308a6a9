"""Whether a run fits its profile: the count of parameters is the network's own, and what can't work is
named."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from flowmap.data.facts import DataFacts
from flowmap.models import ModelFacts
from flowmap.settings import RunConfig
from flowmap_pipelines.capacity import Capacity, model_facts, problems_of
from flowmap_pipelines.gpu_memory import Beside, grpo_bytes, grpo_parts
from flowmap_pipelines.profile import Profile, load_profile, shipped_profiles
from tests.cli import flowmap
from tests.text_to_image.facts import FACTS


def data_of(shape: tuple[int, ...], num_prompts: int, num_base: int) -> DataFacts:
    return DataFacts(
        modality="images",
        prompts=tuple(map(str, range(num_prompts))),
        shape=shape,
        num_read=2 * num_base,
        num_duplicates=0,
        splits={"base": num_base},
        counts={},
        expectations=(),
    )


DIGITS = data_of((1, 8, 8), 10, 900)
LARGE = data_of((3, 64, 64), 1000, 100_000)


def config(**section: Any) -> RunConfig:
    return RunConfig.model_validate({"name": "x", "grpo_finetuning": section})


def model_of(data: DataFacts) -> ModelFacts:
    facts = model_facts(config(), data)
    assert facts is not None
    return facts


def with_gpu(path: Path, **gpu: Any) -> Profile:
    """The profile cluster-gpu with another GPU for GRPO, as a file of one's own."""
    raw = yaml.safe_load(shipped_profiles()["cluster-gpu"].read_text())
    raw["steps"]["grpo_finetuning"]["gpu"] |= gpu
    raw["defaults"]["price_per_hour"] = 36
    path.write_text(yaml.safe_dump(raw))
    return load_profile(str(path))


@pytest.mark.parametrize("data", [DIGITS, LARGE])
def test_the_count_of_parameters_is_the_networks(data: DataFacts) -> None:
    facts = model_of(data)
    assert facts.size().parameters == sum(parameter.numel() for parameter in facts.build().parameters())


def test_more_processes_and_zero_take_less_memory_each() -> None:
    one = grpo_bytes(config(groups=64), model_of(LARGE))
    two = grpo_bytes(config(groups=64, processes=2), model_of(LARGE))
    split = grpo_bytes(config(groups=64, processes=2, zero_stage=2), model_of(LARGE))
    assert one > two > split
    assert grpo_bytes(config(groups=64, micro_batch=64), model_of(LARGE)) < one


def test_what_can_not_work_is_named(tmp_path: Path) -> None:
    profile = with_gpu(tmp_path / "p.yaml", count=2, memory="2Gi")
    assert not list(problems_of(config(processes=2), profile, None))
    (told,) = problems_of(config(processes=4), profile, None)
    assert "processes is 4, but the profile gives it 2 x nvidia.com/gpu" in told
    base = {"base_training": {"processes": 4}, "grpo_finetuning": {"processes": 2}}
    (told,) = problems_of(RunConfig.model_validate({"name": "x", **base}), profile, None)
    assert "base_training.processes is 4, but the profile gives it 1 x nvidia.com/gpu" in told
    large = config(groups=512, group_size=64, processes=2)
    (told,) = problems_of(large, profile, grpo_bytes(large, model_of(LARGE)))
    assert "GiB on each GPU, which has 2Gi" in told
    (told,) = problems_of(config(processes=1), load_profile("cluster-multinode"), None)
    assert "2 nodes can't share evenly" in told


def test_the_command_ends_with_status_2_when_it_can_not_work(tmp_path: Path) -> None:
    with_gpu(tmp_path / "p.yaml")
    common = (
        "plan",
        "examples/digits.yaml",
        "--root",
        str(tmp_path / "root"),
        "--profile",
        str(tmp_path / "p.yaml"),
    )
    fits = flowmap(*common, "--json")
    assert fits.returncode == 0, fits.stderr
    assert json.loads(fits.stdout)["problems"] == []
    refused = flowmap(*common, "--set", "grpo_finetuning.processes=8")
    assert refused.returncode == 2
    assert "can't work: grpo_finetuning.processes is 8" in refused.stdout


def test_adapters_take_the_memory_of_what_they_train() -> None:
    whole, adapted = config(), config(lora={"rank": 4, "alpha": 4.0})
    there, lora = grpo_parts(whole, FACTS), grpo_parts(adapted, FACTS, beside=Beside(7, 10**9))
    assert lora["policy and reference"] * 2 == there["policy and reference"]  # no second copy
    assert lora["average"] == 4 * FACTS.adapters(4)
    assert lora["optimiser and gradients"] == 3 * lora["average"]
    assert lora["autoencoder"] == 7
    assert (
        lora["text encoders beyond activations"] + lora["activations"] == 10**9
    )  # one or the other is there
    assert grpo_bytes(whole, FACTS) == sum(there.values())


def test_activations_that_are_not_kept_take_no_memory() -> None:
    taken = {"name": "x", "base_training": {"checkpoint": {"source": "there"}}}
    kept, again = (
        grpo_parts(
            RunConfig.model_validate({**taken, "grpo_finetuning": {"gradient_checkpointing": each}}), FACTS
        )
        for each in (False, True)
    )
    blocks = FACTS.double_blocks + FACTS.single_blocks
    assert again["activations"] < kept["activations"] / blocks * 1.5
    assert {**again, "activations": 0} == {**kept, "activations": 0}
    with pytest.raises(ValidationError, match="is for text-to-image transformers: set base_training"):
        config(gradient_checkpointing=True)


def test_what_is_not_known_yet_is_said() -> None:
    taken = RunConfig.model_validate({"name": "x", "base_training": {"checkpoint": {"source": "there"}}})
    assert model_facts(taken, DIGITS) is None
    told = Capacity(None, None, ()).to_text()
    assert "not known before data_prep has run" in told
