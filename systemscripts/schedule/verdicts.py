"""Judge the slots of one row of the schedule: it takes slots and runs, and returns findings.

missed     no run
late       it began more than 15 minutes (plus the row's jitter) after its slot, or still waits
failed     its last attempt did not succeed and no other follows; or it was skipped because of a
           task that it depends on, or because it waited too long for its turn
stuck      a run continues for 15 minutes more than its time limit; without a limit: for more than
           24 hours, or for more than one hour and three slots
too often  a run without a slot, or a second run of a slot that is not a further attempt

A run that was skipped because the run before it still ran is neither missed nor late nor failed: the
earlier run does the work of both, and if it never ends, it is stuck. A run that was skipped because
its row was paused, or because another run had its slot, is ignored.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta, tzinfo
from typing import NamedTuple

from systemscripts.cron.expression import parse
from systemscripts.errors import EXIT_WRONG_CALL
from systemscripts.schedule.slots import GRACE, SLOT_TOLERANCE, Run, Slots, WatchedJob, Window, slots_in

LONGEST_RUN = timedelta(hours=24)
LEAST_STUCK = timedelta(hours=1)
SLOTS_OF_A_STUCK_RUN = 3

# A skipped run whose reason begins like this says nothing about its slot.
HARMLESS_SKIPS = ("still being done by ", "its slot is taken by ", "its row of the schedule is paused")


class Finding(NamedTuple):
    """A slot that was wrong or right, with a sentence about it."""

    slot: datetime
    is_wrong: bool = False
    detail: str = ""
    run_uuid: str | None = None


def wrong(slot: datetime, detail: str, run: Run | None = None) -> Finding:
    return Finding(slot, True, detail, run.uuid if run else None)


def missed(slots: Slots, why: str = "") -> list[Finding]:
    """Judge which slots have a run; a waiting run counts. `why` is a known reason for there being none."""
    told = f"no run was started: {why}" if why else "no run was started"
    return [Finding(slot) if slots.runs[slot] else wrong(slot, told) for slot in slots.judged()]


def came_after_all(runs: Iterable[Run], slot: datetime) -> list[Finding]:
    """Return the missed slot as right if it has a run by now."""
    mine = [run for run in runs if run.scheduled_at and slot <= run.scheduled_at <= slot + SLOT_TOLERANCE]
    first = min(mine, key=lambda run: run.started_at, default=None)
    return [Finding(slot, detail=f"its run came after all, {_minutes(first.started_at - slot)} late")] if first else []


def late(watched: WatchedJob, slots: Slots) -> list[Finding]:
    """Judge which slots began in time; a missed slot, or one whose run was skipped, is not judged."""
    findings = []
    for slot in slots.judged():
        runs = [run for run in slots.runs[slot] if not run.is_skipped]
        begun = min((run for run in runs if run.status != "Waiting"), key=lambda run: run.started_at, default=None)
        if begun is not None:
            delay = begun.started_at - slot
            is_late = delay > GRACE + watched.jitter
            findings.append(wrong(slot, f"it began {_minutes(delay)} late", begun) if is_late else Finding(slot))
        elif runs:
            findings.append(wrong(slot, f"it has not begun: it {runs[0].reason or 'waits'}", runs[0]))
    return findings


def failed(watched: WatchedJob, runs: Iterable[Run], now: datetime) -> list[Finding]:
    """Judge the results of the slots whose runs have ended."""
    by_slot: defaultdict[datetime, list[Run]] = defaultdict(list)
    for run in runs:
        if run.scheduled_at is not None:
            by_slot[run.scheduled_at].append(run)
    findings = (_outcome(watched, slot, attempts, now) for slot, attempts in by_slot.items())
    return [finding for finding in findings if finding is not None]


def _outcome(watched: WatchedJob, slot: datetime, attempts: list[Run], now: datetime) -> Finding | None:
    begun = [run for run in attempts if not run.is_skipped]
    if not begun:
        said = [run for run in attempts if not run.reason.startswith(HARMLESS_SKIPS)]
        return wrong(slot, f"it was skipped: {said[0].reason}", said[0]) if said else None
    last = max(begun, key=lambda run: run.attempt)
    if last.ended_at is None or not _is_final(watched, last, now):
        return None
    if last.status == "Succeeded":
        return Finding(slot)
    attempt = f"attempt {last.attempt} of {watched.retries + 1}" if watched.retries else "it"
    code = "" if last.exit_code is None else f" with exit status {last.exit_code}"
    why = f": {last.reason}" if last.reason else f"{code}: no reason is known"
    return wrong(slot, f"{attempt} ended as {last.status}{why}", last)


def _is_final(watched: WatchedJob, run: Run, now: datetime) -> bool:
    """Return whether no attempt follows an ended run: none is left, or the next one should have begun long ago."""
    if run.status in ("Succeeded", "Lost") or run.exit_code == EXIT_WRONG_CALL or run.attempt > watched.retries:
        return True
    return run.ended_at is not None and run.ended_at + watched.retry_delay + GRACE < now


def stuck(watched: WatchedJob, runs: Iterable[Run], now: datetime, zone: tzinfo) -> list[Finding]:
    """Return the open runs that should have ended; if there are none, return this moment as right."""
    findings = [
        wrong(run.slot, f"it has been running for {_minutes(now - run.started_at)}: {run.process}", run)
        for run in runs
        if run.status == "Running" and _is_stuck(watched, run, now, zone)
    ]
    return findings or [Finding(now)]


def _is_stuck(watched: WatchedJob, run: Run, now: datetime, zone: tzinfo) -> bool:
    if watched.timeout is not None:
        return now - run.started_at > watched.timeout + GRACE
    if now - run.started_at <= LEAST_STUCK:
        return False
    passed = slots_in(watched, Window(run.started_at, now), zone)
    return now - run.started_at > LONGEST_RUN or len(passed) >= SLOTS_OF_A_STUCK_RUN


def _minutes(time: timedelta) -> str:
    hours, minutes = divmod(time // timedelta(minutes=1), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


def too_often(watched: WatchedJob, slots: Slots) -> list[Finding]:
    """Return the runs beyond one per slot. A row that cron never starts by the clock is not judged."""
    if not parse(watched.job.frequency).has_times():
        return []
    return [wrong(run.slot, "more than one run was started for its slot", run) for run in slots.surplus()]


def quiet_since(watched: WatchedJob, last_extra: datetime, end: datetime, zone: tzinfo) -> list[Finding]:
    """Return the end of the first whole interval between two slots after the last run too many, if it is over."""
    slots = slots_in(watched, Window(last_extra, end), zone)
    return [Finding(slots[1])] if len(slots) > 1 else []
