"""The checks of an import (dba.timportcheck): queries that must return no row for a dataset that was just loaded."""

import re
from typing import TYPE_CHECKING, NamedTuple

import psycopg2
import psycopg2.errors

from systemscripts.plain_text import on_one_line

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection
    from psycopg2.extensions import cursor as Cursor

MOST_SHOWN = 3
LONGEST_S = 120
_LONGEST_SHOWN = 200
_OPEN = """
    DO $$DECLARE etl_check refcursor := 'etl_check'; BEGIN
        OPEN etl_check NO SCROLL FOR EXECUTE pg_catalog.current_setting('etl.check');
    END$$
"""
_DATASETID = re.compile(r"(?<!:):datasetid\b")


class Check(NamedTuple):
    """A row of dba.timportcheck; `holds` says that a dataset with such rows is held."""

    name: str
    query: str
    holds: bool


def load_checks(connection: "Connection", config_id: int) -> list[Check]:
    """Return the active checks of an import."""
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT checkname, query, when_broken = 'hold' FROM dba.timportcheck"
            " WHERE config_id = %s AND is_active ORDER BY importcheckid",
            (config_id,),
        )
        return [Check(*row) for row in cursor.fetchall()]


def broken(cursor: "Cursor", check: Check, datasetid: int) -> str:
    """Return in words which rows of the dataset break the check, or why it cannot be run; "" if it is kept."""
    query = _DATASETID.sub(str(datasetid), check.query.strip().rstrip(";"))
    cursor.execute("SAVEPOINT before_check")
    try:
        cursor.execute("SET LOCAL transaction_read_only = on")
        cursor.execute("SET LOCAL statement_timeout = %s", (int(LONGEST_S * 1000),))
        cursor.execute("SELECT set_config('etl.check', %s, true)", (query,))
        # Such a cursor takes a single query, whatever stands in it; its rows come as they are asked for, however many there are.
        cursor.execute(_OPEN)
        cursor.execute(f"FETCH {MOST_SHOWN + 1} FROM etl_check")
        rows = cursor.fetchall()
        names = [column.name for column in cursor.description or ()]
    except psycopg2.errors.QueryCanceled:
        return f"the check {check.name!r} took longer than {LONGEST_S} s"
    except psycopg2.Error as error:
        if cursor.connection.closed:
            raise
        told = error.diag.message_primary or str(error)
        return f"the check {check.name!r} cannot be run: {on_one_line(told)[:_LONGEST_SHOWN]}"
    finally:
        if not cursor.connection.closed:
            cursor.execute("ROLLBACK TO SAVEPOINT before_check")
    if not rows:
        return ""
    number = f"{len(rows)} {'row breaks' if len(rows) == 1 else 'rows break'}"
    if len(rows) > MOST_SHOWN:
        number = f"more than {MOST_SHOWN} rows break"
    shown = "; ".join(
        ", ".join(f"{name} {value!s}" for name, value in zip(names, row, strict=True)) for row in rows[:MOST_SHOWN]
    )
    example = f", such as {on_one_line(shown)[:_LONGEST_SHOWN]}" if names else ""
    return f"{number} the check {check.name!r}{example}"
