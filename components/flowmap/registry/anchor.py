"""What a model's quality is held against for good, and how many candidates have tried.

The first base of a name is its first version, and the alias `anchor` points to it. Candidates come and go,
and each is better than the one before within a tolerance; were the tolerance counted from the last of them,
it would add up. So it is counted from the anchor, until a person moves that: `flowmap models promote NAME@5
--alias anchor --reason ...`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from flowmap.artifacts.digest import canonical_json, sha256_of
from flowmap.artifacts.manifest import Manifest
from flowmap.registry.records import Judged, Version
from flowmap.registry.versions import Registry
from flowmap.settings import ANCHOR, Section


def anchor_of(registry: Registry, base: str) -> Version | None:
    """The version that the alias `anchor` points to.

    None where there is none yet, or it is the base of that digest itself: then that base is what quality is
    held against, before it was published and ever after.
    """
    number = registry.aliases().get(ANCHOR)
    if number is None:
        return None
    version = registry.resolve(str(number))
    return None if version.candidate == base else version


def terms_of(section: Section) -> str:
    """Digest of the settings that candidates are judged by."""
    return sha256_of(canonical_json(section.decisive()))


def trial_of(registry: Registry, candidate: str, terms: str) -> int:
    """Which attempt at the gate a candidate is: 1 for the first of its name.

    Judged again on the same terms it is the same attempt, and on others a new one.

    Args:
        candidate: digest of its artifact; terms: of the settings that it is judged by.
    """
    judged: list[Judged] = [*registry.versions(), *registry.rejections()]
    judged = [each for each in judged if each.trial is not None]
    for each in judged:
        if (each.candidate, each.terms) == (candidate, terms) and each.trial is not None:
            return each.trial
    return 1 + max((each.trial or 0 for each in judged), default=0)


def publish_anchor(
    registry: Registry,
    directory: Path,
    source: Manifest,
    paths: Iterable[str],
    judged: Judged,
    grid: tuple[float, ...],
) -> Version | None:
    """Publish a base as the version that `anchor` points to, unless there is one; None where there is.

    Args:
        directory: a verified copy of the base.
        source: its manifest; paths: the files to publish.
        judged: its figures, and the evaluation they come from.
        grid: the times that those figures were taken at.
    """
    if ANCHOR in registry.aliases():
        return None
    version = registry.version_of(source.digest)  # of a run that was killed before the alias moved
    if version is None:
        files = registry.upload(directory, paths, source)
        version = registry.write_version(files, judged, role="base", grid=grid)
    if registry.start_alias(ANCHOR, version):
        return version
    registry.withdraw(version, f"another run published the {ANCHOR} in the same moment")
    return None
