"""Look for faults in the installation that would make jobs fail, and print the cure of each.

Reads   settings, modes, disks, cron's file, sudo's rights, the database, the backups; logs in at the mail servers
Writes  nothing but its run
Run by  a person, after the set-up and after every change to the machine; best as the user that the jobs run as

Examples:
  etl doctor
  etl doctor --json
"""

import argparse
import json
import logging

from systemscripts import settings
from systemscripts.doctor import Finding, database, look, machine, mail, reports, rows
from systemscripts.job_runner import run_job
from systemscripts.plain_text import say

log = logging.getLogger(__name__)

WORKS_WITHOUT_DATABASE = True

_COLOURS = {"ok": "32", "warning": "33", "failed": "31"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def show(finding: Finding, colour: bool) -> None:
    state = f"{finding.state:7}"
    mark = f"\x1b[{_COLOURS[finding.state]}m{state}\x1b[0m" if colour else state
    cure = [f"           {finding.cure}"] if finding.cure else []
    say(f"  {finding.name}: {finding.told}", *cure, mark=mark)


def main(args: argparse.Namespace) -> int:
    """Return the number of failures."""
    findings = []
    for finding in look({**machine.CHECKS, **database.CHECKS, **rows.CHECKS, **reports.CHECKS, **mail.CHECKS}):
        findings.append(finding)
        if not args.json:
            show(finding, settings.prints_to_terminal())
    if args.json:
        say(json.dumps([finding._asdict() for finding in findings]))
    if failures := [finding.name for finding in findings if finding.state == "failed"]:
        log.error("%d failed: %s", len(failures), ", ".join(failures), extra={"step": "end"})
    return len(failures)


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=add_arguments)
