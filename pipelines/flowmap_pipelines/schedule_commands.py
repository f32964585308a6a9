"""`flowmap schedule` and what follows it: `list`, `pause`, `resume`, `delete`, or a configuration to
schedule."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from flowmap.data.remote import is_remote
from flowmap.errors import ConfigError
from flowmap.settings import load_config
from flowmap_pipelines import options
from flowmap_pipelines.cluster_commands import on_kubeflow


@click.group(cls=options.OrElse, default="set", subcommand_metavar="CONFIG | COMMAND [OPTIONS]")
def schedule() -> None:
    """Start runs of a configuration at fixed times, on Kubeflow Pipelines.

    A model has one schedule: another of the same `name` replaces it without a gap. Two runs of it are never
    on at once.

    \b
        flowmap schedule flowmap.yaml --cron "0 3 * * *" --profile cluster-gpu
        flowmap schedule pause digits
    """


@schedule.command("set")
@options.CONFIG
@options.SET
@click.option(
    "--cron", required=True, help="The usual five fields, in UTC: minute, hour, day, month, day of the week."
)
@options.PROFILE
@options.IMAGES
@on_kubeflow
@options.ACCOUNT
@click.option("--catch-up", is_flag=True, help="After a pause, start what was missed in it too.")
@click.option(
    "--on-change",
    "watched",
    metavar="URI",
    help="Train on the data below this s3:// address, and only when they changed: the run's "
    "data_prep.source.",
)
def set_schedule(
    config: Path,
    overrides: tuple[str, ...],
    cron: str,
    profile: str,
    images: Path,
    kubeflow: str | None,
    namespace: str | None,
    service_account: str,
    catch_up: bool,
    watched: str | None,
) -> None:
    r"""Put CONFIG on a schedule (the word `set` may be left out).

    A run reuses what is done already: while configuration and data are the same it ends in minutes, and
    trains nothing.

    \b
        flowmap schedule flowmap.yaml --cron "0 3 * * *" --on-change
        "s3://bucket/data?endpoint=http://minio:9000"
    """
    from flowmap_pipelines.image_lock import load_images
    from flowmap_pipelines.kubeflow.cron import six_fields
    from flowmap_pipelines.kubeflow.scheduling import replace
    from flowmap_pipelines.profile import load_profile

    if watched is not None:
        if not is_remote(watched):
            raise ConfigError(
                f"--on-change {watched}: not in a store; say s3://bucket/prefix?endpoint=http://host:port"
            )
        overrides = (*overrides, f"data_prep.source={watched}")
    settings, how = load_config(config, overrides), load_profile(profile)
    which = load_images(images, pinned=how.pinned)
    _, first = six_fields(cron)
    _, before = replace(
        _server(kubeflow, namespace),
        settings,
        how,
        which,
        cron=cron,
        account=service_account,
        catch_up=catch_up,
    )
    replaced = ", in place of the schedule before" if before else ""
    trains = f"; it trains when what lies in {watched} has changed" if watched else ""
    click.echo(f"{settings.name} runs at {cron!r}, first on {first:%Y-%m-%d at %H:%M} UTC{replaced}{trains}")


@schedule.command("list")
@on_kubeflow
@options.JSON
def list_schedules(kubeflow: str | None, namespace: str | None, as_json: bool) -> None:
    """List the schedules there are."""
    from flowmap_pipelines.kubeflow.scheduling import current

    found = current(_server(kubeflow, namespace))
    if as_json:
        rows = [{"name": each.name, "cron": each.description, "enabled": each.is_enabled} for each in found]
        click.echo(json.dumps(rows, sort_keys=True))
        return
    for each in found:
        click.echo(f"{each.name}  {each.description}  {'on' if each.is_enabled else 'paused'}")
    if not found:
        click.echo('no schedules yet: flowmap schedule CONFIG --cron "0 3 * * *"')


@schedule.command()
@click.argument("name")
@on_kubeflow
def pause(name: str, kubeflow: str | None, namespace: str | None) -> None:
    """Start no more runs of NAME until it is resumed; one that is on goes on."""
    from flowmap_pipelines.kubeflow import scheduling

    scheduling.pause(_server(kubeflow, namespace), name)
    click.echo(f"{name} is paused")


@schedule.command()
@click.argument("name")
@on_kubeflow
def resume(name: str, kubeflow: str | None, namespace: str | None) -> None:
    """Start runs of NAME again."""
    from flowmap_pipelines.kubeflow import scheduling

    scheduling.resume(_server(kubeflow, namespace), name)
    click.echo(f"{name} is on")


@schedule.command()
@click.argument("name")
@on_kubeflow
def delete(name: str, kubeflow: str | None, namespace: str | None) -> None:
    """Delete the schedule of NAME; while a run of it is on it is only paused."""
    from flowmap_pipelines.kubeflow import scheduling

    scheduling.delete(_server(kubeflow, namespace), name)
    click.echo(f"the schedule of {name} is deleted")


def _server(kubeflow: str | None, namespace: str | None) -> Any:
    from flowmap_pipelines.kubeflow.client import Kubeflow

    return Kubeflow(kubeflow, namespace)
