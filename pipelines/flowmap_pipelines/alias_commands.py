"""The commands about which version is used: let an alias point to one, take it back, retire one, and see who
did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flowmap_pipelines import options

if TYPE_CHECKING:
    from flowmap.registry import Registry, Version


_EXPECTED = click.option(
    "--expected",
    type=int,
    metavar="VERSION",
    help="What it points to now; refused where it does not any more.",
)


@click.command()
@click.argument("model", metavar="NAME@VERSION")
@options.ROOT
@options.STORE
@click.option("--alias", default="production", show_default=True, help="What is to point to it.")
@click.option("--reason", required=True, help="Why, for those who ask later; no gate is asked.")
@_EXPECTED
@options.SIGNING_KEY
def promote(
    model: str,
    root: Path,
    store: str | None,
    alias: str,
    reason: str,
    expected: int | None,
    key: str | None,
) -> None:
    """Let an alias point to a version, such as the one before the one that turned out to be wrong.

    The move is kept with its reason, signed where there is a key. What was judged against the version
    before is not promoted any more. Of two who move it at once, one is told so.

    \b
        flowmap models promote digits@3 --reason "4 draws no sevens"
        flowmap models promote digits@3 --expected 4 --reason "4 draws no sevens"
        flowmap models promote digits@3 --alias staging --reason "for the demo"
    """
    from flowmap.registry import Registry
    from flowmap_pipelines.local_run import store_of
    from flowmap_pipelines.model_list import find_version
    from flowmap_pipelines.trusting import check_usable

    _name_a_version(model)
    there = store_of(root, store)
    version = find_version(there, model)
    check_usable(there, version, model)
    _move(Registry(there, version.name), alias, version, reason, key, expected)


@click.command()
@click.argument("name")
@options.ROOT
@options.STORE
@click.option("--alias", default="production", show_default=True, help="What is to point back.")
@click.option("--reason", required=True, help="Why, for those who ask later.")
@options.SIGNING_KEY
def rollback(name: str, root: Path, store: str | None, alias: str, reason: str, key: str | None) -> None:
    """Let an alias point to what it pointed to before its last move.

    That is a move too: a second rollback takes back the first. For an older version name it to `promote`;
    `flowmap models history` lists where it has pointed.

    \b
        flowmap models rollback digits --reason "4 draws no sevens"
    """
    from flowmap.registry import Registry
    from flowmap_pipelines.local_run import store_of
    from flowmap_pipelines.model_list import list_models
    from flowmap_pipelines.trusting import check_usable

    there = store_of(root, store)
    list_models(there, name)  # whoever names no model is told what there is
    registry = Registry(there, name)
    last = next(iter(registry.moves(alias)[-1:]), None)
    if last is None or last.before is None:
        raise click.UsageError(f"{name}@{alias} has pointed to nothing before what it points to now")
    version = registry.resolve(str(last.before))
    check_usable(there, version)
    _move(registry, alias, version, reason, key, last.version)


@click.command()
@click.argument("model", metavar="NAME@VERSION")
@options.ROOT
@options.STORE
@click.option("--reason", required=True, help="Why, for those who ask later.")
@options.SIGNING_KEY
def retire(model: str, root: Path, store: str | None, reason: str, key: str | None) -> None:
    """Take a version out of use for good: nothing is drawn from it, exported, or led to it any more.

    Signed where there is a key: then its record can't be changed unseen, nor taken away while the
    signature beside it is there. It stays on record, to be looked at and verified. An alias that points
    to it has to go elsewhere first.

    \b
        flowmap models retire digits@2 --reason "trained on pictures that were taken back"
    """
    from flowmap.registry import Registry, retiring
    from flowmap_pipelines.local_run import store_of
    from flowmap_pipelines.model_list import find_version

    _name_a_version(model)
    there = store_of(root, store)
    version = find_version(there, model)
    registry = Registry(there, version.name)
    if key is None:
        told = retiring.retire(registry, version, reason)
    else:
        from flowmap.attestation.keys import signer_of
        from flowmap.attestation.signing import retire_signed

        told = retire_signed(registry, version, reason, signer_of(key))
    click.echo(
        f"{version.name}@{version.version} is retired, by {told.who} on {told.retired_at:%Y-%m-%d}: "
        f"{told.reason}"
    )


@click.command("alias")
@click.argument("model", metavar="NAME[@VERSION]")
@click.argument("alias", required=False)
@options.ROOT
@options.STORE
@click.option("--reason", help="Why it is to point there, for those who ask later.")
@_EXPECTED
@options.SIGNING_KEY
@options.JSON
def alias_(
    model: str,
    alias: str | None,
    root: Path,
    store: str | None,
    reason: str | None,
    expected: int | None,
    key: str | None,
    as_json: bool,
) -> None:
    """List where the aliases of a model point, or let one point to a version.

    Any word is an alias, such as `staging`; the first move makes it.

    \b
        flowmap models alias digits
        flowmap models alias digits@3 staging --reason "for the demo"
    """
    from flowmap.registry import Registry
    from flowmap_pipelines.local_run import store_of
    from flowmap_pipelines.model_list import find_version, list_models
    from flowmap_pipelines.trusting import check_usable

    there = store_of(root, store)
    if alias is None:
        if reason is not None or expected is not None:
            raise click.UsageError("say which alias is to point there, such as `staging`")
        list_models(there, model)  # whoever names no model is told what there is
        _list_aliases(Registry(there, model), as_json=as_json)
        return
    if reason is None:
        raise click.UsageError("--reason says why, for those who ask later")
    _name_a_version(model)
    version = find_version(there, model)
    check_usable(there, version, model)
    _move(Registry(there, version.name), alias, version, reason, key, expected)


@click.command()
@click.argument("name")
@options.ROOT
@options.STORE
@options.JSON
def history(name: str, root: Path, store: str | None, as_json: bool) -> None:
    """List where every alias went, who moved it, when and why.

    \b
        flowmap models history digits
    """
    from flowmap.registry import Registry
    from flowmap_pipelines.local_run import store_of
    from flowmap_pipelines.model_list import list_models

    there = store_of(root, store)
    list_models(there, name)
    registry = Registry(there, name)
    moves = [(alias, move) for alias in registry.aliases() for move in registry.moves(alias)]
    moves.sort(key=lambda pair: pair[1].moved_at)
    if as_json:
        told = [
            {"alias": alias, **move.model_dump(mode="json", exclude={"envelope"})} for alias, move in moves
        ]
        click.echo(json.dumps(told, indent=1, sort_keys=True))
        return
    for alias, move in moves:
        why = move.reason or (f"evaluation {move.evaluation[:12]}" if move.evaluation else "no reason given")
        before = "nothing" if move.before is None else f"{name}@{move.before}"
        click.echo(
            f"{move.moved_at:%Y-%m-%d %H:%M}  {alias}: {before} -> {name}@{move.version}, by "
            f"{move.who or 'nobody on record'}: {why}"
        )


def _list_aliases(registry: Registry, *, as_json: bool) -> None:
    aliases = registry.aliases()
    last = {name: registry.moved.last(name) for name in aliases}  # None for those that an older flowmap set
    if as_json:
        told = {
            name: {"version": aliases[name]}
            if move is None
            else move.model_dump(mode="json", exclude={"envelope"})
            for name, move in last.items()
        }
        click.echo(json.dumps(told, indent=1, sort_keys=True))
        return
    for name, move in sorted(last.items()):
        since = (
            ""
            if move is None
            else f", since {move.moved_at:%Y-%m-%d %H:%M}, by {move.who or 'nobody on record'}"
        )
        click.echo(f"{name}: {registry.name}@{aliases[name]}{since}")


def _check_alias(alias: str) -> None:
    """What a run's `registry_push.alias` may be called."""
    from pydantic import ValidationError

    from flowmap.settings.messages import explain
    from flowmap.settings.sections import RegistryPush

    try:
        RegistryPush(alias=alias)
    except ValidationError as error:
        raise click.UsageError(explain(error, RegistryPush, "an alias")) from None


def _name_a_version(model: str) -> None:
    if "@" not in model:
        raise click.UsageError(f"{model}: say which version, such as {model}@1")


def _move(
    registry: Registry,
    alias: str,
    version: Version,
    reason: str,
    key: str | None,
    expected: int | None,
) -> None:
    """Let an alias point to a version, signed where there is a key."""
    from flowmap.attestation.keys import signer_of
    from flowmap.attestation.signing import signing_moves

    _check_alias(alias)
    name, signed = registry.name, ""
    if key is not None:
        signer = signer_of(key)
        registry = signing_moves(registry, signer)
        signed = f"; signed with key {signer.public_key.keyid[:12]}"
    move = registry.move_alias(alias, version, reason, expected)
    before = "nothing" if move.before is None else f"{name}@{move.before}"
    click.echo(f"{name}@{alias} points to {name}@{move.version}, before to {before}{signed}")
