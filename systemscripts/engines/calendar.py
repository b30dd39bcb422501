"""A cron expression as lines OnCalendar= of a systemd timer, with the same times in the nights of the clock change.

Reference: systemd.time(7), "Calendar Events". systemd knows the wall clock: it leaves out a skipped time, and runs a
time that comes twice once. Lines for those nights do what cron does.
"""

from collections import defaultdict
from collections.abc import Iterator

from systemscripts.engines.times import (
    ALL_DAYS,
    ALL_HOURS,
    ALL_MINUTES,
    ALL_MONTHS,
    ALL_WEEKDAYS,
    Extra,
    Nights,
    Times,
    ranges,
    times_of,
)

_WEEKDAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")


def calendar_lines(frequency: str, nights: Nights) -> list[str]:
    """Return what stands after OnCalendar=, a line for each; raises JobError if the expression has no times."""
    times = times_of(frequency)
    extras = nights.skipped(times) + nights.repeated(times)
    return [*_usual(times), *(line for extra in extras for line in _extra(extra))]


def _usual(times: Times) -> Iterator[str]:
    hours, minutes = _field(times.hours, ALL_HOURS), _field(times.minutes, ALL_MINUTES)
    for rule in times.rules:
        date = f"*-{_field(times.months, ALL_MONTHS)}-{_field(rule.days, ALL_DAYS)}"
        yield f"{_weekdays(rule.weekdays)}{date} {hours}:{minutes}:00"


def _extra(extra: Extra) -> Iterator[str]:
    by_hour: defaultdict[int, set[int]] = defaultdict(set)
    for hour, minute in extra.times:
        by_hour[hour].add(minute)
    date = f"{extra.year or '*'}-{extra.month:02}-{ranges(extra.days, '..', 2)}"
    for hour, minutes in by_hour.items():
        clock = f"{hour:02}:{ranges(minutes, '..', 2)}:00{' UTC' if extra.in_utc else ''}"
        yield f"{_WEEKDAYS[extra.weekday]} {date} {clock}"


def _field(values: frozenset[int], everything: frozenset[int]) -> str:
    return "*" if values == everything else ranges(values, "..", 2)


def _weekdays(values: frozenset[int]) -> str:
    return "" if values == ALL_WEEKDAYS else f"{','.join(_WEEKDAYS[value] for value in sorted(values))} "
