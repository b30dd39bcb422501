"""The command behind a restore: who restores which entry of a dump, so that nobody runs what the jobs have left in it.

    pg_restore --list --verbose DUMP | python -P -m systemscripts.backups.restore_plan FOLDER

Filling a table runs its checks and what its columns are computed by, and some definitions are worked out where they
are made. Run by an administrator, those of a hostile job would be its way to the administrator's rights. So what belongs
to the jobs' role is restored by that role, and what needs something of it comes later. FOLDER gets a list for
pg_restore's --use-list a step, in their order, called <number>.<role>. What an administrator would have to run
although it needs something of the jobs is left out, and named on standard error.
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from systemscripts.backups.dump import ADMINISTRATOR
from systemscripts.command_line import run_command, wrong_call
from systemscripts.db_config import JOB_ROLE
from systemscripts.plain_text import say

# `4193; 1259 19581 TABLE public tprice etl_user`: its number, two of the catalogue's, what it is, schema, name, owner.
_ENTRY = re.compile(r"(\d+); \d+ \d+ (.+)")
_NEEDS = re.compile(r";\s+depends on:((?: \d+)+)\s*")
# They hold no code, and to make them or to fill them takes an administrator.
_ADMINISTRATORS_OWN = ("SCHEMA ", "BLOB")
# Made with nothing run; an index and a materialized view are worked out as their owner by PostgreSQL itself.
_HARMLESS = (
    *("VIEW ", "RULE ", "TRIGGER ", "EVENT TRIGGER ", "POLICY ", "ROW SECURITY ", "FUNCTION ", "PROCEDURE ", "CAST "),
    *("OPERATOR ", "COMMENT ", "ACL ", "DEFAULT ACL ", "SECURITY LABEL ", "INDEX ", "MATERIALIZED VIEW "),
)


class Step(NamedTuple):
    """What one role restores in one go: the numbers of the entries, in the order of the dump."""

    role: str
    entries: list[str]


def plan(listing: Iterable[str]) -> tuple[list[Step], list[str]]:
    """Return the steps of a restore, and the entries that are left out.

    Even steps are the administrator's, odd ones the jobs' role's: an entry comes in the first of its kind that is not
    before what it needs. Event triggers come last, or they would note the restore.

    >>> plan(["7; 1255 9 FUNCTION public f() etl_user", "8; 1259 9 TABLE dba t etl_owner"])[0]
    [Step(role='postgres', entries=['8']), Step(role='etl_user', entries=['7'])]
    """
    told, needs = _read(listing)
    step_of: dict[str, int] = {}
    for number in told:
        _place(number, told, needs, step_of)
    last = max((step for number, step in step_of.items() if step % 2 == 0), default=0)
    last += 2 * (max(step_of.values(), default=0) > last)
    for number, text in told.items():
        if text.startswith("EVENT TRIGGER "):
            step_of[number] = last
    left_out = {n for n, step in step_of.items() if step and step % 2 == 0 and not told[n].startswith(_HARMLESS)}
    steps = [
        Step(JOB_ROLE if step % 2 else ADMINISTRATOR, [n for n in told if step_of[n] == step and n not in left_out])
        for step in range(last + 1)
    ]
    return [step for step in steps if step.entries], [told[number] for number in told if number in left_out]


def _read(listing: Iterable[str]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return what each entry is, in the order of the dump, and what it needs."""
    told: dict[str, str] = {}
    needs: dict[str, list[str]] = {}
    for line in listing:
        if entry := _ENTRY.fullmatch(line.rstrip("\n")):
            number = entry[1]
            told[number] = entry[2]
        elif told and (needed := _NEEDS.fullmatch(line)):
            needs[number] = needed[1].split()
    return told, needs


def _place(number: str, told: dict[str, str], needs: dict[str, list[str]], step_of: dict[str, int]) -> None:
    """Find the step of an entry, after those of all that it needs, without recursion: a dump may be deep."""
    waiting = [number]
    while waiting:
        number = waiting[-1]
        open_ones = [n for n in needs.get(number, ()) if n in told and n not in step_of and n not in waiting]
        if open_ones:
            waiting += open_ones
            continue
        waiting.pop()
        earliest = max((step_of[n] for n in needs.get(number, ()) if n in step_of), default=0)
        of_jobs = told[number].endswith(f" {JOB_ROLE}") and not told[number].startswith(_ADMINISTRATORS_OWN)
        step_of[number] = earliest + ((earliest % 2) != of_jobs)


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        raise wrong_call(__doc__)
    steps, left_out = plan(sys.stdin)
    for number, step in enumerate(steps):
        Path(arguments[0], f"{number:04}.{step.role}").write_text("".join(f"{entry};\n" for entry in step.entries))
    for text in left_out:
        say(f"left out, as it needs something of the jobs: {text}", to=sys.stderr)
    return 2 if left_out else 0


if __name__ == "__main__":
    run_command("restore_plan", main)
