"""A full memory is told with the setting that halves it."""

import pytest
import torch

from flowmap.settings import BaseTraining, GrpoFinetuning
from flowmap.training.memory import (
    OutOfMemoryError,
    full_memory_told,
    in_halves,
    less_for_base,
    less_for_encoding,
    less_for_grpo,
)


def test_a_full_device_and_a_full_machine_are_told_alike() -> None:
    with (
        pytest.raises(
            OutOfMemoryError, match=r"^grpo_finetuning: memory is full: halve it. It was said: CUDA"
        ),
        full_memory_told("grpo_finetuning", "halve it"),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nmore")
    with pytest.raises(OutOfMemoryError, match="base_training"), full_memory_told("base_training", "less"):
        torch.empty(1 << 60, dtype=torch.uint8)
    with pytest.raises(RuntimeError, match="shapes differ"), full_memory_told("base_training", "less"):
        raise RuntimeError("shapes differ")


SMALLEST = {"micro_batch": 1, "gradient_checkpointing": True}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"groups": 8, "group_size": 4}, "micro_batch to 16, which halves"),
        ({"micro_batch": 6}, "micro_batch to 3, which halves"),
        ({"micro_batch": 1}, "gradient_checkpointing to true"),
        ({**SMALLEST, "processes": 2}, "zero_stage to 2"),
        (SMALLEST, "train adapters"),
        ({**SMALLEST, "processes": 2, "zero_stage": 2, "lora": {}}, "zero_stage to 3"),
        ({**SMALLEST, "processes": 2, "zero_stage": 3, "lora": {}}, "or take a larger device"),
    ],
)
def test_the_next_thing_to_set_is_named(settings: dict[str, object], told: str) -> None:
    assert told in less_for_grpo(GrpoFinetuning.model_validate(settings), can_recompute=True)


CONVERTED = {"checkpoint": {"source": "/models/flux", "convert": True}}
RECOMPUTED = {**CONVERTED, "gradient_checkpointing": True}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"batch_size": 128}, {"batch_size": 64}),
        ({"batch_size": 24, "processes": 8}, {"batch_size": 8}),
        ({"batch_size": 8, "processes": 8, **CONVERTED}, {"gradient_checkpointing": True}),
        ({"batch_size": 2, "flux": {}}, {"gradient_checkpointing": True}),
        ({"batch_size": 8, "processes": 8, **RECOMPUTED}, {"lora": {}}),
        ({"batch_size": 3}, {"batch_size": 2}),
        ({"batch_size": 2, **RECOMPUTED, "lora": {}}, {}),
        ({"batch_size": 2}, {}),
    ],
)
def test_what_is_named_of_base_training_can_be_set(
    settings: dict[str, object], told: dict[str, object]
) -> None:
    advice = less_for_base(BaseTraining.model_validate(settings))
    for name, value in told.items():
        assert f"base_training.{name}" in advice
        assert name == "lora" or f" to {str(value).lower()}" in advice
    assert told or "take a larger one" in advice
    BaseTraining.model_validate({**settings, **told})


def test_what_a_network_can_not_do_is_not_asked_for() -> None:
    one = GrpoFinetuning(micro_batch=1)
    assert "gradient_checkpointing" not in less_for_grpo(one, can_recompute=False)
    assert "captioned.batch to 8" in less_for_encoding(16)
    assert "resize" in less_for_encoding(1)


def test_where_memory_is_full_halves_are_computed_down_to_one() -> None:
    tried: list[int] = []

    def twice(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        tried.append(len(x))
        if len(x) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return x + y

    x = torch.arange(11.0)
    assert torch.equal(in_halves(twice, x, x), 2 * x)
    assert tried == [11, 5, 2, 3, 6, 3, 3]

    def never(x: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        in_halves(never, x)

    def wrong(x: torch.Tensor) -> torch.Tensor:
        tried.append(-1)
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        in_halves(wrong, x)
    assert tried.count(-1) == 1
