"""Ask MeetMax which events exist and which company lists can be downloaded.

Reads   the event pages of MEETMAX_BASE_URL, one at a time, and earlier scans in public.tmeetmaxurlcheck
Writes  file_watcher/<timestamp>_MeetMaxURLCheck.csv, when all events have been asked
Run by  the schedule, Fridays at 19:00, with --around-known

Without arguments it asks about the active ranges of dba.tmeetmaxrange, which takes days. With
--around-known it asks about the events that exist and the numbers above them; that is enough for a
normal week.

A stopped scan continues where it was if you start it again in the same way within a day. Events
without an answer get StatusCode Failed or Error in the file, and the job exits with 1. A page that is
neither an event nor "Invalid Event ID" is kept in logs/ for inspection.

If most of the known events give no clear answer, or are gone at once, the site has probably changed.
Then nothing is published, and the downloads keep using the scan before. Started again, the job asks
about these events again. If they are really gone, start it with --accept.

Examples:
  etl run meetmax_url_check.py --around-known                     the known events and 500 numbers above them
  etl run meetmax_url_check.py --around-known --window 2000       the same with 2,000 numbers
  etl run meetmax_url_check.py                                    every number that the table names
  etl run meetmax_url_check.py --first 119230 --last 119275       these 46 numbers
  etl run meetmax_url_check.py --around-known --accept            publish a scan in which most known events are gone
"""

import argparse
import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from systemscripts import db_config, job_catalog, settings
from systemscripts.errors import WrongCall
from systemscripts.job_runner import run_job
from systemscripts.sources import meetmax_plan, meetmax_publication, meetmax_scan, meetmax_verdict
from systemscripts.sources.meetmax_journal import Journal, forget, open_journal
from systemscripts.web_utils import WebSession

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

log = logging.getLogger(__name__)

WINDOW = 500  # numbers above the highest event
MOST_IDS = 1_000_000
LONG_SCAN = timedelta(days=1)
MOST_WORKERS = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--first", type=int, metavar="ID", help="ask about the numbers from this one on")
    parser.add_argument("--last", type=int, metavar="ID", help="up to this one")
    parser.add_argument("--around-known", action="store_true", help="ask about the known events and those above them")
    parser.add_argument("--window", type=int, metavar="N", help=f"how many above (default {WINDOW})")
    parser.add_argument("--accept", action="store_true", help="publish even where most known events are gone")
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N",
        help="how many requests run at once; the pause between two stays the same (default %(default)s)",
    )  # fmt: skip


def check_call(args: argparse.Namespace) -> None:
    if (args.first is None) != (args.last is None):
        raise WrongCall("--first and --last belong together: give both, or neither")
    if args.around_known and args.first is not None:
        raise WrongCall("--around-known and --first say different things; give one of them")
    if args.first is not None and not 1 <= args.first <= args.last:
        raise WrongCall(
            f"--first {args.first} --last {args.last}: the first event id must be 1 or more and not above the last"
        )
    if args.first is not None and args.last - args.first >= MOST_IDS:
        raise WrongCall(
            f"--first {args.first} --last {args.last}: more than {MOST_IDS:,} numbers are too many for one scan; give a smaller range"
        )
    if args.window is not None and not (args.around_known and args.window >= 1):
        raise WrongCall(f"--window {args.window}: it must be 1 or more, and goes with --around-known")
    if not 1 <= args.workers <= MOST_WORKERS:
        raise WrongCall(f"--workers {args.workers}: it must be between 1 and {MOST_WORKERS}")


def plan_of(
    args: argparse.Namespace, connection: "Connection", known: dict[int, meetmax_plan.KnownEvent]
) -> meetmax_plan.Plan:
    if args.first is not None:
        return meetmax_plan.of_range(args.first, args.last)
    if args.around_known and known:
        return meetmax_plan.around_known(known, args.window or WINDOW)
    if args.around_known:
        log.info("no event is known yet: every number of dba.tmeetmaxrange is asked", extra={"step": "plan"})
    return meetmax_plan.of_table(connection)


def say_what_is_kept(plan: meetmax_plan.Plan, journal: Journal) -> None:
    """Log that a stopped scan continues, and how old its first results are."""
    if not len(journal):
        return
    age = max(settings.now() - journal.begun, timedelta())
    level = logging.WARNING if age > LONG_SCAN else logging.INFO
    text = "going on with the scan begun %s, %s ago: %d of %d events have been asked"
    planned = plan.event_ids(journal.highest_found)
    total, kept = len(planned), sum(map(journal.is_done, planned))
    begun = journal.begun.isoformat(sep=" ", timespec="minutes")
    log.log(level, text, begun, str(age).partition(".")[0], kept, total, extra={"step": "resume"})


def command(args: argparse.Namespace) -> str:
    """Return the command that publishes the same scan with --accept."""
    words = []
    if args.first is not None:
        words += ["--first", str(args.first), "--last", str(args.last)]
    if args.around_known:
        words.append("--around-known")
    if args.window is not None:
        words += ["--window", str(args.window)]
    return job_catalog.typed("meetmax_url_check.py", *words, "--accept")


def report(journal: Journal, event_ids: Sequence[int], known: dict[int, meetmax_plan.KnownEvent]) -> int:
    """Log which events are new or gone, and return the number of events that gave no clear answer."""
    exist = files = failed = 0
    for result in journal.results(event_ids):
        number = int(result.event_id)
        exist, files, failed = exist + result.exists, files + result.downloadable, failed + bool(result.problem)
        if result.invalid and number in known:
            text = "event %d (%s) is gone: the site now says Invalid Event ID"
            log.warning(text, number, known[number].title, extra={"step": "report"})
        elif result.exists and known and number not in known:
            log.info("event %d is new: %s", number, result.title, extra={"step": "report"})
    if left_out := len(known.keys() - set(event_ids)):
        text = "%d events that exist are not in this scan; downloads use the latest scan, so they leave these out"
        log.warning(text, left_out, extra={"step": "report"})
    text = "%d events asked, %d exist, %d can be downloaded, %d failed"
    log.info(text, len(event_ids), exist, files, failed, extra={"step": "report"})
    return failed


def main(args: argparse.Namespace) -> int:
    """Return the number of events that gave no clear answer."""
    check_call(args)
    # Not kept open: a scan takes hours.
    with db_config.session() as connection:
        known = meetmax_plan.known_events(connection)
        plan = plan_of(args, connection, known)
    with open_journal(plan) as journal:
        failed = 0
        if not meetmax_publication.publish_at_last(plan, journal):
            say_what_is_kept(plan, journal)
            meetmax_scan.ask(plan, journal, WebSession(), args.workers)
            event_ids = plan.event_ids(journal.highest_found)
            meetmax_verdict.require_answers(journal, event_ids, known, "" if args.accept else command(args))
            failed = report(journal, event_ids, known)
            target = meetmax_publication.publish(plan, journal, event_ids)
            log.info("published as %s", target.name, extra={"step": "publish"})
        forget(plan)
    return failed


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=add_arguments)
