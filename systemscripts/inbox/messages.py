"""dba.tinboxmessage: a row for each mail that was looked at, so that the next run can continue a killed one."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from systemscripts import settings
from systemscripts.inbox.mailbox import FoundMail
from systemscripts.inbox.rules import InboxRule, Place
from systemscripts.log_sinks.entries import storable

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

Status = Literal["Unmatched", "Open", "Waiting", "Saved", "Duplicate", "Failed"]


class KnownMail(NamedTuple):
    """What an earlier run wrote about a mail. `rules` is the fingerprint of the rules at that time."""

    id: int
    status: Status
    reason: str | None
    rules: str | None
    label: str | None
    is_labelled: bool
    is_old: bool


_KNOWN = """
    SELECT mailbox_id, messageid, status, reason, rules, mailbox_label, labelled_at IS NOT NULL,
           created_at < now() - interval '1 day'
    FROM dba.tinboxmessage WHERE account = %s AND mailbox_id = ANY (%s)
"""
_LEAVE_ALONE = """
    INSERT INTO dba.tinboxmessage (account, mailbox_id, status, rules, run_uuid)
    VALUES (%(account)s, %(mailbox_id)s, 'Unmatched', %(rules)s, %(run)s)
    ON CONFLICT (account, mailbox_id) DO UPDATE
        SET status = 'Unmatched', config_id = NULL, rules = excluded.rules, run_uuid = excluded.run_uuid, updated_at = now()
"""
_OPEN = """
    INSERT INTO dba.tinboxmessage AS m (account, mailbox_id, config_id, status, sha256, message_id, sender, subject, received_at,
                                   eml_path, answer, run_uuid)
    VALUES (%(account)s, %(mailbox_id)s, %(config_id)s, 'Open', %(sha256)s, %(message_id)s, %(sender)s, %(subject)s,
            %(received_at)s, %(eml_path)s, %(answer)s, %(run)s)
    ON CONFLICT (account, mailbox_id) DO UPDATE
        SET config_id = excluded.config_id, status = 'Open', reason = NULL, sha256 = excluded.sha256,
            message_id = excluded.message_id, sender = excluded.sender, subject = excluded.subject,
            received_at = excluded.received_at, eml_path = excluded.eml_path, mailbox_label = NULL, labelled_at = NULL,
            answer = coalesce(m.answer, excluded.answer), run_uuid = excluded.run_uuid, updated_at = now()
    RETURNING messageid
"""
_RETIRE = """
    UPDATE dba.tinboxmessage SET mailbox_id = mailbox_id || '#' || messageid
    WHERE account = %s AND mailbox_id = %s AND labelled_at IS NOT NULL
"""
_FINISH = """
    UPDATE dba.tinboxmessage SET status = %s, reason = %s, mailbox_label = %s, updated_at = now() WHERE messageid = %s
"""
_LABELLED = "UPDATE dba.tinboxmessage SET labelled_at = now(), updated_at = now() WHERE messageid = %s"
_LABELS_SEEN = """
    UPDATE dba.tinboxmessage SET labelled_at = now(), updated_at = now()
    WHERE account = %s AND config_id = ANY (%s) AND mailbox_label IS NOT NULL AND labelled_at IS NULL
      AND NOT mailbox_id = ANY (%s)
"""


class Messages:
    """The rows of one place. Each change is committed at once."""

    def __init__(self, connection: "Connection", place: Place) -> None:
        self._connection = connection
        self._account = place.account

    def known(self, mail_ids: list[str]) -> dict[str, KnownMail]:
        with self._connection, self._connection.cursor() as cursor:
            cursor.execute(_KNOWN, (self._account, mail_ids))
            return {mail_id: KnownMail(*row) for mail_id, *row in cursor.fetchall()}

    def retire(self, mail_id: str) -> None:
        """Keep the row of a finished mail under another id, because its label was removed and it counts as a new mail."""
        self._run(_RETIRE, (self._account, mail_id))

    def pass_over(self, mail_id: str, rules: str) -> None:
        """Remember only that no rule wants the mail."""
        run = settings.run_uuid() or None
        self._run(_LEAVE_ALONE, {"account": self._account, "mailbox_id": mail_id, "rules": rules, "run": run})

    def open(self, mail: FoundMail, rule: InboxRule, sha256: str | None, eml: Path | None, answer: str | None) -> int:
        """Write the row of a mail that is being taken, and return its id; `answer` is None if an answer is due."""
        values = {
            "account": self._account, "mailbox_id": mail.id, "config_id": rule.config_id, "sha256": sha256,
            "message_id": storable(mail.envelope.message_id), "sender": storable(", ".join(mail.envelope.senders)),
            "subject": storable(mail.envelope.subject), "received_at": mail.received_at,
            "eml_path": None if eml is None else str(eml), "answer": answer,
            "run": settings.run_uuid() or None,
        }  # fmt: skip
        with self._connection, self._connection.cursor() as cursor:
            cursor.execute(_OPEN, values)
            return int(cursor.fetchall()[0][0])

    def finish(self, message_id: int, status: Status, reason: str | None, label: str | None) -> None:
        """Record the result of the mail; if a label is given, only that label still has to be put on."""
        self._run(_FINISH, (status, None if reason is None else settings.mask(storable(reason)), label, message_id))

    def note_label(self, message_id: int) -> None:
        self._run(_LABELLED, (message_id,))

    def note_labels_seen(self, rules: Collection[InboxRule], waiting: list[str]) -> None:
        """Record the labels that a run put on just before it was killed."""
        self._run(_LABELS_SEEN, (self._account, [rule.config_id for rule in rules], waiting))

    def _run(self, statement: str, values: object) -> None:
        with self._connection, self._connection.cursor() as cursor:
            cursor.execute(statement, values)  # type: ignore[arg-type]  # a mapping or a sequence
