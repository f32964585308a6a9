"""A full memory is told with the setting that halves it."""

import pytest
import torch

from flowmap.settings import BaseTraining, GrpoFinetuning
from flowmap.training.memory import OutOfMemoryError, full_memory_told, less_for_base, less_for_grpo


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


def test_what_a_network_can_not_do_is_not_asked_for() -> None:
    one = GrpoFinetuning(micro_batch=1)
    assert "gradient_checkpointing" not in less_for_grpo(one, can_recompute=False)
    assert "batch_size to 64" in less_for_base(BaseTraining(batch_size=128))
