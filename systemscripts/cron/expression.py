"""The times at which Debian's cron runs an expression, also when the clock is changed.

grammar.py has the grammar of expressions. The calendar comes from CronSim, which follows Debian's
cron. @reboot has no times: `fires` yields none.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice

from systemscripts.cron.grammar import KINDS, CronExpression, CronExpressionError, Field, Kind, parse

__all__ = ["CronExpression", "CronExpressionError", "fires", "never_fires", "next_fires", "parse"]


def never_fires(expression: str) -> bool:
    """Return whether cron accepts the expression but never runs it, as with 50-10 or 30 February."""
    parsed = parse(expression)
    return not parsed.has_times() and not parsed.at_reboot


def next_fires(expression: str, after: datetime, count: int, tz: tzinfo) -> list[datetime]:
    """Return the next `count` times after `after` at which cron runs the job, or fewer if there are no more.

    The times are aware and in `tz`, the time zone of cron's machine. See `fires`.
    """
    return list(islice(fires(expression, after, tz), count))


def fires(expression: str, after: datetime, tz: tzinfo) -> Iterator[datetime]:
    """Yield the times, in order, at which Debian's cron runs the job, strictly after `after` (an aware time).

    When the clock is put forward, a job in the skipped hour runs at the end of that hour. When it is put
    back, a job runs only in the first of the two hours. A job with a * in minute or hour follows the
    clock instead: it does not run in the skipped hour, and it runs in both of the repeated hours
    (cron.c, the wakeup kinds). The search ends after 50 years without a date.
    """
    parsed = parse(expression)
    if not parsed.has_times():
        return
    previous = after.astimezone(UTC)
    local = after.astimezone(tz)
    # In the first of the two equal hours, the second one is still to come.
    start = local.replace(tzinfo=None) - max(_put_back(local), timedelta())
    for time in _through_clock_changes(parsed, start, tz):
        if time.astimezone(UTC) > previous:
            previous = time.astimezone(UTC)
            yield time


def _through_clock_changes(parsed: CronExpression, start: datetime, tz: tzinfo) -> Iterator[datetime]:
    """Yield the real times of the wall clock's times, beginning at or near `start` (a time without zone)."""
    from cronsim import CronSim

    follows_the_clock = parsed.minute.star or parsed.hour.star
    second_runs: list[datetime] = []
    # CronSim gets times without a zone, because it misses some when the clock changes by half an hour.
    for shown in CronSim(_for_cronsim(parsed), start):
        time = shown.replace(tzinfo=tz)
        if _put_back(time) < timedelta():
            if not follows_the_clock:
                yield _first_after_gap(time)
            continue
        if not _put_back(time):
            yield from second_runs
            second_runs.clear()
        elif follows_the_clock:
            second_runs.append(time.replace(fold=1))
        yield time


def _put_back(time: datetime) -> timedelta:
    """Return how far the clock is put back if it shows this time twice; a negative value if it skips this time."""
    return _offset(time.replace(fold=0)) - _offset(time.replace(fold=1))


def _offset(time: datetime) -> timedelta:
    return time.utcoffset() or timedelta()


def _first_after_gap(time: datetime) -> datetime:
    while _put_back(time) < timedelta():
        time += timedelta(minutes=1)
    return time


def _for_cronsim(parsed: CronExpression) -> str:
    """Return the expression in CronSim's grammar, which differs from cron's."""
    minute, hour, day, month, weekday = map(_listed, KINDS, parsed.fields())
    if not parsed.both_days_must_match:
        # OR with an empty field is the other field alone.
        day = day or "*"
        weekday = weekday or "*"
    return f"{minute} {hour} {day} {month} {weekday}"


def _listed(kind: Kind, field: Field) -> str:
    if len(field.values) == kind.high - kind.low + 1 and field.star:
        return "*"
    # A step beyond the end gives only the first value, which a field that begins with * always has.
    return ",".join([*(["*/100"] if field.star else []), *map(str, sorted(field.values))])
