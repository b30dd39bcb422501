"""A stand-in for Gmail's API that the project did not write (npm's emulate), and a proxy in front of it that misbehaves.

`gmail()` yields the running server, shared by a worker's tests; each test takes a mailbox of its own.
"""

import base64
import contextlib
import http.client
import json
import os
import platform
import socket
import socketserver
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from needs import GMAIL, missing

PACKAGES = Path(__file__).parent / "gmail_counterpart" / "node_modules"
NODE = PACKAGES / f"node-linux-{ {'x86_64': 'x64', 'aarch64': 'arm64'}.get(platform.machine(), '?') }" / "bin" / "node"
CLIENT = {"client_id": "test-client", "client_secret": "test-client-secret"}
REDIRECT = "http://localhost:1/"
MAILBOXES = 300


@dataclass
class Mailbox:
    """A mailbox of the server, with a token for it, and the settings by which a job gets there."""

    server: "GmailServer"
    account: str
    token: dict[str, Any]
    variables: dict[str, str] = field(default_factory=dict)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        return self.server.call(method, f"/gmail/v1/users/me{path}", body, self.token["token"])

    def receive(self, raw: bytes, *labels: str) -> str:
        """Let a mail arrive, and return its id."""
        encoded = base64.urlsafe_b64encode(raw).decode()
        body = {"raw": encoded, "labelIds": list(labels or ("INBOX", "UNREAD"))}
        return str(self.call("POST", "/messages/import", body)["id"])

    def labels_of(self, mail_id: str) -> list[str]:
        names = {label["id"]: label["name"] for label in self.call("GET", "/labels")["labels"]}
        return sorted(names[label] for label in self.call("GET", f"/messages/{mail_id}?format=minimal")["labelIds"])

    def take_label_off(self, mail_id: str, name: str) -> None:
        ids = [label["id"] for label in self.call("GET", "/labels")["labels"] if label["name"] == name]
        self.call("POST", f"/messages/{mail_id}/modify", {"removeLabelIds": ids})


@dataclass
class GmailServer:
    port: int
    taken: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def call(self, method: str, path: str, body: Any = None, token: str = "") -> Any:
        request = urllib.request.Request(self.url + path, method=method)
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        if body is not None:
            request.add_header("Content-Type", "application/json")
            request.data = json.dumps(body).encode()
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def consent(self, address: str, account: str) -> str:
        """Do what a person does with the consent page at this address; return where the browser is sent to."""
        asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(address).query))
        form = {**asked, "email": account}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(
                "POST", "/o/oauth2/v2/auth/callback", urllib.parse.urlencode(form),
                {"Content-Type": "application/x-www-form-urlencoded"},
            )  # fmt: skip
            return str(connection.getresponse().getheader("Location"))

    def mailbox(self, folder: Path) -> Mailbox:
        """Return a mailbox that no test has had; its token file lies in the folder."""
        account = f"box{self.taken}@example.com"
        self.taken += 1
        assert self.taken <= MAILBOXES
        asked = f"?redirect_uri={REDIRECT}&client_id={CLIENT['client_id']}&scope=gmail&state=x"
        code = urllib.parse.parse_qs(urllib.parse.urlsplit(self.consent(asked, account)).query)["code"][0]
        given = self.call(
            "POST",
            "/oauth2/token",
            {**CLIENT, "grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT},
        )
        token = {
            **CLIENT, "token": given["access_token"], "refresh_token": given["refresh_token"],
            "token_uri": f"{self.url}/oauth2/token", "expiry": "2099-01-01T00:00:00Z",
        }  # fmt: skip
        box = Mailbox(self, account, token)
        file = write_secret(folder / "gmail_token.json", json.dumps(token))
        box.variables = {"GMAIL_API_ENDPOINT": self.url, "GMAIL_TOKEN_FILE": str(file)}
        return box


def write_secret(file: Path, text: str) -> Path:
    file.touch(mode=0o600)
    file.chmod(0o600)
    file.write_text(text)
    return file


@contextlib.contextmanager
def gmail(folder: Path) -> Iterator[GmailServer]:
    if not NODE.exists() or not (PACKAGES / "emulate").exists():
        missing(f"{GMAIL} is not installed", GMAIL)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        server = GmailServer(probe.getsockname()[1])
    users = [{"email": f"box{number}@example.com", "name": "Box"} for number in range(MAILBOXES)]
    seed = {"google": {"users": users, "oauth_clients": [{**CLIENT, "name": "Test", "redirect_uris": [REDIRECT]}]}}
    (folder / "seed.json").write_text(json.dumps(seed))
    command = [NODE, PACKAGES / "emulate/dist/index.js", "start", "--service", "google", "--port", str(server.port)]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder)}
    with subprocess.Popen(
        [*map(str, command), "--seed", str(folder / "seed.json")],
        env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            told = []
            for line in process.stdout:
                told.append(line)
                if "Ready" in line:
                    break
            else:
                raise AssertionError("".join(told))
            # Nobody reads on: a full pipe would stop it.
            threading.Thread(target=process.stdout.read, daemon=True).start()
            yield server
        finally:
            process.kill()


# ---- a proxy that misbehaves ---------------------------------------------------------------

# Called with the path of a request; returns what to do to it, None to let it pass.
Trouble = Callable[[str], "Answer | str | None"]
CUT = "cut"  # half of the answer's body
RESET = "reset"
DRIP = "drip"  # a byte at a time, without end


@dataclass(frozen=True)
class Answer:
    status: int
    body: dict[str, Any]


def google_error(status: int, reason: str, message: str = "told by the test") -> Answer:
    errors = [{"domain": "usageLimits", "reason": reason, "message": message}]
    return Answer(status, {"error": {"code": status, "message": message, "errors": errors}})


@contextlib.contextmanager
def misbehaving(server: GmailServer, trouble: Trouble) -> Iterator[str]:
    """Yield the address of a proxy to the server, which asks `trouble` about each request first."""

    class Dialogue(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                self.converse()

        def converse(self) -> None:
            line = self.rfile.readline().decode()
            headers = http.client.parse_headers(self.rfile)
            body = self.rfile.read(int(headers.get("Content-Length", 0)))
            method, path, _ = line.split(" ")
            told = trouble(f"{method} {path}")
            if told == RESET:
                return
            if told == DRIP:
                self.wfile.write(b"HTTP/1.1 200 x\r\nContent-Length: 100000\r\n\r\n")
                for _ in range(100_000):
                    self.wfile.write(b" ")
                    threading.Event().wait(0.02)
            if isinstance(told, Answer):
                self.answer(told.status, json.dumps(told.body).encode())
                return
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            with contextlib.closing(connection):
                sent = {
                    name: value for name, value in headers.items() if name.lower() not in ("host", "accept-encoding")
                }
                connection.request(method, path, body or None, sent)
                answer = connection.getresponse()
                content = answer.read()
            self.answer(answer.status, content, cut=told == CUT)

        def answer(self, status: int, content: bytes, cut: bool = False) -> None:
            head = f"HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"
            self.wfile.write(head.encode() + (content[: len(content) // 2] if cut else content))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Dialogue) as listening:
        listening.daemon_threads = True
        threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_address[1]}"
        listening.shutdown()


def mail(
    *files: tuple[str, bytes],
    subject: str = "conference calendar",
    sender: str = "client@example.com",
    message_id: str = "",
    **headers: str,
) -> bytes:
    """Return a mail as it travels, with these files."""
    message = EmailMessage()
    message["From"] = sender
    message["To"] = "feeds@example.com"
    message["Subject"] = subject
    message["Message-ID"] = message_id or f"<{os.urandom(8).hex()}@example.com>"
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_content("see attached\n")
    for name, content in files:
        message.add_attachment(content, "application", "octet-stream", filename=name)
    return message.as_bytes()
