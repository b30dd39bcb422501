"""Mail handed to real servers, well-behaved and otherwise."""

import base64
import socket
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest
from smtp_server import (
    HANG_UP,
    OWNER,
    PASSWORD,
    SENDER,
    SILENCE,
    MailServer,
    OddServer,
    mail_server,
    odd_server,
    settings_for,
)

from systemscripts import settings
from systemscripts.mail import composing, smtp
from systemscripts.mail.composing import MailError, MailUnavailable, OutcomeUnknown
from systemscripts.settings import SettingError

A, B = "a@example.com", "b@example.com"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long it would have waited."""
    waited: list[float] = []
    monkeypatch.setattr(smtp, "wait", waited.append)
    return waited


@pytest.fixture
def mail_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> Iterator[MailServer]:
    with mail_server(tmp_path) as running:
        use(monkeypatch, running)
        yield running


def use(monkeypatch: pytest.MonkeyPatch, server: MailServer | OddServer, **changes: str) -> None:
    for name, value in {**server.variables, **changes}.items():
        monkeypatch.setenv(name, value)


def a_mail(text: str = "Hello\n") -> EmailMessage:
    """Return a mail from the configured sender."""
    return composing.text_mail("Subject", text, f"{A}, {B}")


# ---- a server that takes it ----------------------------------------------------------------


@pytest.mark.parametrize("security", ["ssl", "starttls"])
def test_it_logs_in_over_tls_and_hands_the_mail_to_everybody_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, security: str
) -> None:
    with mail_server(tmp_path, security) as server:
        use(monkeypatch, server)
        assert smtp.send(a_mail(), [A, B, "hidden@example.com"]) == {}
    (received,) = server.received
    assert (received.sender, received.secured, received.user) == (SENDER, True, SENDER)
    assert received.recipients == [A, B, "hidden@example.com"]
    assert received.message["To"] == f"{A}, {B}"


def test_it_does_without_tls_and_login_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with mail_server(tmp_path, "none", login=False) as server:
        use(monkeypatch, server)
        assert smtp.send(a_mail(), [A]) == {}
    assert (server.received[0].secured, server.received[0].user) == (False, None)


def test_the_password_may_come_from_a_file(
    mail_host: MailServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    file.chmod(0o600)
    monkeypatch.delenv("ETL_EMAIL_PASSWORD")
    monkeypatch.setenv("ETL_EMAIL_PASSWORD_FILE", str(file))
    assert smtp.send(a_mail(), [A]) == {}


def test_the_envelope_has_the_bare_address_of_a_named_sender(
    mail_host: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETL_EMAIL", f"The Reports <{SENDER}>")
    smtp.send(a_mail(), [A])
    assert mail_host.received[0].sender == SENDER
    assert mail_host.received[0].message["From"] == f"The Reports <{SENDER}>"


def test_a_recipient_given_twice_gets_it_once(mail_host: MailServer) -> None:
    smtp.send(a_mail(), [A, A])
    assert mail_host.received[0].recipients == [A]


@pytest.mark.parametrize(
    "text",
    [
        ".\n",
        ".\n..\n.\n",
        "a\n.\nMAIL FROM:<x@example.com>\n",
        ".hidden\n",
        "a" * 5_000 + "\n",
        "Grüße, 数据 😀\n",
        "= =\t \n",
        "a\n\n\nb\n",
    ],
)
def test_the_text_arrives_as_it_was(mail_host: MailServer, text: str) -> None:
    smtp.send(a_mail(text), [A])
    assert mail_host.received[0].message.get_content().replace("\r\n", "\n") == text


@pytest.mark.parametrize("end_of_line", ["\r", "\n", "\r\n", "\n\r"])
def test_no_end_of_line_in_a_text_can_end_the_mail(mail_host: MailServer, end_of_line: str) -> None:
    smuggled = f"a{end_of_line}.{end_of_line}MAIL FROM:<x@example.com>{end_of_line}"
    message = EmailMessage()
    message.set_payload(smuggled)
    smtp.send(message, [A])
    assert "MAIL FROM:<x@example.com>" in mail_host.received[0].message.get_content()
    assert len(mail_host.received) == 1


def test_a_message_of_eight_bits_travels_in_seven(mail_host: MailServer) -> None:
    message = EmailMessage()
    message["Subject"] = "Grüße"
    message.set_content("Grüße\n", cte="8bit")
    smtp.send(message, [A])
    received = mail_host.received[0].message
    assert (received["Subject"], received.get_content()) == ("Grüße", "Grüße\n")
    assert received["Content-Transfer-Encoding"] in ("quoted-printable", "base64")


def test_it_presents_itself_by_the_domain_it_sends_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with odd_server() as server:
        use(monkeypatch, server)
        smtp.send(a_mail(), [A])
    assert server.lines[0] == "ehlo example.com"
    assert server.commands == ["ehlo", "mail", "rcpt", "data", "quit"]


@pytest.mark.parametrize("farewell", [HANG_UP, SILENCE, "999 ?", "garbage"])
def test_what_it_says_to_the_farewell_changes_nothing(monkeypatch: pytest.MonkeyPatch, farewell: str) -> None:
    with odd_server(quit=farewell) as server:
        use(monkeypatch, server, SMTP_TIMEOUT="0.2")
        assert smtp.send(a_mail(), [A]) == {}


# ---- refused for good ----------------------------------------------------------------------


def test_it_returns_who_was_refused_and_the_others_have_it(mail_host: MailServer, pauses: list[float]) -> None:
    mail_host.answers[f"RCPT {B}"] = ["550 5.1.1 no such user"]
    assert smtp.send(a_mail(), [A, B]) == {B: "550 5.1.1 no such user"}
    assert mail_host.received[0].recipients == [A]
    assert pauses == []


def test_nobody_has_it_when_all_are_refused(mail_host: MailServer) -> None:
    mail_host.answers |= {f"RCPT {A}": ["550 no"], f"RCPT {B}": ["553 neither"]}
    assert smtp.send(a_mail(), [A, B]) == {A: "550 no", B: "553 neither"}
    assert mail_host.received == []


def test_a_mail_refused_for_its_content_is_refused_for_each(mail_host: MailServer, pauses: list[float]) -> None:
    mail_host.answers["DATA"] = ["554 5.7.1 looks like spam"]
    assert smtp.send(a_mail(), [A, B]) == dict.fromkeys([A, B], "554 5.7.1 looks like spam")
    assert pauses == []


def test_a_refused_sender_is_a_wrong_setting(mail_host: MailServer, pauses: list[float]) -> None:
    mail_host.answers["MAIL"] = ["553 5.7.1 not your address"]
    with pytest.raises(MailError, match=r"sender \(553 5\.7\.1 not your address\).* ETL_EMAIL"):
        smtp.send(a_mail(), [A])
    assert pauses == []


# ---- put off -------------------------------------------------------------------------------


@pytest.mark.parametrize("occasion", ["MAIL", f"RCPT {A}", "DATA"])
@pytest.mark.parametrize("answer", ["421 closing", "450 busy", "451 try later"])
def test_what_is_put_off_once_is_sent_at_the_second_try(
    mail_host: MailServer, pauses: list[float], occasion: str, answer: str
) -> None:
    mail_host.answers[occasion] = [answer]
    assert smtp.send(a_mail(), [A]) == {}
    assert [received.recipients for received in mail_host.received] == [[A]]
    assert pauses == [5.0]


def test_only_who_was_put_off_gets_it_at_the_next_try(mail_host: MailServer, pauses: list[float]) -> None:
    mail_host.answers |= {f"RCPT {B}": ["450 greylisted", "451 still"], "RCPT c@example.com": ["550 no"]}
    assert smtp.send(a_mail(), [A, B, "c@example.com"]) == {"c@example.com": "550 no"}
    assert [received.recipients for received in mail_host.received] == [[A], [B]]
    assert pauses == [5.0, 20.0]


def test_after_three_tries_it_says_who_has_not_got_it(mail_host: MailServer, pauses: list[float]) -> None:
    mail_host.answers |= {f"RCPT {B}": ["452 full"] * 3, "RCPT c@example.com": ["550 no"]}
    with pytest.raises(MailUnavailable, match=rf"off for {B} \(452 full\), 3") as failure:
        smtp.send(a_mail(), [A, B, "c@example.com"])
    assert failure.value.waiting == (B,)
    assert failure.value.refused == {"c@example.com": "550 no"}
    assert [received.recipients for received in mail_host.received] == [[A]]
    assert pauses == [5.0, 20.0]


def test_a_mail_put_off_as_a_whole_waits_for_everybody(mail_host: MailServer) -> None:
    mail_host.answers["DATA"] = ["451 later"] * 3
    with pytest.raises(MailUnavailable, match="451 later") as failure:
        smtp.send(a_mail(), [A, B])
    assert (failure.value.waiting, failure.value.refused) == ((A, B), {})
    assert failure.value.exit_status == 75


def test_a_busy_server_that_puts_off_the_connection_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    with odd_server(banner="421 too many connections") as server:
        use(monkeypatch, server)
        with pytest.raises(MailUnavailable, match="421 too many connections"):
            smtp.send(a_mail(), [A])
    assert pauses == [5.0, 20.0]


def test_who_has_the_mail_is_known_when_the_sender_is_refused_later(mail_host: MailServer) -> None:
    mail_host.answers |= {f"RCPT {B}": ["450 later"], "MAIL": ["", "550 5.4.5 daily quota exceeded"]}
    with pytest.raises(MailUnavailable, match="daily quota exceeded") as failure:
        smtp.send(a_mail(), [A, B])
    assert failure.value.waiting == (B,)


def test_what_microsoft_refuses_is_told_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    no_right = "550 5.7.60 SMTP; Client does not have permissions to send as this sender"
    with odd_server(mail=no_right) as server:
        use(monkeypatch, server)
        with pytest.raises(MailError, match="may not send as this address; .* gives it the right Send As"):
            smtp.send(a_mail(), [A])
    with odd_server(end="554 5.2.252 SendAsDenied; feeds@example.com not allowed to send as x@example.com") as server:
        use(monkeypatch, server)
        assert "gives it the right Send As" in smtp.send(a_mail(), [A])[A]
    with odd_server(
        ehlo="250-localhost\r\n250 AUTH LOGIN PLAIN", auth="535 5.7.30 Basic authentication is not supported"
    ) as server:
        use(monkeypatch, server, ETL_EMAIL_PASSWORD="a-password")
        with pytest.raises(MailError, match="takes no password any more; set ETL_SMTP_AUTH=oauth:microsoft"):
            smtp.send(a_mail(), [A])


# ---- the outcome is unknown ----------------------------------------------------------------


def test_a_connection_lost_after_the_text_leaves_the_outcome_unknown(
    mail_host: MailServer, pauses: list[float]
) -> None:
    mail_host.answers |= {"DATA": [HANG_UP], f"RCPT {B}": ["450 later"], "RCPT c@example.com": ["550 no"]}
    with pytest.raises(OutcomeUnknown, match=f"{A} may have it") as failure:
        smtp.send(a_mail(), [A, B, "c@example.com"])
    assert (failure.value.unknown, failure.value.waiting) == ((A,), (B,))
    assert failure.value.refused == {"c@example.com": "550 no"}
    assert failure.value.exit_status == 1
    assert pauses == []


@pytest.mark.parametrize("end", ["garbage", "354 go on", SILENCE, HANG_UP, f"250-first line\r\n{HANG_UP}"])
def test_an_answer_that_says_nothing_leaves_the_outcome_unknown(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    monkeypatch.setattr(smtp, "PATIENCE_AT_THE_END", 1)
    with odd_server(end=end) as server:
        use(monkeypatch, server, SMTP_TIMEOUT="0.2")
        with pytest.raises(OutcomeUnknown):
            smtp.send(a_mail(), [A])


@pytest.mark.parametrize("command", ["banner", "ehlo", "mail", "rcpt", "data"])
@pytest.mark.parametrize("answer", [HANG_UP, SILENCE])
def test_a_connection_lost_before_the_text_is_whole_delivered_nothing(
    monkeypatch: pytest.MonkeyPatch, command: str, answer: str
) -> None:
    with odd_server(**{command: answer}) as server:
        use(monkeypatch, server, SMTP_TIMEOUT="0.2")
        with pytest.raises(MailUnavailable, match="before it had the mail") as failure:
            smtp.send(a_mail(), [A])
    assert failure.value.waiting == (A,)


@pytest.mark.parametrize("banner", [HANG_UP, SILENCE])
def test_a_connection_lost_before_tls_delivered_nothing(monkeypatch: pytest.MonkeyPatch, banner: str) -> None:
    with odd_server(banner=banner) as server:
        use(monkeypatch, server, SMTP_TIMEOUT="0.2", SMTP_SECURITY="ssl")
        with pytest.raises(MailUnavailable) as failure:
            smtp.send(a_mail(), [A])
    assert failure.value.waiting == (A,)


def test_a_connection_lost_amid_the_text_delivered_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with odd_server(data=f"354 go on\r\n{HANG_UP}") as server:
        use(monkeypatch, server)
        with pytest.raises(MailUnavailable, match="before it had the mail"):
            smtp.send(a_mail("x" * 20_000_000), [A])


# ---- settings and logins -------------------------------------------------------------------


def test_a_refused_login_says_what_to_change_and_keeps_the_password(
    mail_host: MailServer, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    monkeypatch.setenv("ETL_EMAIL_PASSWORD", "wrong and secret")
    with pytest.raises(MailError, match=r"login \(535 .*ETL_EMAIL and ETL_EMAIL_PASSWORD") as failure:
        smtp.send(a_mail(), [A])
    assert "wrong and secret" not in str(failure.value)
    assert pauses == []


@pytest.mark.parametrize(
    ("offer", "put_off", "security"), [("AUTH PLAIN", "auth", "none"), ("STARTTLS", "starttls", "starttls")]
)
def test_a_login_or_tls_put_off_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, pauses: list[float], offer: str, put_off: str, security: str
) -> None:
    with odd_server(ehlo=f"250-localhost\r\n250 {offer}", **{put_off: "454 4.7.0 later"}) as server:
        use(monkeypatch, server, ETL_EMAIL_PASSWORD=PASSWORD, SMTP_SECURITY=security)
        with pytest.raises(MailUnavailable, match=r"454 4\.7\.0 later"):
            smtp.send(a_mail(), [A])
    assert pauses == [5.0, 20.0]


@pytest.mark.parametrize(
    "echo",
    [
        PASSWORD,
        base64.b64encode(PASSWORD.encode()).decode(),
        base64.b64encode(f"\0{SENDER}\0{PASSWORD}".encode()).decode(),
    ],
)
def test_a_server_that_repeats_the_password_is_not_quoted(monkeypatch: pytest.MonkeyPatch, echo: str) -> None:
    with odd_server(ehlo="250-localhost\r\n250 AUTH PLAIN", auth=f"535 you said {echo}, wrong") as server:
        use(monkeypatch, server, ETL_EMAIL_PASSWORD=PASSWORD)
        with pytest.raises(MailError) as failure:
            smtp.send(a_mail(), [A])
    assert "(535 you said ****, wrong)" in str(failure.value)
    assert failure.value.__cause__ is None
    assert failure.value.__suppress_context__


def test_a_missing_password_is_named(mail_host: MailServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ETL_EMAIL_PASSWORD")
    with pytest.raises(MailError, match=r"\(530 .*ETL_EMAIL and ETL_EMAIL_PASSWORD"):
        smtp.send(a_mail(), [A])


def test_a_password_that_was_copied_with_odd_blanks_is_refused(
    mail_host: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETL_EMAIL_PASSWORD", "abcd\u00a0efgh")
    with pytest.raises(MailError, match="ETL_EMAIL_PASSWORD has a character") as failure:
        smtp.send(a_mail(), [A])
    assert "abcd" not in str(failure.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"SMTP_SECURITY": "starttls"}, "STARTTLS extension not supported"),
        ({"ETL_EMAIL_PASSWORD": PASSWORD}, "AUTH extension not supported"),
        ({"SMTP_SECURITY": "ssl"}, "cannot be used with TLS"),
    ],
)
def test_a_server_without_what_the_settings_want_is_a_wrong_setting(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], said: str
) -> None:
    with odd_server() as server:
        use(monkeypatch, server, **changes)
        with pytest.raises(MailError, match=f"{said}.*SMTP_SECURITY"):
            smtp.send(a_mail(), [A])
    assert "mail" not in server.commands


@pytest.mark.parametrize(
    "answers",
    [
        {"banner": "SSH-2.0-OpenSSH_9.2"},
        {"banner": "HTTP/1.1 400 Bad Request"},
        {"banner": "x" * 10_000},
        {"mail": "?"},
        {"rcpt": "??"},
        {"data": "250 OK"},
        {"ehlo": "250-localhost\r\n250 AUTH CRAM-MD5", "auth": "334 not-base64"},
    ],
    ids=str,
)
def test_a_server_that_is_no_mail_server_is_a_wrong_setting(
    monkeypatch: pytest.MonkeyPatch, answers: dict[str, str]
) -> None:
    with odd_server(**answers) as server:
        use(monkeypatch, server, **({"ETL_EMAIL_PASSWORD": PASSWORD} if "auth" in answers else {}))
        with pytest.raises(MailError, match="see SMTP_HOST, SMTP_PORT|check ETL_EMAIL") as failure:
            smtp.send(a_mail(), [A])
    assert not isinstance(failure.value, OutcomeUnknown)
    assert len(str(failure.value)) < 700


@pytest.mark.parametrize("security", ["ssl", "starttls"])
def test_a_certificate_of_another_name_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, security: str
) -> None:
    with mail_server(tmp_path, security, name="mail.example.org") as server:
        use(monkeypatch, server)
        with pytest.raises(MailUnavailable, match="certificate .*Hostname mismatch"):
            smtp.send(a_mail(), [A])
    assert server.received == []


@pytest.mark.parametrize("security", ["ssl", "starttls"])
def test_a_certificate_of_an_unknown_authority_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, security: str
) -> None:
    with mail_server(tmp_path, security) as server:
        use(monkeypatch, server)
        monkeypatch.delenv("SSL_CERT_FILE")
        with pytest.raises(MailUnavailable, match="unable to get local issuer") as failure:
            smtp.send(a_mail(), [A])
    assert "SSL_CERT_FILE" in str(failure.value)
    assert server.received == []


def test_a_server_that_is_not_there_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for name, value in settings_for(port, "ssl").items():
        monkeypatch.setenv(name, value)
    with pytest.raises(MailUnavailable, match=rf"localhost:{port} .*\(Connection refused\)") as failure:
        smtp.send(a_mail(), [A])
    assert failure.value.waiting == (A,)


@pytest.mark.parametrize("host", ["mail..example.com", "x" * 64 + ".example.com"])
def test_a_host_that_is_no_name_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    for name, value in settings_for(465, "ssl", SMTP_HOST=host).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(MailError, match="see SMTP_HOST"):
        smtp.send(a_mail(), [A])


@pytest.mark.parametrize("recipient", ["", "a", f"{A}, {B}", f"Name <{A}>", f"{A}\r\nRCPT TO:<x@y.com>", f"<{A}>"])
def test_a_recipient_must_be_one_bare_address(mail_host: MailServer, recipient: str) -> None:
    with pytest.raises(MailError):
        smtp.send(a_mail(), [A, recipient])
    assert mail_host.connections == 0


def test_a_mail_to_nobody_is_refused(mail_host: MailServer) -> None:
    with pytest.raises(MailError, match="no recipients"):
        smtp.send(a_mail(), [])


@pytest.mark.parametrize(("sender", "said"), [("", "is not set"), (f"{A}, {B}", "holds 2 addresses"), ("me", "'me'")])
def test_a_mail_needs_a_sender(monkeypatch: pytest.MonkeyPatch, sender: str, said: str) -> None:
    monkeypatch.setenv("ETL_EMAIL", sender)
    with pytest.raises(MailError, match=said):
        composing.sender()


@pytest.mark.parametrize(("security", "port"), [(None, 465), ("ssl", 465), ("STARTTLS", 587), ("none", 25)], ids=str)
def test_the_port_is_the_usual_one_for_the_security(
    monkeypatch: pytest.MonkeyPatch, security: str | None, port: int
) -> None:
    if security:
        monkeypatch.setenv("SMTP_SECURITY", security)
        monkeypatch.setenv("SMTP_HOST", "127.0.0.1")
    assert settings.smtp_port() == port
    monkeypatch.setenv("SMTP_PORT", "2525")
    assert settings.smtp_port() == 2525


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1"])
def test_mail_may_go_open_to_this_machine(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("SMTP_SECURITY", "none")
    monkeypatch.setenv("SMTP_HOST", host)
    assert settings.smtp_security() == "none"


@pytest.mark.parametrize("host", [None, "mail.example.com", "127.example.com", "10.0.0.1", "localhost.example.com"])
def test_mail_never_leaves_this_machine_open(monkeypatch: pytest.MonkeyPatch, host: str | None) -> None:
    monkeypatch.setenv("SMTP_SECURITY", "none")
    if host:
        monkeypatch.setenv("SMTP_HOST", host)
    with pytest.raises(SettingError, match="SMTP_SECURITY to ssl or starttls"):
        settings.smtp_port()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SMTP_PORT", "0"),
        ("SMTP_PORT", "65536"),
        ("SMTP_TIMEOUT", "0"),
        ("SMTP_SECURITY", "tls"),
        ("ETL_SMTP_AUTH", "oauth"),
        ("ETL_SMTP_AUTH", "oauth:../x"),
    ],
)
def test_a_mail_setting_that_is_nonsense_is_refused(
    mail_host: MailServer, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingError, match=f"{name} is "):
        smtp.send(a_mail(), [A])


# ---- a mail of plain text ------------------------------------------------------------------


def test_a_plain_mail_has_what_a_mail_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETL_EMAIL", SENDER)
    monkeypatch.setenv("ETL_CLOCK", "2026-03-02T05:00:00+00:00")
    message = composing.text_mail("Job failed", "It said:\n  no\n", f"The Owner <{OWNER}>, {A}")
    assert (message["From"], message["To"]) == (SENDER, f"The Owner <{OWNER}>, {A}")
    assert (message["Subject"], message["Auto-Submitted"]) == ("Job failed", "auto-generated")
    assert message["Date"].datetime == settings.now()
    assert message["Message-ID"].endswith("@example.com>")
    assert message.get_content_type() == "text/plain"
    assert message.get_content().replace("\r\n", "\n") == "It said:\n  no\n"


def test_a_plain_mail_takes_words_from_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETL_EMAIL", SENDER)
    message = composing.text_mail("a\r\nBcc: x@y.com\x00\udcff", "file \udcff\x00\n", OWNER)
    assert message["Bcc"] is None
    assert message["Subject"] == "a  Bcc: x@y.com ?"
    assert message.get_content() == "file \\udcff\\x00\n"
    assert message.as_bytes().isascii()


@pytest.mark.parametrize("to", ["", " , ", "me", f"{A}\nBcc: {B}"])
def test_a_plain_mail_needs_somebody_to_go_to(monkeypatch: pytest.MonkeyPatch, to: str) -> None:
    monkeypatch.setenv("ETL_EMAIL", SENDER)
    with pytest.raises(MailError):
        composing.text_mail("Subject", "text", to)
