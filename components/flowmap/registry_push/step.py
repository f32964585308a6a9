"""Publish what the gate promoted, or record what it rejected; or only tell, where nothing is to be
published.

Neither is ever reused: what they do lies outside their artifact, and doing it again changes nothing.
"""

from __future__ import annotations

import json
from typing import Any

from flowmap.errors import InvariantError
from flowmap.progress import say
from flowmap.registry import Registry, Rejection
from flowmap.registry.evaluation_result import Evaluated, read_evaluated
from flowmap.settings.sections import Publication
from flowmap.steps.context import Context

_PUBLISHED = ("ema.safetensors", "model.json")
OUTCOME = "outcome.json"


def promote(context: Context[Publication]) -> None:
    """Verify, upload, read back, write the version once, move the alias."""
    section, candidate = context.section, context.manifests["tuned"]
    evaluated = read_evaluated(context.store, context.manifests["evaluated"].digest)
    if evaluated.verdict.verdict != "promote":
        raise InvariantError(
            f"the verdict is {evaluated.verdict.verdict}: only a promoted candidate is published"
        )
    if not section.publish:
        say(
            f"registry_push: {section.name} passed the gate; not published, for registry_push.publish is "
            "false"
        )
        _finish(context, {"outcome": "passed", "version": None, "alias": None})
        return
    registry, alias = Registry(context.store, section.name), section.alias
    facts = _facts(context, evaluated)
    judged = {"candidate": candidate.digest, "incumbent": facts["incumbent"]}
    registry.check_judged(alias, **judged)
    version, is_new = registry.publish(context.inputs["tuned"], _PUBLISHED, candidate, **facts)
    registry.check_judged(alias, **judged)  # the upload takes its time
    registry.move_alias(alias, version)
    said = "published as" if is_new else "already promoted as"
    say(f"registry_push: {said} {section.name}@{version.version}; {alias} points to it")
    _finish(context, {"outcome": said.split(" as")[0], "version": version.version, "alias": alias})


def reject(context: Context[Publication]) -> None:
    """Record the rejection beside the versions."""
    evaluated = read_evaluated(context.store, context.manifests["evaluated"].digest)
    candidate = context.manifests["tuned"].digest
    rejection = Rejection(name=context.section.name, candidate=candidate, **_facts(context, evaluated))
    Registry(context.store, context.section.name).reject(rejection)
    say(f"registry_push: rejected for {', '.join(evaluated.verdict.failed)}; recorded")
    _finish(context, {"outcome": "rejected", "version": None, "alias": None})


def _facts(context: Context[Publication], evaluated: Evaluated) -> dict[str, Any]:
    return {
        "evaluation": context.manifests["evaluated"].digest,
        "incumbent": evaluated.metrics["incumbent"],
        "verdict": evaluated.verdict.model_dump(mode="json"),
        "figures": evaluated.figures(),
    }


def _finish(context: Context[Publication], outcome: dict[str, Any]) -> None:
    (context.out / OUTCOME).write_text(json.dumps(outcome, sort_keys=True))
