"""Publish what the gate promoted, or record what it rejected; or only tell, where nothing is to be
published.

Neither is ever reused: what they do lies outside their artifact, and doing it again changes nothing.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
from functools import partial
from typing import Any

from flowmap.artifacts.manifest import Manifest
from flowmap.errors import InvariantError
from flowmap.progress import say
from flowmap.registry import (
    Judged,
    Registry,
    Rejection,
    StaleVerdictError,
    Version,
    check_anchor,
    claim_trial,
    publish_anchor,
)
from flowmap.registry.evaluation_result import Evaluated, read_evaluated
from flowmap.registry_push.signing_key import check_key
from flowmap.settings import ANCHOR, environment
from flowmap.settings.sections import Publication
from flowmap.steps.context import Context

_TUNED_FILES, _BASE_FILES = ("ema.safetensors", "model.json"), ("map.safetensors", "model.json")
_SNAPSHOTS = "snapshots"  # a folder that is the judge's, for its curve
OUTCOME = "outcome.json"


def promote(context: Context[Publication]) -> None:
    """Verify, upload, read back, write the version once, move the alias."""
    section, candidate = context.section, context.manifests["tuned"]
    check_key(section)
    evaluated = read_evaluated(context.store, context.manifests["evaluation"].digest)
    if evaluated.verdict.verdict != "promote":
        raise InvariantError(
            f"the verdict is {evaluated.verdict.verdict}: only a promoted candidate is published"
        )
    check_anchor(_registry(context), context.manifests["base"].digest, evaluated.metrics["anchor"])
    _claim(context, evaluated)
    if not section.publish:
        say(
            f"registry_push: {section.name} passed the gate; not published, for registry_push.publish is "
            "false"
        )
        _finish(context, "passed")
        return
    _publish_base(context, evaluated)
    version, is_new = _promoted(context, candidate, Judged(**_facts(context, evaluated)))
    said = "published as" if is_new else "already promoted as"
    say(f"registry_push: {said} {section.name}@{version.version}; {section.alias} points to it")
    _finish(context, said.removesuffix(" as"), version, section.alias)


def _promoted(context: Context[Publication], candidate: Manifest, judged: Judged) -> tuple[Version, bool]:
    """The version that the candidate is published as, with the alias pointing to it; is it new?

    It is written last, when the upload is done and the verdict still holds. Should the alias move in the
    moment between, it is withdrawn: a verdict that holds no longer must not be found and used later.
    """
    registry, alias = _registry(context), context.section.alias
    registry.check_judged(alias, judged)
    known = registry.version_of(judged.candidate)
    if known is not None and (known.evaluation == judged.evaluation or registry.was_promoted(known)):
        _mend(context, known, "tuned")
        _sign(context, known)
        registry.promote(alias, known, judged)
        return known, False
    manifest = registry.upload(context.inputs["tuned"], _files(candidate, _TUNED_FILES), candidate)
    registry.check_judged(alias, judged)  # the upload takes its time
    version = registry.write_version(manifest, judged, evidence=_evidence(context))
    _sign(context, version)  # before anybody is led to it
    try:
        registry.promote(alias, version, judged)
    except StaleVerdictError as error:
        registry.withdraw(version, str(error))
        raise
    return version, True


def reject(context: Context[Publication]) -> None:
    """Record the rejection beside the versions."""
    check_key(context.section)
    evaluated = read_evaluated(context.store, context.manifests["evaluation"].digest)
    with contextlib.suppress(StaleVerdictError):  # rejected it is, whoever else has that number
        _claim(context, evaluated)
    _registry(context).reject(Rejection(**_facts(context, evaluated)))
    say(f"registry_push: rejected for {', '.join(evaluated.verdict.failed)}; recorded")
    _sign_runs(context, context.manifests["evaluation"].digest)
    if context.section.publish:
        _publish_base(context, evaluated)
    _finish(context, "rejected")


def _publish_base(context: Context[Publication], evaluated: Evaluated) -> None:
    """The first base of a name is a version too: nobody is left without a model, and candidates are held
    against it ever after."""
    name, base = context.section.name, context.manifests["base"]
    judged = Judged(
        name=name,
        candidate=base.digest,
        evaluation=context.manifests["evaluation"].digest,
        incumbent=None,
        verdict={},
        figures=evaluated.figures("base"),
    )
    registry = _registry(context)
    grid = tuple(evaluated.metrics["trained_grid"])
    known = registry.version_of(base.digest)
    if known is not None and known.role == "base":
        _mend(context, known, "base")
    files = _files(base, _BASE_FILES)

    def sign(version: Version) -> None:
        _sign(context, version)

    version = publish_anchor(
        registry, context.inputs["base"], base, files, judged, grid, sign, _evidence(context)
    )
    if version is not None:
        say(
            f"registry_push: the base is {name}@{version.version}; {ANCHOR} points to it, and candidates "
            "are held against it"
        )
    elif known is not None:
        _sign(context, known)


def _files(made: Manifest, files: tuple[str, ...]) -> tuple[str, ...]:
    """What is published of an artifact: those files, and what lies in folders, as a text encoder does."""
    below = (entry.path for entry in made.files if "/" in entry.path)
    return files + tuple(path for path in below if path.partition("/")[0] != _SNAPSHOTS)


def _evidence(context: Context[Publication]) -> Any:
    return partial(_published().evidence_of, context.store)


def _published() -> Any:
    """By name: a step that publishes stands below what its evidence is read by."""
    return importlib.import_module("flowmap.documents.published")


def _mend(context: Context[Publication], version: Version, candidate: str) -> None:
    """Known is only what is there and whole."""
    registry = _registry(context)
    for name in [*registry.mend(version, context.inputs[candidate]), *_published().mend(registry, version)]:
        say(f"registry_push: {name} was damaged or missing, and is written again from what it was made of")


def _sign(context: Context[Publication], version: Version) -> None:
    """State what it was made of, and sign that where there is a key; and the moves to it that an older
    flowmap left without."""
    signer = _signer()
    written = _signing().attest(context.store, version, signer)
    if signer is not None and any(name.endswith(f"/{signer.public_key.keyid}.json") for name in written):
        called = f"{version.name}@{version.version}"
        say(f"registry_push: signed what {called} was made of, with key {signer.public_key.keyid[:12]}")


def _sign_runs(context: Context[Publication], artifact: str) -> None:
    """State what the steps beneath an artifact did, and sign that where there is a key."""
    _signing().attest_runs(context.store, artifact, _signer())


def _registry(context: Context[Publication]) -> Registry:
    """In which moves are signed, where there is a key."""
    registry, signer = Registry(context.store, context.section.name), _signer()
    if signer is None:
        return registry
    signing: Registry = _signing().signing_moves(registry, signer)
    return signing


def _signer() -> Any:
    """What signs; None without a key."""
    key = os.environ.get(environment.SIGNING_KEY)
    return importlib.import_module("flowmap.attestation.keys").signer_of(key) if key else None


def _signing() -> Any:
    """By name: a step that publishes stands below the audit."""
    return importlib.import_module("flowmap.attestation.signing")


def _claim(context: Context[Publication], evaluated: Evaluated) -> None:
    trial, terms = evaluated.verdict.trial, evaluated.metrics["terms"]
    claim_trial(_registry(context), trial, context.manifests["tuned"].digest, terms)


def _facts(context: Context[Publication], evaluated: Evaluated) -> dict[str, Any]:
    return {
        "name": context.section.name,
        "candidate": context.manifests["tuned"].digest,
        "evaluation": context.manifests["evaluation"].digest,
        "incumbent": evaluated.metrics["incumbent"],
        "verdict": evaluated.verdict.model_dump(mode="json"),
        "figures": evaluated.figures(),
        "trial": evaluated.verdict.trial,
    }


def _finish(
    context: Context[Publication], outcome: str, version: Version | None = None, alias: str | None = None
) -> None:
    """Say what came of it, and of what."""
    told = {
        "outcome": outcome,
        "name": context.section.name,
        "candidate": context.manifests["tuned"].digest,
        "evaluation": context.manifests["evaluation"].digest,
        "version": None if version is None else version.version,
        "model": None if version is None else version.manifest.digest,
        "alias": alias,
    }
    (context.out / OUTCOME).write_text(json.dumps(told, sort_keys=True))
