"""The commands that need a cluster. Heavy modules are imported inside them, so `--help` is immediate."""

from __future__ import annotations

from datetime import timedelta

import click

from flowmap_pipelines import options


@click.command()
@click.option("--cluster", is_flag=True, required=True, help="Clean up on the cluster.")
@options.NAMESPACE
@click.option("--unseen", default="15m", show_default=True, help="TrainJobs that nobody has followed for so long.")
@click.option("--ended", default="24h", show_default=True, help="Pods of flowmap that ended so long ago.")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
def gc(cluster: bool, namespace: str | None, unseen: str, ended: str, dry_run: bool) -> None:
    """Delete what ended runs left on the cluster: training jobs that nobody follows, and pods that ended long ago.

    The chart runs it every ten minutes.

    \b
        flowmap gc --cluster --dry-run
    """
    from flowmap.cluster import connect
    from flowmap_pipelines.reaping import delete_left, find_left

    there = connect(namespace)
    left = find_left(there, duration(unseen, "--unseen"), duration(ended, "--ended"))
    for each in left:
        if not dry_run:
            delete_left(there, each)
        click.echo(f"{'would delete' if dry_run else 'deleted'} {each.kind} {each.name}: {each.why}")
    if not left:
        click.echo(f"nothing is left over in namespace {there.namespace}")


def duration(text: str, option: str) -> timedelta:
    """What `90s`, `15m`, `24h` or `7d` stands for. Raises click.BadParameter."""
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    if text[:-1].isdigit() and text[-1:] in units:
        return timedelta(**{units[text[-1]]: int(text[:-1])})
    raise click.BadParameter(f"{text!r} is no duration; say such as 90s, 15m, 24h or 7d", param_hint=option)
