"""Cron's usual five fields, as Kubeflow's scheduler wants them: six, seconds first, UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from flowmap.errors import ConfigError

_FIELDS = ("minute", "hour", "day of the month", "month", "day of the week")
# The last day, the nearest weekday and the nth weekday are extensions that Kubeflow's scheduler does not
# know.
_EXTENSION = re.compile(r"#|(^|,)(L(-\d+)?|LW|\d+[LW])(,|$)", re.IGNORECASE)


def six_fields(expression: str, now: datetime | None = None) -> tuple[str, datetime]:
    """The expression for Kubeflow, and when it first fires after `now`.

    Raises ConfigError, also when it never does.
    """
    from cronsim import CronSim, CronSimError

    fields = expression.split()
    if fields and "=" in fields[0]:
        raise ConfigError(
            f"--cron {expression!r}: Kubeflow's schedules are in UTC and take no {fields[0]}; the chart's "
            "`retraining` starts runs in a time zone (retraining.timeZone)"
        )
    if len(fields) != len(_FIELDS):
        raise ConfigError(
            f"--cron {expression!r} has {len(fields)} fields; it takes five, {', '.join(_FIELDS)}, such as "
            '"0 3 * * *" for three at night, UTC'
        )
    for meaning, field in zip(_FIELDS, fields, strict=True):
        if _EXTENSION.search(field):
            raise ConfigError(
                f"--cron {expression!r}: Kubeflow's scheduler does not know {field!r} as {meaning}"
            )
    try:
        times = CronSim(expression, now or datetime.now(UTC))
        first = next(times)
    except CronSimError as error:
        raise ConfigError(f"--cron {expression!r} is no time that ever comes: {error}") from None
    except StopIteration:
        raise ConfigError(f"--cron {expression!r} never fires: there is no such day") from None
    if "7" in fields[4]:  # Sunday is only 0 there
        fields[4] = ",".join(
            str(day) for day in sorted({day % 7 for day in times.weekdays if isinstance(day, int)})
        )
    return " ".join(["0", *fields]), first
