"""The times of a row in the five fields that Kubernetes and Airflow read.

They look like cron's and are read differently: a step of the * counts as restricted, 7 is no Sunday in one of them,
and what a # does differs. So only numbers, lists, ranges and a lone * are written.

Reference: github.com/robfig/cron, doc.go (Kubernetes); croniter's documentation (Airflow).
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

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


def in_the_night(times: Times, extras_of: Callable[[Times], list[Extra]]) -> list[str]:
    """Return five fields for the extra starts of a row in the night of the clock change; `extras_of` is a method of Nights.

    They fit on some days more. On each of these days the row has a slot within the hours before, so the door finds that it
    is taken. Raises JobError if that is not certain: a start without a slot would be a run too many.
    """
    found = []
    for rule in times.rules:
        by_weekday = rule.weekdays != ALL_WEEKDAYS
        days_of: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
        minutes_of: defaultdict[tuple[int, int, str], set[int]] = defaultdict(set)
        extras = extras_of(replace(times, rules=(rule,)))
        for extra in extras:
            for hour, _ in extra.times:
                days_of[extra.month, hour] |= {extra.weekday} if by_weekday else extra.days
        for extra in extras:
            for hour, minute in extra.times:
                days = ranges(days_of[extra.month, hour], "-")
                when = f"* {extra.month} {days}" if by_weekday else f"{days} {extra.month} *"
                minutes_of[extra.month, hour, when].add(minute)
        if extras and by_weekday and times.months != ALL_MONTHS:
            raise JobError(
                "its months and its days of the week meet a night of the clock change, which five fields cannot say"
            )
        found += [f"{ranges(minutes, '-')} {hour} {when}" for (_, hour, when), minutes in minutes_of.items()]
    return list(dict.fromkeys(found))
