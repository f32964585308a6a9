"""Splits by content: where an image goes depends on its pixels alone, so adding images never moves old
ones."""

from __future__ import annotations

from collections.abc import Mapping


def split_of(digest: str, shares: Mapping[str, float]) -> str:
    """The split that a digest falls into: its first 52 bits as a fraction, against the shares added up in
    order."""
    position = int(digest[:13], 16) / 16**13
    edge = 0.0
    for name, share in shares.items():
        edge += share
        if position < edge:
            return name
    return list(shares)[-1]  # the shares' sum may be a rounding error below 1
