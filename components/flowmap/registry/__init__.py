"""The registry of models: versions, aliases, verdicts, and what an evaluation leaves for those who read
it."""

from flowmap.registry.versions import (
    Registry,
    Rejection,
    StaleVerdictError,
    UnknownModelError,
    Version,
    model_names,
)

__all__ = ["Registry", "Rejection", "StaleVerdictError", "UnknownModelError", "Version", "model_names"]
