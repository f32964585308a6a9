"""A registered model as files for those who have no flowmap."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowmap.artifacts.store import ObjectStore, read_there
from flowmap.artifacts.transfer import fetch
from flowmap.attestation.keys import signer_of
from flowmap.attestation.model_signature import SIGNATURE, sign_folder, signature_for_others
from flowmap.attestation.trust import read_trusted
from flowmap.audit.graph import made_node
from flowmap.errors import ConfigError
from flowmap.evaluation.entrants import policy_of
from flowmap.exporting.about import About
from flowmap.models import ADAPTERS, ModelFacts, TextToImageFacts
from flowmap.models.model import Model
from flowmap.models.storing import load_model, read_model_facts, shipped_weights
from flowmap.registry import Registry, Rejection, Version
from flowmap.registry.documents import documents_prefix
from flowmap.settings import REJECTED, Pretrained, environment
from flowmap_pipelines.sampling import copy_model, grid_of

DIFFUSERS, ONNX, WEB, KSERVE, BUNDLE, FILES = "diffusers", "onnx", "web", "kserve", "bundle", "files"


@dataclass(frozen=True)
class _Given:
    """What is exported, and where it lies."""

    version: Version | Rejection
    files: Path
    facts: ModelFacts
    model: Model
    runtime: Path | None
    image: str | None
    checkpoint: Pretrained | None

    @property
    def grid(self) -> tuple[float, ...]:
        return grid_of(self.version, self.facts)


def export_model(
    store: ObjectStore,
    version: Version | Rejection,
    folder: Path,
    form: str | None = None,
    runtime: Path | None = None,
    image: str | None = None,
    key: str | None = None,
) -> list[str]:
    """Write a version into a new folder; returns what is in it.

    Args:
        form: `diffusers`, a pipeline of that library, with its adapters in `lora` where adapters were
            trained; `onnx`, the whole sampler as one graph; `web`, a page that draws in a browser; `kserve`,
            a server of the open inference protocol with its InferenceService; `bundle`, the version with its
            evidence, for another store; `files`, what was published, as it is and signed. None is diffusers
            for a text-to-image model, and onnx for others.
        image: for kserve, what the server's image will be called.
        runtime: for a page, the package onnxruntime-web as `npm pack` leaves it, which is fetched otherwise.
        key: a private key, which signs the folder's files; of `bundle` and `files` the version's own
            signatures go along.

    Raises:
        ConfigError: the folder is there and not empty, the model can't be had in that form, or the key is
            none.
        IntegrityError: what was written does not do what the model does.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty: name a new folder")
    if form in (BUNDLE, FILES):
        return _export_whole(store, version, folder, form)
    signer = None if key is None else signer_of(key)
    with tempfile.TemporaryDirectory() as scratch:
        files, made = Path(scratch, "model"), Path(scratch, "made")
        files.mkdir()
        made.mkdir()
        copy_model(store, version, files)
        facts = read_model_facts(files)
        form = form or (DIFFUSERS if isinstance(facts, TextToImageFacts) else ONNX)
        model = load_model(files, shipped_weights(files))
        given = _Given(version, files, facts, model, runtime, image, _checkpoint_of(store, version, form))
        _FORMS[form](given, made)
        if signer is not None:
            sign_folder(_about(given).name, made, signer)
        shutil.copytree(made, folder, dirs_exist_ok=True)
    return sorted(path.name for path in folder.iterdir())


def _export_whole(store: ObjectStore, version: Version | Rejection, folder: Path, form: str) -> list[str]:
    if isinstance(version, Rejection):
        raise ConfigError(f"{version.name}@{REJECTED} is no version: only what is published has {form}")
    from flowmap_pipelines.bundle import write_bundle

    write = write_bundle if form == BUNDLE else _write_files
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside it, and moved when it is whole: what it rests on may be larger than memory and /tmp are.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        made = Path(scratch, "made")
        made.mkdir()
        write(store, version, made)
        if folder.exists():
            folder.rmdir()
        made.rename(folder)
    return sorted(path.name for path in folder.iterdir())


def _write_files(store: ObjectStore, version: Version, folder: Path) -> None:
    """What was published, as it was: weights, card, bill of materials, samples, and their signature."""
    registry = Registry(store, version.name)
    registry.download(version, folder)
    if version.documents is not None:
        fetch(store, version.documents, folder, documents_prefix(version))
    named = os.environ.get(environment.TRUSTED_KEYS)
    trusted = read_trusted(named) if named else None
    if (signature := signature_for_others(store, version, trusted)) is not None:
        (folder / SIGNATURE).write_bytes(read_there(store, signature))


def _as_pipeline(given: _Given, folder: Path) -> None:
    if not isinstance(given.facts, TextToImageFacts):
        raise ConfigError(
            f"{given.version.name} is a {given.facts.kind}, a network of flowmap's own that diffusers does "
            f"not know: take --format {ONNX} or {WEB}"
        )
    from flowmap.text_to_image.publishing import write_adapters_card, write_pipeline

    write_pipeline(given.model, given.facts, given.grid, folder)
    if (given.files / ADAPTERS).is_dir():
        shutil.copytree(given.files / ADAPTERS, folder / ADAPTERS)
        checkpoint = None if given.facts.two_times else given.checkpoint
        write_adapters_card(given.facts, given.grid, folder / ADAPTERS, checkpoint)


def _checkpoint_of(store: ObjectStore, version: Version | Rejection, form: str) -> Pretrained | None:
    """The model of others that it began as, as its run named it, for who exports adapters."""
    if form != DIFFUSERS:
        return None
    made = made_node(store, version.candidate, lambda *_: None).made_by
    given = ((made.config if made is not None else None) or {}).get("base_training", {}).get("checkpoint")
    return None if given is None else Pretrained(source=given["source"], revision=given["revision"])


def _as_graph(given: _Given, folder: Path) -> None:
    write = _exporting("onnx_folder").write_onnx_folder
    write(given.model, given.facts, policy_of(given.facts), _about(given), folder)


def _as_page(given: _Given, folder: Path) -> None:
    web = _exporting("web")
    web.write_page(given.model, given.facts, _about(given), given.runtime, folder)


def _as_service(given: _Given, folder: Path) -> None:
    write = _exporting("kserve_folder").write_kserve_folder
    write(given.model, given.facts, policy_of(given.facts), _about(given), given.image, folder)


def _about(given: _Given) -> About:
    version = given.version
    named, digest = (
        (f"{version.name}@{version.version}", version.manifest.digest)
        if isinstance(version, Version)
        else (f"{version.name}@{REJECTED}", version.candidate)
    )
    return About(named, digest, given.grid)


def _exporting(module: str) -> Any:
    """Of the room that needs onnx. Raises ConfigError where it is not installed."""
    missing = [
        name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise ConfigError(f"{missing[0]} is not installed: pip install 'flowmap[onnx]'")
    return importlib.import_module(f"flowmap.exporting.{module}")


_FORMS: dict[str, Callable[[_Given, Path], None]] = {
    DIFFUSERS: _as_pipeline,
    ONNX: _as_graph,
    WEB: _as_page,
    KSERVE: _as_service,
}
