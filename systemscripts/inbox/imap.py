"""A mailbox read by IMAP over TLS (RFC 3501, 6851): a label is a folder that the mail is moved to.

The server must have MOVE, because a failure between copying and deleting would leave two mails. All
servers in use have it.
"""

import bisect
import contextlib
import functools
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
from systemscripts.mail.oauth import providers, rights, sasl
from systemscripts.mail.oauth.refusals import TokenRefused
from systemscripts.plain_text import as_words

T = TypeVar("T")

BATCH = 200  # mails whose headers are fetched at once


class _HungUp(MailboxUnavailable):
    """The server has closed the connection."""


class ImapMailbox:
    """See mailbox.Mailbox. An id is SERVER/FOLDER/UIDVALIDITY/UID, which IMAP never uses a second time."""

    def __init__(self, place: Place, client: Any) -> None:
        self._place = place
        self._client = client
        self._folder = place.folders[0]
        self._folders = frozenset([self._folder.lower()])
        self._validity, self._may_write = self._select(readonly=True, ask=self._asked), False
        self.problems: list[str] = []
        # The prefix of this account's folder names, and their separator (RFC 2342).
        self._prefix, self._separator = "", "/"
        has_namespaces = self._asked(lambda: client.has_capability("NAMESPACE"))
        if has_namespaces and (personal := self._asked(client.namespace).personal):
            self._prefix, self._separator = str(personal[0][0]), str(personal[0][1])
        # The mails that are still to be looked at, and their headers fetched so far.
        self._uids: list[int] = []
        self._fetched: dict[int, FoundMail] = {}

    def waiting(self, labels: Collection[str]) -> dict[str, frozenset[str]]:
        if not self._ask(lambda: self._client.has_capability("MOVE")):
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
            # Another run made it, or this one did, and the connection broke before the answer.
            if self._ask(lambda: self._client.folder_exists(folder)):
                return
            raise MailboxError(
                f"{self._place} cannot have a folder {folder!r}: {refusal}; choose another label"
            ) from None
        with contextlib.suppress(MailboxError):  # a subscription only decides what people see in their mail program
            self._ask(lambda: self._client.subscribe_folder(folder))

    def put_label(self, mail_id: str, label: str) -> None:
        if not self._may_write:
            if self._select(readonly=False, ask=self._ask) != self._validity:
                raise MailboxUnavailable(f"{self._place} was deleted and made again meanwhile")
            self._may_write = True
        uid = self._uid(mail_id)
        if not self._ask(lambda: self._client.search(["UID", str(uid)])):
            raise MailGone(mail_id)
        self._ask(lambda: self._client.move([uid], self._named(label)))

    def logout(self) -> None:
        self._client.logout()

    def _select(self, readonly: bool, ask: Callable[[Callable[[], Any]], Any]) -> int:
        """Open the folder; for reading, open it without the right to change anything."""
        try:
            answer = ask(lambda: self._client.select_folder(self._folder, readonly=readonly))
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
        """Return what `work` returns; where a login ends with its token, log in anew, once, and do it again.

        Everything that is asked may be done twice: a mail that was moved already is not moved by a second MOVE.
        """
        try:
            return self._asked(work)
        except _HungUp:
            if self._place.auth == "password":
                raise
        self._hang_up()
        self._client = _logged_in(self._place)
        if self._select(readonly=not self._may_write, ask=self._asked) != self._validity:
            raise MailboxUnavailable(f"{self._place} was deleted and made again meanwhile")
        return self._asked(work)

    def _asked(self, work: Callable[[], T]) -> T:
        try:
            with deadline(self._hang_up):
                return work()
        except imaplib.IMAP4.abort as error:
            raise _HungUp(f"{self._place.imap_server} does not continue ({_words(error)})") from None
        except OSError as error:
            raise MailboxUnavailable(f"{self._place.imap_server} does not continue ({_words(error)})") from None
        except imaplib.IMAP4.error as error:
            raise MailboxError(f"{self._place.imap_server} refuses: {_words(error)}") from None

    def _hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self._client.socket().shutdown(socket.SHUT_RDWR)


@contextmanager
def imap_mailbox(place: Place) -> Iterator[ImapMailbox]:
    """Log in with the mailbox's address, by password or token, over verified TLS."""
    client = _logged_in(place)
    mailbox = None
    try:
        mailbox = ImapMailbox(place, client)
        yield mailbox
    finally:
        with contextlib.suppress(imaplib.IMAP4.error, OSError):
            (mailbox or client).logout()


def _logged_in(place: Place) -> Any:
    if name := providers.provider_of(place.auth):
        providers.require_own_server(name, str(place.imap_server), "imap_server")
        return rights.log_in(name, place.account, str(place.imap_server), functools.partial(_by_token, place))
    password = settings.imap_password(place.account)
    client = _connected(place)
    with _login(place, client):
        try:
            client.login(place.account, password)
        except imaplib.IMAP4.error as error:
            if _passes(error):
                raise
            raise MailboxError(
                f"{place.imap_server} refuses the login of {place.account} ({_words(error)}); check the password in "
                f"{settings.user_config_dir()}/imap_{place.account}.password "
                "(Gmail and others want an app password; Microsoft 365 takes none: docs/mailboxes.md)"
            ) from None
    return client


def _by_token(place: Place, token: str) -> Any:
    """Return a new connection that is logged in with the token; raises TokenRefused."""
    client = _connected(place)
    # What the library's own function returns here would count after the login, too.
    offered = [name.removeprefix("AUTH=") for name in client._imap.capabilities]
    mechanism = sasl.chosen(offered)
    if mechanism is None:
        raise MailboxError(f"{place.imap_server} takes no login with a token: it has neither OAUTHBEARER nor XOAUTH2")
    dialogue = sasl.Dialogue(mechanism, place.account, token)
    with _login(place, client):
        try:
            client.sasl_login(mechanism, dialogue.answer)
        except imaplib.IMAP4.error as error:
            if _passes(error):
                raise
            raise TokenRefused(f"{_words(error)} {dialogue.refusal}".strip()) from None
    return client


@contextmanager
def _login(place: Place, client: Any) -> Iterator[None]:
    """Close the connection if the login in the block fails."""
    try:
        yield
    except (imaplib.IMAP4.error, OSError, TokenRefused, MailboxError) as error:
        with contextlib.suppress(imaplib.IMAP4.error, OSError):
            client.shutdown()
        if isinstance(error, TokenRefused | MailboxError):
            raise
        raise MailboxUnavailable(f"{place.imap_server} takes no login for now ({_words(error)})") from None


def _passes(error: imaplib.IMAP4.error) -> bool:
    """Return whether a login was not refused: the connection broke, or the server is busy (RFC 5530)."""
    # The library reports a broken connection as a refusal.
    is_broken = isinstance(error, imaplib.IMAP4.abort) or isinstance(error.__context__, imaplib.IMAP4.abort)
    return is_broken or _words(error).startswith(("[LIMIT]", "[UNAVAILABLE]", "[INUSE]", "[SERVERBUG]"))


def _connected(place: Place) -> Any:
    import ssl

    from imapclient import IMAPClient, SocketTimeout

    host, _, port = (place.imap_server or "").partition(":")
    limit = settings.mailbox_timeout()
    try:
        return IMAPClient(
            host, int(port or 993), timeout=SocketTimeout(limit, limit), ssl_context=ssl.create_default_context()
        )
    except ssl.SSLCertVerificationError as error:
        raise MailboxError(
            f"the certificate of {place.imap_server} does not verify ({error.verify_message}); imap_server must be the "
            "name in it, and a private authority's own certificate goes in SSL_CERT_FILE"
        ) from None
    except (OSError, imaplib.IMAP4.error) as error:
        raise MailboxUnavailable(f"{place.imap_server} cannot be reached ({_words(error)})") from None


def _words(error: Exception) -> str:
    argument = error.args[0] if error.args else type(error).__name__
    text = argument.decode("utf-8", "replace") if isinstance(argument, bytes) else str(error)
    return settings.mask(as_words(text))[:300]
