"""Moves of aliases that are signed before they are made, and what is left of one that is gone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowmap.artifacts.local_store import LocalStore
from flowmap.artifacts.manifest import FileEntry, Manifest, artifact_digest
from flowmap.audit.faults import Audit
from flowmap.audit.registry_checks import check_registry
from flowmap.errors import IntegrityError
from flowmap.registry import Judged, Move, Registry
from tests.faults import fault


def sealed(alias: str, number: int, move: Move) -> dict[str, Any]:
    """An envelope as far as the registry looks at one."""
    return {"payload": f"{alias} {number} {move.version}", "signatures": [{"keyid": "ours", "sig": "..."}]}


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """With two versions, and an alias that has moved to each."""
    found = Registry(LocalStore(tmp_path), "digits", sealed)
    for number in (1, 2):
        files = (FileEntry(path="model.json", size=number, sha256=f"{number:064x}"),)
        manifest = Manifest(digest=artifact_digest(files), step="s", step_digest="d", files=files)
        judged = Judged(
            name="digits", candidate=f"{number}", evaluation="e", incumbent=None, verdict={}, figures={}
        )
        version = found.write_version(manifest, judged)
        found.move_alias("production", version, "for the test")
    return found


def test_the_signature_is_in_the_move_and_beside_it(registry: Registry) -> None:
    (_, last) = registry.moves("production")
    assert last.envelope == sealed("production", 2, last)
    assert list(registry.store.names("models/digits/moves/production/2")) == [
        "models/digits/moves/production/2/ours.json"
    ]


@fault(
    "the last move of an alias is gone, and signed it was",
    "nobody follows the alias to an older version: it is named",
    of="writing",
)
def test_a_move_that_is_gone_leads_nobody_to_an_older_version(registry: Registry) -> None:
    registry.store.delete("models/digits/moves/production/2.json")
    told = (
        "moves/production/2.json is missing in .*, and it was the last move of digits@production: "
        "what it said"
    )
    for ask in (registry.aliases, lambda: registry.resolve("production")):
        with pytest.raises(IntegrityError, match=told):
            ask()
    assert registry.moved.lost() == ["models/digits/moves/production/2.json"]


def test_an_older_move_that_is_gone_is_named_and_hides_nothing(registry: Registry) -> None:
    registry.store.delete("models/digits/moves/production/1.json")
    assert registry.resolve("production").version == 2
    assert registry.moved.lost() == ["models/digits/moves/production/1.json"]
    with pytest.raises(IntegrityError, match=r"moves/production/1.json is missing in "):
        registry.moves("production")


@fault(
    "what a move of an alias says is changed, in a store that nobody signs",
    "the move after it names it; of the last one a signature alone tells",
    of="rivals",
)
def test_of_moves_that_nobody_signed_none_but_the_last_is_changed_unseen(registry: Registry) -> None:
    unsigned = Registry(registry.store, "digits")
    for number in ("1", "2"):
        unsigned.move_alias("champion", unsigned.resolve(number), "for the test")

    def told() -> list[str]:
        check_registry(unsigned, audit := Audit())
        return [fault.name for fault in audit.faults]

    assert told() == []
    first, last = (unsigned.moved.name("champion", number) for number in (1, 2))
    for name, expected in ((first, [first]), (last, [])):
        whole = registry.store.get(name)
        registry.store.put(name, whole.replace(b"for the test", b"for nothing "))
        assert told() == expected
        registry.store.put(name, whole)
    assert Move.model_validate_json(registry.store.get(first)).previous is None
    assert b"previous" not in registry.store.get(first)


def test_of_a_move_that_is_gone_no_other_is_told(registry: Registry) -> None:
    unsigned = Registry(registry.store, "digits")
    for number in ("1", "2", "1", "2"):
        unsigned.move_alias("champion", unsigned.resolve(number), "for the test")
    gone = unsigned.moved.name("champion", 2)
    registry.store.delete(gone)
    check_registry(unsigned, audit := Audit())
    assert [fault.name for fault in audit.faults] == [gone]


def test_a_move_that_lost_what_it_followed_is_told(registry: Registry) -> None:
    unsigned = Registry(registry.store, "digits")
    for number in ("1", "2", "1"):
        unsigned.move_alias("champion", unsigned.resolve(number), "for the test")
    last = unsigned.moved.name("champion", 3)
    move = unsigned.moved.read("champion", 3).model_copy(update={"previous": None})
    registry.store.put(last, move.model_dump_json().encode())
    check_registry(unsigned, audit := Audit())
    (found,) = audit.faults
    assert (found.name, found.told) == (last, "names no move that it followed, and the one before it does")


@pytest.mark.parametrize("name", ["1/version.json", "moves/production/1.json"])
def test_what_gives_a_name_twice_is_no_version_and_no_move(registry: Registry, name: str) -> None:
    """One reader takes the first, another the last."""
    name = f"models/digits/{name}"
    whole = registry.store.get(name)
    registry.store.put(name, whole.rstrip()[:-1] + b', "schema_version": 1}')
    check_registry(registry, audit := Audit())
    assert [(fault.name, "gives 'schema_version' twice" in fault.told) for fault in audit.faults] == [
        (name, True)
    ]


def test_who_can_not_sign_moves_nothing(registry: Registry) -> None:
    def refuses(alias: str, number: int, move: Move) -> dict[str, Any]:
        raise IntegrityError("no key")

    unsigned = Registry(registry.store, "digits", refuses)
    with pytest.raises(IntegrityError, match="no key"):
        unsigned.move_alias("production", unsigned.resolve("1"), "for the test")
    assert registry.aliases() == {"production": 2}
    assert len(registry.moves("production")) == 2


@fault(
    "an alias is moved while somebody lists its moves",
    "the new move counts",
    of="rivals",
)
def test_a_move_that_is_made_while_others_are_listed_is_not_missed(registry: Registry) -> None:
    """Its signature is listed, and the move was not yet."""

    class Late(LocalStore):
        def names(self, prefix: str) -> Iterator[str]:
            hidden = "models/digits/moves/production/2.json"
            return (name for name in super().names(prefix) if name != hidden)

    late = Registry(Late(Path(str(registry.store.url).removeprefix("file://"))), "digits")
    assert late.resolve("production").version == 2
    assert late.moved.lost() == []


def test_one_alias_that_is_lost_leaves_the_others(registry: Registry) -> None:
    registry.move_alias("staging", registry.resolve("1"), "for the test")
    registry.store.delete("models/digits/moves/staging/1.json")
    assert registry.resolve("production").version == 2
    assert registry.resolve("1").version == 1
    with pytest.raises(
        IntegrityError, match=r"staging/1\.json is missing in .* last move of digits@staging"
    ):
        registry.move_alias("staging", registry.resolve("2"), "for the test")
