"""`flowmap lineage export`: what a version was made of, for the catalogues of others."""

from __future__ import annotations

from pathlib import Path

import click

from flowmap.errors import ConfigError
from flowmap_pipelines import options


@click.command()
@click.argument("model", metavar="NAME[@VERSION|@ALIAS]")
@options.ROOT
@options.STORE
@click.option("-o", "--output", type=options.OutputFile(".jsonl", ".ndjson"), help="Write them here.")
@click.option("--send", "url", metavar="URL", help="Post them to a catalogue, such as Marquez.")
def export(model: str, root: Path, store: str | None, output: Path | None, url: str | None) -> None:
    """Print every run beneath a version as OpenLineage events, a JSON object a line.

    A run's id follows from its record, so what is sent twice is there once.

    \b
        flowmap lineage export digits > digits.jsonl
        flowmap lineage export digits --send http://marquez:5000
    """
    try:
        from openlineage.client.serde import Serde
    except ImportError:
        raise ConfigError("openlineage is not installed: pip install 'flowmap[openlineage]'") from None
    from flowmap_pipelines.local_run import indexed_store
    from flowmap_pipelines.model_list import find_version
    from flowmap_pipelines.open_lineage import events, send

    if output is not None and url is not None:
        raise click.UsageError("--output and --send: one of them")
    models_in = indexed_store(root, store)
    told = events(models_in, find_version(models_in, model))
    if url is not None:
        click.echo(f"sent {send(told, url)} events to {url}")
        return
    lines = [Serde.to_json(event) for event in told]
    if output is None:
        click.echo("\n".join(lines))
    else:
        output.write_text("".join(f"{line}\n" for line in lines))
        click.echo(f"wrote {len(lines)} events to {output}")
