"""What a mailbox has to be able to do, whether it is Gmail's API or an IMAP server."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple, Protocol

from systemscripts.errors import JobError, TemporaryFailure
from systemscripts.inbox.mime import Envelope
from systemscripts.inbox.rules import Place


class MailboxError(JobError):
    """The mailbox cannot be used with the settings there are; the message says what to type."""


class MailboxUnavailable(TemporaryFailure):
    """The mailbox cannot be reached, or has had enough for now."""


class FoundMail(NamedTuple):
    """A mail as the mailbox lists it. `id` stays the same as long as the mail stays in its folder."""

    id: str
    envelope: Envelope
    received_at: datetime


class Mailbox(Protocol):
    """A folder of a mailbox. What reads changes nothing, not even that a mail is unread."""

    def waiting(self, labels: Collection[str]) -> list[str]:
        """Return the ids of the mails in the folder that have none of the labels, oldest first."""

    def look_at(self, mail_id: str) -> FoundMail:
        """Return the headers of a mail, without its content; raises KeyError where it is gone."""

    def content(self, mail_id: str) -> bytes:
        """Return the whole mail as it came; raises KeyError where it is gone."""

    def put_label(self, mail_id: str, label: str) -> None:
        """Put the label on the mail, made where there is none yet; raises KeyError where the mail is gone."""


@contextmanager
def open_mailbox(place: Place) -> Iterator[Mailbox]:
    """Log in; raises MailboxError or MailboxUnavailable, as each of the mailbox's own methods may."""
    if place.imap_server is None:
        from systemscripts.inbox.gmail import gmail_mailbox

        with gmail_mailbox(place) as mailbox:
            yield mailbox
    else:
        from systemscripts.inbox.imap import imap_mailbox

        with imap_mailbox(place) as mailbox:
            yield mailbox
