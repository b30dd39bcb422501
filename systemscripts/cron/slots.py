"""Find the slot of a schedule row at a moment; runs, deliveries and checks all use this function.

A slot is a planned time: one that the row's cron expression names, in the zone of the machine. A run
may start late (a loaded machine, or one that slept), or by another rule in a night when the clock is
changed. It still belongs to the latest slot.
"""

from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from systemscripts.cron.expression import fires
from systemscripts.local_zone import LOCAL_TIME, zone_name

# The longest delay of a run after its slot. Cron catches up if the clock was put forward by up to this time (cron(8)).
LATEST_START = timedelta(hours=3)


class Slot(NamedTuple):
    """A planned time: the moment (aware, in the zone of the machine), and the time that the wall clock then shows."""

    time: datetime
    shown: str


def cron_zone(local_time: Path = LOCAL_TIME) -> tzinfo:
    """Return the time zone of cron: the machine's, even if TZ is different in this process."""
    try:
        with local_time.open("rb") as stream:
            return ZoneInfo.from_file(stream, key=zone_name(local_time))
    except FileNotFoundError:
        return UTC


def slot_at(frequency: str, moment: datetime, zone: tzinfo | None = None) -> Slot | None:
    """Return the latest slot at the moment, None if there is none within about a year before it.

    A slot in the hour that the clock skips is shown as the end of that hour, when cron runs it. In the
    hour that comes twice, a job at a fixed time has one slot. A job that follows the clock has another
    slot in the second hour, which is marked "again".
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
    """Return the slot of a run that a schedule started at the moment, None if no slot fits."""
    slot = slot_at(frequency, moment)
    return slot if slot is not None and moment - slot.time.astimezone(UTC) <= LATEST_START else None
