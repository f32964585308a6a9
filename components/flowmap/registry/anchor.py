"""What a model's quality is held against for good, and how many candidates have tried.

The first base of a name is its first version, and the alias `anchor` points to it. Candidates come and go,
and each is better than the one before within a tolerance; were the tolerance counted from the last of them,
it would add up. So it is counted from the anchor, until a person moves that: `flowmap models promote NAME@5
--alias anchor --reason ...`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from flowmap.artifacts.digest import canonical_json, sha256_of
from flowmap.artifacts.manifest import Manifest
from flowmap.registry.documents import EvidenceOf
from flowmap.registry.records import Judged, Version
from flowmap.registry.versions import Registry, StaleVerdictError
from flowmap.settings import ANCHOR, Section


def anchor_of(registry: Registry, base: str) -> Version | None:
    """The version that quality is held against.

    None where there is none yet, or it is the base of that digest itself: then that base is what quality is
    held against, before it was published and ever after. A model that has versions from before there were
    anchors is held against the oldest of them.
    """
    number = registry.points_to(ANCHOR)
    version = _oldest(registry) if number is None else registry.resolve(str(number))
    return None if version is None or version.candidate == base else version


def _oldest(registry: Registry) -> Version | None:
    """The oldest version that passed a gate."""
    return next((version for version in registry.versions() if version.role == "tuned"), None)


def check_anchor(registry: Registry, base: str, judged_against: str | None) -> None:
    """Raise StaleVerdictError when the anchor is another than the one that a candidate was held against.

    Args:
        base: digest of the candidate's own base.
        judged_against: of the anchor's files; None where that was the base.
    """
    now = anchor_of(registry, base)
    if (None if now is None else now.manifest.digest) != judged_against:
        raise StaleVerdictError(
            f"{registry.name}@{ANCHOR} is another since this candidate was judged: start a new run of the "
            "same configuration, which reuses all but the evaluation"
        )


def terms_of(section: Section) -> str:
    """Digest of the settings that candidates are judged by."""
    return sha256_of(canonical_json(section.decisive()))


def trial_of(registry: Registry, candidate: str, terms: str) -> int:
    """Which attempt at the gate a candidate is: 1 for the first of its name.

    Judged again on the same terms it is the same attempt, and on others a new one.

    Args:
        candidate: digest of its artifact; terms: of the settings that it is judged by.
    """
    taken = registry.attempts()
    return next(
        (number for number, who in taken.items() if who == (candidate, terms)), 1 + max(taken, default=0)
    )


def claim_trial(registry: Registry, number: int, candidate: str, terms: str) -> None:
    """Take the number of an attempt, whatever came of it: passed, rejected or only judged.

    Raises StaleVerdictError when another candidate that was judged at the same time has taken it: no number
    is used twice, or levels would not add up.
    """
    if not registry.claim_attempt(number, candidate, terms):
        raise StaleVerdictError(
            f"another candidate of {registry.name} was judged at the same time, as number {number} too: "
            "start a new run of the same configuration, which reuses all but the evaluation"
        )


def publish_anchor(
    registry: Registry,
    directory: Path,
    source: Manifest,
    paths: Iterable[str],
    judged: Judged,
    grid: tuple[float, ...],
    made: Callable[[Version], None],
    evidence: EvidenceOf | None = None,
) -> Version | None:
    """Publish a base as the version that `anchor` points to, unless there is one; None where there is.

    Args:
        directory: a verified copy of the base.
        source: its manifest; paths: the files to publish.
        judged: its figures, and the evaluation they come from.
        grid: the times that those figures were taken at.
        made: is called with the version before the alias leads to it.
        evidence: makes what is published with its files.
    """
    if registry.points_to(ANCHOR) is not None:
        return None
    if (older := _oldest(registry)) is not None:  # of a flowmap from before there were anchors
        made(older)
        registry.start_alias(ANCHOR, older)
        return None
    known = registry.version_of(source.digest)  # of a run that was killed before the alias moved
    version = known
    if version is None:
        files = registry.upload(directory, paths, source)
        version = registry.write_version(files, judged, role="base", grid=grid, evidence=evidence)
    made(version)
    if registry.start_alias(ANCHOR, version):
        return version
    if known is None and registry.points_to(ANCHOR) != version.version:
        registry.withdraw(version, f"another run published the {ANCHOR} in the same moment")
    return None
