"""The DeepSpeed engine: the one place that knows its configuration, and its ways on a machine without a GPU.

init_distributed()
engine = make_engine(network, optimizer, micro_batch=256)
engine.backward(loss); engine.step()
save_engine(engine, directory, {"update": 20, ...});  state = load_engine(engine, directory)
"""

from __future__ import annotations

import copyreg
import logging
import os
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

ENGINE_FOLDER = "state"
_WORLD_OF_ONE = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}


def init_distributed() -> None:
    """Join the processes that a launcher started; a process without a launcher is a world of one."""
    if torch.distributed.is_initialized():
        return
    deepspeed = _import_deepspeed()
    if "RANK" not in os.environ:
        os.environ.update(_WORLD_OF_ONE)
    here = device()
    if here.type == "cuda":
        torch.cuda.set_device(here)
        # As on a CPU, the same work comes to the same bytes.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    backend = "nccl" if here.type == "cuda" else "gloo"
    deepspeed.init_distributed(dist_backend=backend, verbose=False)


def device() -> torch.device:
    """Where this process trains: a GPU of its own where there are any, else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def node() -> int:
    """Which of the job's nodes this process is on; 0 without a launcher."""
    return int(os.environ.get("GROUP_RANK", "0"))


def is_first_on_node() -> bool:
    """Whether this process does, for its node, what needs doing only once there."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def make_engine(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    micro_batch: int,
    accumulation: int = 1,
    zero_stage: int = 0,
    clip_norm: float = 1.0,
) -> Any:
    """Wrap a network for training; `accumulation` backward passes make one update.

    The optimizer is one of torch's: DeepSpeed's own would be compiled at first use.
    """
    init_distributed()
    engine, *_ = _import_deepspeed().initialize(
        model=network,
        optimizer=optimizer,
        config={
            "train_micro_batch_size_per_gpu": micro_batch,
            "gradient_accumulation_steps": accumulation,
            "gradient_clipping": clip_norm,
            "zero_optimization": {"stage": zero_stage},
            "zero_allow_untested_optimizer": True,
            "steps_per_print": 10**9,
            "wall_clock_breakdown": False,
        },
    )
    return engine


def save_engine(engine: Any, directory: Path, state: dict[str, Any]) -> None:
    """Write parameters and optimizer to ENGINE_FOLDER below `directory`, each process its part, and `state` with them.

    `state` holds tensors and plain values. When it returns, the parts of all processes are there:
    DeepSpeed itself does not wait for them.
    """
    engine.save_checkpoint(str(directory), tag=ENGINE_FOLDER, client_state=state, save_latest=False)
    torch.distributed.barrier()


def load_engine(engine: Any, directory: Path) -> dict[str, Any]:
    """Restore what `save_engine` wrote and return its `state`. Nothing but tensors and plain values is unpickled."""
    from deepspeed.runtime.fp16.loss_scaler import LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    before = os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"  # DeepSpeed asks for weights_only=False
    try:
        with torch.serialization.safe_globals([ZeroStageEnum, LossScaler, fragment_address]):
            _, state = engine.load_checkpoint(str(directory), tag=ENGINE_FOLDER)
    finally:
        if before is None:
            del os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"]
        else:
            os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = before
    restored: dict[str, Any] = state
    return restored


def _import_deepspeed() -> Any:
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import deepspeed
        from deepspeed.ops import __compatible_ops__ as compatible
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    from deepspeed.runtime.zero.config import ZeroStageEnum

    # Python 3.11.2 pickles a member as a call of getattr, which no one who unpickles with care allows.
    copyreg.pickle(ZeroStageEnum, _by_value)
    # Otherwise the first use compiles a communication extension for more than a minute; gloo does without it.
    compatible["deepspeed_shm_comm"] = False
    return deepspeed


def _by_value(member: Any) -> tuple[Any, tuple[Any]]:
    return type(member), (member.value,)
