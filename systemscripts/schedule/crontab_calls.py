"""Which jobs a command of a hand-written crontab calls, and the shell job that does the same as a chain of them."""

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from systemscripts import job_catalog, settings
from systemscripts.cron.cron_file import ROOMS
from systemscripts.cron.shell_words import CannotTell, simple_commands
from systemscripts.errors import JobError

OWN_FILE = "move this line to a file of its own in /etc/cron.d"
_SHELL = re.compile("(?:ba|da)?sh")
_PYTHON = re.compile(r"python[0-9.]*")
# What they set is set by the door.
_SOURCED = ("env.sh", "activate")
# Options of the door, with the number of words that follow each.
_DOOR_OPTIONS = {"--due": 0, "--task": 1, "--report": 1, "--scheduled-at": 1}
_STEP = re.compile(r"^\s*step ([^$`#]+?)\s*$", re.MULTILINE)
_DEEPEST = 3


@dataclass(frozen=True)
class Call:
    """One job that a line starts; `joined_by` is "&&" if it starts only after the success of the one before."""

    joined_by: str
    script: str
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return shlex.join([self.script, *self.arguments])


def calls_of(command: str, variables: Mapping[str, str]) -> list[Call]:
    """Return the jobs that the command starts, one after the other; raises CannotTell if it does anything else."""
    found = list(_calls(command, variables, Path(), _DEEPEST))
    if not found:
        raise CannotTell("it starts no job")
    return found


def chain_job(calls: list[Call]) -> str | None:
    """Return the name of the shell job that has just these steps, None if there is none."""
    wanted = [[call.script, *call.arguments] for call in calls]
    for script in job_catalog.jobs():
        if script.suffix == ".sh" and _steps_of(script.read_text(encoding="utf-8", errors="replace")) == wanted:
            return script.name
    return None


def chain_text(calls: list[Call], name: str, about: str) -> str:
    """Return the text of a shell job that does what the chain does."""
    steps = []
    for call in calls:
        if call.joined_by == "&&":
            steps.append('  [[ $worst == 0 ]] || exit "$worst"')
        steps.append(f"  step {call}")
    return "\n".join(
        ("#!/usr/bin/env bash", f"# {about or 'Run these jobs, one after the other'}.", "#", f"# Usage: {name}",
         "set -euo pipefail", "", "# shellcheck source=env.sh",
         'source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../env.sh"', 'through_the_door "$@"', "",
         "main() {", *steps, '  exit "$worst"', "}", "", 'main "$@"')
    )  # fmt: skip


def _steps_of(text: str) -> list[list[str]]:
    try:
        return [shlex.split(step) for step in _STEP.findall(text)]
    except ValueError:
        return []


def _calls(command: str, variables: Mapping[str, str], folder: Path, depth: int) -> Iterator[Call]:
    joins: list[str] = []  # since the last job
    for simple in simple_commands(command, variables):
        for output in simple.outputs:
            _check_output(output)
        words, joins = simple.words, [*joins, simple.joined_by]
        joined_by = "&&" if set(joins) == {"&&"} else ";"
        if len(words) == 2 and words[0] == "cd":
            folder = folder / words[1]
        elif len(words) == 2 and words[0] in (".", "source") and Path(words[1]).name in _SOURCED:
            continue
        elif len(words) == 3 and _SHELL.fullmatch(Path(words[0]).name) and words[1] in ("-c", "-lc"):
            if not depth:
                raise CannotTell("it starts a shell in a shell in a shell")
            for number, call in enumerate(_calls(words[2], variables, folder, depth - 1)):
                yield call if number else replace(call, joined_by=joined_by)
            joins = []
        elif words:
            yield _call(words, joined_by, folder)
            joins = []


def _check_output(target: str) -> None:
    path = Path(target)
    is_log = path.suffix in (".log", ".txt") or "logs" in path.parts or ".log" in path.name
    if not (target.isdigit() or target in ("-", "/dev/null") or is_log):
        raise CannotTell(f"its output goes to {target!r}, which is no log; the output of a row goes to etl_cron.log")


def _call(words: list[str], joined_by: str, folder: Path) -> Call:
    if found := re.match(r"(?:export )?(\w+)=", " ".join(words)):
        told = f"it sets {found[1]}; write {found[1]}=… into {settings.site_file()} (a secret: into secrets.env)"
        raise CannotTell(told)
    program = Path(words[0]).name
    if _SHELL.fullmatch(program) or _PYTHON.fullmatch(program):
        words = [word for word in words[1:2] if word != "-u"] + words[2:]
    if not words or words[0].startswith("-"):
        raise CannotTell(f"how it calls {program} is not understood")
    path = Path(os.path.normpath(folder / words[0]))
    if path.name == job_catalog.DOOR:
        words = _after_the_door(words[1:])
        path = Path(words[0])
    elif path.parent.name not in ROOMS:
        raise CannotTell(f"{words[0]!r} is no job of {' or '.join(f'{room}/' for room in ROOMS)}; {OWN_FILE}")
    return Call(joined_by, _known(path.name), tuple(words[1:]))


def _after_the_door(words: list[str]) -> list[str]:
    while words and words[0] in _DOOR_OPTIONS:
        words = words[1 + _DOOR_OPTIONS[words[0]] :]
    if not words:
        raise CannotTell(f"no script follows {job_catalog.DOOR}")
    return words


def _known(script: str) -> str:
    """Return the script's name here; raises CannotTell if there is no such job."""
    try:
        return job_catalog.find_script(script).name
    except JobError:
        told = f"there is no job {script!r}; put it into jobscripts/ (CONTRIBUTING.md says what a job needs)"
        raise CannotTell(told) from None
