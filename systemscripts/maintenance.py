"""Maintenance of the database: vacuum and analyze, the purge of old logs, snapshots of sizes, long queries.

Every command writes a row to dba.tmaintenancelog. The table that waited longest comes first, so the next
run continues where the time of the last one was up.
"""

import contextlib
import logging
import time
from collections.abc import Iterator
from typing import NamedTuple

import psycopg2.errors
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from systemscripts.user_utils import current_user

log = logging.getLogger(__name__)

# Before version 17 only the owner may vacuum a table.
MAINTAIN_SINCE = 170000
# Rows deleted in one transaction: it takes a fraction of a second, so nobody waits for it.
PURGE_BATCH = 20_000

# Uses relpages, because pg_total_relation_size() would wait for a lock.
_TABLES = """
    SELECT n.nspname, c.relname
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN (SELECT tablename, max(maintenancetime) AS done FROM dba.tmaintenancelog
               WHERE operation = 'VACUUM ANALYZE' AND details = 'done' GROUP BY tablename) AS last
        ON last.tablename = n.nspname || '.' || c.relname
    WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_'
      AND (pg_has_role(c.relowner, 'USAGE') OR {maintain})
    ORDER BY last.done NULLS FIRST, c.relpages, 1, 2
"""
_NOTE = """
    INSERT INTO dba.tmaintenancelog (maintenancetime, operation, tablename, username, durationseconds, details)
    VALUES (clock_timestamp(), %s, %s, %s, %s, %s)
"""


def whole_number(text: str) -> int:
    """Return a number of minutes, days or seconds from a command line; raises ValueError for an implausible one.

    >>> whole_number("90")
    90
    """
    if not text.isascii() or not text.isdecimal() or len(text) > 5:
        raise ValueError(f"{text!r} is not a whole number from 0 to 99999")
    return int(text)


class Budget:
    """The time limit of a run. A command that has begun is finished, or ended by the server's time limit."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Return the seconds that are left, at least zero."""
        return max(0.0, self._end - time.monotonic())

    def is_spent(self) -> bool:
        return self.left == 0


class Tables(NamedTuple):
    """How many tables were done, which were left out, and how many are for the next run."""

    done: int
    left_out: list[str]
    not_begun: int


def limit_waiting(connection: Connection, lock_timeout: int) -> None:
    """Set how many seconds a command of this connection may wait for a lock."""
    _set(connection, "lock_timeout", f"{lock_timeout}s")


def vacuum_tables(connection: Connection, budget: Budget) -> Tables:
    """Vacuum and analyze the tables that this role may, longest-waiting first; the connection is in autocommit.

    A table is left out if it is locked for longer than `limit_waiting` allows, or if it is not done when the
    budget ends.
    """
    maintain = "has_table_privilege(c.oid, 'MAINTAIN')" if connection.server_version >= MAINTAIN_SINCE else "false"
    with connection.cursor() as cursor:
        cursor.execute(_TABLES.format(maintain=maintain))
        tables = cursor.fetchall()
    done = 0
    left_out: list[str] = []
    for number, (schema, table) in enumerate(tables):
        if budget.is_spent():
            return Tables(done, left_out, len(tables) - number)
        _set(connection, "statement_timeout", f"{int(budget.left * 1000) + 1}ms")
        with _noted(connection, "VACUUM ANALYZE", f"{schema}.{table}") as note:
            problem = _vacuum(connection, schema, table)
            note.details = f"left out: {problem}" if problem else "done"
        if problem:
            left_out.append(f"{schema}.{table}: {problem}")
        else:
            done += 1
    return Tables(done, left_out, 0)


def purge_logs(connection: Connection, days: int, budget: Budget) -> int:
    """Delete log records older than so many days, one batch per transaction; return how many."""
    deleted, locked = 0, ""
    with _noted(connection, "PURGE", "dba.tlogentry") as note:
        while not budget.is_spent():
            try:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT dba.f_purge_log_batch(%s, %s)", (days, PURGE_BATCH))
                    ((batch,),) = cursor.fetchall()
            except psycopg2.errors.LockNotAvailable:
                locked = "; then somebody held a lock on it"
                break
            deleted += batch
            if batch < PURGE_BATCH:
                break
        note.details = f"{deleted} records older than {days} days{locked}"
    return deleted


def take_snapshot(connection: Connection) -> bool:
    """Add a row for each table and index to dba.ttableindexstats; return False if a locked table prevents it."""
    with _noted(connection, "SNAPSHOT", "dba.ttableindexstats") as note, connection.cursor() as cursor:
        try:
            cursor.execute("CALL dba.pcapturetableindexstats()")
        except psycopg2.errors.LockNotAvailable:
            note.details = "left out: somebody holds a lock on a table"
            return False
    return True


def note_long_queries(connection: Connection, minutes: float) -> list[str]:
    """Return the queries that run for longer than so many minutes, and what they wait for; also write a row for each."""
    del connection.notices[:]
    with connection.cursor() as cursor:
        cursor.execute("CALL dba.pmonitorlongrunningqueries(%s)", (minutes,))
    return [notice.removeprefix("NOTICE:").strip() for notice in connection.notices]


class _Note:
    details: str | None = None


@contextlib.contextmanager
def _noted(connection: Connection, operation: str, table: str) -> Iterator[_Note]:
    """Write a row about the block: its duration and the text it sets; if the block fails, the row has the error."""
    began, note = time.monotonic(), _Note()
    try:
        yield note
    except Exception as failure:
        note.details = f"failed: {' '.join(str(failure).split())}"
        raise
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = 0")
            cursor.execute(_NOTE, (operation, table, current_user(), time.monotonic() - began, note.details))


def _vacuum(connection: Connection, schema: str, table: str) -> str:
    """Vacuum and analyze one table; return "" or why it was left out."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("VACUUM (ANALYZE) {}").format(sql.Identifier(schema, table)))
    except psycopg2.errors.LockNotAvailable:
        return "somebody holds a lock on it"
    except psycopg2.errors.QueryCanceled:
        return "the time was up"
    except psycopg2.errors.UndefinedTable:
        return "it was dropped meanwhile"
    return ""


def _set(connection: Connection, name: str, value: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config(%s, %s, false)", (name, value))
