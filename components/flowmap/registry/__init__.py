"""The registry of models: versions, aliases, verdicts, and what an evaluation leaves for those who read
it."""

from flowmap.registry.versions import (
    Judged,
    Move,
    Registry,
    Rejection,
    StaleVerdictError,
    UnknownModelError,
    Version,
    model_names,
)

__all__ = [
    "Judged",
    "Move",
    "Registry",
    "Rejection",
    "StaleVerdictError",
    "UnknownModelError",
    "Version",
    "model_names",
]
