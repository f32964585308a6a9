"""Models of others: where their files are, and the digest that decides whether they changed.

digest = pretrained_digest(settings, "base_training.checkpoint")
folder = pretrained_at_hand(settings, "base_training.checkpoint", scratch)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from flowmap.artifacts.digest import sha256_of
from flowmap.data.external import folder_digest, local_path
from flowmap.data.remote import fetch_source, is_remote, remote_digest
from flowmap.errors import DataError
from flowmap.settings import Pretrained

# Models of the hub that examples name: about what their safetensors take.
_KNOWN_BYTES = {
    "yuvalkirstain/PickScore_v1": 3_944_000_000,
    "openai/clip-vit-large-patch14": 1_711_000_000,
}
_SMALL = (".json", ".txt", ".model")


def pretrained_digest(settings: Pretrained, where: str) -> str:
    """That of a model's files, or where the hub has them, of its name and commit: they do not change.

    Args:
        where: the setting, for messages.

    Raises:
        DataError: there is no such folder, or a hub's name without a commit.
    """
    source = settings.source
    if is_remote(source):
        return remote_digest(source, where)
    folder = local_path(source)
    if folder.is_dir():
        return folder_digest(folder)
    return sha256_of(f"{source}@{_commit(settings, where)}".encode())


def _commit(settings: Pretrained, where: str) -> str:
    """Of a name on the hub. Raises DataError where it is none, or has no commit."""
    source = settings.source
    if not _is_hub_name(source):
        raise DataError(
            f"{where}.source: there is no folder {local_path(source)}; a name on the Hugging Face hub is "
            "written owner/name"
        )
    if settings.revision is None:
        raise DataError(
            f"{where}: there is no folder {source}, and as a name on the Hugging Face hub it wants a "
            "revision, the commit's 40 hexadecimal digits: what a name points to changes"
        )
    return settings.revision


def pretrained_at_hand(settings: Pretrained, where: str, scratch: Path, folders: Sequence[str] = ()) -> Path:
    """The folder with a model's files: the user's own, or a copy below `scratch`.

    Args:
        folders: that the hub or a store is asked for; none is all there is.

    Raises ConfigError or DataError where they can't be fetched.
    """
    if is_remote(settings.source):
        parts = {"model_index.json", *folders}
        return fetch_source(
            settings.source, scratch, where, wanted=lambda name: not folders or name.split("/")[0] in parts
        )
    folder = local_path(settings.source)
    if folder.is_dir():
        return folder
    from flowmap.data.hub import fetch_from_hub

    return fetch_from_hub(settings.source, _commit(settings, where), scratch, where, folders)


def pretrained_outline(settings: Pretrained, where: str, scratch: Path, folders: Sequence[str] = ()) -> Path:
    """The folder with what a model's files are called and say of themselves: as `pretrained_at_hand`, but in
    a copy below `scratch` files of weights are empty.

    Raises ConfigError or DataError where they can't be fetched.
    """
    if is_remote(settings.source):
        return fetch_source(
            settings.source, scratch, where, wanted=lambda name: name.endswith(_SMALL), outlined=True
        )
    folder = local_path(settings.source)
    if folder.is_dir():
        return folder
    from flowmap.data.hub import outline_from_hub

    return outline_from_hub(settings.source, _commit(settings, where), scratch, where, folders)


def weights_bytes(settings: Pretrained) -> int | None:
    """How large a model's weights are, in safetensors; None where that is not known here."""
    source = settings.source
    if is_remote(source):
        return None
    folder = local_path(source)
    if folder.is_dir():
        return sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
    return _KNOWN_BYTES.get(source)


def inception_weights(folder: Path) -> Path | None:
    """Those of FID's network as torch-fidelity keeps them; None where a folder holds another model, or is
    none of this machine."""
    return next(iter(sorted(folder.glob("pt_inception-*.pth"))), None)


def _is_hub_name(source: str) -> bool:
    return re.fullmatch(r"[\w.-]+/[\w.-]+", source) is not None
