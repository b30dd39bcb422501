from collections.abc import Iterator
from contextlib import contextmanager

from systemscripts.inbox.mailbox import Mailbox
from systemscripts.inbox.rules import Place


@contextmanager
def open_mailbox(place: Place) -> Iterator[Mailbox]:
    """Log in and return the mailbox; it and the mailbox's methods may raise MailboxError or MailboxUnavailable."""
    if place.auth == "graph":
        from systemscripts.inbox.graph import graph_mailbox

        with graph_mailbox(place) as mailbox:
            yield mailbox
    elif place.imap_server is None:
        from systemscripts.inbox.gmail import gmail_mailbox

        with gmail_mailbox(place) as mailbox:
            yield mailbox
    else:
        from systemscripts.inbox.imap import imap_mailbox

        with imap_mailbox(place) as mailbox:
            yield mailbox
