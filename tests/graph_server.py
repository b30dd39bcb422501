"""A counterpart of Microsoft Graph over HTTP: mailboxes with folders, sendMail, paging, throttling, and tokens that die."""

import base64
import contextlib
import email
import email.policy
import itertools
import json
import re
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any

from oauth_server import Answer, OAuthServer, serving

PAGE = 40  # the most that it lists at once

# Called with a request before and after it is done; returns another answer, None to let it pass.
Trouble = Callable[[str], Any]

# Graph reads over such a line, and Python takes it for the end of the header.
BROKEN_LINE = b"quite Delivered-To: list@example.com\n"


@dataclass
class Stored:
    """A mail: its content and its folder."""

    id: str
    raw: bytes
    folder: str
    received_at: datetime


@dataclass
class GraphServer:
    """The mailboxes; `before` and `after` are what goes wrong with a request."""

    provider: OAuthServer
    url: str = ""
    folders: dict[str, str] = field(default_factory=dict)  # id: name, of all mailboxes
    mails: dict[str, Stored] = field(default_factory=dict)
    sent: list[EmailMessage] = field(default_factory=list)
    readable: dict[str, str] = field(default_factory=dict)  # the mailbox of others that an account may use
    tells_headers: bool = True
    bad_addresses: set[str] = field(default_factory=set)
    before: Trouble = lambda _request: None
    after: Trouble = lambda _request: None
    requests: int = 0
    _numbers: Any = field(default_factory=itertools.count)

    def receive(self, raw: bytes) -> None:
        number = next(self._numbers)
        received_at = datetime(2026, 3, 2, tzinfo=UTC) + timedelta(seconds=number)
        self.mails[f"AAk={number}"] = Stored(f"AAk={number}", raw, "inbox", received_at)

    def subjects(self, folder: str) -> list[str]:
        """Return the subjects of the mails in the folder of that name."""
        ids = [number for number, name in self.folders.items() if name == folder] + [folder.lower()]
        mails = [email.message_from_bytes(mail.raw) for mail in self.mails.values() if mail.folder in ids]
        return sorted(str(mail["Subject"]) for mail in mails)

    def answer(self, method: str, path: str, form: dict[str, str], headers: Any, body: bytes) -> Any:
        self.requests += 1
        request = f"{method} {path}"
        if (trouble := self.before(request)) is not None:
            return trouble
        told = self._done(method, urllib.parse.unquote(path), form, headers, body)
        trouble = self.after(request)
        return told if trouble is None else trouble

    def _done(self, method: str, path: str, form: dict[str, str], headers: Any, body: bytes) -> Answer:
        owner = self.provider.access.get(str(headers.get("Authorization", "")).removeprefix("Bearer "))
        found = re.fullmatch(r"/v1\.0/users/([^/]+)(/.*)", path)
        assert found is not None
        mailbox, rest = found[1], found[2]
        if owner is None:
            return refusal(401, "InvalidAuthenticationToken", "Access token has expired or is not yet valid.")
        if owner not in (mailbox, "app") and self.readable.get(owner) != mailbox:
            return refusal(403, "ErrorAccessDenied", "Access is denied.")
        if rest == "/sendMail":
            return self._send(body)
        assert headers["Prefer"] == 'IdType="ImmutableId"'
        values = json.loads(body) if body else {}
        if made := re.fullmatch(r"/mailFolders/([^/]+)/childFolders", rest):
            return self._folders_in(method, made[1], form, values)
        if listed := re.fullmatch(r"/mailFolders/([^/]+)/messages", rest):
            return self._page(path, listed[1], form)
        mail = re.fullmatch(r"/messages/([^/]+)(/\$value|/move)?", rest)
        assert mail is not None, rest
        return self._mail(mail[1], mail[2] or "", values)

    def _send(self, body: bytes) -> Answer:
        message = email.message_from_bytes(base64.b64decode(body), policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        if any(address.addr_spec in self.bad_addresses for address in message["To"].addresses):
            return refusal(400, "ErrorInvalidRecipients", "At least one recipient is not valid.")
        self.sent.append(message)
        return Answer(202)

    def _folders_in(self, method: str, above: str, form: dict[str, str], values: Any) -> Answer:
        if method == "POST":
            if values["displayName"] in [self.folders[one] for one in self.folders if one.startswith(f"{above}.")]:
                return refusal(409, "ErrorFolderExists", "A folder with the specified name already exists.")
            number = f"{above}.{next(self._numbers)}"
            self.folders[number] = values["displayName"]
            return Answer(201, {"id": number})
        name = form["$filter"].removeprefix("displayName eq '")[:-1].replace("''", "'")
        found = [one for one in self.folders if one.startswith(f"{above}.") and self.folders[one] == name]
        return Answer(200, {"value": [{"id": one} for one in found]})

    def _page(self, path: str, folder: str, form: dict[str, str]) -> Answer:
        first = int(form.get("skip", 0))
        found = sorted((one for one in self.mails.values() if one.folder == folder), key=lambda one: one.received_at)
        told: dict[str, Any] = {"value": [{"id": one.id} for one in found[first : first + PAGE]]}
        if first + PAGE < len(found):
            told["@odata.nextLink"] = f"{self.url}{urllib.parse.quote(path)}?skip={first + PAGE}"
        return Answer(200, told)

    def _mail(self, number: str, what: str, values: Any) -> Answer:
        mail = self.mails.get(number)
        if mail is None:
            return refusal(404, "ErrorItemNotFound", "The specified object was not found in the store.")
        if what == "/$value":
            return Answer(200, mail.raw)
        if what == "/move":
            mail.folder = values["destinationId"]
            return Answer(201, {"id": number})
        told = mail.raw.replace(BROKEN_LINE, b"") if self.tells_headers else b""
        headers = email.message_from_bytes(told, policy=email.policy.compat32)
        return Answer(
            200,
            {
                "id": number, "receivedDateTime": f"{mail.received_at:%Y-%m-%dT%H:%M:%SZ}",
                "internetMessageHeaders": [{"name": name, "value": str(value)} for name, value in headers.items()],
                "singleValueExtendedProperties": [{"id": "Long 0xe08", "value": str(len(mail.raw))}],
            },
        )  # fmt: skip


def refusal(status: int, code: str, message: str) -> Answer:
    return Answer(status, {"error": {"code": code, "message": message}})


@contextlib.contextmanager
def graph_server(provider: OAuthServer) -> Iterator[GraphServer]:
    server = GraphServer(provider)
    with serving(server.answer) as (server.url, _):
        yield server
