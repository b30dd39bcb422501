"""Headings and columns: how a heading becomes a column's name, and what differs between a file and its table."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from systemscripts.errors import JobError
from systemscripts.importing.config import ADD_COLUMNS, FAIL_ON_MISSING, ConfigurationError, ImportConfig

if TYPE_CHECKING:
    from systemscripts.importing.rules import ColumnRule

# PostgreSQL cuts longer identifiers, counted in bytes, and says so only in a notice.
LONGEST_NAME_BYTES = 63
# PostgreSQL holds at most 1,600 columns in a table.
MOST_COLUMNS = 1_500


def column_names(headings: Sequence[str], reserved: Iterable[str] = ()) -> list[str]:
    """Return the column names for a header row, all different.

    Lower case, trimmed, blanks and `-` become `_`; other characters stay. A heading without text
    becomes `unnamed:_<position from 0>`; one that stands there already, or that the import uses
    itself, gets `.1`, `.2` …; what is longer than 63 bytes is cut between characters.

    >>> column_names(["Company Name", "", "Ticker", "ticker "])
    ['company_name', 'unnamed:_1', 'ticker', 'ticker.1']
    """
    taken = set(reserved)
    names = []
    for position, heading in enumerate(headings):
        name = _unique(normalised(heading) or f"unnamed:_{position}", taken)
        taken.add(name)
        names.append(name)
    return names


def normalised(heading: str) -> str:
    """Return a heading as a column is called: lower case, trimmed, blanks and `-` as `_`."""
    return re.sub(r"[\s-]", "_", heading.strip().lower())


def _unique(name: str, taken: set[str]) -> str:
    candidate, number = _cut(name, LONGEST_NAME_BYTES), 0
    while candidate in taken:
        number += 1
        candidate = _cut(name, LONGEST_NAME_BYTES - len(f".{number}")) + f".{number}"
    return candidate


def _cut(name: str, length: int) -> str:
    """Return the name cut to at most `length` bytes of UTF-8, between characters."""
    return name.encode()[:length].decode("utf-8", "ignore")


def renamed(names: list[str], rules: dict[str, "ColumnRule"]) -> tuple[list[str], dict[str, "ColumnRule"]]:
    """Return the names with the rules' renaming done, and the rules that apply to this file by their new names.

    Raises JobError where a required column is not in the file, or two columns would get one name.
    """
    absent = [name for name, rule in rules.items() if rule.is_required and name not in names]
    if absent:
        raise JobError(f"it has no column {_quoted(absent)}, which is required; it has {_quoted(names)}")
    targets = [rules[name].target if name in rules else name for name in names]
    twice = [name for name, count in Counter(targets).items() if count > 1]
    if twice:
        raise JobError(
            f"two of its columns would be called {_quoted(twice)} by target_name in dba.timportcolumn; it has {_quoted(names)}"
        )
    return targets, {rules[name].target: rules[name] for name in names if name in rules}


def idle_rules(
    rules: dict[str, "ColumnRule"], names: list[str], targets: list[str], existing: list[str] | None
) -> list[str]:
    """Return a sentence for each rule that a mistyped name leaves without effect.

    `names` are the file's columns, `targets` what they are called after renaming, `existing` the table's columns. One
    that only this file lacks is no such name: the table has it, and the drift says that it is missing.
    """
    return [
        f"the rule for {_quoted([rule.column_name])} names a column the file does not have; it has {_quoted(names)}"
        for name, rule in rules.items()
        if name not in names and (rule.target not in (existing or ()) or rule.target in targets)
    ]


class ColumnPlan(NamedTuple):
    """What to do with each column of a file; `targets` has one entry a field, None where it is left out."""

    targets: list[str | None]
    added: list[str]
    ignored: list[str]
    missing: list[str]
    creates_table: bool

    @property
    def loaded(self) -> list[str]:
        return [name for name in self.targets if name is not None]


def plan_columns(config: ImportConfig, names: list[str], existing: list[str] | None) -> ColumnPlan:
    """Compare a file's columns with its table's and apply the configuration's strategy.

    `existing` are the table's columns without its own key and datasetid, None if there is no
    such table yet. Raises JobError where the strategy forbids to go on.
    """
    if len(names) > MOST_COLUMNS:
        raise JobError(f"it has {len(names)} columns; a table takes at most {MOST_COLUMNS}")
    if existing is None and config.importstrategyid != ADD_COLUMNS:
        raise ConfigurationError(
            f"there is no table {config.target_table}, and importstrategyid {config.importstrategyid} "
            "does not make one; create it or set strategy 1"
        )
    known = set(existing or ())
    new = [name for name in names if name not in known]
    missing = [name for name in existing or () if name not in set(names)]
    if missing and config.importstrategyid == FAIL_ON_MISSING:
        raise JobError(f"it has no column {_quoted(missing)}, which {config.target_table} has; it has {_quoted(names)}")
    adds = config.importstrategyid == ADD_COLUMNS
    targets = [name if adds or name in known else None for name in names]
    if not any(targets):
        raise JobError(f"none of its columns is in {config.target_table}: {_quoted(names)}")
    return ColumnPlan(targets, new if adds else [], [] if adds else new, missing, creates_table=existing is None)


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
