"""Write the cron file from the active rows of the schedule; make rows of a hand-written one.

Reads   dba.tscheduler, dba.treportmanager; with --adopt a hand-written file of /etc/cron.d
Writes  /etc/cron.d/etl_jobs (ETL_CRON_FILE), whole or not at all: with one bad row it is not written, and never
        over a file that somebody else wrote. With --adopt rows of both tables, as etl_owner, and a copy of the
        hand-written file in archive/former_cron_files
Run by  an administrator after the tables were changed, with sudo; --adopt without sudo, by a member of etl_group

  etl cron write                           write the file
  etl cron diff                            show what would change
  etl run update_cron_jobs.py --check      exit 1 if the file is not what the tables say
  etl cron write --dry-run                 print the file
  etl cron list 10                         print the next 10 runs, in local time and UTC
  etl cron adopt --dry-run                 show what would become of each line of a hand-written file
  etl cron adopt                           make rows of its lines, keep a copy, and write our file in its place
  etl cron adopt /etc/cron.d/own_jobs      the same with a file of another name, which is taken away then
  etl cron adopt --leave-out 4 9           lines 4 and 9, which cannot be rows, are dropped
  etl cron write --target systemd --output DIR   write the same rows for another engine, into a directory
"""

import argparse
import logging
from datetime import UTC
from pathlib import Path

from systemscripts import settings
from systemscripts.cron import cron_file, crontab, environment, hand_written, slots
from systemscripts.cron.cron_file import ScheduledJob
from systemscripts.cron.expression import never_fires, parse
from systemscripts.engines import writing
from systemscripts.errors import JobError, WrongCall
from systemscripts.job_runner import run_job
from systemscripts.plain_text import say
from systemscripts.schedule import adoption, timetable

log = logging.getLogger(__name__)

MOST_RUNS = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options; without any of them the file is written."""
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--diff", action="store_true", help="show what would change")
    action.add_argument("--check", action="store_true", help="exit 1 if the file is not what the tables say")
    action.add_argument("--list", type=int, metavar="N", help="print the next N runs of all jobs")
    action.add_argument(
        "--adopt", nargs="?", const="", metavar="FILE",
        help="make rows of a hand-written file (the one in the place of ours), then write ours",
    )  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="print the file; with --adopt, what would be done")
    parser.add_argument(
        "--leave-out", nargs="+", type=int, default=[], metavar="LINE", help="with --adopt: drop these lines"
    )
    parser.add_argument("--target", choices=writing.TARGETS, help="with --output: write the schedule for this engine")
    parser.add_argument("--output", type=Path, metavar="DIR", help="with --target: the directory for its files")


def main(args: argparse.Namespace) -> int:
    """Return the number of rows that cannot be listed or written, or 1 if the file is not what the tables say."""
    if not (args.target or args.output):
        return keep_cron_file(args)
    if (
        not (args.target and args.output)
        or args.adopt is not None
        or args.diff
        or args.check
        or args.list
        or args.dry_run
    ):
        raise WrongCall("--target and --output go together, and with no other option")
    return writing.write(args.target, args.output.absolute())


def keep_cron_file(args: argparse.Namespace) -> int:
    if args.list is not None and not 1 <= args.list <= MOST_RUNS:
        raise WrongCall(f"--list {args.list}: it must be a number from 1 to {MOST_RUNS:,}")
    if args.adopt is not None or not (args.diff or args.check or args.list):
        is_for_cron = settings.cron_file().parent == cron_file.CRON_FOLDER and not args.dry_run
        for setting in environment.only_here():
            if is_for_cron and setting.name in cron_file.IN_EACH_LINE:
                raise JobError(
                    f"{setting.told}: every line of the file would fail; {setting.cure}; nothing was changed"
                )
            log.warning("%s; %s", setting.told, setting.cure)
    if args.adopt is not None:
        return adopt(Path(args.adopt or settings.cron_file()).absolute(), set(args.leave_out), args.dry_run)
    if args.leave_out or (args.dry_run and (args.diff or args.check or args.list)):
        raise WrongCall("--leave-out goes with --adopt, and --dry-run with --adopt or alone")
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


def adopt(path: Path, left_out: set[int], dry_run: bool) -> int:
    """Make rows of a hand-written file; return 0. Called again after it was stopped, it does what is not done yet."""
    file = hand_written.read(path)
    if file.is_ours:
        log.info("%s was written by update_cron_jobs.py: there is nothing to adopt", path)
        return 0
    hand_written.refuse_a_second_one(file)
    lines = crontab.read(file.content)
    if unknown := left_out - {line.number for line in lines}:
        raise WrongCall(f"--leave-out {min(unknown)}: line {min(unknown)} of {path} has neither a job nor a setting")
    with adoption.transaction(changes=not dry_run) as cursor:
        wanted = [line for line in lines if line.number not in left_out]
        proposals = adoption.plan(wanted, adoption.rows_of(cursor), settings.cron_user())
        for proposal in proposals:
            shell_job = ["", *proposal.text.splitlines(), ""] if proposal.text else []  # as it is, to be copied
            say(f"line {proposal.number:>3}  {proposal.kind:<15}  {proposal.told}", *shell_job)
        refused = [str(proposal.number) for proposal in proposals if proposal.kind == adoption.CANNOT]
        command = cron_file.command_to_adopt(*([] if file.is_replaced else [str(path)]))
        if refused:
            lines_are = (
                "line {} cannot be a row; to drop it" if len(refused) == 1 else "lines {} cannot be rows; to drop them"
            )
            told = f"{path}: {lines_are.format(', '.join(refused))}, type: {command} --leave-out {' '.join(refused)}"
            if not dry_run:
                raise JobError(f"{told}; nothing was changed")
            log.warning("%s", told)
        if dry_run:
            try:
                cron_file.render(timetable.active_jobs_of(cursor), settings.cron_user())
            except JobError as refusal:
                log.warning("without --dry-run this is refused: %s", refusal)
            return 0
        changed = adoption.apply(cursor, proposals)
        text = cron_file.render(timetable.active_jobs_of(cursor), settings.cron_user())
    log.info("%d rows were added or changed", changed)
    copy = hand_written.keep(file)
    log.info("%s is kept as %s", path, copy)
    if for_root := hand_written.replace(file, copy, text):
        log.warning(
            "one step is left, and only root may take it: %s is in force until you type: %s", file.path, for_root
        )
    else:
        log.info("%s is written", settings.cron_file())
    return 0


def check(text: str) -> int:
    """Return 0 if the file is what the tables say, 1 if it must be written."""
    if found := cron_file.drift(text, settings.cron_file()):
        cure = cron_file.command_to_adopt if cron_file.is_foreign(settings.cron_file()) else cron_file.command_for_root
        log.error("%s; see --diff, and type: %s", found, cure())
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
    say(f"The next runs after {timetable.local_text(now.astimezone(zone))}; time zone {zone}")
    last = now
    for slot in timetable.upcoming(good, now, count, zone):
        for change in timetable.clock_changes(last, slot.time, zone):
            say(timetable.change_text(change, zone))
        say(f"{timetable.local_text(slot.time)}  {slot.time.astimezone(UTC):%Y-%m-%d %H:%M} UTC  {slot.job.described}")
        last = slot.time
    for job in good:
        if parse(job.frequency).at_reboot:
            say(f"at every start of the machine  {job.described}")
    return len(jobs) - len(good)


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=add_arguments)
