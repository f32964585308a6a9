"""The code that made something, kept in the store under its digest, and what it ran with.

    digest = keep_sources(store)              # lineage/sources/<digest>.zip, written once
    unpack_sources(store, digest, folder)     # folder/flowmap/..., folder/flowmap_pipelines/...
    keep_environment(store)                   # ... .txt: Python, and what is installed

So whoever wants to make a model again years later needs nothing but the store, and an interpreter with
the packages that the list names.
"""

from __future__ import annotations

import functools
import importlib.util
import io
import platform
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from flowmap.artifacts.digest import sha256_of
from flowmap.artifacts.store import ObjectStore
from flowmap.errors import IntegrityError
from flowmap.lineage.kept import read_kept_bytes

SOURCES = "lineage/sources"
_PACKAGES = ("flowmap", "flowmap_pipelines")  # the second where it is installed too
_NO_SOURCES = {".pyc", ".so"}
_TIME = (1980, 1, 1, 0, 0, 0)  # of every file: the same code is the same bytes
_INSTALLED = ".dist-info"
_LARGEST = 64 << 20  # of all files together


def keep_sources(store: ObjectStore) -> str:
    """Keep the code that runs, unless it is there already; returns its digest."""
    return _keep(store, _archive(), "zip")


def sources_here() -> str:
    """The digest of the code that runs."""
    return sha256_of(_archive())


def keep_environment(store: ObjectStore) -> str:
    """The same with a list of the interpreter and what is installed, as pip reads one."""
    return _keep(store, _installed(), "txt")


def read_environment(store: ObjectStore, digest: str) -> str:
    """Such a list. Raises IntegrityError where it is gone or not what it was."""
    return _read(store, digest, "txt").decode()


def unpack_sources(store: ObjectStore, digest: str, folder: Path) -> None:
    """Write the files of some code below a folder.

    Raises IntegrityError where it is gone, is not what it was, or leads out of the folder.
    """
    with zipfile.ZipFile(io.BytesIO(_read(store, digest, "zip"))) as archive:
        if sum(each.file_size for each in archive.infolist()) > _LARGEST:
            raise IntegrityError(f"{SOURCES}/{digest}.zip is larger than code can be")
        for name in archive.namelist():
            path = PurePosixPath(name)
            if ".." in path.parts or path.parts[0] not in _PACKAGES:
                raise IntegrityError(f"{SOURCES}/{digest}.zip has {name}, which is no file of its packages")
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(name))


def fault_of(store: ObjectStore, digest: str, kind: str) -> str | None:
    """What is wrong with kept sources (`zip`) or an environment (`txt`)."""
    try:
        _read(store, digest, kind)
    except IntegrityError as error:
        return str(error)
    return None


def _keep(store: ObjectStore, data: bytes, kind: str) -> str:
    digest = sha256_of(data)
    name = f"{SOURCES}/{digest}.{kind}"
    if not store.exists(name):
        store.create(name, data)
    return digest


def _read(store: ObjectStore, digest: str, kind: str) -> bytes:
    return read_kept_bytes(store, f"{SOURCES}/{digest}.{kind}", digest)


@functools.cache
def _archive() -> bytes:
    """Not compressed, so that no library decides the bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, path in sorted(_files()):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes())
    return buffer.getvalue()


def _files() -> Iterator[tuple[str, Path]]:
    for package in _PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            continue
        folder = Path(next(iter(spec.submodule_search_locations)))
        for path in folder.rglob("*"):
            if path.is_file() and path.suffix not in _NO_SOURCES and "__pycache__" not in path.parts:
                yield path.relative_to(folder.parent).as_posix(), path


@functools.cache
def _installed() -> bytes:
    """By the names of installed packages' folders, which is fifty times as fast as to read what is in
    them. Not this package, which lies beside the list and on no index."""
    places = (Path(entry or ".") for entry in sys.path)
    # Not what a package carries inside it, as setuptools does, and puts onto the path when it is imported.
    own = (place for place in places if not (place.parent / "__init__.py").is_file())
    folders = (folder for place in own for folder in place.glob(f"*{_INSTALLED}"))
    names = {folder.name.removesuffix(_INSTALLED).rpartition("-") for folder in folders}
    found = {f"{name}=={version}" for name, _, version in names if name not in ("", *_PACKAGES)}
    lines = [f"# Python {platform.python_version()} on {platform.machine()}", *sorted(found, key=str.lower)]
    return ("\n".join(lines) + "\n").encode()
