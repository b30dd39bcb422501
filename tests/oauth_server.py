"""A counterpart of a provider of rights: authorization, device code, token and introspection, and what goes wrong there.

It speaks plain HTTP, and HTTPS with a certificate of the tests' authority, as Microsoft's library wants it.
"""

import base64
import contextlib
import itertools
import json
import os
import secrets
import socketserver
import threading
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from smtp_server import authority, tls_context

TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT_ID = "client-id-of-the-tests"
CLIENT_SECRET = "client-secret-of-the-tests"

RESET = "reset"  # the connection is closed in place of an answer


@dataclass(frozen=True)
class Answer:
    """An answer of the token endpoint that a test wants, before it does its work."""

    status: int
    body: Any = ""
    headers: tuple[tuple[str, str], ...] = ()


INVALID_GRANT = Answer(400, {"error": "invalid_grant", "error_description": "AADSTS50173: taken away\r\nTrace ID: 1"})
BUSY = Answer(429, "", (("Retry-After", "0"),))
BROKEN = Answer(500, "<html>oh</html>")


@dataclass
class OAuthServer:
    """The provider. A refresh token that was renewed is good until its successor is used, as Microsoft has it."""

    http: str = ""
    https: str = ""
    rotates: bool = True
    lasts: Any = 3600
    troubles: list[Any] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)
    introspected: int = 0
    access: dict[str, str] = field(default_factory=dict)  # by token, the account
    refresh: dict[str, str] = field(default_factory=dict)
    waiting_for_person: list[str] = field(default_factory=list)  # errors before a device code is granted
    device: dict[str, Any] = field(default_factory=dict)  # what it says otherwise to who asks for a device code
    secrets: list[str] = field(default_factory=list)
    _former: dict[str, str] = field(default_factory=dict)
    _lock: Any = field(default_factory=threading.Lock)
    _numbers: Any = field(default_factory=itertools.count)

    def grants(self) -> list[str]:
        """Return what was asked of the token endpoint."""
        return [form["grant_type"] for form in self.forms]

    def new_refresh(self, account: str) -> str:
        token = self._new("refresh")
        self.refresh[token] = account
        return token

    def new_access(self, account: str) -> str:
        token = self._new("access")
        self.access[token] = account
        return token

    def forget_access(self) -> None:
        """Let every access token die before its time."""
        self.access.clear()

    def token(self, form: dict[str, str]) -> Answer:
        with self._lock:
            self.forms.append(form)
            trouble = self.troubles.pop(0) if self.troubles else None
            if trouble is not None:
                return trouble
            return self._granted(form)

    def _granted(self, form: dict[str, str]) -> Answer:  # noqa: PLR0911
        grant = form.get("grant_type", "")
        if form.get("client_id") != CLIENT_ID:
            return Answer(400, {"error": "unauthorized_client", "error_description": "AADSTS700016: who?"})
        given: dict[str, Any] = {"token_type": "Bearer", "expires_in": self.lasts}
        if grant == "client_credentials":
            if form.get("client_secret") != CLIENT_SECRET and "client_assertion" not in form:
                return Answer(401, {"error": "invalid_client", "error_description": "AADSTS7000215: wrong"})
            return Answer(200, {**given, "access_token": self.new_access("app")})
        if grant == "refresh_token":
            asked = form.get("refresh_token", "")
            if asked not in self.refresh:
                return Answer(400, {"error": "invalid_grant", "error_description": "AADSTS70008: unknown"})
            account = self.refresh[asked]
            if former := self._former.pop(asked, ""):
                self.refresh.pop(former, None)
            if self.rotates:
                given["refresh_token"] = self.new_refresh(account)
                self._former[given["refresh_token"]] = asked
        elif grant in ("authorization_code", "urn:ietf:params:oauth:grant-type:device_code"):
            if "device" in grant and self.waiting_for_person:
                return Answer(400, {"error": self.waiting_for_person.pop(0)})
            account, _, nonce = (form.get("code") or form["device_code"]).partition("|")
            given |= {"refresh_token": self.new_refresh(account), "id_token": id_token(account, nonce)}
        else:
            return Answer(400, {"error": "unsupported_grant_type"})
        return Answer(200, {**given, "access_token": self.new_access(account)})

    def answer(self, method: str, path: str, form: dict[str, str], _headers: Any, _body: bytes) -> Answer:
        if path.endswith("/.well-known/openid-configuration"):
            here = f"{self.https}/{TENANT}/oauth2/v2.0"
            return Answer(
                200,
                {
                    "authorization_endpoint": f"{here}/authorize",
                    "token_endpoint": f"{here}/token",
                    "device_authorization_endpoint": f"{here}/devicecode",
                    "issuer": f"{self.https}/{TENANT}/v2.0",
                },
            )
        if path.endswith("/devicecode"):
            return Answer(
                200,
                {
                    "device_code": "person@example.com", "user_code": "ABCD-EFGH", "expires_in": 900, "interval": 0,
                    "verification_uri": "https://example.com/device", **self.device,
                },
            )  # fmt: skip
        if path.endswith("/introspect"):
            self.introspected += 1
            account = self.access.get(form.get("token", ""))
            return Answer(200, {"active": account is not None, "username": account or ""})
        return self.token(form) if path.endswith("/token") else Answer(404, {"error": f"no {method} {path}"})

    def _new(self, kind: str) -> str:
        token = f"{kind}-{next(self._numbers)}-{secrets.token_hex(24)}"
        self.secrets.append(token)
        return token

    # ---- what a job has of it ----

    def describe(self, folder: Path, name: str = "corner", **fields: Any) -> dict[str, str]:
        """Write the provider's file, and return the settings that a job needs."""
        folder.mkdir(mode=0o700, exist_ok=True)
        authority().cert_pem.write_to_path(folder / "authority.pem")
        if "like" in fields:
            ways = {"authority": f"{self.https}/{TENANT}"}
        else:
            ways = {
                "token_endpoint": f"{self.http}/token", "device_authorization_endpoint": f"{self.http}/devicecode",
                "scopes": ["mail"], "authorization_endpoint": f"{self.http}/authorize", "client_secret": CLIENT_SECRET,
            }  # fmt: skip
        write_secret(folder / f"{name}.json", {**ways, "client_id": CLIENT_ID, **fields})
        trusted = str(folder / "authority.pem")
        return {"ETL_OAUTH_DIR": str(folder), "REQUESTS_CA_BUNDLE": trusted, "SSL_CERT_FILE": trusted}

    def grant(self, folder: Path, account: str, name: str = "corner", **fields: Any) -> Path:
        """Write the right's file of a mailbox, as the consent leaves it, with a token that has ended."""
        (folder / "rights").mkdir(mode=0o700, exist_ok=True)
        right = {
            "provider": name, "account": account, "refresh_token": self.new_refresh(account), "scopes": ["mail"],
            "granted_at": "2026-11-01T10:00:00+00:00", "granted_by": account, **fields,
        }  # fmt: skip
        return write_secret(folder / "rights" / f"{name}_{account}.json", right)


def id_token(account: str, nonce: str) -> str:
    claims = {
        "aud": CLIENT_ID, "iss": "tests", "sub": account, "preferred_username": account, "exp": int(time.time()) + 600,
        "iat": int(time.time()), "nonce": nonce,
    }  # fmt: skip
    parts = [{"alg": "none"}, claims]
    return ".".join(
        [*(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts), ""]
    )


def write_secret(file: Path, values: Any) -> Path:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w") as stream:
        json.dump(values, stream)
    return file


@contextlib.contextmanager
def oauth_server() -> Iterator[OAuthServer]:
    server = OAuthServer()
    with serving(server.answer) as addresses:
        server.http, server.https = addresses
        yield server


class _Listening(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 100

    def handle_error(self, _request: Any, _address: Any) -> None:
        """Say nothing: clients are killed, and hang up."""


@contextlib.contextmanager
def serving(answer: Any) -> Iterator[tuple[str, str]]:
    """Serve `answer(method, path, form, headers, body)` by HTTP and HTTPS; yields both addresses."""

    class Dialogue(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 20
        wbufsize = -1  # one packet for an answer; otherwise each takes 40 ms
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self.reply()

        def do_POST(self) -> None:
            self.reply()

        def reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path, _, query = self.path.partition("?")
            form = dict(urllib.parse.parse_qsl(query)) | dict(urllib.parse.parse_qsl(body.decode("latin-1")))
            told = answer(self.command, path, form, self.headers, body)
            if told == RESET:
                self.close_connection = True
                return
            text = (
                told.body
                if isinstance(told.body, str)
                else ""
                if isinstance(told.body, bytes)
                else json.dumps(told.body)
            )
            content = told.body if isinstance(told.body, bytes) else text.encode()
            self.send_response(told.status)
            for name, value in (*told.headers, ("Content-Length", str(len(content)))):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_words: Any) -> None:
            """Say nothing."""

    class Secured(Dialogue):
        def setup(self) -> None:
            self.request = _TLS.wrap_socket(self.request, server_side=True)
            super().setup()

    with contextlib.ExitStack() as stack:
        addresses = []
        for kind, scheme in ((Dialogue, "http"), (Secured, "https")):
            listening = stack.enter_context(_Listening(("127.0.0.1", 0), kind))
            threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
            stack.callback(listening.shutdown)
            addresses.append(f"{scheme}://localhost:{listening.server_address[1]}")
        yield addresses[0], addresses[1]


_TLS = tls_context("localhost")
