"""The rows as JSON for the DAG file of Airflow 3, onboarding/engines/etl_schedule.py, which is copied beside it."""

import json
import re
from dataclasses import replace
from datetime import tzinfo
from functools import partial
from typing import Any

from systemscripts import settings
from systemscripts.cron.cron_file import door
from systemscripts.engines.five_fields import five_fields, in_the_night
from systemscripts.engines.kubernetes import zone_name
from systemscripts.engines.rows import MARK, PlannedJob, Rendered, refusal
from systemscripts.engines.times import ALL_DAYS, ALL_HOURS, ALL_MONTHS, ALL_WEEKDAYS, DayRule, Nights, Times, times_of
from systemscripts.errors import JobError

OURS = re.compile(r"etl_schedule\.(?:json|py)")


def dags(rows: list[PlannedJob], nights: Nights, zone: tzinfo) -> Rendered:
    """Return both files, with all rows that Airflow can have; raises JobError if the zone has no name."""
    zone_of_rows = zone_name(zone)
    made: list[dict[str, Any]] = []
    refused = []
    for row in rows:
        try:
            made += _dags(row, nights, zone_of_rows)
        except JobError as problem:
            refused.append(refusal(row, problem, "Airflow"))
    schedule = {"written": MARK, "door": str(door()), "dags": made}
    program = settings.project_dir() / "onboarding" / "engines" / "etl_schedule.py"
    files = {
        "etl_schedule.json": json.dumps(schedule, indent=2, ensure_ascii=False) + "\n",
        "etl_schedule.py": f"# {MARK}\n{program.read_text(encoding='utf-8')}",
    }
    return Rendered(files, refused)


def _dags(row: PlannedJob, nights: Nights, zone: str) -> list[dict[str, Any]]:
    """Return the DAG of a row, and one in UTC for its slots in the first of two equal hours: Airflow has only the second."""
    times = times_of(row.job.frequency)
    _refuse_hours_of_change(times, nights.hours(times))
    usual = [five_fields(part) for part in _parts(times)] + in_the_night(times, nights.skipped)
    found = [(row.unit, zone, usual)]
    if again := in_the_night(times, partial(nights.repeated, first=True)):
        found.append((f"{row.unit}-clock", "UTC", again))
    depends_on = row.policy.depends_on
    rules = {
        "title": row.title,
        "arguments": row.arguments,
        "depends_on": None if depends_on is None else f"etl-task-{depends_on}",
        "longest_seconds": row.longest_seconds,
    }
    return [{"dag_id": name, "zone": place, "crons": crons, **rules} for name, place, crons in found]


def _refuse_hours_of_change(times: Times, hours: set[int]) -> None:
    """Raise JobError if a start by Airflow in the night of the clock change would have no slot, or another one's."""
    if times.follows_the_clock and not all(_has_slot_before(times, hour) for hour in hours):
        raise JobError(
            "by its * it follows the clock in the hour of the clock change, and does not run in the two hours before on the "
            "same day; Airflow would start it without a slot then"
        )
    if not times.follows_the_clock and hours and len(times.minutes) > 1:
        raise JobError(
            "it has several times in an hour that the clock shows twice, and Airflow has only the second of both hours"
        )


def _has_slot_before(times: Times, hour: int) -> bool:
    """Return whether the row runs in the two hours before that hour, on the same day or on every day."""
    is_daily = times.months == ALL_MONTHS and times.rules == (DayRule(ALL_DAYS, ALL_WEEKDAYS),)
    return (hour >= 2 or is_daily) and bool(times.hours & {(hour - 1) % 24, (hour - 2) % 24})


def _parts(times: Times) -> list[Times]:
    """Return the row in two halves of the day if it runs in every hour.

    For every hour in one expression Airflow reckons with the time that has passed, and after a clock change, when the next
    run is on another day, it is an hour wrong (airflow/timetables/_cron.py).
    """
    if times.hours != ALL_HOURS:
        return [times]
    return [replace(times, hours=frozenset(half)) for half in (range(12), range(12, 24))]
