"""Vacuum and analyze every table, one at a time, with a row each in dba.tmaintenancelog.

Reads   the tables of the schema dba and of the import schemas
Writes  dba.tmaintenancelog
Run by  hand, or a row of dba.tscheduler (see onboarding/sql/samples/add_job.sql)

The part of maintenance that a procedure cannot do: VACUUM does not run inside a transaction. A
table that somebody locks for longer than the lock timeout is left for the next time.

Examples:
  run_python_etl_script.sh run_maintenance.py
  run_python_etl_script.sh run_maintenance.py --lock-timeout 30
"""

import argparse
import logging
import time
from typing import TYPE_CHECKING

from systemscripts import db_config
from systemscripts.job_runner import run_job
from systemscripts.user_utils import current_user

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

log = logging.getLogger(__name__)

MAINTAIN_SINCE = 170000

# What this role may vacuum: its own tables, and on PostgreSQL 17 and later those it has MAINTAIN on.
# By relpages and not pg_total_relation_size(), which would wait for a lock.
TABLES = """
    SELECT n.nspname, c.relname
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_'
      AND (pg_has_role(c.relowner, 'USAGE') OR {maintain})
    ORDER BY c.relpages, 1, 2
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lock-timeout", type=int, default=5, metavar="SECONDS", help="default %(default)s")


def tables(connection: "Connection") -> list[tuple[str, str]]:
    """Return (schema, table), the smallest first."""
    maintain = "has_table_privilege(c.oid, 'MAINTAIN')" if connection.server_version >= MAINTAIN_SINCE else "false"
    with connection.cursor() as cursor:
        cursor.execute(TABLES.format(maintain=maintain))
        return cursor.fetchall()


def vacuum(connection: "Connection", schema: str, table: str) -> str:
    """Vacuum and analyze one table; return "" or why it was left out."""
    import psycopg2.errors
    from psycopg2 import sql

    try:
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("VACUUM (ANALYZE) {}").format(sql.Identifier(schema, table)))
    except psycopg2.errors.LockNotAvailable:
        return "somebody holds a lock on it"
    return ""


def record(connection: "Connection", table: str, seconds: float, problem: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO dba.tmaintenancelog (maintenancetime, operation, tablename, username, durationseconds, details)"
            " VALUES (now(), 'VACUUM ANALYZE', %s, %s, %s, %s)",
            (table, current_user(), seconds, f"left out: {problem}" if problem else "done"),
        )


def main(args: argparse.Namespace) -> int:
    """Return the number of tables that were left out."""
    left_out = 0
    with db_config.session() as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, false)", (f"{args.lock_timeout}s",))
        found, version = tables(connection), connection.server_version
        for schema, table in found:
            began = time.monotonic()
            problem = vacuum(connection, schema, table)
            record(connection, f"{schema}.{table}", time.monotonic() - began, problem)
            if problem:
                left_out += 1
                log.warning("%s.%s left out: %s", schema, table, problem, extra={"step": "vacuum"})
    if version < MAINTAIN_SINCE:
        log.warning("tables of dba are left to autovacuum: before PostgreSQL 17 only their owner may vacuum them")
    log.info("%d of %d tables vacuumed and analyzed", len(found) - left_out, len(found), extra={"step": "vacuum"})
    return left_out


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=add_arguments)
