"""The interface of a mailbox, for Gmail's API and for IMAP."""

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from datetime import datetime
from typing import NamedTuple, Protocol

from systemscripts import settings
from systemscripts.deadlines import hung_up_after
from systemscripts.errors import JobError, TemporaryFailure
from systemscripts.inbox.mime import Envelope


class MailboxError(JobError):
    """The mailbox cannot be used with the present settings; the message says what to type."""


class MailboxUnavailable(TemporaryFailure):
    """The mailbox cannot be reached, or takes no more requests for now."""


class MailGone(Exception):
    """The mail is no longer in its folder: its owner has moved or deleted it."""


class NotWhole(JobError):
    """The mailbox sent another mail than asked for, or not all of it; the mail is asked for again."""


class FoundMail(NamedTuple):
    """A mail as the mailbox lists it. `id` stays the same as long as the mail stays in its folder; `folders` are in lower case."""

    id: str
    envelope: Envelope
    received_at: datetime
    folders: frozenset[str]


class Mailbox(Protocol):
    """A place of a mailbox. Reading changes nothing: an unread mail stays unread."""

    # The faults of single folders that `waiting` found; they do not stop other folders.
    problems: list[str]

    def waiting(self, labels: Collection[str]) -> dict[str, frozenset[str]]:
        """Return the ids of the mails in the place without these labels, oldest first, each with its folders of the place.

        Raises MailboxError if a label is not allowed, or if the mailbox cannot label mail at all.
        """

    def look_at(self, mail_id: str) -> FoundMail:
        """Return the headers of a mail, without its content; raises MailGone if it is gone."""

    def content(self, mail_id: str) -> bytes:
        """Return the whole mail as it came; raises MailGone if it is gone, NotWhole if it is incomplete."""

    def make_label(self, label: str) -> None:
        """Make the label if it does not exist; raises MailboxError if that is impossible."""

    def put_label(self, mail_id: str, label: str) -> None:
        """Put the label on the mail; raises MailGone if it is gone."""


def deadline(hang_up: Callable[[], None]) -> AbstractContextManager[None]:
    """Hang up if the block takes ten times as long as the server may be silent."""
    return hung_up_after(10 * settings.mailbox_timeout(), hang_up)
