"""The rules of a schedule row for its runs: when a run may begin, and what happens when it fails.

A run that a person starts (`--task ID` without `--due`) keeps the row's time limit and overlap
policy. Pauses, dependencies, jitter and retries apply only to runs that cron starts.
"""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from systemscripts import settings

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

ACTIVE = 1  # dba.tdatastatus
# How long a task waits until the task that it depends on begins.
DEPENDENCY_GRACE = timedelta(minutes=10)
# How long a run waits for the end of another run if the row sets no time limit.
LONGEST_WAIT_S = 86_400.0

_TASK = """
    SELECT datastatusid = %s, timeout_minutes * 60, overlap = 'wait', retries, retry_delay_minutes * 60, depends_on, jitter_seconds,
           frequency::text, coalesce(host_pattern, '')
    FROM dba.tscheduler WHERE schedulerid = %s
"""
_REPORT = "SELECT datastatusid = %s, frequency::text FROM dba.treportmanager WHERE reportid = %s"
# Any success counts, because a person may have repeated a failed run by hand.
_LAST_RUN_OF_SLOT = """
    SELECT status, attempt, ended_at IS NULL FROM dba.tjobrun
    WHERE schedulerid = %s AND (scheduled_at BETWEEN %s AND %s OR (scheduled_at IS NULL AND started_at >= %s))
    ORDER BY status = 'Succeeded' DESC, ended_at IS NULL DESC, scheduled_at DESC NULLS LAST, attempt DESC, jobrunid DESC LIMIT 1
"""


class RunPolicy(NamedTuple):
    """The columns of one row of dba.tscheduler that rule its runs; times in seconds."""

    is_active: bool = True
    timeout: float | None = None
    waits_for_its_turn: bool = False
    retries: int = 0
    retry_delay: float = 0.0
    depends_on: int | None = None
    jitter: float = 0.0
    frequency: str | None = None
    host_pattern: str = ""

    @property
    def longest_wait(self) -> float:
        return self.timeout or LONGEST_WAIT_S

    def delay(self) -> float:
        """Return how many seconds this run is delayed."""
        if not self.jitter:
            return 0.0
        import random

        return random.uniform(0, self.jitter)


def of_task(connection: "Connection", schedulerid: int) -> RunPolicy:
    """Return the policy of a task, or the default policy if its row is gone."""
    with connection.cursor() as cursor:
        cursor.execute(_TASK, (ACTIVE, schedulerid))
        row = cursor.fetchone()
    if row is None:
        return RunPolicy()
    active, timeout, waits, retries, retry_delay, depends_on, jitter, frequency, host_pattern = row
    limit = None if timeout is None else float(timeout)
    return RunPolicy(active, limit, waits, retries, float(retry_delay), depends_on, jitter, frequency, host_pattern)


def of_report(connection: "Connection", reportid: int) -> RunPolicy:
    """Return the policy of a report: it can be paused like a task."""
    with connection.cursor() as cursor:
        cursor.execute(_REPORT, (ACTIVE, reportid))
        active, frequency = cursor.fetchone() or (True, None)
    return RunPolicy(is_active=active, frequency=frequency)


class Verdict(NamedTuple):
    """Whether a dependent task may begin: yes, not yet, or never for this slot (`reason`)."""

    may_begin: bool
    reason: str = ""


def ask_dependency(connection: "Connection", depends_on: int, slot: datetime) -> Verdict:
    """Return whether the other task succeeded in its latest slot that is not after the given one."""
    from systemscripts.cron.slots import slot_at

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT taskname, frequency::text, retries FROM dba.tscheduler WHERE schedulerid = %s", (depends_on,)
        )
        name, frequency, retries = cursor.fetchone() or ("", "", 0)
        latest = slot_at(frequency, slot)
        if latest is None:
            return Verdict(False, f"task {depends_on} {name!r}, which it depends on, was never due")
        theirs = latest.time
        cursor.execute(_LAST_RUN_OF_SLOT, (depends_on, theirs, slot, theirs))
        status, attempt, is_open = cursor.fetchone() or ("", 0, False)
    if status == "Succeeded":
        return Verdict(True)
    has_not_begun = status in ("", "Skipped") and settings.now() < slot + DEPENDENCY_GRACE
    is_tried_again = status not in ("", "Skipped") and attempt <= retries
    if is_open or has_not_begun or is_tried_again:
        return Verdict(False)
    came_to = f"ended as {status}" if status else "did not run"
    return Verdict(False, f"task {depends_on} {name!r}, which it depends on, {came_to} for {theirs:%Y-%m-%d %H:%M %Z}")
