"""Data that lie outside the store: what they are called, and the digest that decides whether they
changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from flowmap.artifacts.digest import canonical_json, sha256_of, sha256_of_file
from flowmap.data.naming import first_line
from flowmap.data.remote import is_remote, remote_digest
from flowmap.errors import DataError
from flowmap.settings import BUILT_IN, DataPrep

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_OF_A_DESKTOP = ("Thumbs.db", "desktop.ini")  # written by machines that only looked at a folder


def external_digests(section: DataPrep) -> dict[str, str]:
    """The digests of the user's own files, by the name of the setting; empty for a built-in source.

    Raises:
        DataError: a file, folder or object is not there, or can't be read.
    """
    found = {}
    if section.prompts is not None:
        found["prompts"] = file_digest(section.prompts, "data_prep.prompts")
        if section.captioned is not None:
            found["captioned"] = _folder_digest(section.captioned.source, "data_prep.captioned.source")
        return found
    if section.source not in BUILT_IN:
        found["source"] = _digest(section.source)
    if section.preferences is not None:
        found["preferences"] = _digest(section.preferences)
    return found


def local_path(source: str) -> Path:
    """Where a setting that names a file or folder of this machine points; `~` is the home folder."""
    return Path(source).expanduser()


def metadata_file(folder: Path) -> Path | None:
    """The table of a folder of data, if it has one. Raises DataError when there is no such folder."""
    if not folder.is_dir():
        raise DataError(
            f"data_prep.source: {folder} is neither a folder, nor a .npz file, nor one of "
            f"{', '.join(BUILT_IN)}"
        )
    return next((folder / name for name in METADATA if (folder / name).is_file()), None)


def files_below(folder: Path) -> list[str]:
    """Names of all files of a folder, relative to it and sorted; linked folders are followed.

    Hidden files and folders do not count, nor what a desktop leaves behind.

    Raises:
        DataError: a folder can't be listed, or is linked to one that it lies in.
    """
    return sorted(path.relative_to(folder).as_posix() for path in _walk(folder, ()))


def _walk(folder: Path, above: tuple[str, ...]) -> Iterator[Path]:
    here = os.path.realpath(folder)
    if here in above:
        raise DataError(f"{folder} is a link to a folder that it lies in, so its files have no end")
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: can't be listed: {error.strerror}") from None
    for entry in entries:
        if entry.name.startswith(".") or entry.name in _OF_A_DESKTOP:
            continue
        if entry.is_dir():
            yield from _walk(entry, (*above, here))
        elif entry.is_file():
            yield entry


def folder_digest(folder: Path) -> str:
    """That of the names and contents of all its files. Raises DataError where it can't be listed."""
    files = files_below(folder)
    return sha256_of(canonical_json({name: sha256_of_file(folder / name) for name in files}))


def file_digest(source: str, where: str) -> str:
    """That of a file or an object; `where` is the setting. Raises DataError where it is none."""
    if not is_remote(source) and not local_path(source).is_file():
        raise DataError(f"{where}: there is no file {local_path(source)}")
    return _digest(source, where)


def _folder_digest(source: str, where: str) -> str:
    if not is_remote(source) and not local_path(source).is_dir():
        raise DataError(f"{where}: there is no folder {local_path(source)}")
    return _digest(source, where)


def _digest(source: str, where: str = "data_prep") -> str:
    if is_remote(source):
        return remote_digest(source, where)
    path = local_path(source)
    try:
        if path.is_file():
            return sha256_of_file(path)
        metadata_file(path)
        return folder_digest(path)
    except OSError as error:
        raise DataError(f"{error.filename or path}: can't be read: {first_line(error)}") from None
