"""The mails about the schedule: new and ended incidents, and a database that is down or back.

A mail goes to ETL_ALERT_EMAIL, or else to ETL_EMAIL. Without an address the same text is logged
once, as errors.
"""

import json
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, tzinfo
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from systemscripts import directory_management, settings
from systemscripts.errors import JobError, TemporaryFailure
from systemscripts.log_sinks.spool import spool_dir
from systemscripts.mail import composing
from systemscripts.mail.composing import MailError, MailUnavailable, OutcomeUnknown
from systemscripts.mail.oauth import endings as mailbox_rights
from systemscripts.mail.oauth import providers, rights
from systemscripts.reporting.owner import WAS_TOLD
from systemscripts.schedule import quiet_hours
from systemscripts.schedule.incident_mail import LONGEST_LINE, Notice, local_time, one_line, subject_of, text_of

if TYPE_CHECKING:
    from email.message import EmailMessage

    from psycopg2.extensions import connection as Connection
    from psycopg2.extensions import cursor as Cursor

log = logging.getLogger(__name__)

_UNTOLD = """
    SELECT i.incidentid, i.kind, i.source_table, i.source_id, i.name, i.first_slot, i.last_slot, i.occurrences, i.detail,
           i.told_at IS NULL, i.closed_at IS NOT NULL AND i.recovery_told_at IS NULL,
           i.run_uuid::text, coalesce(r.output_tail, ''), coalesce(t.scriptpath, ''), coalesce(t.scriptargs, ''), i.closed_at,
           coalesce(c.config_name, ''), coalesce(c.datasource, ''), coalesce(f.told, ''),
           coalesce(f.severity, t.severity, 'normal')
    FROM dba.tincident AS i
    LEFT JOIN dba.tjobrun AS r USING (run_uuid)
    LEFT JOIN dba.tscheduler AS t ON i.source_table = 'dba.tscheduler' AND t.schedulerid = i.source_id
    LEFT JOIN dba.tfeed AS f ON i.source_table = 'dba.tfeed' AND f.feedid = i.source_id
    LEFT JOIN dba.timportconfig AS c USING (config_id)
    WHERE i.told_at IS NULL OR i.closed_at IS NOT NULL AND i.recovery_told_at IS NULL
    ORDER BY i.incidentid
    FOR UPDATE OF i
"""
_NOT_TOLD = """
    UPDATE dba.tincident
    SET told_at = CASE WHEN incidentid <> ALL (%(new)s) THEN told_at END,
        recovery_told_at = CASE WHEN incidentid <> ALL (%(over)s) THEN recovery_told_at END
    WHERE incidentid = ANY (%(new)s || %(over)s)
"""
_TOLD = """
    UPDATE dba.tincident
    SET told_at = coalesce(told_at, %(now)s),
        recovery_told_at = CASE WHEN closed_at IS NOT NULL THEN coalesce(recovery_told_at, %(now)s) END
    WHERE incidentid = ANY (%(ids)s)
"""


def untold(cursor: "Cursor") -> list[Notice]:
    """Return what was not mailed yet, in the order in which it was found; lock it for this transaction."""
    cursor.execute(_UNTOLD)
    return [Notice(*row) for row in cursor.fetchall()]


def told_now(notices: list[Notice], now: datetime, zone: tzinfo) -> list[Notice]:
    """Return those that are told at this time: in the quiet hours what is urgent, and what is never mailed."""
    if quiet_hours.end_of(now, zone) is None:
        return notices
    return [notice for notice in notices if notice.severity != "normal"]


def tell(connection: "Connection", now: datetime, zone: tzinfo) -> list[Notice]:
    """Send each reader one mail about everything that was not mailed yet, note that, and return it.

    In the quiet hours what is not urgent waits. It is noted just before the mail server gets the text, so that a check
    that is killed sends nothing twice. Raises MailUnavailable if the mail server does not take it; then the next call
    sends it.
    """
    notices: list[Notice] = []
    with connection.cursor() as cursor:
        # The owner's mail, that of "", comes first. Each note ends a transaction, and with it the lock of untold.
        for reader in sorted({notice.reader for notice in told_now(untold(cursor), now, zone)}):
            mine = [notice for notice in told_now(untold(cursor), now, zone) if notice.reader == reader]

            def note(told: list[Notice] = mine) -> None:
                cursor.execute(_TOLD, {"now": now, "ids": [notice.id for notice in told]})
                connection.commit()

            def take_back(told: list[Notice] = mine) -> None:
                new, over = ([notice.id for notice in told if which(notice)] for which in (_is_new, _is_over))
                cursor.execute(_NOT_TOLD, {"new": new, "over": over})
                connection.commit()

            # A job that has mailed the owner itself says so in its run's reason.
            to_mail = [notice for notice in mine if WAS_TOLD not in notice.detail and notice.severity != "low"]
            if to_mail:
                _tell_reader(reader, subject_of(to_mail), text_of(to_mail, now, zone), note, take_back)
            else:
                note()
            notices += mine
    level = logging.WARNING if settings.alert_email() else logging.ERROR
    for notice in notices:
        log.log(level if notice.is_new else logging.INFO, "%s", notice)
    connection.rollback()
    return notices


_is_new, _is_over = attrgetter("is_new"), attrgetter("is_over")


def _tell_reader(reader: str, subject: str, text: str, note: Callable[[], None], take_back: Callable[[], None]) -> None:
    """Hand a mail over; what the readers of a feed can never get goes to the owner."""
    try:
        hand_over(subject, text, note, take_back, reader)
    except OutcomeUnknown:
        raise
    except MailError as problem:
        if not reader:
            raise
        log.error("dba.tfeed: told is %r: %s", reader, problem)
        hand_over(subject, f"For {reader}, who cannot get it: {problem}\n\n{text}", note, take_back)


def hand_over(
    subject: str,
    text: str,
    note: Callable[[], None],
    take_back: Callable[[], None] | None = None,
    reader: str = "",
    html: str = "",
) -> None:
    """Send a mail to the reader, or else to ETL_ALERT_EMAIL, and call `note`; without an address, log it.

    `html` says the same as the text.

    With `take_back`, `note` is called just before the server gets the text, so that a run that is killed does not send it
    again, and `take_back` when nobody got it. Then MailUnavailable is raised if a later try may help, else MailError. If
    the server had the mail but did not answer, OutcomeUnknown is raised: the failed check is then in the next mail.
    """
    reader = reader or settings.alert_email()
    if not reader:
        log.error("%s (only logged: ETL_ALERT_EMAIL is not set)", subject)
        note()
        return
    message = composing.text_mail(settings.mask(subject), settings.mask(text), reader)
    if html:
        message.add_alternative(settings.mask(html), subtype="html", cte="quoted-printable")
    recipients = [address.addr_spec for address in composing.addresses(reader)]
    noted: list[bool] = []

    def note_once(_recipients: Sequence[str] = ()) -> None:
        if not noted:
            note()
            noted.append(True)

    try:
        refused = _send(message, recipients, note_once if take_back else lambda _recipients: None)
        if len(refused) == len(recipients):
            setting = "ETL_ALERT_EMAIL" if reader == settings.alert_email() else "told in dba.tfeed"
            raise MailError(f"all recipients of the mail {subject!r} were refused: {refused}; correct {setting}")
    except OutcomeUnknown:
        note_once()
        raise
    except (MailError, MailUnavailable):
        if noted and take_back:
            take_back()
        raise
    note_once()
    for recipient, words in refused.items():
        log.warning("%s did not get the mail %r: %s", recipient, subject, words)


def _send(
    message: "EmailMessage", recipients: Sequence[str], about_to_send: Callable[[Sequence[str]], None]
) -> dict[str, str]:
    """Send the mail; return who did not get it, with the reason. Raises MailUnavailable if that is everybody."""
    from systemscripts.mail import smtp

    try:
        return smtp.send(message, recipients, about_to_send)
    except MailUnavailable as failure:
        # Recipients who have the mail must not get it again at every check because one of them was refused.
        refused = {**failure.refused, **dict.fromkeys(failure.waiting, str(failure))}
        if len(refused) == len(recipients):
            raise
        return refused


def require_right_to_send() -> None:
    """Raise MailError if mail is sent with a right that is gone: otherwise this is noticed when there is something to tell.

    A right that cannot be renewed for now is no failure yet; a mail may go out later.
    """
    if not settings.email_address():
        return
    try:
        if name := providers.provider_of(settings.smtp_auth()):
            rights.access_token(name, composing.sender().addr_spec)
    except TemporaryFailure as failure:
        log.warning("%s", failure)
    except JobError as problem:
        raise MailError(f"no alert can be mailed: {problem}") from None


def rights_end(now: datetime, zone: tzinfo) -> None:
    """Mail which rights to mailboxes end soon, though not in the quiet hours; each is told when its end comes near, and at last."""
    if quiet_hours.end_of(now, zone) is not None or not (endings := mailbox_rights.untold(now)):
        return
    for ending in endings:
        log.warning("%s; %s", ending.told, ending.cure)
    text = "\n\n".join(f"{ending.told}.\nWhat to do: {ending.cure}" for ending in endings)
    subject = endings[0].told if len(endings) == 1 else f"{len(endings)} rights to mailboxes end soon"
    hand_over(f"[ETL {settings.host_name()}] {subject}", f"{text}\n", lambda: mailbox_rights.note_told(endings, now))


# ---- the mails about the database ----------------------------------------------------------


def database_is_away(reason: str, now: datetime, zone: tzinfo) -> None:
    """Mail it once; a file in the log spool remembers since when the database is down, and whether that was mailed."""
    outage = _outage() or {"since": now.isoformat(), "told": False}
    if outage["told"]:
        return
    _remember(outage)
    since = local_time(datetime.fromisoformat(outage["since"]), zone)
    text = (
        f"The database cannot be reached from {settings.host_name()} since {since}:\n\n"
        f"{one_line(f'  {reason}', 3 * LONGEST_LINE)}\n\n"
        "Until it is back, no job can begin. Log records are kept in the meantime and loaded later.\n"
    )
    subject = f"[ETL {settings.host_name()}] the database cannot be reached"
    hand_over(subject, text, lambda: _remember({**outage, "told": True}), lambda: _remember(outage))


def database_is_back(now: datetime, zone: tzinfo) -> None:
    """Mail that the database is back, if `database_is_away` has noted that it was down."""
    outage = _outage()
    if outage is None:
        return
    since = local_time(datetime.fromisoformat(outage["since"]), zone)
    text = (
        f"The database can be reached again from {settings.host_name()}.\n"
        f"It was found down at {since}, and back at {local_time(now, zone)}.\n"
    )
    subject = f"[ETL {settings.host_name()}] the database is back"
    hand_over(subject, text, lambda: _outage_file().unlink(missing_ok=True), lambda: _remember(outage))


def _outage_file() -> Path:
    return spool_dir() / "database_away.json"


def _outage() -> dict[str, Any] | None:
    try:
        outage = json.loads(_outage_file().read_text())
        return {"since": datetime.fromisoformat(outage["since"]).isoformat(), "told": bool(outage["told"])}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _remember(outage: dict[str, Any]) -> None:
    """Record that the mail was sent; if the disk is full, a second mail is better than none."""
    try:
        directory_management.ensure_directory(spool_dir())
        with directory_management.new_file(_outage_file()) as stream:
            stream.write(json.dumps(outage).encode())
    except OSError as error:
        log.error("%s cannot be written (%s): the same mail will be sent again", _outage_file(), error.strerror)
