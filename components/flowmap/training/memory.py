"""What is said when a device's memory is full."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from flowmap.errors import FlowmapError
from flowmap.settings import BaseTraining, GrpoFinetuning

_OF_A_PROCESSOR = "can't allocate memory"  # what torch's own allocator says of this machine's


class OutOfMemoryError(FlowmapError):
    """A device's memory is full."""


@contextlib.contextmanager
def full_memory_told(step: str, advice: str) -> Iterator[None]:
    """Turn a full memory into one error that says what to set; any other error stays what it is."""
    try:
        yield
    except RuntimeError as error:
        if not _is_full(error):
            raise
        told = str(error).splitlines()[0]
        raise OutOfMemoryError(f"{step}: memory is full: {advice}. It was said: {told}") from error


def in_halves(compute: Callable[..., Tensor], *rows: Tensor) -> Tensor:
    """What is computed of rows, (batch, ...), or where memory is full, of their halves, each by itself.

    Args: compute: from rows, as many of each tensor, to as many rows.
    """
    num = len(rows[0])
    try:
        return compute(*rows)
    except RuntimeError as error:
        if num == 1 or not _is_full(error):
            raise
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    halves = slice(num // 2), slice(num // 2, num)
    return torch.cat([in_halves(compute, *(each[half] for each in rows)) for half in halves])


def _is_full(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or _OF_A_PROCESSOR in str(error)


def less_for_grpo(section: GrpoFinetuning, can_recompute: bool) -> str:
    """The setting that halves what activations take, or the next one where that is done.

    Args:
        can_recompute: whether the network can take `gradient_checkpointing`.
    """
    at_once = section.micro_batch or section.groups * section.group_size // section.processes
    if at_once > 1:
        return f"set grpo_finetuning.micro_batch to {at_once // 2}, which halves what activations take"
    if can_recompute and not section.gradient_checkpointing:
        return "set grpo_finetuning.gradient_checkpointing to true: activations are computed twice, not kept"
    if section.zero_stage < 2 and section.processes > 1:
        return "set grpo_finetuning.zero_stage to 2: processes share the optimiser's state and gradients"
    if section.zero_stage < 3 and section.processes > 1 and section.lora is not None:
        return "set grpo_finetuning.zero_stage to 3: processes share the weights, layer by layer"
    return "the weights alone are too large: train adapters (grpo_finetuning.lora), or take a larger device"


def less_for_encoding(batch: int) -> str:
    """The same, for pictures that data_prep encodes."""
    if batch > 1:
        return f"set data_prep.captioned.batch to {batch // 2}, which halves what it takes"
    return "a single picture is too much: set a smaller data_prep.resize or captioned.buckets"


LESS_FOR_EVALUATION = (
    "fewer samples were drawn at once, down to one; rewards and features that are models lie on the device "
    "beside what is measured: serve heavy ones elsewhere (kind: http), or take a larger device"
)


def less_for_base(section: BaseTraining) -> str:
    """The same, for base training, whose processes have a share of the batch each."""
    assert section.batch_size is not None
    processes, checkpoint = section.processes or 1, section.checkpoint
    half = max(section.batch_size // processes // 2 * processes, processes, 2)
    if half < section.batch_size:
        return f"set base_training.batch_size to {half}, which about halves what activations take"
    if (section.flux or checkpoint) and not section.gradient_checkpointing:
        return "set base_training.gradient_checkpointing to true: activations are computed twice, not kept"
    if checkpoint is not None and checkpoint.convert and section.lora is None:
        return "the weights alone are too large: train adapters (base_training.lora)"
    return "the model alone is too large for this device: take a larger one"
