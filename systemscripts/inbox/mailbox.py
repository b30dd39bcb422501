"""What a mailbox has to be able to do, whether it is Gmail's API or an IMAP server."""

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from datetime import datetime
from typing import NamedTuple, Protocol

from systemscripts import settings
from systemscripts.deadlines import hung_up_after
from systemscripts.errors import JobError, TemporaryFailure
from systemscripts.inbox.mime import Envelope


class MailboxError(JobError):
    """The mailbox cannot be used with the settings there are; the message says what to type."""


class MailboxUnavailable(TemporaryFailure):
    """The mailbox cannot be reached, or has had enough for now."""


class MailGone(Exception):
    """The mail is not in its folder any more: its owner has moved or deleted it."""


class NotWhole(JobError):
    """What the mailbox gave is not the mail it told of, or not all of it; the mail is asked for again."""


class FoundMail(NamedTuple):
    """A mail as the mailbox lists it. `id` stays the same as long as the mail stays in its folder; `folders` are in lower case."""

    id: str
    envelope: Envelope
    received_at: datetime
    folders: frozenset[str]


class Mailbox(Protocol):
    """A place of a mailbox. What reads changes nothing, not even that a mail is unread."""

    # What `waiting` found wrong with single folders, which stops no other.
    problems: list[str]

    def waiting(self, labels: Collection[str]) -> dict[str, frozenset[str]]:
        """Return the ids of the mails in the place that have none of the labels, oldest first, and the place's folders each is in.

        Raises MailboxError where one of the labels cannot be one, or where none can be put on at all.
        """

    def look_at(self, mail_id: str) -> FoundMail:
        """Return the headers of a mail, without its content; raises MailGone where it is gone."""

    def content(self, mail_id: str) -> bytes:
        """Return the whole mail as it came; raises MailGone where it is gone, NotWhole where less came than it has."""

    def make_label(self, label: str) -> None:
        """Make sure that there is such a label; raises MailboxError where there cannot be."""

    def put_label(self, mail_id: str, label: str) -> None:
        """Put the label on the mail; raises MailGone where it is gone."""


def deadline(hang_up: Callable[[], None]) -> AbstractContextManager[None]:
    """Hang up where the block takes ten times as long as the server may be silent."""
    return hung_up_after(10 * settings.mailbox_timeout(), hang_up)
