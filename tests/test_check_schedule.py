"""The watch on the schedule: what it finds over weeks of runs, what it tells, and how often."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from conftest import Installation
from schedule_simulation import FAILED, SKIPPED, Plan, Run, Simulation, simulation, slots_worked_out_once

from systemscripts import schedule_slots

BACKUP = "Daily Database Backup"
CHANGES = "MeetMax event changes"


@pytest.fixture
def new_york(etl: Installation, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulation]:
    with simulation(etl, monkeypatch, "America/New_York") as simulated:
        yield simulated


@pytest.fixture
def berlin(etl: Installation, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulation]:
    with simulation(etl, monkeypatch, "Europe/Berlin") as simulated:
        yield simulated


def minutes(number: float) -> timedelta:
    return timedelta(minutes=number)


def add_tasks(simulated: Simulation) -> None:
    """Add to the rows that come with the system what is due often, at night, and tried again."""
    simulated.add_task("hourly", "0 * * * *")
    simulated.add_task("half-hourly", "*/30 * * * *")
    simulated.add_task("stubborn", "10 4 * * *", retries=2, retry_delay_minutes=5)
    simulated.add_task("limited", "20 6 * * *", timeout_minutes=60)
    simulated.add_task("at night", "30 2 * * *")


def trouble(simulated: Simulation, month: str) -> Plan:
    """Return a month's troubles, the incidents of `TROUBLES`."""
    again = Run(after=minutes(7), status="Timeout", attempt=2)
    often = [Run(), Run(shift=minutes(2)), Run(after=minutes(80), shift=minutes(80))]
    plan: list[tuple[str, str, list[Run]]] = [
        (BACKUP, "05 03:00", []),
        ("hourly", "10 10:00", []),
        ("hourly", "10 11:00", []),
        ("hourly", "10 12:00", []),
        (CHANGES, "11 11:20", [Run(after=minutes(18))]),
        ("stubborn", "12 04:10", [FAILED, again, Run(after=minutes(14), attempt=3)]),
        ("stubborn", "13 04:10", [FAILED, again, Run(after=minutes(14), status="Failed", attempt=3)]),
        (BACKUP, "14 03:00", [FAILED]),
        (BACKUP, "15 03:00", [FAILED]),
        ("hourly", "17 14:00", often),
        ("half-hourly", "18 09:00", [Run(takes=minutes(26 * 60))]),
        ("limited", "20 06:20", [Run(takes=minutes(100))]),
    ]
    stuck = simulated.local(f"{month}-18 09:00")
    skipped: Plan = {("half-hourly", stuck + number * minutes(30)): [SKIPPED] for number in range(1, 52)}
    return skipped | {(name, simulated.local(f"{month}-{time}")): runs for name, time, runs in plan}


TROUBLES = [
    ("missed", BACKUP, 1, "05 03:00", "05 03:00"),
    ("missed", "hourly", 3, "10 10:00", "10 12:00"),
    ("late", CHANGES, 1, "11 11:20", "11 11:20"),
    ("failed", "stubborn", 1, "13 04:10", "13 04:10"),
    ("failed", BACKUP, 2, "14 03:00", "15 03:00"),
    ("too often", "hourly", 2, "17 14:02", "17 15:20"),
    ("stuck", "half-hourly", 1, "18 09:00", "18 09:00"),
    ("stuck", "limited", 1, "20 06:20", "20 06:20"),
]
# What is due in the three days that the machine is down, by row; the 22nd to the 24th are weekdays in October,
# the 24th to the 26th in March.
DOWN = {
    "MeetMax Download and Import": 6, BACKUP: 3, "Schedule Check": 288, "hourly": 72, "half-hourly": 144,
    "stubborn": 3, "limited": 3, "at night": 3, CHANGES: 3, "Imports of the day": 3,
}  # fmt: skip


@pytest.mark.parametrize(
    ("zone", "month", "days", "down"),
    [("America/New_York", "03", 31, "24"), ("Europe/Berlin", "10", 31, "20")],
    ids=["New York in March", "Berlin in October"],
)
def test_a_month_of_trouble_gives_one_mail_for_each_incident_and_one_for_its_end(
    etl: Installation, monkeypatch: pytest.MonkeyPatch, zone: str, month: str, days: int, down: str
) -> None:
    with simulation(etl, monkeypatch, zone) as simulated:
        add_tasks(simulated)
        start, end = simulated.local(f"{month}-01 00:00"), simulated.local(f"{month}-{days} 23:00")
        last, first = (simulated.local(f"{month}-{day} 00:05") for day in (down, f"{int(down) + 3}"))
        around = slots_worked_out_once(start - timedelta(days=2), end + timedelta(days=2))
        monkeypatch.setattr(schedule_slots, "expected_slots", around)
        plan = trouble(simulated, month)
        simulated.let_cron_start(start, last, plan)
        simulated.let_cron_start(first, end)

        simulated.run(start, last)
        before = len(simulated.mails)
        simulated.run(first + minutes(10), end)

    found = [(*row[:3], *(time.removeprefix(f"{month}-") for time in row[3:])) for row in simulated.incidents()]
    assert [row for row in found if row[3] < down] == TROUBLES
    gap = [row for row in found if row[3] >= down]
    assert {row[1]: row[2] for row in gap} == DOWN
    assert {row[0] for row in gap} == {"missed"}
    assert len(gap) == len(DOWN)
    expected = Counter((word, row[1]) for row in found for word in (row[0].upper(), f"over: {row[0]}"))
    assert simulated.told() == expected
    new = [mail.time for mail in simulated.mails if any(word.isupper() for word, _ in mail.headings)]
    assert len(new) == len(TROUBLES) + 1
    assert simulated.mails[before].time == first + minutes(10)
    assert len(simulated.mails[before].headings) == len(DOWN)
