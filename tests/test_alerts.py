"""The mails about the schedule: what they say, that each is sent once, and what hostile names and output can do."""

import errno
import importlib.util
import json
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import PROJECT, Installation, give_way
from smtp_server import OWNER, SILENCE, mail_server, odd_server

from systemscripts import settings
from systemscripts.cron import cron_file
from systemscripts.db_config import DatabaseUnavailable
from systemscripts.job_catalog import SYSTEM_PATH
from systemscripts.mail import smtp
from systemscripts.mail.composing import MailError
from systemscripts.mail.smtp import MailUnavailable, OutcomeUnknown
from systemscripts.schedule import alerts, incident_mail
from systemscripts.schedule.incident_mail import Notice

NOON = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
BACKUP = 5
DOOR = str(cron_file.door())
TYPED = f"bash {cron_file.door().with_name('etl')}"


def notice(**more: Any) -> Notice:
    values: dict[str, Any] = {
        "id": 1, "kind": "failed", "table": "dba.tscheduler", "row_id": 3, "name": "Load", "first_slot": NOON,
        "last_slot": NOON, "occurrences": 1, "detail": "it ended as Failed", "is_new": True, "is_over": False,
        "run_uuid": "11111111-1111-1111-1111-111111111111", "output_tail": "one\ntwo\n", "script": "show_imports.py",
        "arguments": "",
    }  # fmt: skip
    return Notice(**{**values, **more})


def text(*notices: Notice) -> str:
    return incident_mail.text_of(list(notices), NOON, UTC)


def test_a_failure_is_told_with_its_reason_its_last_lines_and_the_command_that_repeats_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ETL_HOST", "box")

    assert (
        text(notice(arguments="--label 'a b'"))
        == f"""\
The schedule on box, Tue 2026-03-10 12:00 UTC

FAILED  Load  (dba.tscheduler 3)
  1 run, due Tue 2026-03-10 12:00 UTC
  it ended as Failed
  run 11111111-1111-1111-1111-111111111111, the end of what it printed:
    | one
    | two
  Run it again:  {TYPED} run 3
"""
    )


@pytest.mark.parametrize(
    ("what", "place"),
    [
        ({"kind": "failed"}, "#run-11111111-1111-1111-1111-111111111111"),
        ({"kind": "held", "table": "dba.tdataset"}, "#waits"),
        ({"kind": "missing", "table": "dba.tfeed"}, "#feeds"),
        ({"kind": "failed", "run_uuid": None}, ""),
        ({"kind": "missed"}, ""),
    ],
)
def test_a_mail_leads_to_its_place_on_the_status_page(
    monkeypatch: pytest.MonkeyPatch, what: dict[str, Any], place: str
) -> None:
    assert "status page" not in text(notice(**what))

    monkeypatch.setenv("ETL_PAGE_URL", "https://box.example/status_page.html")
    *lines, last = text(notice(**what)).rstrip().split("\n")
    assert last == "The status page: https://box.example/status_page.html"
    links = [line for line in lines if line.startswith("  On the status page:")]
    assert links == ([f"  On the status page:  https://box.example/status_page.html{place}"] if place else [])
    over = text(notice(**what, is_over=True, closed_at=NOON))
    assert over.count("https://box.example") == 1


@pytest.mark.parametrize(
    "value", ["javascript:alert(1)", "https://x.example/a b", "https://x.example/#feeds", "file:///x"]
)
def test_an_alert_goes_out_where_the_page_has_no_address_that_can_be(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("ETL_PAGE_URL", value)
    assert "status page" not in text(notice())
    with pytest.raises(settings.SettingError, match="ETL_PAGE_URL"):
        settings.page_url()


def test_the_end_is_told_with_the_number_of_runs_and_the_first_and_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETL_HOST", "box")
    over = notice(is_new=False, is_over=True, occurrences=4, last_slot=NOON + timedelta(days=3))

    assert (
        text(over)
        == """\
The schedule on box, Tue 2026-03-10 12:00 UTC

over: failed  Load  (dba.tscheduler 3)
  4 runs, due from Tue 2026-03-10 12:00 UTC to Fri 2026-03-13 12:00 UTC
  it ended as Failed
"""
    )


@pytest.mark.parametrize(
    ("notices", "subject"),
    [
        ([notice()], "[ETL box] failed: Load"),
        ([notice(is_new=False, is_over=True)], "[ETL box] over: failed: Load"),
        ([notice(), notice(), notice(kind="missed"), notice(is_new=False)], "[ETL box] 2 failed, 1 missed, 1 over"),
        ([notice(name="x" * 500)], f"[ETL box] failed: {'x' * 131}…"),
        ([notice(name="a\u2028Bcc: x@example.com\x85")], r"[ETL box] failed: a\u2028Bcc: x@example.com\x85"),
    ],
)
def test_the_subject_is_one_short_line(monkeypatch: pytest.MonkeyPatch, notices: list[Notice], subject: str) -> None:
    monkeypatch.setenv("ETL_HOST", "box")

    assert incident_mail.subject_of(notices) == subject


def test_thirty_incidents_are_told_and_the_number_of_the_others() -> None:
    told = text(*(notice(name=f"Load {number}") for number in range(42)))

    assert told.count("FAILED  Load") == 30
    last = told.splitlines()[-1]
    assert (re.findall(r"\d+", last), "dba.tincident" in last) == (["12"], True)


def test_only_the_last_twenty_lines_are_told_each_cut() -> None:
    told = text(notice(output_tail="\n".join(f"{number} {'x' * 1000}" for number in range(100))))

    lines = [line for line in told.splitlines() if line.startswith("    | ")]
    assert [line.split()[1] for line in lines] == [str(number) for number in range(80, 100)]
    assert {len(line) for line in lines} == {300}


def test_a_script_that_is_gone_has_no_command() -> None:
    told = text(notice(script="gone.py"))

    assert "'gone.py' in jobscripts/" in told
    assert "Run it again" not in told


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("missed", "run 3"),
        ("missed", "run update_cron_jobs.py --check"),
        ("too often", "run update_cron_jobs.py --check"),
        ("late", "runs 3 --last 5 --tail"),
        ("stuck", "runs 3 --last 5 --tail"),
        ("missing", "imports Sales --last 5"),
        ("missing", "snooze Load until TIME"),
        ("held", "release 3"),
        ("held", "undo 3"),
    ],
)
def test_what_can_be_done_is_told_as_a_command_that_works_in_every_terminal(
    monkeypatch: pytest.MonkeyPatch, kind: str, command: str
) -> None:
    # What the check's own terminal has on its PATH says nothing about the reader's.
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:{PROJECT / 'jobscripts'}")
    assert f"  {TYPED} {command}\n" in text(notice(kind=kind, import_name="Sales"))
    monkeypatch.setattr(settings, "has_short_command", lambda places: places == SYSTEM_PATH)
    assert f"  etl {command}\n" in text(notice(kind=kind, import_name="Sales"))


def test_the_end_is_told_with_its_time() -> None:
    told = text(notice(is_new=False, is_over=True, closed_at=datetime(2026, 3, 2, 12, tzinfo=UTC)))

    assert "over: the check on Mon 2026-03-02 " in told


def test_a_full_disk_does_not_keep_the_mail_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    sent: list[str] = []
    monkeypatch.setenv("ETL_LOGS_DIR", str(tmp_path))
    monkeypatch.setattr(alerts.directory_management, "new_file", no_space)
    monkeypatch.setattr(alerts, "hand_over", lambda subject, _text, note, _: (sent.append(subject), note()))
    alerts.database_is_away("refused", datetime(2026, 3, 2, 12, tzinfo=UTC), UTC)

    (subject,) = sent
    assert subject.startswith(f"[ETL {settings.host_name()}] ")
    assert "cannot be reached" in subject
    assert "sent again" in caplog.text


# ---- handing over --------------------------------------------------------------------------


def failing(error: Exception) -> Callable[..., Any]:
    def send(*_: object) -> None:
        raise error

    return send


TWO = {"a@example.com": "550 no", "b@example.com": "550 no"}


@pytest.mark.parametrize(
    ("send", "raised", "noted"),
    [
        (lambda *_: {}, None, True),
        (lambda *_: {"a@example.com": "550 no"}, None, True),
        (lambda *_: TWO, MailError, False),
        (failing(MailUnavailable("away", list(TWO))), MailUnavailable, False),
        (failing(MailUnavailable("later", ["a@example.com"], {"b@example.com": "550"})), MailUnavailable, False),
        (failing(MailUnavailable("later", ["a@example.com"])), None, True),
        (failing(OutcomeUnknown("who knows", list(TWO), [], {})), OutcomeUnknown, True),
    ],
)
def test_a_mail_that_somebody_has_or_may_have_is_not_sent_again(
    monkeypatch: pytest.MonkeyPatch, send: Callable[..., Any], raised: type[Exception] | None, noted: bool
) -> None:
    monkeypatch.setenv("ETL_EMAIL", "etl@example.com")
    monkeypatch.setenv("ETL_ALERT_EMAIL", ", ".join(TWO))
    monkeypatch.setattr(smtp, "send", send)
    notes: list[bool] = []

    if raised is None:
        alerts.hand_over("subject", "text", lambda: notes.append(True))
    else:
        with pytest.raises(raised):
            alerts.hand_over("subject", "text", lambda: notes.append(True))

    assert notes == [True] * noted


# ---- the job -------------------------------------------------------------------------------

UUID = "22222222-2222-2222-2222-222222222222"
HOSTILE_TAIL = "<b>bold</b>\nBcc: everybody@example.com\n\x1b[31mred\rover\n.\n"


@pytest.fixture
def watched(etl: Installation) -> Installation:
    """An installation in which the backup of the day has failed, and nothing else is due."""
    etl.query("UPDATE dba.tscheduler SET datastatusid = 2 WHERE schedulerid <> %s", BACKUP)
    etl.query("UPDATE dba.treportmanager SET datastatusid = 2")
    etl.query("UPDATE dba.tscheduler SET taskname = %s, active_since = '2026-01-01', createddate = '2026-01-01'",
              "Backup <script>\u2028Bcc: nobody@example.com")  # fmt: skip
    etl.query(
        "INSERT INTO dba.tjobrun (run_uuid, job, schedulerid, scheduled_at, started_at, ended_at, status, exit_code, reason, output_tail) "
        "SELECT %s, 'daily_backup.sh', %s, s, s, s + interval '1 minute', 'Failed', 1, 'pg_dump failed', %s "
        "FROM (SELECT current_date - interval '21 hours') AS yesterday (s)",
        UUID, BACKUP, HOSTILE_TAIL,
    )  # fmt: skip
    etl.query("INSERT INTO dba.tschedulecheck SELECT true, ended_at FROM dba.tjobrun")
    etl.query(
        "UPDATE dba.tscheduler SET frequency = '0 0 1 1 *', active_since = '2026-01-02' WHERE schedulerid = %s", BACKUP
    )
    return etl


def check(etl: Installation, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return etl.door("check_schedule.py", *arguments, **more)


def told(etl: Installation) -> list[tuple[Any, ...]]:
    return etl.query("SELECT kind, told_at IS NOT NULL, recovery_told_at IS NOT NULL FROM dba.tincident ORDER BY 1")


def let_it_succeed(etl: Installation) -> None:
    etl.query(
        "INSERT INTO dba.tjobrun (run_uuid, job, schedulerid, scheduled_at, ended_at, status) SELECT "
        "gen_random_uuid(), job, schedulerid, scheduled_at + interval '1 day', now(), 'Succeeded' FROM dba.tjobrun WHERE run_uuid = %s",
        UUID,
    )


def test_a_failure_and_its_end_are_one_plain_mail_each(watched: Installation, tmp_path: Path) -> None:
    with mail_server(tmp_path) as server:
        results = [check(watched, **server.variables) for _ in range(2)]
        let_it_succeed(watched)
        results += [check(watched, **server.variables) for _ in range(2)]

    assert [result.returncode for result in results] == [0] * 4, results
    new, over = (received.message for received in server.received)
    assert [received.recipients for received in server.received] == [[OWNER]] * 2
    assert new.get_content_type() == "text/plain"
    assert new["Bcc"] is None
    assert new["Auto-Submitted"] == "auto-generated"
    name = r"Backup <script>\u2028Bcc: nobody@example.com"
    assert new["Subject"] == f"[ETL {settings.host_name()}] failed: {name}"
    assert over["Subject"] == f"[ETL {settings.host_name()}] over: failed: {name}"
    lines = new.get_content().splitlines()
    assert any(line.endswith("it ended as Failed: pg_dump failed") for line in lines)
    start = lines.index("    | <b>bold</b>")
    assert f"  run {UUID}, " in lines[start - 1]
    assert lines[start + 1 : start + 5] == [
        "    | Bcc: everybody@example.com", r"    | \x1b[31mred", "    | over", "    | ."
    ]  # fmt: skip
    assert any(line.endswith(f"  {TYPED} run {BACKUP}") for line in lines)
    assert told(watched) == [("failed", True, True)]


def test_where_the_mail_server_is_away_it_is_told_the_next_time_and_once(watched: Installation, tmp_path: Path) -> None:
    with odd_server(banner="554 closed") as closed:
        pass
    away = check(watched, **closed.variables)
    assert (away.returncode, told(watched)) == (75, [("failed", False, False)])
    let_it_succeed(watched)
    with mail_server(tmp_path) as server:
        results = [check(watched, **server.variables) for _ in range(2)]

    assert [result.returncode for result in results] == [0, 0]
    (received,) = server.received
    assert "It is over" in received.message.get_content()
    assert told(watched) == [("failed", True, True)]


def test_a_check_that_is_killed_while_the_server_has_its_mail_sends_it_once(
    watched: Installation, tmp_path: Path
) -> None:
    with odd_server(end=SILENCE) as odd:
        process = subprocess.Popen(
            ["/bin/bash", DOOR, "check_schedule.py"],
            env=watched.environment(**odd.variables),
            stderr=subprocess.DEVNULL,
        )
        while "data" not in odd.commands:
            give_way()
        process.kill()
        process.wait(timeout=30)
    with mail_server(tmp_path) as server:
        while check(watched, **server.variables).returncode == 75:  # the killed one's session is still being ended
            give_way()

    assert [
        str(received.message["Subject"]) for received in server.received if "Backup" in str(received.message["Subject"])
    ] == []
    assert told(watched) == [("failed", True, False)]


def test_without_an_address_it_is_logged_as_an_error_once(watched: Installation) -> None:
    results = [check(watched) for _ in range(2)]

    assert [result.returncode for result in results] == [0, 0]
    messages = watched.query("SELECT message FROM dba.tlogentry WHERE level = 'ERROR' ORDER BY logid")
    assert len(messages) == 2
    assert "ETL_ALERT_EMAIL is not set" in messages[0][0]
    assert re.search("1 times; .*Failed: pg_dump failed$", messages[1][0])
    assert told(watched) == [("failed", True, False)]


def test_a_dry_run_prints_the_mail_and_changes_nothing(watched: Installation, tmp_path: Path) -> None:
    before = watched.query("SELECT * FROM dba.tschedulecheck")
    with mail_server(tmp_path) as server:
        shown = check(watched, "--dry-run", **server.variables)
        listed = check(watched, "--dry-run", "--json", **server.variables)

    assert shown.returncode == listed.returncode == 0
    assert "] failed: Backup <script>" in shown.stdout
    assert "    | <b>bold</b>\n" in shown.stdout
    (found,) = json.loads(listed.stdout)
    assert (found["kind"], found["row_id"], found["run_uuid"], found["is_new"]) == ("failed", BACKUP, UUID, True)
    assert (server.received, told(watched)) == ([], [])
    assert watched.query("SELECT * FROM dba.tschedulecheck") == before


def test_json_is_printed_of_what_is_told_and_a_dry_run_may_have_nothing_to_tell(watched: Installation) -> None:
    assert [found["kind"] for found in json.loads(check(watched, "--json").stdout)] == ["failed"]
    assert json.loads(check(watched, "--json").stdout) == []
    assert check(watched, "--dry-run").stdout == "nothing to tell\n"


# ---- the call to the outside ---------------------------------------------------------------


@pytest.fixture
def outside() -> Iterator[tuple[str, list[str]]]:
    """A service that expects calls: its address, and the paths that were called."""
    calls: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            calls.append(self.path)
            self.send_response(200 if self.path == "/ping" else 500)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    service = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{service.server_port}", calls
    service.shutdown()
    service.server_close()


def test_a_check_that_found_trouble_calls_the_service_outside(
    watched: Installation, outside: tuple[str, list[str]]
) -> None:
    url, calls = outside

    assert check(watched, ETL_PING_URL=f"{url}/ping").returncode == 0
    assert check(watched, "--dry-run", ETL_PING_URL=f"{url}/ping").returncode == 0
    assert calls == ["/ping"]


def test_a_call_that_fails_is_a_warning_without_the_address(
    watched: Installation, outside: tuple[str, list[str]]
) -> None:
    result = check(watched, ETL_PING_URL=f"{outside[0]}/secret")

    assert result.returncode == 0
    assert re.search("warning: ETL_PING_URL .*500", result.stderr)
    assert "secret" not in result.stderr


def test_a_check_that_could_not_tell_does_not_call(watched: Installation, outside: tuple[str, list[str]]) -> None:
    with odd_server() as closed:
        pass

    assert check(watched, ETL_PING_URL=f"{outside[0]}/ping", **closed.variables).returncode == 75
    assert outside[1] == []


def test_an_address_to_call_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETL_PING_URL", "file:///etc/passwd")

    with pytest.raises(settings.SettingError, match="ETL_PING_URL .*https://"):
        settings.ping_url()


# ---- the database is away ------------------------------------------------------------------


def load_job() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_schedule", PROJECT / "jobscripts/check_schedule.py")
    assert spec is not None
    assert spec.loader is not None
    job = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(job)
    return job


def test_a_database_that_is_away_is_told_once_and_once_when_it_is_back(
    etl: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = load_job()
    arguments = type("Arguments", (), {"dry_run": False, "json": False})
    mails: list[tuple[str, str]] = []
    troubles = [MailUnavailable("the mail server is away", ["a@example.com"])]

    def hand_over(subject: str, text: str, note: Callable[[], None], _take_back: Any) -> None:
        if troubles:
            raise troubles.pop()
        mails.append((subject, text))
        note()

    monkeypatch.setattr(alerts, "hand_over", hand_over)
    monkeypatch.setenv("ETL_HOST", "box")
    monkeypatch.setenv("PGHOST", "/nonexistent")
    for minute, error in ((0, MailUnavailable), (15, DatabaseUnavailable), (30, DatabaseUnavailable)):
        monkeypatch.setattr(settings, "now", lambda minute=minute: NOON + timedelta(minutes=minute))
        with pytest.raises(error):
            job.main(arguments)
    monkeypatch.setenv("PGHOST", etl.variables["PGHOST"])
    monkeypatch.setattr(settings, "now", lambda: NOON + timedelta(minutes=45))
    assert [job.main(arguments) for _ in range(2)] == [0, 0]

    (down, away), (up, back) = mails
    assert (down.startswith("[ETL box] "), "cannot be reached" in down) == (True, True)
    assert (up.startswith("[ETL box] "), "is back" in up) == (True, True)
    assert "from box since Tue 2026-03-10 12:00" in away
    assert "/nonexistent" in away
    assert "down at Tue 2026-03-10 12:00" in back
    assert list((etl.home / "logs/spool").iterdir()) == []


def test_a_check_without_a_database_sends_its_mail_and_exits_for_now(etl: Installation, tmp_path: Path) -> None:
    with mail_server(tmp_path) as server:
        environment = etl.environment(**server.variables, PGHOST="/nonexistent", ETL_RUN_UUID=UUID)
        results = [run_without_door(environment) for _ in range(2)]

    assert [result.returncode for result in results] == [75, 75], results[0].stderr
    (received,) = server.received
    assert received.message["Subject"].startswith(f"[ETL {settings.host_name()}] ")
    assert "cannot be reached" in received.message["Subject"]


def run_without_door(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    job = str(PROJECT / "jobscripts/check_schedule.py")
    command = [sys.executable, "-P", job]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd="/")


def test_a_file_about_the_outage_that_cannot_be_read_counts_as_none(
    etl: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    (etl.home / "logs/spool").mkdir()
    (etl.home / "logs/spool/database_away.json").write_text("{")

    with caplog.at_level(logging.ERROR):
        alerts.database_is_back(NOON, UTC)
        assert caplog.messages == []
        alerts.database_is_away("gone", NOON, UTC)
        alerts.database_is_away("gone", NOON, UTC)

    assert len(caplog.messages) == 1
    assert re.search("cannot be reached .*ETL_ALERT_EMAIL is not set", caplog.text)


def test_the_door_lets_a_check_tell_that_the_database_is_away(etl: Installation, tmp_path: Path) -> None:
    with mail_server(tmp_path) as server:
        results = [check(etl, **server.variables, PGHOST="/nonexistent") for _ in range(2)]
        results.append(check(etl, **server.variables))

    assert [result.returncode for result in results] == [75, 75, 0], results[0].stderr
    assert [received.message["Subject"].partition("] ")[2] for received in server.received] == [
        "the database cannot be reached",
        "the database is back",
    ]
    rows = etl.query("SELECT status, exit_code FROM dba.tjobrun WHERE job = 'check_schedule.py' ORDER BY started_at")
    assert rows == [("Failed", 75), ("Failed", 75), ("Succeeded", 0)]
