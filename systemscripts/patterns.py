"""Match names of files and machines with an operator's patterns, under a time limit that the standard library's re does not have."""

import re
from fnmatch import translate
from typing import TYPE_CHECKING

from systemscripts.errors import JobError

if TYPE_CHECKING:
    from regex import Match

MATCH_TIMEOUT_S = 1.0

# Signs that never stand in a glob mark a regular expression, unless it would begin with a sign that repeats nothing.
# Signs that are common in file names decide nothing: `Report (daily)*.csv`.
_REGEX_ONLY = re.compile(r"[\\|]|^\^|\$$|\.[*+]|\[\^|\][+{]|\(\?")
_IN_DOUBT = re.compile(r"[\^$+(){}]")
_IN_BRACKETS = re.compile(r"\[[^\]]*\]")


class BadPattern(JobError):
    """The expression is invalid or takes too long on a name; the message continues `the pattern x …`."""


def fits(pattern: str, name: str) -> bool:
    """Return whether the whole name fits the pattern, a glob or a regular expression; raises BadPattern if unsure which.

    >>> fits("*.csv", "a.csv"), fits("*.csv", "a.csv.part"), fits(r"a_[0-9]+\\.csv", "a_1.csv")
    (True, False, True)
    """
    is_glob = pattern.startswith(("*", "?"))
    is_regex = not is_glob and _REGEX_ONLY.search(pattern) is not None
    if not is_glob and not is_regex and (sign := _IN_DOUBT.search(_IN_BRACKETS.sub("", pattern))):
        raise BadPattern(
            f"has two meanings: for a glob, write [{sign[0]}] for each {sign[0]} that stands in the name; "
            "for a regular expression, begin it with ^"
        )
    return _match(pattern if is_regex else translate(pattern), name, whole=True) is not None


def runs_on(host_pattern: str, host: str) -> bool:
    """Return whether a row of the schedule runs on a machine, by its name; raises BadPattern with the whole sentence.

    >>> runs_on("", "box-a"), runs_on("box-?", "box-a"), runs_on("^box-[bc]$", "box-a")
    (True, True, False)
    """
    try:
        return not host_pattern or fits(host_pattern, host)
    except BadPattern as problem:
        raise BadPattern(f"host_pattern {host_pattern!r} {problem}") from None


def find(expression: str, file_name: str) -> "Match[str] | None":
    """Return the match of the regular expression in the name, or None; raises BadPattern."""
    return _match(expression, file_name, whole=False)


def _match(expression: str, file_name: str, whole: bool) -> "Match[str] | None":
    import regex

    attempt = regex.fullmatch if whole else regex.search
    try:
        return attempt(expression, file_name, timeout=MATCH_TIMEOUT_S)
    except regex.error as error:
        raise BadPattern(f"is no regular expression: {error}") from None
    except (RecursionError, MemoryError):  # thousands of brackets, or one that holds itself, such as (?R)
        raise BadPattern("is nested too deeply to be used; make it simpler") from None
    except TimeoutError:
        raise BadPattern(f"takes more than {MATCH_TIMEOUT_S:g} s on {file_name[:80]!r}; make it simpler") from None
