"""The commands of an audit: what a model was made of, whether all of it is whole, what else it went into."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from flowmap_pipelines import options
from flowmap_pipelines.impact_command import impact
from flowmap_pipelines.keys_commands import TRUSTED
from flowmap_pipelines.lineage_export_command import export
from flowmap_pipelines.mend_command import mend

_MODEL = click.argument("model", metavar="NAME[@VERSION|@ALIAS]")


@click.group()
def lineage() -> None:
    """Audit models: what one was made of, whether all of that is whole, and what else came of the same.

    \b
        flowmap lineage show digits@production
        flowmap lineage verify digits
        flowmap lineage diff digits@1 digits@2
        flowmap lineage reproduce digits@2
        flowmap lineage sources digits@2 then
        flowmap lineage impact 8f1b2c39872a
        flowmap lineage export digits@2 --send http://marquez:5000
    """


@lineage.command()
@_MODEL
@options.ROOT
@options.STORE
@options.JSON
@click.option("--dot", is_flag=True, help="Print it in the language of Graphviz.")
@click.option("--html", type=options.OutputFile(".html", ".htm"), help="Write it as a page to this file.")
def show(model: str, root: Path, store: str | None, as_json: bool, dot: bool, html: Path | None) -> None:
    """Show what a version was made of, backwards to the data: steps, runs, digests."""
    from flowmap.audit.graph import trace
    from flowmap_pipelines import lineage_text
    from flowmap_pipelines.local_run import indexed_store
    from flowmap_pipelines.model_list import find_version

    models_in = indexed_store(root, store)
    version = find_version(models_in, model)
    graph = trace(models_in, version)
    if html is not None:
        from flowmap_pipelines.lineage_page import write_lineage_page

        write_lineage_page(graph, f"{version.name}@{version.version}", models_in.url, html)
        click.echo(f"wrote {html}", err=as_json or dot)
    if as_json:
        click.echo(lineage_text.as_json(graph))
    elif dot:
        click.echo(lineage_text.as_dot(graph))
    elif html is None:
        for line in lineage_text.tree(graph):
            click.echo(line)


@lineage.command()
@click.argument("model", metavar="[NAME[@VERSION|@ALIAS]]", required=False)
@options.ROOT
@options.STORE
@options.JSON
@click.option(
    "--key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A public key (PEM): each version must have a statement that it signed.",
)
@TRUSTED
def verify(
    model: str | None, root: Path, store: str | None, as_json: bool, key: Path | None, trusted: Path | None
) -> int:
    """Read all that a version rests on and say what is not as it was written: status 1 where anything is.

    Every byte of its published files and of every artifact it was made of is hashed, every record too; a
    step's digest is computed anew from what decided it; figures and verdict are those of its evaluation; an
    alias moved from where it was. Signed statements say what the store says; with --key or --trusted the
    version's own has to be signed by a key that is trusted today, and so has the last move of each alias
    that points to it. Without a model it is every version of every one.
    """
    from flowmap.attestation.checking import check_statements
    from flowmap.attestation.trust import read_trusted
    from flowmap.audit.checking import Looked, check
    from flowmap.audit.faults import Audit, Fault
    from flowmap.registry import Registry
    from flowmap.registry.versions import model_names
    from flowmap_pipelines.local_run import indexed_store
    from flowmap_pipelines.model_list import find_version

    models_in = indexed_store(root, store)
    unread = Audit()
    if model is not None:
        versions = [find_version(models_in, model)]
    else:
        registries = [Registry(models_in, name) for name in model_names(models_in)]
        versions = [each for registry in registries for each in registry.versions(unread.add)]
    told: list[dict[str, object]] = []
    named = key or trusted
    public = None if named is None else read_trusted(named)
    looked, looked_at = Looked(), set[str]()  # registries: each once
    found: dict[Fault, None] = {}  # several versions may rest on the same
    for version in versions:
        is_first = version.name not in looked_at
        audit = check(models_in, version, with_registry=is_first, looked=looked)
        looked_at.add(version.name)
        name = f"{version.name}@{version.version}"
        signed = check_statements(models_in, version, public, audit)
        counts = (
            f"{audit.num_artifacts} artifacts, {audit.num_files} files of {audit.num_bytes / 1e6:,.1f} MB, "
            f"{audit.num_records} records, {audit.num_moves} moves, {audit.num_statements} statements, "
            f"{signed} signatures"
        )
        faults = [asdict(fault) for fault in audit.faults]
        told.append({"model": name, "faults": faults, "notes": audit.notes, "checked": counts})
        if as_json:
            found |= dict.fromkeys(audit.faults)
            continue
        for fault in [each for each in audit.faults if each not in found]:
            click.echo(f"FAULT  {fault.name} {fault.told}")
        found |= dict.fromkeys(audit.faults)
        for note in audit.notes:
            click.echo(f"note   {note}")
        click.echo(f"{name}: {counts}: {f'{len(faults)} faults' if faults else 'all whole'}")
    for fault in [each for each in unread.faults if each not in found]:  # of models that have no other
        found[fault] = None
        told.append({"model": fault.name, "faults": [asdict(fault)], "notes": [], "checked": ""})
        if not as_json:
            click.echo(f"FAULT  {fault.name} {fault.told}")
    if as_json:
        click.echo(json.dumps(told, indent=1, sort_keys=True))
    return 1 if found else 0


@lineage.command()
@click.argument("one", metavar="NAME[@VERSION|@ALIAS]")
@click.argument("other", metavar="NAME[@VERSION|@ALIAS]")
@options.ROOT
@options.STORE
@options.JSON
def diff(one: str, other: str, root: Path, store: str | None, as_json: bool) -> None:
    """Say why two versions differ: data, settings, code, libraries that decided them; first cause first."""

    from flowmap.audit.difference import differences
    from flowmap.audit.graph import trace
    from flowmap_pipelines.local_run import indexed_store
    from flowmap_pipelines.model_list import find_version

    models_in = indexed_store(root, store)
    left, right = (trace(models_in, find_version(models_in, each)) for each in (one, other))
    found = list(differences(left, right))
    if as_json:
        click.echo(json.dumps([asdict(each) for each in found], indent=1, sort_keys=True))
        return
    for each in found:
        click.echo(f"{each.step}: {each.what}: {_written(each.left)} -> {_written(each.right)}")
    if not found:
        click.echo("nothing that decided them differs")


@lineage.command()
@click.argument("model", metavar="[NAME[@VERSION|@ALIAS]]", required=False)
@options.ROOT
@options.STORE
@options.SIGNING_KEY
def attest(model: str | None, root: Path, store: str | None, key: str | None) -> None:
    """Sign statements of what a version is and was made of, and keep them beside it; of every version,
    where none is named, as before a key's last day.

    They are in-toto Statements v1 in DSSE envelopes, with SLSA provenance v1. The version's own has the
    published files as subjects, the whole configuration, every artifact and piece of data beneath, code and
    libraries of each step, run and host. Each step's run beneath has one, and each move of an alias to it.
    `flowmap run` does it by itself where FLOWMAP_SIGNING_KEY names a key.

    \b
        flowmap keys new --out keys --name ours
        flowmap lineage attest digits@2 --key keys/ours.pem
        flowmap lineage verify digits@2 --key keys/ours.pub
    """
    from flowmap.attestation.keys import signer_of
    from flowmap.attestation.signing import attest as sign
    from flowmap.lineage.statement import is_statement
    from flowmap.registry import Registry
    from flowmap.registry.versions import model_names
    from flowmap_pipelines.local_run import indexed_store
    from flowmap_pipelines.model_list import find_version

    models_in = indexed_store(root, store)
    if key is None:
        raise click.UsageError("--key, or FLOWMAP_SIGNING_KEY, names the private key")
    signer = signer_of(key)
    if model is not None:
        versions = [find_version(models_in, model)]
    else:
        versions = [each for name in model_names(models_in) for each in Registry(models_in, name).versions()]
    for version in versions:
        written = sign(models_in, version, signer)
        num = sum(not is_statement(name) for name in written)
        told = f"{num} statements" if num else "nothing that was not signed already"
        click.echo(
            f"signed {version.name}@{version.version} with key {signer.public_key.keyid[:12]}: {told}"
        )


def _written(value: object) -> str:
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value)


@lineage.command()
@_MODEL
@options.ROOT
@options.STORE
@click.option(
    "--into",
    type=click.Path(path_type=Path),
    help="An empty folder to run in.  [default: one that goes again]",
)
def reproduce(model: str, root: Path, store: str | None, into: Path | None) -> int:
    """Run what made a version again, from its record, and compare the digest of every step: status 1 where
    one is not the same. The evaluation's too, unless it took an incumbent or an anchor: an empty store has
    none.

    On another kind of machine, with other instructions or another GPU, no run comes to the same bytes: that
    is said, and figures are compared instead. Accuracy and recall may differ by .05, the spread by a tenth,
    the Frechet distance by a quarter.

    With the code that ran then, which the store has kept, and the libraries that are installed here; what
    was not the same then is said. `flowmap lineage sources` writes that code, and the list of libraries that
    were installed beside it. Data from outside are read where they were.
    """
    import tempfile

    from flowmap.audit.graph import trace
    from flowmap_pipelines.local_run import indexed_store
    from flowmap_pipelines.model_list import find_version
    from flowmap_pipelines.reproducing import reproduce as run_again

    models_in = indexed_store(root, store)
    version = find_version(models_in, model)
    with tempfile.TemporaryDirectory(prefix="flowmap-reproduce-") as folder:
        found = run_again(models_in, trace(models_in, version), version, into or Path(folder))
    for each in found.steps:
        digest = "not run" if each.now is None else each.now.output[:12]
        same = "the same" if each.is_same else f"not the same, {digest}"
        click.echo(f"{each.step} {each.before.output[:12]}: {same}")
        for why in () if each.is_same else each.why():
            click.echo(f"  {why}")
    if found.is_same:
        return 0
    for figure in found.figures:
        near = "within" if figure.is_close else "not within"
        click.echo(
            f"{figure.name} {figure.before:.4g} then, {figure.now:.4g} now: {near} {figure.allowed:.2g}"
        )
    return 0 if found.is_close else 1


@lineage.command()
@_MODEL
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@options.ROOT
@options.STORE
def sources(model: str, folder: Path, root: Path, store: str | None) -> None:
    """Write the code that made a version's weights into a new folder, and what was installed beside it.

    \b
        flowmap lineage sources digits@2 then
        pip install --no-deps -r then/requirements.txt
        PYTHONPATH=then python -m flowmap_pipelines.cli run then/config.yaml
    """
    from flowmap.audit.graph import trace
    from flowmap_pipelines.local_run import indexed_store
    from flowmap_pipelines.model_list import find_version
    from flowmap_pipelines.reproducing import write_sources

    models_in = indexed_store(root, store)
    version = find_version(models_in, model)
    found = write_sources(models_in, trace(models_in, version), folder)
    click.echo(f"wrote {', '.join(found)} to {folder}")


lineage.add_command(mend)
lineage.add_command(impact)
lineage.add_command(export)
