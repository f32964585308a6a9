"""Data that lie outside the store: what they are called, and the digest that decides whether they
changed."""

from __future__ import annotations

from pathlib import Path

from flowmap.artifacts.digest import canonical_json, sha256_of, sha256_of_file
from flowmap.data.remote import is_remote, remote_digest
from flowmap.errors import DataError
from flowmap.settings import DataPrep

BUILT_IN = ("digits", "mnist")
METADATA = ("metadata.csv", "metadata.parquet")


def external_digests(section: DataPrep) -> dict[str, str]:
    """The digests of the user's own files, by the name of the setting; empty for a built-in source.

    Raises:
        DataError: a file, folder or object is not there.
    """
    found = {}
    if section.source not in BUILT_IN:
        found["source"] = _digest(section.source)
    if section.preferences is not None:
        found["preferences"] = _digest(section.preferences)
    return found


def metadata_file(folder: Path) -> Path:
    """The table of a folder of images. Raises DataError when the folder or the table is missing."""
    if not folder.is_dir():
        raise DataError(
            f"data_prep.source: {folder} is neither a folder, nor a .npz file, nor one of "
            f"{', '.join(BUILT_IN)}"
        )
    found = [folder / name for name in METADATA if (folder / name).is_file()]
    if not found:
        raise DataError(
            f"{folder} has no metadata.csv or metadata.parquet: a table with the columns `file_name` and "
            "`prompt`, one row an image"
        )
    return found[0]


def _digest(source: str) -> str:
    if is_remote(source):
        return remote_digest(source)
    path = Path(source)
    if path.is_file():
        return sha256_of_file(path)
    metadata_file(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return sha256_of(
        canonical_json({file.relative_to(path).as_posix(): sha256_of_file(file) for file in files})
    )
