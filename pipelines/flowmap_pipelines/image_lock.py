"""The lock of images: which digest the pods of each step run.

cpu: registry.example.com/flowmap-cpu@sha256:...
train: registry.example.com/flowmap-train@sha256:...
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import ValidationError

from flowmap.errors import ConfigError
from flowmap.settings import Section, written_as
from flowmap.settings.messages import explain
from flowmap.settings.yaml_text import YamlTextError, read_yaml

_PINNED = r"[a-z0-9][a-z0-9._:/-]*[a-z0-9]@sha256:[0-9a-f]{64}"
_TAGGED = r"[a-z0-9][a-z0-9._:/@-]*[a-z0-9]"
Reference = Annotated[
    str, written_as(_TAGGED, "an image is named such as repository:tag or repository@sha256:...")
]
Pinned = Annotated[
    str,
    written_as(
        _PINNED, "an image is named by its digest, repository@sha256:<64 hex digits>, never by a tag"
    ),
]


class Images(Section):
    """`cpu` has what every step needs; `train` has GPU libraries and DeepSpeed on top."""

    cpu: Reference
    train: Reference

    def of(self, which: str) -> str:
        """The reference of one of them."""
        found: str = getattr(self, which)
        return found


class PinnedImages(Images):
    """The same with both by digest."""

    cpu: Pinned
    train: Pinned


def load_images(path: Path, *, pinned: bool = True) -> Images:
    """Read the lock; tags pass only where images need not be pinned.

    Raises ConfigError, which says how to make one.
    """
    model = PinnedImages if pinned else Images
    try:
        raw = read_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file; it names the images that pods run, by digest: a line `cpu: "
            "repository@sha256:...` and a line `train: ...`; --images names another lock"
        ) from None
    except (OSError, UnicodeDecodeError, YamlTextError) as error:
        raise ConfigError(f"{path}: can't be read: {error}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected `cpu: repository@sha256:...` and `train: ...`, got {raw!r}")
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{path} is not a lock of images:{explain(error, model, 'lock')}") from None
