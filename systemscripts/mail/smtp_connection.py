"""A trusted connection to the mail server, with each failure explained in one sentence."""

import base64
import contextlib
import re
import smtplib
import ssl
from collections.abc import Callable, Iterator
from smtplib import SMTP, SMTPResponseException
from ssl import SSLError
from typing import NamedTuple

from systemscripts import settings
from systemscripts.mail import composing
from systemscripts.mail.composing import MailError, MailUnavailable
from systemscripts.mail.oauth import providers, refusals, rights, sasl
from systemscripts.mail.oauth.refusals import TokenRefused
from systemscripts.plain_text import as_words

_FAREWELL_S = 5.0  # seconds to wait for the answer to QUIT
_LONGEST_WORDS = 300  # characters of an answer
_BASE64 = re.compile(r"[A-Za-z0-9+/]{4,}={0,2}")

_LOGIN_ADVICE = "check ETL_EMAIL and ETL_EMAIL_PASSWORD (Gmail wants an app password, not the account's own)"
_SERVER_ADVICE = "see SMTP_HOST, SMTP_PORT and SMTP_SECURITY"


class PutOff(Exception):
    """The server says "not now" to the whole message; the text has its words."""


class Server(NamedTuple):
    """Where a mail server is; `security` is as in SMTP_SECURITY."""

    host: str
    port: int
    security: str


@contextlib.contextmanager
def connection(sender: str) -> "Iterator[SMTP]":
    """Yield a connection that is logged in, with TLS as in SMTP_SECURITY, for `sender`, an addr-spec.

    Failures before or inside the block raise PutOff for a 4xx answer, MailError for a 5xx answer or a wrong
    setting, and MailUnavailable for a server that cannot be reached, cannot be trusted or hangs up.
    """
    try:
        here = Server(settings.smtp_host(), settings.smtp_port(), settings.smtp_security())
        if name := providers.provider_of(settings.smtp_auth()):
            server = with_token(name, sender, here)
        else:
            server = _opened(here, sender, lambda server: _log_in(server, sender))
        try:
            yield server
            limit_silence(server, min(settings.smtp_timeout(), _FAREWELL_S))
            with contextlib.suppress(OSError):
                server.quit()
        finally:
            # A failure at the end does not affect the mail.
            with contextlib.suppress(OSError):
                server.close()
    except (OSError, ValueError) as error:  # the errors of smtplib and ssl are among them
        raise _explained(error) from None


def server_name() -> str:
    return f"the mail server {settings.smtp_host()}:{settings.smtp_port()}"


def require(answer: tuple[int, bytes]) -> None:
    """Raise smtplib's exception for an answer other than 2xx; `connection` turns it into ours."""
    if answer[0] // 100 != 2:
        raise smtplib.SMTPResponseException(*answer)


def limit_silence(server: "SMTP", limit: float) -> None:
    """Allow the server to be silent for `limit` seconds from now on."""
    if server.sock is not None:
        server.sock.settimeout(limit)


def said(words: bytes | str, code: int = 0) -> str:
    """Return the server's words as one readable line, without the password, which it may repeat."""
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
    text = settings.mask(as_words(text))
    if password := settings.email_password():
        text = _BASE64.sub(lambda match: _masked(match[0], password), text.replace(password, settings.MASK))
    return (f"{code} {text}".strip() if code > 0 else text)[:_LONGEST_WORDS]


def explained(words: str) -> str:
    """Return the words of a refusal for good, with their cure if it is known."""
    return refusals.explained(words, composing.sender().addr_spec)


def _masked(token: str, password: str) -> str:
    try:
        hidden = password.encode() in base64.b64decode(token)
    except ValueError:
        hidden = False
    return settings.MASK if hidden else token


def with_token(name: str, mailbox: str, where: Server) -> "SMTP":
    """Return a connection that is logged in with a token of the provider.

    Raises as smtplib does, and RightRefused if the server does not take it.
    """
    providers.require_own_server(name, where.host, "SMTP_HOST")

    def attempt(token: str) -> "SMTP":
        return _opened(where, mailbox, lambda server: _show(server, mailbox, token))

    return rights.log_in(name, mailbox, f"the mail server {where.host}:{where.port}", attempt)


def _show(server: "SMTP", user: str, token: str) -> None:
    """Log in with a token; `user` is the mailbox, which may be another one than that of the token's person."""
    offered = str(server.esmtp_features.get("auth", "")).split()
    mechanism = sasl.chosen(offered)
    if mechanism is None:
        raise MailError(f"the mail server takes no login with a token (it offers {' '.join(offered) or 'none'})")
    dialogue = sasl.Dialogue(mechanism, user, token)
    try:
        server.auth(mechanism, lambda challenge=None: dialogue.answer(challenge).decode())
    except smtplib.SMTPAuthenticationError as error:
        if error.smtp_code // 100 != 5:
            raise
        words = said(error.smtp_error, error.smtp_code)
        raise TokenRefused(f"{words} {dialogue.refusal}".strip()) from None


def _opened(where: Server, sender: str, log_in: "Callable[[SMTP], None]") -> "SMTP":
    """Return a new connection, secured and logged in."""
    timeout = settings.smtp_timeout()
    # The greeting has the sender's domain: smtplib would ask the DNS for this machine's name without a time limit.
    own_name = sender.rpartition("@")[2]
    server: SMTP
    if where.security == "ssl":
        context = ssl.create_default_context()
        server = smtplib.SMTP_SSL(where.host, where.port, local_hostname=own_name, timeout=timeout, context=context)
    else:
        server = smtplib.SMTP(where.host, where.port, local_hostname=own_name, timeout=timeout)
    try:
        require(server.ehlo())
        if where.security == "starttls":
            server.starttls(context=ssl.create_default_context())
            require(server.ehlo())
        log_in(server)
    except BaseException:
        server.close()
        raise
    return server


def _log_in(server: "SMTP", user: str) -> None:
    password = settings.email_password()
    if not password:
        return
    if not password.isascii():
        raise MailError(
            "ETL_EMAIL_PASSWORD has a character that no login can carry (copied app passwords hold such blanks); "
            "type it by hand, without blanks"
        )
    server.login(user, password)


# ---- failures ------------------------------------------------------------------------------


def _explained(error: Exception) -> Exception:
    """Return our exception for an error of smtplib, ssl or the socket."""
    told = said(getattr(error, "strerror", None) or str(error) or type(error).__name__)
    if isinstance(error, smtplib.SMTPResponseException):
        return _answered(error)
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return MailUnavailable(
            f"{server_name()} hung up or fell silent before it had the mail ({told}); "
            f"try again later; if that does not help, {_SERVER_ADVICE}"
        )
    if isinstance(
        error, smtplib.SMTPException
    ):  # the server does not offer TLS, a login, or a kind of login that smtplib can do
        return MailError(f"{server_name()}: {told}; {_SERVER_ADVICE}")
    if isinstance(error, ssl.SSLError):
        return _not_secured(error)
    if isinstance(error, OSError):
        return MailUnavailable(f"{server_name()} cannot be reached ({told}); check that it runs, and {_SERVER_ADVICE}")
    return MailError(f"{server_name()} cannot be used ({told}); {_SERVER_ADVICE}")


def _answered(error: "SMTPResponseException") -> Exception:
    words = said(error.smtp_error, error.smtp_code)
    kind = error.smtp_code // 100
    if kind == 4:
        return PutOff(words)
    if kind != 5:
        return MailError(f"{server_name()} does not answer as a mail server does ({words}); {_SERVER_ADVICE}")
    # Exchange ends a login when its token ends, and says so at the next mail.
    if error.smtp_code == 530 and providers.provider_of(settings.smtp_auth()):
        return PutOff(words)
    what = "the login" if isinstance(error, smtplib.SMTPAuthenticationError) else "the mail or its sender"
    told = explained(words)
    advice = "" if told != words else f"; {_LOGIN_ADVICE}"
    return MailError(f"{server_name()} refuses {what} ({told}){advice}")


def _not_secured(error: "SSLError") -> Exception:
    if isinstance(error, ssl.SSLCertVerificationError):
        return MailUnavailable(
            f"the certificate of {server_name()} does not verify ({said(error.verify_message)}), so nothing was sent; "
            "SMTP_HOST must be the name in it, and a private authority's own certificate goes in SSL_CERT_FILE"
        )
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return MailUnavailable(f"{server_name()} hung up during the TLS handshake; try again later")
    return MailError(
        f"{server_name()} cannot be used with TLS ({said(error.reason or str(error))}); {_SERVER_ADVICE} "
        "(a server on port 587 usually wants SMTP_SECURITY=starttls)"
    )
