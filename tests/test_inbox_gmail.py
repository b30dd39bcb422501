"""Gmail's API when it does not go well: tokens that end, refusals, cut answers, many pages; and the first consent."""

import json
import stat
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import googleapiclient.http
import pytest
from conftest import PROJECT, Installation, clean_environment
from gmail_server import CLIENT, CUT, DRIP, RESET, Answer, GmailServer, google_error, mail, misbehaving, write_secret
from mailboxes import GmailInbox
from smtp_server import mail_server

from systemscripts import db_config, settings
from systemscripts.inbox import gmail, open_mailbox, taking
from systemscripts.inbox.mailbox import MailboxError, MailboxUnavailable
from systemscripts.inbox.rules import by_place, load_rules
from systemscripts.mail import gmail_login

pytestmark = pytest.mark.slow

pytest_plugins = ["inbox_fixtures"]

CSV = b"a\n1\n"


@pytest.fixture
def box(etl: Installation, gmail_api: GmailServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GmailInbox:
    """A mailbox with a rule and one wanted mail."""
    inbox = GmailInbox(etl, gmail_api, tmp_path)
    for name, value in inbox.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    inbox.rule()
    inbox.receive(("a.csv", CSV), subject="one")
    return inbox


def take() -> list[taking.MailOutcome]:
    with closing(db_config.connect()) as connection:
        ((place, rules),) = by_place(load_rules(connection)).items()
        with open_mailbox(place) as mailbox:
            return list(taking.take_mail(connection, mailbox, place, rules, dry_run=False))


def change_token(box: GmailInbox, **values: Any) -> None:
    file = Path(box.variables["GMAIL_TOKEN_FILE"])
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


# ---- trouble on the way --------------------------------------------------------------------


@pytest.mark.parametrize(
    "trouble",
    [
        google_error(500, "backendError"),
        google_error(503, "backendError"),
        google_error(429, "rateLimitExceeded"),
        google_error(403, "rateLimitExceeded"),
        google_error(403, "userRateLimitExceeded"),
        RESET,
    ],
    ids=lambda trouble: trouble if isinstance(trouble, str) else f"{trouble.status} {trouble.body['error']['errors'][0]['reason']}",
)  # fmt: skip
def test_what_passes_is_tried_again(
    box: GmailInbox, gmail_api: GmailServer, monkeypatch: pytest.MonkeyPatch, trouble: Any
):
    failed: set[str] = set()

    def once_each(request: str) -> Any:
        path = request.split("?", maxsplit=1)[0]
        if path in failed:
            return None
        failed.add(path)
        return trouble

    with misbehaving(gmail_api, once_each) as url:
        monkeypatch.setenv("GMAIL_API_ENDPOINT", url)
        (outcome,) = take()

    assert outcome.status == "Saved"
    assert len(failed) == 5  # labels, list, the mail, a new label, the mail's label
    assert box.labelled("processed") == ["one"]


@pytest.mark.parametrize(
    ("trouble", "path"),
    [
        (google_error(500, "backendError"), "messages?"),
        (google_error(429, "rateLimitExceeded"), "format=raw"),
        (google_error(403, "dailyLimitExceeded"), "format=metadata"),
        (Answer(200, {"unexpected": True}), "format=metadata"),
        (Answer(200, {"raw": "%%%"}), "format=raw"),
        (Answer(200, {}), "format=raw"),
        (CUT, "format=raw"),
        (CUT, "messages?"),
        (RESET, "modify"),
    ],
)
def test_what_does_not_pass_leaves_the_mail_for_the_next_run(
    box: GmailInbox, gmail_api: GmailServer, monkeypatch: pytest.MonkeyPatch, trouble: Any, path: str
):
    with misbehaving(gmail_api, lambda request: trouble if path in request else None) as url:
        monkeypatch.setenv("GMAIL_API_ENDPOINT", url)
        with pytest.raises(MailboxUnavailable):
            take()
    assert box.untouched() == ["one"]

    monkeypatch.setenv("GMAIL_API_ENDPOINT", gmail_api.url)
    take()
    assert box.files == {"a.csv": CSV}
    assert box.labelled("processed") == ["one"]
    assert box.rows == ["Saved"]


def test_a_refusal_for_good_says_what_to_type(box: GmailInbox, gmail_api: GmailServer, monkeypatch: pytest.MonkeyPatch):
    trouble = google_error(403, "insufficientPermissions", "Request had insufficient authentication scopes.")
    with misbehaving(gmail_api, lambda request: trouble if "modify" in request else None) as url:
        monkeypatch.setenv("GMAIL_API_ENDPOINT", url)
        with pytest.raises(MailboxError, match=r"insufficient authentication scopes.*gmail_api.sh box"):
            take()


def test_a_mail_that_is_gone_meanwhile_stops_nothing(
    box: GmailInbox, gmail_api: GmailServer, monkeypatch: pytest.MonkeyPatch
):
    box.receive(("b.csv", CSV), subject="two")
    gone = google_error(404, "notFound")
    seen: list[str] = []

    def first_mail_is_gone(request: str) -> Any:
        if "format=metadata" in request:
            seen.append(request)
        return gone if len(seen) == 1 and "format=metadata" in request else None

    with misbehaving(gmail_api, first_mail_is_gone) as url:
        monkeypatch.setenv("GMAIL_API_ENDPOINT", url)
        assert [outcome.status for outcome in take()] == ["Saved"]


def test_all_pages_are_read_oldest_first(box: GmailInbox, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gmail, "PAGE", 3)
    for number in range(2, 12):
        box.receive(
            (f"{number}.csv", b"%d" % number), subject=f"{number:02}", Date=f"Mon, 02 Mar 2026 10:{number:02}:00 +0000"
        )

    outcomes = take()

    assert len(outcomes) == 11
    dated = [outcome.files[0] for outcome in outcomes if outcome.files != ("a.csv",)]
    assert dated == [f"{number}.csv" for number in range(2, 12)]


def test_one_mail_in_two_folders_serves_the_rules_of_both(box: GmailInbox, monkeypatch: pytest.MonkeyPatch):
    box.etl.query("DELETE FROM dba.tinboxconfig")
    reports = box.box.call("POST", "/labels", {"name": "Reports"})["id"]
    box.rule("one", attachment_name_pattern="^c", processed_label="done")
    box.rule("two", attachment_name_pattern="^b", processed_label="done", folder="Reports")
    box.box.receive(mail(("c.csv", b"c"), ("b.csv", b"b")), "INBOX", reports)
    box.box.receive(mail(("b.csv", b"other")), "INBOX")

    take()

    assert box.files == {"c.csv": b"c", "b.csv": b"b"}


def test_a_mail_that_is_put_into_a_folder_later_is_looked_at_again(box: GmailInbox):
    """By its owner, after it was passed over elsewhere, or after it was out of its folder just when it was looked at."""
    box.etl.query("UPDATE dba.tinboxconfig SET subject_pattern = 'no such'")
    reports = box.box.call("POST", "/labels", {"name": "Reports"})["id"]
    box.rule("two", folder="Reports")
    assert take() == []
    ((number,),) = box.etl.query("SELECT mailbox_id FROM dba.tinboxmessage")
    box.box.call("POST", f"/messages/{number}/modify", {"addLabelIds": [reports]})

    assert [outcome.status for outcome in take()] == ["Saved"]
    assert box.files == {"a.csv": CSV}


def test_a_label_that_is_deleted_while_it_is_read_costs_no_mail(
    box: GmailInbox, gmail_api: GmailServer, monkeypatch: pytest.MonkeyPatch
):
    reports = box.box.call("POST", "/labels", {"name": "Reports"})["id"]
    box.etl.query("UPDATE dba.tinboxconfig SET folder = 'Reports'")
    box.box.receive(mail(("b.csv", CSV)), "INBOX", reports)
    ((number, *_),) = [found.values() for found in box._mails() if "Reports" in found["labels"]]

    def deleted_before_it_is_looked_at(request: str) -> None:
        labels = box.box.call("GET", "/labels")["labels"]
        if "/messages/" in request and reports in [label["id"] for label in labels]:
            box.box.call("DELETE", f"/labels/{reports}")

    with misbehaving(gmail_api, deleted_before_it_is_looked_at) as url, monkeypatch.context() as patch:
        patch.setenv("GMAIL_API_ENDPOINT", url)
        assert take() == []
    again = box.box.call("POST", "/labels", {"name": "Reports"})["id"]
    box.box.call("POST", f"/messages/{number}/modify", {"addLabelIds": [again]})

    assert [outcome.status for outcome in take()] == ["Saved"]


def test_a_listing_that_is_not_there_is_asked_for_again(
    box: GmailInbox, gmail_api: GmailServer, monkeypatch: pytest.MonkeyPatch
):
    with misbehaving(
        gmail_api, lambda request: google_error(404, "notFound") if "messages?" in request else None
    ) as url:
        monkeypatch.setenv("GMAIL_API_ENDPOINT", url)
        with pytest.raises(MailboxUnavailable, match="deleted a moment ago"):
            take()


def test_a_server_that_drips_is_left_after_a_while(
    box: GmailInbox, gmail_api: GmailServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ETL_MAILBOX_TIMEOUT", "0.05")
    with misbehaving(gmail_api, lambda request: DRIP if "messages?" in request else None) as url:
        monkeypatch.setenv("GMAIL_API_ENDPOINT", url)
        with pytest.raises(MailboxUnavailable):
            take()


def test_an_attachment_of_three_megabytes_comes_whole(box: GmailInbox):
    content = bytes(range(256)) * 12_000
    box.receive(("large.csv", content), subject="two")

    take()

    assert box.files["large.csv"] == content


# ---- the access to the mailbox --------------------------------------------------------------


def test_an_old_token_is_renewed_without_anybody_and_kept(box: GmailInbox):
    change_token(box, token="stale", expiry="2020-01-01T00:00:00Z")

    result = box.run()

    assert result.returncode == 0, result.stderr
    file = Path(box.variables["GMAIL_TOKEN_FILE"])
    kept = json.loads(file.read_text())
    assert kept["token"].startswith("google_")
    assert datetime.fromisoformat(kept["expiry"]) > datetime.now(UTC)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert kept["token"] not in result.stderr


def test_a_token_that_google_no_longer_knows_is_renewed_on_its_401(
    box: GmailInbox, gmail_api: GmailServer, monkeypatch: pytest.MonkeyPatch
):
    troubles = [google_error(401, "authError")]
    with misbehaving(gmail_api, lambda _request: troubles.pop() if troubles else None) as url:
        monkeypatch.setenv("GMAIL_API_ENDPOINT", url)
        (outcome,) = take()

    assert outcome.status == "Saved"
    assert troubles == []


def test_a_dead_token_ends_the_job_at_once_and_says_what_to_type(box: GmailInbox):
    change_token(box, expiry="2020-01-01T00:00:00Z", refresh_token="dead-refresh-token")

    result = box.run(BROWSER="/bin/false")

    assert result.returncode == 1
    assert f"type: bash {PROJECT}/onboarding/sh/gmail_api.sh {box.account}" in result.stderr
    assert "The refresh token is invalid" in result.stderr
    assert "dead-refresh-token" not in result.stderr
    assert box.untouched() == ["one"]


def test_a_dead_token_does_not_stop_another_mailbox(box: GmailInbox, gmail_api: GmailServer):
    box.rule("nobody's", gmail_account="nobody@example.com")

    result = box.run()

    assert result.returncode == 1
    assert "nobody@example.com" in result.stderr
    assert box.files == {"a.csv": CSV}


@pytest.mark.parametrize(
    ("prepare", "told"),
    [
        (Path.unlink, "is missing"),
        (lambda file: file.write_text("{"), "is damaged"),
        (lambda file: file.write_text("{}"), "is not a Gmail token"),
        (lambda file: file.chmod(0o644), "can be read by others"),
    ],
)
def test_a_token_file_that_is_none_is_named(box: GmailInbox, prepare: Any, told: str):
    file = Path(box.variables["GMAIL_TOKEN_FILE"])
    prepare(file)

    result = box.run()

    assert result.returncode == 1
    assert told in result.stderr
    assert str(file) in result.stderr


def test_a_right_about_to_end_is_told_once_a_day_by_mail(box: GmailInbox, tmp_path: Path):
    change_token(box, refresh_token_expires_at=(datetime.now(UTC) + timedelta(hours=30)).isoformat())

    with mail_server(tmp_path) as server:
        results = [box.run(**server.variables) for _ in range(2)]

    assert [result.returncode for result in results] == [0, 0]
    (received,) = server.received
    assert "is about to end" in received.message["Subject"]
    assert f"gmail_api.sh {box.account}" in received.message.get_content()


def test_a_right_that_lasts_is_not_told_of(box: GmailInbox):
    change_token(box, refresh_token_expires_at=(datetime.now(UTC) + timedelta(days=3)).isoformat())
    assert gmail_login.expiry_warning(box.account) is None


def test_plain_http_is_for_this_machine_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GMAIL_API_ENDPOINT", "http://gmail.example.com:80")
    with pytest.raises(settings.SettingError, match="must begin with https://"):
        settings.gmail_api_endpoint()


# ---- the first consent ---------------------------------------------------------------------


class Consent:
    """gmail_api.sh, and the person who does what it says."""

    def __init__(self, server: GmailServer, folder: Path, account: str) -> None:
        self.server, self.account = server, account
        client = {
            **CLIENT, "auth_uri": f"{server.url}/o/oauth2/v2/auth", "token_uri": f"{server.url}/oauth2/token",
            "redirect_uris": ["http://localhost"],
        }  # fmt: skip
        self.credentials = write_secret(folder / "credentials.json", json.dumps({"installed": client}))
        self.token = folder / "new" / "token.json"
        self.environment = clean_environment(
            GMAIL_CREDENTIALS_FILE=str(self.credentials), GMAIL_TOKEN_FILE=str(self.token),
            GMAIL_API_ENDPOINT=server.url, OAUTHLIB_INSECURE_TRANSPORT="1",
        )  # fmt: skip

    def run(self, chosen: str, change: Any = lambda address: address) -> tuple[int, str]:
        """Choose a mailbox in the browser, paste what is then in its address bar; return how the script ended."""
        command = ["/bin/bash", str(PROJECT / "onboarding/sh/gmail_api.sh"), self.account]
        with subprocess.Popen(
            command, env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:  # fmt: skip
            assert process.stdout is not None
            assert process.stdin is not None
            lines = []
            for line in process.stdout:
                lines.append(line)
                if "paste it here" in line:
                    break
            address = next(iter(line for line in lines if line.startswith("http")), "")
            answer = change(self.server.consent(address, chosen)) if address else ""
            told, _ = process.communicate(f"{answer}\n", timeout=60)
            return process.returncode, "".join(lines) + told


@pytest.fixture
def consent(gmail_api: GmailServer, tmp_path: Path) -> Consent:
    return Consent(gmail_api, tmp_path, "box299@example.com")


def test_a_person_with_a_browser_elsewhere_gives_the_right(consent: Consent):
    status, told = consent.run("box299@example.com")

    assert status == 0, told
    assert stat.S_IMODE(consent.token.stat().st_mode) == 0o600
    token = json.loads(consent.token.read_text())
    assert token["refresh_token"]
    assert token["refresh_token"] not in told
    assert "code_challenge" in told
    assert gmail_login.SCOPE.rpartition("/")[2] in told


@pytest.mark.parametrize(
    ("chosen", "change", "expected"),
    [
        ("box298@example.com", lambda address: address, "choose exactly that mailbox"),
        ("box299@example.com", lambda _address: "http://localhost:1/?error=access_denied", "access was not granted"),
        ("box299@example.com", lambda address: address.replace("state=", "state=x"), "another attempt"),
        ("box299@example.com", lambda address: address.replace("code=", "code=x"), "does not grant access"),
        ("box299@example.com", lambda _address: "", "this is not the right address"),
    ],
)
def test_a_consent_that_goes_wrong_changes_nothing(consent: Consent, chosen: str, change: Any, expected: str):
    status, told = consent.run(chosen, change)

    assert status == 1
    assert expected in told
    assert "Traceback" not in told
    assert not consent.token.exists()


def test_the_template_is_no_oauth_client(consent: Consent):
    consent.credentials.write_text((PROJECT / "systemscripts/credentials.json").read_text())

    status, told = consent.run("box299@example.com")

    assert status == 1
    assert "is still the template" in told


def test_the_clients_of_google_are_imported_only_where_they_are_used():
    code = "import sys, systemscripts.inbox.taking, systemscripts.inbox.mailbox; sys.exit('googleapiclient' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert googleapiclient.http.HttpRequest


def test_a_dead_token_under_the_schedule_is_told_in_one_mail(box: GmailInbox, tmp_path: Path):
    change_token(box, expiry="2020-01-01T00:00:00Z", refresh_token="dead")
    box.etl.query("UPDATE dba.tscheduler SET datastatusid = 2")
    box.etl.query("UPDATE dba.treportmanager SET datastatusid = 2")
    now = datetime.now().astimezone().replace(second=0, microsecond=0)
    task = box.etl.value(
        "INSERT INTO dba.tscheduler (taskname, frequency, scriptpath, datastatusid, createddate)"
        " VALUES ('Inbox', '*/10 * * * *', 'process_inbox.py', 1, %s) RETURNING schedulerid",
        now - timedelta(days=1),
    )
    slots = [now - timedelta(minutes=now.minute % 10 + 10 * back) for back in (2, 1, 0)]

    with mail_server(tmp_path) as server:
        settled = {**box.variables, **server.variables}
        box.etl.door("check_schedule.py", **settled, ETL_CLOCK=(slots[0] - timedelta(minutes=1)).isoformat())
        for slot in slots:
            arguments = ("--scheduled-at", slot.isoformat(), "--task", str(task), "process_inbox.py")
            assert box.etl.door(*arguments, **settled).returncode == 1
        for _ in range(2):
            box.etl.door("check_schedule.py", **settled)

    told = [received for received in server.received if "Inbox" in received.message["Subject"]]
    assert len(told) == 1, [received.message["Subject"] for received in server.received]
    assert f"gmail_api.sh {box.account}" in told[0].message.get_content()
