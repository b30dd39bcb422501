"""The rows of dba.tinboxconfig: which mail is wanted, and what happens with it."""

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from systemscripts import patterns
from systemscripts.errors import JobError
from systemscripts.inbox.mime import Envelope

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

_ADDRESS = re.compile(r"[^@\s,<>\"]+@[^@\s,<>\"]+")
_DOMAIN = re.compile(r"@?[^@\s,<>\".]+(\.[^@\s,<>\".]+)+")


class RuleError(JobError):
    """A row is wrong; its mail is not to blame and stays untouched."""


class InboxRule(NamedTuple):
    """An active row. The fields are named after the table's columns."""

    config_id: int
    config_name: str
    gmail_account: str
    imap_server: str | None
    folder: str
    subject_pattern: str | None
    sender_filter: str | None
    has_attachment: bool
    attachment_name_pattern: str | None
    processed_label: str
    error_label: str
    received_since: datetime | None
    answer_sender: bool
    local_repository_path: str
    auth: str

    @property
    def label(self) -> str:
        return f"inbox rule {self.config_id} {self.config_name}"

    @property
    def directory(self) -> Path:
        return Path(self.local_repository_path)

    def wants(self, envelope: Envelope, received_at: datetime, folders: Collection[str]) -> bool:
        """Return whether the rule wants mail with these headers in these folders (lower case); its files are checked later.

        Raises RuleError for an invalid pattern or sender, or a pattern that takes too long.
        """
        if self.folder.lower() not in folders:
            return False
        if self.received_since is not None and received_at < self.received_since:
            return False
        if self.sender_filter is not None:
            # All senders that the mail names must be allowed; a second From could otherwise fake a sender.
            allowed, senders = self._allowed(), envelope.senders
            if not senders:
                return False
            if not all(sender in allowed or sender[sender.rfind("@") :] in allowed for sender in senders):
                return False
        return self._found("subject_pattern", envelope.subject)

    def picks(self, file_name: str) -> bool:
        """Return whether a file of this name is to be kept."""
        return self._found("attachment_name_pattern", file_name)

    def check(self) -> None:
        """Raise RuleError for a row that cannot be used."""
        for _column, problem in self.problems():
            raise problem

    def problems(self) -> Iterator[tuple[str, RuleError]]:
        """Yield each column that cannot be used, and why."""
        if not _ADDRESS.fullmatch(self.gmail_account) or "/" in self.gmail_account:
            told = f"{self.label}: gmail_account is {self.gmail_account!r}, which is not a mail address"
            yield "gmail_account", RuleError(told)
        checks: dict[str, Callable[[], object]] = {
            "subject_pattern": partial(self._found, "subject_pattern", ""),
            "attachment_name_pattern": partial(self._found, "attachment_name_pattern", ""),
            "sender_filter": self._allowed,
        }
        for column, check in checks.items():
            try:
                check()
            except RuleError as problem:
                yield column, problem

    def _found(self, column: Literal["subject_pattern", "attachment_name_pattern"], text: str) -> bool:
        pattern: str | None = getattr(self, column)
        try:
            return pattern is None or patterns.find(pattern, text) is not None
        except patterns.BadPattern as problem:
            raise RuleError(f"{self.label}: {column} {pattern!r} {problem}") from None

    def _allowed(self) -> set[str]:
        """Return the allowed addresses and domains, the domains with their @."""
        allowed = set()
        for entry in (self.sender_filter or "").lower().split(","):
            text = entry.strip()
            if text.endswith(">"):
                text = text[text.rfind("<") + 1 : -1]
            if _DOMAIN.fullmatch(text):
                allowed.add(f"@{text.removeprefix('@')}")
            elif _ADDRESS.fullmatch(text):
                allowed.add(text)
            elif self.sender_filter is not None:
                raise RuleError(
                    f"{self.label}: sender_filter has {entry.strip()!r}, which is neither an address nor a domain such as @example.com"
                )
        return allowed


class Place(NamedTuple):
    """One visit: in Gmail all labels of a mailbox that rules name, as a mail may have several; elsewhere one folder.

    `imap_server` is None for Gmail's API, and for Microsoft Graph, where `auth` is graph.
    """

    account: str
    imap_server: str | None
    folders: tuple[str, ...]
    auth: str = "password"

    def __str__(self) -> str:
        server = f" at {self.imap_server}" if self.imap_server else ""
        return f"{self.account}{server}, {', '.join(self.folders)}"


def load_rules(connection: "Connection") -> list[InboxRule]:
    """Return the active rows in the order of their ids; the first row that wants a mail gets it."""
    with connection, connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join(InboxRule._fields)} FROM dba.tinboxconfig WHERE is_active ORDER BY config_id"  # noqa: S608
        )
        return [InboxRule(*row) for row in cursor.fetchall()]


def by_place(rules: Iterable[InboxRule]) -> dict[Place, list[InboxRule]]:
    together: dict[tuple[str, str | None, str, str], list[InboxRule]] = {}
    for rule in rules:
        # Only Gmail's API reads all of a mailbox's folders at one visit.
        folder = "" if rule.imap_server is None and rule.auth == "password" else rule.folder
        place = rule.gmail_account.strip().lower(), rule.imap_server, rule.auth, folder
        together.setdefault(place, []).append(rule)
    return {
        Place(account, server, tuple(dict.fromkeys(rule.folder for rule in its_rules)), auth): its_rules
        for (account, server, auth, _), its_rules in together.items()
    }


def fingerprint(rules: Iterable[InboxRule]) -> str:
    """Return a short hash of the rules' conditions; unwanted mail is looked at again only when this hash changes."""
    sought = [
        (rule.config_id, rule.folder, rule.subject_pattern, rule.sender_filter, rule.has_attachment,
         rule.attachment_name_pattern, str(rule.received_since))
        for rule in rules
    ]  # fmt: skip
    return hashlib.sha256(repr(sought).encode()).hexdigest()[:16]
