"""The timetable: the active tasks and reports of the tables, and when each of them is due."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice, takewhile
from typing import TYPE_CHECKING

from systemscripts import db_config
from systemscripts.cron.cron_file import REPORT_TABLE, TASK_TABLE, ScheduledJob
from systemscripts.cron.expression import fires

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor

ACTIVE = 1  # dba.tdatastatus

_TASKS = """
    SELECT schedulerid, coalesce(taskname, ''), coalesce(frequency, ''), coalesce(scriptpath, ''),
           coalesce(scriptargs, ''), coalesce(host_pattern, '')
    FROM dba.tscheduler WHERE datastatusid = %s ORDER BY schedulerid
"""
_REPORTS = """
    SELECT reportid, coalesce(reportname, ''), coalesce(frequency, '')
    FROM dba.treportmanager WHERE datastatusid = %s ORDER BY reportid
"""


# Of a slot that was due so long ago a run has begun, if anything starts the schedule.
_BEGUN_AFTER = timedelta(minutes=5)
_BEGUN = """
    SELECT host, scheduled_at FROM dba.tjobrun
    WHERE scheduled_at BETWEEN %(slot)s AND %(slot)s + interval '1 minute' AND host IS NOT NULL
    ORDER BY started_at DESC LIMIT 1
"""


@dataclass(frozen=True)
class Slot:
    """A time at which cron starts a job; aware, in the zone of the machine."""

    time: datetime
    job: ScheduledJob


def active_jobs() -> list[ScheduledJob]:
    """Return the active rows of both tables, unchecked: tasks first, each kind in the order of ids."""
    with db_config.session() as connection, connection, connection.cursor() as cursor:
        return active_jobs_of(cursor)


def active_jobs_of(cursor: "Cursor") -> list[ScheduledJob]:
    """Return the active rows as this transaction sees them."""
    cursor.execute(_TASKS, (ACTIVE,))
    tasks = [ScheduledJob(TASK_TABLE, *row) for row in cursor.fetchall()]
    cursor.execute(_REPORTS, (ACTIVE,))
    reports = [
        ScheduledJob(REPORT_TABLE, reportid, name, frequency, "send_reports.py", str(reportid))
        for reportid, name, frequency in cursor.fetchall()
    ]
    return tasks + reports


def begun_elsewhere(now: datetime, tz: tzinfo) -> str | None:
    """Return who began the last slot that was due, for a machine without a cron file; None if nobody has begun it."""
    with db_config.session() as connection, connection, connection.cursor() as cursor:
        due = [
            slots[-1].time
            for job in active_jobs_of(cursor)
            if (slots := expected_slots(job, now - timedelta(days=1), now - _BEGUN_AFTER, tz))
        ]
        if not due:
            return None
        cursor.execute(_BEGUN, {"slot": max(due)})
        found = cursor.fetchone()
    return None if found is None else f"the slot of {found[1].astimezone(tz):%a %H:%M} was begun on {found[0]}"


def expected_slots(job: ScheduledJob, start: datetime, end: datetime, tz: tzinfo) -> list[Slot]:
    """Return the slots of one job after `start`, up to and including `end`."""
    return [Slot(time, job) for time in takewhile(lambda time: time <= end, fires(job.frequency, start, tz))]


def upcoming(jobs: list[ScheduledJob], after: datetime, count: int, tz: tzinfo) -> list[Slot]:
    """Return the next `count` slots of all jobs, in order of time; within one minute in the order of `jobs`."""

    def starts(order: int) -> Iterator[tuple[datetime, int]]:
        return ((time.astimezone(UTC), order) for time in fires(jobs[order].frequency, after, tz))

    merged = heapq.merge(*map(starts, range(len(jobs))))
    return [Slot(time.astimezone(tz), jobs[order]) for time, order in islice(merged, count)]


def clock_changes(start: datetime, end: datetime, tz: tzinfo) -> Iterator[datetime]:
    """Yield the moments after `start`, up to `end`, in `tz`, at which the clock is put forward or back."""
    before = start.astimezone(UTC).replace(microsecond=0)
    while before < end:
        after = min(before + timedelta(days=1), end.astimezone(UTC))
        if before.astimezone(tz).utcoffset() != after.astimezone(tz).utcoffset():
            yield _first_with_new_offset(before, after, tz).astimezone(tz)
        before = after


def _first_with_new_offset(before: datetime, after: datetime, tz: tzinfo) -> datetime:
    old = before.astimezone(tz).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = (before + (after - before) / 2).replace(microsecond=0)
        if middle.astimezone(tz).utcoffset() == old:
            before = middle
        else:
            after = middle
    return after


def local_text(time: datetime) -> str:
    return f"{time:%a %Y-%m-%d %H:%M %Z}"


def change_text(change: datetime, zone: tzinfo) -> str:
    """Return a line about a clock change: the time before it and the time after it."""
    before = (change.astimezone(UTC) - timedelta(seconds=1)).astimezone(zone)
    return f"-- {before:%a %Y-%m-%d}: the clock goes from {before:%H:%M:%S %Z} to {change:%H:%M %Z}"
