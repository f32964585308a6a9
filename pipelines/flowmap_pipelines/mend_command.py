"""`flowmap lineage mend`: what is damaged of a store and can be made again is."""

from __future__ import annotations

from pathlib import Path

import click

from flowmap_pipelines import options
from flowmap_pipelines.keys_commands import TRUSTED


@click.command()
@click.argument("name", metavar="[NAME]", required=False)
@options.ROOT
@options.STORE
@TRUSTED
def mend(name: str | None, root: Path, store: str | None, trusted: Path | None) -> int:
    """Write again what is damaged or gone of a model, and can be made of what is whole; of every model,
    where none is named.

    Published files come from the artifact that they are copies of, card and bill of materials from the
    evidence, statements from the records, a move of an alias from the signature beside it, which has to be
    by a key that is trusted where keys are. What can't be made again is named, and ends it with status 1;
    `flowmap lineage verify` looks at everything else, too.

    \b
        flowmap lineage verify || flowmap lineage mend && flowmap lineage verify
    """
    from flowmap.attestation.trust import read_trusted
    from flowmap.errors import IntegrityError
    from flowmap.registry.versions import model_names
    from flowmap_pipelines.local_run import store_of
    from flowmap_pipelines.mending import Left, mended

    there, num, left = store_of(root, store), 0, 0
    for each in [name] if name is not None else model_names(there):
        for found in mended(there, each, None if trusted is None else read_trusted(trusted)):
            if isinstance(found, Left):
                click.echo(f"can't mend {found.what}: {found.why}", err=True)
                left += 1
                continue
            object_, of = found
            click.echo(f"wrote {object_} again, from {of}")
            num += 1
    if not num:
        click.echo("nothing to mend that can be made again")
    return IntegrityError.exit_code if left else 0
