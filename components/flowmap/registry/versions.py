"""Models in an object store: versions that never change, aliases that move, rejections kept with the same
care.

    registry = Registry(store, "digits")
    version = registry.resolve("production")          # or "3"; UnknownModelError lists what there is
    registry.download(version, directory)

Layout below `models/<name>/`: `files/<digest>/...` the published bytes; `<version>/version.json`, the
versions being the integers from 1, and `<version>/withdrawn.json` where it was never promoted after all;
`moves/<alias>/<number>.json`, where an alias went; `attempts/<number>.json`, who tried to pass the gate;
`rejections/<evaluation>.json`. Each of them is written once, so of two that write at once one is told so,
whatever the store. An older flowmap kept an alias as one object, `aliases/<alias>`, that was overwritten;
until the alias moves again, that holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from flowmap.artifacts.manifest import Manifest, artifact_digest
from flowmap.artifacts.store import ObjectStore, read_there
from flowmap.artifacts.transfer import artifact_prefix, fetch_either, publish, verify
from flowmap.errors import ConfigError, FlowmapError, IntegrityError, Spoiled
from flowmap.json_text import read_json
from flowmap.registry import files
from flowmap.registry.documents import EvidenceOf, with_evidence
from flowmap.registry.moves import Moves, Seal
from flowmap.registry.records import Judged, Move, Rejection, Role, Version, read_each, read_kept

_VERSION_FILE = re.compile(r"/([1-9]\d*)/version\.json$")
_WITHDRAWN_FILE = re.compile(r"/([1-9]\d*)/withdrawn\.json$")


class UnknownModelError(ConfigError):
    """No such model, version or alias; the message lists what there is."""


class StaleVerdictError(FlowmapError):
    """The gate judged a candidate against a version that the alias no longer points to."""


class MovedError(FlowmapError):
    """An alias has moved since whoever moves it looked."""


@dataclass(frozen=True)
class Registry:
    """The versions of one model; `seal` signs what moves an alias before it does, where there is a key."""

    store: ObjectStore
    name: str
    seal: Seal | None = None

    @property
    def moved(self) -> Moves:
        """Where the aliases went."""
        return Moves(self.store, self.name, self.seal)

    def versions(self, spoiled: Spoiled | None = None) -> list[Version]:
        """Every version that was not withdrawn, oldest first; `spoiled` as for `read_each`."""
        names = list(self.store.names(self._folder))
        withdrawn = {found[1] for name in names if (found := _WITHDRAWN_FILE.search(name))}
        numbered = [(name, found[1]) for name in names if (found := _VERSION_FILE.search(name))]
        there = [each for each in numbered if each[1] not in withdrawn]
        return sorted(read_each(there, self._version, spoiled), key=lambda version: version.version)

    def aliases(self) -> dict[str, int]:
        """Which version each alias points to. Raises IntegrityError where that can't be told any more."""
        older = {name.rsplit("/", 1)[-1] for name in self.store.names(f"{self._folder}/aliases")}
        found = {alias: self.points_to(alias) for alias in sorted({*older, *self.moved.numbers()})}
        return {alias: number for alias, number in found.items() if number is not None}

    def points_to(self, alias: str) -> int | None:
        """The version that an alias points to, or None. Raises IntegrityError where that can't be told."""
        if (move := self.moved.last(alias)) is not None:
            return move.version
        older = f"{self._folder}/aliases/{alias}"
        return int(read_there(self.store, older)) if self.store.exists(older) else None

    def moves(self, alias: str) -> list[Move]:
        """Every move of an alias, oldest first."""
        return self.moved.of(alias)

    def rejections(self) -> list[Rejection]:
        names = self.store.names(f"{self._folder}/rejections")
        return [read_kept(self.store, name, Rejection) for name in names]

    def resolve(self, reference: str) -> Version:
        """The version that a number or an alias stands for.

        Raises:
            UnknownModelError: there is none.
            IntegrityError: an alias points to a version that is gone.
        """
        versions = {str(version.version): version for version in self.versions()}
        if reference in versions:
            return versions[reference]
        wanted = self.points_to(reference)
        if str(wanted) in versions:
            return versions[str(wanted)]
        if wanted is not None:
            raise IntegrityError(
                f"{self._folder}/{wanted}/version.json is missing in {self.store.url}, and {reference} "
                f"points to it: restore it, or point {reference} elsewhere with `flowmap models promote`"
            )
        known = ", ".join([*versions, *sorted(self.aliases())])
        raise UnknownModelError(
            f"{self.name}@{reference}: unknown; there is {known or 'no version of that model'}"
        )

    def incumbent(self, alias: str, *, candidate: str) -> Version | None:
        """What a candidate has to beat: the version `alias` points to.

        A candidate that is that version itself is compared with what it had to beat when it was published,
        never with itself: so the same run again finds its own finished evaluation.
        """
        number = self.points_to(alias)
        if number is None:
            return None
        version = self.resolve(str(number))
        if version.candidate != candidate:
            return version
        return next((other for other in self.versions() if other.manifest.digest == version.incumbent), None)

    def check_judged(self, alias: str, judged: Judged) -> None:
        """Raise StaleVerdictError when `alias` has moved on since a candidate was judged.

        That happens when two runs end side by side, or an old one is retried; the later one must not undo
        the earlier.
        """
        number = self.points_to(alias)
        current = self.resolve(str(number)) if number is not None else None
        if current is None or current.candidate == judged.candidate:
            return
        if current.manifest.digest == judged.incumbent:
            return
        raise StaleVerdictError(
            f"{self.name}@{alias} has become version {number} since this candidate was judged: start a new "
            "run of the same configuration, which reuses all but the evaluation"
        )

    def upload(self, directory: Path, paths: Iterable[str], source: Manifest) -> Manifest:
        """Copy files of a candidate to where versions keep theirs, and read them back.

        Args:
            directory: a verified copy of the candidate.
            paths: the files to publish.
            source: the candidate's manifest.

        Returns:
            The manifest of the published files.
        """
        entries = tuple(source.entry(path) for path in sorted(paths))
        manifest = source.model_copy(update={"files": entries, "digest": artifact_digest(entries)})
        prefix = f"{self._folder}/files/{manifest.digest}"
        publish(self.store, directory, manifest, prefix)
        verify(self.store, manifest, prefix)
        return manifest

    def mend(self, version: Version, directory: Path) -> list[str]:
        """Write again what is missing or changed of a version's files; names what that was.

        Args:
            directory: a verified copy of the candidate that it was published from.
        """
        return files.mend(self.store, version.manifest, self.files_prefix(version), directory)

    def version_of(self, candidate: str) -> Version | None:
        """The newest version that a candidate was published as."""
        return next((each for each in reversed(self.versions()) if each.candidate == candidate), None)

    def was_promoted(self, version: Version) -> bool:
        """Whether an alias has ever pointed to it, as far as is on record."""
        numbers = {move.version for alias in self.aliases() for move in self.moves(alias)}
        older = [int(read_there(self.store, name)) for name in self.store.names(f"{self._folder}/aliases")]
        return version.version in numbers or version.version <= max(older, default=0)

    def write_version(
        self,
        manifest: Manifest,
        judged: Judged,
        *,
        role: Role = "tuned",
        grid: tuple[float, ...] | None = None,
        evidence: EvidenceOf | None = None,
    ) -> Version:
        """Write the next version, once; its files must lie there already, its evidence is made for it."""
        while True:
            number = 1 + max(map(int, self._numbers()), default=0)
            told = judged.model_dump()
            version = Version(**told, version=number, manifest=manifest, role=role, grid=grid)
            version = with_evidence(self.store, version, evidence)
            data = version.model_dump_json(indent=1).encode()
            if self.store.create(f"{self._folder}/{number}/version.json", data):
                return version

    def withdraw(self, version: Version, why: str) -> None:
        """Take back a version that no alias has pointed to; its number is not given again."""
        data = json.dumps({"why": why, "at": datetime.now(UTC).isoformat(timespec="seconds")}).encode()
        self.store.create(f"{self._folder}/{version.version}/withdrawn.json", data)

    def promote(self, alias: str, version: Version, judged: Judged) -> None:
        """Let an alias point to a version that was judged against what it points to now.

        Of several that move an alias at once, one does; the others are judged against what it has become.

        Raises:
            StaleVerdictError: the alias has moved on since `judged` was.
        """
        while True:
            number, before = self.moved.num(alias), self.points_to(alias)
            self.check_judged(alias, judged)
            if before == version.version:
                return
            if self.moved.make(alias, number + 1, version, before, evaluation=judged.evaluation):
                return

    def start_alias(self, alias: str, version: Version) -> bool:
        """Let an alias that has never pointed to anything point to a version; False where it has by now."""
        return self.moved.make(alias, 1, version, None, evaluation=version.evaluation)

    def move_alias(self, alias: str, version: Version, reason: str, expected: int | None = None) -> Move:
        """Let an alias point to a version because a person says so.

        Args: expected: the version that it points to, as they believe; None where they do not say.

        Raises MovedError where it points elsewhere, or somebody moves it in that moment: of two, one wins.
        """
        number, before = self.moved.num(alias), self.points_to(alias)
        if expected not in (None, before):
            there = "nothing yet" if before is None else f"{self.name}@{before}"
            raise MovedError(f"{self.name}@{alias} points to {there}, and not to {self.name}@{expected}")
        if not self.moved.make(alias, number + 1, version, before, reason=reason):
            other = self.moved.read(alias, number + 1)
            raise MovedError(
                f"{self.name}@{alias} was moved to {self.name}@{other.version} in the same moment, by "
                f"{other.who or 'nobody on record'}: see `flowmap models history {self.name}`, and move it "
                "again if that is still right"
            )
        return self.moved.read(alias, number + 1)

    def attempts(self) -> dict[int, tuple[str, str]]:
        """Who took which attempt at the gate: the candidate, and the terms it was judged on."""
        names = self.store.names(f"{self._folder}/attempts")
        found = {
            int(name.rsplit("/", 1)[-1].removesuffix(".json")): read_there(self.store, name)
            for name in names
        }
        return {number: tuple(read_json(data)) for number, data in sorted(found.items())}

    def claim_attempt(self, number: int, candidate: str, terms: str) -> bool:
        """Take an attempt's number, once; whether it is this candidate's on these terms now."""
        name, data = f"{self._folder}/attempts/{number}.json", json.dumps([candidate, terms]).encode()
        return self.store.create(name, data) or self.store.get(name) == data

    def reject(self, rejection: Rejection) -> None:
        """Record a rejection, once for each evaluation."""
        name = f"{self._folder}/rejections/{rejection.evaluation}.json"
        dated = rejection.model_copy(update={"rejected_at": datetime.now(UTC).replace(microsecond=0)})
        self.store.create(name, dated.model_dump_json(indent=1).encode())

    def files_prefix(self, version: Version) -> str:
        """Where a version's files lie in the store."""
        return f"{self._folder}/files/{version.manifest.digest}"

    def download(self, version: Version, directory: Path, paths: Iterable[str] | None = None) -> None:
        """Copy a version's files, or some of them, to `directory`, every byte checked.

        What is damaged where it was published is read from the artifact that it was copied from.
        """
        manifest = version.manifest
        if paths is not None:
            manifest = manifest.model_copy(update={"files": tuple(map(manifest.entry, paths))})
        spare = artifact_prefix(version.candidate)
        fetch_either(self.store, manifest, directory, self.files_prefix(version), spare)

    def _version(self, name: str, number: str) -> Version:
        version = read_kept(self.store, name, Version)
        if (version.name, str(version.version)) != (self.name, number):
            raise IntegrityError(f"{name} in {self.store.url} calls itself {version.name}@{version.version}")
        return version

    def _numbers(self) -> list[str]:
        """Every number that a version has or had."""
        names = self.store.names(self._folder)
        return [found[1] for name in names if (found := _VERSION_FILE.search(name))]

    @property
    def _folder(self) -> str:
        return f"models/{self.name}"


def model_names(store: ObjectStore) -> list[str]:
    """Names of the models in a store, sorted."""
    return sorted({name.split("/")[1] for name in store.names("models")})
