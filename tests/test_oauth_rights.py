"""Rights to mailboxes: renewed by one process at a time, kept safely, and refused in a sentence."""

import base64
import contextlib
import errno
import json
import os
import shlex
import signal
import socketserver
import stat
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from oauth_server import (
    BROKEN,
    BUSY,
    CLIENT_SECRET,
    INVALID_GRANT,
    RESET,
    TENANT,
    Answer,
    OAuthServer,
    oauth_server,
    write_secret,
)

from systemscripts import known_secrets, settings
from systemscripts.errors import JobError
from systemscripts.mail import gmail_login
from systemscripts.mail.composing import MailError
from systemscripts.mail.oauth import endings, endpoint, kept_rights, providers, refusals, rights, sasl, standard
from systemscripts.mail.oauth.refusals import RightRefused, RightUnavailable, TokenRefused
from systemscripts.web import api

BOX = "box@example.com"


@pytest.fixture(scope="module")
def running() -> Iterator[OAuthServer]:
    with oauth_server() as server:
        yield server


@pytest.fixture
def server(running: OAuthServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OAuthServer:
    """The provider, described as `corner` and, as Microsoft, as `tenant`; nobody waits."""
    running.rotates, running.lasts = True, 3600
    running.troubles.clear()
    running.forms.clear()
    for name, value in {**running.describe(tmp_path), **running.describe(tmp_path, "tenant", like="microsoft")}.items():
        monkeypatch.setenv(name, value)
    for memory in (rights._refused, rights._not_before):
        memory.clear()
    for memory in ("_texts", "_bytes"):
        monkeypatch.setattr(known_secrets, memory, [])
    monkeypatch.setattr(api, "wait", lambda _seconds: None)
    return running


@pytest.fixture(params=["corner", "tenant"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def kept(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text()))


def test_a_token_is_renewed_once_and_then_used_until_shortly_before_its_end(
    server: OAuthServer, tmp_path: Path, name: str
):
    file = server.grant(tmp_path, BOX, name)
    former = kept(file)["refresh_token"]

    token = rights.access_token(name, BOX)

    assert server.access[token] == BOX
    assert rights.access_token(name, BOX) == token
    assert server.grants() == ["refresh_token"]
    assert kept(file)["refresh_token"] not in (former, "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    ends = time.time() + kept_rights.EARLY_S - 1
    write_secret(file, {**kept(file), "obtained_at": ends - 3600, "expires_at": ends})
    assert rights.access_token(name, BOX) != token


def test_a_refresh_token_that_does_not_rotate_stays(server: OAuthServer, tmp_path: Path, name: str):
    server.rotates = False
    file = server.grant(tmp_path, BOX, name)
    former = kept(file)["refresh_token"]

    rights.access_token(name, BOX)

    assert kept(file)["refresh_token"] == former


def test_a_token_from_the_future_is_renewed(server: OAuthServer, tmp_path: Path):
    """The clock was set back since it was obtained."""
    soon = time.time() + 86_400
    server.grant(tmp_path, BOX, access_token="access-of-tomorrow", obtained_at=soon, expires_at=soon + 3600)
    assert rights.access_token("corner", BOX) != "access-of-tomorrow"


@pytest.mark.parametrize("trouble", [BROKEN, BUSY, RESET, Answer(503), Answer(429)], ids=str)
def test_what_passes_is_asked_again_and_not_more_than_three_times(
    server: OAuthServer, tmp_path: Path, name: str, trouble: Any
):
    server.grant(tmp_path, BOX, name)
    server.troubles += [trouble, trouble]
    assert rights.access_token(name, BOX) in server.access

    server.forms.clear()
    server.troubles += [trouble] * 3
    with pytest.raises(RightUnavailable):
        rights.access_token(name, BOX, refused=rights.access_token(name, BOX))
    assert len(server.forms) == 3


def test_a_provider_that_wants_to_be_left_alone_for_long_is(server: OAuthServer, tmp_path: Path, name: str):
    server.grant(tmp_path, BOX, name)
    server.troubles.append(Answer(429, "", (("Retry-After", "120"),)))

    for _ in range(3):
        with pytest.raises(RightUnavailable, match="429"):
            rights.access_token(name, BOX)

    assert len(server.forms) == 1


def test_a_refusal_is_final_for_the_run_and_says_what_to_type(server: OAuthServer, tmp_path: Path, name: str):
    file = server.grant(tmp_path, BOX, name)
    before = file.read_bytes()
    server.troubles.append(INVALID_GRANT)

    for _ in range(3):
        with pytest.raises(RightRefused, match=rf"password was changed.*mailbox_consent.sh {BOX} --provider {name}$"):
            rights.access_token(name, BOX)

    assert len(server.forms) == 1
    assert file.read_bytes() == before


@pytest.mark.parametrize("lasts", [None, "soon", -1, 0, 1e12, True, [3600], float("inf"), float("nan"), 10**400])
def test_an_end_that_cannot_be_is_no_answer(server: OAuthServer, tmp_path: Path, name: str, lasts: Any):
    file = server.grant(tmp_path, BOX, name)
    before = file.read_bytes()
    server.lasts = lasts

    with pytest.raises(RightUnavailable):
        rights.access_token(name, BOX)

    assert file.read_bytes() == before
    server.lasts = "3600"
    assert rights.access_token(name, BOX) in server.access


@pytest.mark.parametrize(
    "body",
    ["", "[]", "{", {"access_token": "a\r\nRCPT TO:<x>", "expires_in": 60}, {"access_token": 7, "expires_in": 60}],
)
def test_an_answer_that_is_none_is_not_kept(server: OAuthServer, tmp_path: Path, name: str, body: Any):
    file = server.grant(tmp_path, BOX, name)
    before = file.read_bytes()
    server.troubles.append(Answer(200, body))

    with pytest.raises(RightUnavailable):
        rights.access_token(name, BOX)

    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "answer",
    [
        Answer(307, {"error": "moved"}, (("Location", "https://example.com/"),)), Answer(400, {"error": 5}),
        Answer(400, {"error": {"code": "x"}}), Answer(400, "<html>log in to the network</html>"),
        Answer(400, {"error": "invalid_grant", "error_description": "AADSTS50196: asked too often"}),
        Answer(200, "x" * (2 << 20)),
    ],
    ids=lambda answer: str(answer)[:40],
)  # fmt: skip
def test_what_is_no_refusal_of_the_right_is_asked_again_later(
    server: OAuthServer, tmp_path: Path, name: str, answer: Answer
):
    file = server.grant(tmp_path, BOX, name)
    before = file.read_bytes()
    server.troubles.append(answer)

    with pytest.raises(RightUnavailable):
        rights.access_token(name, BOX)

    assert file.read_bytes() == before
    assert rights.access_token(name, BOX) in server.access


def test_the_words_of_a_refusal_steer_no_terminal(server: OAuthServer, tmp_path: Path, name: str):
    server.grant(tmp_path, BOX, name)
    hostile = f"\x1b]0;owned\x07\u202e {list(server.refresh)[-1]}\r\n2026-01-01 all is well"
    server.troubles.append(Answer(400, {"error": "invalid_grant", "error_description": hostile}))
    with pytest.raises(RightRefused) as refusal:
        rights.access_token(name, BOX)
    assert str(refusal.value).isprintable()
    assert "(invalid_grant: ]0;owned ****)" in str(refusal.value)


def test_a_provider_that_is_down_does_not_hold_up_a_run_with_many_mails(
    server: OAuthServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    server.grant(tmp_path, BOX)
    clock = [0.0]
    monkeypatch.setattr(rights.time, "monotonic", lambda: clock[0])
    server.troubles += [Answer(503)] * 600
    for _ in range(200):
        clock[0] += 0.5
        with pytest.raises(RightUnavailable):
            rights.access_token("corner", BOX)
    assert len(server.forms) == 3 * 7

    server.troubles.clear()
    clock[0] += rights.LONGEST_REST_S
    assert rights.access_token("corner", BOX) in server.access


def test_a_provider_whose_answer_has_no_end_is_left_soon(
    server: OAuthServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It sends a byte now and then, so that it is never silent."""
    monkeypatch.setattr(endpoint, "WHOLE_IN_S", 0.1)
    over = threading.Event()

    class Dripping(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n")
                while not over.wait(0.02):
                    self.request.sendall(b" ")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Dripping) as listening:
        threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        at = f"http://127.0.0.1:{listening.server_address[1]}/token"
        spoiled(token_endpoint=at)(tmp_path / "corner.json")
        server.grant(tmp_path, BOX)
        try:
            with pytest.raises(RightUnavailable, match=r"not complete after 0\.1 seconds"):
                rights.access_token("corner", BOX)
        finally:
            over.set()
            listening.shutdown()


def spoiled(**values: Any) -> Callable[[Path], object]:
    return lambda file: write_secret(file, {**kept(file), **values})


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (Path.unlink, "is missing"),
        (lambda file: file.write_text("{"), "is damaged"),
        (lambda file: file.write_bytes(b"\xff\0"), "is damaged"),
        (lambda file: file.write_text('{"provider": "corner"}'), "is damaged"),
        (spoiled(refresh_token=3), "is damaged"),
        (spoiled(ends_at="soon"), "is damaged"),
        (spoiled(ends_at=5), "is damaged"),
        (spoiled(obtained_at=1e30, expires_at=2e30), "is damaged"),
        (spoiled(scopes=[5]), "is damaged"),
        # Its token would be shown to a provider that did not give it.
        (spoiled(provider="other"), f"is a right to the mail of {BOX} by other"),
        (spoiled(account="x@example.com"), "is a right to the mail of x@example.com by corner"),
    ],
)
def test_a_file_that_is_no_right_is_named_and_stops_nothing_else(
    server: OAuthServer, tmp_path: Path, spoil: Callable[[Path], Any], told: str
):
    write_secret(tmp_path / "corner.json", {**kept(tmp_path / "corner.json"), "idle_days": 90})
    file = server.grant(tmp_path, BOX)
    spoil(file)
    with pytest.raises(RightRefused, match=f"{told}.*mailbox_consent.sh {BOX} --provider corner"):
        rights.access_token("corner", BOX)
    assert server.forms == []
    assert list(endings.endings(settings.now())) == []


def test_a_right_that_another_version_wrote_is_read(server: OAuthServer, tmp_path: Path):
    spoiled(warned_on="2026-01-01", new_field=[1])(server.grant(tmp_path, BOX))
    assert rights.access_token("corner", BOX) in server.access


def test_the_line_to_type_runs_nothing_that_a_row_holds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("ETL_OAUTH_DIR", str(tmp_path))
    account = "a$(reboot)';reboot;@example.com"
    with pytest.raises(RightRefused) as refusal:
        kept_rights.read("corner", account)
    typed = [str(refusal.value).rpartition("type: ")[2], gmail_login.how_to_log_in(account).removeprefix("type: ")]
    with pytest.raises(settings.SettingError) as problem:
        settings.imap_password(account)
    typed.append(str(problem.value).rpartition("type: ")[2])
    for line in typed:
        assert any(account in word for word in shlex.split(line))


def test_an_account_is_never_a_path(server: OAuthServer, tmp_path: Path):
    with pytest.raises(MailError, match="not the address of a mailbox"):
        rights.access_token("corner", "../../evil@example.com")
    assert list(tmp_path.rglob("*evil*")) == []
    assert list(tmp_path.parent.glob("*evil*")) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file.parent.chmod(0o500),
        lambda file: file.with_suffix(".lock").symlink_to(file),
        lambda file: file.with_suffix(".lock").touch(0o000),
        lambda file: file.chmod(0o000),
    ],
    ids=["directory of another user", "lock is a link", "lock of another user", "file of another user"],
)
def test_what_belongs_to_another_user_is_told_with_the_command_that_mends_it(
    server: OAuthServer, tmp_path: Path, spoil: Callable[[Path], object]
):
    file = server.grant(tmp_path, BOX)
    before = file.read_bytes()
    spoil(file)
    try:
        with pytest.raises(JobError, match="type: sudo .*chown"):
            rights.access_token("corner", BOX)
    finally:
        file.parent.chmod(0o700)
        file.chmod(0o600)
    assert file.read_bytes() == before
    assert server.forms == []


def full(*_arguments: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_system_that_takes_no_room_beforehand_keeps_rights(
    server: OAuthServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def unable(*_arguments: Any) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", unable)
    server.grant(tmp_path, BOX)
    assert rights.access_token("corner", BOX) in server.access


def test_a_full_disk_is_noticed_before_the_provider_ends_the_former_right(
    server: OAuthServer, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
):
    file = server.grant(tmp_path, BOX, name)
    before = file.read_bytes()
    for step in ("open", "posix_fallocate"):
        with monkeypatch.context() as patch:
            patch.setattr(os, step, full)
            with pytest.raises(RightUnavailable, match="cannot be written .No space left on device."):
                rights.access_token(name, BOX)
    assert server.forms == []

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RightUnavailable, match="cannot be written .No space left on device."):
            rights.access_token(name, BOX)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir() if path.suffix == ".part"] == []


def test_a_right_that_others_can_read_is_not_used(server: OAuthServer, tmp_path: Path):
    server.grant(tmp_path, BOX).chmod(0o640)
    with pytest.raises(settings.SettingError, match="chmod 600"):
        rights.access_token("corner", BOX)


# ---- processes -----------------------------------------------------------------------------


def in_child(work: Callable[[], object]) -> int:
    """Do the work in a process of its own, and return its id."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)


STEPS = {
    "before it asks": (standard, "renew", False),
    "after the answer": (standard, "renew", True),
    "before the new file is on disk": (os, "fsync", False),
    "after the new file is on disk": (os, "fsync", True),
    "before the new file has its name": (Path, "replace", False),
    "after the new file has its name": (Path, "replace", True),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_process_that_is_killed_leaves_a_right_that_works(
    server: OAuthServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
):
    file = server.grant(tmp_path, BOX)
    place, function, is_after = STEPS[step]
    real = getattr(place, function)

    def killed(*arguments: Any) -> None:
        if is_after:
            real(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(place, function, killed)
        _, status = os.waitpid(in_child(lambda: rights.access_token("corner", BOX)), 0)

    assert os.WTERMSIG(status) == signal.SIGKILL
    for _ in range(3):
        token = rights.access_token("corner", BOX)
        assert server.access[token] == BOX
        rights.access_token("corner", BOX, refused=token)
    assert sorted(path.name for path in file.parent.iterdir()) == [f"corner_{BOX}.json", f"corner_{BOX}.lock"]


def test_processes_at_once_renew_once(server: OAuthServer, tmp_path: Path):
    server.grant(tmp_path, BOX)
    gate, opener = os.pipe()

    def renew() -> None:
        os.close(opener)
        os.read(gate, 1)
        rights.access_token("corner", BOX)

    children = [in_child(renew) for _ in range(4)]
    os.close(opener)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert len(server.forms) == 1


# ---- a login -------------------------------------------------------------------------------


def test_a_token_that_died_early_is_replaced_and_a_second_refusal_is_final(server: OAuthServer, tmp_path: Path):
    server.grant(tmp_path, BOX)
    stale, tried = rights.access_token("corner", BOX), []

    def only_fresh(token: str) -> str:
        tried.append(token)
        if token == stale:
            raise TokenRefused("invalid_token")
        return "in"

    assert rights.log_in("corner", BOX, "mail.example.com", only_fresh) == "in"
    assert len(tried) == 2

    def never(token: str) -> None:
        tried.append(token)
        raise TokenRefused(
            "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant"
        )

    for _ in range(3):
        with pytest.raises(RightRefused, match=f"Set-CASMailbox -Identity {BOX} -SmtpClientAuth"):
            rights.log_in("corner", BOX, "mail.example.com", never)
    assert len(tried) == 4


# ---- a program of its own ------------------------------------------------------------------


def test_a_program_logs_in_for_itself_with_a_secret(server: OAuthServer, tmp_path: Path):
    values = json.loads((tmp_path / "tenant.json").read_text())
    write_secret(tmp_path / "tenant.json", {**values, "client_secret": CLIENT_SECRET})
    token = rights.access_token("tenant", BOX)
    assert server.access[token] == "app"
    assert server.grants() == ["client_credentials"]

    # Nobody could grant it again.
    kept_rights.file_of("tenant", BOX).write_text("{")
    assert server.access[rights.access_token("tenant", BOX)] == "app"

    token = rights.access_token("tenant", BOX)
    write_secret(tmp_path / "tenant.json", {**values, "client_secret": "not the right one"})
    with pytest.raises(RightRefused, match="must be the secret's Value, not its Secret ID") as refusal:
        rights.access_token("tenant", BOX, refused=token)
    assert "mailbox_consent" not in str(refusal.value)
    assert "not the right one" not in str(refusal.value)


def certificate(file: Path, days: int) -> Path:
    """Write a key and a certificate that ends after so many days."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "etl")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - timedelta(days=900)).not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.touch(mode=0o600)
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file


def test_a_program_logs_in_for_itself_with_a_certificate(server: OAuthServer, tmp_path: Path):
    file = certificate(tmp_path / "etl.pem", 100)
    values = json.loads((tmp_path / "tenant.json").read_text())
    write_secret(tmp_path / "tenant.json", {**values, "certificate": str(file)})

    assert server.access[rights.access_token("tenant", BOX)] == "app"
    assert "client_assertion" in server.forms[0]

    file.chmod(0o644)
    with pytest.raises(settings.SettingError, match="ETL_MICROSOFT_CERTIFICATE"):
        rights.access_token("tenant", "other@example.com")
    file.chmod(0o600)
    file.write_text("x")
    with pytest.raises(MailError, match="must hold the private key"):
        rights.access_token("tenant", "other@example.com")
    assert settings.mask("an example") == "an example"


# ---- providers -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        ("nobody", None, "there is no provider"),
        ("../x", None, "there is no provider"),
        ("a", {"client_id": "x", "token_endpoint": "http://example.com:80/t"}, "must begin with https"),
        ("a", {"client_id": "x"}, "no `token_endpoint`"),
        ("a", {"token_endpoint": "https://example.com"}, "no `client_id`"),
        ("a", {"client_id": "x", "secret": "y"}, "the fields are"),
        ("a", {"client_id": "x", "scopes": "mail"}, "which cannot be"),
        ("a", [1], "not a JSON object"),
        ("microsoft", None, "ETL_MICROSOFT_CLIENT_ID is not set"),
        ("google", None, "credentials.json is not there"),
    ],
)
def test_a_provider_that_cannot_be_used_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, values: Any, told: str
):
    monkeypatch.setenv("ETL_OAUTH_DIR", str(tmp_path))
    monkeypatch.setenv("GMAIL_CREDENTIALS_FILE", str(tmp_path / "credentials.json"))
    if values is not None:
        write_secret(tmp_path / f"{name}.json", values)
    with pytest.raises((MailError, settings.SettingError), match=told):
        providers.provider(name)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("ETL_MICROSOFT_TENANT", ".."), ("ETL_MICROSOFT_TENANT", "https://example.com"),
        ("ETL_MICROSOFT_CLIENT_ID", "an id"), ("ETL_MICROSOFT_CLIENT_ID", "x\ny"),
        ("ETL_SMTP_AUTH", "oauth:\u00e9"), ("ETL_SMTP_AUTH", "oauth:../x"), ("ETL_SMTP_AUTH", "oauth:graph"),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch, setting: str, value: str):
    monkeypatch.setenv("ETL_MICROSOFT_CLIENT_ID", "an-id")
    monkeypatch.setenv(setting, value)
    with pytest.raises(JobError, match=setting if value != "oauth:graph" else "write graph for Microsoft Graph"):
        providers.provider(providers.provider_of(settings.smtp_auth()) or "microsoft")


def test_a_programs_own_login_needs_its_tenant(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ETL_MICROSOFT_CLIENT_ID", "x")
    monkeypatch.setenv("ETL_MICROSOFT_CLIENT_SECRET", "a secret of the program")
    with pytest.raises(MailError, match="set ETL_MICROSOFT_TENANT"):
        providers.provider("graph")
    monkeypatch.setenv("ETL_MICROSOFT_TENANT", TENANT)
    assert providers.provider("graph").is_app


# ---- words ---------------------------------------------------------------------------------


def test_the_strings_are_those_of_their_standards():
    assert sasl.initial_response(
        "XOAUTH2", "someuser@example.com", "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"
    ) == (b"user=someuser@example.com\x01auth=Bearer ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg\x01\x01")
    assert sasl.initial_response("OAUTHBEARER", "a=b,c@example.com", "vF9d") == (
        b"n,a=a=3Db=2Cc@example.com,\x01auth=Bearer vF9d\x01\x01"
    )
    assert sasl.chosen(["PLAIN", "xoauth2", "OAuthBearer"]) == "OAUTHBEARER"
    assert sasl.chosen(["LOGIN", "XOAUTH2"]) == "XOAUTH2"
    assert sasl.chosen(["LOGIN"]) is None


@pytest.mark.parametrize(("mechanism", "end"), [("XOAUTH2", b""), ("OAUTHBEARER", b"\x01")])
def test_the_challenge_of_a_refusal_is_answered_and_kept(mechanism: sasl.Mechanism, end: bytes):
    dialogue = sasl.Dialogue(mechanism, BOX, "token")
    assert b"Bearer token" in dialogue.answer(b"")
    assert dialogue.answer(b'{"status":"400","schemes":"bearer"}') == end
    assert dialogue.refusal == "400"


def test_every_code_has_a_meaning_and_a_cure_and_others_are_shown_as_they_are():
    asked = (
        "65001 50020 50034 50053 50076 50079 53003 65004 70011 700016 7000215 7000222 7000218 50126 500113 530032 90072"
    )
    assert set(asked.split()) <= set(refusals.MEANINGS)
    told = refusals.explained("invalid_grant: AADSTS53003: Access has been blocked.\r\nTrace ID: abc")
    assert told.startswith("AADSTS53003: a Conditional Access policy")
    assert refusals.explained("x: AADSTS9999999: new. Trace ID: abc\r\nmore") == "x: AADSTS9999999: new."


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("expired_token", "expired_token: the code was not entered in time; start again"),
        ("access_denied: no", "choose Accept"),
        ("invalid_client: AADSTS50194: single tenant", "set ETL_MICROSOFT_TENANT to the Directory"),
        ("invalid_client: AADSTS700024: not within its time", "timedatectl"),
        ("550 5.7.30 Basic authentication is not supported for Client Submission.", "ETL_SMTP_AUTH=oauth:microsoft"),
        ("535 5.7.139 Authentication unsuccessful, the user credentials were incorrect.", "check the address"),
        ("535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled", "Set-CASMailbox"),
        ("ErrorSendAsDenied: The user account does not have the right to send", "Send As"),
        ("550 5.7.364 Remote server returned not permitted", "550 5.7.364 Remote server returned not permitted"),
        ("AADSTS90094: x", "grants admin consent"),
        ("invalid_grant: Token has been expired or revoked.", "invalid_grant: Token has been expired or revoked."),
    ],
)
def test_what_is_refused_is_told_with_its_cure(monkeypatch: pytest.MonkeyPatch, words: str, told: str):
    monkeypatch.setattr(known_secrets, "_texts", [])
    assert told in refusals.explained(words)
    assert (told == words) == (refusals.explained(words) == words)


def test_tokens_are_masked_in_every_form_that_is_sent(server: OAuthServer, tmp_path: Path):
    file = server.grant(tmp_path, BOX)
    settings.conceal_all()
    assert settings.mask(kept(file)["refresh_token"]) == settings.MASK
    assert settings.mask(server.http) == server.http
    assert settings.mask(f"{server.http}/token") == f"{server.http}/token"

    token = rights.access_token("corner", BOX)
    first = sasl.initial_response("XOAUTH2", BOX, token)
    for secret in (token, kept(file)["refresh_token"], base64.b64encode(first).decode(), CLIENT_SECRET):
        assert settings.mask(f"it is {secret}.") == "it is ****."
