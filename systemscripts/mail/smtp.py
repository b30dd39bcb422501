"""Hand messages to the mail server, or to Microsoft Graph in its place, and know afterwards who has them.

A message goes to all of its recipients over one connection. If the server puts some off (a 4xx
answer), they are tried again on a new connection; if it refuses some (5xx), they are not. RFC 5321
defines the dialogue and the answers.
"""

import contextlib
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from typing import TYPE_CHECKING

from systemscripts import settings
from systemscripts.mail import composing, graph, graph_sending
from systemscripts.mail.composing import MailError, MailUnavailable, OutcomeUnknown
from systemscripts.mail.smtp_connection import PutOff, connection, explained, limit_silence, require, said, server_name

if TYPE_CHECKING:
    from smtplib import SMTP

log = logging.getLogger(__name__)

__all__ = ["MailError", "MailUnavailable", "Mailer", "OutcomeUnknown", "send"]

PAUSES = (5.0, 20.0)  # seconds before the second and the third try
# A server may need time for a received message: RFC 5321 (4.5.3.2.6) asks to wait ten minutes.
PATIENCE_AT_THE_END = 10  # times SMTP_TIMEOUT

wait = time.sleep


def send(
    message: EmailMessage,
    recipients: Sequence[str],
    about_to_send: Callable[[list[str]], None] = lambda _recipients: None,
) -> dict[str, str]:
    """Send one message, as `Mailer.send` does."""
    with Mailer() as mailer:
        return mailer.send(message, recipients, about_to_send)


class Mailer:
    """Send any number of messages over one connection, as long as it works."""

    def __init__(self) -> None:
        self._open: tuple[contextlib.ExitStack, SMTP] | None = None

    def __enter__(self) -> "Mailer":
        return self

    def __exit__(self, *_exception: object) -> None:
        self._hang_up()

    def send(
        self,
        message: EmailMessage,
        recipients: Sequence[str],
        about_to_send: Callable[[list[str]], None] = lambda _recipients: None,
    ) -> dict[str, str]:
        """Hand the message to the SMTP server for each recipient; return those that it refused for good (5xx), each with its words.

        A recipient is an addr-spec (`me@here.com`); the message's own To stays unchanged. `about_to_send` is
        called with the recipients just before the server gets the text: from then on they may have it. Raises
        MailUnavailable if the server cannot be reached, cannot be trusted or puts the mail off three times,
        OutcomeUnknown if the connection broke when the server had the whole mail, and MailError for a wrong
        setting or login.
        """
        delivery = _Delivery(message, recipients, about_to_send)
        if settings.smtp_auth() == graph.NAME:
            return graph_sending.send(message, recipients, about_to_send)
        for pause in (*PAUSES, None):
            try:
                with self._server(delivery.sender) as server:
                    delivery.hand_over(server)
            except PutOff as put_off:
                delivery.waiting = dict.fromkeys(delivery.waiting, str(put_off))
            except OutcomeUnknown:
                raise
            except MailUnavailable as failure:
                raise delivery.unavailable(str(failure)) from None
            except MailError as failure:
                if not delivery.has_reached_somebody:
                    raise
                # This exception says who has the mail already; a MailError does not.
                raise delivery.unavailable(str(failure)) from None
            if not delivery.waiting:
                return delivery.refused
            if pause is not None:
                log.info("%s; next try in %.0f s", delivery.state(), pause, extra={"step": "mail"})
                self._hang_up()
                wait(pause)
        raise delivery.unavailable(f"{delivery.state()}, {len(PAUSES) + 1} times; send it again later")

    @contextlib.contextmanager
    def _server(self, sender: str) -> "Iterator[SMTP]":
        """Yield the open connection, or a new one; after an error a connection is not used again."""
        if self._open is not None:
            answers = False
            # The server may have hung up while the next mail was made.
            with contextlib.suppress(OSError):
                answers = self._open[1].docmd("RSET")[0] == 250
            if not answers:
                self._hang_up()
        if self._open is None:
            new = contextlib.ExitStack()
            self._open = new, new.enter_context(connection(sender))
        stack, server = self._open
        try:
            yield server
        except BaseException:
            self._open = None
            if not stack.__exit__(*sys.exc_info()):
                raise

    def _hang_up(self) -> None:
        if self._open is not None:
            stack, _ = self._open
            self._open = None
            stack.close()


class _Delivery:
    """A message on its way: the waiting recipients, with the server's last words, and the refused ones."""

    def __init__(
        self, message: EmailMessage, recipients: Sequence[str], about_to_send: Callable[[list[str]], None]
    ) -> None:
        for recipient in recipients:
            if [address.addr_spec for address in composing.addresses(recipient)] != [recipient]:
                raise MailError(f"{recipient!r} is not the bare address of one recipient, such as me@here.com")
        if not recipients:
            raise MailError("the mail has no recipients")
        self.sender = composing.sender().addr_spec
        self.waiting = dict.fromkeys(recipients, "")
        self.refused: dict[str, str] = {}
        self.has_reached_somebody = False
        self._about_to_send = about_to_send
        self._content = _on_the_wire(message)

    def hand_over(self, server: "SMTP") -> None:
        """Do one dialogue with the server, and note the result for each waiting recipient."""
        size = (f"size={len(self._content)}",) if server.has_extn("size") else ()
        require(server.mail(self.sender, size))
        accepted = []
        for recipient in tuple(self.waiting):
            code, words = server.rcpt(recipient)
            if 200 <= code < 300:
                accepted.append(recipient)
            elif code == 421:  # the server hangs up
                raise PutOff(said(words, code))
            else:
                self._note(recipient, code, words)
        if not accepted:
            return
        code, words = server.docmd("DATA")
        if code == 354:
            self._about_to_send(accepted)
            code, words = self._body(server, accepted)
        elif code < 400:  # DATA cannot have this answer
            code = -1
        for recipient in accepted:
            self._note(recipient, code, words)

    def state(self) -> str:
        waiting = ", ".join(f"{recipient} ({words})" for recipient, words in self.waiting.items())
        return f"{server_name()} puts the mail off for {waiting}"

    def unavailable(self, message: str) -> MailUnavailable:
        return MailUnavailable(message, tuple(self.waiting), self.refused)

    def _body(self, server: "SMTP", accepted: list[str]) -> tuple[int, bytes]:
        """Send the text and return the answer; raises OutcomeUnknown if there is none or it cannot be understood."""
        server.send(self._content)
        # Before this line is sent, the server cannot have accepted the message.
        server.send(b".\r\n")
        try:
            limit_silence(server, settings.smtp_timeout() * PATIENCE_AT_THE_END)
            code, words = server.getreply()
            trouble = "" if code // 100 in (2, 4, 5) else f"its answer cannot be understood: {said(words, code)}"
        except OSError as error:
            code, words, trouble = 0, b"", said(str(error))
        if trouble:
            others = [recipient for recipient in self.waiting if recipient not in accepted]
            raise OutcomeUnknown(
                f"{server_name()} had the whole mail but did not confirm it ({trouble}); "
                f"{', '.join(accepted)} may have it, so ask before you send it again",
                *(accepted, others, self.refused),
            )
        return code, words

    def _note(self, recipient: str, code: int, words: bytes) -> None:
        """Note an answer to DATA, or one to RCPT that is a refusal."""
        if 400 <= code < 500:
            self.waiting[recipient] = said(words, code)
            return
        if 200 <= code < 300:
            self.has_reached_somebody = True
        elif 500 <= code < 600:
            self.refused[recipient] = explained(said(words, code))
        else:
            require((code, words))
        del self.waiting[recipient]


def _on_the_wire(message: EmailMessage) -> bytes:
    """Return the message in ASCII lines that end in CRLF, a dot at the start of a line doubled (RFC 5321, 4.5.2)."""
    content = message.as_bytes(policy=SMTP_POLICY.clone(cte_type="7bit"))
    # Only some servers take a bare CR or LF as the end of a line, so it could be used to smuggle commands in.
    lines = re.sub(rb"\r\n|\r|\n", b"\r\n", content.rstrip(b"\r\n") + b"\n")
    return re.sub(rb"(?m)^\.", b"..", lines)
