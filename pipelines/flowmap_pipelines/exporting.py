"""A registered model as files for those who have no flowmap."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from flowmap.artifacts.store import ObjectStore
from flowmap.errors import ConfigError
from flowmap.models import ADAPTERS, TextToImageFacts
from flowmap.models.storing import load_model, read_model_facts, shipped_weights
from flowmap.registry import Rejection, Version
from flowmap_pipelines.sampling import copy_model, grid_of


def export_model(store: ObjectStore, version: Version | Rejection, folder: Path) -> list[str]:
    """Write a version into a new folder; returns what is in it.

    A text-to-image model becomes a pipeline of the library diffusers, with its adapters in `lora` where
    adapters were trained.

    Raises:
        ConfigError: the folder is there and not empty, or nothing reads a model of this kind but flowmap.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty: name a new folder")
    with tempfile.TemporaryDirectory() as scratch:
        files = Path(scratch)
        copy_model(store, version, files)
        facts = read_model_facts(files)
        if not isinstance(facts, TextToImageFacts):
            raise ConfigError(
                f"{version.name} is a {facts.kind}, a network of flowmap's own that nothing else reads: "
                "load it with flowmap.load_model, or draw with `flowmap sample`"
            )
        from flowmap.text_to_image.publishing import write_pipeline

        folder.mkdir(parents=True, exist_ok=True)
        write_pipeline(load_model(files, shipped_weights(files)), facts, grid_of(version, facts), folder)
        if (files / ADAPTERS).is_dir():
            shutil.copytree(files / ADAPTERS, folder / ADAPTERS)
    return sorted(path.name for path in folder.iterdir())
