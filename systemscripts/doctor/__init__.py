"""Looks at an installation for what would let its jobs fail one night, and says the cure of each."""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import psycopg2

from systemscripts.errors import JobError


class Finding(NamedTuple):
    """What one look came to. `cure` says what to type or do; empty where nothing has to be done."""

    name: str
    state: Literal["ok", "warning", "failed"]
    told: str
    cure: str = ""


# Yields what it finds; what it raises as JobError is a failure of its own.
Check = Callable[[], Iterator[Finding]]


def good(name: str, told: str) -> Finding:
    return Finding(name, "ok", told)


def warning(name: str, told: str, cure: str) -> Finding:
    return Finding(name, "warning", told, cure)


def failed(name: str, told: str, cure: str) -> Finding:
    return Finding(name, "failed", told, cure)


def look(checks: dict[str, Check]) -> Iterator[Finding]:
    """Yield the findings of every check; one that cannot be made fails for itself and stops no other."""
    for name, check in checks.items():
        try:
            yield from check()
        except JobError as problem:
            yield failed(name, str(problem), "set that right, and look again")
        except psycopg2.Error as problem:
            told = f"the database does not answer as it should: {' '.join(str(problem).split())}"
            yield failed(name, told, "bash onboarding/sh/sql_setupscripts.sh, if it is older than this program")
        except OSError as problem:
            yield failed(name, f"it cannot be looked at: {problem}", "run it as the user that the jobs run as")
