"""The slots of one row of the schedule, and the runs that belong to them.

A run belongs to the latest slot, if that is at most five minutes before the time that cron noted for
the run: a loaded machine is late, and a job in the hour that summer time skips runs after that hour.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

from systemscripts.cron.cron_file import ScheduledJob
from systemscripts.schedule.timetable import expected_slots

GRACE = timedelta(minutes=15)
SLOT_TOLERANCE = timedelta(minutes=5)


@dataclass(frozen=True)
class WatchedJob:
    """An active row of the schedule, with the limits of its runs."""

    job: ScheduledJob
    since: datetime
    jitter: timedelta = timedelta()
    timeout: timedelta | None = None
    retries: int = 0
    retry_delay: timedelta = timedelta()

    @property
    def key(self) -> tuple[str, int]:
        return self.job.table, self.job.row_id


@dataclass(frozen=True)
class Run:
    """A row of dba.tjobrun; `scheduled_at` is None if no schedule started it."""

    uuid: str
    scheduled_at: datetime | None
    started_at: datetime
    ended_at: datetime | None = None
    status: str = "Running"
    attempt: int = 1
    exit_code: int | None = None
    reason: str = ""
    process: str = ""

    @property
    def is_skipped(self) -> bool:
        return self.status == "Skipped"

    @property
    def slot(self) -> datetime:
        return self.scheduled_at or self.started_at


class Window(NamedTuple):
    """The times between which slots are compared; both aware."""

    start: datetime
    end: datetime


def window_of(watched: WatchedJob, checked_until: datetime, now: datetime) -> Window:
    """Return the window to compare after a check that reached `checked_until` for a row without jitter."""
    return Window(max(checked_until - watched.jitter, watched.since), now - GRACE - watched.jitter)


def slots_in(watched: WatchedJob, window: Window, zone: tzinfo) -> list[datetime]:
    """Return the slots in UTC, so that they compare as moments; two times of one zone compare by the clock only."""
    if window.end <= window.start:
        return []
    return [slot.time.astimezone(UTC) for slot in expected_slots(watched.job, *window, zone)]


class Slots:
    """The slots around a window, and the run that belongs to each."""

    def __init__(self, watched: WatchedJob, runs: Iterable[Run], window: Window, zone: tzinfo) -> None:
        self._window = window
        around = Window(window.start - SLOT_TOLERANCE, window.end + SLOT_TOLERANCE)
        self._all = slots_in(watched, around, zone)
        self.runs: defaultdict[datetime | None, list[Run]] = defaultdict(list)
        for run in runs:
            if run.scheduled_at is not None and around.start < run.scheduled_at <= around.end:
                self.runs[self._slot_of(run.scheduled_at)].append(run)

    def judged(self) -> list[datetime]:
        return [slot for slot in self._all if self._window.start < slot <= self._window.end]

    def surplus(self) -> list[Run]:
        """Return the runs of the window beyond one per slot, without further attempts and skipped runs."""
        begun = {
            slot: sorted((run for run in runs if run.attempt == 1 and not run.is_skipped), key=lambda run: run.slot)
            for slot, runs in self.runs.items()
        }
        extra = [run for slot, runs in begun.items() for run in (runs if slot is None else runs[1:])]
        return [run for run in extra if self._window.start < run.slot <= self._window.end]

    def _slot_of(self, scheduled_at: datetime) -> datetime | None:
        before = bisect_right(self._all, scheduled_at)
        slot = self._all[before - 1] if before else None
        return slot if slot is not None and scheduled_at - slot <= SLOT_TOLERANCE else None
