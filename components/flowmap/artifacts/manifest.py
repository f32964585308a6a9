"""The manifest of an artifact: each file's path, size and sha256, the digest of the whole, and who made it.

    manifest = build_manifest(directory, step="data_prep", step_digest="...")
    parse_manifest(data, where="steps/...")     # IntegrityError when it does not fit its own digest

The digest covers the schema version and the list of files, not the producer: the same bytes have the same
name whoever wrote them.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from flowmap.artifacts.digest import canonical_json, is_digest, sha256_of, sha256_of_file
from flowmap.errors import DataError, IntegrityError

MANIFEST_NAME = "manifest.json"
_LONGEST_PART = 255  # bytes; no file system takes more


class FileEntry(BaseModel):
    """One file: path relative to the artifact, size in bytes, sha256 in hexadecimal.

    A path stays below the folder that it is written to, on every system: whoever may write to a store must
    not write anywhere else by it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    path: str
    size: Annotated[int, Field(ge=0)]
    sha256: str

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        parts = path.split("/")
        if (
            any(part in ("", ".", "..") or len(part.encode()) > _LONGEST_PART for part in parts)
            or any(character in path for character in "\\\0\r\n")
            or path == MANIFEST_NAME
        ):
            raise ValueError(f"{path[:200]!r} is no path of a file in an artifact")
        return path

    @field_validator("sha256")
    @classmethod
    def _is_a_digest(cls, sha256: str) -> str:
        if not is_digest(sha256):
            raise ValueError(f"{sha256[:80]!r} is no sha256")
        return sha256


class Manifest(BaseModel):
    """What an artifact consists of; a few kilobytes that travel between steps in place of the bytes.

    No two files have one path, and none lies in another.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    schema_version: Literal[1] = 1
    digest: str
    step: str
    step_digest: str
    files: tuple[FileEntry, ...]

    @field_validator("files")
    @classmethod
    def _lie_beside_each_other(cls, files: tuple[FileEntry, ...]) -> tuple[FileEntry, ...]:
        known = {entry.path for entry in files}
        if len(known) < len(files):
            raise ValueError("a path is listed twice")
        for path in known:
            folders = itertools.accumulate(path.split("/")[:-1], "{}/{}".format)
            if inside := known.intersection(folders):
                raise ValueError(f"{path!r} lies in a file, {min(inside)!r}")
        return files

    def entry(self, path: str) -> FileEntry:
        """The entry of one file. Raises IntegrityError when the artifact has no such file."""
        for item in self.files:
            if item.path == path:
                return item
        raise IntegrityError(f"artifact {self.digest} of step {self.step} has no file {path}")

    def to_bytes(self) -> bytes:
        return canonical_json(self.model_dump(mode="json")) + b"\n"


def artifact_digest(files: tuple[FileEntry, ...]) -> str:
    return sha256_of(canonical_json({"schema_version": 1, "files": [entry.model_dump() for entry in files]}))


def build_manifest(directory: Path, *, step: str, step_digest: str) -> Manifest:
    """Describe every file under `directory`. Raises DataError for a link, an existing manifest, and a name
    that can't be a file's everywhere."""
    entries = []
    for path in sorted(directory.rglob("*")):
        if path.is_symlink():
            raise DataError(f"{path}: a link can't be part of an artifact; write a plain file")
        if path.is_file():
            name = path.relative_to(directory).as_posix()
            try:
                entries.append(FileEntry(path=name, size=path.stat().st_size, sha256=sha256_of_file(path)))
            except ValidationError:
                raise DataError(f"{path}: {name[:200]!r} can't be a file of an artifact") from None
    files = tuple(entries)
    return Manifest(digest=artifact_digest(files), step=step, step_digest=step_digest, files=files)


def parse_manifest(data: bytes, *, where: str) -> Manifest:
    """Read a manifest and check that its digest belongs to its list of files (IntegrityError)."""
    try:
        manifest = Manifest.model_validate_json(data)
    except ValueError as error:
        raise IntegrityError(f"{where} is not a manifest: {str(error).splitlines()[0]}") from None
    if artifact_digest(manifest.files) != manifest.digest:
        raise IntegrityError(f"{where}: the list of files was changed after the manifest was written")
    return manifest
