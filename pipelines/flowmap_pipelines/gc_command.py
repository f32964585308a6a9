"""`flowmap gc`: what nothing needs any more, in a store or on a cluster."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import click

from flowmap_pipelines import options

_SHOWN = 10


@click.command()
@options.ROOT
@options.STORE
@click.option(
    "--keep",
    default="30d",
    show_default=True,
    help="Nothing of the store that is younger, or that a run since then made or used; longer than the "
    "longest run.",
)
@click.option("--delete", is_flag=True, help="Delete it; without this it is only told.")
@options.JSON
@click.option("--cluster", is_flag=True, help="Clean up on the cluster, and not in a store.")
@options.NAMESPACE
@click.option(
    "--unseen", default="15m", show_default=True, help="TrainJobs that nobody has followed for so long."
)
@click.option("--ended", default="24h", show_default=True, help="Pods of flowmap that ended so long ago.")
@click.option("--dry-run", is_flag=True, help="With --cluster: only say what would be deleted.")
def gc(
    root: Path,
    store: str | None,
    keep: str,
    delete: bool,
    as_json: bool,
    cluster: bool,
    namespace: str | None,
    unseen: str,
    ended: str,
    dry_run: bool,
) -> None:
    """Say what of the store nothing needs any more, and delete it with --delete.

    Kept is what a version rests on, down to its data; the last rejected candidate of each model; what runs
    made or used within --keep; and every record, so that it can be told for ever what a model was made of.
    What goes is results, checkpoints and curves of other runs, uploads of versions that never came, and
    files that were being written when their writer died.

    With --cluster, delete what ended runs left there: training jobs that nobody follows, and pods that
    ended long ago. The chart runs that every ten minutes.

    \b
        flowmap gc
        flowmap gc --keep 7d --delete
        flowmap gc --cluster --dry-run
    """
    of_other = {
        "--dry-run": dry_run and not cluster,
        "--delete": delete and cluster,
        "--json": as_json and cluster,
    }
    if wrong := [name for name, is_set in of_other.items() if is_set]:
        where = "a store, where nothing is deleted without --delete" if not cluster else "--cluster"
        raise click.UsageError(f"{wrong[0]} does not go with {where}")
    if cluster:
        _on_cluster(namespace, duration(unseen, "--unseen"), duration(ended, "--ended"), dry_run)
    else:
        _in_store(root, store, duration(keep, "--keep"), delete, as_json)


def _in_store(root: Path, url: str | None, keep: timedelta, delete: bool, as_json: bool) -> None:
    from flowmap.audit.unneeded import remove, unneeded
    from flowmap_pipelines.local_run import one_run_at_a_time, store_of

    store = store_of(root, url)
    alone = one_run_at_a_time(root.absolute()) if delete and url is None else contextlib.nullcontext()
    with alone:
        found = unneeded(store, keep)
        for each in found if delete else ():
            remove(store, each)
    if as_json:
        told = [{**asdict(each), "last": each.last.isoformat(timespec="seconds")} for each in found]
        click.echo(json.dumps({"deleted": delete, "unneeded": told}, sort_keys=True))
        return
    if not found:
        click.echo(f"nothing in {store.url} is unneeded")
        return
    verb = "deleted" if delete else "would delete"
    for each in found[:_SHOWN]:
        click.echo(f"{verb} {each.kind} {each.where}: {_size(each.size)}, of {each.last:%Y-%m-%d}")
    if len(found) > _SHOWN:
        rest = found[_SHOWN:]
        click.echo(f"... and {len(rest)} more: {_size(sum(each.size for each in rest))}")
    whole = _size(sum(each.size for each in found))
    click.echo(f"{whole} {'were freed' if delete else 'would be freed: say --delete'}")


def _on_cluster(namespace: str | None, unseen: timedelta, ended: timedelta, dry_run: bool) -> None:
    from flowmap.kubernetes.api import connect
    from flowmap.kubernetes.leftovers import delete_left, find_left

    there = connect(namespace)
    left = find_left(there, unseen, ended)
    for each in left:
        if not dry_run:
            delete_left(there, each)
        click.echo(f"{'would delete' if dry_run else 'deleted'} {each.kind} {each.name}: {each.why}")
    if not left:
        click.echo(f"nothing is left over in namespace {there.namespace}")


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.1f} MB" if num_bytes >= 50_000 else f"{num_bytes / 1e3:,.1f} kB"


def duration(text: str, option: str) -> timedelta:
    """What `90s`, `15m`, `24h` or `7d` stands for. Raises click.BadParameter."""
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    if text[:-1].isdigit() and text[-1:] in units:
        return timedelta(**{units[text[-1]]: int(text[:-1])})
    raise click.BadParameter(f"{text!r} is no duration; say such as 90s, 15m, 24h or 7d", param_hint=option)
