"""The supervisor behind the door: it lets one job run as a child process and keeps its row in dba.tjobrun.

Each slot of a schedule (cron/slots.py) runs once, even if several schedulers start it. The row's pauses, dependencies,
jitter and retries then apply (turn).

A job with the same arguments runs only once at a time. This is ensured by an advisory lock of this
process's database session (claim.py); it holds across hosts and ends with the session. A second
lock, for the run itself, lets later supervisors see that a run vanished and close its row as Lost.
"""

import contextlib
import logging
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any, Never

from systemscripts import db_config, directory_management, job_catalog, log_utils
from systemscripts.db_config import NoFreeConnection
from systemscripts.errors import EXIT_FAILED, EXIT_TEMPORARY, EXIT_WRONG_CALL, JobError
from systemscripts.log_sinks import spool
from systemscripts.plain_text import say
from systemscripts.runs import after_failure, lost, record, turn
from systemscripts.runs.child_process import Outcome, WaitingChild
from systemscripts.runs.claim import BeingMoved, Claim
from systemscripts.runs.policy import RunPolicy
from systemscripts.runs.run import Run

log = logging.getLogger(__name__)


def supervise(run: Run, child: WaitingChild) -> int:
    """Let the child run the job, keep the run's row, and return its exit status."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(child)
        _ensure_directories()
        claim = _claim(run, 0.0)
        if isinstance(claim, NoFreeConnection):
            stack.close()  # hundreds of runs may wait, and each would keep a process with all its imports
            say(f"{run.job}: waits for a connection to the database", to=sys.stderr)
            claim = _claim(run, _patience(run))
            child = stack.enter_context(child.again())
        if isinstance(claim, JobError):
            return _without_database(run, child, claim)
        return _run(run, claim, child)


def _ensure_directories() -> None:
    try:
        directory_management.ensure_directories()
    except OSError as error:
        raise JobError(
            f"{error.filename} cannot be made by this user ({error.strerror}); if it lies in a shared folder, mount that; "
            "else type: sudo bash onboarding/sh/configure_etl_user.sh"
        ) from None


def _claim(run: Run, patience: float) -> Claim | JobError:
    try:
        return Claim(run, patience)
    except JobError as failure:
        return failure


def _patience(run: Run) -> float:
    """Return how long the run waits for a connection; a job that reports such trouble waits only a short time."""
    return db_config.START_PATIENCE_S if job_catalog.works_without_database(run.script) else db_config.PATIENCE_S


def _run(run: Run, claim: Claim, child: WaitingChild) -> int:
    """Let the child run if it gets its lock, and keep the run's row."""
    import psycopg2

    log_utils.start_logging(
        run.script.stem, run.run_uuid, console=False, connection=claim.connection, guard=claim.guard
    )
    try:
        with _stoppable():
            # The end of an earlier run may be known only here, in the spool.
            claim.ask(spool.load_waiting)
            claim.ask(lost.close_lost_runs)
            run = turn.in_its_slot(claim, run)
            run, policy = turn.begin(claim, run)
    except turn.NotHere:
        return EXIT_TEMPORARY  # without a word: the machine for it has the same schedule
    except turn.NotNow as reason:
        return _skip(claim, run, str(reason))
    except _Stopped as stop:
        outcome = Outcome("Killed", 128 + stop.number, f"stopped by {signal.Signals(stop.number).name} before it began")
        _close(claim, run, outcome)
        return outcome.exit_code
    except (JobError, psycopg2.OperationalError, psycopg2.InterfaceError) as failure:
        outcome = _not_begun(run, EXIT_TEMPORARY, " ".join(str(failure).split()))
        _close(claim, run, outcome)
        say(f"{run.job}: {outcome.reason}", to=sys.stderr)
        return outcome.exit_code
    except psycopg2.Error as refusal:
        # The run's row cannot be written either, for the same reason.
        told = (
            f"the database does not let this run begin: {' '.join(str(refusal).split())}; "
            "check that PGUSER is not set, and type: bash onboarding/sh/sql_setupscripts.sh"
        )
        log.error("%s", told, extra={"step": "start"})
        say(f"{run.job}: {told}", to=sys.stderr)
        _spool(run, run.ended(Outcome("Failed", EXIT_FAILED, told)))
        return EXIT_FAILED
    log.info("started: %s", shlex.join([run.job, *run.arguments]), extra={"step": "start"})
    log_utils.flush()
    with claim.kept(child.stop):
        outcome = child.run(policy.timeout, _slot(run))
    _close(claim, run, outcome)
    if _is_tried_again(run, policy, outcome):
        _try_again(claim, run, policy)
    if outcome.status != "Succeeded" and run.call.scheduled_at is not None and not outcome.was_stopped:
        _show_on_page(claim, run)
    return outcome.exit_code


def _without_database(run: Run, child: WaitingChild, failure: JobError) -> int:
    """Keep the row in the spool; run only a job that can work without the database."""
    log_utils.start_logging(run.script.stem, run.run_uuid, database_away=True)
    log.error("%s", failure, extra={"step": "start"})
    outcome = _not_begun(run, failure.exit_status, str(failure))
    # What looks at a database that is away would look at one that is there, and wait for its tables.
    if job_catalog.works_without_database(run.script) and not isinstance(failure, BeingMoved):
        outcome = child.run(None, _slot(run))
    _spool(run, run.ended(outcome))
    return outcome.exit_code


def _not_begun(run: Run, exit_code: int, reason: str) -> Outcome:
    """Return how a run ends that had no database to begin with. It leaves its slot to another machine that has one."""
    return Outcome("Failed" if run.call.scheduled_at is None else "Skipped", exit_code, reason)


def _slot(run: Run) -> str:
    return run.call.scheduled_at.isoformat() if run.call.scheduled_at else ""


class _Stopped(BaseException):
    """A signal asked this process to stop before the run had begun."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Raise _Stopped within the block when a signal asks this process to stop."""

    def stop(number: int, _frame: FrameType | None) -> None:
        raise _Stopped(number)

    former = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _is_tried_again(run: Run, policy: RunPolicy, outcome: Outcome) -> bool:
    """Return whether another attempt follows; none follows a wrong call or a stopped run."""
    can_help = outcome.status in ("Failed", "Timeout", "Killed") and outcome.exit_code != EXIT_WRONG_CALL
    by_schedule = run.call.scheduled_at is not None and not outcome.was_stopped
    return can_help and by_schedule and run.call.attempt <= policy.retries


def _try_again(claim: Claim, run: Run, policy: RunPolicy) -> Never:
    """After the delay, replace this process by the next attempt, whose exit status is the door's."""
    attempt = run.call.attempt + 1
    text = "attempt %d of %d begins in %g minutes"
    log.info(text, attempt, policy.retries + 1, policy.retry_delay / 60, extra={"step": "end"})
    log_utils.flush()
    claim.connection.close()  # the delay may be a day, so no lock and no connection is held
    time.sleep(policy.retry_delay)
    assert run.call.scheduled_at is not None
    options = ["--scheduled-at", run.call.scheduled_at.isoformat(), "--attempt", str(attempt)]
    if run.call.slot is not None:
        options += ["--slot", run.call.slot]
    if run.call.task is not None:
        options += ["--task", str(run.call.task)]
    command = [sys.executable, "-P", "-m", "systemscripts.runs.door", *options, run.job, *run.arguments]
    os.execv(sys.executable, command)


def _show_on_page(claim: Claim, run: Run) -> None:
    """Build the status page anew, if the schedule has one, without keeping the run's lock."""
    import psycopg2

    if run.job == after_failure.PAGE_JOB:
        return
    try:
        with claim.guard:
            schedulerid = after_failure.page_of_schedule(claim.connection)
    except psycopg2.Error:
        return  # the page cannot be built without the database either
    if schedulerid is None:
        return
    log_utils.flush()
    claim.connection.close()
    after_failure.build_page(schedulerid, run.run_uuid)


def _close(claim: Claim, run: Run, outcome: Outcome) -> None:
    """Record how the run ended; use the spool if the database went down meanwhile."""
    level = logging.INFO if outcome.status == "Succeeded" else logging.ERROR
    detail = f": {outcome.reason}" if outcome.reason else ""
    log.log(level, "%s with exit status %d%s", outcome.status.lower(), outcome.exit_code, detail, extra={"step": "end"})
    _keep(claim, run, outcome)
    if outcome.status in ("Killed", "Timeout"):
        say(f"{run.job}: {outcome.reason}", to=sys.stderr)


def _keep(claim: Claim, run: Run, outcome: Outcome) -> None:
    """Write the row of a run that is over; use the spool if the database is down."""
    row = run.ended(outcome)
    try:
        claim.renew()
        with claim.guard:
            record.write_row(claim.connection, row)
    except Exception as error:  # noqa: BLE001 — the row must not be lost whatever the database says
        log_utils.complain(f"the run's row goes to {spool.spool_dir()}: {error}")
        _spool(run, row)
        return
    if outcome.status in ("Killed", "Timeout"):
        log_utils.flush()
        with claim.guard:
            lost.recover_records(claim.connection, run.run_uuid, run.script.stem, run.started_at)


def _spool(run: Run, row: dict[str, Any]) -> None:
    try:
        spool.save_run(run.run_uuid, row)
    except OSError as error:
        log_utils.complain(f"the run's row is lost: {error}")


def _skip(claim: Claim, run: Run, reason: str) -> int:
    """Write a row that says why the run did not begin."""
    log.warning("skipped: %s", reason, extra={"step": "start"})
    say(f"{run.job}: skipped: {reason}", to=sys.stderr)
    _keep(claim, run, Outcome("Skipped", EXIT_TEMPORARY, reason))
    return EXIT_TEMPORARY
