"""A directory as an object store: what a run on one machine uses.

Every write goes to a temporary file beside its target, is synced, and is then renamed over it (or linked,
when it must not replace anything), so a reader sees the whole object or none. Who may read and write what is
made here, the umask says.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from stat import S_ISREG

from flowmap.artifacts.store import Listed, joined
from flowmap.errors import StoreError

_TEMPORARY = ".writing-"
_LOCK = ".creating"
_HIDDEN = (_TEMPORARY, _LOCK)
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)  # file systems without hard links
_CHUNK_BYTES = 1 << 20


class LocalStore:
    """Objects are files below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.url = self.root.as_uri()

    def put_file(self, name: str, source: Path) -> None:
        with source.open("rb") as data:
            self._write(name, iter(lambda: data.read(_CHUNK_BYTES), b""), replace=True)

    def put(self, name: str, data: bytes) -> None:
        self._write(name, [data], replace=True)

    def create(self, name: str, data: bytes) -> bool:
        return self._write(name, [data], replace=False)

    def get(self, name: str) -> bytes:
        return joined(self.url, name, self.chunks(name))

    def chunks(self, name: str) -> Iterator[bytes]:
        try:
            file = self._path(name).open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise KeyError(name) from None
        except OSError as error:
            raise self._as_store_error(error, name) from error
        with file:
            yield from iter(lambda: file.read(_CHUNK_BYTES), b"")

    def exists(self, name: str) -> bool:
        return self._path(name).is_file()

    def names(self, prefix: str) -> Iterator[str]:
        found: list[str] = []
        for folder, _, files in os.walk(self._path(prefix)):
            within = Path(folder).relative_to(self.root).as_posix()
            found += [f"{within}/{name}" for name in files if not name.startswith(_HIDDEN)]
        yield from sorted(found)

    def listed(self, prefix: str) -> Iterator[Listed]:
        paths = (path for path in self._path(prefix).rglob("*") if path.name != _LOCK)
        for path in sorted(paths):
            try:
                told = path.stat()
            except FileNotFoundError:  # a write that ended just now
                continue
            if S_ISREG(told.st_mode):
                name = path.relative_to(self.root).as_posix()
                yield Listed(name, told.st_size, datetime.fromtimestamp(told.st_mtime, UTC))

    def delete(self, name: str) -> None:
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        parts = Path(name).parts
        if not parts or Path(name).is_absolute() or ".." in parts:
            raise StoreError(f"{name!r} is not a name inside the store {self.root}")
        return self.root.joinpath(*parts)

    def _write(self, name: str, chunks: Iterable[bytes], *, replace: bool) -> bool:
        target = self._path(name)
        with contextlib.ExitStack() as cleanup:
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                temporary = target.parent / f"{_TEMPORARY}{secrets.token_hex(8)}"
                with temporary.open("xb") as file:
                    cleanup.callback(temporary.unlink, missing_ok=True)
                    for chunk in chunks:
                        file.write(chunk)
                    file.flush()
                    os.fsync(file.fileno())
                if replace:
                    temporary.replace(target)
                    return True
                return self._link(temporary, target)
            except OSError as error:
                raise self._as_store_error(error, name) from error

    def _link(self, temporary: Path, target: Path) -> bool:
        """Give a file its name unless that is taken; is it given?"""
        try:
            target.hardlink_to(temporary)  # the name `target`, for the bytes of `temporary`
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            with (self.root / _LOCK).open("a") as lock:  # one after the other, then
                fcntl.flock(lock, fcntl.LOCK_EX)
                if target.exists():
                    return False
                temporary.replace(target)
        return True

    def _as_store_error(self, error: OSError, name: str) -> StoreError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(self.root).free if self.root.exists() else 0
            return StoreError(
                f"{self.root} is full ({free / 1e6:.0f} MB left) at {name}; make room and run again"
            )
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return StoreError(
                f"{self.root} does not allow it ({error.strerror}) at {name}; choose another --root, or let "
                "all who use it write there: one group, folders with its set-group-ID bit, umask 002"
            )
        return StoreError(f"{self.root}: {error.strerror or error} at {name}")
