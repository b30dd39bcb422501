"""The command behind a restore: it assigns each entry of a dump to a role, so that no administrator runs jobs' code.

    pg_restore --list --verbose DUMP | python -P -m systemscripts.backups.restore_plan FOLDER

Filling a table runs its checks and its computed columns, and some definitions are evaluated when they are made. If an
administrator ran the code of a hostile job, the job would get the administrator's rights. So the jobs' role restores
its own entries, and entries that need them come later. FOLDER gets one list per step for pg_restore's --use-list, named
<number>.<role>. An entry that an administrator would have to run, but that needs something of the jobs, is left out and
named on standard error.
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from systemscripts.command_line import run_command, wrong_call
from systemscripts.db_config import ADMINISTRATOR_ROLE, JOB_ROLE
from systemscripts.plain_text import say

# `4193; 1259 19581 TABLE public tprice etl_user`: number, two numbers of the catalogue, kind, schema, name, owner.
_ENTRY = re.compile(r"(\d+); \d+ \d+ (.+)")
_NEEDS = re.compile(r";\s+depends on:((?: \d+)+)\s*")
# These kinds hold no code, and only an administrator can make or fill them.
_ADMINISTRATORS_OWN = ("SCHEMA ", "BLOB")
# Making these kinds runs no code; PostgreSQL itself builds an index and a materialized view as their owner.
_HARMLESS = (
    *("VIEW ", "RULE ", "TRIGGER ", "EVENT TRIGGER ", "POLICY ", "ROW SECURITY ", "FUNCTION ", "PROCEDURE ", "CAST "),
    *("OPERATOR ", "COMMENT ", "ACL ", "DEFAULT ACL ", "SECURITY LABEL ", "INDEX ", "MATERIALIZED VIEW "),
)


class Step(NamedTuple):
    """The entries that one role restores together: their numbers, in the order of the dump."""

    role: str
    entries: list[str]


def plan(listing: Iterable[str]) -> tuple[list[Step], list[str]]:
    """Return the steps of a restore, and the entries that are left out.

    Even steps belong to the administrator, odd ones to the jobs' role. An entry goes into the first such step that is
    not before the entries it needs. Event triggers come last; otherwise they would record the restore.

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
        Step(
            JOB_ROLE if step % 2 else ADMINISTRATOR_ROLE, [n for n in told if step_of[n] == step and n not in left_out]
        )
        for step in range(last + 1)
    ]
    return [step for step in steps if step.entries], [told[number] for number in told if number in left_out]


def with_code_of(listing: Iterable[str], roles: Iterable[str]) -> list[str]:
    """Return the entries in which an administrator would run code of these roles, who may do less.

    >>> with_code_of(["7; 1255 9 FUNCTION x f(integer) anna", "8; 1259 9 TABLE x t bert", ";\\tdepends on: 7"], ["anna"])
    ['TABLE x t bert']
    """
    told, needs = _read(listing)
    endings = tuple(f" {role}" for role in roles)
    code = {n for n, text in told.items() if text.startswith(("FUNCTION ", "PROCEDURE ")) and text.endswith(endings)}
    reached, before = code, set[str]()
    while reached != before:
        before = reached
        reached = reached | {n for n in told if not reached.isdisjoint(needs.get(n, ()))}
    run_by_others = (*_HARMLESS, *_ADMINISTRATORS_OWN)
    return [
        text
        for n, text in told.items()
        if n in reached - code and not text.startswith(run_by_others) and not text.endswith(f" {JOB_ROLE}")
    ]


def _read(listing: Iterable[str]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return each entry, in the order of the dump, and the entries that it needs."""
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
    """Find the step of an entry, after the entries that it needs; without recursion, because a dump may be deep."""
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
        say(f"left out, because it needs something of the jobs: {text}", to=sys.stderr)
    return 2 if left_out else 0


if __name__ == "__main__":
    run_command("restore_plan", main)
