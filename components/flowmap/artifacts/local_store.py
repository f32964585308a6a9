"""A directory as an object store: what a run on one machine uses.

Every write goes to a temporary file beside its target, is synced, and is then renamed over it (or linked,
when it must not replace anything), so a reader sees the whole object or none.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from flowmap.errors import StoreError

_TEMPORARY = ".writing-"
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
        return b"".join(self.chunks(name))

    def chunks(self, name: str) -> Iterator[bytes]:
        try:
            file = self._path(name).open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise KeyError(name) from None
        except OSError as error:
            raise self._explained(error, name) from error
        with file:
            yield from iter(lambda: file.read(_CHUNK_BYTES), b"")

    def exists(self, name: str) -> bool:
        return self._path(name).is_file()

    def names(self, prefix: str) -> Iterator[str]:
        folder = self._path(prefix)
        paths = (
            path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(_TEMPORARY)
        )
        yield from sorted(path.relative_to(self.root).as_posix() for path in paths)

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
                descriptor, temporary = tempfile.mkstemp(prefix=_TEMPORARY, dir=target.parent)
                cleanup.callback(Path(temporary).unlink, missing_ok=True)
                with os.fdopen(descriptor, "wb") as file:
                    os.fchmod(file.fileno(), 0o644)
                    for chunk in chunks:
                        file.write(chunk)
                    file.flush()
                    os.fsync(file.fileno())
                if replace:
                    Path(temporary).replace(target)
                else:
                    target.hardlink_to(temporary)  # the name `target`, for the bytes of `temporary`
            except FileExistsError:
                return False
            except OSError as error:
                raise self._explained(error, name) from error
        return True

    def _explained(self, error: OSError, name: str) -> StoreError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(self.root).free if self.root.exists() else 0
            return StoreError(
                f"{self.root} is full ({free / 1e6:.0f} MB left) at {name}; make room and run again"
            )
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return StoreError(
                f"{self.root} does not allow it ({error.strerror}) at {name}; choose another --root"
            )
        return StoreError(f"{self.root}: {error.strerror or error} at {name}")
