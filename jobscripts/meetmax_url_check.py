"""Ask MeetMax which events exist and which company lists can be downloaded.

Reads   the event pages of MEETMAX_BASE_URL, one at a time
Writes  file_watcher/<timestamp>_MeetMaxURLCheck.csv, when the whole range has been asked
Run by  the schedule, Fridays at 19:00

A scan that was stopped goes on where it was when the same range is started again. Events that
could not be asked have StatusCode Failed or Error in the file, and the job ends with status 1.

Examples:
  meetmax_url_check.py                                    the whole range
  meetmax_url_check.py --first 119230 --last 119275       these 46 events
"""

import argparse
import csv
import io
import logging
import time
from datetime import timedelta
from pathlib import Path

from tqdm import tqdm

from systemscripts import directory_management, settings
from systemscripts.errors import WrongCall
from systemscripts.job_runner import run_job
from systemscripts.sources import meetmax
from systemscripts.sources.meetmax_journal import Journal, ScanRange, open_journal
from systemscripts.web_utils import WebSession

log = logging.getLogger(__name__)

NEWS_EVERY = 300.0  # seconds between two lines about the progress when nobody watches
OLD_RESULTS = timedelta(days=1)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--first", type=int, metavar="ID", default=meetmax.FIRST_EVENT_ID, help="default %(default)s")
    parser.add_argument("--last", type=int, metavar="ID", default=meetmax.LAST_EVENT_ID, help="default %(default)s")


def scan_range(args: argparse.Namespace) -> ScanRange:
    if not 1 <= args.first <= args.last:
        raise WrongCall(
            f"--first {args.first} --last {args.last}: the first event id must be 1 or more and not above the last"
        )
    return ScanRange(settings.meetmax_base_url(), args.first, args.last)


def say_what_is_kept(journal: Journal) -> None:
    """Say that a stopped scan goes on, and how old its first results are."""
    kept = len(journal.results())
    if not kept:
        return
    age = settings.now() - journal.begun
    level = logging.WARNING if age > OLD_RESULTS else logging.INFO
    text = "going on with the scan begun %s, %s ago: %d of %d events have been asked"
    total = len(journal.scan.event_ids())
    log.log(level, text, journal.begun.isoformat(sep=" "), age, kept, total, extra={"step": "resume"})


def ask_open_events(journal: Journal, session: WebSession) -> None:
    """Ask about every event that has no clear answer yet; each result is on disk before the next request."""
    event_ids = journal.scan.event_ids()
    open_ids = [event_id for event_id in event_ids if not journal.is_done(event_id)]
    begun = said = time.monotonic()
    done_before = len(event_ids) - len(open_ids)
    bar = tqdm(open_ids, initial=done_before, total=len(event_ids), unit="event", disable=not settings.at_terminal())
    for number, event_id in enumerate(bar, start=1):
        result = meetmax.check_event(session, str(event_id))
        journal.add(result)
        if result.problem:
            log.warning("event %d: %s", event_id, result.problem, extra={"step": "fetch"})
        now = time.monotonic()
        if bar.disable and now - said >= NEWS_EVERY:
            said = now
            left = timedelta(seconds=round((now - begun) / number * (len(open_ids) - number)))
            log.info(
                "%d of %d events asked, %s left", done_before + number, len(event_ids), left, extra={"step": "fetch"}
            )


def csv_text(results: list[meetmax.CheckedEvent]) -> str:
    """Return the scan as the import expects it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(meetmax.CSV_HEADER)
    writer.writerows(result.csv_row() for result in results)
    return text.getvalue()


def publish(journal: Journal) -> Path:
    """Put the result where the import finds it, then forget the journal."""
    target = meetmax.scan_file(settings.now())
    directory_management.ensure_directory(target.parent)
    with directory_management.new_file(target) as stream:
        stream.write(csv_text(journal.results()).encode())
    journal.finish()
    return target


def main(args: argparse.Namespace) -> int:
    """Return the number of events that gave no clear answer."""
    with open_journal(scan_range(args)) as journal:
        say_what_is_kept(journal)
        ask_open_events(journal, WebSession())
        results = journal.results()
        target = publish(journal)
    failed = sum(bool(result.problem) for result in results)
    found = sum(result.exists for result in results)
    files = sum(result.downloadable for result in results)
    text = "%s: %d events asked, %d exist, %d can be downloaded, %d failed"
    log.info(text, target.name, len(results), found, files, failed, extra={"step": "publish"})
    return failed


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=add_arguments)
