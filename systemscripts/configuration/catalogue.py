"""What the database says of the configuration's tables: columns, types, defaults, comments, references."""

import re
from collections.abc import Iterable
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from systemscripts.configuration import tables
from systemscripts.configuration.tables import KEPT_BY_THE_DATABASE, SECTIONS, Section
from systemscripts.errors import JobError

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor


def identifier(name: str) -> str:
    """Return a column's name as SQL writes it, whatever a site has called it."""
    return '"' + name.replace('"', '""') + '"'


class Kind(Enum):
    """How the file writes a value."""

    TEXT = "a text"
    WHOLE = "a whole number"
    NUMBER = "a number"
    TRUTH = "true or false"
    LIST = "a list"
    JSON = "a list or names with values"


class Reference(NamedTuple):
    """A column's foreign key: the table, the column that it holds, and the column with the name."""

    table: str
    column: str
    name: str


class Column(NamedTuple):
    """A column of a table, as far as an operator writes it."""

    name: str
    type: str  # as SQL writes it
    kind: Kind
    may_be_null: bool
    must_be_given: bool
    default: str | None  # as a row would have it, see `read_as`
    comment: str
    reference: Reference | None
    choices: tuple[str, ...]
    is_plain_text: bool  # is taken as it stands, without asking the database

    def read_as(self, expression: str) -> str:
        """Return the SQL expression for a value's text: of a reference the name, of an array its JSON."""
        if self.reference is not None:
            table, key, name = self.reference
            return f"(SELECT r.{name}::text FROM {table} AS r WHERE r.{identifier(key)} = {expression})"  # noqa: S608 — names of the catalogue
        return f"to_jsonb({expression})::text" if self.kind is Kind.LIST else f"({expression})::text"


class Shape(NamedTuple):
    """A section's table."""

    section: Section
    about: str
    row_id: str  # the column of the primary key
    keys: dict[str, Column]  # those of a section that is no list; else they stand among the columns
    columns: dict[str, Column]
    told_by: tuple[tuple[str, str], ...]  # table, and condition on its rows `o`, that are the history of row `t`


Catalogue = dict[str, Shape]  # by the path of the section

_KINDS = {
    "bool": Kind.TRUTH, "json": Kind.JSON, "jsonb": Kind.JSON, "int2": Kind.WHOLE, "int4": Kind.WHOLE,
    "int8": Kind.WHOLE, "numeric": Kind.NUMBER, "float4": Kind.NUMBER, "float8": Kind.NUMBER,
}  # fmt: skip

ONE_BIT = "bit(1)"

# What the texts of values look like must not depend on the role or the server.
_SETTINGS = {
    "search_path": "pg_catalog, pg_temp", "datestyle": "ISO, YMD", "intervalstyle": "postgres", "timezone": "UTC",
    "bytea_output": "hex", "extra_float_digits": "1",
    "jit": "off",  # the planner overestimates the catalogue, and compiling takes longer than reading
}  # fmt: skip

_COLUMNS = """
    SELECT w.name, a.attname, format_type(a.atttypid, CASE WHEN b.typcategory = 'S' THEN NULL ELSE a.atttypmod END),
           b.typname, b.typcategory = 'A', t.typtype <> 'd' AND b.typcategory = 'S', a.attnotnull OR t.typnotnull,
           pg_get_expr(d.adbin, d.adrelid), coalesce(col_description(a.attrelid, a.attnum), ''),
           EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = a.attrelid AND i.indisprimary AND i.indkey[0] = a.attnum)
    FROM unnest(%s::text[]) AS w (name)
    JOIN pg_attribute AS a ON a.attrelid = to_regclass(w.name) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
    JOIN pg_type AS t ON t.oid = a.atttypid
    JOIN pg_type AS b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END
    LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    ORDER BY w.name, a.attnum
"""
_ABOUT = (
    "SELECT w.name, coalesce(obj_description(to_regclass(w.name), 'pg_class'), '') FROM unnest(%s::text[]) AS w (name)"
)
_FOREIGN_KEYS = """
    SELECT k.conrelid::regclass::text, own.attname, k.confrelid::regclass::text, other.attname
    FROM pg_constraint AS k
    JOIN pg_attribute AS own ON own.attrelid = k.conrelid AND own.attnum = k.conkey[1]
    JOIN pg_attribute AS other ON other.attrelid = k.confrelid AND other.attnum = k.confkey[1]
    WHERE k.contype = 'f' AND cardinality(k.conkey) = 1 AND k.confrelid = ANY (SELECT to_regclass(name) FROM unnest(%s::text[]) AS name)
    ORDER BY 1, 2
"""
_CHOICES = r"""
    SELECT k.conrelid::regclass::text, a.attname, pg_get_constraintdef(k.oid)
    FROM pg_constraint AS k JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
    WHERE k.contype = 'c' AND cardinality(k.conkey) = 1 AND k.conrelid = ANY (SELECT to_regclass(name) FROM unnest(%s::text[]) AS name)
"""
_ONE_OF = re.compile(r"CHECK \(\(\w+ = ANY \(ARRAY\[('(?:[^']|'')*'::text(?:, '(?:[^']|'')*'::text)*)\]\)\)\)")


def begin_reading(cursor: "Cursor") -> None:
    """Let the transaction, which has just begun, see all tables as they are at one moment, and change nothing."""
    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


def begin(cursor: "Cursor") -> None:
    """Let the transaction write values in one way, and find only PostgreSQL's own functions and operators."""
    for name, value in _SETTINGS.items():
        cursor.execute(f"SET LOCAL {name} = {value if name == 'search_path' else repr(value)}")


def read(cursor: "Cursor") -> Catalogue:
    """Return the shape of each section; raises JobError if a table is not there."""
    own = [section.table for section in SECTIONS]
    cursor.execute(_FOREIGN_KEYS, ([*own, *tables.FIXED],))
    foreign = cursor.fetchall()
    cursor.execute(_ABOUT, (own,))
    about = dict(cursor.fetchall())
    found, row_ids = _columns(cursor, own, foreign)
    catalogue: Catalogue = {}
    for section in SECTIONS:
        if section.table not in found:
            raise JobError(f"there is no table {section.table}: run the set-up, onboarding/sh/sql_setupscripts.sh")
        columns, row_id = found[section.table], row_ids[section.table]
        keys = () if section.is_list else section.key
        left_out = {row_id, section.parent, *KEPT_BY_THE_DATABASE, *keys}
        catalogue[section.path] = Shape(
            section,
            about[section.table],
            row_id,
            {name: columns[name] for name in keys},
            {name: column for name, column in columns.items() if name not in left_out},
            tuple(_history(section, foreign, set(own))),
        )
    return _with_defaults(cursor, catalogue)


def _columns(
    cursor: "Cursor", own: list[str], foreign: list[tuple[str, str, str, str]]
) -> tuple[dict[str, dict[str, Column]], dict[str, str]]:
    """Return the columns of each table, their defaults still as SQL, and its primary key."""
    cursor.execute(_CHOICES, (own,))
    choices = {
        (table, name): tuple(re.findall(r"'((?:[^']|'')*)'::text", one_of[1]))
        for table, name, told in cursor.fetchall()
        if (one_of := _ONE_OF.fullmatch(told))
    }
    names = tables.FIXED | {section.table: section.key[0] for section in SECTIONS if len(section.key) == 1}
    references = {(table, name): Reference(to, key, names[to]) for table, name, to, key in foreign if to in names}
    cursor.execute(_COLUMNS, (own,))
    found: dict[str, dict[str, Column]] = {}
    row_ids: dict[str, str] = {}
    for table, name, kind, base, is_array, is_text, is_filled, default, comment, is_key in cursor.fetchall():
        reference = references.get((table, name))
        is_truth = kind == ONE_BIT
        meant = Kind.LIST if is_array else Kind.TRUTH if is_truth else _KINDS.get(base, Kind.TEXT)
        found.setdefault(table, {})[name] = Column(
            name,
            kind,
            Kind.TEXT if reference else meant,
            may_be_null=not is_filled,
            must_be_given=is_filled and default is None,
            default=default,
            comment=comment,
            reference=reference,
            choices=choices.get((table, name), ()),
            is_plain_text=is_text or reference is not None,
        )
        if is_key:
            row_ids[table] = name
    return found, row_ids


def _history(
    section: Section, foreign: Iterable[tuple[str, str, str, str]], own: set[str]
) -> Iterable[tuple[str, str]]:
    for table, column, to, key in foreign:
        if to == section.table and table not in own:
            yield table, f"o.{identifier(column)} = t.{identifier(key)}"
    yield from section.others


def _with_defaults(cursor: "Cursor", catalogue: Catalogue) -> Catalogue:
    """Return the catalogue with each default as a row would have it."""
    defaults = {
        (path, name): column.read_as(f"(({column.default})::{column.type})")
        for path, shape in catalogue.items()
        for name, column in shape.columns.items()
        if column.default is not None
    }
    cursor.execute(f"SELECT {', '.join(defaults.values())}")
    (found,) = cursor.fetchall()
    known = dict(zip(defaults, found, strict=True))
    for path, shape in catalogue.items():
        columns = {name: column._replace(default=known.get((path, name))) for name, column in shape.columns.items()}
        catalogue[path] = shape._replace(columns=columns)
    return catalogue
