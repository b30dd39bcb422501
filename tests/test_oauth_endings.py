"""Rights that will end are named by the doctor, and told by the watch before it hurts."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conftest import Installation
from imap_server import ImapServer
from mailboxes import ImapInbox
from oauth_server import CLIENT_ID, CLIENT_SECRET, TENANT, OAuthServer, write_secret
from smtp_server import SENDER, TokenMailServer, mail_server
from test_oauth_rights import certificate

from systemscripts.doctor import mail
from systemscripts.mail.oauth import endings, rights

pytest_plugins = ["inbox_fixtures"]
pytestmark = pytest.mark.slow

BOX = "box@example.com"
DAY = 86_400


@pytest.fixture
def folder(rights_provider: OAuthServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a provider whose rights end after 90 days without use."""
    described = rights_provider.describe(tmp_path / "oauth", idle_days=90)
    for name, value in described.items():
        monkeypatch.setenv(name, value)
    rights_provider.troubles.clear()
    for memory in (rights._refused, rights._not_before):
        memory.clear()
    return tmp_path / "oauth"


def used(days: float) -> dict[str, float]:
    return {"obtained_at": time.time() - days * DAY, "expires_at": time.time() - days * DAY + 3600}


def now() -> datetime:
    return datetime.now().astimezone()


def test_a_right_that_is_not_used_is_told_two_weeks_before_its_end(rights_provider: OAuthServer, folder: Path):
    rights_provider.grant(folder, BOX, **used(77))
    (ending,) = endings.endings(now())
    assert "was last used" in ending.told
    assert f"mailbox_consent.sh {BOX} --provider corner" in ending.cure
    rights_provider.grant(folder, BOX, **used(74))
    assert list(endings.endings(now())) == []
    (ending,) = endings.endings(now(), timedelta(days=30))  # as the weekly letter asks
    assert "was last used" in ending.told


def test_a_date_that_the_provider_named_is_told(rights_provider: OAuthServer, folder: Path):
    soon = (datetime.now(UTC) + timedelta(hours=30)).isoformat()
    rights_provider.grant(folder, BOX, ends_at=soon, **used(0))
    assert [ending.told.partition(" ends ")[0] for ending in endings.endings(now())] == [
        f"the access to {BOX} by corner"
    ]


def test_the_end_of_a_certificate_and_of_a_secret_is_told_a_month_before(
    folder: Path, rights_provider: OAuthServer, monkeypatch: pytest.MonkeyPatch
):
    about = {"like": "microsoft", "authority": f"https://login.microsoftonline.com/{TENANT}", "client_id": CLIENT_ID}
    write_secret(folder / "tenant.json", {**about, "certificate": str(certificate(folder / "soon.pem", 20))})
    (ending,) = endings.endings(now())
    assert ending.told.startswith(f"the certificate {folder / 'soon.pem'} ends ")

    write_secret(folder / "tenant.json", {**about, "certificate": str(certificate(folder / "late.pem", 40))})
    assert list(endings.endings(now())) == []

    write_secret(folder / "tenant.json", {**about, "client_secret": CLIENT_SECRET})
    monkeypatch.setenv("ETL_MICROSOFT_CLIENT_SECRET_ENDS", f"{now() + timedelta(days=10):%Y-%m-%d}")
    (ending,) = endings.endings(now())
    assert ending.told.startswith("the secret of this program at Microsoft ends ")


def test_the_watch_tells_it_once_when_it_comes_near_and_once_at_last(
    etl: Installation, rights_provider: OAuthServer, folder: Path, tmp_path: Path
):
    rights_provider.grant(folder, BOX, **used(80))
    with mail_server(tmp_path) as server:
        settings = {**server.variables, "ETL_OAUTH_DIR": str(folder)}
        for _ in range(2):
            assert etl.door("check_schedule.py", **settings).returncode == 0
        late = now() + timedelta(days=9)
        etl.door("check_schedule.py", **settings, ETL_CLOCK=late.isoformat())

    told = [mail.message for mail in server.received if BOX in mail.message["Subject"]]
    assert len(told) == 2
    assert f"mailbox_consent.sh {BOX} --provider corner" in told[0].get_content()


def test_the_doctor_logs_in_with_each_right_and_names_what_is_wrong(
    etl: Installation, rights_provider: OAuthServer, imap_host: ImapServer, folder: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    inbox = ImapInbox(etl, imap_host, tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", inbox.variables["SSL_CERT_FILE"])
    inbox.rule(auth="oauth:corner")
    inbox.rule("other", gmail_account="other@example.com", auth="oauth:corner")
    inbox.rule("odd", gmail_account="a@example.com", auth="oauth:graph")
    inbox.rule("path", gmail_account="../../a@example.com", auth="oauth:corner")
    rights_provider.grant(folder, inbox.account)
    monkeypatch.setenv("ETL_MICROSOFT_CLIENT_SECRET", CLIENT_SECRET)

    found = {finding.told.partition(" (")[0]: finding for finding in mail.granted()}

    assert found[f"{inbox.account} can be read"].state == "ok"
    missing = found["access to the mail of other@example.com was not granted yet"]
    assert missing.state == "failed"
    assert any("oauth:graph is no login at a server" in told for told in found)
    assert any("'../../a@example.com' is not the address of a mailbox" in told for told in found)
    assert missing.cure.endswith("mailbox_consent.sh other@example.com --provider corner")
    assert any("_ENDS is not set" in told for told in found)


def test_the_doctor_logs_in_at_the_mail_server_with_a_token(
    etl: Installation, rights_provider: OAuthServer, folder: Path, tmp_path: Path
):
    with mail_server(tmp_path, kind=TokenMailServer) as server:
        server.owners = rights_provider.access
        del server.variables["ETL_EMAIL_PASSWORD"]
        settings = {**server.variables, "ETL_SMTP_AUTH": "oauth:corner", "ETL_OAUTH_DIR": str(folder)}
        rights_provider.grant(folder, SENDER)
        found = json.loads(etl.door("doctor.py", "--json", **settings).stdout)
    assert ("mail", "ok") in [(finding["name"], finding["state"]) for finding in found]
