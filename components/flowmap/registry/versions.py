"""Models in an object store: versions that never change, aliases that move, rejections kept with the same
care.

    registry = Registry(store, "digits")
    version = registry.resolve("production")          # or "3"; UnknownModelError lists what there is
    registry.download(version, directory)

Layout below `models/<name>/`: `files/<digest>/...` the published bytes, `<version>/version.json` written
once, the versions being the integers from 1, `aliases/<alias>`, `rejections/<evaluation>.json`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from flowmap.artifacts.manifest import Manifest, artifact_digest
from flowmap.artifacts.store import ObjectStore
from flowmap.artifacts.transfer import fetch, publish, verify
from flowmap.errors import ConfigError, FlowmapError

_VERSION_FILE = re.compile(r"/([1-9]\d*)/version\.json$")


class UnknownModelError(ConfigError):
    """No such model, version or alias; the message lists what there is."""


class StaleVerdictError(FlowmapError):
    """The gate judged a candidate against a version that the alias no longer points to."""


class Judged(BaseModel):
    """A candidate and what the gate said of it.

    Attributes:
        candidate: digest of the artifact that the gate judged.
        evaluation: digest of the evaluation's artifact, with the figures and the report.
        incumbent: digest of the model it was judged against; None where that was its own base.
        verdict: the gate's criteria, figures and thresholds.
        figures: the figures at the trained grid, for listings.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")
    schema_version: int = 1
    name: str
    candidate: str
    evaluation: str
    incumbent: str | None
    verdict: dict[str, Any]
    figures: dict[str, float]


class Version(Judged):
    """One published version; the manifest is that of the published files, and its digest the model's."""

    version: int
    manifest: Manifest


class Rejection(Judged):
    """A candidate that the gate turned down."""


@dataclass(frozen=True)
class Registry:
    """The versions of one model."""

    store: ObjectStore
    name: str

    def versions(self) -> list[Version]:
        """Every version, oldest first."""
        names = [name for name in self.store.names(self._folder) if _VERSION_FILE.search(name)]
        found = [Version.model_validate_json(self.store.get(name)) for name in names]
        return sorted(found, key=lambda version: version.version)

    def aliases(self) -> dict[str, int]:
        """Which version each alias points to."""
        names = self.store.names(f"{self._folder}/aliases")
        return {name.rsplit("/", 1)[-1]: int(self.store.get(name)) for name in names}

    def rejections(self) -> list[Rejection]:
        names = self.store.names(f"{self._folder}/rejections")
        return [Rejection.model_validate_json(self.store.get(name)) for name in names]

    def resolve(self, reference: str) -> Version:
        """The version that a number or an alias stands for. Raises UnknownModelError."""
        versions, aliases = self.versions(), self.aliases()
        wanted = aliases.get(reference, reference)
        for version in versions:
            if str(version.version) == str(wanted):
                return version
        known = ", ".join([*(str(version.version) for version in versions), *sorted(aliases)])
        raise UnknownModelError(
            f"{self.name}@{reference}: unknown; there is {known or 'no version of that model'}"
        )

    def incumbent(self, alias: str, *, candidate: str) -> Version | None:
        """What a candidate has to beat: the version `alias` points to.

        A candidate that is that version itself is compared with what it had to beat when it was published,
        never with itself: so the same run again finds its own finished evaluation.
        """
        number = self.aliases().get(alias)
        if number is None:
            return None
        version = self.resolve(str(number))
        if version.candidate != candidate:
            return version
        return next((other for other in self.versions() if other.manifest.digest == version.incumbent), None)

    def check_judged(self, alias: str, *, candidate: str, incumbent: str | None) -> None:
        """Raise StaleVerdictError when `alias` has moved on since a candidate was judged against
        `incumbent`.

        That happens when two runs end side by side, or an old one is retried; the later one must not undo
        the earlier.
        """
        number = self.aliases().get(alias)
        current = self.resolve(str(number)) if number is not None else None
        if current is None or candidate == current.candidate or incumbent == current.manifest.digest:
            return
        raise StaleVerdictError(
            f"{self.name}@{alias} has become version {number} since this candidate was judged: start a new "
            "run of the same configuration, which reuses all but the evaluation"
        )

    def publish(
        self, directory: Path, paths: Iterable[str], source: Manifest, **facts: Any
    ) -> tuple[Version, bool]:
        """Upload, read back, write the version once; a candidate that has a version gets that one.

        Args:
            directory: a verified copy of the candidate.
            paths: the files to publish.
            source: the candidate's manifest.
            facts: the remaining fields of Version.

        Returns:
            The version, and whether it is new.
        """
        for version in self.versions():
            if version.candidate == source.digest:
                return version, False
        files = tuple(source.entry(path) for path in sorted(paths))
        manifest = source.model_copy(update={"files": files, "digest": artifact_digest(files)})
        prefix = f"{self._folder}/files/{manifest.digest}"
        publish(self.store, directory, manifest, prefix)
        verify(self.store, manifest, prefix)
        while True:
            number = max((version.version for version in self.versions()), default=0) + 1
            version = Version(
                name=self.name, version=number, manifest=manifest, candidate=source.digest, **facts
            )
            data = version.model_dump_json(indent=1).encode()
            if self.store.create(f"{self._folder}/{number}/version.json", data):
                return version, True

    def move_alias(self, alias: str, version: Version) -> None:
        self.store.put(f"{self._folder}/aliases/{alias}", str(version.version).encode())

    def reject(self, rejection: Rejection) -> None:
        """Record a rejection, once for each evaluation."""
        name = f"{self._folder}/rejections/{rejection.evaluation}.json"
        self.store.create(name, rejection.model_dump_json(indent=1).encode())

    def files_prefix(self, version: Version) -> str:
        """Where a version's files lie in the store."""
        return f"{self._folder}/files/{version.manifest.digest}"

    def download(self, version: Version, directory: Path) -> None:
        """Copy a version's files to `directory`, every byte checked."""
        fetch(self.store, version.manifest, directory, self.files_prefix(version))

    @property
    def _folder(self) -> str:
        return f"models/{self.name}"


def model_names(store: ObjectStore) -> list[str]:
    """Names of the models in a store, sorted."""
    return sorted({name.split("/")[1] for name in store.names("models")})
