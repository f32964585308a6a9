"""`flowmap lineage impact`: forwards, to the models that something went into."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flowmap_pipelines import options

if TYPE_CHECKING:
    from flowmap.artifacts.store import ObjectStore
    from flowmap.audit.impact import Impact


@click.command()
@click.argument("what", metavar="DIGEST|NAME[@VERSION|@ALIAS]|DATUM|FILE")
@options.ROOT
@options.STORE
@options.JSON
def impact(what: str, root: Path, store: str | None, as_json: bool) -> None:
    """Say what models something went into: an artifact, data from outside, a model, or one datum.

    A digest may be shortened, to eight letters at least. Of a model its candidate's weights are followed. A
    datum is named as the table of the data names it, or by the digest of its content; it may lie in several
    data artifacts. `data_prep.exclude` leaves it out of the next. A file that lies here is asked for by its
    bytes, which are published weights, data from outside, or a picture with a caption; by its name then.

    \b
        flowmap lineage impact 8f1b2c39872a
        flowmap lineage impact cat_017.png
        flowmap lineage impact downloads/ema.safetensors
    """
    from flowmap.artifacts.digest import sha256_of_file
    from flowmap.audit.impact import impact as impact_of
    from flowmap.errors import ConfigError
    from flowmap.registry import UnknownModelError
    from flowmap_pipelines.datum_impact import holders, seen_by
    from flowmap_pipelines.local_run import indexed_store

    models_in = indexed_store(root, store)
    is_file = Path(what).is_file()
    digest = sha256_of_file(Path(what)) if is_file else what
    try:
        found = _published(models_in, digest) if is_file else {}
        if len(set(found.values())) > 1:
            raise click.UsageError(f"{what} is published with {', '.join(found)}: name one of them")
        candidate = next(iter(found.values()), None)
        _tell_impact(impact_of(models_in, candidate or _digest(models_in, digest)), as_json)
    except (ConfigError, UnknownModelError):
        asked = (digest, what, Path(what).name)
        places = next((there for each in asked if (there := list(holders(models_in, each)))), [])
        if not places:
            raise
        if as_json:
            told = [{**asdict(each), **_impact_json(seen_by(models_in, each))} for each in places]
            click.echo(json.dumps(told, indent=1, sort_keys=True))
            return
        for each in places:
            click.echo(f"{each.name}, {each.digest}, is in the split {each.split} of data {each.data[:12]}")
            _tell_impact(seen_by(models_in, each), as_json=False)


def _impact_json(found: Impact) -> dict[str, Any]:
    return {
        "trained": [f"{each.name}@{each.version}" for each in found.trained],
        "rejected": [f"{each.name}, candidate {each.candidate[:12]}" for each in found.rejected],
        "judged": [f"{each.name}@{each.version}" for each in found.judged],
        "artifacts": dict(found.artifacts),
    }


def _tell_impact(found: Impact, as_json: bool) -> None:
    told = _impact_json(found)
    if as_json:
        click.echo(json.dumps(told, indent=1, sort_keys=True))
        return
    for title, key in (
        ("went into the weights of", "trained"),
        ("went into candidates that were rejected", "rejected"),
        ("was only judged with, by", "judged"),
    ):
        click.echo(f"{title}: {', '.join(told[key]) or 'none'}")
    steps = [f"{step} {digest[:12]}" for digest, step in found.artifacts.items()]
    click.echo(f"made of it: {', '.join(steps) or 'nothing'}")


def _published(store: ObjectStore, file: str) -> dict[str, str]:
    """Versions with a file of that digest, and the candidate that each was published from: several have one
    autoencoder."""
    from flowmap.registry import Registry
    from flowmap.registry.versions import model_names

    return {
        f"{name}@{version.version}": version.candidate
        for name in model_names(store)
        for version in Registry(store, name).versions()
        if any(entry.sha256 == file for entry in version.manifest.files)
    }


def _digest(store: ObjectStore, what: str) -> str:
    """What somebody means. Raises ConfigError where that is nothing, or several."""
    from flowmap.audit.impact import digests_of
    from flowmap.errors import ConfigError
    from flowmap_pipelines.model_list import find_version

    if len(what) >= 8 and set(what) <= set("0123456789abcdef"):
        found = list(digests_of(store, what))
        if len(found) > 1:
            raise ConfigError(
                f"{what} begins {len(found)} digests: {', '.join(each[:16] for each in found)}"
            )
        if found:
            return found[0]
    return find_version(store, what).candidate
