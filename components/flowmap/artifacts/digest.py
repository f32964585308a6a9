"""The digest of bytes, of a file, and of a JSON value: by these everything here is named."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

_CHUNK_BYTES = 1 << 20


def canonical_json(value: Any) -> bytes:
    """The one spelling of a JSON value: sorted keys, no spaces, UTF-8. NaN is refused (ValueError)."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sha256_of_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def changed(found: str, expected: str) -> str:
    """What is told of bytes whose digest is not the one that they were written with."""
    return f"was changed after it was written (sha256 differs: {found[:12]}, not {expected[:12]})"


def is_digest(text: str) -> bool:
    """Whether a text is a sha256 as it is written here."""
    return len(text) == 64 and set(text) <= set("0123456789abcdef")
