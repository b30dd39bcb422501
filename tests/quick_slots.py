"""The slots of a schedule, worked out once for a time that is gone through in small steps."""

from bisect import bisect_right
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo

from systemscripts.cron.cron_file import ScheduledJob
from systemscripts.schedule.timetable import Slot, expected_slots


def slots_worked_out_once(start: datetime, end: datetime) -> Callable[..., list[Slot]]:
    """Return a faster `expected_slots` for a time that is gone through in small steps."""
    known: dict[ScheduledJob, tuple[list[datetime], list[Slot]]] = {}

    def slots(job: ScheduledJob, after: datetime, until: datetime, zone: tzinfo) -> list[Slot]:
        if job not in known:
            found = expected_slots(job, start, end, zone)
            known[job] = [slot.time.astimezone(UTC) for slot in found], found
        times, found = known[job]
        assert start <= after
        assert until <= end
        return found[bisect_right(times, after) : bisect_right(times, until)]

    return slots
