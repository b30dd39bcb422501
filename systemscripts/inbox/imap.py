"""A mailbox read by IMAP over TLS (RFC 3501, 6851): a label is a folder that the mail is moved to.

MOVE is asked for, because copying and deleting can be cut in two: every server in use has it.
"""

import contextlib
import imaplib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

from systemscripts import settings
from systemscripts.inbox.mailbox import FoundMail, MailboxError, MailboxUnavailable
from systemscripts.inbox.mime import header_envelope
from systemscripts.inbox.rules import Place

T = TypeVar("T")


class ImapMailbox:
    """See mailbox.Mailbox. An id is FOLDER/UIDVALIDITY/UID, which IMAP promises never to give again."""

    def __init__(self, place: Place, client: Any) -> None:
        self._place = place
        self._client = client
        self._validity = self._select(readonly=True)
        self._may_write = False

    def waiting(self, labels: Collection[str]) -> list[str]:
        if self._place.folder in labels:
            raise MailboxError(f"{self._place}: mail of this folder cannot be moved to the folder itself")
        uids = self._ask(lambda: self._client.search(["UNDELETED"]))
        return [f"{self._place.folder}/{self._validity}/{uid}" for uid in sorted(uids)]

    def look_at(self, mail_id: str) -> FoundMail:
        values = self._fetch(mail_id, ["BODY.PEEK[HEADER]", "RFC822.SIZE", "INTERNALDATE"])
        received_at = values[b"INTERNALDATE"]
        if not isinstance(received_at, datetime):
            received_at = datetime.now(UTC)
        envelope = header_envelope(values[b"BODY[HEADER]"] or b"", int(values[b"RFC822.SIZE"]))
        return FoundMail(mail_id, envelope, received_at.astimezone(UTC))

    def content(self, mail_id: str) -> bytes:
        return bytes(self._fetch(mail_id, ["BODY.PEEK[]"])[b"BODY[]"] or b"")

    def put_label(self, mail_id: str, label: str) -> None:
        if not self._client.has_capability("MOVE"):
            raise MailboxError(f"{self._place.imap_server} cannot move mail (it lacks MOVE, RFC 6851)")
        if not self._may_write:
            if self._select(readonly=False) != self._validity:
                raise MailboxUnavailable(f"{self._place} was made anew meanwhile")
            self._may_write = True
        if not self._ask(lambda: self._client.folder_exists(label)):
            self._ask(lambda: self._client.create_folder(label))
            with contextlib.suppress(MailboxError):  # only what people see in their program
                self._ask(lambda: self._client.subscribe_folder(label))
        uid = self._uid(mail_id)
        if not self._ask(lambda: self._client.search(["UID", str(uid)])):
            raise KeyError(mail_id)
        self._ask(lambda: self._client.move([uid], label))

    def _select(self, readonly: bool) -> int:
        """Open the folder; to look and read, without the right to change anything."""
        try:
            answer = self._ask(lambda: self._client.select_folder(self._place.folder, readonly=readonly))
        except MailboxError as error:
            raise MailboxError(f"{self._place}: the folder cannot be opened ({error}); correct folder") from None
        return int(answer[b"UIDVALIDITY"])

    def _fetch(self, mail_id: str, items: list[str]) -> dict[bytes, Any]:
        uid = self._uid(mail_id)
        answer = self._ask(lambda: self._client.fetch([uid], items))
        if uid not in answer:
            raise KeyError(mail_id)
        return dict(answer[uid])

    def _uid(self, mail_id: str) -> int:
        return int(mail_id.rpartition("/")[2])

    def _ask(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except (imaplib.IMAP4.abort, OSError) as error:
            raise MailboxUnavailable(f"{self._place.imap_server} does not go on ({_words(error)})") from None
        except imaplib.IMAP4.error as error:
            raise MailboxError(f"{self._place.imap_server} refuses: {_words(error)}") from None


@contextmanager
def imap_mailbox(place: Place) -> Iterator[ImapMailbox]:
    """Log in with the mailbox's address and password, over TLS that is verified."""
    client = _logged_in(place)
    try:
        yield ImapMailbox(place, client)
    finally:
        with contextlib.suppress(imaplib.IMAP4.error, OSError):
            client.logout()


def _logged_in(place: Place) -> Any:
    import ssl

    from imapclient import IMAPClient, SocketTimeout

    password = settings.imap_password(place.account)
    host, _, port = (place.imap_server or "").partition(":")
    limit = settings.mailbox_timeout()
    try:
        client = IMAPClient(
            host, int(port or 993), timeout=SocketTimeout(limit, limit), ssl_context=ssl.create_default_context()
        )
    except ssl.SSLCertVerificationError as error:
        raise MailboxError(
            f"the certificate of {place.imap_server} does not verify ({error.verify_message}); imap_server must be the "
            "name in it, and a private authority's own certificate goes in SSL_CERT_FILE"
        ) from None
    except (OSError, imaplib.IMAP4.error) as error:
        raise MailboxUnavailable(f"{place.imap_server} cannot be reached ({_words(error)})") from None
    try:
        client.login(place.account, password)
    except (imaplib.IMAP4.abort, OSError) as error:
        raise MailboxUnavailable(f"{place.imap_server} hung up at the login ({_words(error)})") from None
    except imaplib.IMAP4.error as error:
        raise MailboxError(
            f"{place.imap_server} refuses the login of {place.account} ({_words(error)}); see the password in "
            f"{settings.user_config_dir()}/imap_{place.account}.password (Gmail and others want an app password)"
        ) from None
    return client


def _words(error: Exception) -> str:
    argument = error.args[0] if error.args else type(error).__name__
    text = argument.decode("utf-8", "replace") if isinstance(argument, bytes) else str(error)
    return settings.mask(" ".join("".join(c if c.isprintable() else " " for c in text).split()))[:300]
