"""The checks of an import (dba.timportcheck): queries that must return no row for a dataset that was just loaded."""

import re
import time
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import psycopg2
import psycopg2.errors

from systemscripts import db_config
from systemscripts.errors import TemporaryFailure
from systemscripts.importing.config import ConfigurationError
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
    """Return in words which rows of the dataset break the check, or why it cannot be run; "" if it is kept.

    Raises ConfigurationError if the connection ends while it runs, and the database is there as before.
    """
    query = _DATASETID.sub(str(datasetid), check.query.strip().rstrip(";"))
    cursor.execute("SAVEPOINT before_check")
    began = time.monotonic()
    try:
        cursor.execute("SET LOCAL transaction_read_only = on")
        cursor.execute("SET LOCAL statement_timeout = %s", (int(LONGEST_S * 1000),))
        cursor.execute("SELECT set_config('etl.check', %s, true)", (query,))
        # Such a cursor takes a single query, whatever stands in it; its rows come as they are asked for, however many there are.
        cursor.execute(_OPEN)
        cursor.execute(f"FETCH {MOST_SHOWN + 1} FROM etl_check")
        rows = cursor.fetchall()
        names = [column.name for column in cursor.description or ()]
    except psycopg2.errors.QueryCanceled as error:
        took = time.monotonic() - began
        if took >= LONGEST_S:
            return f"the check {check.name!r} took longer than {LONGEST_S} s"
        return f"the check {check.name!r} was cancelled after {took:.0f} s, by somebody or by itself: {_said(error)}"
    except psycopg2.Error as error:
        if cursor.connection.closed:
            _tell_whose_fault(check, error)
        return f"the check {check.name!r} cannot be run: {_said(error)}"
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


def _said(error: psycopg2.Error) -> str:
    return on_one_line(error.diag.message_primary or str(error))[:_LONGEST_SHOWN]


def _tell_whose_fault(check: Check, error: psycopg2.Error) -> NoReturn:
    """Raise what a connection that ended during a check means: if the database is there, trying again would end in the same way."""
    told = f"the connection to the database ended while the check {check.name!r} ran"
    try:
        with db_config.session():
            pass
    except db_config.DatabaseUnavailable as away:
        raise TemporaryFailure(f"{told}; {away}") from error
    raise ConfigurationError(
        f"{told}; the database is there, so the check does that, or somebody has ended the session by hand. Correct its query "
        "in dba.timportcheck, or set is_active = false there; the files stay where they are"
    ) from error
