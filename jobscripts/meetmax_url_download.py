"""Download the company lists that the last MeetMax URL check found.

Reads   public.tmeetmaxurlcheck: the downloadable events of the latest active check
Writes  file_watcher/<timestamp>_MeetMax_<event id>.xls, and a row a file in dba.tdownload
Run by  run_download_and_import.sh, weekdays at 05:00 and 17:00

A file that cannot be had is recorded with its reason and does not stop the others; the job then
ends with status 1. What each try came to:
  SELECT * FROM dba.tdownload ORDER BY 1 DESC
"""

import argparse
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tqdm import tqdm

from systemscripts import db_config, directory_management, settings
from systemscripts.errors import JobError
from systemscripts.job_runner import run_job
from systemscripts.sources import meetmax
from systemscripts.sources.meetmax_file import check_company_file
from systemscripts.web_utils import Download, FetchError, ForbiddenByRobots, Refused, WebSession

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

log = logging.getLogger(__name__)

LATEST_SCAN = """
    SELECT d.datasetid
    FROM dba.tdataset d
    JOIN dba.tdatasettype t ON t.datasettypeid = d.datasettypeid
    WHERE t.typename = 'MeetMaxURL' AND d.isactive
    ORDER BY d.datasetdate DESC, d.datasetid DESC
    LIMIT 1
"""

EVENT_FILES = """
    SELECT DISTINCT ON (length(eventid), eventid) eventid, downloadlink
    FROM public.tmeetmaxurlcheck
    WHERE datasetid = %s AND isdownloadable = '1' AND eventid IS NOT NULL
    ORDER BY length(eventid), eventid
"""

RECORD = """
    INSERT INTO dba.tdownload (eventid, url, file_name, file_size, sha256, status, reason, scan_datasetid, run_uuid)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
"""

NO_SCAN = (
    "no MeetMax URL check is in the database yet; type: jobscripts/run_python_etl_script.sh meetmax_url_check.py, "
    "and then: jobscripts/run_python_etl_script.sh run_import_job.py MeetMaxURLCheckImport"
)


@dataclass(frozen=True)
class Outcome:
    """What became of one event's file; `reason` is "" when it was downloaded."""

    event: meetmax.EventFile
    status: str
    reason: str = ""
    download: Download | None = None


def latest_scan(connection: "Connection") -> int:
    """Return the dataset of the latest active scan; raises JobError when none was ever imported."""
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('public.tmeetmaxurlcheck') IS NOT NULL")
        (table_exists,) = cursor.fetchone() or (False,)
        cursor.execute(LATEST_SCAN)
        scan = cursor.fetchone()
    if not table_exists or scan is None:
        raise JobError(NO_SCAN)
    return int(scan[0])


def event_files(connection: "Connection", scan: int) -> list[meetmax.EventFile]:
    with connection, connection.cursor() as cursor:
        cursor.execute(EVENT_FILES, (scan,))
        return [meetmax.EventFile(event_id, link or "") for event_id, link in cursor.fetchall()]


def fetch_event(session: WebSession, event: meetmax.EventFile) -> Outcome:
    """Fetch one file; raises only TemporaryFailure, when the site has refused too often in a row."""
    try:
        target = meetmax.event_file(settings.now(), event.event_id)
        meetmax.require_own_link(event)
        download = session.download(event.link, target, check_company_file)
    except (Refused, ForbiddenByRobots) as refusal:
        return Outcome(event, "Refused", str(refusal))
    except (FetchError, meetmax.UnusableEvent) as failure:
        return Outcome(event, "Failed", str(failure))
    return Outcome(event, "Downloaded", download=download)


def record(connection: "Connection", scan: int, outcome: Outcome) -> None:
    event, file = outcome.event, outcome.download
    kept = (file.file.name, file.size, file.sha256) if file else (None, None, None)
    run = settings.run_uuid() or None
    with connection, connection.cursor() as cursor:
        values = (event.event_id, event.link, *kept, outcome.status, outcome.reason or None, scan, run)
        cursor.execute(RECORD, values)


def main(_args: argparse.Namespace) -> int:
    """Return the number of events whose file could not be had."""
    directory_management.ensure_directory(settings.file_watcher_dir())
    session = WebSession()
    failed = 0
    with db_config.session() as connection:
        scan = latest_scan(connection)
        events = event_files(connection, scan)
        for event in tqdm(events, unit="file", disable=not settings.at_terminal()):
            # Recorded after it is there: a crash in between only fetches it again.
            outcome = fetch_event(session, event)
            record(connection, scan, outcome)
            if outcome.reason:
                failed += 1
                log.warning("event %s: %s", event.event_id, outcome.reason, extra={"step": "fetch"})
    text = "%d of %d company lists downloaded (URL check: dataset %d)"
    log.info(text, len(events) - failed, len(events), scan, extra={"step": "fetch"})
    return failed


if __name__ == "__main__":
    run_job(main, doc=__doc__)
