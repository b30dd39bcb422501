"""Write the cron file from the active rows of the schedule.

Reads   dba.tscheduler, dba.treportmanager
Writes  /etc/cron.d/etl_jobs (ETL_CRON_FILE), whole or not at all: with one bad row it is not written
Run by  an administrator after the tables were changed, with sudo

  etl cron write                           write the file
  etl cron diff                            show what would change
  etl run update_cron_jobs.py --check      exit 1 if the file is not what the tables say
  etl cron write --dry-run                 print the file
  etl cron list 10                         print the next 10 runs, in local time and UTC
"""

import argparse
import logging
from datetime import UTC, datetime, timedelta, tzinfo

from systemscripts import settings
from systemscripts.cron import cron_file, slots
from systemscripts.cron.cron_file import ScheduledJob
from systemscripts.cron.expression import never_fires, parse
from systemscripts.errors import JobError, WrongCall
from systemscripts.job_runner import run_job
from systemscripts.plain_text import say
from systemscripts.schedule import timetable

log = logging.getLogger(__name__)

MOST_RUNS = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options; without any of them the file is written."""
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--diff", action="store_true", help="show what would change")
    action.add_argument("--check", action="store_true", help="exit 1 if the file is not what the tables say")
    action.add_argument("--dry-run", action="store_true", help="print the file")
    action.add_argument("--list", type=int, metavar="N", help="print the next N runs of all jobs")


def main(args: argparse.Namespace) -> int:
    """Return the number of rows that cannot be listed, or 1 if the file is not what the tables say."""
    if args.list is not None and not 1 <= args.list <= MOST_RUNS:
        raise WrongCall(f"--list {args.list}: it must be a number from 1 to {MOST_RUNS:,}")
    jobs = timetable.active_jobs()
    if args.list is not None:
        return print_next_runs(jobs, args.list)
    text = cron_file.render(jobs, settings.cron_user())
    warn_of_surprises(jobs)
    if args.dry_run:
        say(*text.splitlines())
        return 0
    if args.diff:
        if differences := cron_file.differences(text, settings.cron_file()):
            say(*differences.rstrip("\n").split("\n"))
        return 0
    if args.check:
        return check(text)
    written = cron_file.install(text, settings.cron_file())
    log.info("%s: %s, %d jobs", settings.cron_file(), "written" if written else "already right", len(jobs))
    return 0


def check(text: str) -> int:
    """Return 0 if the file is what the tables say, 1 if it must be written."""
    if found := cron_file.drift(text, settings.cron_file()):
        log.error("%s; see --diff, and run update_cron_jobs.py to write it", found)
        return 1
    log.info("%s is what the tables say", settings.cron_file())
    return 0


def warn_of_surprises(jobs: list[ScheduledJob]) -> None:
    """Warn of schedules that cron accepts but understands differently from what was meant."""
    if not jobs:
        log.warning("no row of the schedule is active: the cron file holds no job")
    for job in jobs:
        if never_fires(job.frequency):
            log.warning("%s will never run: no date or time matches %r", job, job.frequency)
        for ignored in parse(job.frequency).ignored:
            log.warning("%s: cron ignores %r in %r", job, ignored, job.frequency)


def print_next_runs(jobs: list[ScheduledJob], count: int) -> int:
    """Print the next runs in order, and clock changes between them; return the number of bad rows."""
    good = []
    for job in jobs:
        try:
            cron_file.cron_line(job, settings.cron_user())
            good.append(job)
        except JobError as problem:
            log.error("%s: %s", job, problem)
    zone, now = slots.cron_zone(), settings.now()
    say(f"The next runs after {local_text(now.astimezone(zone))}; time zone {zone}")
    last = now
    for slot in timetable.upcoming(good, now, count, zone):
        for change in timetable.clock_changes(last, slot.time, zone):
            say(change_text(change, zone))
        say(f"{local_text(slot.time)}  {slot.time.astimezone(UTC):%Y-%m-%d %H:%M} UTC  {slot.job}")
        last = slot.time
    for job in good:
        if parse(job.frequency).at_reboot:
            say(f"at every start of the machine  {job}")
    return len(jobs) - len(good)


def local_text(time: datetime) -> str:
    return f"{time:%a %Y-%m-%d %H:%M %Z}"


def change_text(change: datetime, zone: tzinfo) -> str:
    """Return a line about a clock change: the time before it and the time after it."""
    before = (change.astimezone(UTC) - timedelta(seconds=1)).astimezone(zone)
    return f"-- {before:%a %Y-%m-%d}: the clock goes from {before:%H:%M:%S %Z} to {change:%H:%M %Z}"


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=add_arguments)
