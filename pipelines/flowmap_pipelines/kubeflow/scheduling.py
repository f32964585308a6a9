"""Runs at fixed times, started by Kubeflow Pipelines itself: one schedule for each model, by the model's
name.

    replace(kubeflow, config, profile, images, cron="0 3 * * *", account="flowmap", catch_up=False)
    pause(kubeflow, "digits"); resume(kubeflow, "digits"); delete(kubeflow, "digits")

A schedule is replaced without a gap and without two at once: the new one is made disabled, the old one is
disabled, the new one is enabled. The old one is deleted when no run of it goes on any more: Kubeflow would
leave such a run for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from flowmap.errors import ConfigError
from flowmap.settings import RunConfig
from flowmap_pipelines.image_lock import Images
from flowmap_pipelines.kubeflow.client import Kubeflow
from flowmap_pipelines.kubeflow.cron import six_fields
from flowmap_pipelines.kubeflow.refusals import KubeflowError
from flowmap_pipelines.kubeflow.resources import Schedule
from flowmap_pipelines.kubeflow.submitting import uploaded
from flowmap_pipelines.profile import Profile


def replace(
    kubeflow: Kubeflow,
    config: RunConfig,
    profile: Profile,
    images: Images,
    *,
    cron: str,
    account: str | None,
    catch_up: bool,
) -> tuple[Schedule, list[Schedule]]:
    """Put a model on this schedule; returns it, and what it replaces.

    Raises ConfigError for a wrong expression.
    """
    fields, _ = six_fields(cron)
    with uploaded(kubeflow, config, profile, images) as package:
        version = package.version
    before = _of(kubeflow, config.name)
    made = kubeflow.schedule(
        config.name, f"{cron} UTC", fields, version, config.to_json(), account, catch_up=catch_up
    )
    for old in before:
        if old.is_enabled:
            kubeflow.enable(old.schedule_id, on=False)
    kubeflow.enable(made.schedule_id, on=True)
    _delete_idle(kubeflow, before)
    return made, before


def current(kubeflow: Kubeflow) -> list[Schedule]:
    """The schedule of each model: the newest that is on, else the newest.

    Those before it, which a run of theirs kept until now, are deleted. A newer one that is not on is no
    schedule yet: somebody is replacing the other just now, or was interrupted.
    """
    schedules = kubeflow.schedules()
    found: dict[str, Schedule] = {}
    for each in sorted(schedules, key=lambda schedule: (schedule.is_enabled, schedule.created)):
        found[each.name] = each
    before = (each for each in schedules if each.created < found[each.name].created)
    _delete_idle(kubeflow, [each for each in before if not each.is_enabled])
    return [found[name] for name in sorted(found)]


def pause(kubeflow: Kubeflow, name: str) -> None:
    """Start nothing until it is resumed."""
    for each in _of(kubeflow, name) or [_one(kubeflow, name)]:
        kubeflow.enable(each.schedule_id, on=False)


def resume(kubeflow: Kubeflow, name: str) -> None:
    """Start runs again; what was missed is not made up for unless the schedule was made with `catch_up`."""
    one = _one(kubeflow, name).schedule_id
    for each in _of(kubeflow, name):
        if each.schedule_id != one:
            kubeflow.enable(each.schedule_id, on=False)
    kubeflow.enable(one, on=True)


def delete(kubeflow: Kubeflow, name: str) -> None:
    """Delete a model's schedule. Raises KubeflowError while a run of it goes on; it is paused then."""
    schedules = _of(kubeflow, name) or [_one(kubeflow, name)]
    for each in schedules:
        if each.is_enabled:
            kubeflow.enable(each.schedule_id, on=False)
    if left := _delete_idle(kubeflow, schedules):
        running = ", ".join(run for each in left for run in _going_on(kubeflow, each))
        raise KubeflowError(
            f"the schedule of {name} is paused, not deleted, because a run of it goes on, {running}: wait "
            "for its end, or end it with `flowmap cancel`, and delete again"
        )


def _of(kubeflow: Kubeflow, name: str) -> list[Schedule]:
    return [each for each in kubeflow.schedules() if each.name == name]


def _one(kubeflow: Kubeflow, name: str) -> Schedule:
    schedules = current(kubeflow)
    for each in schedules:
        if each.name == name:
            return each
    told = ", ".join(each.name for each in schedules) or "no schedule at all"
    raise ConfigError(f"{name} has no schedule; there is {told}")


def _delete_idle(kubeflow: Kubeflow, schedules: Sequence[Schedule]) -> list[Schedule]:
    """Delete those without a run going on; returns the others."""
    left = []
    for each in schedules:
        if _going_on(kubeflow, each):
            left.append(each)
        else:
            kubeflow.delete_schedule(each.schedule_id)
    return left


def _going_on(kubeflow: Kubeflow, schedule: Schedule) -> list[str]:
    """Ids of its runs that have not ended."""
    since = takewhile(lambda run: run.created >= schedule.created, kubeflow.runs())
    return [run.run_id for run in since if run.schedule_id == schedule.schedule_id and not run.has_ended]
