"""Make the target table, and add columns to it, in the transaction that loads the file."""

from typing import NamedTuple

from psycopg2.extensions import cursor as Cursor
from psycopg2.sql import SQL, Composable, Identifier, Literal

from systemscripts import locks
from systemscripts.importing import views
from systemscripts.importing.columns import ColumnPlan
from systemscripts.importing.config import ImportConfig
from systemscripts.importing.load import Destination
from systemscripts.importing.rules import ColumnRule
from systemscripts.importing.views import Views

TEXT_TYPES = ("text", "character varying", "character")


# The table of a dry run, in place of the target.
TRIAL = Identifier("pg_temp", "etl_trial")


def own_columns(config: ImportConfig) -> tuple[str, str]:
    """Return the columns that belong to the import and not to the files: the key and datasetid."""
    return f"{config.table}id", "datasetid"


def reserved_names(config: ImportConfig, existing: "list[Column] | None" = None) -> tuple[str, ...]:
    """Return the names that no file's column can have: the import's own, its views' and PostgreSQL's system columns.

    A table that has a column of a view's name already keeps it.
    """
    present = {column.name for column in existing or ()}
    of_views = [name for name in views.DATASET_COLUMNS if name not in present]
    return (*own_columns(config), *of_views, "tableoid", "ctid", "xmin", "xmax", "cmin", "cmax")


class Column(NamedTuple):
    """One existing column of the target table: its type, whether that limits the text, and its default.

    The limit of a column that a view uses stays: only the set-up may drop and make views again.
    """

    name: str
    type: str
    is_limited: bool
    has_default: bool
    is_indexed: bool
    has_limit: bool


def structure(cursor: Cursor, config: ImportConfig) -> list[Column]:
    """Return the table's columns in order, an empty list if there is no such table."""
    cursor.execute(
        "SELECT a.attname, format_type(a.atttypid, NULL), a.atttypid IN ('varchar'::regtype, 'bpchar'::regtype) AND a.atttypmod >= 0"
        "  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_rewrite'::regclass"
        "    AND d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum), a.atthasdef,"
        "  EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indkey[0] = a.attnum),"
        "  a.atttypid IN ('varchar'::regtype, 'bpchar'::regtype) AND a.atttypmod >= 0"
        " FROM pg_attribute a WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        (views.quoted(config.schema, config.table),),
    )
    return [Column(*row) for row in cursor.fetchall()]


def file_columns(config: ImportConfig, existing: list[Column]) -> list[str] | None:
    """Return the names of the columns that files fill, without the import's own; None if there is no table."""
    return [column.name for column in existing if column.name not in own_columns(config)] if existing else None


def lock_structure(cursor: Cursor, config: ImportConfig) -> None:
    """Wait until no other load changes this table's columns; the lock is held to the end of the transaction."""
    locks.wait_for(cursor, f"etl table {config.target_table}")


def statements_for(
    config: ImportConfig, existing: list[Column], present: Views, plan: ColumnPlan, types: dict[str, str]
) -> list[Composable]:
    """Return the statements that make the table or add columns to it, and its views; existing columns stay as they are."""
    table = Identifier(config.schema, config.table)
    statements = _creation(config) if plan.creates_table else _adoption(config, existing)
    statements += _addition(table, plan, types)
    columns = [column.name for column in existing] or list(own_columns(config))
    if present.latest is None and any(column.has_limit and not column.is_limited for column in existing):
        present = present._replace(latest_is_ours=False)  # one more view would be in the way when the limit can go
    return statements + views.statements(config, present, [*columns, *plan.added], bool(plan.added))


def kept_types(
    cursor: Cursor, config: ImportConfig, existing: list[Column], present: Views, rules: dict[str, ColumnRule]
) -> list[str]:
    """Return a sentence for each column that is still text, because its rule got a type after the table was made.

    Only a person may decide to rewrite a large table and drop its views meanwhile, so the sentence has the command, which
    makes them again.
    """
    types = {column.name: column.type for column in existing if column.type in TEXT_TYPES}
    told = []
    for name, rule in rules.items():
        if name in types and rule.data_type != "text":
            retyped = SQL("ALTER TABLE {table} ALTER COLUMN {column} TYPE {type} USING {value}").format(
                table=Identifier(config.schema, config.table),
                column=Identifier(name),
                type=SQL(rule.sql_type),
                value=rule.value_of_stored(Identifier(name)),
            )
            columns = [column.name for column in existing]
            statement = views.made_again(config, present, columns, retyped).as_string(cursor)
            told.append(
                f'column "{name}" of {config.target_table} is {types[name]}, and its rule says {rule.data_type}: the values '
                f"are checked, but kept as text; to change that, run as the table's owner: {statement}"
            )
    return told


def trial_table(
    cursor: Cursor, config: ImportConfig, existing: list[Column], plan: ColumnPlan, types: dict[str, str]
) -> "Destination":
    """Make a temporary table with the columns that the target would have, and return it as the destination."""
    trial = TRIAL
    if plan.creates_table:
        cursor.execute(SQL("CREATE TEMPORARY TABLE etl_trial () ON COMMIT DROP"))
    else:
        target = Identifier(config.schema, config.table)
        cursor.execute(
            SQL("CREATE TEMPORARY TABLE etl_trial ON COMMIT DROP AS SELECT * FROM {} WITH NO DATA").format(target)
        )
    for statement in [*_widening(trial, existing), *_addition(trial, plan, types)]:
        cursor.execute(statement)
    return Destination(trial, plan.loaded)


def _creation(config: ImportConfig) -> list[Composable]:
    """Return the statement that makes the table with the import's own columns.

    It has no foreign key to dba.tdataset: the same transaction makes the dataset, and a check per row
    would halve COPY's speed.
    """
    key, datasetid = map(Identifier, own_columns(config))
    table = Identifier(config.schema, config.table)
    comment = f"Filled by the import {config.config_name}; one row per record of a file, texts unchanged"
    return [
        SQL(
            "CREATE TABLE {table} ({key} bigint GENERATED BY DEFAULT AS IDENTITY (CACHE 100) PRIMARY KEY,"
            " {datasetid} integer NOT NULL DEFAULT current_setting('etl.datasetid')::integer)"
        ).format(table=table, key=key, datasetid=datasetid),
        SQL("COMMENT ON TABLE {} IS {}").format(table, Literal(comment)),
        SQL("CREATE INDEX ON {} ({})").format(table, datasetid),
    ]


def _adoption(config: ImportConfig, existing: list[Column]) -> list[Composable]:
    """Return the statements for a table of the older installation: text without a length, datasetid's default and index."""
    table = Identifier(config.schema, config.table)
    statements = _widening(table, existing)
    datasetid = next((column for column in existing if column.name == "datasetid"), None)
    if datasetid and not datasetid.has_default:
        default = SQL("ALTER TABLE {} ALTER COLUMN datasetid SET DEFAULT current_setting('etl.datasetid')::integer")
        statements.append(default.format(table))
    if datasetid and not datasetid.is_indexed:
        statements.append(SQL("CREATE INDEX ON {} (datasetid)").format(table))
    return statements


def _widening(table: Composable, existing: list[Column]) -> list[Composable]:
    # Not text: a function of the site that returns varchar could not return it.
    limited = [Identifier(column.name) for column in existing if column.is_limited]
    return [SQL("ALTER TABLE {} ALTER COLUMN {} TYPE varchar").format(table, name) for name in limited]


def _addition(table: Composable, plan: ColumnPlan, types: dict[str, str]) -> list[Composable]:
    return [
        SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} " + types.get(name, "text")).format(table, Identifier(name))
        for name in plan.added
    ]
