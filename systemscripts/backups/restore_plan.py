"""The command behind a restore: it assigns each entry of a dump to a role, so that no administrator runs jobs' code.

    pg_restore --list --verbose DUMP | python -P -m systemscripts.backups.restore_plan FOLDER GLOBALS

Filling a table runs its checks and its computed columns, and some definitions are evaluated when they are made. If an
administrator ran the code of a hostile job, the job would get the administrator's rights. So the jobs' role restores
its own entries, and entries that need them come later. FOLDER gets one list per step for pg_restore's --use-list, named
<number>.<role>. An entry that an administrator would have to run, but that needs something of the jobs, or code of another
role that may do less, is left out and named on standard error. GLOBALS is the backup's globals.json, which knows the roles.
"""

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from systemscripts.command_line import run_command, wrong_call
from systemscripts.db_config import ADMINISTRATOR_ROLE, JOB_ROLE, OWNER_ROLE
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


class Plan(NamedTuple):
    """The steps of a restore, and what is left out: what needs something of the jobs, and what needs code of weaker roles."""

    steps: list[Step]
    of_jobs: list[str]
    of_weaker: list[str]


def plan(listing: Iterable[str], roles: Iterable[dict[str, Any]]) -> Plan:
    """Return the steps of a restore, and the entries that are left out. `roles` are those of globals.json.

    Even steps belong to the administrator, odd ones to the jobs' role. An entry goes into the first such step that is
    not before the entries it needs. Event triggers come last; otherwise they would record the restore.

    >>> plan(["7; 1255 9 FUNCTION public f() etl_user", "8; 1259 9 TABLE dba t etl_owner"], []).steps
    [Step(role='postgres', entries=['8']), Step(role='etl_user', entries=['7'])]
    >>> anna = {"name": "anna", "attributes": {"SUPERUSER": False, "CREATEROLE": False}}
    >>> plan(["7; 1255 9 FUNCTION x f(integer) anna", "8; 1259 9 TABLE x t bert", ";\\tdepends on: 7"], [anna]).of_weaker
    ['TABLE x t bert']
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
    of_jobs = {n for n, step in step_of.items() if step and step % 2 == 0 and not told[n].startswith(_HARMLESS)}
    of_weaker = _with_code_of(_weaker(roles), told, needs) - of_jobs
    steps = [
        Step(
            JOB_ROLE if step % 2 else ADMINISTRATOR_ROLE,
            [n for n in told if step_of[n] == step and n not in of_jobs | of_weaker],
        )
        for step in range(last + 1)
    ]
    return Plan(
        [step for step in steps if step.entries],
        [text for number, text in told.items() if number in of_jobs],
        [text for number, text in told.items() if number in of_weaker],
    )


def _weaker(roles: Iterable[dict[str, Any]]) -> list[str]:
    """Return the roles that may do less than an administrator, besides the jobs' role, whose entries have steps of their own.

    The administrator of a managed server is no superuser, but makes roles.
    """
    rights = ("SUPERUSER", "CREATEROLE")
    weaker = [role["name"] for role in roles if not any(role["attributes"][right] for right in rights)]
    return [name for name in weaker if name not in (OWNER_ROLE, JOB_ROLE)]


def _with_code_of(roles: list[str], told: dict[str, str], needs: dict[str, list[str]]) -> set[str]:
    """Return the entries in which an administrator would run code of these roles, with all that needs such an entry."""
    endings = tuple(f" {role}" for role in roles)
    code = {n for n, text in told.items() if text.startswith(("FUNCTION ", "PROCEDURE ")) and text.endswith(endings)}
    run_by_others = (*_HARMLESS, *_ADMINISTRATORS_OWN)
    run = {
        n
        for n in _needing(code, needs) - code
        if not told[n].startswith(run_by_others) and not told[n].endswith(f" {JOB_ROLE}")
    }
    return _needing(run, needs)


def _needing(numbers: set[str], needs: dict[str, list[str]]) -> set[str]:
    """Return these entries, and those that need one of them, directly or not."""
    found, before = numbers, set[str]()
    while found != before:
        before = found
        found = before | {n for n, needed in needs.items() if not before.isdisjoint(needed)}
    return found


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
    if len(arguments) != 2:
        raise wrong_call(__doc__)
    steps, of_jobs, of_weaker = plan(sys.stdin, json.loads(Path(arguments[1]).read_text())["roles"])
    for number, step in enumerate(steps):
        Path(arguments[0], f"{number:04}.{step.role}").write_text("".join(f"{entry};\n" for entry in step.entries))
    for text in of_jobs:
        say(f"left out, because it needs something of the jobs: {text}", to=sys.stderr)
    for text in of_weaker:
        say(f"left out, because it needs code of a role that may do less than an administrator: {text}", to=sys.stderr)
    return 2 if of_jobs or of_weaker else 0


if __name__ == "__main__":
    run_command("restore_plan", main)
