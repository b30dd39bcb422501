"""The times of a cron expression as sets of numbers, and the slots that an engine misses when the clock is changed.

Cron has rules of its own for the two nights (cron/expression.py). Other engines know the wall clock only: they leave
out a time that the clock skips, and some run a time that comes twice only once. `Nights` knows the changes of a
zone, and `skipped` and `repeated` name the slots of a row that need a line of their own.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import groupby
from typing import NamedTuple

from systemscripts.cron.grammar import REBOOT, CronExpression, parse
from systemscripts.errors import JobError
from systemscripts.schedule.timetable import clock_changes

ALL_MINUTES, ALL_HOURS = frozenset(range(60)), frozenset(range(24))
ALL_DAYS, ALL_MONTHS, ALL_WEEKDAYS = frozenset(range(1, 32)), frozenset(range(1, 13)), frozenset(range(7))

# After so many years each date has the same day of the week again, so a yearly rule has shown all its dates.
_CYCLE_YEARS = 28
# Changes without a yearly rule, such as those around Ramadan, get a line each for so long.
_IRREGULAR_YEARS = 10
_MINUTE = timedelta(minutes=1)


class DayRule(NamedTuple):
    """Days on which a row runs: the day of the month AND the day of the week (0 is Sunday) must be in these sets."""

    days: frozenset[int]
    weekdays: frozenset[int]


@dataclass(frozen=True)
class Times:
    """The times of a row. It runs on a day that any of the rules allows; `follows_the_clock` is cron's rule of the *."""

    minutes: frozenset[int]
    hours: frozenset[int]
    months: frozenset[int]
    rules: tuple[DayRule, ...]
    follows_the_clock: bool

    def runs_on(self, day: date) -> bool:
        weekday = day.isoweekday() % 7
        return day.month in self.months and any(
            day.day in rule.days and weekday in rule.weekdays for rule in self.rules
        )

    def runs_at(self, shown: datetime) -> bool:
        return shown.minute in self.minutes and shown.hour in self.hours and self.runs_on(shown.date())


def times_of(frequency: str) -> Times:
    """Return the times of a cron expression; raises JobError if it has none."""
    parsed = parse(frequency)
    if parsed.at_reboot:
        raise JobError(f"{REBOOT} is no time, and only cron starts such a row")
    if not parsed.has_times():
        raise JobError(f"it never runs: no date or time matches {frequency!r}")
    star = parsed.minute.star or parsed.hour.star
    return Times(parsed.minute.values, parsed.hour.values, parsed.month.values, tuple(_rules(parsed)), star)


def _rules(parsed: CronExpression) -> Iterator[DayRule]:
    days, weekdays = parsed.day.values, frozenset(value % 7 for value in parsed.weekday.values)
    if parsed.both_days_must_match:
        yield DayRule(days, weekdays)
    elif days == ALL_DAYS or weekdays == ALL_WEEKDAYS:
        yield DayRule(ALL_DAYS, ALL_WEEKDAYS)
    else:
        if days:
            yield DayRule(days, ALL_WEEKDAYS)
        if weekdays:
            yield DayRule(ALL_DAYS, weekdays)


def ranges(values: Iterable[int], to: str, width: int = 1) -> str:
    """Return a list of numbers of so many digits, with `to` within a range.

    >>> ranges({0, 1, 2, 3, 10, 20}, "..")
    '0..3,10,20'
    """
    runs: list[list[int]] = []
    for value in sorted(values):
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    texts = [[f"{value:0{width}}" for value in run] for run in runs]
    return ",".join(f"{run[0]}{to}{run[-1]}" if len(run) > 2 else ",".join(run) for run in texts)


class Extra(NamedTuple):
    """A line of its own for one night: these clock times on these dates, every year or in one; local or UTC."""

    year: int | None
    month: int
    days: frozenset[int]
    weekday: int
    times: tuple[tuple[int, int], ...]
    in_utc: bool


class _Change(NamedTuple):
    """A change: its moment in UTC, and what the wall clock shows before and after it; all without a zone."""

    utc: datetime
    before: datetime
    after: datetime


class Nights:
    """The clock changes of a zone from now on."""

    def __init__(self, zone: tzinfo, now: datetime) -> None:
        start = datetime(now.year, 1, 1, tzinfo=UTC)
        end = datetime(now.year + _CYCLE_YEARS, 1, 1, tzinfo=UTC)
        alike: defaultdict[tuple[object, ...], list[_Change]] = defaultdict(list)
        for moment in clock_changes(start, end, zone):
            utc, after = moment.astimezone(UTC).replace(tzinfo=None), moment.replace(tzinfo=None, fold=0)
            second_before = (moment.astimezone(UTC) - timedelta(seconds=1)).astimezone(zone)
            before = second_before.replace(tzinfo=None) + timedelta(seconds=1)
            alike[before.month, before.weekday(), before.time(), after - before].append(_Change(utc, before, after))
        self._yearly: list[list[_Change]] = []
        self._single: list[_Change] = []
        for changes in alike.values():
            days = {change.before.day for change in changes}
            if len(changes) == _CYCLE_YEARS and max(days) - min(days) < 7:
                self._yearly.append(changes)
            else:
                self._single += [change for change in changes if change.before.year < now.year + _IRREGULAR_YEARS]

    def skipped(self, times: Times) -> list[Extra]:
        """Return the ends of skipped hours at which cron runs this row, in local time."""
        if times.follows_the_clock:
            return []

        def end(change: _Change) -> list[datetime]:
            skipped = _minutes(change.before, change.after)
            return [change.after] if any(map(times.runs_at, skipped)) and not times.runs_at(change.after) else []

        return self._extras(end, in_utc=False)

    def repeated(self, times: Times, first: bool = False) -> list[Extra]:
        """Return the times of this row in the second (or the first) of two equal hours, in UTC."""
        if not times.follows_the_clock:
            return []

        def of_one_hour(change: _Change) -> list[datetime]:
            repeated = _minutes(change.after, change.before)
            offset = (change.before if first else change.after) - change.utc
            return [shown - offset for shown in repeated if times.runs_at(shown)]

        return self._extras(of_one_hour, in_utc=True)

    def hours(self, times: Times) -> set[int]:
        """Return the hours that the clock skips or shows twice, and in which the row would run."""
        changes = [*self._single, *(change for several in self._yearly for change in several)]
        touched = (shown for change in changes for shown in _minutes(min(change[1:]), max(change[1:])))
        return {shown.hour for shown in touched if times.runs_at(shown)}

    def _extras(self, moments_of: Callable[[_Change], list[datetime]], in_utc: bool) -> list[Extra]:
        found: defaultdict[tuple[int | None, int, int, tuple[tuple[int, int], ...]], set[int]] = defaultdict(set)
        of_years: list[tuple[int | None, _Change]] = [(None, change) for changes in self._yearly for change in changes]
        for year, change in of_years + [(change.before.year, change) for change in self._single]:
            for day, moments in groupby(moments_of(change), key=datetime.date):
                clock = tuple((moment.hour, moment.minute) for moment in moments)
                found[year and day.year, day.month, day.isoweekday() % 7, clock].add(day.day)
        return [
            Extra(year, month, frozenset(days), weekday, clock, in_utc)
            for (year, month, weekday, clock), days in found.items()
        ]


def _minutes(start: datetime, end: datetime) -> Iterator[datetime]:
    while start < end:
        yield start
        start += _MINUTE
