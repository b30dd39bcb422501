"""Keep the database fast and small: vacuum and analyze, purge old logs, note sizes and long queries.

Reads   the tables of the schema dba and of the import schemas
Writes  dba.tmaintenancelog, a row a command; dba.ttableindexstats; deletes from dba.tlogentry
Run by  cron every night, or a person

This is the part of maintenance that a procedure cannot do, because VACUUM does not run inside a transaction.
A table that is locked for longer than the lock timeout is left out and named in the log. The table that waited
longest comes first, so the next run begins with those that the time budget left over. See which tables grow, and
which indexes are not used:
  SELECT * FROM dba.vtablegrowth; SELECT * FROM dba.vunusedindex

Examples:
  etl run run_maintenance.py
  etl run run_maintenance.py --budget 30 --keep-logs 400
  etl run run_maintenance.py --only long-queries --minutes 10
"""

import argparse
import logging
from typing import TYPE_CHECKING

from systemscripts import clock, db_config, maintenance
from systemscripts.errors import TemporaryFailure
from systemscripts.job_runner import run_job
from systemscripts.maintenance import Budget, whole_number

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

log = logging.getLogger(__name__)

KEEP_LOGS = 365  # days, as the row that comes with the system
# A run by hand must not delete what the site's row keeps; of several rows the longest time counts, of paused ones too.
KEEP_LOGS_OF_THE_ROW = r"""
    SELECT coalesce(max(substring(scriptargs FROM '--keep-logs[ =]([0-9]{1,5})')::integer), %s)
    FROM dba.tscheduler WHERE concat(scriptpath, ' ', scriptargs) ~ '\mrun_maintenance[.]py\M' AND datastatusid <> 3
"""
PARTS = ("long-queries", "purge", "vacuum", "snapshot")


def _above_zero(text: str) -> int:
    """Return a whole number above zero, because the server takes a limit of 0 as no limit."""
    if not whole_number(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 to 99999")
    return int(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", choices=PARTS, help="do only this part")
    parser.add_argument(
        "--budget", type=whole_number, default=60, metavar="MINUTES", help="time limit, default %(default)s"
    )
    parser.add_argument("--lock-timeout", type=_above_zero, default=5, metavar="SECONDS", help="default %(default)s")
    parser.add_argument(
        "--keep-logs", type=whole_number, metavar="DAYS", help=f"default: as the row of the schedule, else {KEEP_LOGS}"
    )
    parser.add_argument(
        "--minutes", type=whole_number, default=30, help="what counts as a long query; default %(default)s"
    )


def purge(connection: "Connection", days: int | None, budget: Budget) -> None:
    if days is None:
        with connection.cursor() as cursor:
            cursor.execute(KEEP_LOGS_OF_THE_ROW, (KEEP_LOGS,))
            ((days,),) = cursor.fetchall()
    try:
        clock.require_steady(connection)
    except TemporaryFailure as doubt:
        log.warning("%s", doubt, extra={"step": "purge"})
        return
    purged = maintenance.purge_logs(connection, days, budget)
    log.info("%d log records older than %d days deleted", purged, days, extra={"step": "purge"})


def main(args: argparse.Namespace) -> int:
    """Return the number of tables that were left out."""
    parts = PARTS if args.only is None else (args.only,)
    budget = Budget(args.budget * 60)
    left_out: list[str] = []
    with db_config.session() as connection:
        connection.autocommit = True
        maintenance.limit_waiting(connection, args.lock_timeout)
        if "long-queries" in parts:
            for query in maintenance.note_long_queries(connection, args.minutes):
                log.warning("%s", query, extra={"step": "long queries"})
        if "purge" in parts:
            purge(connection, args.keep_logs, budget)
        if "vacuum" in parts:
            tables = maintenance.vacuum_tables(connection, budget)
            left_out = tables.left_out
            for table in left_out:
                log.warning("left out: %s", table, extra={"step": "vacuum"})
            text = "%d tables vacuumed and analyzed, %d left out, %d for the next run"
            log.info(text, tables.done, len(left_out), tables.not_begun, extra={"step": "vacuum"})
            if connection.server_version < maintenance.MAINTAIN_SINCE:
                log.info(
                    "the tables of dba are left to autovacuum: before PostgreSQL 17 only their owner may vacuum them"
                )
        if "snapshot" in parts and not maintenance.take_snapshot(connection):
            log.warning("no snapshot of sizes: somebody holds a lock on a table", extra={"step": "snapshot"})
    return len(left_out)


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=add_arguments)
