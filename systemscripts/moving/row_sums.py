"""The rows of one table in the order of its key, to find the first that differs between two servers."""

import contextlib
import subprocess
from itertools import zip_longest
from typing import IO, Any, NamedTuple

from psycopg2 import sql

from systemscripts import db_config
from systemscripts.backups import dump
from systemscripts.db_config import ADMINISTRATOR_ROLE, JOB_ROLE
from systemscripts.plain_text import on_one_line

LONGEST_KEY = 80
_AT_ONCE = 2000
# The columns of the primary key, or else of the first unique index whose columns are all filled.
_KEY = """
    SELECT a.attname, a.attcollation <> 0
    FROM (SELECT i.indexrelid, i.indrelid, i.indkey, i.indisprimary FROM pg_index AS i
          WHERE i.indrelid = format('%%I.%%I', %(schema)s::text, %(table)s::text)::regclass AND i.indisunique AND i.indpred IS NULL
            AND i.indexprs IS NULL AND i.indisvalid AND NOT EXISTS (
                SELECT FROM pg_attribute AS n WHERE n.attrelid = i.indrelid AND n.attnum = ANY (i.indkey::smallint[]) AND NOT n.attnotnull)
          ORDER BY NOT i.indisprimary, i.indexrelid LIMIT 1) AS found
    CROSS JOIN LATERAL unnest(found.indkey) WITH ORDINALITY AS k (number, place)
    JOIN pg_attribute AS a ON a.attrelid = found.indrelid AND a.attnum = k.number
    ORDER BY k.place
"""
_OWNER = """
    SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = format('%%I.%%I', %(schema)s::text, %(table)s::text)::regclass
"""


class Row(NamedTuple):
    """A row by the MD5 of its content, and the text of its key."""

    content: str
    key: str


def write(told: dict[str, Any], to: IO[str]) -> None:
    """Write a line for each row, by its key in an order that is the same on every server, reading a few rows at a time."""
    table = {"schema": told["schema"], "table": told["table"]}
    with (
        contextlib.closing(db_config.connect(ADMINISTRATOR_ROLE, patience=0)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(_OWNER, table)
        ((owner,),) = cursor.fetchall()
    role = JOB_ROLE if owner == JOB_ROLE else ADMINISTRATOR_ROLE
    with contextlib.closing(db_config.connect(role, patience=0, exactly=role == JOB_ROLE)) as connection:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with connection.cursor() as cursor:
            dump.fix_texts(cursor)
            cursor.execute(_KEY, table)
            key = cursor.fetchall()
        with connection.cursor("rows") as cursor:
            cursor.itersize = _AT_ONCE
            cursor.execute(_query(told["schema"], told["table"], key))
            for content, shown in cursor:
                to.write(f"{content}\t{on_one_line(shown)[:LONGEST_KEY]}\n")


def _query(schema: str, table: str, key: list[tuple[str, bool]]) -> sql.Composed:
    """Return the query of the rows; without a key they are in the order of their whole texts."""
    row = sql.SQL("record_out(t.*)::text")
    columns = [sql.SQL("t.{}").format(sql.Identifier(name)) for name, _ in key]
    order = [
        sql.SQL('{} COLLATE "C"').format(column) if is_text else column
        for column, (_, is_text) in zip(columns, key, strict=True)
    ]
    return sql.SQL("SELECT md5({row}), {shown} FROM {table} AS t ORDER BY {order}").format(
        row=row,
        shown=sql.SQL("concat_ws(', ', {})").format(sql.SQL(", ").join(columns)) if key else row,
        table=sql.Identifier(schema, table),
        order=sql.SQL(", ").join(order) if key else sql.SQL('{} COLLATE "C"').format(row),
    )


def first_difference(former: "subprocess.Popen[str]", new: "subprocess.Popen[str]") -> str:
    """Compare what two servers write, and return in words where it first differs; "" if it does not."""
    assert former.stdout is not None
    assert new.stdout is not None
    for was, is_now in zip_longest(map(_row, former.stdout), map(_row, new.stdout)):
        if was == is_now:
            continue
        if was is None:
            return f"from key {is_now.key} on only the new one has rows"
        if is_now is None:
            return f"from key {was.key} on only the former one has rows"
        if was.key == is_now.key:
            return f"the first is key {was.key}, whose content is not the same"
        return f"the first is key {was.key} in the former and {is_now.key} in the new one"
    return ""


def _row(line: str) -> Row:
    content, _, key = line.rstrip("\n").partition("\t")
    return Row(content, key)
