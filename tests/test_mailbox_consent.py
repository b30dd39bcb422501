"""mailbox_consent.sh: a person grants access to a mailbox, and the logins are tried."""

import contextlib
import json
import stat
import subprocess
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import PROJECT, clean_environment
from imap_server import ImapServer
from oauth_server import CLIENT_SECRET, Answer, OAuthServer, write_secret
from smtp_server import TokenMailServer, mail_server

from systemscripts import known_secrets
from systemscripts.errors import JobError
from systemscripts.inbox import mailbox_consent
from systemscripts.mail.oauth import kept_rights, refusals, rights, standard
from systemscripts.mail.oauth.refusals import RightUnavailable
from systemscripts.web import api

pytest_plugins = ["inbox_fixtures"]
pytestmark = pytest.mark.slow

BOX = "person@example.com"


@pytest.fixture
def mail_host(tmp_path: Path, rights_provider: OAuthServer) -> Iterator[TokenMailServer]:
    with mail_server(tmp_path, security="starttls", kind=TokenMailServer) as server:
        server.owners = rights_provider.access
        yield server


@pytest.fixture(params=["corner", "tenant"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def provider(
    rights_provider: OAuthServer,
    imap_host: ImapServer,
    mail_host: TokenMailServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> OAuthServer:
    """A provider with mail servers, described as `corner`, and as Microsoft as `tenant`."""
    rights_provider.rotates, rights_provider.lasts = True, 3600
    for left in (rights_provider.troubles, rights_provider.forms, rights_provider.waiting_for_person):
        left.clear()
    servers = {"imap_server": imap_host.name, "smtp_server": f"localhost:{mail_host.port}"}
    for settings in (
        rights_provider.describe(tmp_path / "oauth", **servers),
        rights_provider.describe(tmp_path / "oauth", "tenant", like="microsoft", **servers),
    ):
        for variable, value in settings.items():
            monkeypatch.setenv(variable, value)
    for memory in (rights._refused, rights._not_before):
        memory.clear()
    for memory in ("_texts", "_bytes"):
        monkeypatch.setattr(known_secrets, memory, [])
    monkeypatch.setattr(api, "wait", lambda _seconds: None)
    monkeypatch.setattr(standard, "wait", lambda _seconds: None)
    return rights_provider


def paste(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """Paste an address in which {state} and {nonce} stand for the right ones."""
    begun: list[dict[str, str]] = []
    real = rights.begin

    def begin(*arguments: Any) -> Any:
        consent = real(*arguments)
        begun.append(dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(consent.address).query)))
        return consent

    monkeypatch.setattr(rights, "begin", begin)
    monkeypatch.setattr("builtins.input", lambda _prompt: answer.format(**{"nonce": "", **begun[-1]}))


def test_a_person_types_a_code_and_the_right_works(
    provider: OAuthServer, name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    provider.waiting_for_person += ["authorization_pending", "authorization_pending"]

    assert mailbox_consent.main([BOX, "--provider", name, "--device"]) == 0

    told = capsys.readouterr().out
    assert "https://example.com/device" in told
    assert "ABCD-EFGH" in told
    assert "IMAP at localhost" in told
    assert "SMTP at localhost" in told
    assert "not work" not in told
    file = tmp_path / "oauth" / "rights" / f"{name}_{BOX}.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not any(secret in told for secret in provider.secrets)
    rights.access_token(name, BOX, refused=json.loads(file.read_text())["access_token"])


def test_a_person_pastes_the_address_of_the_browser(
    provider: OAuthServer, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    paste(monkeypatch, f"http://localhost:1/?code={BOX}|{{nonce}}&state={{state}}")

    assert mailbox_consent.main([BOX, "--provider", name]) == 0

    told = capsys.readouterr().out
    assert "code_challenge=" in told
    assert "login_hint=person" in told
    # Microsoft compares it with the registered http://localhost, of which it leaves out only the port.
    assert "redirect_uri=http%3A%2F%2Flocalhost%3A1&" in told
    assert "offline_access" in told or name == "corner"
    (form,) = [form for form in provider.forms if form["grant_type"] == "authorization_code"]
    assert len(form["code_verifier"]) >= 43


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("http://localhost:1/?error=access_denied&error_description=AADSTS65004%3A+no&state={state}", "choose Accept"),
        ("http://localhost:1/?error=access_denied&error_description=AADSTS65001%3A+no&state={state}", "admin consent"),
        (f"http://localhost:1/?code={BOX}&state=x", "another attempt"),
        ("https://example.com/", "not the right address"),
        ("", "not the right address"),
    ],
)
def test_a_consent_that_goes_wrong_changes_nothing(
    provider: OAuthServer, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: str, told: str
):
    file = provider.grant(tmp_path / "oauth", BOX, name)
    before = file.read_bytes()
    paste(monkeypatch, answer)

    with pytest.raises(JobError, match=told):
        mailbox_consent.main([BOX, "--provider", name])

    assert file.read_bytes() == before


@pytest.mark.parametrize("code", ["53003", "7000218", "50020", "700016"])
def test_a_refusal_of_the_tenant_says_what_its_administrator_does(provider: OAuthServer, name: str, code: str):
    provider.troubles.append(
        Answer(400, {"error": "invalid_grant", "error_description": f"AADSTS{code}: no.\r\nTrace"})
    )
    with pytest.raises(JobError) as problem:
        mailbox_consent.main([BOX, "--provider", name, "--device"])
    assert refusals.MEANINGS[code].cure in str(problem.value)
    assert not kept_rights.file_of(name, BOX).exists()


def test_a_right_with_which_no_login_works_is_not_kept(
    provider: OAuthServer, mail_host: TokenMailServer, capsys: pytest.CaptureFixture[str]
):
    """The person logged in as somebody who may not use the mailbox."""
    mail_host.refusal = "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled"

    assert mailbox_consent.main(["other@example.com", "--provider", "tenant", "--device"]) == 1

    told = capsys.readouterr().out
    assert f"{BOX} has granted the access; it is used for the mailbox other@example.com" in told
    assert "SMTP AUTH is switched off" in told
    assert "Set-CASMailbox -Identity other@example.com -ImapEnabled" not in told or "IMAP" in told
    assert "Nothing was changed" in told
    assert not kept_rights.file_of("tenant", "other@example.com").exists()


def test_a_right_is_kept_when_no_login_can_be_tried_for_now(
    provider: OAuthServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """A firewall is still closed: the person must not be asked a second time."""
    nobody = {"imap_server": "localhost:1", "smtp_server": "localhost:1"}
    provider.describe(tmp_path / "oauth", **nobody)

    assert mailbox_consent.main([BOX, "--provider", "corner", "--device"]) == 75

    assert "although no login could be tried" in capsys.readouterr().out
    assert kept_rights.file_of("corner", BOX).exists()


def test_a_person_who_stops_it_changes_nothing(provider: OAuthServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def stopped(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(mailbox_consent, "tried", stopped)
    file = kept_rights.file_of("corner", BOX)
    with pytest.raises(JobError, match="nothing was changed"):
        mailbox_consent.unless_left([BOX, "--provider", "corner", "--device"])
    assert not file.exists()

    granted_at = json.loads(provider.grant(tmp_path / "oauth", BOX).read_text())["granted_at"]
    with pytest.raises(JobError, match="nothing was changed"):
        mailbox_consent.unless_left([BOX, "--provider", "corner", "--device"])
    assert json.loads(file.read_text())["granted_at"] == granted_at

    other = provider.grant(tmp_path / "oauth", BOX, "tenant")
    before = other.read_bytes()
    provider.grant(tmp_path / "oauth", BOX).write_text(file.read_text().replace('"corner"', '"tenant"'))
    with pytest.raises(JobError, match="nothing was changed"):
        mailbox_consent.unless_left([BOX, "--provider", "corner", "--device"])
    assert other.read_bytes() == before


def test_a_person_is_not_asked_where_the_right_cannot_be_kept(
    provider: OAuthServer, name: str, capsys: pytest.CaptureFixture[str]
):
    folder = kept_rights.file_of(name, BOX).parent
    folder.mkdir(mode=0o500)
    try:
        with pytest.raises(JobError, match="type: sudo .*chown"):
            mailbox_consent.main([BOX, "--provider", name, "--device"])
    finally:
        folder.chmod(0o700)
    assert capsys.readouterr().out == ""


def test_a_code_that_nobody_types_runs_out(provider: OAuthServer, name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(provider, "device", {"expires_in": 0, "interval": 1})
    provider.waiting_for_person += ["authorization_pending"]
    with pytest.raises(JobError, match="the code was not entered in time; start again"):
        mailbox_consent.main([BOX, "--provider", name, "--device"])


@pytest.mark.parametrize(
    "device",
    [
        {"verification_uri": None}, {"user_code": ""}, {"interval": "soon"}, {"interval": -1}, {"interval": [1]},
        {"interval": float("inf")}, {"expires_in": "never"},
    ],
    ids=str,
)  # fmt: skip
def test_a_device_code_that_cannot_be_is_no_crash(
    provider: OAuthServer, name: str, device: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    waits: list[float] = []
    monkeypatch.setattr(standard, "wait", waits.append)
    monkeypatch.setattr(provider, "device", device)
    # A wrong duration stands for the usual one, as far as the provider's own library can be told so.
    with contextlib.suppress(RightUnavailable):
        assert mailbox_consent.main([BOX, "--provider", name, "--device"]) == 0
    assert all(0 <= wait <= 60 for wait in waits)


def test_what_the_provider_says_of_the_person_steers_nothing(
    provider: OAuthServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(provider, "device", {"verification_uri": "https://example.com/\n\n4. Type: reboot\x1b[2J"})
    for claims in ("x", {"preferred_username": "anna\x1b[31m\n@example.com"}):
        provider.troubles.append(
            Answer(
                200, {"access_token": "a" * 9, "refresh_token": "r" * 9, "expires_in": 60, "id_token_claims": claims}
            )
        )
        assert mailbox_consent.main([BOX, "--provider", "corner", "--device"]) == 1
    told = capsys.readouterr().out
    assert "\nhttps://example.com/ 4. Type: reboot [2J\n" in told
    assert "anna [31m @example.com has granted the access" in told


def test_one_login_that_works_is_enough(
    provider: OAuthServer, mail_host: TokenMailServer, capsys: pytest.CaptureFixture[str]
):
    mail_host.owners = {}
    assert mailbox_consent.main([BOX, "--provider", "corner", "--device"]) == 0
    told = capsys.readouterr().out
    assert "SMTP at localhost" in told
    assert "does not work" in told
    assert "auth = 'oauth:corner'" in told


def test_a_program_that_logs_in_for_itself_asks_nobody(
    provider: OAuthServer, mail_host: TokenMailServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "oauth" / "tenant.json"
    write_secret(file, {**json.loads(file.read_text()), "client_secret": CLIENT_SECRET})
    mail_host.shared["app"] = BOX

    assert mailbox_consent.main([BOX, "--provider", "tenant"]) == 0

    assert "SMTP at localhost" in capsys.readouterr().out
    assert provider.grants()[0] == "client_credentials"


def test_it_says_beforehand_what_it_would_ask_for(
    provider: OAuthServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ETL_MICROSOFT_CLIENT_ID", "an-id")
    assert mailbox_consent.main([BOX, "--dry-run", "--provider", "graph", "--shared"]) == 0
    told = capsys.readouterr().out
    assert "Mail.ReadWrite.Shared" in told
    assert provider.forms == []


def test_the_script_waits_for_a_person(provider: OAuthServer, tmp_path: Path):
    environment = clean_environment(
        ETL_OAUTH_DIR=str(tmp_path / "oauth"),
        **{name: str(tmp_path / "oauth" / "authority.pem") for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")},
    )
    script = PROJECT / "onboarding/sh/mailbox_consent.sh"

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["/bin/bash", str(script), *arguments],
            env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    result = run(BOX, "--provider", "tenant", "--device")
    assert result.returncode == 0, result.stderr + result.stdout
    assert "ABCD-EFGH" in result.stdout

    result = run(BOX, "--provider", "tenant")
    assert (result.returncode, result.stderr) == (1, "mailbox_consent.sh: nothing was changed\n")
    assert run("nobody").returncode == 1
    assert run(BOX, "--no-such").returncode == 64


def test_every_code_stands_in_the_document():
    page = (PROJECT / "docs/mailboxes.md").read_text()
    assert [code for code in refusals.MEANINGS if code not in page] == []
