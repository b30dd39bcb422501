"""The rows of dba.tjobrun and the locks that keep them true: one for the job and its arguments, one for the run itself."""

import contextlib
import logging
import os
import shlex
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from systemscripts import job_catalog, log_spool, settings
from systemscripts.child_process import Outcome
from systemscripts.log_entries import storable

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

log = logging.getLogger(__name__)

LONGEST_REASON = 500
_RUN_BY = "SELECT run_uuid, host, pid, started_at FROM dba.tjobrun"


class Call(NamedTuple):
    """The door's own options: the row of the schedule that it is about, and the slot."""

    task: int | None = None
    report: int | None = None
    scheduled_at: datetime | None = None
    attempt: int = 1


class Run(NamedTuple):
    """One row of dba.tjobrun."""

    script: Path
    arguments: list[str]
    call: "Call"
    run_uuid: str
    parent_run_uuid: str | None
    started_at: datetime

    @property
    def job(self) -> str:
        return self.script.name

    @property
    def lock_name(self) -> str:
        """The same for every run that must not overlap with this one."""
        return f"etl job {shlex.join([self.job, *self.arguments])}"

    def row(self, **values: Any) -> dict[str, Any]:
        """Return the columns of dba.tjobrun by name, with the values that change over a run given."""
        return {
            "run_uuid": self.run_uuid,
            "parent_run_uuid": self.parent_run_uuid,
            "job": self.job,
            "arguments": [storable(settings.mask(argument)) for argument in self.arguments],
            "schedulerid": self.call.task,
            "scheduled_at": self.call.scheduled_at.isoformat() if self.call.scheduled_at else None,
            "attempt": self.call.attempt,
            "started_at": self.started_at.isoformat(),
            "host": settings.host_name(),
            "pid": os.getpid(),
            "code_version": job_catalog.code_version(),
            **values,
        }

    def ended(self, outcome: Outcome) -> dict[str, Any]:
        """Return the whole row as it is once the run is over."""
        return self.row(
            ended_at=datetime.now(UTC).isoformat(),
            status=outcome.status,
            exit_code=outcome.exit_code,
            reason=storable(settings.mask(outcome.reason)[:LONGEST_REASON]) or None,
            output_tail=storable(settings.mask(outcome.output_tail)) or None,
        )


def write_row(connection: "Connection", row: dict[str, Any]) -> None:
    with connection.cursor() as cursor:
        log_spool.upsert_run(cursor, row)


def lock(connection: "Connection", name: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (name,))
        (granted,) = cursor.fetchone() or (False,)
    return bool(granted)


def unlock(connection: "Connection", name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (name,))


def run_lock(run_uuid: str) -> str:
    return f"etl run {run_uuid}"


def holder(connection: "Connection", run: Run) -> str:
    """Name the run that does the same at this moment."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"{_RUN_BY} WHERE job = %s AND arguments = %s::text[] AND status = 'Running' ORDER BY started_at DESC LIMIT 1",
            (run.job, run.arguments),
        )
        return _named(cursor.fetchone())


def holder_of_slot(connection: "Connection", run: Run) -> str:
    """Name the run that was begun for the same slot."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"{_RUN_BY} WHERE scheduled_at = %s AND attempt = %s AND status <> 'Skipped'"
            " AND (schedulerid = %s OR (schedulerid IS NULL AND job = %s AND arguments = %s::text[])) LIMIT 1",
            (run.call.scheduled_at, run.call.attempt, run.call.task, run.job, run.arguments),
        )
        return _named(cursor.fetchone())


def _named(row: tuple[Any, ...] | None) -> str:
    if row is None:
        return "another run"
    run_uuid, host, pid, started_at = row
    return f"run {run_uuid} (process {pid} on {host}, since {started_at:%Y-%m-%d %H:%M:%S})"


def close_lost_runs(connection: "Connection") -> None:
    """Close the rows of runs whose supervisor is gone: nobody holds their lock any more."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT run_uuid::text, job, host, pid FROM dba.tjobrun WHERE ended_at IS NULL AND started_at < now() - interval '2 seconds'"
        )
        for run_uuid, job, host, pid in cursor.fetchall():
            if _still_runs(host, pid, job) or not lock(connection, run_lock(run_uuid)):
                continue
            cursor.execute(
                "UPDATE dba.tjobrun SET status = 'Lost', ended_at = now(), reason = %s WHERE run_uuid = %s AND ended_at IS NULL",
                ("the process that ran it vanished without a word (killed, or the machine went down)", run_uuid),
            )
            unlock(connection, run_lock(run_uuid))
            if host == settings.host_name():
                _end_remains(run_uuid)
            log.warning(
                "closed the row of run %s of %s as Lost: its process vanished", run_uuid, job, extra={"step": "start"}
            )


def _end_remains(run_uuid: str) -> None:
    """Kill what is left on this machine of a run that vanished: what was begun while all that watches it was killed."""
    mark = f"ETL_RUN_UUID={run_uuid}".encode()
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            with contextlib.suppress(OSError):
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    os.kill(int(process.name), signal.SIGKILL)


def is_being_done_here(connection: "Connection", run: Run) -> bool:
    """Tell whether a supervisor on this machine does the same, though it has lost its session and so its lock."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT host, pid FROM dba.tjobrun WHERE ended_at IS NULL AND host = %s AND status = 'Running'"
            " AND job = %s AND arguments = %s::text[] AND run_uuid <> %s AND pid <> %s",
            (settings.host_name(), run.job, run.arguments, run.run_uuid, os.getpid()),
        )
        return any(_still_runs(host, pid, run.job) for host, pid in cursor.fetchall())


def _still_runs(host: str, pid: int, job: str) -> bool:
    """Tell whether a run whose lock is gone (the database was restarted) has its supervisor on this machine still."""
    if host != settings.host_name():
        return False
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"systemscripts.supervisor" in command and job.encode() in command
