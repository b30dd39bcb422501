"""The slot of a row of the schedule at a moment: the one answer to the question what a run, a delivery or a check is about.

A slot is a time that the row's cron expression names, in the zone of the machine. Who starts the run
may do so late (a loaded machine, one that slept), or by another rule in the nights in which the clock
is changed: the run belongs to the latest slot all the same.
"""

from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from systemscripts.cron.expression import fires
from systemscripts.local_zone import LOCAL_TIME, zone_name

# How late a run may be for its slot: cron makes up for a clock that was put forward by so much (cron(8)).
LATEST_START = timedelta(hours=3)


class Slot(NamedTuple):
    """When it is due: the moment, aware and in the zone of the machine, and what the clock on the wall shows then."""

    time: datetime
    shown: str


def cron_zone(local_time: Path = LOCAL_TIME) -> tzinfo:
    """Return the time zone that cron runs in: the machine's, whatever TZ says in this process."""
    try:
        with local_time.open("rb") as stream:
            return ZoneInfo.from_file(stream, key=zone_name(local_time))
    except FileNotFoundError:
        return UTC


def slot_at(frequency: str, moment: datetime, zone: tzinfo | None = None) -> Slot | None:
    """Return the latest slot at the moment, None if there is none within a year or so before it.

    What is due in the hour that the clock skips is shown as the end of that hour, at which cron runs it.
    In the hour that comes twice a job at a fixed time has one slot; one that follows the clock has
    another one in the second hour, which is marked as such.
    """
    zone = zone or cron_zone()
    until = moment.astimezone(UTC)
    for window in (timedelta(hours=1), timedelta(days=8), timedelta(days=400)):
        last = None
        for time in fires(frequency, until - window, zone):
            if time.astimezone(UTC) > until:
                break
            last = time
        if last is not None:
            return Slot(last, f"{last:%Y-%m-%d %H:%M}{' again' if last.fold else ''}")
    return None


def slot_of_start(frequency: str, moment: datetime) -> Slot | None:
    """Return the slot that a run is about which a schedule has started at the moment, None where it fits none."""
    slot = slot_at(frequency, moment)
    return slot if slot is not None and moment - slot.time.astimezone(UTC) <= LATEST_START else None
