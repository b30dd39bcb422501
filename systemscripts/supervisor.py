"""What stands behind the door: runs one job as a child process and keeps its row in dba.tjobrun.

    python -m systemscripts.supervisor [--task ID] [--scheduled-at TIME] <script> [arguments]

One run at a time for a job and its arguments, by an advisory lock of this process's database
session: it holds across hosts, and goes with the session however that ends. Its own lock for
the run lets any later supervisor see that a run vanished, and close its row as Lost.
"""

import logging
import os
import shlex
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from systemscripts import db_config, directory_management, job_catalog, log_spool, log_utils, settings
from systemscripts.child_process import Outcome, WaitingChild
from systemscripts.errors import EXIT_TEMPORARY, EXIT_WRONG_CALL, JobError, WrongCall
from systemscripts.log_entries import storable

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

log = logging.getLogger(__name__)

LONGEST_REASON = 500
USAGE = "usage: run_python_etl_script.sh [--task ID] [--scheduled-at TIME] <script> [arguments]; without a script it lists the jobs"


class Run(NamedTuple):
    """One row of dba.tjobrun."""

    script: Path
    arguments: list[str]
    schedulerid: int | None
    scheduled_at: datetime | None
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
            "schedulerid": self.schedulerid,
            "scheduled_at": self.scheduled_at.isoformat() if self.scheduled_at else None,
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


def supervise(run: Run) -> int:
    """Run the job, keep its row, and return its exit status."""
    if not settings.etl_home().is_dir():
        raise JobError(f"ETL_HOME is {settings.etl_home()}, and there is no such directory")
    directory_management.ensure_directories()
    environment = settings.child_environment(
        ETL_RUN_UUID=run.run_uuid, ETL_TERMINAL="1" if settings.at_terminal() else "0"
    )
    with WaitingChild(job_catalog.command(run.script, run.arguments), environment) as child:
        return _run(run, child)


def _run(run: Run, child: WaitingChild) -> int:
    """Let the child run if its lock can be had, and keep the run's row."""
    try:
        connection = db_config.connect()
    except JobError as failure:
        log_utils.start_logging(run.script.stem, run.run_uuid, database_away=True)
        log.error("%s", failure, extra={"step": "start"})
        _spool(run, run.ended(Outcome("Failed", failure.exit_status, str(failure))))
        return failure.exit_status
    connection.autocommit = True
    log_utils.start_logging(run.script.stem, run.run_uuid, console=False, connection=connection)
    _close_lost_runs(connection)
    log_spool.load_waiting(connection)
    if not _lock(connection, run.lock_name):
        return _skip(connection, run)
    _lock(connection, _run_lock(run.run_uuid))
    _write_row(connection, run.row(status="Running"))
    log.info("started: %s", shlex.join([run.job, *run.arguments]), extra={"step": "start"})
    log_utils.flush()
    outcome = child.run()
    _close(connection, run, outcome)
    return outcome.exit_code


def _close(connection: "Connection", run: Run, outcome: Outcome) -> None:
    """Write how the run ended, to the spool if the database went away meanwhile."""
    level = logging.INFO if outcome.status == "Succeeded" else logging.ERROR
    detail = f": {outcome.reason}" if outcome.reason else ""
    log.log(level, "%s with exit status %d%s", outcome.status.lower(), outcome.exit_code, detail, extra={"step": "end"})
    row = run.ended(outcome)
    try:
        if connection.closed:
            connection = db_config.connect()
            connection.autocommit = True
        _write_row(connection, row)
        if outcome.status == "Killed":
            print(f"{run.job}: {outcome.reason}", file=sys.stderr)
            log_utils.flush()
            log_spool.recover_killed(connection, run.run_uuid, log_utils.log_file(run.script.stem, ".csv"))
    except Exception as error:  # noqa: BLE001 — the row must not be lost whatever the database says
        log_utils.complain(f"the run's row goes to {log_spool.spool_dir()}: {error}")
        _spool(run, row)


def _spool(run: Run, row: dict[str, Any]) -> None:
    try:
        log_spool.save_run(run.run_uuid, row)
    except OSError as error:
        log_utils.complain(f"the run's row is lost: {error}")


def _write_row(connection: "Connection", row: dict[str, Any]) -> None:
    with connection.cursor() as cursor:
        log_spool.upsert_run(cursor, row)


def _lock(connection: "Connection", name: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (name,))
        (granted,) = cursor.fetchone() or (False,)
    return bool(granted)


def _run_lock(run_uuid: str) -> str:
    return f"etl run {run_uuid}"


def _skip(connection: "Connection", run: Run) -> int:
    """Leave a row that names the run which holds the lock."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT run_uuid, host, pid, started_at FROM dba.tjobrun"
            " WHERE job = %s AND arguments = %s::text[] AND status = 'Running' ORDER BY started_at DESC LIMIT 1",
            (run.job, run.arguments),
        )
        holder = cursor.fetchone()
    who = (
        f"run {holder[0]} (process {holder[2]} on {holder[1]}, since {holder[3]:%Y-%m-%d %H:%M:%S})"
        if holder
        else "another run"
    )
    reason = f"still being done by {who}"
    log.warning("skipped: %s", reason, extra={"step": "start"})
    print(f"{run.job}: skipped: {reason}", file=sys.stderr)
    _write_row(connection, run.ended(Outcome("Skipped", EXIT_TEMPORARY, reason)))
    return EXIT_TEMPORARY


def _close_lost_runs(connection: "Connection") -> None:
    """Close the rows of runs whose supervisor is gone: nobody holds their lock any more."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT run_uuid::text, job, host, pid FROM dba.tjobrun WHERE status = 'Running' AND started_at < now() - interval '2 seconds'"
        )
        for run_uuid, job, host, pid in cursor.fetchall():
            if _still_runs(host, pid) or not _lock(connection, _run_lock(run_uuid)):
                continue
            cursor.execute(
                "UPDATE dba.tjobrun SET status = 'Lost', ended_at = now(), reason = %s WHERE run_uuid = %s AND status = 'Running'",
                ("the process that ran it vanished without a word (killed, or the machine went down)", run_uuid),
            )
            cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (_run_lock(run_uuid),))
            log.warning(
                "closed the row of run %s of %s as Lost: its process vanished", run_uuid, job, extra={"step": "start"}
            )


def _still_runs(host: str, pid: int) -> bool:
    """Tell whether a run whose lock is gone (the database was restarted) has its supervisor on this machine still."""
    if host != settings.host_name():
        return False
    try:
        return b"systemscripts.supervisor" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def parse_call(arguments: list[str]) -> Run:
    """Read the door's own options, which stand before the script; everything after it belongs to the job."""
    task: int | None = None
    scheduled_at: datetime | None = None
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        option, value, rest = rest[0], rest[1] if len(rest) > 1 else "", rest[2:]
        if option == "--task" and value.isascii() and value.isdigit():
            task = int(value)
        elif option == "--scheduled-at":
            scheduled_at = _parse_time(value)
        else:
            raise WrongCall(f"{option} {value}".strip() + f" is not understood; {USAGE}")
    if not rest:
        raise WrongCall(f"no script named; {USAGE}")
    # The kernel's generator, because importing uuid costs more than a small job's work.
    run_uuid = Path("/proc/sys/kernel/random/uuid").read_text().strip()
    script = job_catalog.find_script(rest[0])
    return Run(script, rest[1:], task, scheduled_at, run_uuid, settings.run_uuid() or None, datetime.now(UTC))


def _parse_time(value: str) -> datetime:
    try:
        return datetime.fromisoformat(value).astimezone()
    except ValueError:
        raise WrongCall(f"--scheduled-at is {value!r}; it must be a time such as 2026-03-02T05:00:00+00:00") from None


def main(arguments: list[str]) -> int:
    """List the jobs, show a job's help, or run one; return the exit status."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE + "\n\n" + job_catalog.listing(), end="")
        return 0
    run = parse_call(arguments)
    if {"-h", "--help"} & set(run.arguments):
        return job_catalog.show_help(run.script)
    return supervise(run)


if __name__ == "__main__":
    os.umask(0o007)
    # A reader that went away (`… | head`) must not end the supervisor before the row is closed.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        sys.exit(main(sys.argv[1:]))
    except WrongCall as failure:
        print(f"run_python_etl_script.sh: {failure}", file=sys.stderr)
        sys.exit(EXIT_WRONG_CALL)
    except JobError as failure:
        print(f"run_python_etl_script.sh: {failure}", file=sys.stderr)
        sys.exit(failure.exit_status)
