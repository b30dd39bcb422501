"""A mailbox read by IMAP over TLS (RFC 3501, 6851): a label is a folder that the mail is moved to.

The server must have MOVE, because a failure between copying and deleting would leave two mails. All
servers in use have it.
"""

import bisect
import contextlib
import imaplib
import socket
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

from systemscripts import settings
from systemscripts.inbox.mailbox import FoundMail, MailboxError, MailboxUnavailable, MailGone, NotWhole, deadline
from systemscripts.inbox.mime import MOST_HEADER_BYTES, header_envelope
from systemscripts.inbox.rules import Place
from systemscripts.plain_text import as_words

T = TypeVar("T")

BATCH = 200  # mails whose headers are fetched at once


class ImapMailbox:
    """See mailbox.Mailbox. An id is SERVER/FOLDER/UIDVALIDITY/UID, which IMAP never uses a second time."""

    def __init__(self, place: Place, client: Any) -> None:
        self._place = place
        self._client = client
        self._folder = place.folders[0]
        self._folders = frozenset([self._folder.lower()])
        self._validity = self._select(readonly=True)
        self._may_write = False
        self.problems: list[str] = []
        # The prefix of this account's folder names, and their separator (RFC 2342).
        self._prefix, self._separator = "", "/"
        if client.has_capability("NAMESPACE") and (personal := self._ask(client.namespace).personal):
            self._prefix, self._separator = str(personal[0][0]), str(personal[0][1])
        # The mails that are still to be looked at, and their headers fetched so far.
        self._uids: list[int] = []
        self._fetched: dict[int, FoundMail] = {}

    def waiting(self, labels: Collection[str]) -> dict[str, frozenset[str]]:
        if not self._client.has_capability("MOVE"):
            raise MailboxError(f"{self._place.imap_server} cannot move mail (it lacks MOVE, RFC 6851)")
        if self._folder in map(self._named, labels):
            raise MailboxError(
                f"{self._place}: mail of this folder cannot be moved to the folder itself; correct processed_label or error_label"
            )
        self._uids = sorted(self._ask(lambda: self._client.search(["UNDELETED"])))
        return {self._id(uid): self._folders for uid in self._uids}

    def look_at(self, mail_id: str) -> FoundMail:
        uid = self._uid(mail_id)
        if uid not in self._fetched:
            # The headers of many mails come with one request, to save round trips.
            first = bisect.bisect_left(self._uids, uid)
            uids = self._uids[first : first + BATCH] or [uid]
            header = f"BODY.PEEK[HEADER]<0.{MOST_HEADER_BYTES}>"
            answer = self._ask(lambda: self._client.fetch(uids, [header, "RFC822.SIZE", "INTERNALDATE"]))
            fetched = {}
            for its_uid, values in answer.items():
                received_at = values.get(b"INTERNALDATE")
                if not isinstance(received_at, datetime):
                    received_at = datetime.now(UTC)
                envelope = header_envelope(values.get(b"BODY[HEADER]<0>") or b"", int(values.get(b"RFC822.SIZE") or 0))
                fetched[its_uid] = FoundMail(self._id(its_uid), envelope, received_at.astimezone(UTC), self._folders)
            self._fetched = fetched
        if uid not in self._fetched:
            raise MailGone(mail_id)
        return self._fetched[uid]

    def content(self, mail_id: str) -> bytes:
        uid = self._uid(mail_id)
        answer = self._ask(lambda: self._client.fetch([uid], ["BODY.PEEK[]", "RFC822.SIZE"]))
        if uid not in answer:
            raise MailGone(mail_id)
        content, size = answer[uid].get(b"BODY[]") or b"", answer[uid].get(b"RFC822.SIZE")
        if not content:
            raise NotWhole(f"{self._place.imap_server} sent nothing of it")
        if size != len(content) and settings.imap_exact_sizes():
            raise NotWhole(
                f"{self._place.imap_server} sent {len(content):,} bytes of it, but states a size of {size}. If the server only "
                "estimates sizes, as some of Microsoft's do, set ETL_IMAP_EXACT_SIZES=no"
            )
        return bytes(content)

    def make_label(self, label: str) -> None:
        folder = self._named(label)
        if self._ask(lambda: self._client.folder_exists(folder)):
            return
        try:
            self._ask(lambda: self._client.create_folder(folder))
        except MailboxError as refusal:
            raise MailboxError(
                f"{self._place} cannot have a folder {folder!r}: {refusal}; choose another label"
            ) from None
        with contextlib.suppress(MailboxError):  # a subscription only decides what people see in their mail program
            self._ask(lambda: self._client.subscribe_folder(folder))

    def put_label(self, mail_id: str, label: str) -> None:
        if not self._may_write:
            if self._select(readonly=False) != self._validity:
                raise MailboxUnavailable(f"{self._place} was deleted and made again meanwhile")
            self._may_write = True
        uid = self._uid(mail_id)
        if not self._ask(lambda: self._client.search(["UID", str(uid)])):
            raise MailGone(mail_id)
        self._ask(lambda: self._client.move([uid], self._named(label)))

    def _select(self, readonly: bool) -> int:
        """Open the folder; for reading, open it without the right to change anything."""
        try:
            answer = self._ask(lambda: self._client.select_folder(self._folder, readonly=readonly))
        except MailboxError as error:
            raise MailboxError(f"{self._place}: the folder cannot be opened ({error}); correct folder") from None
        return int(answer[b"UIDVALIDITY"])

    def _named(self, label: str) -> str:
        """Return the folder name of a label on this server; / separates its levels, as in Gmail."""
        folder = label.replace("/", self._separator)
        return folder if folder.startswith(self._prefix) else self._prefix + folder

    def _id(self, uid: int) -> str:
        return f"{self._place.imap_server}/{self._folder}/{self._validity}/{uid}"

    def _uid(self, mail_id: str) -> int:
        return int(mail_id.rpartition("/")[2])

    def _ask(self, work: Callable[[], T]) -> T:
        try:
            with deadline(self._hang_up):
                return work()
        except (imaplib.IMAP4.abort, OSError) as error:
            raise MailboxUnavailable(f"{self._place.imap_server} does not continue ({_words(error)})") from None
        except imaplib.IMAP4.error as error:
            raise MailboxError(f"{self._place.imap_server} refuses: {_words(error)}") from None

    def _hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self._client.socket().shutdown(socket.SHUT_RDWR)


@contextmanager
def imap_mailbox(place: Place) -> Iterator[ImapMailbox]:
    """Log in with the mailbox's address and password, over verified TLS."""
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
        if isinstance(error.__context__, imaplib.IMAP4.abort):  # the library reports a broken connection as a refusal
            raise MailboxUnavailable(f"{place.imap_server} hung up at the login ({_words(error)})") from None
        raise MailboxError(
            f"{place.imap_server} refuses the login of {place.account} ({_words(error)}); check the password in "
            f"{settings.user_config_dir()}/imap_{place.account}.password (Gmail and others want an app password)"
        ) from None
    return client


def _words(error: Exception) -> str:
    argument = error.args[0] if error.args else type(error).__name__
    text = argument.decode("utf-8", "replace") if isinstance(argument, bytes) else str(error)
    return settings.mask(as_words(text))[:300]
