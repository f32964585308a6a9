"""What a pod waits for, in words: for room on a machine, or for something that does not come by itself."""

from __future__ import annotations

from typing import Any

_PULL = "its image can't be pulled: does the node reach the registry, and has the pod its credentials?"
_STUCK = {
    "ErrImagePull": _PULL,
    "ImagePullBackOff": _PULL,
    "ErrImageNeverPull": "its image is not on the node, and the pull policy is Never",
    "InvalidImageName": "its image's name is not one",
    "CreateContainerConfigError": "a Secret or ConfigMap it needs is missing",
    "CreateContainerError": "its container can't be created",
    "RunContainerError": "its container can't be started",
}


def waits_for_room(pod: Any) -> str | None:
    """What the scheduler says of a pod it finds no machine for."""
    for condition in pod.status.conditions or []:
        if condition.type == "PodScheduled" and condition.status == "False":
            return f"{pod.metadata.name} waits for a machine: {condition.message}"
    return None


def is_stuck(pod: Any) -> str | None:
    """Why a pod can't start, for a reason that does not pass by itself."""
    for container in [*(pod.status.init_container_statuses or []), *(pod.status.container_statuses or [])]:
        waiting = container.state.waiting
        if waiting is not None and waiting.reason in _STUCK:
            told = f": {waiting.message}" if waiting.message else ""
            return f"{pod.metadata.name}: {_STUCK[waiting.reason]} ({waiting.reason}{told})"
    return None
