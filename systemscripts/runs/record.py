"""The rows of dba.tjobrun and their two locks: one for the job and its arguments, one for the run itself."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from systemscripts import locks
from systemscripts.log_sinks import spool
from systemscripts.runs.run import Call, Run

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

MOVE_LOCK = "etl move"
# Connections of one run: the supervisor's, and at most these of the job: two sessions, a report's lock, and its log.
# With more runs than places, each could wait for a connection that another run has.
CONNECTIONS_OF_A_RUN = 5
_TAKE_PLACE = f"""
    SELECT FROM generate_series(1, (
        SELECT greatest(1, least(nullif(rolconnlimit, -1), nullif(datconnlimit, -1),
            current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
                - coalesce(current_setting('reserved_connections', true), '0')::integer) / %s)
        FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database())) AS place
    WHERE pg_try_advisory_lock({locks.number_of("'etl place ' || place")}) LIMIT 1
"""  # noqa: S608 — made of constants
NOBODY_YET = "another run"
_RUN_BY = "SELECT run_uuid, host, pid, started_at FROM dba.tjobrun"


def write_row(connection: "Connection", row: dict[str, Any]) -> None:
    with connection.cursor() as cursor:
        spool.upsert_run(cursor, row)


def database_time(connection: "Connection") -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        row: tuple[datetime] = cursor.fetchall()[0]
    return row[0]


def end_of_attempt(connection: "Connection", call: Call, attempt: int) -> datetime | None:
    """Return when an attempt of the call's slot ended, None if no row says so."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT max(ended_at) FROM dba.tjobrun WHERE schedulerid = %s AND scheduled_at = %s AND attempt = %s",
            (call.task, call.scheduled_at, attempt),
        )
        row: tuple[datetime | None] = cursor.fetchall()[0]
    return row[0]


def take_place(connection: "Connection") -> bool:
    """Return whether the server has connections for one more run; if so, they are reserved until the session ends."""
    with connection.cursor() as cursor:
        cursor.execute(_TAKE_PLACE, (CONNECTIONS_OF_A_RUN,))
        return cursor.rowcount == 1


def run_lock(run_uuid: str) -> str:
    return f"etl run {run_uuid}"


def holder(connection: "Connection", run: Run) -> str:
    """Return a text that names the run that does the same at this moment."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"{_RUN_BY} WHERE job = %s AND arguments = %s::text[] AND status = 'Running' ORDER BY started_at DESC LIMIT 1",
            (run.job, run.stored_arguments),
        )
        return _named(cursor.fetchone())


def holder_of_slot(connection: "Connection", run: Run) -> str:
    """Return a text that names the run that began for the same slot."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"{_RUN_BY} WHERE (scheduled_at = %s OR slot = %s) AND attempt = %s AND status <> 'Skipped'"
            " AND (schedulerid = %s OR (schedulerid IS NULL AND job = %s AND arguments = %s::text[])) LIMIT 1",
            (run.call.scheduled_at, run.call.slot, run.call.attempt, run.call.task, run.job, run.stored_arguments),
        )
        return _named(cursor.fetchone())


def _named(row: tuple[Any, ...] | None) -> str:
    if row is None:
        return NOBODY_YET
    run_uuid, host, pid, started_at = row
    return f"run {run_uuid} (process {pid} on {host}, since {started_at.astimezone():%Y-%m-%d %H:%M:%S})"
