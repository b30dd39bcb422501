"""Wait until a run may begin, or find the reason why it must not.

A run that must wait gets its row at once, with status Waiting and what it waits for. While a slot
has such a row, no second run begins for it.
"""

import logging
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from systemscripts import job_catalog, patterns, settings
from systemscripts.runs import record
from systemscripts.runs.claim import LOOK_SECONDS, Claim, Turn
from systemscripts.runs.policy import RunPolicy, ask_dependency, of_report, of_task
from systemscripts.runs.run import Call, Run

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

log = logging.getLogger(__name__)

# So long another run may have the lock and no row: it is about to begin, or to find that its slot is taken and it does nothing.
UNDECIDED_SECONDS = 5.0
# A clock that is wrong by less does no harm.
MOST_AHEAD = timedelta(minutes=5)
PAUSED = "its row of the schedule is paused; update_cron_jobs.py takes it out of the cron file"


class NotNow(Exception):
    """The run does not begin; the message says why."""


class NotHere(Exception):
    """The row runs on other machines only."""


def policy_of(connection: "Connection", call: Call) -> RunPolicy:
    if call.task is not None:
        return of_task(connection, call.task)
    return RunPolicy() if call.report is None else of_report(connection, call.report)


def in_its_slot(claim: Claim, run: Run) -> Run:
    """Return the run with the slot of its row; if no slot fits, the run gets the time that it was started for.

    Raises NotHere if the row does not run on this machine, and NotNow if the slot is past or to come: an engine that was down or
    cut off, or a door that slept while it waited for the database, comes when the next slots have done the work.
    """
    call = run.call
    if call.scheduled_at is None:
        return run
    policy = claim.ask(lambda connection: policy_of(connection, call))
    # A further attempt keeps its slot and its machine, even if the row has changed since.
    if call.attempt > 1:
        _require_awake(claim, call, policy)
        return run
    if policy.frequency is None:
        return run
    try:
        if not patterns.runs_on(policy.host_pattern, settings.host_name()):
            raise NotHere
    except patterns.BadPattern as problem:
        raise NotNow(str(problem)) from None
    from systemscripts.cron.slots import slot_of_start

    slot = slot_of_start(policy.frequency, call.scheduled_at)
    due = call.scheduled_at if slot is None else slot.time
    _require_near(claim, call, due)
    return run if slot is None else run._replace(call=call._replace(scheduled_at=slot.time, slot=slot.shown))


def _require_near(claim: Claim, call: Call, due: datetime) -> None:
    """Raise NotNow if a slot is still to come, or is past, by the database's clock.

    A machine whose clock is wrong after its start, by an hour or by years, would take a slot from the others, or do their work
    again for a slot that they had long ago or never.
    """
    from systemscripts.cron.slots import LATEST_START

    here = settings.now()
    now = here if settings.is_clock_set() else claim.ask(record.database_time)
    is_early = due - now > MOST_AHEAD and not settings.is_clock_set()
    age = now - due
    if is_early or (age > LATEST_START and abs(now - here) > MOST_AHEAD):
        raise NotNow(
            f"its slot is {'still to come' if is_early else 'past'}: it is due at {due:%Y-%m-%d %H:%M}, and by the database's clock "
            f"it is {now.astimezone(due.tzinfo):%Y-%m-%d %H:%M}; correct the clock that is wrong: sudo timedatectl set-ntp true"
        )
    if age > LATEST_START:
        raise NotNow(f"its slot is past: {_was_due(call, age)}")


def _require_awake(claim: Claim, call: Call, policy: RunPolicy) -> None:
    """Raise NotNow if the machine slept for hours before a further attempt; by the database's clock, as its own stood still."""
    from systemscripts.cron.slots import LATEST_START

    ended = claim.ask(lambda connection: record.end_of_attempt(connection, call, call.attempt - 1))
    if ended is None:  # it is in the spool of this machine
        return
    age = claim.ask(record.database_time) - ended - timedelta(seconds=policy.retry_delay)
    if age > LATEST_START:
        raise NotNow(f"its attempt {call.attempt} is past: {_was_due(call, age)}")


def _was_due(call: Call, age: timedelta) -> str:
    from systemscripts.cron.slots import LATEST_START

    hour = timedelta(hours=1)
    row = f"report:{call.report}" if call.task is None else str(call.task)
    return (
        f"it was due {age // hour} hours ago, and a run begins at most {LATEST_START // hour} hours late; "
        f"to run it now, type: {job_catalog.typed('jobs.py', 'run', row)}"
    )


def begin(claim: Claim, run: Run) -> tuple[Run, RunPolicy]:
    """Wait until the run may begin, then return it with its policy; raises NotNow if it must not begin."""
    claim.take_run()
    policy = _require_active(claim, run)
    is_due = run.call.scheduled_at is not None and run.call.attempt == 1
    if is_due and policy.jitter:
        delay = policy.delay()
        _wait(claim, run, f"waits for {delay:.0f} of the at most {policy.jitter:.0f} seconds of its jitter")
        claim.wait(delay)
    if is_due and policy.depends_on is not None:
        _wait_for_dependency(claim, run, policy, policy.depends_on)
    _take_turn(claim, run, policy)
    policy = _require_active(claim, run)
    return _write(claim, run, "Running"), policy


def _require_active(claim: Claim, run: Run) -> RunPolicy:
    """Return the present policy; raises NotNow if it pauses a run that a schedule started."""
    policy = claim.ask(lambda connection: policy_of(connection, run.call))
    if run.call.scheduled_at is not None and not policy.is_active:
        raise NotNow(PAUSED)
    return policy


def _wait_for_dependency(claim: Claim, run: Run, policy: RunPolicy, depends_on: int) -> None:
    slot = run.call.scheduled_at
    assert slot is not None, "only a run with a slot can depend on another task"
    give_up = time.monotonic() + policy.longest_wait
    has_said = False
    while True:
        verdict = claim.ask(lambda connection: ask_dependency(connection, depends_on, slot))
        if verdict.may_begin:
            return
        if verdict.reason or time.monotonic() > give_up:
            raise NotNow(verdict.reason or f"task {depends_on}, which it depends on, has not ended in time")
        if not has_said:
            _wait(claim, run, f"waits for task {depends_on}")
            has_said = True
        claim.wait(LOOK_SECONDS)
        _require_active(claim, run)


def _take_turn(claim: Claim, run: Run, policy: RunPolicy) -> None:
    """Return when no other run does the same; wait for the other run if the row says so, or if it may be dead."""
    began = time.monotonic()
    give_up = began + policy.longest_wait
    said = Turn.MINE
    while (turn := claim.take_turn()) is not Turn.MINE:
        holder = claim.ask(lambda connection: record.holder(connection, run))
        if turn is Turn.ANOTHERS and not policy.waits_for_its_turn:
            if holder == record.NOBODY_YET and time.monotonic() < began + UNDECIDED_SECONDS:
                claim.wait(LOOK_SECONDS / 10)
                continue
            raise NotNow(f"still being done by {holder}")
        if time.monotonic() > give_up:
            raise NotNow(f"waited {policy.longest_wait / 60:g} minutes for {holder}")
        if turn is not said:
            _wait(claim, run, f"waits {'for' if turn is Turn.ANOTHERS else 'to see whether there is still'} {holder}")
            said = turn
        claim.wait(LOOK_SECONDS)
        _require_active(claim, run)


def _wait(claim: Claim, run: Run, reason: str) -> None:
    log.info("%s", reason, extra={"step": "start"})
    _write(claim, run, "Waiting", reason)


def _write(claim: Claim, run: Run, status: str, reason: str | None = None) -> Run:
    """Write the run's row, and return the run with its time; raises NotNow if another run has its slot."""
    import psycopg2.errors

    run = run._replace(started_at=datetime.now(UTC))
    row = run.row(status=status, reason=reason)
    try:
        claim.ask(lambda connection: record.write_row(connection, row))
    except psycopg2.errors.UniqueViolation:
        taken = claim.ask(lambda connection: record.holder_of_slot(connection, run))
        raise NotNow(f"its slot is taken by {taken}") from None
    return run
