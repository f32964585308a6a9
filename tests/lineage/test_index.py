"""An index answers as the edges do, whatever came since, and is nothing that could be lost."""

import random
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flowmap.artifacts.digest import sha256_of
from flowmap.artifacts.local_store import LocalStore
from flowmap.audit import impact as impact_module
from flowmap.audit.impact import impact
from flowmap.lineage.edges import makers
from flowmap.lineage.index import RecordIndex, path_of
from flowmap.lineage.log import LOG, log_record
from tests.clocks import Standing
from tests.faults import fault
from tests.records import record


def digest(number: int) -> str:
    return sha256_of(str(number).encode())


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return LocalStore(tmp_path / "store")


def grow(store: LocalStore, numbers: range, seed: int = 0) -> dict[str, set[str]]:
    """Artifacts that are each made of up to three earlier ones; what each was made of."""
    draw, made = random.Random(seed), {}
    for number in numbers:
        used = {digest(draw.randrange(number)) for _ in range(draw.randrange(4))} if number else set()
        record(
            store, "data_prep", digest(number), inputs={each[:8]: each for each in used} | {"n": "no digest"}
        )
        made[digest(number)] = used
    return made


def made_of(made: dict[str, set[str]], start: str) -> set[str]:
    reached, grew = {start}, True
    while grew:
        more = {each for each, used in made.items() if used & reached} - reached
        reached, grew = reached | more, bool(more)
    return reached - {start}


def test_it_answers_as_the_records_say_and_takes_in_what_is_new(store: LocalStore) -> None:
    made = grow(store, range(60))
    with RecordIndex.opened(store) as index:
        for start in made:
            assert set(index.made_of(start)) == made_of(made, start)
        assert index.refresh() == 0
    made |= grow(store, range(60, 80), seed=1)
    with RecordIndex.opened(store) as index:
        for start in made:
            found = index.made_of(start)
            assert set(found) == made_of(made, start)
            assert set(found.values()) <= {"data_prep"}
    with pytest.raises(sqlite3.ProgrammingError):
        index.made_of(digest(0))


def test_only_the_days_since_the_last_look_are_listed(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = grow(store, range(10))
    with RecordIndex.opened(store):
        pass
    looked: list[str] = []
    names = LocalStore.names

    def noted(self: LocalStore, prefix: str) -> Iterator[str]:
        looked.append(prefix)
        return names(self, prefix)

    monkeypatch.setattr(LocalStore, "names", noted)
    made |= grow(store, range(10, 12))
    with RecordIndex.opened(store) as index:
        assert set(index.made_of(digest(0))) == made_of(made, digest(0))
    today = datetime.now(UTC).date()
    assert {f"{LOG}/{today + timedelta(days=by)}" for by in (-1, 0, 1)} >= set(looked)
    assert f"{LOG}/{today}" in looked


def test_a_record_is_in_the_log_whenever_its_writer_died(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RecordIndex.opened(store):
        pass
    create = LocalStore.create

    def dying(self: LocalStore, name: str, data: bytes) -> bool:
        done = create(self, name, data)
        if name.endswith(".json") and name.count("/") == 1:  # the record itself
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(LocalStore, "create", dying)
    with pytest.raises(KeyboardInterrupt):
        record(store, "data_prep", digest(1), inputs={"data": digest(0)})
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(store.root.parent / "cache"))
    with RecordIndex.opened(store) as index:
        assert set(index.made_of(digest(0))) == {digest(1)}


def test_records_from_before_there_was_a_log_are_in_it(store: LocalStore) -> None:
    made = grow(store, range(20))
    for name in list(store.names(LOG)):
        store.delete(name)
    with RecordIndex.opened(store) as index:
        assert set(index.made_of(digest(0))) == made_of(made, digest(0))


@fault(
    "a clock jumps, days back or ahead, between two records",
    "both are kept, found and told; an index that was up to date finds the earlier one when it is made anew",
    of="writing",
)
@pytest.mark.parametrize("days", [-40, 40])
def test_a_record_of_a_clock_that_jumped_is_found_when_the_index_is_made_anew(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    made = grow(store, range(20))
    with RecordIndex.opened(store):
        pass
    for module in ("log", "recording"):
        monkeypatch.setattr(
            f"flowmap.lineage.{module}.datetime", Standing(datetime.now(UTC) + timedelta(days))
        )
    record(store, "evaluation", digest(99), inputs={"data": digest(0)})
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(store.root.parent / "cache"))
    path_of(store).unlink()
    with RecordIndex.opened(store) as index:
        assert set(index.made_of(digest(0))) == made_of(made, digest(0)) | {digest(99)}
    assert digest(99) in impact(store, digest(0)).artifacts
    assert [each.output for each in makers(store, digest(99)).values()] == [digest(99)]


@fault(
    "the index of records on this machine is corrupted, cut off, of another version or can't be written",
    "it is made anew, or done without",
    of="writing",
)
@pytest.mark.parametrize("damage", ["bytes", "cut", "another version", "other store", "read-only"])
def test_one_that_can_not_be_used_is_made_anew(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    made = grow(store, range(20))
    with RecordIndex.opened(store):
        pass
    path = path_of(store)
    if damage == "bytes":
        path.write_bytes(b"no database" * 1000)
    elif damage == "other store":
        other = LocalStore(tmp_path / "other")
        grow(other, range(3))
        with RecordIndex.opened(other):
            pass
        path_of(other).rename(path)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-6000])
    elif damage == "another version":
        with sqlite3.connect(path) as connection:
            connection.executescript("UPDATE about SET version = 0; DELETE FROM made")
    else:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with RecordIndex.opened(store) as index:
        assert set(index.made_of(digest(0))) == made_of(made, digest(0))


def test_a_record_that_was_changed_is_left_out(store: LocalStore) -> None:
    made = grow(store, range(20))
    assert made_of(made, digest(0))
    for name in list(store.names("lineage")):
        if name.count("/") == 1:
            (store.root / name).write_text(store.get(name).decode().replace("tiny", "tidy"))
    with RecordIndex.opened(store) as index:
        assert not index.made_of(digest(0))


def test_records_that_are_left_out_are_told_until_they_are_mended(
    store: LocalStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that no answer is short in silence: once there is an index, it is what answers."""
    grow(store, range(20))
    (name, *_) = (name for name in store.names("lineage") if name.count("/") == 1)
    whole = store.get(name)
    store.put(name, whole + b" ")
    for _ in range(2):  # also when it is not new any more
        with RecordIndex.opened(store) as index:
            assert index.unread() == [name.removeprefix("lineage/").removesuffix(".json")]
        capsys.readouterr()
        impact(store, digest(0))
        assert f"what they made is left out: {name};" in capsys.readouterr().err
    store.put(name, whole)
    impact(store, digest(0))
    assert "left out" not in capsys.readouterr().err


def test_a_run_that_was_killed_before_its_record_is_no_damage(store: LocalStore) -> None:
    """It has logged what it was about to write."""
    grow(store, range(3))
    log_record(store, "e" * 64)
    with RecordIndex.opened(store) as index:
        assert index.unread() == []


def test_several_at_once_bring_it_up_to_date_once(store: LocalStore) -> None:
    made = grow(store, range(40))

    def ask(_: int) -> set[str]:
        with RecordIndex.opened(store) as index:
            return set(index.made_of(digest(0)))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == [made_of(made, digest(0))] * 8


def test_where_the_answer_is_long_it_is_asked(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    made = grow(store, range(60))
    by_edges = {start: impact(store, start).artifacts for start in made}
    assert not path_of(store).exists()
    monkeypatch.setattr(impact_module, "_LONG", 5)
    for start in made:
        assert impact(store, start).artifacts == by_edges[start]
    assert path_of(store).exists()
    made |= grow(store, range(60, 70), seed=2)
    assert set(impact(store, digest(0)).artifacts) == made_of(made, digest(0))
