"""The schedule of a day or a week: each row's slots, and what became of them."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING, NamedTuple

from systemscripts.errors import JobError
from systemscripts.schedule.rows import BAD_ENDS
from systemscripts.schedule.slots import GRACE, Run, Slots, WatchedJob, Window
from systemscripts.schedule.timetable import active_jobs_of
from systemscripts.schedule.watch import Runs

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor

# What can become of a slot, the worst first.
FAILED, MISSED, SKIPPED, RUNNING, RAN, DUE = "failed", "missed", "skipped", "running", "ran", "to come"
STATES = (FAILED, MISSED, SKIPPED, RUNNING, RAN, DUE)


class Line(NamedTuple):
    """A row of the schedule: how often it came to each state, each slot's minute of the day with its state, and how often it began late."""

    name: str
    job: str
    counts: Counter[str]
    marks: list[tuple[int, str]]
    problem: str
    late: int = 0
    where: str = ""

    def minutes(self, state: str) -> list[str]:
        """Return the times of day of the slots in a state, such as 08:15."""
        return [f"{minute // 60:02d}:{minute % 60:02d}" for minute, its in self.marks if its == state]

    @property
    def state(self) -> str:
        """Return the worst state of its slots, "" if it has none."""
        return next((state for state in STATES if self.counts[state]), "")

    @property
    def is_wrong(self) -> bool:
        return self.state in (FAILED, MISSED)

    @property
    def is_begun(self) -> bool:
        """Return whether one of its slots is over."""
        return any(self.counts[state] for state in STATES if state != DUE)


def start_of_day(now: datetime, zone: tzinfo) -> datetime:
    return datetime.combine(now.astimezone(zone).date(), time(), zone)


def of_today(cursor: "Cursor", now: datetime, zone: tzinfo) -> list[Line]:
    """Return the active rows of the schedule; what was due before a row was made or resumed does not count."""
    midnight = start_of_day(now, zone)
    return between(cursor, midnight, midnight + timedelta(days=1), now, zone)


def between(cursor: "Cursor", start: datetime, end: datetime, now: datetime, zone: tzinfo) -> list[Line]:
    """Return the active rows of the schedule with their slots from `start` until before `end`, as they are now."""
    window = Window(start - timedelta(seconds=1), end - timedelta(seconds=1))
    runs = Runs(cursor, start)
    rows = _rows(cursor)
    lines = []
    for job in active_jobs_of(cursor):
        try:
            slots = Slots(WatchedJob(job, start), runs.of(job), window, zone)
        except JobError as problem:  # a time that cannot be
            lines.append(Line(job.name, job.script, Counter(), [], str(problem)))
            continue
        begun, jitter = rows.get((job.table, job.row_id), (start, timedelta()))
        marks = [
            (_minute(slot.astimezone(zone)), state)
            for slot in slots.judged()
            if (state := _state(slots.runs.get(slot, ()), slot, begun, now))
        ]
        late = sum(_began_late(slots.runs.get(slot, ()), slot + GRACE + jitter) for slot in slots.judged())
        lines.append(Line(job.name, job.script, Counter(state for _, state in marks), marks, "", late, job.where))
    return lines


_ROWS = """
    SELECT 'dba.tscheduler', schedulerid, greatest(active_since, createddate), make_interval(secs => jitter_seconds)
    FROM dba.tscheduler
    UNION ALL SELECT 'dba.treportmanager', reportid, greatest(active_since, createddate), interval '0' FROM dba.treportmanager
"""


def _rows(cursor: "Cursor") -> dict[tuple[str, int], tuple[datetime, timedelta]]:
    """Return since when each row counts, and its jitter."""
    cursor.execute(_ROWS)
    return {(table, row): (moment, jitter) for table, row, moment, jitter in cursor.fetchall()}


def _began_late(runs: Iterable[Run], latest: datetime) -> bool:
    begun = [run.started_at for run in runs if not run.is_skipped]
    return bool(begun) and min(begun) > latest


def _minute(moment: datetime) -> int:
    return 60 * moment.hour + moment.minute


def _state(runs: Iterable[Run], slot: datetime, begun: datetime, now: datetime) -> str:
    attempts = sorted(runs, key=lambda run: (run.attempt, run.started_at))
    if attempts:
        last = next((run for run in reversed(attempts) if not run.is_skipped), attempts[-1])
        if last.ended_at is None:
            return RUNNING
        return FAILED if last.status in BAD_ENDS else SKIPPED if last.is_skipped else RAN
    if slot > now - GRACE:
        return DUE
    return MISSED if slot >= begun else ""
