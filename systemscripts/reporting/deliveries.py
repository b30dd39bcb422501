"""dba.treportdelivery: who got which slot of a report, so that everybody gets it exactly once.

A recipient's row is written before the mail is made. It is Sending while the server gets the text,
and then shows the result. Each change is committed at once. A row that a crash leaves as Sending may
have arrived, so the next run sets it to Unknown, and it is never sent again automatically. A folder can be
looked into: its row has the list of files, and the next run finishes it. Sent, Refused and Unknown are final:
a try with --again gets its own row.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from systemscripts import locks, settings
from systemscripts.cron.slots import slot_at
from systemscripts.errors import TemporaryFailure
from systemscripts.job_catalog import typed
from systemscripts.reporting.model import Edition, Report

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

ALL = "all"
_FINAL = ("Sent", "Refused", "Unknown")
_DIED = "the job died while the mail server was getting the text"

_OPEN = """
    INSERT INTO dba.treportdelivery (reportid, reportrecipientid, slot, recipient, status, run_uuid)
    SELECT %(report)s, %(edition)s, %(slot)s, recipient, 'Open', %(run)s FROM unnest(%(recipients)s) AS recipient
    ON CONFLICT DO NOTHING
"""
# Only for recipients whose last row was used; an Open or Postponed row was not used yet.
_OPEN_AGAIN = """
    INSERT INTO dba.treportdelivery (reportid, reportrecipientid, slot, recipient, status, run_uuid, again)
    SELECT reportid, reportrecipientid, slot, recipient, 'Open', %(run)s, times_again + 1 FROM dba.vreportdelivery
    WHERE reportid = %(report)s AND reportrecipientid = %(edition)s AND slot = %(slot)s AND lower(recipient) = ANY (%(who)s)
      AND last_status NOT IN ('Open', 'Postponed')
"""
_FIND_THE_DEAD = """
    UPDATE dba.treportdelivery SET status = 'Unknown', reason = %(reason)s, updated_at = now()
    WHERE reportid = %(report)s AND status = 'Sending' AND files IS NULL RETURNING recipient
"""
# A slot that waits for its datasets ends when the next slot is looked at.
_OVERTAKE = """
    UPDATE dba.treportdelivery
    SET status = 'Skipped', reason = 'its next planned time came before its datasets', updated_at = now()
    WHERE reportid = %(report)s AND status = 'Postponed' AND slot < %(slot)s RETURNING recipient
"""
_WAITING = """
    SELECT DISTINCT d.reportid, r.frequency::text, d.slot, d.status = 'Postponed'
    FROM dba.treportdelivery AS d JOIN dba.treportmanager AS r USING (reportid)
    WHERE r.datastatusid = 1 AND d.again = 0 AND d.status IN ('Postponed', 'Open', 'Sending')
      AND (d.status = 'Postponed' OR r.wait_until IS NOT NULL)
    ORDER BY d.reportid
"""
_STATES = """
    SELECT lower(recipient), status FROM dba.vreportdelivery
    WHERE reportid = %(report)s AND reportrecipientid = %(edition)s AND slot = %(slot)s
"""
_OF_THE_LAST_TRY = """
    FROM dba.vreportdelivery AS v
    WHERE v.reportid = %(report)s AND v.reportrecipientid = %(edition)s AND v.slot = %(slot)s
      AND lower(v.recipient) = ANY (%(who)s)
      AND (d.reportid, d.reportrecipientid, d.slot, lower(d.recipient), d.again)
        = (v.reportid, v.reportrecipientid, v.slot, lower(v.recipient), v.times_again)
      AND d.status NOT IN ('Sent', 'Refused', 'Unknown')
"""
_FIND_UNFINISHED = """
    SELECT deliveryid, reportrecipientid, recipient, status = 'Sending', files FROM dba.treportdelivery
    WHERE reportid = %(report)s AND files IS NOT NULL AND (status = 'Sending' OR status = 'Waiting' AND slot = %(slot)s)
    ORDER BY deliveryid
"""
_DELIVERY = "SELECT max(d.deliveryid) FROM dba.treportdelivery AS d"
_OF_THE_READER = """
    WHERE d.reportid = %(report)s AND d.reportrecipientid = %(edition)s AND d.slot = %(slot)s AND lower(d.recipient) = ANY (%(who)s)
"""
_BEGIN_FILES = """
    UPDATE dba.treportdelivery
    SET status = 'Sending', files = %(files)s, reason = NULL, subject = %(subject)s, attempts = attempts + 1,
        run_uuid = %(run)s, updated_at = now()
    WHERE deliveryid = %(delivery)s
"""
_NOTE_FILES = "UPDATE dba.treportdelivery SET files = %(files)s, updated_at = now() WHERE deliveryid = %(delivery)s"
_END_FILES = """
    UPDATE dba.treportdelivery
    SET status = %(status)s, reason = %(reason)s, files = CASE WHEN %(status)s <> 'Open' THEN files END, run_uuid = %(run)s,
        updated_at = now()
    WHERE deliveryid = %(delivery)s
"""
_COUNT = "UPDATE dba.treportdelivery AS d SET attempts = d.attempts + 1, run_uuid = %(run)s, updated_at = now()"
_NOTE = """
    UPDATE dba.treportdelivery AS d
    SET status = %(status)s, reason = %(reason)s, subject = coalesce(%(subject)s, d.subject), run_uuid = %(run)s,
        updated_at = now()
"""


class Unfinished(NamedTuple):
    """Files on their way into a folder: an earlier run died there, or (not `died`) the folder did not take them."""

    delivery: int
    edition: int
    recipient: str
    died: bool
    files: list[dict[str, Any]]


class Busy(TemporaryFailure):
    """Another run sends the same report at this moment."""


def postponed_reports(connection: "Connection", now: datetime) -> list[int]:
    """Return the reports to look at again: those that wait for datasets, and those whose job died before it was done."""
    with connection, connection.cursor() as cursor:
        cursor.execute(_WAITING)
        found = cursor.fetchall()
    reports = []
    for report_id, frequency, row_slot, is_postponed in found:
        latest = slot_at(frequency, now)
        if (is_postponed or (latest is not None and latest.time == row_slot)) and report_id not in reports:
            reports.append(int(report_id))
    return reports


def ask_first(report: Report) -> str:
    """Return what a person does about a mail that may have arrived."""
    again = typed("send_reports.py", str(report.report_id), "--again", "ADDRESS")
    return f"ask whether it arrived; if not, type: {again}"


class Deliveries:
    """The rows of one slot of a report. `connection` must do nothing else; it holds a lock on the report.

    `lost` are the recipients, of any slot, to whom the text was on its way when an earlier job died;
    `overtaken` those of an earlier slot that has waited for its datasets until this one; `unfinished` are folders
    that have not got all of their files: of any slot when the job died, of this one when the folder did not take them.
    Raises Busy while another run sends the same report.
    """

    def __init__(self, connection: "Connection", report: Report, slot: datetime) -> None:
        self._connection = connection
        self._key = {"report": report.report_id, "slot": slot, "run": settings.run_uuid() or None}
        if not locks.taken(connection, f"etl report {report.report_id}"):
            raise Busy(f"{report.label} is being sent by another run at this moment")
        with connection, connection.cursor() as cursor:
            cursor.execute(_FIND_THE_DEAD, {**self._key, "reason": f"{_DIED}: {ask_first(report)}"})
            self.lost = [recipient for (recipient,) in cursor.fetchall()]
            cursor.execute(_OVERTAKE, self._key)
            self.overtaken = [recipient for (recipient,) in cursor.fetchall()]
            cursor.execute(_FIND_UNFINISHED, self._key)
            self.unfinished = [Unfinished(*row) for row in cursor.fetchall()]

    def open(self, edition: Edition, recipients: Iterable[str]) -> dict[str, str]:
        """Make sure that each recipient has a row, and return the status of each."""
        wanted = list(recipients)
        key = {**self._key, "edition": edition.id, "recipients": wanted}
        with self._connection, self._connection.cursor() as cursor:
            cursor.execute(_OPEN, key)
            cursor.execute(_STATES, key)
            states = dict(cursor.fetchall())
        return {recipient: states[recipient.lower()] for recipient in wanted}

    def open_again(self, edition: Edition, recipients: Iterable[str]) -> None:
        """Make a new row for each recipient, unless there is an unused one; older rows stay unchanged."""
        self._execute(_OPEN_AGAIN, edition, recipients)

    def count(self, edition: Edition, recipients: Iterable[str]) -> None:
        """Note that the mail server is about to get the mail for these recipients."""
        self._execute(_COUNT + _OF_THE_LAST_TRY, edition, recipients)

    def note(
        self,
        edition: Edition,
        recipients: Iterable[str],
        status: str,
        reason: str | None = None,
        subject: str | None = None,
    ) -> None:
        """Note the result of the last try for these recipients."""
        told = settings.mask(reason) if reason else None
        self._execute(_NOTE + _OF_THE_LAST_TRY, edition, recipients, status=status, reason=told, subject=subject)

    def delivery_of(self, edition: Edition, recipient: str) -> int:
        """Return the number of the recipient's last row."""
        with self._connection, self._connection.cursor() as cursor:
            cursor.execute(_DELIVERY + _OF_THE_READER, {**self._key, "edition": edition.id, "who": [recipient.lower()]})
            ((delivery,),) = cursor.fetchall()
        return int(delivery)

    def begin_files(self, delivery: int, files: list[dict[str, Any]], subject: str) -> None:
        """Note which files the folder is about to get."""
        self._of_files(_BEGIN_FILES, delivery, files=json.dumps(files), subject=subject)

    def note_files(self, delivery: int, files: list[dict[str, Any]]) -> None:
        self._of_files(_NOTE_FILES, delivery, files=json.dumps(files))

    def end_files(self, delivery: int, status: str, reason: str | None) -> None:
        """Note what came of it; Open forgets the files."""
        self._of_files(_END_FILES, delivery, status=status, reason=settings.mask(reason) if reason else None)

    def _of_files(self, statement: str, delivery: int, **values: str | None) -> None:
        with self._connection, self._connection.cursor() as cursor:
            cursor.execute(statement, {**self._key, "delivery": delivery, **values})

    def _execute(self, statement: str, edition: Edition, recipients: Iterable[str], **values: str | None) -> None:
        who = [recipient.lower() for recipient in recipients]
        with self._connection, self._connection.cursor() as cursor:
            cursor.execute(statement, {**self._key, "edition": edition.id, "who": who, **values})


def open_ones(states: Mapping[str, str], again: str | None) -> list[str]:
    """Return the recipients who must still get the mail; `again` is one who gets it in any case, or ALL."""
    if again is not None:
        return [recipient for recipient in states if again in (ALL, recipient.lower())]
    return [recipient for recipient, status in states.items() if status not in _FINAL]
