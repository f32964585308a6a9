"""What may be used: no version that was retired, and for those who say which keys they trust, none that no
such key has signed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from flowmap.errors import IntegrityError
from flowmap.registry import Registry, Rejection, Version
from flowmap.registry.retiring import check_in_use
from flowmap.settings import environment
from flowmap_pipelines.model_list import followed

if TYPE_CHECKING:
    from flowmap.artifacts.store import ObjectStore


def check_usable(store: ObjectStore, model: Version | Rejection, reference: str | None = None) -> None:
    """Raise RetiredError for a retired version, and IntegrityError where FLOWMAP_TRUSTED_KEYS names keys and
    none of them signed that version as it is, or the move by which an alias leads to it.

    Args:
        reference: what was asked for, such as NAME or NAME@ALIAS; None where it was the version itself.
    """
    if isinstance(model, Version):
        check_in_use(store, model)
    named = os.environ.get(environment.TRUSTED_KEYS)
    if not named:
        return
    # Here, for the formats take their time, and most commands need none of them.
    from flowmap.attestation.checking import refusal_of, refusal_of_alias
    from flowmap.attestation.trust import read_trusted

    trusted = read_trusted(named)
    if isinstance(model, Rejection):
        raise IntegrityError(
            f"{model.name}@rejected: nobody signs what the gate rejected, and {environment.TRUSTED_KEYS} "
            "asks for a signature; unset it to look at it all the same"
        )
    if why := refusal_of(store, model, trusted):
        raise IntegrityError(
            f"{model.name}@{model.version} has no signature that is trusted by {named}: {why}. "
            "`flowmap lineage verify` looks at all of it, `flowmap lineage attest` signs it"
        )
    alias = None if reference is None else followed(store, reference)
    if alias is not None and (why := refusal_of_alias(Registry(store, model.name), alias, model, trusted)):
        raise IntegrityError(
            f"that {model.name}@{alias} leads to version {model.version} has no signature that is trusted "
            f"by {named}: {why}. Ask for {model.name}@{model.version}, which is signed; "
            "`flowmap lineage attest` signs the move, where it is right"
        )
