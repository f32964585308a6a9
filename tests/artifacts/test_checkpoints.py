"""Checkpoints that are cut off while they are saved: there is the one before or the new one, whole."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from flowmap.artifacts.checkpoints import Checkpoints
from flowmap.artifacts.local_store import LocalStore
from flowmap.errors import IntegrityError
from tests.faults import fault


class Killed(BaseException):
    """What no code catches."""


class DyingStore(LocalStore):
    """A store whose process dies at its n-th write or deletion, before or after it is done."""

    left, done_first = 10**6, False

    def _write(self, name: str, chunks: Iterable[bytes], *, replace: bool) -> bool:
        self._step(lambda: LocalStore._write(self, name, chunks, replace=replace))
        return self._last

    def delete(self, name: str) -> None:
        self._step(lambda: LocalStore.delete(self, name))

    def _step(self, work: Callable[[], bool | None]) -> None:
        self.left -= 1
        if self.left < 0 and not (self.left == -1 and self.done_first):
            raise Killed
        self._last = bool(work())
        if self.left < 0:
            raise Killed


def state(folder: Path, done: int) -> Path:
    """What a training keeps after so much work."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("weights", "optimizer", "parts/0"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"{name} after {done}")
    return folder


def restored(store: LocalStore, folder: Path) -> int | None:
    """How much work the newest had done, once it is shown to be whole."""
    done = Checkpoints(store, "checkpoints/s/x").restore(folder)
    if done is not None:
        for name in ("weights", "optimizer", "parts/0"):
            assert (folder / name).read_text() == f"{name} after {done}"
    return done


@fault(
    "a checkpoint is killed at any of its writes and deletions, before or after it",
    "training goes on from the one before or from the new one, whole",
    of="rivals",
)
@pytest.mark.parametrize("done_first", [False, True], ids=["before it", "after it"])
def test_a_checkpoint_that_is_killed_at_any_write_leaves_the_one_before_or_the_new(
    tmp_path: Path, *, done_first: bool
) -> None:
    """The third one, when the first is deleted too."""
    seen, num = set(), 0
    for at in range(100):
        store = DyingStore(tmp_path / f"{at}")
        kept = Checkpoints(store, "checkpoints/s/x")
        for done in (10, 20):
            kept.save(done, state(tmp_path / "state", done))
        store.left, store.done_first = at, done_first
        try:
            kept.save(30, state(tmp_path / "state", 30))
        except Killed:
            num += 1
        else:
            break
        found = LocalStore(store.root)
        seen.add(restored(found, tmp_path / f"{at}-restored"))
        Checkpoints(found, "checkpoints/s/x").save(40, state(tmp_path / "state", 40))
        assert restored(found, tmp_path / f"{at}-again") == 40
    else:
        pytest.fail("it never came to an end")
    assert num > 8
    assert seen == {20, 30}


@fault(
    "an object is listed, and gone when it is asked for",
    of="writing",
)
def test_a_checkpoint_that_another_deletes_while_it_is_read_is_named(tmp_path: Path) -> None:
    class Vanishing(LocalStore):
        def get(self, name: str) -> bytes:
            raise KeyError(name)

    Checkpoints(LocalStore(tmp_path / "store"), "checkpoints/s/x").save(10, state(tmp_path / "state", 10))
    with pytest.raises(IntegrityError, match=r"checkpoints/s/x/00000010/0/manifest.json is missing in "):
        restored(Vanishing(tmp_path / "store"), tmp_path / "restored")


def test_what_is_cleared_no_longer_counts_from_the_first_deletion_on(tmp_path: Path) -> None:
    store = DyingStore(tmp_path / "store")
    Checkpoints(store, "checkpoints/s/x").save(10, state(tmp_path / "state", 10))
    store.left = 1
    with pytest.raises(Killed):
        Checkpoints(store, "checkpoints/s/x").clear()
    assert restored(LocalStore(store.root), tmp_path / "restored") is None
