"""Mail the weekly letter: what ran, what came, what grew, what ends soon, and what nobody uses.

Reads   what the status page reads, and the rows of the configuration
Writes  one mail to ETL_ALERT_EMAIL; dba.tweeklyletter
Run by  cron, on Mondays; or by hand

It tells of the seven days until the midnight before its slot, or before now. The letter of the same days is sent once,
however often the job is started. It is noted just before the mail server gets it, so that a run that is killed then does
not send it again.

Examples:
  etl week --dry-run                     print the text, and send nothing
  etl week --weeks-ago 1 --dry-run       of the seven days before
  etl week --output letter.html          write the HTML to a file, and send nothing
"""

import argparse
import logging
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from systemscripts import db_config, directory_management, locks, settings
from systemscripts.cron import slots
from systemscripts.errors import JobError, TemporaryFailure, WrongCall
from systemscripts.job_runner import run_job
from systemscripts.plain_text import say
from systemscripts.schedule import alerts
from systemscripts.status_page import letter, week

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

log = logging.getLogger(__name__)

MOST_WEEKS = 104
_SENT = "SELECT sent_at FROM dba.tweeklyletter WHERE last_day = %s"
_NOTE = """
    INSERT INTO dba.tweeklyletter (last_day, sent_at) VALUES (%s, %s)
    ON CONFLICT (last_day) DO UPDATE SET sent_at = excluded.sent_at
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weeks-ago", type=int, default=0, metavar="N", help="of seven days that ended N weeks before")
    parser.add_argument("--dry-run", action="store_true", help="print the text, and send nothing")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the HTML to this file, and send nothing")


def main(args: argparse.Namespace) -> int:
    """Return 0."""
    if not 0 <= args.weeks_ago <= MOST_WEEKS:
        raise WrongCall(f"--weeks-ago {args.weeks_ago}: it must be a number from 0 to {MOST_WEEKS}")
    now, zone = settings.now(), slots.cron_zone()
    # A further attempt, perhaps after midnight, is for the same days.
    when = week.week_before(settings.scheduled_at() or now, zone, args.weeks_ago)
    with db_config.session() as connection:
        if args.output is not None:
            write(args.output, letter.letter(connection, when, now, zone).html)
        if args.dry_run:
            say(*letter.letter(connection, when, now, zone).text.rstrip("\n").split("\n"))
        if not args.dry_run and args.output is None:
            with locks.held(connection, "etl letter") as is_ours:
                if not is_ours:
                    raise TemporaryFailure("the weekly letter is being sent by another run at this moment")
                send(connection, when, now)
    return 0


def write(target: Path, html: str) -> None:
    try:
        with directory_management.new_file(target) as file:
            file.write(html.encode())
    except OSError as problem:
        raise JobError(f"the letter cannot be written to {target}: {problem.strerror}") from None
    say(str(target))


def send(connection: "Connection", when: week.Week, now: datetime) -> None:
    """Send the letter of these days, unless it was sent; raises MailUnavailable if the mail server does not take it."""
    last_day = when.days[-1]
    if sent_at := sent(connection, last_day):
        log.info("the letter of the week to %s was sent already, %s", last_day, f"{sent_at:%Y-%m-%d %H:%M %Z}")
        return
    if not settings.alert_email():
        log.warning("ETL_ALERT_EMAIL is not set, so nobody gets the weekly letter; to read it type: etl week --dry-run")
        return
    written = letter.letter(connection, when, now, slots.cron_zone())
    alerts.hand_over(
        written.subject,
        written.text,
        lambda: note(connection, last_day, now),
        lambda: note(connection, last_day, None),
        html=written.html,
    )
    log.info("sent to %s: the week to %s", settings.alert_email(), last_day)


def sent(connection: "Connection", last_day: date) -> datetime | None:
    with connection, connection.cursor() as cursor:
        cursor.execute(_SENT, (last_day,))
        row = cursor.fetchone()
    return row[0].astimezone() if row and row[0] else None


def note(connection: "Connection", last_day: date, moment: datetime | None) -> None:
    """Note at once when the letter was handed over; None takes that back."""
    with connection, connection.cursor() as cursor:
        cursor.execute(_NOTE, (last_day, moment))


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=add_arguments)
