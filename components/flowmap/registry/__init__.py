"""The registry of models: versions, aliases, verdicts, and what an evaluation leaves for those who read
it."""

from flowmap.registry.anchor import anchor_of, check_anchor, claim_trial, publish_anchor, terms_of, trial_of
from flowmap.registry.records import Judged, Move, Rejection, Version
from flowmap.registry.versions import (
    MovedError,
    Registry,
    StaleVerdictError,
    UnknownModelError,
    model_names,
)

__all__ = [
    "Judged",
    "Move",
    "MovedError",
    "Registry",
    "Rejection",
    "StaleVerdictError",
    "UnknownModelError",
    "Version",
    "anchor_of",
    "check_anchor",
    "claim_trial",
    "model_names",
    "publish_anchor",
    "terms_of",
    "trial_of",
]
