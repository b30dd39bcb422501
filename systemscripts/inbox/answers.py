"""Answers to senders of mail, if a rule wants them: the result of each file, once, and never in a loop.

Mail from programs and our own mail is not answered, and one sender gets only a limited number of
answers. The answer is marked as written by a program (RFC 3834). It goes only to an address that the
rule's sender_filter allows.
"""

import logging
import re
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from systemscripts import locks, settings
from systemscripts.arrivals import outcomes
from systemscripts.arrivals.ledger import Origin
from systemscripts.arrivals.outcomes import Told
from systemscripts.inbox.mime import Envelope
from systemscripts.inbox.rules import InboxRule
from systemscripts.mail import composing, smtp
from systemscripts.mail.composing import MailError, MailUnavailable, OutcomeUnknown
from systemscripts.plain_text import as_words

if TYPE_CHECKING:
    from email.message import EmailMessage

    from psycopg2.extensions import connection as Connection

log = logging.getLogger(__name__)

MOST_A_DAY = 50  # answers to one sender

_NOBODY = re.compile(r".*(?:no[-_.]?reply|do[-_.]?not[-_.]?reply|mailer-daemon|postmaster|bounces?)\b.*@.*")

_DUE = """
    SELECT m.messageid, m.status, m.reason, m.sender, m.subject, m.message_id, m.received_at
    FROM dba.tinboxmessage AS m
    JOIN dba.tinboxconfig AS c USING (config_id)
    WHERE m.answer IS NULL AND c.answer_sender AND m.status IN ('Saved', 'Duplicate', 'Failed')
    ORDER BY m.messageid
"""
_ANSWERS_TODAY = """
    SELECT count(*) FROM dba.tinboxmessage
    WHERE sender = %s AND answer IN ('Sent', 'Unknown') AND coalesce(answered_at, updated_at) > now() - interval '1 day'
"""
_NOTE = """
    UPDATE dba.tinboxmessage SET answer = %s, answered_at = CASE WHEN %s = 'Sent' THEN now() END, updated_at = now()
    WHERE messageid = %s
"""
_DIED = "UPDATE dba.tinboxmessage SET answer = 'Unknown' WHERE answer = 'Sending' RETURNING messageid"


class _Mail(NamedTuple):
    """A mail whose sender gets an answer."""

    id: int
    status: str
    reason: str | None
    sender: str
    subject: str
    message_id: str
    received_at: datetime


def refused_answer(rule: InboxRule, envelope: Envelope) -> str | None:
    """Return the first entry about an answer in the mail's row: None if one is due, else that there is none."""
    own = {rule.gmail_account.lower(), settings.email_address().lower()}
    answerable = rule.answer_sender and not envelope.is_automatic and len(envelope.senders) == 1
    if not answerable or envelope.senders[0] in own or _NOBODY.fullmatch(envelope.senders[0]):
        return "None"
    return None


def send_answers(connection: "Connection") -> int:
    """Answer the mails whose files have a result by now; return how many answers could not be sent.

    Raises MailUnavailable if the mail server is down; the next run sends the other answers.
    """
    if not locks.taken(connection, "etl inbox answers"):
        return 0  # another run sends the answers
    with connection, connection.cursor() as cursor:
        cursor.execute(_DIED)
        for (message_id,) in cursor.fetchall():
            log.warning("it is unknown whether the answer to mail %d arrived; it is not sent again", message_id)
        cursor.execute(_DUE)
        due = [_Mail(*row) for row in cursor.fetchall()]
    failures = 0
    with smtp.Mailer() as mailer:
        for mail in due:
            files = outcomes.to_be_told(connection, Origin("messageid", mail.id))
            if all(file.words for file in files):
                failures += not _answer(connection, mailer, mail, files)
    return failures


def _answer(connection: "Connection", mailer: smtp.Mailer, mail: _Mail, files: list[Told]) -> bool:
    def note(answer: str | None) -> None:
        with connection, connection.cursor() as cursor:
            cursor.execute(_NOTE, (answer, answer, mail.id))

    with connection, connection.cursor() as cursor:
        cursor.execute(_ANSWERS_TODAY, (mail.sender,))
        ((answers_today,),) = cursor.fetchall()
    if answers_today >= MOST_A_DAY:
        log.warning("%s had %d answers today and gets no more", mail.sender, answers_today, extra={"step": "answer"})
        note("None")
        return True
    try:
        refused = mailer.send(_message(mail, files), [mail.sender], lambda _recipients: note("Sending"))
    except OutcomeUnknown as problem:
        note("Unknown")
        log.error("the answer to %s: %s", mail.sender, problem, extra={"step": "answer"})
        return False
    except MailUnavailable:
        note(None)
        raise
    except MailError as problem:
        note("Refused")
        log.error("no answer can be sent to %s: %s", mail.sender, problem, extra={"step": "answer"})
        return False
    note("Refused" if refused else "Sent")
    outcomes.note_told(connection, files)
    log.info("%s was %s", mail.sender, "not answered: refused" if refused else "answered", extra={"step": "answer"})
    return not refused


def _message(mail: _Mail, files: list[Told]) -> "EmailMessage":
    subject = as_words(mail.subject)[:150]
    lines = [f"Your mail “{subject}” of {mail.received_at.astimezone():%Y-%m-%d %H:%M %Z} has been dealt with.", ""]
    if mail.status == "Failed":
        lines.append(f"It was rejected: {outcomes.for_outsiders(mail.reason or '')}. Nothing of it was taken.")
    lines += [f"{outcomes.for_outsiders(file.name)}: {file.words}" for file in files]
    if mail.status != "Failed" and not files:
        lines.append("It was taken; it has no file that is loaded.")
    lines += ["", "A program wrote this answer."]
    message = composing.text_mail(f"Re: {subject}", "\n".join(lines) + "\n", mail.sender)
    message.replace_header("Auto-Submitted", "auto-replied")
    message["X-Auto-Response-Suppress"] = "All"
    message_id = "".join(mail.message_id.split())
    if re.fullmatch(r"<[!-;=?-~]{3,200}>", message_id):
        message["In-Reply-To"] = message["References"] = message_id
    return message
