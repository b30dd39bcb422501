"""Reports that wait for their datasets: until when, what they do then, and what they say about their data."""

import argparse
import importlib.util
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time
from pathlib import Path
from types import ModuleType
from zoneinfo import ZoneInfo

import pytest
from bs4 import BeautifulSoup
from conftest import PROJECT, Installation
from smtp_server import MailServer
from test_import_crashes import dies_at, steps_to_die_at
from test_report_delivery import A, B, add_report, change, mail, reasons, states, to_clients, to_owner

from systemscripts import db_config
from systemscripts.reporting.freshness import (
    DatasetState,
    as_shown,
    in_a_line,
    partial_sentence,
    partial_subject,
    states_of,
)
from systemscripts.reporting.model import Query, Report
from systemscripts.reporting.queries import ReportQueries
from systemscripts.reporting.required_datasets import day_of, waits_until
from systemscripts.reporting.rows import load_report

__all__ = ["mail"]  # a fixture

DAY = "2026-03-02"
BERLIN = ZoneInfo("Europe/Berlin")
SAMPLE = PROJECT / "onboarding/sql/samples/add_waiting_reports.sql"
SKIPPED, PARTIAL, SENT = "skip", "partial", "send"


def waiting_report(etl: Installation, to: str = A, **columns: object) -> int:
    etl.query(SAMPLE.read_text())
    values = {"frequency": "0 8 * * *", "required_datasets": ["MeetMaxEvents:119243"], "wait_until": "09:30", **columns}
    return add_report(etl, to, **values)


def at(etl: Installation, mail: MailServer, clock: str, *words: str) -> "subprocess.CompletedProcess[str]":
    """Start the job at a time of the day of the test, or at a full date and time."""
    moment = clock if "T" in clock else f"{DAY}T{clock}:00"
    return etl.door("send_reports.py", *words, **{"ETL_CLOCK": moment, **mail.variables})


def look_again(etl: Installation, mail: MailServer, clock: str) -> "subprocess.CompletedProcess[str]":
    return at(etl, mail, clock, "--postponed")


def dataset(etl: Installation, status: str = "Active", day: str = DAY, label: str = "119243") -> int:
    call = "SELECT dba.f_dataset_iu(NULL, %s, 'MeetMaxEvents', 'MeetMax', %s, %s, 'me')"
    return int(etl.value(call, day, label, status))


# ---- until when ----------------------------------------------------------------------------


def report_that_waits(until: str | None, when_late: str = SKIPPED) -> Report:
    clock = None if until is None else time.fromisoformat(until)
    return Report(1, "x", True, "", "", "", (), (), wait_until=clock, when_late=when_late)


@pytest.mark.parametrize(
    ("slot", "until", "expected"),
    [
        ("2026-03-02 08:00+01:00", "09:30", "2026-03-02 09:30+01:00"),
        ("2026-03-02 08:00+01:00", "08:00", "2026-03-02 08:00+01:00"),
        ("2026-03-02 23:00+01:00", "01:00", "2026-03-03 01:00+01:00"),
        # The clock is put forward: there is no 02:30, and a time after it is an hour sooner.
        ("2026-03-29 01:00+01:00", "02:30", "2026-03-29 03:30+02:00"),
        ("2026-03-28 23:00+01:00", "03:15", "2026-03-29 03:15+02:00"),
        # The clock is put back: 02:30 comes twice.
        ("2026-10-25 01:00+02:00", "02:30", "2026-10-25 02:30+02:00"),
        ("2026-10-25 02:45+02:00", "02:30", "2026-10-25 02:30+01:00"),
        ("2026-10-25 02:15+01:00", "02:30", "2026-10-25 02:30+01:00"),
        ("2026-10-25 02:45+01:00", "02:30", "2026-10-26 02:30+01:00"),
    ],
)
def test_it_waits_until_the_clock_on_the_wall_shows_the_time(slot: str, until: str, expected: str) -> None:
    found = waits_until(report_that_waits(until), datetime.fromisoformat(slot), BERLIN)
    assert found is not None
    assert found.astimezone(UTC) == datetime.fromisoformat(expected).astimezone(UTC)


def test_a_report_that_waits_past_midnight_needs_the_day_of_its_planned_time() -> None:
    slot, now = datetime(2026, 3, 2, 23, tzinfo=BERLIN), datetime(2026, 3, 3, 0, 30, tzinfo=BERLIN)
    assert day_of(report_that_waits("01:00"), slot, now, BERLIN) == date(2026, 3, 2)
    assert day_of(report_that_waits(None, PARTIAL), slot, now, BERLIN) == date(2026, 3, 2)
    assert day_of(report_that_waits(None), slot, now, BERLIN) == date(2026, 3, 3)


@pytest.mark.parametrize(
    ("column", "value"), [("when_late", "wait"), ("wait_until", "24:00"), ("wait_until", "09:30:30")]
)
def test_the_database_refuses_what_no_report_can_do(etl: Installation, column: str, value: str) -> None:
    with pytest.raises(Exception, match=f"{column} must be .*; here {column} is"):
        add_report(etl, A, **{column: value})


# ---- what it does then ---------------------------------------------------------------------


@pytest.mark.parametrize("when_late", [SKIPPED, PARTIAL, SENT])
def test_a_report_waits_and_then_does_what_its_row_says(etl: Installation, mail: MailServer, when_late: str) -> None:
    dataset(etl, day="2026-02-27")
    report = waiting_report(etl, when_late=when_late)
    first = etl.door(
        "--due", "--report", str(report), "send_reports.py", str(report), ETL_CLOCK=f"{DAY}T08:00:02", **mail.variables
    )
    assert first.returncode == 0, first.stderr
    assert states(etl, report) == {A: "Postponed"}
    assert "it waits until 2026-03-02 09:30" in reasons(etl, report)
    assert "MeetMaxEvents:119243 of 2026-03-02 is missing; the newest is of 2026-02-27" in reasons(etl, report)
    assert look_again(etl, mail, "09:20").returncode == 0
    assert mail.received == []

    late = look_again(etl, mail, "09:30")
    assert look_again(etl, mail, "09:40").returncode == 0
    assert len(mail.received) == 1
    if when_late == SKIPPED:
        assert late.returncode == 75
        assert states(etl, report) == {A: "Skipped"}
        assert f"when it has come, type: etl report {report}" in to_owner(mail)[0]
        dataset(etl)
        assert at(etl, mail, "11:00", str(report)).returncode == 0
        assert to_clients(mail) == [[A]]
        return
    assert late.returncode == 0, late.stderr
    assert to_clients(mail) == [[A]]
    message = mail.received[0].message
    sentence = "MeetMaxEvents:119243 of 2026-03-02 is missing; the newest is of 2026-02-27, loaded "
    texts = [message.get_body((kind,)).get_content() for kind in ("plain", "html")]
    if when_late == SENT:
        assert message["Subject"] == "Prices 2026-03-02 09:30"
        assert not any("partial" in text for text in texts)
    else:
        assert message["Subject"].startswith(f"Partial: Prices 2026-03-02 09:30 ({sentence}")
        words = [" ".join(BeautifulSoup(text, "html.parser").body.get_text(" ").split()) for text in texts[1:]]
        assert all(
            text.startswith(f"This report is partial: {sentence}") for text in [texts[0].replace("\n", " "), *words]
        )


def test_a_held_dataset_is_named_and_its_release_sends_the_report(etl: Installation, mail: MailServer) -> None:
    held = dataset(etl, "Held")
    report = waiting_report(etl, when_late=PARTIAL)
    at(etl, mail, "08:00", str(report))
    assert "of 2026-03-02 is held until somebody has checked it; there is none yet" in reasons(etl, report)
    etl.query("UPDATE dba.tdataset SET datastatusid = 1 WHERE datasetid = %s", held)
    assert look_again(etl, mail, "08:20").returncode == 0
    (received,) = mail.received
    assert (received.recipients, received.message["Subject"]) == ([A], "Prices 2026-03-02 08:20")
    # What is taken back after the report went sends nothing again.
    etl.query("UPDATE dba.tdataset SET datastatusid = 3 WHERE datasetid = %s", held)
    for clock in ("08:30", "09:30"):
        assert look_again(etl, mail, clock).returncode == 0
    assert "nobody is left" in at(etl, mail, "10:00", str(report)).stderr
    assert len(mail.received) == 1


def test_a_held_dataset_that_is_not_decided_is_named_to_the_owner(etl: Installation, mail: MailServer) -> None:
    held = dataset(etl, "Held")
    report = waiting_report(etl)
    assert at(etl, mail, "10:00", str(report)).returncode == 75  # the machine was off until then
    assert f"dataset {held} is held: etl release {held} or etl undo {held}" in to_owner(mail)[0]


def test_the_next_planned_time_ends_the_waiting_and_the_owner_is_told(etl: Installation, mail: MailServer) -> None:
    report = waiting_report(etl, frequency="0 8,10 * * *", wait_until="07:00", when_late=PARTIAL)
    assert at(etl, mail, "08:00", str(report)).returncode == 0
    dataset(etl)
    assert at(etl, mail, "10:00", str(report)).returncode == 1
    assert sorted(etl.query("SELECT status FROM dba.treportdelivery")) == [("Sent",), ("Skipped",)]
    assert to_clients(mail) == [[A]]
    assert f"{A} did not get the one before" in to_owner(mail)[0]


def test_without_a_task_that_looks_again_the_owner_is_told_at_once(
    etl: Installation, mail: MailServer, tmp_path: Path
) -> None:
    report = waiting_report(etl)
    etl.query("UPDATE dba.tscheduler SET datastatusid = 2 WHERE scriptargs = '--postponed'")
    seen = at(etl, mail, "08:00", str(report), "--preview", str(tmp_path / "r.html"))
    assert "add_waiting_reports.sql" in seen.stdout + seen.stderr
    assert at(etl, mail, "08:00", str(report)).returncode == 75
    assert "add_waiting_reports.sql" in to_owner(mail)[0]
    assert states(etl, report) == {A: "Postponed"}


def test_a_report_that_is_sent_again_does_not_wait(etl: Installation, mail: MailServer) -> None:
    came = dataset(etl)
    report = waiting_report(etl, f"{A}, {B}", when_late=PARTIAL)
    assert at(etl, mail, "08:00", str(report)).returncode == 0
    etl.query("UPDATE dba.tdataset SET datastatusid = 3 WHERE datasetid = %s", came)
    assert at(etl, mail, "08:10", str(report), "--again", B).returncode == 75
    assert at(etl, mail, "09:40", str(report), "--again", B).returncode == 0
    assert to_clients(mail) == [[A, B], [B]]
    assert mail.received[-1].message["Subject"].startswith("Partial: ")


def test_what_waits_and_is_sent_by_a_person_waits_no_more(etl: Installation, mail: MailServer) -> None:
    report = waiting_report(etl, f"{A}, {B}")
    for words in ((), ("--again",)):
        assert at(etl, mail, "08:00", str(report), *words).returncode == 0
        assert states(etl, report) == {A: "Postponed", B: "Postponed"}
    dataset(etl)
    assert at(etl, mail, "08:05", str(report), "--again", A).returncode == 0
    assert look_again(etl, mail, "08:10").returncode == 0
    assert to_clients(mail) == [[A], [B]]
    dataset(etl, day="2026-03-03")
    assert at(etl, mail, "2026-03-03T08:00:00", str(report)).returncode == 0
    assert to_owner(mail) == []


def test_the_data_and_what_is_said_of_it_are_of_one_moment(etl: Installation) -> None:
    report = waiting_report(etl)
    with db_config.session() as connection:
        row = load_report(connection, report)
    count = Query("grid1", "SELECT count(*) FROM dba.tdataset WHERE isactive")
    with db_config.session(db_config.REPORT_ROLE) as connection:
        queries = ReportQueries(connection)
        before = [state.state for state in states_of(queries, row, date.fromisoformat(DAY))]
        dataset(etl)
        assert queries.run(count, 1).rows == ((0,),)
        assert before == [state.state for state in states_of(queries, row, date.fromisoformat(DAY))] == ["missing"]
        later = ReportQueries(connection)
        assert [state.state for state in states_of(later, row, date.fromisoformat(DAY))] == ["of the day"]


# ---- killed, and twice at once --------------------------------------------------------------


def the_job() -> ModuleType:
    spec = importlib.util.spec_from_file_location("send_reports", PROJECT / "jobscripts/send_reports.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_report_goes_once_wherever_the_job_is_killed(
    etl: Installation, mail: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = the_job()
    for name, value in mail.variables.items():
        monkeypatch.setenv(name, value)

    def call(report: int | None) -> int:
        call_of = {"preview": None, "to": None, "again": None, "edition": None, "postponed": report is None}
        return int(job.main(argparse.Namespace(report=report and str(report), **call_of)))

    dataset(etl, day="2026-02-27")
    for step in steps_to_die_at():
        etl.query("DELETE FROM dba.treportdelivery")
        etl.query("DELETE FROM dba.treportmanager")
        mail.received.clear()
        report = waiting_report(etl, when_late=PARTIAL)
        monkeypatch.setenv("ETL_CLOCK", f"{DAY}T08:00:00")
        was_killed = dies_at(step, lambda report=report: call(report))
        if not states(etl, report):
            call(report)  # nothing was begun: the watch tells of the lost run, and a person repeats it
        monkeypatch.setenv("ETL_CLOCK", f"{DAY}T09:30:00")
        was_killed = dies_at(step, lambda: call(None)) or was_killed
        call(None)
        call(None)
        ((status,),) = etl.query("SELECT status FROM dba.vreportdelivery")
        assert to_clients(mail) == [[A]] or (status == "Unknown" and to_clients(mail) == []), step
        # What was on its way is unknown, and its owner is told so once; all else is sent.
        assert (status, len(to_owner(mail))) in [("Sent", 0), ("Unknown", 1)], step
        if not was_killed:
            assert status == "Sent"
            break


def test_two_that_look_again_at_once_send_one_mail(etl: Installation, mail: MailServer) -> None:
    report = waiting_report(etl, f"{A}, {B}", when_late=SENT)
    assert at(etl, mail, "08:00", str(report)).returncode == 0
    variables = {"ETL_CLOCK": f"{DAY}T09:30:00", **mail.variables}
    calls = [("--postponed",), (str(report),), ("--postponed",)]
    with ThreadPoolExecutor(len(calls)) as pool:
        ends = list(pool.map(lambda words: etl.door("send_reports.py", *words, **variables).returncode, calls))
    assert to_clients(mail) == [[A, B]]
    assert set(ends) <= {0, 75}  # the same call twice is skipped, and a person is told that another run sends it
    assert states(etl, report) == {A: "Sent", B: "Sent"}


# ---- {{freshness}} -------------------------------------------------------------------------

HOSTILE = "<script>alert(1)</script>\u202e"
LOADED = datetime(2026, 3, 2, 6, 10)
TODAY = date(2026, 3, 2)
STATES = [
    DatasetState("Sales:Bern", TODAY, TODAY, 1, "Bern", LOADED, 1204, None),
    DatasetState("Prices", TODAY, date(2026, 2, 27), 12, "a", LOADED, 99, None),
    DatasetState(f"Rates:{HOSTILE}", TODAY, None, None, None, None, None, None),
    DatasetState("Stock", TODAY, date(2026, 2, 27), 1, HOSTILE, LOADED, None, 7),
]


def test_freshness_says_of_each_dataset_what_it_is() -> None:
    shown = as_shown(STATES)
    rows = [
        [cell.get_text() for cell in row.find_all("td")]
        for row in BeautifulSoup(shown.html, "html.parser").find_all("tr")
    ]
    assert rows[1:3] == [
        ["Sales", "of the day", "2026-03-02", "Bern", "2026-03-02 06:10", "1204"],
        ["Prices", "older", "2026-02-27", "12 labels", "2026-03-02 06:10", "99"],
    ]
    assert [row[1] for row in rows[3:]] == ["missing", "held"]
    assert "<script" not in shown.html + shown.text
    assert in_a_line(STATES) == (
        "Sales:Bern 2026-03-02 of the day, Prices 2026-02-27 older, Rates:<script>alert(1)</script> 2026-03-02 missing, 1 more"
    )
    assert partial_sentence(STATES[:1]) == ""
    assert partial_subject("x", STATES[:2]) == (
        "Partial: x (Prices of 2026-03-02 is missing; the newest is of 2026-02-27, loaded 2026-03-02 06:10)"
    )
    assert "\u202e" not in partial_sentence(STATES)
    assert partial_subject("x", STATES[:3]).endswith("; 1 more is missing)")
    assert partial_subject("x", STATES).endswith("; 2 more are missing)")


def test_a_report_shows_its_freshness_in_subject_and_body(etl: Installation, mail: MailServer) -> None:
    dataset(etl)
    columns = {"subjectheader": "Prices: {{freshness}}", "emailbodytemplate": "<h2>x</h2>{{freshness}}{{grid1}}"}
    report = waiting_report(etl, **columns)
    assert at(etl, mail, "08:00", str(report)).returncode == 0
    message = mail.received[0].message
    assert message["Subject"] == "Prices: MeetMaxEvents:119243 2026-03-02 of the day"
    for kind in ("plain", "html"):
        text = message.get_body((kind,)).get_content()
        assert "of the day" in text
        assert "MeetMaxEvents" in text
    change(etl, report, required_datasets=None)
    assert at(etl, mail, "2026-03-03T08:00:00", str(report)).returncode == 0
    message = mail.received[1].message
    assert message["Subject"] == "Prices: datasets not stated"
    assert "does not say which datasets" in message.get_body(("plain",)).get_content()


def test_a_query_or_a_parameter_called_freshness_comes_first(etl: Installation, mail: MailServer) -> None:
    own = {"emailbodytemplate": "{{freshness}}", "emailbodyqueries": json.dumps({"freshness": "SELECT 4711 AS n"})}
    report = waiting_report(etl, required_datasets=None, **own)
    assert at(etl, mail, "08:00", str(report)).returncode == 0
    assert "4711" in mail.received[0].message.get_body(("plain",)).get_content()


def test_a_preview_says_until_when_it_would_wait(etl: Installation, mail: MailServer, tmp_path: Path) -> None:
    page = "<!DOCTYPE html><html><head><title>x</title></head><body class='a'><p>{{grid1}}</p></body></html>"
    report = waiting_report(etl, when_late=PARTIAL, emailbodytemplate=page)
    target = tmp_path / "r.html"
    seen = at(etl, mail, "08:10", str(report), "--preview", str(target))
    assert seen.returncode == 0, seen.stderr
    said = "it waits until 2026-03-02 09:30 UTC, and then is sent, marked as partial: MeetMaxEvents:119243 of 2026-03-02 is missing"
    assert said in seen.stdout + seen.stderr
    assert (
        BeautifulSoup(target.read_text(), "html.parser").body.get_text().strip().startswith("This report is partial: ")
    )
    seen = at(etl, mail, "09:30", str(report), "--preview", str(target))
    assert "2026-03-02 08:00: it is sent, marked as partial: " in seen.stdout + seen.stderr
    dataset(etl)
    seen = at(etl, mail, "08:20", str(report), "--preview", str(target))
    assert "it is sent: MeetMaxEvents:119243 is there" in seen.stdout + seen.stderr
    assert at(etl, mail, "08:20", str(report), "--postponed").returncode == 64
