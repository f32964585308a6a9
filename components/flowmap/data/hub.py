"""Models from the Hugging Face hub: at one commit, weights as safetensors only."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from flowmap.errors import ConfigError

# No pickled weights, which may run code when they are read, and no code.
_WANTED = ("*.json", "*.safetensors", "*.txt", "*.model")
_WEIGHTS = ("safetensors", "bin", "pt", "pth")  # pickled ones too: that they are there is told
_UNWANTED = ("*.fp16.*", "*.bf16.*", "flax_*", "openvino_*")


def fetch_from_hub(
    name: str, revision: str, folder: Path, setting: str, folders: Sequence[str] = ()
) -> Path:
    """Download a model's files, or of a pipeline those of some folders; `setting` names it in messages.

    Raises:
        ConfigError: there is no such model or commit, it asks for a token, or the hub can't be reached.
    """
    with _told(name, revision, setting):
        snapshot_download(
            name,
            revision=revision,
            local_dir=folder,
            allow_patterns=wanted(folders),
            ignore_patterns=list(_UNWANTED),
        )
    return folder


def outline_from_hub(
    name: str, revision: str, folder: Path, setting: str, folders: Sequence[str] = ()
) -> Path:
    """The same with empty files in the place of weights. Raises as `fetch_from_hub` does."""
    small = [each for each in wanted(folders) if not each.endswith("*.safetensors")]
    inside = [f"{each}/" for each in folders] or [""]
    weights = [f"{each}*.{ending}" for each in inside for ending in _WEIGHTS]
    where: Any = {"revision": revision, "local_dir": folder, "ignore_patterns": list(_UNWANTED)}
    with _told(name, revision, setting):
        snapshot_download(name, allow_patterns=small, **where)
        there = HfApi().model_info(name, revision=revision).siblings or []
    for each in there:
        named = partial(fnmatch, each.rfilename)
        if not any(map(named, weights)) or any(map(named, _UNWANTED)):
            continue
        file = folder / each.rfilename
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return folder


@contextlib.contextmanager
def _told(name: str, revision: str, setting: str) -> Iterator[None]:
    """What the hub refuses, in words."""
    where = f"{setting}: {name} on the Hugging Face hub"
    try:
        yield
    except GatedRepoError:
        raise ConfigError(
            f"{where} is given to those who agreed to its licence: agree on its page, and set HF_TOKEN to a "
            "token of the account that did"
        ) from None
    except RevisionNotFoundError:
        raise ConfigError(f"{where} has no commit {revision}") from None
    except RepositoryNotFoundError:
        raise ConfigError(f"{where}: there is no such model, or HF_TOKEN may not see it") from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ConfigError(f"{where} can't be fetched: {str(error).splitlines()[0]}") from None


def wanted(folders: Sequence[str]) -> list[str]:
    """Patterns of the files to download.

    Beside the folders of a pipeline many have the same weights once more as a single file, of any size.
    """
    if not folders:
        return list(_WANTED)
    return ["model_index.json", *(f"{folder}/{pattern}" for folder in folders for pattern in _WANTED)]
