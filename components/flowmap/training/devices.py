"""Where this process works: its device, and its place among the processes that a launcher started."""

from __future__ import annotations

import os

import torch


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
