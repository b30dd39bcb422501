"""The reminders to the senders of feeds: while something is missing, one mail a day at most, by the feed's template.

A reminder is noted before it is sent, so that a crash loses one rather than sends one twice. It never
goes to an address of this system, whose own programs would read it.
"""

import logging
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, NamedTuple

from systemscripts import settings
from systemscripts.mail import composing
from systemscripts.mail.composing import MailError, MailUnavailable
from systemscripts.plain_text import as_words
from systemscripts.schedule.incident_mail import local_time
from systemscripts.schedule.promises import ANY
from systemscripts.schedule.timetable import ACTIVE

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

log = logging.getLogger(__name__)

_NOTE = """
    UPDATE dba.tincident AS i SET reminded_at = %(now)s
    FROM dba.tfeed AS f, dba.tincident AS former
    WHERE i.kind = 'missing' AND i.closed_at IS NULL AND f.feedid = i.source_id AND former.incidentid = i.incidentid
      AND f.datastatusid = %(active)s AND i.last_slot + f.remind_after_hours * interval '1 hour' <= %(now)s
      AND (i.reminded_at IS NULL OR i.reminded_at <= %(now)s - interval '1 day')
      AND NOT EXISTS (SELECT FROM dba.tincident AS other WHERE other.source_table = i.source_table AND other.source_id = i.source_id
                      AND other.reminded_at > %(now)s - interval '1 day')
      AND NOT (f.business_days_only AND EXISTS (SELECT FROM dba.tcalendardays WHERE fulldate = %(today)s AND NOT isbusday))
    RETURNING i.incidentid, former.reminded_at, f.feedname, f.sender, f.remind_template, i.labels, i.last_slot
"""
_TAKE_BACK = "UPDATE dba.tincident SET reminded_at = %s WHERE incidentid = %s"
_OWN_MAILBOXES = "SELECT gmail_account FROM dba.tinboxconfig"


class _Reminder(NamedTuple):
    incident: int
    reminded_before: datetime | None
    feed: str
    sender: str
    template: str
    labels: list[str]
    slot: datetime


def remind(connection: "Connection", now: datetime, zone: tzinfo) -> int:
    """Send the reminders that are due, and return how many went out.

    Raises MailUnavailable if the mail server takes none for now; then the next call sends the others.
    """
    with connection, connection.cursor() as cursor:
        cursor.execute(_NOTE, {"now": now, "today": now.astimezone(zone).date(), "active": ACTIVE})
        due = [_Reminder(*row) for row in cursor.fetchall()]
        cursor.execute(_OWN_MAILBOXES)
        own = {account.lower() for (account,) in cursor.fetchall()}
    sent = 0
    for place, reminder in enumerate(due):
        try:
            _send(reminder, own, zone)
        except MailUnavailable:
            with connection, connection.cursor() as cursor:
                for waiting in due[place:]:
                    cursor.execute(_TAKE_BACK, (waiting.reminded_before, waiting.incident))
            raise
        except MailError as problem:
            log.error("feed %s: the sender cannot be reminded: %s", reminder.feed, problem)
        else:
            log.info("feed %s: %s was reminded", reminder.feed, reminder.sender)
            sent += 1
    return sent


def _send(reminder: _Reminder, own: set[str], zone: tzinfo) -> None:
    recipients = [address.addr_spec for address in composing.addresses(reminder.sender)]
    for addresses in (settings.email_address(), settings.alert_email()):
        own = own | {address.addr_spec.lower() for address in composing.addresses(addresses)}
    if circle := sorted(own.intersection(address.lower() for address in recipients)):
        raise MailError(f"{circle[0]} is an address of this system; set another sender in dba.tfeed")
    text = reminder.template
    missing = "the file" if ANY in reminder.labels else ", ".join(reminder.labels)
    for word, value in (("feed", reminder.feed), ("missing", missing), ("due", local_time(reminder.slot, zone))):
        text = text.replace(f"{{{{{word}}}}}", value)
    subject, _, body = settings.mask(text).partition("\n")
    message = composing.text_mail(as_words(subject), f"{body.strip()}\n", reminder.sender)
    message["X-Auto-Response-Suppress"] = "All"
    from systemscripts.mail import smtp

    if refused := smtp.send(message, recipients):
        raise MailError(f"the mail server refuses {refused}")
