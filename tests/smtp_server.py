"""Mail servers for tests: a real one with TLS and a login, and one that says whatever a test wants.

`mail_server(folder)` yields the first; a job gets to it by its `variables`, and what it took is in `received`.
"""
# aiosmtpd names its hooks after SMTP's commands.
# ruff: noqa: N802

import asyncio
import base64
import contextlib
import email
import email.policy
import functools
import re
import socketserver
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any, TypeVar

import trustme
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

SENDER = "sender@example.com"
OWNER = "owner@example.com"
PASSWORD = "correct horse battery staple"

ServerT = TypeVar("ServerT", bound="MailServer")

HANG_UP = "hang up"  # instead of an answer
SILENCE = "silence"


@dataclass(frozen=True)
class Received:
    """A mail that the server took."""

    sender: str
    recipients: list[str]
    message: EmailMessage
    secured: bool
    user: str | None


@dataclass
class MailServer:
    """A server at localhost, as aiosmtpd's handler too.

    `answers` are what it says first, before it takes things: lists by "MAIL", "DATA" or "RCPT <address>",
    in which "" lets one thing pass.
    """

    port: int = 0
    variables: dict[str, str] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    answers: dict[str, list[str]] = field(default_factory=dict)
    connections: int = 0
    wants_login: bool = True

    def _answer(self, occasion: str) -> str:
        left = self.answers.get(occasion)
        return left.pop(0) if left else ""

    async def handle_EHLO(self, _server: SMTP, session: Session, _envelope: Envelope, name: str, told: Any) -> Any:
        session.host_name = name
        self.connections += 1
        return told

    async def handle_MAIL(
        self, _server: SMTP, session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if self.wants_login and not session.authenticated:
            return "530 5.7.0 Authentication Required"
        if answer := self._answer("MAIL"):
            return answer
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if answer := self._answer(f"RCPT {address}"):
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        answer = self._answer("DATA")
        if answer == HANG_UP:
            server.transport.abort()
        if answer:
            return answer
        message = email.message_from_bytes(bytes(envelope.content or b""), policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        user = session.auth_data.login.decode() if isinstance(session.auth_data, LoginPassword) else None
        secured = server.transport.get_extra_info("ssl_object") is not None
        self.received.append(Received(envelope.mail_from or "", list(envelope.rcpt_tos), message, secured, user))
        return "250 queued"


@dataclass
class TokenMailServer(MailServer):
    """A server that takes tokens: `owners` has the account of each; `shared` who may send as another address."""

    owners: dict[str, str] = field(default_factory=dict)
    shared: dict[str, str] = field(default_factory=dict)
    logins: int = 0
    refusal: str = "535 5.7.3 Authentication unsuccessful"

    async def auth_XOAUTH2(self, server: SMTP, words: list[str]) -> AuthResult:
        self.logins += 1
        found = re.fullmatch(rb"user=([^\x01]*)\x01auth=Bearer ([^\x01]*)\x01\x01", base64.b64decode(words[1]))
        assert found is not None
        user, token = found[1].decode(), found[2].decode()
        owner = self.owners.get(token)
        if owner is not None and user in (owner, self.shared.get(owner)):
            return AuthResult(success=True, auth_data=LoginPassword(found[1], found[2]))
        assert await server.challenge_auth(b'{"status":"400","schemes":"Bearer"}') == b""
        await server.push(self.refusal)
        return AuthResult(success=False, handled=True)

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        login = session.auth_data
        if isinstance(login, LoginPassword) and login.password.decode() not in self.owners:
            return "530 5.7.57 Client not authenticated to send mail"
        return await super().handle_MAIL(server, session, envelope, address, options)


@functools.cache
def authority() -> trustme.CA:
    return trustme.CA()


def tls_context(name: str) -> ssl.SSLContext:
    """Return a server's TLS with a certificate for that name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert(name).configure_cert(context)
    return context


def _authenticate(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any) -> AuthResult:
    right = isinstance(data, LoginPassword) and data == LoginPassword(SENDER.encode(), PASSWORD.encode())
    return AuthResult(success=right, handled=False, auth_data=data)


@contextlib.contextmanager
def mail_server(
    folder: Path,
    security: str = "ssl",
    name: str = "localhost",
    login: bool = True,
    kind: Callable[..., ServerT] = MailServer,  # type: ignore[assignment]
    address: str = "127.0.0.1",
) -> Iterator[ServerT]:
    """Run a mail server until the end of the block; `variables` are the settings to reach it by.

    `folder` gets the authority's certificate, `name` is the one in the server's own.
    """
    authority_file = folder / "authority.pem"
    authority().cert_pem.write_to_path(authority_file)
    server = kind(wants_login=login)
    tls = tls_context(name)
    options: dict[str, Any] = {"hostname": "localhost"}
    if login:
        options |= {"authenticator": _authenticate, "auth_require_tls": security == "starttls"}
    if security == "starttls":
        options |= {"tls_context": tls, "require_starttls": True}
    with _event_loop() as run:
        implicit = tls if security == "ssl" else None
        listening = run(_listen(lambda: SMTP(server, **options), implicit, address))
        server.port = listening.sockets[0].getsockname()[1]
        server.variables = settings_for(server.port, security, SSL_CERT_FILE=str(authority_file))
        if login:
            server.variables["ETL_EMAIL_PASSWORD"] = PASSWORD
        yield server
        run(_close(listening))


async def _close(listening: asyncio.Server) -> None:
    listening.close()


async def _listen(factory: Any, tls: ssl.SSLContext | None, address: str) -> asyncio.Server:
    return await asyncio.get_running_loop().create_server(factory, address, 0, ssl=tls)


@contextlib.contextmanager
def _event_loop() -> Iterator[Any]:
    """Yield a function that runs a coroutine in a loop of its own thread, and returns its result."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(10)

    async def cancel_everything() -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    try:
        yield run
    finally:
        run(cancel_everything())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def settings_for(port: int, security: str, **more: str) -> dict[str, str]:
    """Return the settings that lead to a port of this machine."""
    return {
        "SMTP_HOST": "localhost",
        "SMTP_PORT": str(port),
        "SMTP_SECURITY": security,
        "SMTP_TIMEOUT": "10",
        "ETL_EMAIL": SENDER,
        "ETL_ALERT_EMAIL": OWNER,
        **more,
    }


# ---- a server that says anything -----------------------------------------------------------

WELL_BEHAVED = {
    "": "220 localhost ready",
    "ehlo": "250 localhost",
    "mail": "250 OK",
    "rcpt": "250 OK",
    "data": "354 go on",
    ".": "250 queued",
    "quit": "221 bye",
}


@dataclass
class OddServer:
    """What the odd server heard, and where it is."""

    variables: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    @property
    def commands(self) -> list[str]:
        return [line.split(" ")[0].lower() for line in self.lines]


@contextlib.contextmanager
def odd_server(**answers: str) -> Iterator[OddServer]:
    """Run a server without TLS that gives these answers, by command; `banner` is the first, `end` that to the mail.

    HANG_UP closes the connection instead, SILENCE waits for the client to close it.
    """
    said = {**WELL_BEHAVED, **answers}
    said[""], said["."] = said.pop("banner", said[""]), said.pop("end", said["."])
    odd = OddServer()

    class Dialogue(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                self.converse()

        def converse(self) -> None:
            if not self.answer(""):
                return
            for line in self.rfile:
                text = line.decode("latin-1").rstrip("\r\n")
                odd.lines.append(text)
                command = text.split(" ")[0].lower()
                if not self.answer(command) or command == "quit":
                    return
                if command == "data" and said["data"].startswith("354"):
                    while self.rfile.readline() not in (b".\r\n", b""):
                        pass
                    if not self.answer("."):
                        return

        def answer(self, command: str) -> bool:
            words = said.get(command, "502 what?")
            if words == SILENCE:
                while self.rfile.readline():
                    pass
                return False
            if words.endswith(HANG_UP):
                self.wfile.write(words.removesuffix(HANG_UP).encode())
                return False
            self.wfile.write(words.encode() + b"\r\n")
            return True

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Dialogue) as listening:
        listening.daemon_threads = True
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        odd.variables = settings_for(listening.server_address[1], "none", SMTP_TIMEOUT="5")
        yield odd
        listening.shutdown()
        thread.join(10)
