"""The watch on the schedule: it compares the slots of every active row with its runs, and keeps the incidents.

verdicts.py says what is wrong, and missing.py which feeds did not come. An incident ends with a run that exists, is in time, or has
succeeded; with the end of a stuck run; or with a whole interval between two slots without an extra
run. A check may be repeated at any time, because a slot is counted only once.
"""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, NamedTuple

from systemscripts import settings
from systemscripts.cron.cron_file import TASK_TABLE, ScheduledJob, door_arguments
from systemscripts.errors import JobError
from systemscripts.log_sinks.entries import storable
from systemscripts.schedule import held_datasets, incidents, machines, verdicts
from systemscripts.schedule.missing import FeedWatch, WaitingFiles
from systemscripts.schedule.slots import GRACE, Run, Slots, WatchedJob, window_of
from systemscripts.schedule.timetable import ACTIVE

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor

# A run's end may become known late, because it waits in the log spool while the database is down.
LATE_NEWS = timedelta(hours=1)

_MOVE_ON = """
    UPDATE dba.tschedulecheck AS new SET checked_until = greatest(new.checked_until, %s)
    FROM (SELECT checked_until FROM dba.tschedulecheck FOR UPDATE) AS old RETURNING old.checked_until
"""
_WATCHED = """
    SELECT 'dba.tscheduler', schedulerid, taskname, frequency::text, scriptpath, coalesce(scriptargs, ''),
           coalesce(host_pattern, ''), greatest(active_since, createddate), jitter_seconds * interval '1 second',
           timeout_minutes * interval '1 minute', retries, retry_delay_minutes * interval '1 minute'
    FROM dba.tscheduler WHERE datastatusid = %(active)s
    UNION ALL
    SELECT 'dba.treportmanager', reportid, reportname, frequency::text, 'send_reports.py', reportid::text,
           '', greatest(active_since, createddate), interval '0', NULL, 0, interval '0'
    FROM dba.treportmanager WHERE datastatusid = %(active)s
"""
_RUNS = """
    SELECT schedulerid, job, arguments, run_uuid::text, scheduled_at, started_at, ended_at, status, attempt, exit_code,
           coalesce(reason, ''), concat('process ', pid, ' on ', host)
    FROM dba.tjobrun
    WHERE ended_at IS NULL OR scheduled_at IS NOT NULL AND (scheduled_at > %(since)s OR ended_at > %(since)s)
"""


class Moment(NamedTuple):
    """The time of a check (aware) and the time zone of cron."""

    checked_until: datetime
    now: datetime
    zone: tzinfo


def check(cursor: "Cursor", now: datetime, zone: tzinfo, waiting: WaitingFiles = lambda _: ()) -> int:
    """Compare the schedule with its runs, and the feeds with what was loaded; return the number of active rows.

    What changed is written. `waiting` is asked for the files that wait for an import from which something
    is missing. The very first check only begins the watch. All is done in the cursor's transaction; a
    second check waits until it ends.
    """
    cursor.execute(_MOVE_ON, (now - GRACE,))
    found = cursor.fetchone()
    if found is None:
        cursor.execute("INSERT INTO dba.tschedulecheck (checked_until) VALUES (%s) ON CONFLICT DO NOTHING", (now,))
        return 0
    moment = Moment(found[0], now, zone)
    watched = _watched_jobs(cursor)
    runs = Runs(cursor, found[0] - _looking_back(watched))
    latest = incidents.latest_incidents(cursor)
    hosts = machines.seen_lately(cursor, now) if any(job.job.host_pattern for job in watched.values()) else []
    for job in watched.values():
        for incident in _changes(job, runs, latest, moment, hosts):
            incidents.write(cursor, incident, now)
    feeds = FeedWatch(cursor, found[0], now, zone)
    feeds.check(latest, waiting)
    held = held_datasets.check(cursor, latest, now)
    incidents.end_others(cursor, latest, {*watched, *(feed.key for feed in feeds.feeds), *held}, now)
    return len(watched)


def is_first(cursor: "Cursor") -> bool:
    """Return whether no check has run yet."""
    cursor.execute("SELECT NOT EXISTS (SELECT FROM dba.tschedulecheck)")
    return bool(cursor.fetchall()[0][0])


class Runs:
    """The runs to compare: all open ones, and those that a schedule started and that were due or ended lately."""

    def __init__(self, cursor: "Cursor", since: datetime) -> None:
        self._by_task: defaultdict[int, list[Run]] = defaultdict(list)
        self._by_call: defaultdict[tuple[str, ...], list[Run]] = defaultdict(list)
        cursor.execute(_RUNS, {"since": since})
        for schedulerid, job, arguments, *row in cursor.fetchall():
            group = self._by_call[job, *arguments] if schedulerid is None else self._by_task[schedulerid]
            group.append(Run(*row))
        self._open_calls = {
            call: [run for run in runs if run.ended_at is None]
            for call, runs in self._by_call.items()
            if any(run.ended_at is None for run in runs)
        }

    def of(self, job: ScheduledJob) -> list[Run]:
        """Return the runs of a row of the schedule; the runs of a report are found by their call."""
        if job.table == TASK_TABLE:
            return self._by_task[job.row_id]
        return self._by_call[job.script, str(job.row_id)]

    def in_the_way_of(self, job: ScheduledJob) -> list[Run]:
        """Return the row's runs, and the runs with the same call that a person or a chain started."""
        if job.table != TASK_TABLE or not self._open_calls:
            return self.of(job)
        try:
            _, _, *call = door_arguments(job)
        except JobError:
            return self.of(job)
        return self.of(job) + self._open_calls.get(tuple(storable(settings.mask(word)) for word in call), [])


def _watched_jobs(cursor: "Cursor") -> dict[tuple[str, int], WatchedJob]:
    cursor.execute(_WATCHED, {"active": ACTIVE})
    jobs = [WatchedJob(ScheduledJob(*row[:7]), *row[7:]) for row in cursor.fetchall()]
    return {job.key: job for job in jobs}


def _looking_back(watched: Mapping[Any, WatchedJob]) -> timedelta:
    """Return how long before the last check the needed runs begin; older runs have no further attempts."""
    waits = [job.retry_delay + GRACE for job in watched.values() if job.retries]
    return LATE_NEWS + max((job.jitter for job in watched.values()), default=timedelta()) + max(waits, default=GRACE)


def _changes(
    watched: WatchedJob,
    runs: Runs,
    latest: incidents.Latest,
    moment: Moment,
    hosts: list[str],
) -> list[incidents.Incident]:
    """Return the incidents of one row of the schedule that changed."""
    own = runs.of(watched.job)
    window = window_of(watched, moment.checked_until, moment.now)
    slots = Slots(watched, own, window, moment.zone)

    def open_incident(kind: str) -> incidents.Incident | None:
        incident = latest.get((kind, *watched.key))
        return incident if incident is not None and incident.is_open else None

    found = {
        "missed": verdicts.missed(slots, machines.on_none(watched.job, hosts)),
        "late": verdicts.late(watched, slots),
        "failed": verdicts.failed(watched, own, moment.now),
        "stuck": verdicts.stuck(watched, runs.in_the_way_of(watched.job), moment.now, moment.zone),
        "too often": verdicts.too_often(watched, slots),
    }
    if incident := open_incident("missed"):
        found["missed"] += verdicts.came_after_all(own, incident.last_slot)
    if incident := open_incident("too often"):
        last = max([incident.last_slot, *(finding.slot for finding in found["too often"])])
        found["too often"] += verdicts.quiet_since(watched, last, window.end, moment.zone)
    return [
        incident
        for kind, findings in found.items()
        for incident in incidents.follow(kind, watched.job, latest.get((kind, *watched.key)), findings)
    ]
