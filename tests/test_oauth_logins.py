"""Logins with a token, at a real SMTP server and a real dovecot: as with a password, and when tokens die."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import Installation
from imap_server import ImapServer
from lying_imap import dying
from mailboxes import ImapInbox
from oauth_server import BROKEN, INVALID_GRANT, OAuthServer
from smtp_server import SENDER, TokenMailServer, mail_server

from systemscripts import db_config, known_secrets
from systemscripts.errors import TemporaryFailure
from systemscripts.inbox import open_mailbox, taking
from systemscripts.inbox.rules import by_place, load_rules
from systemscripts.mail import composing, smtp
from systemscripts.mail.composing import MailError, MailUnavailable
from systemscripts.mail.oauth import rights, sasl
from systemscripts.web import api

pytest_plugins = ["inbox_fixtures"]
pytestmark = pytest.mark.slow

A = "a@example.com"
CSV = b"a\n1\n"


@pytest.fixture
def provider(rights_provider: OAuthServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OAuthServer:
    """The provider of rights, described as `corner`; nobody waits."""
    rights_provider.rotates, rights_provider.lasts = True, 3600
    rights_provider.troubles.clear()
    rights_provider.forms.clear()
    for name, value in rights_provider.describe(tmp_path / "oauth").items():
        monkeypatch.setenv(name, value)
    for memory in (rights._refused, rights._not_before):
        memory.clear()
    for memory in ("_texts", "_bytes"):
        monkeypatch.setattr(known_secrets, memory, [])
    monkeypatch.setattr(api, "wait", lambda _seconds: None)
    monkeypatch.setattr(smtp, "wait", lambda _seconds: None)
    return rights_provider


# ---- SMTP ----------------------------------------------------------------------------------


@pytest.fixture
def mail_host(provider: OAuthServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenMailServer]:
    with mail_server(tmp_path, kind=TokenMailServer) as server:
        server.owners = provider.access
        del server.variables["ETL_EMAIL_PASSWORD"]
        for name, value in {**server.variables, "ETL_SMTP_AUTH": "oauth:corner"}.items():
            monkeypatch.setenv(name, value)
        provider.grant(tmp_path / "oauth", SENDER)
        yield server


def send(subject: str = "Subject") -> dict[str, str]:
    return smtp.send(composing.text_mail(subject, "Hello\n", A), [A])


def test_mail_is_sent_after_a_login_with_a_token(mail_host: TokenMailServer, provider: OAuthServer):
    assert send() == {}
    assert send() == {}
    assert [received.user for received in mail_host.received] == [SENDER, SENDER]
    assert provider.grants() == ["refresh_token"]


def test_mail_is_sent_as_a_shared_mailbox_with_a_persons_token(
    mail_host: TokenMailServer, provider: OAuthServer, tmp_path: Path
):
    provider.grant(tmp_path / "oauth", SENDER, refresh_token=provider.new_refresh("anna@example.com"))
    mail_host.shared["anna@example.com"] = SENDER

    send()

    assert [received.user for received in mail_host.received] == [SENDER]


def test_a_token_that_died_before_its_time_is_replaced(mail_host: TokenMailServer, provider: OAuthServer):
    with smtp.Mailer() as mailer:
        for number in range(3):
            mailer.send(composing.text_mail(str(number), "x", A), [A])
            provider.forget_access()

    assert [received.message["Subject"] for received in mail_host.received] == ["0", "1", "2"]


def test_a_login_that_is_refused_twice_is_not_tried_again(mail_host: TokenMailServer, provider: OAuthServer):
    mail_host.owners = {}
    mail_host.refusal = "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant"

    for _ in range(3):
        with pytest.raises(MailError, match=f"SMTP AUTH is switched off.*mailbox_consent.sh {SENDER}"):
            send()

    assert mail_host.logins == 2
    assert mail_host.received == []


def test_a_right_that_was_taken_away_sends_nothing_and_asks_once(mail_host: TokenMailServer, provider: OAuthServer):
    provider.troubles.append(INVALID_GRANT)
    for _ in range(3):
        with pytest.raises(MailError, match="mailbox_consent.sh"):
            send()
    assert len(provider.forms) == 1
    assert mail_host.connections == 0


def test_a_provider_that_is_down_leaves_the_mail_for_later(mail_host: TokenMailServer, provider: OAuthServer):
    provider.troubles += [BROKEN] * 3
    with pytest.raises(MailUnavailable) as failure:
        send()
    assert failure.value.waiting == (A,)
    assert send() == {}


def test_a_token_is_shown_to_no_other_server_than_the_providers(
    box: ImapInbox, mail_host: TokenMailServer, provider: OAuthServer, tmp_path: Path
):
    """A row or a setting that names another one would hand the mailbox over."""
    provider.describe(tmp_path / "oauth", imap_server="outlook.office365.com", smtp_server="smtp.office365.com:587")
    result = box.run()
    assert result.returncode == 1
    assert "a token of corner is shown to outlook.office365.com only; correct imap_server" in result.stderr
    with pytest.raises(
        MailError, match="SMTP_HOST is 'localhost', but a token of corner is shown to smtp.office365.com only"
    ):
        send()
    assert provider.forms == []
    assert mail_host.connections == 0

    provider.describe(tmp_path / "oauth", imap_server="LOCALHOST", smtp_server="localhost:587")
    assert send() == {}
    assert box.run().returncode == 0


def test_a_server_that_takes_no_tokens_is_said_so(
    provider: OAuthServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    provider.grant(tmp_path / "oauth", SENDER)
    with mail_server(tmp_path) as server:
        for name, value in {**server.variables, "ETL_SMTP_AUTH": "oauth:corner"}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(MailError, match=r"takes no login with a token \(it offers LOGIN PLAIN\)"):
            send()


# ---- IMAP ----------------------------------------------------------------------------------


@pytest.fixture
def box(
    provider: OAuthServer, etl: Installation, imap_host: ImapServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ImapInbox:
    """A mailbox with a rule that logs in with a token."""
    inbox = ImapInbox(etl, imap_host, tmp_path)
    oauth = {name: str(tmp_path / "oauth") for name in ("ETL_OAUTH_DIR",)}
    inbox.variables = {"SSL_CERT_FILE": inbox.variables["SSL_CERT_FILE"], **oauth}
    for name, value in inbox.variables.items():
        monkeypatch.setenv(name, value)
    provider.grant(tmp_path / "oauth", inbox.account)
    inbox.rule(auth="oauth:corner")
    return inbox


def take() -> list[taking.MailOutcome]:
    with closing(db_config.connect()) as connection:
        ((place, rules),) = by_place(load_rules(connection)).items()
        with open_mailbox(place) as mailbox:
            return list(taking.take_mail(connection, mailbox, place, rules, dry_run=False))


def test_a_mailbox_is_read_after_a_login_with_a_token(box: ImapInbox, provider: OAuthServer):
    box.receive(("a.csv", CSV), subject="one")

    result = box.run()

    assert result.returncode == 0, result.stderr
    assert box.files == {"a.csv": CSV}
    assert box.labelled("processed") == ["one"]
    told = result.stdout + result.stderr
    assert not any(secret in told for secret in provider.secrets)


@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "XOAUTH2"])
def test_both_ways_of_showing_a_token_are_understood(
    box: ImapInbox, provider: OAuthServer, monkeypatch: pytest.MonkeyPatch, mechanism: str
):
    chosen: list[str] = []
    real = sasl.Dialogue

    def dialogue(_offered: Any, user: str, token: str) -> sasl.Dialogue:
        chosen.append(mechanism)
        return real(mechanism, user, token)  # type: ignore[arg-type]

    monkeypatch.setattr(sasl, "chosen", lambda offered: mechanism if mechanism in offered else None)
    monkeypatch.setattr(sasl, "Dialogue", dialogue)
    box.receive(("a.csv", CSV))
    rights.access_token("corner", box.account)
    provider.forget_access()

    assert [outcome.status for outcome in take()] == ["Saved"]
    assert chosen == [mechanism] * 2


def test_the_token_of_another_mailbox_is_refused_and_says_what_to_do(
    box: ImapInbox, provider: OAuthServer, tmp_path: Path
):
    provider.grant(tmp_path / "oauth", box.account, refresh_token=provider.new_refresh("other@example.com"))
    result = box.run()
    assert result.returncode == 1
    assert f"refuses the login of {box.account}" in result.stderr
    assert f"mailbox_consent.sh {box.account} --provider corner" in result.stderr


def test_a_right_that_was_taken_away_stops_only_its_mailbox(
    box: ImapInbox, provider: OAuthServer, imap_host: ImapServer, tmp_path: Path
):
    dead = "dead@example.com"
    provider.grant(tmp_path / "oauth", dead, refresh_token="taken-away-refresh-token")
    box.rule("dead", gmail_account=dead, auth="oauth:corner")
    box.receive(("a.csv", CSV), subject="one")

    result = box.run()

    assert result.returncode == 1
    assert f"mailbox_consent.sh {dead} --provider corner" in result.stderr
    assert "taken-away-refresh-token" not in result.stderr
    assert box.files == {"a.csv": CSV}


def test_a_login_that_ends_in_the_middle_is_made_anew_and_nothing_is_taken_twice(
    box: ImapInbox, provider: OAuthServer, imap_host: ImapServer
):
    for number in range(8):
        box.receive((f"{number}.csv", b"%d" % number), subject=f"{number:02}")
    with dying(imap_host, provider.forget_access, every=11) as (name, deaths):
        box.etl.query("UPDATE dba.tinboxconfig SET imap_server = %s", name)
        outcomes = take()

    assert [outcome.status for outcome in outcomes] == ["Saved"] * 8
    assert deaths() > 3
    assert box.files == {f"{number}.csv": b"%d" % number for number in range(8)}
    assert box.labelled("processed") == [f"{number:02}" for number in range(8)]
    assert box.rows == ["Saved"] * 8


def test_a_server_that_ends_every_login_is_left_for_the_next_run(
    box: ImapInbox, provider: OAuthServer, imap_host: ImapServer
):
    box.receive(("a.csv", CSV), subject="one")
    with dying(imap_host, provider.forget_access, every=4) as (name, _deaths):
        box.etl.query("UPDATE dba.tinboxconfig SET imap_server = %s", name)
        with pytest.raises(TemporaryFailure, match="does not continue"):
            take()
    assert len(provider.forms) <= 2
    assert box.files == {}
