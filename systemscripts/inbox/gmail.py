"""A mailbox read through Gmail's API: a folder is a label, and a new label is added to the others.

https://developers.google.com/workspace/gmail/api/reference/rest
"""

import base64
import contextlib
import http.client
import logging
import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from systemscripts.inbox.mailbox import FoundMail, MailboxError, MailboxUnavailable, MailGone, NotWhole, deadline
from systemscripts.inbox.mime import envelope_of
from systemscripts.inbox.rules import Place
from systemscripts.mail import gmail_login

log = logging.getLogger(__name__)

PAGE = 500  # the most that Gmail lists at once
# Retries of a request that Google puts off (429, 403 for the rate, 5xx) or that did not get through. The
# client waits up to 1, 2, 4, 8 s before them.
RETRIES = 4

_HEADERS = ["From", "Subject", "Message-ID", "Auto-Submitted", "Precedence", "Return-Path", "List-Id", "X-Loop"]
# Labels that Gmail sets itself, or that do not mean that a mail is done.
_SYSTEM = ("INBOX", "UNREAD", "STARRED", "IMPORTANT", "SENT", "DRAFT", "TRASH", "SPAM", "CHAT")
# Reasons that concern only our rate of requests, so they pass.
_RATE_REASONS = ("rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded", "dailyLimitExceeded")


class GmailMailbox:
    """See mailbox.Mailbox."""

    def __init__(self, place: Place, client: Any) -> None:
        self._place = place
        # The userId of each request. With "me", a token of another mailbox would not be noticed.
        self._account = place.account
        self._http = client._http  # the library has no public way to it
        self._messages = client.users().messages()
        self._label_client = client.users().labels()
        self._label_ids: dict[str, str] = {}
        self.problems: list[str] = []

    def waiting(self, labels: Collection[str]) -> dict[str, frozenset[str]]:
        known = self._labels()
        for label in labels:
            if known.get(label.lower(), "") in _SYSTEM or label.lower() in map(str.lower, self._place.folders):
                raise MailboxError(
                    f"{self._place}: the label {label!r} is Gmail's own, or a folder that is read, so mail with it would never "
                    "be found again; correct processed_label or error_label"
                )
        done: set[str] = set()
        found: dict[str, frozenset[str]] = {}
        for folder in self._place.folders:
            if folder.lower() not in known:
                self.problems.append(f"the mailbox {self._place.account} has no label {folder!r}; correct folder")
                continue
            folder_id = known[folder.lower()]
            for label in labels:
                if label.lower() in known:
                    done.update(self._listed([folder_id, known[label.lower()]]))
            for mail_id in self._listed([folder_id]):
                found[mail_id] = found.get(mail_id, frozenset()) | {folder.lower()}
        # Gmail lists the newest first.
        return {mail_id: found[mail_id] for mail_id in reversed(found) if mail_id not in done}

    def look_at(self, mail_id: str) -> FoundMail:
        answer = self._run(
            self._messages.get(userId=self._account, id=mail_id, format="metadata", metadataHeaders=_HEADERS)
        )
        self._require_id(answer, mail_id)
        try:
            headers = [(str(header["name"]), str(header["value"])) for header in answer["payload"].get("headers", [])]
            received_at = datetime.fromtimestamp(int(answer["internalDate"]) / 1000, UTC)
            size = int(answer.get("sizeEstimate", 0))
        except (KeyError, TypeError, ValueError) as error:
            raise NotWhole(f"Gmail's answer about the mail {mail_id} cannot be understood: {error!r}") from None
        names = {label_id: name for name, label_id in self._labels().items()}
        folders = frozenset(names.get(label_id, "") for label_id in answer.get("labelIds", []))
        return FoundMail(mail_id, envelope_of(headers, size), received_at, folders)

    def content(self, mail_id: str) -> bytes:
        answer = self._run(self._messages.get(userId=self._account, id=mail_id, format="raw"))
        self._require_id(answer, mail_id)
        raw = str(answer.get("raw", ""))
        # Google pads it to a multiple of four; other servers do not.
        try:
            content = base64.b64decode(raw.rstrip("=") + "=" * (-len(raw.rstrip("=")) % 4), b"-_", validate=True)
        except ValueError:
            content = b""
        if not content:
            raise NotWhole(f"Gmail's answer with the mail {mail_id} is damaged")
        return content

    @staticmethod
    def _require_id(answer: dict[str, Any], mail_id: str) -> None:
        if answer.get("id") != mail_id:
            raise NotWhole(f"Gmail answers with the mail {str(answer.get('id'))[:40]!r}, asked for {mail_id}")

    def make_label(self, label: str) -> None:
        if label.lower() in self._labels():
            return
        reason = ""
        try:
            self._run(self._label_client.create(userId=self._account, body={"name": label}))
        except (MailboxError, MailGone) as refusal:  # another run may have just made it
            reason = str(refusal)
        self._label_ids = {}
        if label.lower() not in self._labels():
            raise MailboxError(f"{self._place.account} cannot have a label {label!r}: {reason}; choose another one")

    def put_label(self, mail_id: str, label: str) -> None:
        label_id = self._labels().get(label.lower())
        if label_id is None:
            raise MailboxUnavailable(f"the label {label!r} of {self._place.account} was deleted a moment ago")
        self._run(self._messages.modify(userId=self._account, id=mail_id, body={"addLabelIds": [label_id]}))

    def _listed(self, label_ids: list[str]) -> list[str]:
        found: list[str] = []
        page = None
        while True:
            request = self._messages.list(userId=self._account, labelIds=label_ids, maxResults=PAGE, pageToken=page)
            try:
                answer = self._run(request)
            except MailGone as error:
                told = f"a label of {self._account} was deleted a moment ago ({error.args[0]})"
                raise MailboxUnavailable(told) from None
            found += [str(message["id"]) for message in answer.get("messages", [])]
            page = answer.get("nextPageToken")
            if not page:
                return list(dict.fromkeys(found))

    def _labels(self) -> dict[str, str]:
        """Return the ids of the labels by their names in lower case; Gmail allows no two that differ only in case."""
        if not self._label_ids:
            try:
                answer = self._run(self._label_client.list(userId=self._account))
            except MailGone as error:
                raise MailboxError(
                    f"Gmail knows no mailbox {self._account} for this token ({error.args[0]}); "
                    f"{gmail_login.how_to_log_in(self._account)}"
                ) from None
            self._label_ids = {str(label["name"]).lower(): str(label["id"]) for label in answer.get("labels", [])}
        return self._label_ids

    def _run(self, request: Any) -> dict[str, Any]:
        """Return the answer to a request; retry it if that may help.

        Raises MailGone if the mail is gone, MailboxError or MailboxUnavailable for other failures.
        """
        import httplib2
        from googleapiclient.errors import HttpError

        try:
            with gmail_login.explained(self._place.account), deadline(self._hang_up):
                answer = request.execute(num_retries=RETRIES)
        except HttpError as error:
            raise self._explained(error) from None
        except (OSError, httplib2.HttpLib2Error, http.client.HTTPException, ValueError) as error:
            raise MailboxUnavailable(f"Gmail cannot be reached ({str(error) or type(error).__name__})") from None
        if not isinstance(answer, dict):
            raise MailboxUnavailable("Gmail's answer cannot be understood")
        return answer

    def _hang_up(self) -> None:
        for connection in tuple(self._http.http.connections.values()):
            with contextlib.suppress(OSError, AttributeError):  # there may be no socket yet
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _explained(self, error: Any) -> Exception:
        status, told = error.status_code, f"{error.status_code} {error.reason}".strip()
        if status == 404:
            return MailGone(told)
        if status == 429 or status >= 500 or (status == 403 and any(reason in str(error) for reason in _RATE_REASONS)):
            return MailboxUnavailable(f"Gmail does not answer for now ({told})")
        if status in (401, 403):
            return MailboxError(
                f"Gmail refuses access to the mailbox {self._place.account} ({told}): the token may belong to another "
                f"mailbox, or not allow labels; {gmail_login.how_to_log_in(self._place.account)}"
            )
        return MailboxError(f"Gmail refuses the request ({told})")


@contextmanager
def gmail_mailbox(place: Place) -> Iterator[GmailMailbox]:
    client = gmail_login.gmail_client(place.account)
    try:
        yield GmailMailbox(place, client)
    finally:
        client.close()
