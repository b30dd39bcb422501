"""What counts as missed, late, failed, stuck and too often, slot by slot; and how findings become incidents."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from conftest import PROJECT
from hypothesis import given
from hypothesis import strategies as st

from systemscripts.cron.cron_file import TASK_TABLE, ScheduledJob
from systemscripts.schedule import incidents, verdicts
from systemscripts.schedule.slots import Run, Slots, WatchedJob, Window
from systemscripts.schedule.verdicts import Finding

NOON = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
LONG_AGO = NOON - timedelta(days=100)
JOB = ScheduledJob(TASK_TABLE, 1, "probe", "0 * * * *", "probe.py")
HOURLY = WatchedJob(JOB, LONG_AGO)
STUBBORN = replace(HOURLY, retries=2, retry_delay=timedelta(minutes=30))


def minutes(number: float) -> timedelta:
    return timedelta(minutes=number)


def at(number: float) -> datetime:
    return NOON + minutes(number)


def run(after: float = 0, takes: float | None = 1, *, slot: datetime | None = NOON, **more: object) -> Run:
    began = NOON + minutes(after)
    ended = None if takes is None else began + minutes(takes)
    return Run(f"run {after}", slot, began, ended, **{"status": "Running" if takes is None else "Succeeded", **more})


def slots(runs: list[Run], watched: WatchedJob = HOURLY) -> Slots:
    return Slots(watched, runs, Window(at(-30), at(30)), UTC)


def wrong(findings: list[Finding]) -> list[tuple[datetime, str]]:
    return [(finding.slot, finding.detail) for finding in findings if finding.is_wrong]


@pytest.mark.parametrize(
    ("runs", "is_missed"),
    [
        ([], True),
        ([run()], False),
        ([run(takes=None)], False),
        ([run(takes=None, status="Waiting")], False),
        ([run(status="Failed")], False),
        ([run(status="Skipped", reason="still being done by run 1")], False),
        ([run(slot=at(5))], False),
        ([run(slot=at(6))], True),
        ([run(slot=at(-1))], True),
        ([run(slot=None)], True),
    ],
)
def test_a_slot_is_missed_that_has_no_run(runs: list[Run], is_missed: bool) -> None:
    found = verdicts.missed(slots(runs))

    assert wrong(found) == ([(NOON, "no run was started")] if is_missed else [])
    assert [finding.slot for finding in found] == [NOON]


def test_a_run_belongs_to_the_latest_slot_before_it() -> None:
    often = replace(HOURLY, job=replace(JOB, frequency="*/2 * * * *"))
    found = verdicts.missed(Slots(often, [run(slot=at(3))], Window(at(0), at(4)), UTC))

    assert [(finding.slot, finding.is_wrong) for finding in found] == [(at(2), False), (at(4), True)]


@pytest.mark.parametrize(
    ("runs", "jitter", "detail"),
    [
        ([run(15)], 0, ""),
        ([run(15.1)], 0, "it began 15 min late"),
        ([run(29)], 15, ""),
        ([run(31)], 15, "it began 31 min late"),
        ([run(95)], 0, "it began 1 h 35 min late"),
        ([run(1, status="Failed"), run(40, attempt=2)], 0, ""),
        ([run(takes=None, status="Waiting", reason="waits for task 7")], 0, "it has not begun: it waits for task 7"),
        ([run(status="Skipped", reason="still being done by run 1")], 0, None),
        ([], 0, None),
    ],
)
def test_a_slot_is_late_that_began_after_its_grace(runs: list[Run], jitter: float, detail: str | None) -> None:
    watched = replace(HOURLY, jitter=minutes(jitter))
    found = verdicts.late(watched, slots(runs, watched))

    assert [finding.detail for finding in found] == ([] if detail is None else [detail])


OVERLAP = {"status": "Skipped", "reason": "still being done by run 1"}


@pytest.mark.parametrize(
    ("watched", "runs", "told"),
    [
        (HOURLY, [run()], "right"),
        (HOURLY, [run(takes=None)], None),
        (HOURLY, [run(status="Failed", exit_code=1, reason="No.")], "it ended as Failed: No."),
        (HOURLY, [run(status="Lost")], "it ended as Lost: no reason is known"),
        (HOURLY, [run(**OVERLAP)], None),
        (HOURLY, [run(status="Skipped", reason="its slot is taken by run 1")], None),
        (HOURLY, [run(status="Skipped", reason="task 3 ended as Failed")], "it was skipped: task 3 ended as Failed"),
        (HOURLY, [run(**OVERLAP), run(1)], "right"),
        (HOURLY, [run(slot=None, status="Failed")], None),
        (STUBBORN, [run(status="Failed")], None),
        (STUBBORN, [run(status="Failed"), run(31, attempt=2)], "right"),
        (STUBBORN, [run(31, attempt=2), run(status="Failed")], "right"),
        (STUBBORN, [run(status="Failed"), run(31, None, attempt=2)], None),
        (STUBBORN, [run(status="Timeout"), run(31, status="Failed", attempt=2)], None),
        (STUBBORN, [run(-2, 1, status="Failed"), run(31, attempt=2, **OVERLAP)], None),
        (STUBBORN, [run(62, status="Timeout", attempt=3)], "attempt 3 of 3 ended as Timeout: no reason is known"),
        (STUBBORN, [run(status="Failed", exit_code=64)], "attempt 1 of 3 ended as Failed with exit status 64: no reason is known"),
        (STUBBORN, [run(status="Lost")], "attempt 1 of 3 ended as Lost: no reason is known"),
        (STUBBORN, [run(-50, status="Killed")], "attempt 1 of 3 ended as Killed: no reason is known"),
    ],
)  # fmt: skip
def test_the_last_attempt_decides(watched: WatchedJob, runs: list[Run], told: str | None) -> None:
    found = verdicts.failed(watched, runs, at(40))

    assert [finding.detail or "right" for finding in found] == ([] if told is None else [told])
    assert all(finding.slot == NOON for finding in found)


@pytest.mark.parametrize("phrase", verdicts.HARMLESS_SKIPS)
def test_the_words_by_which_a_harmless_skip_is_known_are_those_of_the_door(phrase: str) -> None:
    assert f'"{phrase}' in (PROJECT / "systemscripts/runs/turn.py").read_text()


@pytest.mark.parametrize(
    ("timeout", "frequency", "age", "is_stuck"),
    [
        (60, "0 * * * *", 74, False),
        (60, "0 * * * *", 76, True),
        (300, "*/5 * * * *", 200, False),
        (None, "0 5 * * *", 23 * 60, False),
        (None, "0 5 * * *", 24 * 60 + 1, True),
        (None, "*/5 * * * *", 59, False),
        (None, "*/5 * * * *", 61, True),
        (None, "0 * * * *", 179, False),
        (None, "0 * * * *", 181, True),
    ],
)
def test_a_run_is_stuck_that_takes_too_long(timeout: float | None, frequency: str, age: float, is_stuck: bool) -> None:
    limit = None if timeout is None else minutes(timeout)
    watched = replace(HOURLY, job=replace(JOB, frequency=frequency), timeout=limit)

    found = verdicts.stuck(watched, [run(0.5, None), run(0.5, None, status="Waiting")], at(age), UTC)

    assert [finding.is_wrong for finding in found] == [is_stuck]


def test_runs_are_too_many_beyond_one_a_slot() -> None:
    retry = run(1, slot=NOON, attempt=2)
    skipped = run(slot=at(1), **OVERLAP)
    extra = [run(slot=at(2)), run(slot=at(20))]
    outside = [run(slot=at(-35)), run(slot=at(31))]

    found = verdicts.too_often(HOURLY, slots([run(), retry, skipped, *extra, *outside]))

    assert [finding.slot for finding in found] == [at(2), at(20)]


@pytest.mark.parametrize("frequency", ["@reboot", "0 0 30 2 *"])
def test_a_row_that_no_clock_starts_has_no_run_too_many(frequency: str) -> None:
    watched = replace(HOURLY, job=replace(JOB, frequency=frequency))

    assert verdicts.too_often(watched, slots([run()], watched)) == []


@pytest.mark.parametrize(("end", "quiet"), [(119, []), (120, [at(120)]), (300, [at(120)])])
def test_it_is_quiet_after_a_whole_interval_between_two_slots(end: float, quiet: list[datetime]) -> None:
    found = verdicts.quiet_since(HOURLY, at(5), at(end), UTC)

    assert [finding.slot for finding in found] == quiet


FINDINGS = st.dictionaries(st.integers(0, 30), st.booleans(), max_size=12).map(
    lambda found: [Finding(at(60 * slot), is_wrong, "detail") for slot, is_wrong in found.items()]
)


@given(FINDINGS)
def test_findings_that_are_known_change_nothing(found: list[Finding]) -> None:
    first = incidents.follow("missed", JOB, None, found)

    assert incidents.follow("missed", JOB, first[-1] if first else None, found) == []


@given(FINDINGS)
def test_every_wrong_slot_is_in_one_incident_and_every_right_one_ends_one(found: list[Finding]) -> None:
    told = incidents.follow("missed", JOB, None, found)

    bad = sorted(finding.slot for finding in found if finding.is_wrong)
    good = [finding.slot for finding in found if not finding.is_wrong]
    assert sum(incident.occurrences for incident in told) == len(bad)
    assert {slot for incident in told for slot in (incident.first_slot, incident.last_slot)} <= set(bad)
    for incident in told:
        assert not any(incident.first_slot < slot < incident.last_slot for slot in good)
        assert incident.is_open is not any(slot > incident.last_slot for slot in good)
