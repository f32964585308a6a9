"""Aliases as a machine against a model of it: whatever people, runs and rivals do in whatever order, an
alias points to what the last move says, no move is lost, and who was judged against something else moves
nothing."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from flowmap.artifacts.local_store import LocalStore
from flowmap.artifacts.manifest import FileEntry, Manifest, artifact_digest
from flowmap.errors import ConfigError
from flowmap.registry import Judged, MovedError, Registry, StaleVerdictError, Version
from flowmap.registry.retiring import RetiredError, retire, retirement_of
from tests.faults import fault

ALIASES = ("production", "staging", "anchor")


class _Late(Registry):
    """Somebody who is overtaken after they have looked."""

    first: Callable[[], Any]

    def points_to(self, alias: str) -> int | None:
        found = super().points_to(alias)
        self.first()
        return found


class Moves(RuleBasedStateMachine):
    """What is expected stands in plain dictionaries."""

    versions = Bundle("versions")

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.registry = Registry(LocalStore(Path(self.folder)), "digits")
        self.expected: dict[str, list[int]] = {}
        self.retired: set[int] = set()
        self.num = 0

    def teardown(self) -> None:
        shutil.rmtree(getattr(self, "folder", ""), ignore_errors=True)

    def points_to(self, alias: str) -> int | None:
        return self.expected[alias][-1] if self.expected.get(alias) else None

    def judged_against(self, version: Version, alias: str) -> Judged:
        """What says that a candidate was held against what the alias points to now."""
        now = self.points_to(alias)
        incumbent = None if now is None else self.registry.resolve(str(now)).manifest.digest
        told = {name: getattr(version, name) for name in Judged.model_fields}
        return Judged(**told | {"incumbent": incumbent})

    @rule(target=versions)
    def publish(self) -> Any:
        self.num += 1
        files = (FileEntry(path="model.json", size=self.num, sha256=f"{self.num:064x}"),)
        manifest = Manifest(digest=artifact_digest(files), step="s", step_digest="d", files=files)
        judged = Judged(
            name="digits", candidate=f"{self.num}", evaluation="e", incumbent=None, verdict={}, figures={}
        )
        version = self.registry.write_version(manifest, judged)
        assert version.version == self.num
        return version

    @rule(version=versions, alias=some.sampled_from(ALIASES))
    def a_person_moves_it(self, version: Version, alias: str) -> None:
        if version.version in self.retired:
            with pytest.raises(RetiredError):
                self.registry.move_alias(alias, version, "because")
            return
        before = self.points_to(alias)
        move = self.registry.move_alias(alias, version, "because")
        assert (move.before, move.version, move.reason) == (before, version.version, "because")
        self.expected.setdefault(alias, []).append(version.version)

    @rule(version=versions, alias=some.sampled_from(ALIASES))
    def the_gate_promotes(self, version: Version, alias: str) -> None:
        judged, is_there = self.judged_against(version, alias), self.points_to(alias) == version.version
        if version.version in self.retired and not is_there:
            with pytest.raises(RetiredError):
                self.registry.promote(alias, version, judged)
            return
        self.registry.promote(alias, version, judged)
        if not is_there:
            self.expected.setdefault(alias, []).append(version.version)

    @rule(one=versions, other=versions, alias=some.sampled_from(ALIASES))
    def somebody_else_moves_it_first(self, one: Version, other: Version, alias: str) -> None:
        """Between a verdict and its promotion."""
        judged = self.judged_against(one, alias)
        if {one.version, other.version} & self.retired or other.version == self.points_to(alias):
            return
        if other.version == one.version or self.points_to(alias) == one.version:
            return
        self.registry.move_alias(alias, other, "first")
        self.expected.setdefault(alias, []).append(other.version)
        with pytest.raises(StaleVerdictError):
            self.registry.promote(alias, one, judged)

    @rule(version=versions, alias=some.sampled_from(ALIASES))
    def two_write_the_same_move(self, version: Version, alias: str) -> None:
        """Both have seen the same state; one of them comes second."""
        number = len(self.expected.get(alias, []))
        if version.version in self.retired or number == 0:
            return
        assert not self.registry.moved.make(alias, number, version, None, reason="late")

    @rule(one=versions, other=versions, alias=some.sampled_from(ALIASES))
    def of_two_people_one_wins(self, one: Version, other: Version, alias: str) -> None:
        """Both have looked at the same moment."""
        if {one.version, other.version} & self.retired:
            return
        late = _Late(self.registry.store, "digits")
        late.first = lambda: self.registry.move_alias(alias, one, "first")
        with pytest.raises(MovedError, match=f"moved to digits@{one.version} in the same moment"):
            late.move_alias(alias, other, "late")
        self.expected.setdefault(alias, []).append(one.version)

    @rule(version=versions, alias=some.sampled_from(ALIASES), believed=some.integers(1, 3))
    def a_person_says_what_they_expect(self, version: Version, alias: str, believed: int) -> None:
        if version.version in self.retired:
            return
        if believed != self.points_to(alias):
            with pytest.raises(MovedError, match=f"and not to digits@{believed}"):
                self.registry.move_alias(alias, version, "because", believed)
            return
        self.registry.move_alias(alias, version, "because", believed)
        self.expected.setdefault(alias, []).append(version.version)

    @rule(version=versions, alias=some.sampled_from(ALIASES))
    def it_is_started_once(self, version: Version, alias: str) -> None:
        if version.version in self.retired:
            return
        assert self.registry.start_alias(alias, version) is (alias not in self.expected)
        self.expected.setdefault(alias, [version.version])

    @rule(version=versions)
    def a_version_is_retired(self, version: Version) -> None:
        if version.version in {self.points_to(alias) for alias in self.expected}:
            with pytest.raises(ConfigError, match="points to it"):
                retire(self.registry, version, "no more")
            return
        retire(self.registry, version, "no more")
        self.retired.add(version.version)

    @invariant()
    def aliases_point_where_the_last_move_says(self) -> None:
        if not hasattr(self, "registry"):
            return
        now = {alias: moves[-1] for alias, moves in self.expected.items()}
        assert self.registry.aliases() == now
        for alias, moved in self.expected.items():
            moves = self.registry.moves(alias)
            assert [move.version for move in moves] == moved
            assert [move.before for move in moves] == [None, *moved[:-1]]
            assert self.registry.resolve(alias).version == moved[-1]
        assert [each.version for each in self.registry.versions()] == list(range(1, self.num + 1))
        found = {
            each.version for each in self.registry.versions() if retirement_of(self.registry.store, each)
        }
        assert found == self.retired
        assert not found & set(now.values())


@fault(
    "people, runs and rivals move aliases and retire versions in any order",
    "an alias points to what the last move says, no move is lost, and who was judged against something else "
    "moves nothing",
    of="rivals",
)
@fault(
    "two people move an alias at the same moment, or one who has looked before another moved it "
    "(`--expected`)",
    "one of them is told, by whom it was moved",
    of="rivals",
)
def test_moves_are_what_a_model_of_them_says() -> None:
    run_state_machine_as_test(
        Moves, settings=settings(max_examples=40, stateful_step_count=25, deadline=None)
    )
