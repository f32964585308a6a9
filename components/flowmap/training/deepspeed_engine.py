"""DeepSpeed as an engine: the one place that knows its configuration, and its ways on a machine without a
GPU.

    engine = DeepSpeedEngine(zero_stage=2)               # in each process that a launcher started

A process that no launcher started is a world of one.
"""

from __future__ import annotations

import copyreg
import logging
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from flowmap.settings import environment
from flowmap.training.devices import device

ENGINE_FOLDER = "state"
_SHARES_PARAMETERS = 3  # the first stage that does
_CLIP_NORM = 1.0


class DeepSpeedEngine:
    """Optimizer, gradients and parameters shared among processes as the ZeRO stage says: from 1, 2 and 3
    on."""

    def __init__(self, zero_stage: int = 0) -> None:
        init_distributed()
        self.device, self.zero_stage = device(), zero_stage
        self.rank, self.num_processes = dist.get_rank(), dist.get_world_size()
        self.module: Any = None

    def prepare(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, *, batch: int, accumulation: int = 1
    ) -> None:
        """The optimizer is one of torch's: DeepSpeed's own would be compiled at first use."""
        self.module, *_ = _import_deepspeed().initialize(
            model=network,
            optimizer=optimizer,
            config={
                "train_micro_batch_size_per_gpu": batch,
                "gradient_accumulation_steps": accumulation,
                "gradient_clipping": _CLIP_NORM,
                "zero_optimization": {"stage": self.zero_stage},
                "zero_allow_untested_optimizer": True,
                "steps_per_print": 10**9,
                "wall_clock_breakdown": False,
            },
        )

    def backward(self, loss: Tensor) -> None:
        self.module.backward(loss)

    def step(self) -> None:
        self.module.step()

    def sum(self, value: Tensor) -> Tensor:
        total = value.detach().clone()
        dist.all_reduce(total)
        return total

    def whole(self, parameters: Iterable[nn.Parameter]) -> AbstractContextManager[None]:
        if self.zero_stage < _SHARES_PARAMETERS:
            return nullcontext()
        gathered: AbstractContextManager[None] = _import_deepspeed().zero.GatheredParameters(
            list(parameters)
        )
        return gathered

    def save(self, directory: Path, state: dict[str, Any]) -> None:
        """Each process writes its part to ENGINE_FOLDER below `directory`, without parameters that are not
        trained: whoever goes on has loaded those.

        When it returns, the parts of all processes are there: DeepSpeed itself does not wait for them.
        """
        self.module.save_checkpoint(
            str(directory),
            tag=ENGINE_FOLDER,
            client_state=state,
            save_latest=False,
            exclude_frozen_parameters=self._has_frozen(),
        )
        dist.barrier()

    def load(self, directory: Path) -> dict[str, Any]:
        """Nothing but tensors and plain values is unpickled."""
        from deepspeed.runtime.fp16.loss_scaler import LossScaler
        from deepspeed.runtime.zero.config import ZeroStageEnum
        from deepspeed.utils.tensor_fragment import fragment_address

        before = os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
        os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"  # DeepSpeed asks for weights_only=False
        try:
            with torch.serialization.safe_globals([ZeroStageEnum, LossScaler, fragment_address]):
                _, state = self.module.load_checkpoint(
                    str(directory), tag=ENGINE_FOLDER, load_module_strict=not self._has_frozen()
                )
        finally:
            if before is None:
                del os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"]
            else:
                os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = before
        restored: dict[str, Any] = state
        return restored

    def _has_frozen(self) -> bool:
        return not all(parameter.requires_grad for parameter in self.module.module.parameters())


def init_distributed() -> None:
    """Join the processes that a launcher started; a process without a launcher is a world of one."""
    if torch.distributed.is_initialized():
        return
    deepspeed = _import_deepspeed()
    if "RANK" not in os.environ:
        os.environ.update(environment.WORLD_OF_ONE)
    here = device()
    if here.type == "cuda":
        torch.cuda.set_device(here)
        # As on a CPU, the same work comes to the same bytes.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    backend = "nccl" if here.type == "cuda" else "gloo"
    deepspeed.init_distributed(dist_backend=backend, verbose=False)


def _import_deepspeed() -> Any:
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _without("mlflow"):
            import deepspeed
        from deepspeed.ops import __compatible_ops__ as compatible
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    from deepspeed.runtime.zero.config import ZeroStageEnum

    # Python 3.11.2 pickles a member as a call of getattr, which no one who unpickles with care allows.
    copyreg.pickle(ZeroStageEnum, _by_value)
    # Otherwise the first use compiles a communication extension for more than a minute; gloo does without
    # it.
    compatible["deepspeed_shm_comm"] = False
    return deepspeed


@contextmanager
def _without(name: str) -> Iterator[None]:
    """A module that nobody has loaded yet can't be found in here.

    DeepSpeed's autotuner, which nothing here calls, loads MLflow where there is one: three quarters of the
    seconds that DeepSpeed takes.
    """
    modules: dict[str, Any] = sys.modules
    if name in modules:
        yield
        return
    modules[name] = None
    try:
        yield
    finally:
        del modules[name]


def _by_value(member: Any) -> tuple[Any, tuple[Any]]:
    return type(member), (member.value,)
