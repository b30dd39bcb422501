"""A long day with tokens that die at random: each file once, each report once, one mail about a right taken away, no token told."""

import argparse
import json
import random
import time
from collections import Counter
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import PROJECT, Installation
from gmail_server import mail
from imap_server import ImapServer
from lying_imap import dying
from mailboxes import ImapInbox
from oauth_server import BROKEN, BUSY, RESET, Answer, OAuthServer, serving
from secrets_told import onlooker, texts_of, told
from smtp_server import SENDER, TokenMailServer, mail_server
from test_report_delivery import NOON, add_report

from jobscripts import send_reports
from systemscripts import db_config
from systemscripts.errors import TemporaryFailure
from systemscripts.inbox import open_mailbox, taking
from systemscripts.inbox.rules import by_place, load_rules
from systemscripts.mail import smtp
from systemscripts.mail.oauth import rights
from systemscripts.web import api

pytest_plugins = ["inbox_fixtures"]
pytestmark = pytest.mark.slow

MAILS, REPORTS = 30, 8  # 500 and 200 go as well; it takes minutes
MOST_RUNS = 20


class Misbehaving:
    """A provider that is slow, broken, busy or cut off at every second request for a token, by a seed."""

    def __init__(self, provider: OAuthServer) -> None:
        self._random = random.Random(7)
        self._provider = provider
        self.asked = 0

    def __call__(self, form: dict[str, str]) -> Answer | str:
        self.asked += 1
        if self._random.random() < 0.5:
            return self._random.choice([BROKEN, BUSY, RESET, Answer(503), Answer(200, "{")])
        return OAuthServer.token(self._provider, form)


@pytest.fixture
def provider(rights_provider: OAuthServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OAuthServer:
    rights_provider.rotates, rights_provider.lasts = True, 3600
    rights_provider.troubles.clear()
    rights_provider.forms.clear()
    for name, value in rights_provider.describe(tmp_path / "oauth").items():
        monkeypatch.setenv(name, value)
    for memory in (rights._refused, rights._not_before):
        memory.clear()
    for place in (api, smtp):
        monkeypatch.setattr(place, "wait", lambda _seconds: None)
    return rights_provider


def take() -> list[taking.MailOutcome]:
    """Take what waits; the next run goes on where one ends with a passing failure."""
    outcomes: list[taking.MailOutcome] = []
    with closing(db_config.connect()) as connection:
        ((place, rules),) = by_place(load_rules(connection)).items()
        for _ in range(MOST_RUNS):
            try:
                with open_mailbox(place) as mailbox:
                    outcomes.extend(taking.take_mail(connection, mailbox, place, rules, dry_run=False))
            except TemporaryFailure:
                rights._not_before.clear()
                continue
            return outcomes
    raise AssertionError(f"it is not done after {MOST_RUNS} runs")


def test_every_file_comes_once_while_tokens_die(
    etl: Installation, provider: OAuthServer, imap_host: ImapServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    box = ImapInbox(etl, imap_host, tmp_path)
    for name, value in {**etl.variables, "SSL_CERT_FILE": box.variables["SSL_CERT_FILE"]}.items():
        monkeypatch.setenv(name, value)
    provider.grant(tmp_path / "oauth", box.account)
    misbehaving = Misbehaving(provider)
    monkeypatch.setattr(provider, "token", misbehaving)
    imap_host.receive(box.account, *(mail((f"{n}.csv", b"%d" % n), subject=f"{n:03}") for n in range(MAILS)))
    with dying(imap_host, provider.forget_access, every=30) as (name, deaths):
        box.rule(auth="oauth:corner", imap_server=name)
        take()

    assert box.files == {f"{n}.csv": b"%d" % n for n in range(MAILS)}
    assert box.labelled("processed") == [f"{n:03}" for n in range(MAILS)]
    assert Counter(box.rows) == {"Saved": MAILS}
    assert deaths() > 3
    # At most three tries for each login that had to be made anew, and for each run.
    assert misbehaving.asked <= 3 * (deaths() + MOST_RUNS)


def test_every_report_goes_once_while_tokens_die(
    etl: Installation, provider: OAuthServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    etl.query("UPDATE dba.treportmanager SET datastatusid = 2")
    reports = [add_report(etl, f"r{n}@example.com", reportname=f"R{n}") for n in range(REPORTS)]
    provider.grant(tmp_path / "oauth", SENDER)
    monkeypatch.setattr(provider, "token", Misbehaving(provider))
    dice = random.Random(3)

    class Dying(TokenMailServer):
        async def handle_DATA(self, *arguments: Any) -> str:  # noqa: N802
            told = await super().handle_DATA(*arguments)
            if dice.random() < 0.3:
                provider.forget_access()
            return told

    with mail_server(tmp_path, kind=Dying) as server:
        server.owners = provider.access
        del server.variables["ETL_EMAIL_PASSWORD"]
        for name, value in {
            **etl.variables,
            **server.variables,
            "ETL_SMTP_AUTH": "oauth:corner",
            "ETL_CLOCK": NOON,
        }.items():
            monkeypatch.setenv(name, value)
        arguments = argparse.ArgumentParser()
        send_reports.add_arguments(arguments)
        for _ in range(MOST_RUNS):
            rights._not_before.clear()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(send_reports.owner, "tell", lambda _reasons: "")
                try:
                    if send_reports.main(arguments.parse_args([])) == 0:
                        break
                except TemporaryFailure:
                    continue

    who = Counter(recipient for received in server.received for recipient in received.recipients)
    assert who == {f"r{n}@example.com": 1 for n in range(REPORTS)}
    assert etl.query(
        "SELECT status, count(*) FROM dba.treportdelivery WHERE reportid = ANY (%s) GROUP BY 1", reports
    ) == [("Sent", REPORTS)]


def test_a_right_taken_away_is_told_in_one_mail_and_no_token_is_told_anywhere(
    etl: Installation, provider: OAuthServer, imap_host: ImapServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    box = ImapInbox(etl, imap_host, tmp_path)
    dead = f"dead.{box.account}"
    box.rule(auth="oauth:corner")
    box.rule("dead", gmail_account=dead, auth="oauth:corner")
    provider.grant(tmp_path / "oauth", box.account)
    provider.grant(tmp_path / "oauth", dead, refresh_token="refresh-token-that-was-taken-away")
    provider.grant(tmp_path / "oauth", SENDER)
    box.receive(("a.csv", b"a\n1\n"), subject="one")
    etl.query("UPDATE dba.tscheduler SET datastatusid = 2; UPDATE dba.treportmanager SET datastatusid = 2")
    now = datetime.now().astimezone().replace(second=0, microsecond=0)
    task = etl.value(
        "INSERT INTO dba.tscheduler (taskname, frequency, scriptpath, datastatusid, createddate)"
        " VALUES ('Inbox', '*/10 * * * *', 'process_inbox.py', 1, %s) RETURNING schedulerid",
        now - timedelta(days=1),
    )
    slots = [now - timedelta(minutes=now.minute % 10 + 10 * back) for back in (2, 1)]
    said = []

    with mail_server(tmp_path, kind=TokenMailServer) as server, onlooker() as looking:
        server.owners = provider.access
        del server.variables["ETL_EMAIL_PASSWORD"]
        authority = box.variables["SSL_CERT_FILE"]
        settled = {
            **server.variables, "SSL_CERT_FILE": authority, "ETL_SMTP_AUTH": "oauth:corner", "ETL_OAUTH_DIR": str(tmp_path / "oauth"),
        }  # fmt: skip
        etl.door("check_schedule.py", **settled, ETL_CLOCK=(slots[0] - timedelta(minutes=1)).isoformat())
        for slot in slots:
            arguments = ("--scheduled-at", slot.isoformat(), "--task", str(task), "process_inbox.py")
            began = time.monotonic()
            result = etl.door(*arguments, **settled)
            assert result.returncode == 1
            assert time.monotonic() - began < 10
            said.append(result.stdout + result.stderr)
        said += [etl.door("check_schedule.py", **settled).stderr for _ in range(2)]

    assert box.files == {"a.csv": b"a\n1\n"}
    mails = [received.message for received in server.received]
    (about,) = [message for message in mails if "Inbox" in message["Subject"]]
    assert f"mailbox_consent.sh {dead} --provider corner" in about.get_content()
    secrets = [*provider.secrets, "refresh-token-that-was-taken-away", "client-secret-of-the-tests"]
    for name, value in etl.variables.items():
        monkeypatch.setenv(name, value)
    texts = [*looking.seen, *map(str.encode, said), *(message.as_bytes() for message in mails)]
    texts += texts_of(etl, tmp_path / "backup")
    assert looking.looks > 20
    assert told(secrets, texts) == []
    assert told([dead], texts) != []


def test_a_right_to_send_that_is_gone_shows_without_a_mail_and_is_told_once_it_is_back(
    etl: Installation, provider: OAuthServer, imap_host: ImapServer, tmp_path: Path
):
    """The watch ends with 1 and calls nobody, also when it has nothing to tell; so the service outside notices."""
    box = ImapInbox(etl, imap_host, tmp_path)
    box.rule("dead", gmail_account="dead@example.com", auth="oauth:corner")
    dead = {"refresh_token": "refresh-token-that-was-taken-away"}
    provider.grant(tmp_path / "oauth", SENDER, **dead)
    etl.query("UPDATE dba.tscheduler SET datastatusid = 2; UPDATE dba.treportmanager SET datastatusid = 2")
    now = datetime.now().astimezone().replace(second=0, microsecond=0)
    task = etl.value(
        "INSERT INTO dba.tscheduler (taskname, frequency, scriptpath, datastatusid, createddate)"
        " VALUES ('Inbox', '*/10 * * * *', 'process_inbox.py', 1, %s) RETURNING schedulerid",
        now - timedelta(days=1),
    )
    slot = now - timedelta(minutes=now.minute % 10 + 10)
    pings: list[str] = []

    def outside(_method: str, path: str, *_more: Any) -> Answer:
        pings.append(path)
        return Answer(200)

    with mail_server(tmp_path, kind=TokenMailServer) as server, serving(outside) as (url, _):
        server.owners = provider.access
        del server.variables["ETL_EMAIL_PASSWORD"]
        settled = {
            **server.variables, "SSL_CERT_FILE": box.variables["SSL_CERT_FILE"], "ETL_SMTP_AUTH": "oauth:corner",
            "ETL_OAUTH_DIR": str(tmp_path / "oauth"), "ETL_PING_URL": f"{url}/ping",
        }  # fmt: skip
        first = etl.door("check_schedule.py", **settled, ETL_CLOCK=(slot - timedelta(minutes=1)).isoformat())
        etl.door("--scheduled-at", slot.isoformat(), "--task", str(task), "process_inbox.py", **settled)
        checks = [first, *(etl.door("check_schedule.py", **settled) for _ in range(2))]
        shown = etl.door("show_state.py", **settled).stdout
        found = json.loads(etl.door("doctor.py", "--json", **settled).stdout)
        assert pings == []
        provider.grant(tmp_path / "oauth", SENDER)
        checks += [etl.door("check_schedule.py", **settled) for _ in range(2)]

    assert [check.returncode for check in checks] == [1, 1, 1, 0, 0]
    typed = f"bash {PROJECT}/onboarding/sh/mailbox_consent.sh {SENDER} --provider corner"
    for check in checks[:3]:
        assert check.stderr.startswith("error: no alert can be mailed: corner no longer gives access to the mail of ")
        assert check.stderr.endswith(f"type: {typed}\n")
    assert f"the watch  no alert can be mailed: corner no longer gives access to the mail of {SENDER}" in shown
    assert f"type: {typed}\n" in shown
    (refused,) = [finding["told"] for finding in found if finding["name"] == "mail"]
    assert refused.endswith(typed)
    assert pings == ["/ping", "/ping"]
    assert [received.message["Subject"].partition("] ")[2] for received in server.received] == ["failed: Inbox"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"ETL_SMTP_AUTH": "oauth:nobody"}, "there is no provider 'nobody'"),
        ({"ETL_SMTP_AUTH": "oauth:../x"}, "ETL_SMTP_AUTH is 'oauth:../x'"),
        ({"ETL_EMAIL": "nobody"}, "ETL_EMAIL"),
        ({"ETL_EMAIL": "other@example.com"}, "was not granted yet"),
    ],
)
def test_a_setting_with_which_nothing_can_be_sent_shows_before_there_is_something_to_tell(
    etl: Installation, provider: OAuthServer, tmp_path: Path, more: dict[str, str], told: str
):
    settled = {"ETL_EMAIL": SENDER, "ETL_SMTP_AUTH": "oauth:corner", "ETL_OAUTH_DIR": str(tmp_path / "oauth"), **more}
    result = etl.door("check_schedule.py", **settled)
    assert result.returncode == 1
    assert result.stderr.startswith("error: no alert can be mailed: ")
    assert told in result.stderr


def test_a_provider_that_is_down_is_no_reason_for_the_watch_to_fail(
    etl: Installation, provider: OAuthServer, tmp_path: Path
):
    etl.query("UPDATE dba.tscheduler SET datastatusid = 2; UPDATE dba.treportmanager SET datastatusid = 2")
    provider.grant(tmp_path / "oauth", SENDER)
    provider.troubles += [Answer(400, "<html>")] * 3
    result = etl.door(
        "check_schedule.py", ETL_EMAIL=SENDER, ETL_SMTP_AUTH="oauth:corner", ETL_OAUTH_DIR=str(tmp_path / "oauth")
    )
    assert result.returncode == 0
    assert "warning: localhost" in result.stderr
