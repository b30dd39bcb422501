"""Bring the records of one file into its table, in an open transaction: compare the columns, change the table, copy.

What one run works with goes from file to file, so that the table is looked at once.
"""

import logging
from datetime import date
from typing import Literal, NamedTuple

from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor
from psycopg2.sql import Composable

from systemscripts.errors import JobError
from systemscripts.importing import columns, load, origin, staging, table, views
from systemscripts.importing.columns import ColumnPlan, FileColumns
from systemscripts.importing.config import ImportConfig
from systemscripts.importing.dataset_checks import Check
from systemscripts.importing.header import column_names
from systemscripts.importing.ledger import FileRow
from systemscripts.importing.load import Incoming, Loaded
from systemscripts.importing.refusals import refusals_of_postgres
from systemscripts.importing.rejects import Rejects
from systemscripts.importing.rules import ColumnRule
from systemscripts.importing.source import TextSource
from systemscripts.importing.transformed import TransformedRecords
from systemscripts.importing.usual import Past
from systemscripts.importing.views import Views

log = logging.getLogger(__name__)

# Whether content that is known is loaded again: none, what somebody has taken back, or all.
Force = bool | Literal["undone"]


class Tried(NamedTuple):
    """What the files of a dry run would have left for those after them.

    `contents` are the files by SHA-256 and key of the dataset, `past` the datasets by label and date.
    """

    contents: dict[tuple[str, str], str]
    past: dict[str, dict[date, Past]]


class Work(NamedTuple):
    """The data that one run works with."""

    connection: Connection
    config: ImportConfig
    rules: dict[str, ColumnRule]
    checks: list[Check]
    force: Force
    dry_run: bool
    # The target's columns after the last file; empty if they must be looked up.
    structure: list[table.Column]
    # The columns of the last file of each label; None for a label that has none.
    last_columns: dict[str, list[str] | None]
    # The table's views; one, or none yet.
    views: list[Views]
    # Warnings about the rules, each once for the current file.
    warnings: list[str]
    # How many of the lines that a transform changes are kept for a person.
    show: int
    tried: Tried


def load_text(cursor: Cursor, work: Work, text: TextSource, row: FileRow, rejects: Rejects) -> Loaded:
    """Change the table as the strategy allows, then copy the file's records into it."""
    config = work.config
    kept = rejects if config.reject_limit_percent is not None else None
    if not work.structure:
        # The views first: another load may add a column to both in between, and a view has no column that its table lacks.
        work.views[:] = [views.look(cursor, config)]
        work.structure[:] = table.structure(cursor, config)
    existing, present = work.structure[:], work.views[0]
    reserved = table.reserved_names(config, existing)
    headings = column_names(text.headings, reserved)
    transformed = None
    if config.transform:
        transformed = TransformedRecords(config, text, headings, kept, work.show)
        headings = column_names(transformed.headings, reserved)
    given = origin.values_from_outside(cursor, config, row, work.rules)
    found = columns.renamed(headings, work.rules, given)
    types = {name: rule.sql_type for name, rule in found.rules.items()}
    plan, statements = _fit(config, existing, present, found, types)
    if statements:
        table.lock_structure(cursor, config)
        # Another load may have changed the table meanwhile.
        present, existing = views.look(cursor, config), table.structure(cursor, config)
        plan, statements = _fit(config, existing, present, found, types)
    if text.doubt and plan.added:
        raise JobError(text.doubt)
    work.structure[:] = [] if statements else existing
    rules = {name: rule for name, rule in found.rules.items() if name in plan.filled}
    known = table.file_columns(config, existing)
    work.warnings.extend(columns.idle_rules(work.rules, [*headings, *given], found.names, known))
    work.warnings.extend(table.kept_types(cursor, config, existing, present, rules))
    are_text = {column.name for column in existing if column.type in table.TEXT_TYPES}
    for warning in work.warnings:
        log.warning("%s: %s", row.name, warning, extra={"step": "file"})
    incoming = Incoming(text, kept, transformed)
    with refusals_of_postgres(config):
        if work.dry_run:
            _try_statements(cursor, statements)
            destination = table.trial_table(cursor, config, existing, plan, types)
        else:
            for statement in statements:
                cursor.execute(statement)
            destination = load.target_of(config, plan)
        if rules:
            loaded = staging.load_through_staging(cursor, incoming, plan, destination, rules, are_text)
            if work.dry_run:
                loaded = loaded._replace(readings=staging.readings(cursor, rules))
        else:
            loaded = load.load_records(cursor, incoming, plan, destination)
    _check_counts(config, loaded.rows, rejects)
    if transformed:
        loaded = loaded._replace(told=transformed.told, shown=tuple(transformed.shown))
    return loaded._replace(statements=tuple(statement.as_string(cursor) for statement in statements), plan=plan)


def _try_statements(cursor: Cursor, statements: list[Composable]) -> None:
    """Run the statements that would change the table, then roll them back, which also frees their locks."""
    cursor.execute("SAVEPOINT before_trial")
    for statement in statements:
        cursor.execute(statement)
    cursor.execute("ROLLBACK TO SAVEPOINT before_trial")


def _fit(
    config: ImportConfig, existing: list[table.Column], present: Views, found: FileColumns, types: dict[str, str]
) -> tuple[ColumnPlan, list[Composable]]:
    """Return the plan for each column, and the statements that prepare the table for it."""
    plan = columns.plan_columns(config, found, table.file_columns(config, existing))
    return plan, table.statements_for(config, existing, present, plan, types)


def _check_counts(config: ImportConfig, rows: int, rejects: Rejects) -> None:
    if config.reject_limit_percent is not None:
        rejects.check_limit(rows, float(config.reject_limit_percent))
    if config.minimum_rows is not None and rows < config.minimum_rows:
        raise JobError(f"it has {rows} rows; minimum_rows asks for at least {config.minimum_rows}")
    if config.maximum_rows is not None and rows > config.maximum_rows:
        raise JobError(f"it has {rows} rows; maximum_rows allows at most {config.maximum_rows}")
