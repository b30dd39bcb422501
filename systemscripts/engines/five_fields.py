"""The times of a row in the five fields that Kubernetes and Airflow read.

They look like cron's and are read differently: a step of the * counts as restricted, 7 is no Sunday in one of them,
and what a # does differs. So only numbers, lists, ranges and a lone * are written.

Reference: github.com/robfig/cron, doc.go (Kubernetes); croniter's documentation (Airflow).
"""

from systemscripts.engines.times import (
    ALL_DAYS,
    ALL_HOURS,
    ALL_MINUTES,
    ALL_MONTHS,
    ALL_WEEKDAYS,
    Extra,
    Times,
    ranges,
)
from systemscripts.errors import JobError


def five_fields(times: Times) -> str:
    """Return the five fields; raises JobError for days that both kinds of day must allow, which they cannot say."""
    days, weekdays = ALL_DAYS, ALL_WEEKDAYS
    for rule in times.rules:
        days, weekdays = days & rule.days, weekdays & rule.weekdays
    if len(times.rules) == 1 and days != ALL_DAYS and weekdays != ALL_WEEKDAYS:
        raise JobError(
            "under cron it runs where the day of the month and the day of the week fit together, because one of them "
            "begins with *, and five fields can only say that either is enough"
        )
    fields = (
        (times.minutes, ALL_MINUTES),
        (times.hours, ALL_HOURS),
        (days, ALL_DAYS),
        (times.months, ALL_MONTHS),
        (weekdays, ALL_WEEKDAYS),
    )
    return " ".join("*" if values == everything else ranges(values, "-") for values, everything in fields)


def ends_of_skipped_hours(extras: list[Extra]) -> list[str]:
    """Return five fields for the ends of skipped hours. They fit on some days more, when the door finds the slot taken."""
    clocks = sorted({clock for extra in extras for clock in extra.times})
    found = []
    for hour, minute in clocks:
        fitting = [extra for extra in extras if (hour, minute) in extra.times]
        days = ranges(set().union(*(extra.days for extra in fitting)), "-")
        months = ranges({extra.month for extra in fitting}, "-")
        found.append(f"{minute} {hour} {days} {months} *")
    return found
