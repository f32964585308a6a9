"""Models from the Hugging Face hub: at one commit, weights as safetensors only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download
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
_UNWANTED = ("*.fp16.*", "*.bf16.*", "flax_*", "openvino_*")


def fetch_from_hub(
    name: str, revision: str, folder: Path, setting: str, folders: Sequence[str] = ()
) -> Path:
    """Download a model's files, or of a pipeline those of some folders; `setting` names it in messages.

    Raises:
        ConfigError: there is no such model or commit, it asks for a token, or the hub can't be reached.
    """
    where = f"{setting}: {name} on the Hugging Face hub"
    try:
        snapshot_download(
            name,
            revision=revision,
            local_dir=folder,
            allow_patterns=wanted(folders),
            ignore_patterns=list(_UNWANTED),
        )
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
    return folder


def wanted(folders: Sequence[str]) -> list[str]:
    """Patterns of the files to download.

    Beside the folders of a pipeline many have the same weights once more as a single file, of any size.
    """
    if not folders:
        return list(_WANTED)
    return ["model_index.json", *(f"{folder}/{pattern}" for folder in folders for pattern in _WANTED)]
