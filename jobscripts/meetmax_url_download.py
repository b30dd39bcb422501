"""Download the company lists that the last MeetMax URL check found.

Reads   public.tmeetmaxurlcheck: the downloadable events of the latest active check; for an event without
        a clear answer there, its last clear answer before
Writes  file_watcher/<timestamp>_MeetMax_<event id>.xls, and a row a file in dba.tdownload
Run by  run_download_and_import.sh, weekdays at 05:00 and 17:00

A failed download is recorded with its reason and does not stop the others; the job then exits with 1.
If the site says that a file has not changed, the copy in the archive is used again. After too many
refusals in a row the rest is skipped, and the job exits with 75: start it again later. If there is
nothing to fetch, but there were lists in the last days, the job exits with 1. See the result of each try:
  SELECT * FROM dba.tdownload ORDER BY 1 DESC
"""

import argparse
import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from systemscripts import db_config, directory_management, job_catalog, settings
from systemscripts.errors import JobError, TemporaryFailure
from systemscripts.job_runner import run_job
from systemscripts.log_sinks.entries import storable
from systemscripts.sources.meetmax import EventFile
from systemscripts.sources.meetmax_download import Copy, Outcome, fetch_event, placed_as_empty
from systemscripts.web_utils import Validators, WebSession

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

# Each event's link from its last clear answer, and the archived place of the last file that came from it.
EVENT_FILES = """
    WITH answer AS (
        SELECT DISTINCT ON (c.eventid) c.eventid, c.downloadlink, c.isdownloadable, c.datasetid
        FROM public.tmeetmaxurlcheck AS c
        JOIN dba.tdataset AS d USING (datasetid)
        JOIN dba.tdatasettype AS t USING (datasettypeid)
        WHERE t.typename = 'MeetMaxURL' AND d.isactive
          AND c.eventid IN (SELECT eventid FROM public.tmeetmaxurlcheck WHERE datasetid = %(scan)s)
          AND (c.datasetid = %(scan)s OR (d.datasetdate, d.datasetid) < (
              SELECT datasetdate, datasetid FROM dba.tdataset WHERE datasetid = %(scan)s))
          AND (c.ifexists = '1' OR c.invalideventid = 'True')
        ORDER BY c.eventid, d.datasetdate DESC, d.datasetid DESC
    )
    SELECT c.eventid, coalesce(c.downloadlink, ''), c.datasetid <> %(scan)s,
           last.etag, last.last_modified, last.sha256, last.archived_path
    FROM answer AS c
    LEFT JOIN LATERAL (
        SELECT d.etag, d.last_modified, d.sha256, f.archived_path
        FROM dba.tdownload AS d
        JOIN dba.timportfile AS f ON f.file_name = d.file_name AND f.sha256 = d.sha256
        WHERE d.eventid = c.eventid AND d.url = c.downloadlink AND d.sha256 IS NOT NULL
          AND coalesce(d.etag, d.last_modified) IS NOT NULL AND f.archived_path IS NOT NULL
        ORDER BY d.downloadid DESC
        LIMIT 1
    ) AS last ON true
    WHERE c.isdownloadable = '1'
    ORDER BY length(c.eventid), c.eventid
"""

# Covers a weekend and a holiday after the last day that had lists.
LISTS_LATELY = """
    SELECT count(DISTINCT eventid), max(created_at) FROM dba.tdownload
    WHERE status IN ('Downloaded', 'Unchanged') AND created_at > now() - interval '4 days'
"""

LEAST_VANISHED = 3  # so many lists, if they are also more than half of all, are not believed to be gone

RECORD = """
    INSERT INTO dba.tdownload (
        eventid, url, file_name, file_size, sha256, etag, last_modified, status, reason, scan_datasetid, run_uuid)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""


def latest_scan(connection: "Connection") -> int:
    """Return the dataset of the latest active scan; raises JobError if no scan was ever imported."""
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('public.tmeetmaxurlcheck') IS NOT NULL")
        (table_exists,) = cursor.fetchone() or (False,)
        cursor.execute(LATEST_SCAN)
        scan = cursor.fetchone()
    if not table_exists or scan is None:
        raise JobError(
            f"no MeetMax URL check is in the database yet; type: {job_catalog.typed('meetmax_url_check.py')}, "
            f"and then: {job_catalog.typed('run_import_job.py', 'MeetMaxURLCheckImport')}"
        )
    return int(scan[0])


def event_files(connection: "Connection", scan: int) -> list[tuple[EventFile, Copy | None]]:
    with connection, connection.cursor() as cursor:
        cursor.execute(EVENT_FILES, {"scan": scan})
        rows = cursor.fetchall()
    if former := [event_id for event_id, _, is_former, *_ in rows if is_former]:
        text = "%d events gave no clear answer in the last scan, such as %s: their former links are used"
        log.warning(text, len(former), former[0], extra={"step": "plan"})
    return [
        (
            EventFile(event_id, link),
            Copy(Validators(etag or "", modified or ""), sha256, Path(path)) if path else None,
        )
        for event_id, link, _, etag, modified, sha256, path in rows
    ]


def is_nothing_missed(connection: "Connection", scan: int) -> bool:
    """Return whether it is normal that there is nothing to fetch; log an error if it is not."""
    with connection, connection.cursor() as cursor:
        cursor.execute(LISTS_LATELY)
        ((lists, last),) = cursor.fetchall()
    if lists:
        text = (
            "the URL check (dataset %d) has no list to fetch, but %d events had one until %s: the site may have changed; "
            "look at it, and at the pages that the URL check kept in logs/"
        )
        log.error(text, scan, lists, f"{last.astimezone():%Y-%m-%d %H:%M}", extra={"step": "plan"})
    return not lists


def record(connection: "Connection", scan: int, outcomes: Iterable[Outcome]) -> None:
    run = settings.run_uuid() or None
    with connection, connection.cursor() as cursor:
        for outcome in outcomes:
            event, file = outcome.event, outcome.download
            kept = (file.file.name, file.size, file.sha256) if file else (None, None, None)
            version = (file.validators.etag or None, file.validators.last_modified or None) if file else (None, None)
            said = (storable(outcome.reason) or None, scan, run)
            cursor.execute(RECORD, (event.event_id, storable(event.link), *kept, *version, outcome.status, *said))


def believed(vanished: list[Outcome], asked: int) -> list[Outcome]:
    """Put an empty list in place of each list that the site says is gone; if most went at once, fail them instead."""
    if len(vanished) < LEAST_VANISHED or 2 * len(vanished) <= asked:
        return [placed_as_empty(outcome) for outcome in vanished]
    text = (
        "the site says Invalid Event ID for %d of %d lists, though the URL check found them: it may have changed, so "
        "none of these is kept; look at the site, then run the URL check and this job again"
    )
    log.error(text, len(vanished), asked, extra={"step": "fetch"})
    return [replace(outcome, status="Failed") for outcome in vanished]


def main(_args: argparse.Namespace) -> int:
    """Return the number of events whose file could not be fetched."""
    directory_management.ensure_directory(settings.file_watcher_dir())
    session = WebSession()
    vanished: list[Outcome] = []
    counts = dict.fromkeys(("Downloaded", "Unchanged", "Vanished", "Refused", "Failed"), 0)
    with db_config.session() as connection:
        scan = latest_scan(connection)
        events = event_files(connection, scan)
        if not events and not is_nothing_missed(connection, scan):
            return 1
        for number, (event, copy) in enumerate(tqdm(events, unit="file", disable=not settings.at_terminal())):
            try:
                outcome = fetch_event(session, event, copy)
            except TemporaryFailure as refusal:
                rest = [Outcome(skipped, "Skipped", str(refusal)) for skipped, _ in events[number + 1 :]]
                record(connection, scan, [*vanished, Outcome(event, "Refused", str(refusal)), *rest])
                raise
            if outcome.reason:
                log.warning("event %s: %s", event.event_id, outcome.reason, extra={"step": "fetch"})
            if outcome.status == "Vanished":
                vanished.append(outcome)  # recorded when it is known how many went at once
                continue
            # Recorded after the file is there: after a crash in between it is only fetched again.
            record(connection, scan, [outcome])
            counts[outcome.status] += 1
        for outcome in believed(vanished, len(events)):
            record(connection, scan, [outcome])
            counts[outcome.status] += 1
    parts = ", ".join(f"{count} {status.lower()}" for status, count in counts.items() if count)
    text = "%d company lists: %s (URL check: dataset %d)"
    log.info(text, len(events), parts or "none to fetch", scan, extra={"step": "fetch"})
    return counts["Refused"] + counts["Failed"]


if __name__ == "__main__":
    run_job(main, doc=__doc__)
