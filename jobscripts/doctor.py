"""Look at the installation for what would let its jobs fail, and say the cure of each.

Reads   settings, modes, disks, cron's file, sudo's rights, the database, the backups; logs in at the mail servers
Writes  nothing but its run
Run by  a person, after the set-up and after every change to the machine; best as the user that the jobs run as

Examples:
  doctor.py
  doctor.py --json
"""

import argparse
import json

from systemscripts import settings
from systemscripts.doctor import Finding, database, look, machine, mail
from systemscripts.job_runner import run_job

WORKS_WITHOUT_DATABASE = True

_COLOURS = {"ok": "32", "warning": "33", "failed": "31"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def text_of(finding: Finding, colour: bool) -> str:
    state = f"{finding.state:7}"
    if colour:
        state = f"\x1b[{_COLOURS[finding.state]}m{state}\x1b[0m"
    line = f"{state}  {finding.name}: {finding.told}"
    return f"{line}\n           {finding.cure}" if finding.cure else line


def main(args: argparse.Namespace) -> int:
    """Return the number of failures."""
    findings = []
    for finding in look({**machine.CHECKS, **database.CHECKS, **mail.CHECKS}):
        findings.append(finding)
        if not args.json:
            print(settings.mask(text_of(finding, settings.at_terminal())), flush=True)
    if args.json:
        print(settings.mask(json.dumps([finding._asdict() for finding in findings])))
    return sum(finding.state == "failed" for finding in findings)


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=add_arguments)
