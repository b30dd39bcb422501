"""Reports on their way: to real mail servers, once to each, with a row of dba.treportdelivery that says what came of it."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PROJECT, Installation, give_way
from smtp_server import HANG_UP, OWNER, SILENCE, MailServer, mail_server, odd_server

from systemscripts import db_config
from systemscripts.reporting.deliveries import Deliveries
from systemscripts.reporting.model import Edition
from systemscripts.reporting.rows import load_report

A, B, C = "a@example.com", "b@example.com", "c@example.com"
NOON = "2026-03-02T12:00:00"


def add_report(etl: Installation, to: str | None = f"{A}, {B}, {C}", **columns: object) -> int:
    values = {
        "reportname": "Prices",
        "frequency": "0 11 * * *",
        "subjectheader": "Prices {timestamp}",
        "toheader": to,
        "emailbodytemplate": "<p>{timestamp}</p>{{grid1}}",
        "emailbodyqueries": json.dumps({"grid1": "SELECT 12345 AS n"}),
        **columns,
    }
    names, marks = ", ".join(values), ", ".join(["%s"] * len(values))
    statement = f"INSERT INTO dba.treportmanager ({names}) VALUES ({marks}) RETURNING reportid"
    return int(etl.value(statement, *values.values()))


@pytest.fixture
def mail(tmp_path: Path) -> Iterator[MailServer]:
    with mail_server(tmp_path, "starttls") as found:
        yield found


def send(etl: Installation, mail: MailServer, report: int | None, *more: str, **variables: str):
    words = [] if report is None else [str(report)]
    return etl.door("send_reports.py", *words, *more, **{"ETL_CLOCK": NOON, **mail.variables, **variables})


def states(etl: Installation, report: int) -> dict[str, str]:
    return dict(etl.query("SELECT recipient, status FROM dba.vreportdelivery WHERE reportid = %s", report))


def history(etl: Installation, report: int) -> list[tuple[str, int, str, int]]:
    rows = "SELECT recipient, again, status, attempts FROM dba.treportdelivery WHERE reportid = %s ORDER BY 1, 2"
    return etl.query(rows, report)


def reasons(etl: Installation, report: int) -> str:
    return " / ".join(
        str(reason) for (reason,) in etl.query("SELECT reason FROM dba.treportdelivery WHERE reportid = %s", report)
    )


def to_clients(mail: MailServer) -> list[list[str]]:
    return [taken.recipients for taken in mail.received if taken.recipients != [OWNER]]


def to_owner(mail: MailServer) -> list[str]:
    return [taken.message.get_content() for taken in mail.received if taken.recipients == [OWNER]]


# ---- once ----------------------------------------------------------------------------------


@pytest.mark.parametrize("security", ["ssl", "starttls"])
def test_a_report_arrives_once_at_each(etl: Installation, tmp_path: Path, security: str) -> None:
    files = json.dumps([{"name": "x_{timestamp}.xlsx", "query": "SELECT 1 AS a"}])
    report = add_report(etl, hasattachment=True, attachmentqueries=files)
    with mail_server(tmp_path, security) as mail:
        first = send(etl, mail, report)
        again = send(etl, mail, report)
    assert (first.returncode, again.returncode) == (0, 0), first.stderr
    (received,) = mail.received
    assert (received.recipients, received.secured) == ([A, B, C], True)
    message = received.message
    assert (message["Subject"], message["To"]) == ("Prices 2026-03-02 12:00", f"{A}, {B}, {C}")
    assert "12,345" in message.get_body(("plain",)).get_content()
    assert [part.get_filename() for part in message.iter_attachments()] == ["x_20260302T120000.xlsx"]
    assert states(etl, report) == dict.fromkeys((A, B, C), "Sent")
    assert "nobody is left" in again.stderr
    assert ": 3 Sent" in again.stderr
    slots = etl.query("SELECT DISTINCT slot AT TIME ZONE current_setting('TimeZone') FROM dba.treportdelivery")
    assert [str(slot) for (slot,) in slots] == ["2026-03-02 11:00:00"]


def test_the_next_slot_is_another_report(etl: Installation, mail: MailServer) -> None:
    report = add_report(etl, A)
    for time in ("2026-03-02T11:00:00", "2026-03-02T15:00:00", "2026-03-03T11:00:00"):
        assert send(etl, mail, report, ETL_CLOCK=time).returncode == 0
    assert to_clients(mail) == [[A], [A]]
    assert send(etl, mail, report, "--again").returncode == 0
    assert len(mail.received) == 3


def test_what_cron_starts_late_and_a_person_then_repeats_goes_out_once(etl: Installation, mail: MailServer) -> None:
    report = add_report(etl, A)
    late = {"ETL_CLOCK": "2026-03-02T11:07:21", **mail.variables}
    assert etl.door("--due", "--report", str(report), "send_reports.py", str(report), **late).returncode == 0
    again = send(etl, mail, report, ETL_CLOCK="2026-03-02T11:09:00")
    assert "nobody is left" in again.stderr
    assert ": 1 Sent" in again.stderr
    assert to_clients(mail) == [[A]]
    assert etl.query("SELECT slot::text FROM dba.treportdelivery") == etl.query(
        "SELECT scheduled_at::text FROM dba.tjobrun WHERE scheduled_at IS NOT NULL"
    )


def test_a_task_that_sends_a_report_as_well_does_not_send_its_slot_twice(etl: Installation, mail: MailServer) -> None:
    report = add_report(etl, A)
    later = {"ETL_CLOCK": "2026-03-02T12:30:00", **mail.variables}
    assert send(etl, mail, report).returncode == 0
    sent = etl.door("--scheduled-at", "2026-03-02T12:30:00", "send_reports.py", str(report), **later)
    assert "nobody is left" in sent.stderr
    assert ": 1 Sent" in sent.stderr


def test_all_active_reports_go_over_one_connection(etl: Installation, tmp_path: Path) -> None:
    etl.query("UPDATE dba.treportmanager SET datastatusid = 2")
    for number in range(3):
        add_report(etl, A, reportname=f"Report {number}")
    add_report(etl, A, datastatusid=2)
    with mail_server(tmp_path, "ssl") as mail:
        assert send(etl, mail, None).returncode == 0
    assert len(mail.received) == 3
    assert mail.connections == 1


# ---- what a server can say -----------------------------------------------------------------


def test_one_that_is_refused_does_not_keep_it_from_the_others(etl: Installation, mail: MailServer) -> None:
    report = add_report(etl)
    mail.answers[f"RCPT {B}"] = ["550 no such user"]
    done = send(etl, mail, report)
    assert done.returncode == 1
    assert to_clients(mail) == [[A, C]]
    assert states(etl, report) == {A: "Sent", B: "Refused", C: "Sent"}
    assert "550 no such user" in reasons(etl, report)
    assert any(B in text and "550 no such user" in text for text in to_owner(mail))
    # Started again it goes to nobody: two have it, and the third will never take it.
    assert send(etl, mail, report).returncode == 0
    assert to_clients(mail) == [[A, C]]


def test_what_is_put_off_is_tried_again_and_then_left_for_the_next_run(
    etl: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from systemscripts.mail import smtp

    monkeypatch.setattr(smtp, "wait", lambda _seconds: None)
    report = add_report(etl)
    with mail_server(tmp_path) as mail:
        mail.answers[f"RCPT {B}"] = ["451 later", "451 later"]
        mail.answers[f"RCPT {C}"] = ["451 later"] * 3
        assert in_this_process(etl, mail, report, monkeypatch) == 75
        assert states(etl, report) == {A: "Sent", B: "Sent", C: "Waiting"}
        assert in_this_process(etl, mail, report, monkeypatch) == 0
    assert states(etl, report) == dict.fromkeys((A, B, C), "Sent")
    assert sorted(who for recipients in to_clients(mail) for who in recipients) == [A, B, C]


def in_this_process(etl: Installation, mail: MailServer, report: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the job without its frame, where the test can take the pauses away."""
    from test_meetmax import load_job

    from systemscripts.errors import TemporaryFailure

    job = load_job("send_reports")
    for name, value in {"ETL_CLOCK": NOON, **mail.variables}.items():
        monkeypatch.setenv(name, value)
    parser = job.argparse.ArgumentParser()
    job.add_arguments(parser)
    try:
        return int(job.main(parser.parse_args([str(report)])))
    except TemporaryFailure as failure:
        return failure.exit_status


def test_a_server_that_is_not_there_leaves_it_for_later(etl: Installation, mail: MailServer) -> None:
    report = add_report(etl)
    away = send(etl, mail, report, SMTP_PORT="9", SMTP_HOST="127.0.0.1")
    assert away.returncode == 75
    assert "cannot be reached" in away.stderr
    assert states(etl, report) == dict.fromkeys((A, B, C), "Waiting")
    assert send(etl, mail, report).returncode == 0
    assert to_clients(mail) == [[A, B, C]]


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"ETL_EMAIL_PASSWORD": "wrong"}, "refuses the login"),
        ({"SSL_CERT_FILE": ""}, "does not verify"),
    ],
)
def test_a_wrong_password_or_certificate_sends_nothing(
    etl: Installation, mail: MailServer, variables: dict[str, str], words: str
) -> None:
    report = add_report(etl)
    done = send(etl, mail, report, **variables)
    assert done.returncode != 0
    assert words in done.stderr
    assert mail.received == []
    assert states(etl, report) == dict.fromkeys((A, B, C), "Waiting")
    assert send(etl, mail, report).returncode == 0
    assert to_clients(mail) == [[A, B, C]]


def test_a_connection_cut_before_the_text_is_tried_again_by_the_next_run(etl: Installation, mail: MailServer) -> None:
    report = add_report(etl)
    with odd_server(data=HANG_UP) as odd:
        done = send(etl, mail, report, **odd.variables, ETL_EMAIL_PASSWORD="")
    assert done.returncode == 75
    assert states(etl, report) == dict.fromkeys((A, B, C), "Waiting")
    assert send(etl, mail, report).returncode == 0


def test_a_connection_cut_after_the_text_is_unknown_and_not_sent_again(etl: Installation, mail: MailServer) -> None:
    report = add_report(etl)
    with odd_server(end=HANG_UP) as odd:
        done = send(etl, mail, report, **odd.variables, ETL_EMAIL_PASSWORD="")
    assert done.returncode == 1
    assert states(etl, report) == dict.fromkeys((A, B, C), "Unknown")
    again = send(etl, mail, report)
    assert to_clients(mail) == []
    assert "it is unknown whether " in again.stderr
    assert send(etl, mail, report, "--again").returncode == 0
    assert to_clients(mail) == [[A, B, C]]


def test_a_job_killed_while_the_text_is_on_its_way_leaves_unknown(etl: Installation, mail: MailServer) -> None:
    report = add_report(etl)
    with odd_server(end=SILENCE) as odd:
        process = subprocess.Popen(
            ["/bin/bash", str(PROJECT / "jobscripts/run_python_etl_script.sh"), "send_reports.py", str(report)],
            env=etl.environment(**{"ETL_CLOCK": NOON, **odd.variables}),
            stderr=subprocess.DEVNULL,
        )
        while "Sending" not in states(etl, report).values() or "data" not in odd.commands:
            give_way()
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
    while send(etl, mail, report).returncode == 75:  # the killed one's session is still being ended
        give_way()
    assert states(etl, report) == dict.fromkeys((A, B, C), "Unknown")
    assert "the job died" in reasons(etl, report)
    assert to_clients(mail) == []


def test_who_died_on_the_way_is_told_to_the_owner_whatever_the_slot(etl: Installation, mail: MailServer) -> None:
    report = add_report(etl, A)
    etl.query(
        "INSERT INTO dba.treportdelivery (reportid, slot, recipient, status) VALUES (%s, '2026-03-01', %s, 'Sending')",
        report, B,
    )  # fmt: skip
    done = send(etl, mail, report)
    assert done.returncode == 1
    assert states(etl, report) == {A: "Sent", B: "Unknown"}
    assert f"died while {B} got" in to_owner(mail)[0]
    assert f"send_reports.py {report} --again ADDRESS" in to_owner(mail)[0]


def test_one_reader_can_get_it_again(etl: Installation, mail: MailServer) -> None:
    report = add_report(etl)
    mail.answers[f"RCPT {B}"] = ["550 no such user"]
    assert send(etl, mail, report).returncode == 1
    assert send(etl, mail, report, "--again", B.upper()).returncode == 0
    assert to_clients(mail) == [[A, C], [B]]
    slip = send(etl, mail, report, "--again", "nobody@example.com")
    assert slip.returncode == 64
    assert "no reader of report" in slip.stderr
    assert states(etl, report) == dict.fromkeys((A, B, C), "Sent")


def change(etl: Installation, report: int, **columns: object) -> None:
    for name, value in columns.items():
        etl.query(f"UPDATE dba.treportmanager SET {name} = %s WHERE reportid = %s", value, report)


def test_what_was_sent_or_refused_stays_whatever_comes_of_sending_it_again(etl: Installation, mail: MailServer) -> None:
    report = add_report(etl, f"{A}, {B}")
    mail.answers[f"RCPT {B}"] = ["550 no such user"]
    assert send(etl, mail, report).returncode == 1
    before = [(A, 0, "Sent", 1), (B, 0, "Refused", 1)]
    assert history(etl, report) == before

    change(etl, report, emailbodyqueries='{"grid1": "SELECT * FROM nowhere"}')
    assert send(etl, mail, report, "--again", B).returncode == 1
    change(etl, report, emailbodyqueries='{"grid1": "SELECT 1 AS n"}', required_datasets=["MeetMaxEvents"])
    put_off = send(etl, mail, report, "--again")
    assert put_off.returncode == 75
    assert "later, with --again" in put_off.stderr
    failed, skipped = (B, 1, "Failed", 0), [(A, 1, "Skipped", 0), (B, 2, "Skipped", 0)]
    assert history(etl, report) == sorted([*before, failed, *skipped])
    assert states(etl, report) == {A: "Sent", B: "Refused"}

    # Nothing stands in its way any more, but it went to one, and the other will never take it.
    change(etl, report, required_datasets=[])
    assert send(etl, mail, report).returncode == 0
    assert to_clients(mail) == [[A]]
    assert send(etl, mail, report, "--again").returncode == 0
    assert to_clients(mail) == [[A], [A, B]]
    assert states(etl, report) == {A: "Sent", B: "Sent"}
    assert history(etl, report)[-1] == (B, 3, "Sent", 1)


def test_a_job_that_dies_while_it_sends_again_leaves_what_was_sent(etl: Installation, mail: MailServer) -> None:
    report = add_report(etl, A)
    assert send(etl, mail, report).returncode == 0
    with db_config.session() as connection:
        row = load_report(connection, report)
        slot = etl.value("SELECT slot FROM dba.treportdelivery")
        deliveries = Deliveries(connection, row, slot)
        deliveries.open_again(Edition(0, A), [A])
        deliveries.count(Edition(0, A), [A])
        deliveries.note(Edition(0, A), [A], "Sending")
        busy = send(etl, mail, report, "--again")
        assert busy.returncode == 75
        assert "sent by another run" in busy.stderr
    while (next_one := send(etl, mail, report)).returncode == 75:  # the dead one's session is still being ended
        give_way()
    assert next_one.returncode == 1
    assert history(etl, report) == [(A, 0, "Sent", 1), (A, 1, "Unknown", 1)]
    assert states(etl, report) == {A: "Sent"}
    assert to_clients(mail) == [[A]]
    assert send(etl, mail, report).returncode == 0
    assert to_clients(mail) == [[A]]


def test_a_ledger_of_before_becomes_a_history(etl: Installation, mail: MailServer) -> None:
    report = add_report(etl, A)
    assert send(etl, mail, report).returncode == 0
    etl.query("DROP VIEW dba.vreportdelivery")
    etl.query("ALTER TABLE dba.treportdelivery DROP COLUMN again")
    once = "ON dba.treportdelivery (reportid, slot, reportrecipientid, lower(recipient))"
    etl.query(f"CREATE UNIQUE INDEX treportdelivery_once {once}")
    for _ in range(2):
        etl.query((PROJECT / "onboarding/sql/create_treportdelivery.sql").read_text())
    etl.query("GRANT SELECT ON dba.vreportdelivery TO etl_user")
    assert send(etl, mail, report).returncode == 0
    assert send(etl, mail, report, "--again").returncode == 0
    assert history(etl, report) == [(A, 0, "Sent", 1), (A, 1, "Sent", 1)]


# ---- what may not go out -------------------------------------------------------------------


def test_a_broken_report_reaches_the_owner_and_the_others_go(etl: Installation, mail: MailServer) -> None:
    etl.query("UPDATE dba.treportmanager SET datastatusid = 2")
    broken = add_report(etl, reportname="Broken", emailbodyqueries=json.dumps({"grid1": "SELECT * FROM nowhere"}))
    left_over = add_report(etl, reportname="Left over", emailbodytemplate="{{grid2}}")
    good = add_report(etl, A, reportname="Good")
    done = send(etl, mail, None)
    assert done.returncode == 1
    assert to_clients(mail) == [[A]]
    assert states(etl, good) == {A: "Sent"}
    for report in (broken, left_over):
        assert states(etl, report) == dict.fromkeys((A, B, C), "Failed")
    (text,) = to_owner(mail)
    assert 'relation "nowhere" does not exist' in text
    assert "{{grid2}}" in text


def test_the_owner_is_told_of_rows_that_make_no_sense(etl: Installation, mail: MailServer) -> None:
    etl.query("UPDATE dba.treportmanager SET datastatusid = 2")
    wrong: list[tuple[dict[str, object], str]] = [
        ({"emailbodyoptions": '{"grid1": {"format": {}}}'}, "emailbodyoptions"),
        ({"emailbodycharts": '{"c": {"kind": "pie", "query": "SELECT 1, 2"}}'}, "the kind 'pie'"),
        ({"hasattachment": True}, "hasattachment is set"),
        ({"toheader": "a@x.com; b@x.com"}, "is not a mail address"),
        ({"emailbodyqueries": json.dumps({"grid1": "SELECT repeat('x', 2000000) AS a"})}, "mail shows at most 500,000"),
        ({"emailbodytemplate": "{{ 'x' * 10000000000 }}"}, r"the operator * is not allowed in a template"),
    ]
    for number, (columns, _) in enumerate(wrong):
        add_report(etl, **{"to": A, "reportname": f"Wrong {number}", **columns})
    assert send(etl, mail, None).returncode == 1
    assert to_clients(mail) == []
    (told,) = to_owner(mail)
    each = [line for line in told.splitlines() if "(Wrong " in line]
    for text, (_, said) in zip(each, wrong, strict=True):
        assert said in text


def test_the_watch_does_not_tell_the_owner_a_second_time(etl: Installation, mail: MailServer) -> None:
    report = add_report(etl, emailbodytemplate="{{grid2}}")
    slot = etl.value("SELECT date_trunc('minute', now())").isoformat()
    etl.door("check_schedule.py", **mail.variables)
    done = etl.door("--scheduled-at", slot, "--report", str(report), "send_reports.py", str(report), **mail.variables)
    assert done.returncode == 1
    assert "has been told" in etl.value("SELECT reason FROM dba.tjobrun WHERE job = 'send_reports.py'")
    assert etl.door("check_schedule.py", **mail.variables).returncode == 0
    assert etl.query("SELECT kind, told_at IS NOT NULL FROM dba.tincident WHERE source_id = %s", report) == [
        ("failed", True)
    ]
    assert len(to_owner(mail)) == 1


def test_an_empty_report_is_skipped_where_its_row_says_so(etl: Installation, mail: MailServer) -> None:
    etl.query("UPDATE dba.treportmanager SET datastatusid = 2")
    one, two = ({"emailbodyqueries": f'{{"grid1": "SELECT generate_series(1, {rows}) AS n"}}'} for rows in (1, 2))
    wanted: list[tuple[dict[str, object], str]] = [
        ({"skip_if_empty": True}, "Skipped"),
        ({"min_rows": 3}, "Skipped"),
        ({}, "Sent"),
        ({"skip_if_empty": True, **one}, "Sent"),
        ({"min_rows": 2, **two}, "Sent"),
    ]
    empty = {"emailbodyqueries": '{"grid1": "SELECT 1 AS n WHERE false"}'}
    reports = [
        (add_report(etl, A, reportname=f"Report {number}", **{**empty, **columns}), outcome)
        for number, (columns, outcome) in enumerate(wanted)
    ]
    assert send(etl, mail, None).returncode == 0
    assert [states(etl, report) for report, _ in reports] == [{A: outcome} for _, outcome in reports]
    assert len(mail.received) == 3
    for report, outcome in reports:
        assert ("and min_rows is " in reasons(etl, report)) == (outcome == "Skipped")


@pytest.mark.parametrize("wanted", ["MeetMaxEvents", "MeetMaxEvents:119243"])
def test_a_report_waits_for_the_dataset_of_the_day(etl: Installation, mail: MailServer, wanted: str) -> None:
    report = add_report(etl, A, required_datasets=[wanted])
    stale = send(etl, mail, report)
    assert stale.returncode == 75
    assert states(etl, report) == {A: "Skipped"}
    assert f"no active dataset {wanted} of 2026-03-02" in reasons(etl, report)
    assert f"no active dataset {wanted}" in to_owner(mail)[0]
    etl.query("SELECT dba.f_dataset_iu(NULL, '2026-03-02', 'MeetMaxEvents', 'MeetMax', '119243', 'Active', 'me')")
    assert send(etl, mail, report).returncode == 0
    assert to_clients(mail) == [[A]]
    assert states(etl, report) == {A: "Sent"}


def test_a_type_of_datasets_that_there_is_not_is_named(etl: Installation, mail: MailServer, tmp_path: Path) -> None:
    report = add_report(etl, A, required_datasets=["MeetMaxEvents:x", "Salez"])
    said = "required_datasets has Salez, but there is no such dataset type; there are: "
    seen = etl.door("send_reports.py", str(report), "--preview", str(tmp_path / "r.html"))
    assert seen.returncode == 0
    assert said in seen.stdout + seen.stderr
    assert "has MeetMaxEvents" not in seen.stdout + seen.stderr
    change(etl, report, required_datasets=["Salez"])
    assert send(etl, mail, report).returncode == 75
    assert said in reasons(etl, report)


# ---- one row a client ----------------------------------------------------------------------


def test_each_client_gets_its_own_edition(etl: Installation, mail: MailServer) -> None:
    query = "SELECT current_setting('report.client') AS client, 12345.5 AS n"
    report = add_report(
        etl,
        subjectheader="Prices for {client}",
        emailbodytemplate="<p>Dear {client}</p>{{grid1}}",
        emailbodyqueries=json.dumps({"grid1": query}),
        hasattachment=True,
        attachmentqueries=json.dumps([{"name": "{client}.csv", "query": query}]),
    )
    hostile = "O'Neill <b>& Sons</b>'; DROP TABLE x"
    for to, client, locale in ((f"{A}, {OWNER.replace('owner', 'boss')}", "Acme", None), (B, hostile, "de")):
        etl.query(
            "INSERT INTO dba.treportrecipient (reportid, toheader, parameters, locale) VALUES (%s, %s, %s, %s)",
            report, to, json.dumps({"client": client}), locale,
        )  # fmt: skip
    etl.query("INSERT INTO dba.treportrecipient (reportid, toheader, is_active) VALUES (%s, %s, B'0')", report, C)
    done = send(etl, mail, report)
    assert done.returncode == 0, done.stderr
    first, second = mail.received
    assert (first.recipients, second.recipients) == ([A, "boss@example.com"], [B])
    assert first.message["Subject"] == "Prices for Acme"
    assert second.message["Subject"] == f"Prices for {hostile}"
    html = second.message.get_body(("html",)).get_content()
    assert "O&#39;Neill &lt;b&gt;" in html
    assert "<b>& Sons" not in html
    (file,) = second.message.iter_attachments()
    assert file.get_filename() == "O_Neill__b___Sons__b____DROP_TABLE_x.csv"
    assert hostile in file.get_content().replace("\r\n", "\n") or "O'Neill" in file.get_content()
    assert "12345.5" in file.get_content()
    shown = [mail.message.get_body((kind,)).get_content() for mail in (first, second) for kind in ("html", "plain")]
    assert ["12.345,5" in text for text in shown] == [False, False, True, True]
    assert len(states(etl, report)) == 3


def test_without_an_active_client_nobody_gets_it(etl: Installation, mail: MailServer) -> None:
    report = add_report(etl, A)
    etl.query("INSERT INTO dba.treportrecipient (reportid, toheader, is_active) VALUES (%s, %s, B'0')", report, B)
    assert send(etl, mail, report).returncode == 0
    assert mail.received == []


@pytest.mark.parametrize("name", ["timestamp", "grid1"])
def test_a_parameter_cannot_have_a_name_of_the_report(etl: Installation, mail: MailServer, name: str) -> None:
    report = add_report(etl)
    etl.query(
        "INSERT INTO dba.treportrecipient (reportid, toheader, parameters) VALUES (%s, %s, %s)",
        report,
        A,
        json.dumps({name: "HA"}),
    )
    done = send(etl, mail, report)
    assert done.returncode == 1
    assert f"name {name}, which" in done.stderr


def test_each_edition_can_be_seen(etl: Installation, tmp_path: Path) -> None:
    report = add_report(etl, emailbodytemplate="Dear {client}", emailbodyqueries=None)
    ids = [
        etl.value(
            "INSERT INTO dba.treportrecipient (reportid, toheader, parameters) VALUES (%s, %s, %s) RETURNING 1 * reportrecipientid",
            report, A, json.dumps({"client": client}),
        )
        for client in ("Acme", "Bolt")
    ]  # fmt: skip
    target = tmp_path / "r.html"
    done = etl.door("send_reports.py", str(report), "--preview", str(target), "--edition", str(ids[1]))
    assert done.returncode == 0, done.stderr
    assert "Dear Bolt" in target.read_text()
    wrong = etl.door("send_reports.py", str(report), "--preview", str(target), "--edition", "999")
    assert wrong.returncode == 64
    assert "no active edition 999" in wrong.stderr


def test_a_parameter_cannot_write_a_header(etl: Installation, mail: MailServer) -> None:
    report = add_report(etl, subjectheader="For {client}", emailbodytemplate="{client}", emailbodyqueries=None)
    etl.query(
        "INSERT INTO dba.treportrecipient (reportid, toheader, parameters) VALUES (%s, %s, %s)",
        report, A, json.dumps({"client": "x\r\nBcc: spy@example.com"}),
    )  # fmt: skip
    done = send(etl, mail, report)
    assert done.returncode == 1
    assert "has a line break" in done.stderr
    assert to_clients(mail) == []


# ---- copies --------------------------------------------------------------------------------


def test_a_copy_goes_to_one_address_and_is_noted_nowhere(etl: Installation, mail: MailServer) -> None:
    report = add_report(etl, datastatusid=2)
    assert send(etl, mail, report, "--to", "me@example.com").returncode == 0
    assert [taken.recipients for taken in mail.received] == [["me@example.com"]]
    assert states(etl, report) == {}


def test_without_recipients_it_goes_to_its_owner(etl: Installation, mail: MailServer) -> None:
    report = add_report(etl, None)
    assert send(etl, mail, report).returncode == 0
    assert [taken.recipients for taken in mail.received] == [[OWNER]]


def test_a_large_report_arrives_whole(etl: Installation, mail: MailServer) -> None:
    files = json.dumps(
        [{"name": "all.csv", "query": "SELECT n, 'text ' || n AS t FROM generate_series(1, 100000) AS n"}]
    )
    queries = json.dumps({"grid1": "SELECT n, 'text ' || n AS t FROM generate_series(1, 50) AS n"})
    report = add_report(etl, A, hasattachment=True, attachmentqueries=files, emailbodyqueries=queries)
    done = send(etl, mail, report)
    assert done.returncode == 0, done.stderr
    (file,) = mail.received[0].message.iter_attachments()
    assert file.get_content().count("\n") == 100_001
