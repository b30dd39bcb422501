"""Compare the columns of a file with those of its table, after the rules' renaming."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from systemscripts.errors import JobError
from systemscripts.importing.config import ADD_COLUMNS, FAIL_ON_MISSING, ConfigurationError, ImportConfig
from systemscripts.importing.rules import ColumnRule

# PostgreSQL holds at most 1,600 columns in a table.
MOST_COLUMNS = 1_500


class FileColumns(NamedTuple):
    """A file's columns after renaming: one for each field, and those whose value comes from outside the file, with it."""

    fields: list[str]
    given: dict[str, str]
    rules: dict[str, ColumnRule]

    @property
    def names(self) -> list[str]:
        return [*self.fields, *self.given]


def renamed(names: list[str], rules: dict[str, ColumnRule], given: dict[str, str]) -> FileColumns:
    """Return the columns with the names that the rules give them, and the rules that apply to this file, by new name.

    `given` are the values from outside the file, by column name. Raises JobError if a required column is not there, if
    two columns would get one name, or if the file has a column itself whose value is given.
    """
    everything = [*names, *given]
    if own := [name for name in given if name in names]:
        raise JobError(
            f"it has a column {_quoted(own)} itself, and a rule for this name has a value_source; "
            "take value_source away, or give the rule another column_name"
        )
    absent = [name for name, rule in rules.items() if rule.is_required and name not in everything]
    if absent:
        raise JobError(f"it has no column {_quoted(absent)}, which is required; it has {_quoted(names)}")
    targets = [rules[name].target if name in rules else name for name in everything]
    twice = [name for name, count in Counter(targets).items() if count > 1]
    if twice:
        raise JobError(
            f"two of its columns would be called {_quoted(twice)} by target_name in dba.timportcolumn; it has {_quoted(names)}"
        )
    return FileColumns(
        targets[: len(names)],
        dict(zip(targets[len(names) :], given.values(), strict=True)),
        {rules[name].target: rules[name] for name in everything if name in rules},
    )


def idle_rules(
    rules: dict[str, ColumnRule], names: list[str], targets: list[str], existing: list[str] | None
) -> list[str]:
    """Return a sentence for each rule that has no effect because its column name is mistyped.

    `names` are the file's columns, `targets` their names after renaming, `existing` the table's columns. A column
    that the table has, but this file lacks, is not mistyped; it is reported as drift.
    """
    return [
        f"the rule for {_quoted([rule.column_name])} names a column the file does not have; it has {_quoted(names)}"
        for name, rule in rules.items()
        if name not in names and (rule.target not in (existing or ()) or rule.target in targets)
    ]


class ColumnPlan(NamedTuple):
    """What to do with each column of a file; `targets` has one entry per field, None if the field is left out.

    `given` are the columns that get one value in each record, which is not in the file.
    """

    targets: list[str | None]
    added: list[str]
    ignored: list[str]
    missing: list[str]
    creates_table: bool
    given: dict[str, str]

    @property
    def loaded(self) -> list[str]:
        """The columns that fields of the file go into."""
        return [name for name in self.targets if name is not None]

    @property
    def filled(self) -> list[str]:
        """The columns that get a value from the file or from outside it."""
        return [*self.loaded, *self.given]


def plan_columns(config: ImportConfig, found: FileColumns, existing: list[str] | None) -> ColumnPlan:
    """Compare a file's columns with its table's and apply the configuration's strategy.

    `existing` are the table's columns without its own key and datasetid, None if there is no
    such table yet. Raises JobError if the strategy does not allow the difference.
    """
    names = found.names
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
    # A person has said which row it is, or what the columns are called.
    is_named = config.header_row is not None or config.header_columns is not None
    is_named = is_named or (config.headings is not None and config.importstrategyid == ADD_COLUMNS)
    if existing and not is_named and not known.intersection(found.fields):
        raise JobError(
            f"none of its headings is a column of {config.target_table}: {_quoted(found.fields[:10])}; the table has "
            f"{_quoted(existing[:10])}. If the header row is missing, write the names of the columns into headings; "
            "if these are the headings of a new kind of list, set header_row"
        )
    adds = config.importstrategyid == ADD_COLUMNS
    targets = [name if adds or name in known else None for name in found.fields]
    given = {name: value for name, value in found.given.items() if adds or name in known}
    return ColumnPlan(targets, new if adds else [], [] if adds else new, missing, existing is None, given)


def drift(plan: ColumnPlan, former: list[str] | None) -> list[tuple[str, str]]:
    """Return (kind, column) for each column that came or went since the label's last file, or is new in the table.

    `former` are the columns of that file, empty if they were not recorded then; None: it is the label's first file.
    """
    new_in_table = [] if plan.creates_table else plan.added
    if former is None:
        return [("added", name) for name in new_in_table] + [("ignored", name) for name in plan.ignored]
    former = former or [*(name for name in plan.filled if name not in plan.added), *plan.missing]
    names = {*plan.filled, *plan.ignored}
    return [
        *(("added", name) for name in plan.filled if name in new_in_table or name not in former),
        *(("ignored", name) for name in plan.ignored if name not in former),
        *(("missing", name) for name in former if name not in names),
    ]


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
