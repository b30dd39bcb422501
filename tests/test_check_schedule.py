"""The watch on the schedule: what it finds over weeks of runs, what it tells, and how often."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import psycopg2.errors
import pytest
from conftest import Installation
from quick_slots import slots_worked_out_once
from schedule_simulation import FAILED, SKIPPED, Plan, Run, Simulation, simulation

from systemscripts.schedule import slots, watch

BACKUP = "Daily Database Backup"
CHANGES = "MeetMax event changes"


@pytest.fixture
def new_york(etl: Installation, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulation]:
    with simulation(etl, monkeypatch, "America/New_York") as simulated:
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
    # What is missed on a Monday is right again only after these days.
    simulated.etl.query("UPDATE dba.tscheduler SET datastatusid = 2 WHERE taskname = 'Weekly Letter'")


def on(first: date, day: int, time: str) -> str:
    """Return a time of a day, of which `first` is day 1, such as `03-24 03:00`."""
    return f"{first + timedelta(days=day - 1):%m-%d} {time}"


def trouble(simulated: Simulation, first: date) -> Plan:
    """Return a week's troubles, the incidents of `TROUBLES`."""
    again = Run(after=minutes(7), status="Timeout", attempt=2)
    often = [Run(), Run(shift=minutes(2)), Run(after=minutes(80), shift=minutes(80))]
    plan: list[tuple[str, int, str, list[Run]]] = [
        (BACKUP, 2, "03:00", []),
        ("stubborn", 2, "04:10", [FAILED, again, Run(after=minutes(14), attempt=3)]),
        ("hourly", 2, "08:00", []),
        ("hourly", 2, "09:00", []),
        ("hourly", 2, "10:00", []),
        (CHANGES, 2, "11:20", [Run(after=minutes(18))]),
        ("stubborn", 3, "04:10", [FAILED, again, Run(after=minutes(14), status="Failed", attempt=3)]),
        ("hourly", 3, "14:00", often),
        (BACKUP, 4, "03:00", [FAILED]),
        ("half-hourly", 4, "09:00", [Run(takes=minutes(26 * 60))]),
        (BACKUP, 5, "03:00", [FAILED]),
        ("limited", 5, "06:20", [Run(takes=minutes(100))]),
    ]
    stuck = simulated.local(on(first, 4, "09:00"))
    skipped: Plan = {("half-hourly", stuck + number * minutes(30)): [SKIPPED] for number in range(1, 52)}
    return skipped | {(name, simulated.local(on(first, day, time))): runs for name, day, time, runs in plan}


TROUBLES = [
    ("missed", BACKUP, 1, (2, "03:00"), (2, "03:00")),
    ("missed", "hourly", 3, (2, "08:00"), (2, "10:00")),
    ("late", CHANGES, 1, (2, "11:20"), (2, "11:20")),
    ("failed", "stubborn", 1, (3, "04:10"), (3, "04:10")),
    ("too often", "hourly", 2, (3, "14:02"), (3, "15:20")),
    ("failed", BACKUP, 2, (4, "03:00"), (5, "03:00")),
    ("stuck", "half-hourly", 1, (4, "09:00"), (4, "09:00")),
    ("stuck", "limited", 1, (5, "06:20"), (5, "06:20")),
]
# What is due in the three days that the machine is down, by row: Monday to Wednesday.
DOWN = {
    "MeetMax Download and Import": 6, BACKUP: 3, "Database Maintenance": 3, "Schedule Check": 288,
    "hourly": 72, "half-hourly": 144, "stubborn": 3, "limited": 3, "at night": 3, CHANGES: 3, "Imports of the day": 3,
}  # fmt: skip


# Both weeks end with the Sunday on which the clock changes.
@pytest.mark.parametrize(
    ("zone", "first"),
    [("Europe/Berlin", date(2026, 3, 23)), ("America/New_York", date(2026, 10, 26))],
    ids=["spring", "autumn"],
)
def test_a_week_of_trouble_gives_one_mail_for_each_incident_and_one_for_its_end(
    etl: Installation, monkeypatch: pytest.MonkeyPatch, zone: str, first: date
) -> None:
    with simulation(etl, monkeypatch, zone) as simulated:
        add_tasks(simulated)
        start, end = simulated.local(on(first, 1, "00:00")), simulated.local(on(first, 11, "12:00"))
        down, up = simulated.local(on(first, 8, "00:05")), simulated.local(on(first, 11, "00:15"))
        around = slots_worked_out_once(start - timedelta(days=2), end + timedelta(days=2))
        monkeypatch.setattr(slots, "expected_slots", around)
        simulated.let_cron_start(start, down, trouble(simulated, first))
        simulated.let_cron_start(up, end)

        simulated.run(start, down)
        after_the_gap = len(simulated.mails)
        simulated.run(up, end)

    found = simulated.incidents()
    gap = [row for row in found if row[3] >= on(first, 8, "")]
    assert [row for row in found if row not in gap] == [
        (*row, on(first, *begun), on(first, *last)) for *row, begun, last in TROUBLES
    ]
    assert {row[0] for row in gap} == {"missed"}
    assert {row[1]: row[2] for row in gap} == DOWN
    assert simulated.told() == Counter(
        (word, name) for kind, name, *_ in found for word in (kind.upper(), f"over: {kind}")
    )
    openings = [mail for mail in simulated.mails if any(word.isupper() for word, _ in mail.headings)]
    assert len(openings) == len(TROUBLES) + 1
    assert openings[-1] == simulated.mails[after_the_gap]
    assert (openings[-1].time, len(openings[-1].headings)) == (up, len(gap))


@pytest.mark.parametrize(
    ("zone", "start"),
    [
        ("America/New_York", "03-07 20:00"),
        ("America/New_York", "10-31 20:00"),
        ("Europe/Berlin", "03-28 20:00"),
        ("Europe/Berlin", "10-24 20:00"),
        ("Australia/Lord_Howe", "04-04 20:00"),  # by half an hour
        ("Australia/Lord_Howe", "10-03 20:00"),
    ],
)
@pytest.mark.parametrize("delay", [0, 2], ids=["in time", "two minutes late"])
def test_a_change_of_the_clock_is_no_trouble(
    etl: Installation, monkeypatch: pytest.MonkeyPatch, zone: str, start: str, delay: int
) -> None:
    with simulation(etl, monkeypatch, zone) as simulated:
        add_tasks(simulated)
        for frequency in ("0 2 * * *", "15 2 * * 0", "45 1 * * *", "*/20 1-3 * * *", "0 1-4 * * *"):
            simulated.add_task(frequency, frequency)
        begin = simulated.local(start)
        end = begin + timedelta(hours=18)
        late = Run(after=minutes(delay), shift=minutes(delay))
        simulated.let_cron_start(begin, end, usually=late)
        simulated.run(begin, end)
        simulated.happen()
        # The same night in one look.
        simulated.etl.query("UPDATE dba.tschedulecheck SET checked_until = %s", begin)
        simulated.check()

    assert simulated.incidents() == []
    assert simulated.mails == []


def test_what_is_due_in_the_hour_that_is_skipped_runs_after_it_and_a_repeated_hour_once(new_york: Simulation) -> None:
    new_york.add_task("at night", "30 2 * * *")
    new_york.add_task("once", "30 1 * * *")
    new_york.only("at night", "once")
    night, once = new_york.job("at night"), new_york.job("once")
    new_york.plan_run(night, datetime(2026, 3, 8, 7, 0, tzinfo=UTC), Run())  # 03:00 summer time
    new_york.plan_run(once, datetime(2026, 3, 8, 6, 30, tzinfo=UTC), Run())
    new_york.run(datetime(2026, 3, 8, 0, 0, tzinfo=UTC), datetime(2026, 3, 8, 12, 0, tzinfo=UTC))
    assert new_york.incidents() == []

    new_york.forget()
    new_york.plan_run(once, datetime(2026, 11, 1, 5, 30, tzinfo=UTC), Run())  # 01:30 summer time
    new_york.plan_run(once, datetime(2026, 11, 1, 6, 30, tzinfo=UTC), Run())  # 01:30 again
    new_york.plan_run(night, datetime(2026, 11, 1, 7, 30, tzinfo=UTC), Run())
    new_york.run(datetime(2026, 11, 1, 0, 0, tzinfo=UTC), datetime(2026, 11, 1, 12, 0, tzinfo=UTC))
    assert new_york.incidents() == [("too often (open)", "once", 1, "11-01 01:30", "11-01 01:30")]


def test_the_same_check_again_changes_nothing(new_york: Simulation) -> None:
    add_tasks(new_york)
    start, end = new_york.local("03-13 03:00"), new_york.local("03-13 07:00")
    new_york.let_cron_start(
        start, end, {key: runs for key, runs in trouble(new_york, date(2026, 3, 11)).items() if start < key[1] < end}
    )

    def again() -> None:
        before, mails = new_york.state(), len(new_york.mails)
        new_york.check()
        assert (new_york.state(), len(new_york.mails)) == (before, mails)

    new_york.run(start, end, look=again)

    assert new_york.incidents() == [("failed (open)", "stubborn", 1, "03-13 04:10", "03-13 04:10")]


def test_the_first_check_begins_the_watch(new_york: Simulation) -> None:
    new_york.run(new_york.local("03-10 12:00"), new_york.local("03-10 12:15"))

    assert (new_york.incidents(), new_york.mails) == ([], [])
    assert new_york.state()[1] == [(True, new_york.local("03-10 12:00"))]


def test_slots_before_a_row_was_active_are_not_missed(new_york: Simulation) -> None:
    new_york.add_task("new", "*/15 * * * *")
    new_york.only("new")
    new_york.run(new_york.local("03-10 11:00"), new_york.local("03-10 11:15"))
    new_york.etl.query(
        "UPDATE dba.tscheduler SET active_since = %s WHERE taskname = 'new'", new_york.local("03-10 11:50")
    )
    new_york.run(new_york.local("03-10 12:30"), new_york.local("03-10 12:31"))

    assert new_york.incidents() == [("missed (open)", "new", 2, "03-10 12:00", "03-10 12:15")]


def test_pausing_a_row_ends_its_incidents_without_a_mail(new_york: Simulation) -> None:
    row = new_york.add_task("new", "*/15 * * * *")
    new_york.only("new")
    new_york.run(new_york.local("03-10 12:00"), new_york.local("03-10 13:00"))
    new_york.etl.query("UPDATE dba.tscheduler SET datastatusid = 2 WHERE schedulerid = %s", row)
    new_york.run(new_york.local("03-10 13:00"), new_york.local("03-10 14:00"))

    assert new_york.incidents() == [("missed", "new", 2, "03-10 12:15", "03-10 12:30")]
    assert new_york.told() == {("MISSED", "new"): 1}


def test_a_missed_run_that_comes_after_all_ends_its_incident(new_york: Simulation) -> None:
    new_york.only(BACKUP)
    start = new_york.local("03-10 03:00")
    new_york.plan_run(new_york.job(BACKUP), start, Run(after=minutes(40)))
    new_york.run(start - minutes(15), start + minutes(120))

    assert [(mail.time - start, mail.headings) for mail in new_york.mails] == [
        (minutes(15), [("MISSED", BACKUP)]),
        (minutes(45), [("over: missed", BACKUP)]),
    ]
    assert "after all, 40 min late" in new_york.mails[1].text


def test_a_run_that_began_and_failed_while_nobody_looked_is_told_once_with_its_end(new_york: Simulation) -> None:
    new_york.add_task("often", "*/5 * * * *")
    new_york.only("often")
    start = new_york.local("03-10 12:00")
    failing = start + minutes(20)
    new_york.let_cron_start(start, start + minutes(240), {("often", failing): [FAILED]})
    new_york.run(start, start + minutes(15))
    new_york.run(start + minutes(60), start + minutes(240))

    (mail,) = new_york.mails
    assert (mail.time, mail.headings) == (start + minutes(60), [("FAILED", "often")])
    assert "It is over" in mail.text
    assert new_york.incidents() == [("failed", "often", 1, "03-10 12:20", "03-10 12:20")]


def test_a_task_that_waits_for_another_is_late_and_one_whose_dependency_failed_has_failed(new_york: Simulation) -> None:
    first = new_york.add_task("first", "0 5 * * *")
    new_york.add_task("second", "30 5 * * *", depends_on=first)
    new_york.only("first", "second")
    start = new_york.local("03-10 00:00")
    reason = f"task {first} 'first', which it depends on, ended as Failed for 2026-03-11 05:00 EDT"
    plan: Plan = {
        ("first", new_york.local("03-10 05:00")): [Run(takes=minutes(90))],
        ("second", new_york.local("03-10 05:30")): [Run(after=minutes(60), waits=f"waits for task {first}")],
        ("first", new_york.local("03-11 05:00")): [FAILED],
        ("second", new_york.local("03-11 05:30")): [Run(status="Skipped", takes=minutes(0), reason=reason)],
    }
    new_york.let_cron_start(start, start + timedelta(days=3), plan)
    new_york.run(start, start + timedelta(days=3))

    assert new_york.incidents() == [
        ("late", "second", 1, "03-10 05:30", "03-10 05:30"),
        ("failed", "first", 1, "03-11 05:00", "03-11 05:00"),
        ("failed", "second", 1, "03-11 05:30", "03-11 05:30"),
    ]
    assert f"waits for task {first}" in new_york.mails[0].text
    assert f"it was skipped: {reason}" in new_york.mails[2].text


def test_a_run_that_a_person_started_and_that_is_in_the_way_is_stuck(new_york: Simulation) -> None:
    new_york.add_task("often", "*/15 * * * *")
    new_york.only("often")
    start = new_york.local("03-10 12:00")
    plan: Plan = {("often", start + number * minutes(15)): [SKIPPED] for number in range(1, 12)}
    new_york.let_cron_start(start, start + minutes(240), plan)
    new_york.etl.query(
        "INSERT INTO dba.tjobrun (run_uuid, job, arguments, started_at) VALUES (gen_random_uuid(), 'show_imports.py', '{often}', %s)",
        start + minutes(3),
    )
    new_york.run(start, start + minutes(165))
    new_york.etl.query(
        "UPDATE dba.tjobrun SET status = 'Succeeded', ended_at = now() WHERE ended_at IS NULL AND schedulerid IS NULL"
    )
    new_york.run(start + minutes(165), start + minutes(240))

    assert new_york.incidents() == [("stuck", "often", 1, "03-10 12:03", "03-10 12:03")]
    assert [mail.time - start for mail in new_york.mails] == [minutes(75), minutes(165)]


def test_the_runs_of_a_report_are_known_by_their_call(new_york: Simulation) -> None:
    new_york.only(CHANGES, "Imports of the day")
    start = new_york.local("03-10 00:00")
    new_york.let_cron_start(start, start + timedelta(days=3), {(CHANGES, new_york.local("03-11 11:20")): [FAILED]})
    new_york.run(start, start + timedelta(days=3))

    assert new_york.incidents() == [("failed", CHANGES, 1, "03-11 11:20", "03-11 11:20")]
    assert "jobscripts/etl run report:1\n" in new_york.mails[0].text


def test_no_second_check_gets_past_one_that_is_not_done(new_york: Simulation) -> None:
    new_york.check()
    with contextlib.closing(new_york.etl.connect("etl_user")) as other, other.cursor() as cursor:
        cursor.execute("SET lock_timeout = '50ms'")
        with new_york.connection.cursor() as first:
            watch.check(first, new_york.now, new_york.zone)
            with pytest.raises(psycopg2.errors.LockNotAvailable):
                watch.check(cursor, new_york.now, new_york.zone)
        new_york.connection.rollback()


def test_a_row_with_jitter_has_that_much_longer(new_york: Simulation) -> None:
    new_york.add_task("spread", "0 * * * *", jitter_seconds=1800)
    new_york.only("spread")
    start = new_york.local("03-10 12:00")
    plan: Plan = {("spread", start + minutes(60 * hour)): [Run(after=minutes(29))] for hour in (1, 2, 4, 5)}
    new_york.let_cron_start(start, start + minutes(360), {**plan, ("spread", start + minutes(180)): []})
    new_york.run(start, start + minutes(360))

    assert new_york.incidents() == [("missed", "spread", 1, "03-10 15:00", "03-10 15:00")]
    assert [mail.time - start for mail in new_york.mails] == [minutes(180 + 45), minutes(240 + 45)]


def test_more_jitter_counts_no_slot_twice(new_york: Simulation) -> None:
    row = new_york.add_task("spread", "*/15 * * * *")
    new_york.only("spread")
    start = new_york.local("03-10 12:00")
    new_york.run(start, start + minutes(61))
    new_york.etl.query("UPDATE dba.tscheduler SET jitter_seconds = 3600 WHERE schedulerid = %s", row)
    new_york.run(start + minutes(75), start + minutes(150))

    assert new_york.incidents() == [("missed (open)", "spread", 4, "03-10 12:15", "03-10 13:00")]
