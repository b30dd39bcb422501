"""Compare the schedule with what ran, and mail what went wrong and what is right again.

Reads   dba.tscheduler, dba.treportmanager, dba.tjobrun; dba.tfeed, dba.timportfile, and the directories of imports
Writes  dba.tincident, dba.tschedulecheck; one mail to ETL_ALERT_EMAIL for all that is new or over, one for rights to
        mailboxes that end soon; reminders to the senders of feeds
Run by  cron, every 15 minutes

It finds runs that were missed, late, failed, stuck or too many, at the earliest 15 minutes after
they were due, and feeds of which something is missing after their grace (dba.tfeed). One mail tells
when an incident begins, and one when it ends. In the quiet hours (ETL_QUIET_HOURS) only what is urgent is mailed, that is of
rows with the severity high; the rest comes as one mail when they are over. The very first check begins the watch; it does not
look at runs that were due before. Without ETL_ALERT_EMAIL the incidents are logged as errors. If
the mail server is down, the job exits with 75 and the next check sends the mail. If the database is
down, one mail says so, and another one says when it is back.

If ETL_PING_URL is set, each successful check calls it. A service outside that expects the call every
15 minutes notices when this machine, cron or the mail is down. If mail is sent with a right that was taken
away, each check ends with 1 and says what to type; what it found is told by the first check that can mail.

  etl check             check, and send the mail
  etl check --dry-run   print what the mail would say, and change nothing
  etl check --json      check, send the mail, and print its contents as JSON; also with --dry-run
"""

import argparse
import contextlib
import json
import logging
from dataclasses import asdict
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING

from systemscripts import db_config, settings
from systemscripts.cron import slots
from systemscripts.db_config import DatabaseUnavailable
from systemscripts.errors import JobError
from systemscripts.importing.config import active_configs
from systemscripts.importing.files import pending_files
from systemscripts.job_runner import run_job
from systemscripts.plain_text import say
from systemscripts.reporting.owner import WAS_TOLD
from systemscripts.schedule import alerts, feed_states, incident_mail, quiet_hours, reminders, timetable, watch
from systemscripts.schedule.incident_mail import Notice, local_time
from systemscripts.schedule.missing import WaitingFiles
from systemscripts.schedule.promises import Calendar

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

log = logging.getLogger(__name__)

PING_SECONDS = 10.0
# The door also starts this job when the database is down (job_catalog), because this job reports that.
WORKS_WITHOUT_DATABASE = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="print what the mail would say, and change nothing")
    parser.add_argument("--json", action="store_true", help="print the contents of the mail as JSON")


def main(args: argparse.Namespace) -> int:
    """Return 0: an incident is no failure of this job."""
    now, zone = settings.now(), slots.cron_zone()
    if args.dry_run:
        notices, otherwise = look(now, zone)
        show(notices, args.json, now, zone, otherwise)
        return 0
    try:
        notices = check(now, zone)
    except DatabaseUnavailable as failure:
        alerts.database_is_away(str(failure), now, zone)
        raise DatabaseUnavailable(f"{failure} ({WAS_TOLD})") from None
    if args.json:
        show(notices, args.json, now, zone)
    if not settings.cron_file().exists() and not timetable.begun_elsewhere(now, zone):
        log.warning("%s is missing, so cron starts nothing; type: etl cron write", settings.cron_file())
    ping()
    return 0


def check(now: datetime, zone: tzinfo) -> list[Notice]:
    """Write what is new or over, then mail it; after a crash in between the next check sends the mail."""
    with db_config.session(patience=db_config.START_PATIENCE_S) as connection:
        waiting = waiting_files(connection)
        with connection, connection.cursor() as cursor:
            watched = watch.check(cursor, now, zone, waiting)
        alerts.require_right_to_send()
        alerts.database_is_back(now, zone)
        notices = alerts.tell(connection, now, zone)
        reminders.remind(connection, now, zone)
    alerts.rights_end(now, zone)
    log.info("rows of the schedule: %d; new: %d; over: %d", watched, *count(notices))
    return notices


def look(now: datetime, zone: tzinfo) -> tuple[list[Notice], str]:
    """Return what a check would mail, and what to say if that is nothing; nothing is committed."""
    with db_config.session(patience=db_config.START_PATIENCE_S) as connection:
        waiting = waiting_files(connection)
        with connection.cursor() as cursor:
            is_first = watch.is_first(cursor)
            watch.check(cursor, now, zone, waiting)
            if not is_first:
                return alerts.told_now(alerts.untold(cursor), now, zone), nothing_to_tell(now, zone)
            states = feed_states.states(cursor, now, Calendar(cursor, now, zone))
    missing = ", ".join(state.name for state in states if state.is_missing)
    seen = f". Missing already, see etl feeds: {missing}" if missing else ""
    return (
        [],
        f"no check has run yet; the first one begins the watch, and tells nothing of what was due before it{seen}",
    )


def nothing_to_tell(now: datetime, zone: tzinfo) -> str:
    until = quiet_hours.end_of(now, zone)
    return (
        f"nothing to tell before {local_time(until, zone)}, the end of the quiet hours" if until else "nothing to tell"
    )


def waiting_files(connection: "Connection") -> WaitingFiles:
    """Return what names the files that wait for an import; none where its directory cannot be read."""
    configs = {config.config_id: config for config in active_configs(connection)}

    def of(config_id: int) -> list[str]:
        with contextlib.suppress(JobError, OSError):
            return [file.name for files in pending_files(configs[config_id]) for file in files]
        return []

    return of


def count(notices: list[Notice]) -> tuple[int, int]:
    return sum(notice.is_new for notice in notices), sum(notice.is_over for notice in notices)


def show(notices: list[Notice], as_json: bool, now: datetime, zone: tzinfo, otherwise: str = "") -> None:
    if as_json:
        say(*json.dumps([asdict(notice) for notice in notices], default=str, indent=2).split("\n"))
    elif notices:
        text = incident_mail.text_of(notices, now, zone)
        say(incident_mail.subject_of(notices), "", *text.rstrip("\n").split("\n"))
    else:
        say(otherwise)


def ping() -> None:
    """Tell the service outside that this check was done; its address counts as a secret and is not logged."""
    url = settings.ping_url()
    if not url:
        return
    import http.client
    import urllib.request

    request = urllib.request.Request(url, headers={"User-Agent": settings.user_agent()})  # noqa: S310 — http(s) only
    try:
        with urllib.request.urlopen(request, timeout=PING_SECONDS):  # noqa: S310
            pass
    except (OSError, ValueError, http.client.HTTPException) as error:
        log.warning("ETL_PING_URL cannot be called: %s", type(error).__name__ if url in str(error) else error)


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=add_arguments)
