"""The commands about keys that sign: make one, look at those that are trusted."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from flowmap.settings import environment
from flowmap_pipelines import options

TRUSTED = click.option(
    "--trusted",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar=environment.TRUSTED_KEYS,
    help="A public key, or a file of trusted keys with the days they are trusted until.  [env: "
    f"{environment.TRUSTED_KEYS}]",
)


@click.group()
def keys() -> None:
    """Keys that sign what is published: make one, and see which are trusted.

    \b
        flowmap keys new --out keys --name ours-2026
        FLOWMAP_SIGNING_KEY=keys/ours-2026.pem flowmap run digits.yaml
        flowmap lineage verify digits --trusted keys/trusted.yaml
    """


@keys.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="The folder to write it to.",
)
@click.option("--name", default="flowmap", show_default=True, help="What the two files are called.")
def new(out: Path, name: str) -> None:
    """Make an ECDSA key on P-256: NAME.pem, which signs, for its owner alone, and NAME.pub for everybody.

    \b
        flowmap keys new --out keys --name ours-2026
        kubectl create secret generic flowmap-signing --from-file=key.pem=keys/ours-2026.pem
    """
    from flowmap.attestation.keys import new_key_pair, read_public_key

    if Path(name).name != name:
        raise click.UsageError(f"--name {name}: a name, without a folder")
    private, public = new_key_pair(out, name)
    click.echo(f"wrote {private}, which signs: keep it secret")
    click.echo(f"wrote {public}, key {read_public_key(public).keyid[:12]}: give it to whoever verifies")


@keys.command("list")
@TRUSTED
@options.JSON
def list_(trusted: Path | None, as_json: bool) -> None:
    """List the trusted keys: their ids, until when, and those that are trusted no more.

    \b
        keys:
          - key: ours-2026.pub           # a file beside this one, or the PEM text itself
            until: 2027-03-31            # the last day on which it is trusted
          - key: ours-2027.pub
          - key: laptop.pub
            revoked: stolen in May       # nothing that it ever signed is trusted
    """
    from flowmap.attestation.trust import read_trusted

    if trusted is None:
        raise click.UsageError(f"--trusted, or {environment.TRUSTED_KEYS}, names the file of trusted keys")
    today = datetime.now(UTC).date()
    found = [(each, each.refusal(today)) for each in read_trusted(trusted).keys]
    if as_json:
        told = [
            {
                "key": each.key.keyid,
                "name": each.name,
                "until": None if each.until is None else str(each.until),
                "trusted": why is None,
                "why": why,
            }
            for each, why in found
        ]
        click.echo(json.dumps(told, indent=1))
        return
    for each, why in found:
        until = "for ever" if each.until is None else f"until {each.until}"
        click.echo(f"{each.key.keyid[:12]}  {each.name:<24} {why or f'trusted {until}'}")
