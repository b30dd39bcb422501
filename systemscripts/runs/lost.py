"""Runs that vanished: their rows are closed as Lost, but only when that is certain.

A supervisor holds a lock for its run, and takes it again when its session ends. So a free lock alone
proves nothing: the server may be back before the supervisor has noticed. On the same machine the
process is checked. A run on another machine is surely gone if its lock was free at two checks with
LOST_AFTER between them, and the server did not restart in between. The first check is noted in the
row; the supervisor removes that note when it has its lock again. All times are the server's own.
"""

import contextlib
import enum
import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from systemscripts import locks, log_utils, processes
from systemscripts.log_sinks import spool
from systemscripts.runs.run import Run

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg2.extensions import connection as Connection

log = logging.getLogger(__name__)

# A supervisor tries to connect every second, and one try may take db_config's CONNECT_TIMEOUT_S.
LOST_AFTER = "60 seconds"

VANISHED = "the process that ran it vanished (killed, or the machine went down)"

# Advisory locks with a 64-bit number are read in pg_locks; trying to take one could keep its owner from getting it.
_HOLDERS = f"""
    (SELECT count(*) FROM pg_locks
     WHERE locktype = 'advisory' AND objsubid = 1 AND granted
       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND (classid::bigint << 32 | objid::bigint) = {locks.number_of("'etl run ' || r.run_uuid")})
"""  # noqa: S608 — made of constants
# This value changes when the server starts, when it recovers from a crashed process, and when a standby takes over.
_LIFE = """
    concat_ws(' ', extract(epoch FROM pg_postmaster_start_time()), left(pg_walfile_name(pg_current_wal_lsn()), 8),
              (SELECT extract(epoch FROM stats_reset) FROM pg_stat_bgwriter))
"""
_OPEN = f"""
    SELECT r.run_uuid::text, r.job, r.process_identity, r.started_at, {_HOLDERS} > 0
    FROM dba.tjobrun AS r WHERE r.ended_at IS NULL
"""  # noqa: S608
# Read the row first and the lock second. A supervisor does it the other way round, so one of the two sees the other.
_UNLESS_HELD = f"""
    WITH r AS MATERIALIZED (
        SELECT run_uuid, lost_suspected_at, lost_suspected_in FROM dba.tjobrun
        WHERE run_uuid = %(run)s AND ended_at IS NULL FOR UPDATE)
    UPDATE dba.tjobrun AS row SET {{change}} FROM r WHERE row.run_uuid = r.run_uuid AND {_HOLDERS} = 0
"""  # noqa: S608
_CLOSE = _UNLESS_HELD.format(change="status = 'Lost', ended_at = clock_timestamp(), reason = %(reason)s")
_CLOSE_IF_CERTAIN = f"""
    {_CLOSE} AND r.lost_suspected_in = {_LIFE} AND r.lost_suspected_at < clock_timestamp() - interval '{LOST_AFTER}'
"""
_SUSPECT = f"""
    {_UNLESS_HELD.format(change=f"lost_suspected_at = clock_timestamp(), lost_suspected_in = {_LIFE}")}
    AND r.lost_suspected_in IS DISTINCT FROM {_LIFE}
"""
_REVIVE = """
    UPDATE dba.tjobrun
    SET lost_suspected_at = NULL, lost_suspected_in = NULL, status = %(status)s, ended_at = NULL,
        reason = CASE WHEN status <> 'Lost' THEN reason END
    WHERE run_uuid = %(run)s AND (ended_at IS NULL OR status = 'Lost')
"""


class Fate(enum.Enum):
    """What is known about a run whose row is open."""

    GONE = enum.auto()
    IN_DOUBT = enum.auto()
    ALIVE = enum.auto()


class OpenRun(NamedTuple):
    run_uuid: str
    job: str
    process_identity: str | None
    started_at: "datetime"
    is_locked: bool


def close_lost_runs(connection: "Connection") -> None:
    """Close the rows of runs that are surely gone, and note those that may be gone."""
    for run in _open_runs(connection, f"AND {_HOLDERS} = 0"):
        _judge(connection, run)


def living_runs(connection: "Connection") -> list[OpenRun]:
    """Return the runs whose supervisors hold their locks."""
    return _open_runs(connection, f"AND {_HOLDERS} > 0 ORDER BY r.started_at")


def fate_of_others(connection: "Connection", run: Run) -> Fate:
    """Return whether another run does the same: the best fate among them. Call it while holding the job's lock."""
    rivals = _open_runs(
        connection,
        "AND r.status = 'Running' AND r.job = %s AND r.arguments = %s::text[] AND r.run_uuid <> %s",
        (run.job, run.stored_arguments, run.run_uuid),
    )
    fates = [_judge(connection, rival) for rival in rivals]
    return max(fates, key=lambda fate: fate.value, default=Fate.GONE)


def revive(connection: "Connection", run_uuid: str, status: str) -> None:
    """Note in the run's row that the run lives; its lock is held again."""
    with connection.cursor() as cursor:
        cursor.execute(_REVIVE, {"run": run_uuid, "status": status})


def was_given_up(connection: "Connection", run_uuid: str) -> bool:
    """Return whether the run's row was closed as Lost."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM dba.tjobrun WHERE run_uuid = %s AND status = 'Lost'", (run_uuid,))
        return cursor.rowcount == 1


def _open_runs(connection: "Connection", condition: str, values: tuple[object, ...] = ()) -> list[OpenRun]:
    with connection.cursor() as cursor:
        cursor.execute(_OPEN + condition, values or None)
        return [OpenRun(*row) for row in cursor.fetchall()]


def _judge(connection: "Connection", run: OpenRun) -> Fate:
    """Return the fate of a run; close its row if the run is gone, note the first check if that is not certain yet."""
    gone_here = processes.is_gone(run.process_identity)
    if run.is_locked or gone_here is False:
        return Fate.ALIVE
    with connection.cursor() as cursor:
        cursor.execute(_CLOSE if gone_here else _CLOSE_IF_CERTAIN, {"run": run.run_uuid, "reason": VANISHED})
        if cursor.rowcount == 0:
            cursor.execute(_SUSPECT, {"run": run.run_uuid})
            return Fate.IN_DOUBT
    if gone_here:
        _end_remains(run.run_uuid)
        recover_records(connection, run.run_uuid, Path(run.job).stem, run.started_at)
    text = "closed the row of run %s of %s as Lost: its process vanished"
    log.warning(text, run.run_uuid, run.job, extra={"step": "start"})
    return Fate.GONE


def _end_remains(run_uuid: str) -> None:
    """Kill the processes that a vanished run left on this machine when its supervisor and guard were killed."""
    mark = f"ETL_RUN_UUID={run_uuid}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                # A handle ensures that it is the same process at the check and at the kill.
                handle = os.pidfd_open(int(entry.name))
                try:
                    if mark in (entry / "environ").read_bytes().split(b"\0"):
                        signal.pidfd_send_signal(handle, signal.SIGKILL)
                finally:
                    os.close(handle)


def recover_records(connection: "Connection", run_uuid: str, process_type: str, started_at: "datetime") -> None:
    """Load the log records of a killed run that are not in the table yet; an error is only reported."""
    try:
        spool.recover_killed(connection, run_uuid, log_utils.csv_files(process_type, started_at))
    except Exception as error:  # noqa: BLE001 — it must not change what becomes of the run that looks
        log_utils.complain(f"the log records of run {run_uuid} are not all in the table: {error}")
