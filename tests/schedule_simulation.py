"""Weeks of cron in seconds: runs appear and end as a clock goes on that the watch on the schedule reads."""

import contextlib
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from conftest import Installation

from systemscripts import settings
from systemscripts.cron import slots
from systemscripts.cron.cron_file import TASK_TABLE, ScheduledJob
from systemscripts.schedule import alerts, timetable, watch
from systemscripts.schedule.timetable import expected_slots

QUARTER = timedelta(minutes=15)
MINUTE = timedelta(minutes=1)
HEADING = re.compile(
    r"^(MISSED|LATE|FAILED|STUCK|TOO OFTEN|MISSING|over: [a-z ]+)  (.*)  \(dba\.\w+ \d+\)$", re.MULTILINE
)

_BEGIN = """
    INSERT INTO dba.tjobrun (run_uuid, job, arguments, schedulerid, scheduled_at, attempt, started_at, host, pid, status, reason)
    VALUES (%s, %s, %s, %s, %s, %s, %s, 'here', 1, %s, %s)
"""
_GO_ON = "UPDATE dba.tjobrun SET started_at = %s, status = 'Running', reason = NULL WHERE run_uuid = %s"
_END = """
    UPDATE dba.tjobrun SET ended_at = %s, status = %s, exit_code = %s, reason = %s, output_tail = %s WHERE run_uuid = %s
"""


@dataclass(frozen=True)
class Run:
    """One attempt: how long after its slot it begins, for what it waits until then, how long it takes, what comes of it."""

    after: timedelta = timedelta(seconds=2)
    takes: timedelta = timedelta(seconds=90)
    status: str = "Succeeded"
    attempt: int = 1
    reason: str | None = None
    tail: str | None = None
    shift: timedelta = timedelta()
    waits: str | None = None


SKIPPED = Run(takes=timedelta(), status="Skipped", reason="still being done by run 1 (process 1 on here)")
FAILED = Run(status="Failed", reason="the site said no", tail="line 1\nline 2")
# By the name of a row and a slot: what cron starts instead of one run that succeeds.
Plan = dict[tuple[str, datetime], list[Run]]


@dataclass
class Mail:
    time: datetime
    subject: str
    text: str
    reader: str = ""

    @property
    def headings(self) -> list[tuple[str, str]]:
        return HEADING.findall(self.text)


@dataclass
class Simulation:
    """A database, a time zone, and what the watch sends."""

    etl: Installation
    zone: ZoneInfo
    connection: Any
    mails: list[Mail] = field(default_factory=list)
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    _waiting: list[tuple[datetime, int, str, tuple[Any, ...]]] = field(default_factory=list)

    def local(self, text: str) -> datetime:
        """Return a time such as `03-05 03:00` of 2026 in UTC."""
        return datetime.fromisoformat(f"2026-{text}").replace(tzinfo=self.zone).astimezone(UTC)

    def add_task(self, name: str, frequency: str, **more: Any) -> int:
        values = {"taskname": name, "frequency": frequency, "scriptpath": "show_imports.py", "scriptargs": name, **more}
        columns, marks = ", ".join(values), ", ".join(["%s"] * len(values))
        row = self.etl.value(
            f"INSERT INTO dba.tscheduler ({columns}) VALUES ({marks}) RETURNING schedulerid", *values.values()
        )
        self.backdate()
        return int(row)

    def backdate(self) -> None:
        """Make every row of the schedule as old as the year."""
        for table in ("tscheduler", "treportmanager"):
            self.etl.query(f"UPDATE dba.{table} SET active_since = '2026-01-01', createddate = '2026-01-01'")

    def only(self, *names: str) -> None:
        """Take all other rows out of the schedule."""
        for table, column in (("tscheduler", "taskname"), ("treportmanager", "reportname")):
            self.etl.query(f"UPDATE dba.{table} SET datastatusid = 2 WHERE {column} <> ALL (%s)", list(names))

    def forget(self) -> None:
        for table in ("tincident", "tschedulecheck", "tjobrun"):
            self.etl.query(f"DELETE FROM dba.{table}")
        self.mails.clear()

    def let_cron_start(
        self, start: datetime, end: datetime, plan: Plan | None = None, usually: Run | None = None
    ) -> None:
        """Plan the runs of all active rows from `start` to before `end`."""
        plan = dict(plan or {})
        for job in timetable.active_jobs():
            for slot in expected_slots(job, start - MINUTE, end - MINUTE, self.zone):
                time = slot.time.astimezone(UTC)
                for run in plan.pop((job.name, time), [usually or Run()]):
                    self.plan_run(job, time, run)
        assert not plan, f"no such slots: {plan}"

    def plan_run(self, job: ScheduledJob, slot: datetime, run: Run) -> None:
        name, began = str(uuid.uuid4()), slot + run.after
        task = job.row_id if job.table == TASK_TABLE else None
        arguments = job.arguments.split()
        values = (name, job.script, arguments, task, slot + run.shift, run.attempt)
        if run.waits:
            self._waiting.append((slot, len(self._waiting), _BEGIN, (*values, slot, "Waiting", run.waits)))
            self._waiting.append((began, len(self._waiting), _GO_ON, (began, name)))
        else:
            self._waiting.append((began, len(self._waiting), _BEGIN, (*values, began, "Running", None)))
        ended = began + run.takes
        code = 0 if run.status == "Succeeded" else 1
        ending = (ended, run.status, code, run.reason, run.tail, name)
        self._waiting.append((ended, len(self._waiting), _END, ending))

    def job(self, name: str) -> ScheduledJob:
        return next(job for job in timetable.active_jobs() if job.name == name)

    def run(self, start: datetime, end: datetime, look: Callable[[], None] | None = None) -> None:
        """Go on from `start` to before `end`, with a check every 15 minutes."""
        self._waiting.sort(key=lambda event: event[:2])
        self.now = start
        while self.now < end:
            self.happen()
            self.check()
            if look is not None:
                look()
            self.now += QUARTER

    def happen(self) -> None:
        """Bring the runs in the table up to the present."""
        due = list(takewhile(lambda event: event[0] <= self.now, self._waiting))
        del self._waiting[: len(due)]
        if due:
            with self.connection, self.connection.cursor() as cursor:
                cursor.execute(b";".join(cursor.mogrify(statement, values) for _, _, statement, values in due))

    def check(self) -> None:
        """Do what the job does."""
        with self.connection, self.connection.cursor() as cursor:
            watch.check(cursor, self.now, self.zone)
        alerts.tell(self.connection, self.now, self.zone)

    def hand_over(
        self, subject: str, text: str, note: Callable[[], None], _take_back: Any = None, reader: str = ""
    ) -> None:
        self.mails.append(Mail(self.now, subject, text, reader))
        note()

    def incidents(self) -> list[tuple[str, str, int, str, str]]:
        """Return kind, name, occurrences, first and last slot of every incident, `open` added to those that are."""
        found = self.etl.query(
            "SELECT kind || CASE WHEN closed_at IS NULL THEN ' (open)' ELSE '' END, name, occurrences, first_slot, last_slot "
            "FROM dba.tincident ORDER BY first_slot, source_table DESC, source_id, kind"
        )
        return [(*row[:3], *(f"{time.astimezone(self.zone):%m-%d %H:%M}" for time in row[3:])) for row in found]

    def told(self) -> Counter[tuple[str, str]]:
        """Return how many mails named each incident, by its heading's word and its row's name."""
        return Counter(heading for mail in self.mails for heading in mail.headings)

    def state(self) -> list[list[tuple[Any, ...]]]:
        return [self.etl.query(f"SELECT * FROM dba.{table} ORDER BY 1") for table in ("tincident", "tschedulecheck")]


@contextlib.contextmanager
def simulation(etl: Installation, monkeypatch: pytest.MonkeyPatch, zone: str) -> Iterator[Simulation]:
    with contextlib.closing(etl.connect("etl_user")) as connection:
        connection.autocommit = False
        simulated = Simulation(etl, ZoneInfo(zone), connection)
        # One row for each quarter of an hour is enough to try.
        etl.query("DELETE FROM dba.tscheduler WHERE scriptpath = 'build_status_page.py'")
        simulated.backdate()
        monkeypatch.setenv("ETL_ALERT_EMAIL", "owner@example.com")
        monkeypatch.setattr(alerts, "hand_over", simulated.hand_over)
        monkeypatch.setattr(slots, "cron_zone", lambda: simulated.zone)
        monkeypatch.setattr(settings, "now", lambda: simulated.now)
        yield simulated
