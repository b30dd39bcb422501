"""Look for faults in an installation that would make its jobs fail, and give the cure of each."""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import psycopg2

from systemscripts import job_catalog
from systemscripts.errors import JobError


class Finding(NamedTuple):
    """The result of one check. `cure` says what to type or do; it is empty if nothing must be done."""

    name: str
    state: Literal["ok", "warning", "failed"]
    told: str
    cure: str = ""


# A check yields its findings; if it raises JobError, that is a finding of its own.
Check = Callable[[], Iterator[Finding]]


def good(name: str, told: str) -> Finding:
    return Finding(name, "ok", told)


def warning(name: str, told: str, cure: str) -> Finding:
    return Finding(name, "warning", told, cure)


def failed(name: str, told: str, cure: str) -> Finding:
    return Finding(name, "failed", told, cure)


def look(checks: dict[str, Check]) -> Iterator[Finding]:
    """Yield the findings of every check; a check that cannot be made is a failure and does not stop the others."""
    for name, check in checks.items():
        try:
            yield from check()
        except JobError as problem:
            yield failed(name, str(problem), f"correct that, then type: {job_catalog.typed('doctor.py')}")
        except psycopg2.Error as problem:
            told = f"the database gives an unexpected answer: {' '.join(str(problem).split())}"
            yield failed(
                name, told, "if the database is older than this program: bash onboarding/sh/sql_setupscripts.sh"
            )
        except OSError as problem:
            yield failed(name, f"the check cannot be made: {problem}", "run it as the jobs' user")
