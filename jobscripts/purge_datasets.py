"""Delete the rows of datasets that were replaced long ago, if dba.tdatasettype says so.

Reads   dba.tdatasettype.keep_inactive_days (null: kept for ever), dba.tdataset, dba.timportconfig
Writes  deletes from the import tables; the datasets become Deleted, their own rows stay
Run by  hand first, with --dry-run; then a row of dba.tscheduler

An active dataset is never touched, nor one that became inactive less than keep_inactive_days ago. Deleted rows
can be loaded again only from their file, or restored from a backup. So the job says for each dataset where its
file is. A clean-up may have removed it (weekly_cleanup_meetmaxevents.sh does after 7 days).

Examples:
  UPDATE dba.tdatasettype SET keep_inactive_days = 365 WHERE typename = 'MeetMaxEvents';      psql.sh --as etl_owner
  etl run purge_datasets.py --dry-run
"""

import argparse
import logging
from pathlib import Path
from typing import NamedTuple

from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from systemscripts import clock, db_config, maintenance
from systemscripts.job_runner import run_job

log = logging.getLogger(__name__)

# Every import table that has rows by dataset: the configuration that named a dataset's table may be gone.
IMPORT_TABLES = """
    SELECT n.nspname, c.relname
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_attribute AS a ON a.attrelid = c.oid
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attname = 'datasetid' AND NOT a.attisdropped
      AND n.nspname <> 'dba' AND n.nspname !~ '^pg_' AND pg_has_role(c.relowner, 'USAGE')
    ORDER BY 1, 2
"""
OLD_DATASETS = """
    SELECT d.datasetid, t.typename, d.label, d.datasetdate::text, f.archived_path
    FROM dba.tdataset AS d
    JOIN dba.tdatasettype AS t USING (datasettypeid)
    JOIN dba.tdatastatus AS s USING (datastatusid)
    LEFT JOIN LATERAL (SELECT archived_path FROM dba.timportfile WHERE datasetid = d.datasetid ORDER BY importfileid DESC LIMIT 1)
      AS f ON true
    WHERE t.keep_inactive_days IS NOT NULL AND NOT d.isactive AND s.statusname = 'Inactive'
      AND d.effthrudate < now() - make_interval(days => t.keep_inactive_days)
    ORDER BY d.datasetid
"""
# The dataset may have become active since it was found.
STILL_INACTIVE = "SELECT FROM dba.tdataset WHERE datasetid = %s AND NOT isactive FOR UPDATE"


class OldDataset(NamedTuple):
    """A dataset that is old enough to be deleted."""

    datasetid: int
    typename: str
    label: str
    day: str
    archived_path: str | None

    def __str__(self) -> str:
        return f"dataset {self.datasetid} ({self.typename}, {self.label}, {self.day})"

    def where_its_file_is(self) -> str:
        """Say where the file lies that the rows came from: in the archive, or in failed/ after an undo."""
        if self.archived_path is None:
            return "no file of it is known"
        return f"its file is {'' if Path(self.archived_path).is_file() else 'no longer there: '}{self.archived_path}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="say what would be deleted, and delete nothing")
    parser.add_argument(
        "--budget",
        type=maintenance.whole_number,
        default=60,
        metavar="MINUTES",
        help="time limit, default %(default)s; the next run continues",
    )


def purge(connection: Connection, dataset: OldDataset, tables: list[tuple[str, str]], dry_run: bool) -> int:
    """Delete the dataset's rows in one transaction, or in a dry run count them; return how many."""
    rows = 0
    with connection, connection.cursor() as cursor:
        cursor.execute(STILL_INACTIVE, (dataset.datasetid,))
        if cursor.fetchone() is None:
            return 0
        for table in tables:
            where = sql.SQL("FROM {} WHERE datasetid = %s").format(sql.Identifier(*table))
            if dry_run:
                cursor.execute(sql.SQL("SELECT count(*) {}").format(where), (dataset.datasetid,))
                rows += cursor.fetchall()[0][0]
            else:
                cursor.execute(sql.SQL("DELETE {}").format(where), (dataset.datasetid,))
                rows += cursor.rowcount
        if not dry_run:
            cursor.execute("SELECT dba.f_dataset_iu(%s, NULL, NULL, NULL, NULL, 'Deleted')", (dataset.datasetid,))
    return rows


def main(args: argparse.Namespace) -> int:
    """Return 0: what the time budget leaves over is done by the next run."""
    budget = maintenance.Budget(args.budget * 60)
    done = rows = 0
    with db_config.session() as connection:
        if not args.dry_run:
            clock.require_steady(connection)
        with connection, connection.cursor() as cursor:
            cursor.execute(IMPORT_TABLES)
            tables = cursor.fetchall()
            cursor.execute(OLD_DATASETS)
            datasets = [OldDataset(*row) for row in cursor.fetchall()]
        for dataset in datasets:
            if budget.is_spent():
                break
            count = purge(connection, dataset, tables, args.dry_run)
            did = "would delete" if args.dry_run else "deleted"
            where = dataset.where_its_file_is()
            log.info("%s: %s %d rows; %s", dataset, did, count, where, extra={"step": "purge"})
            done, rows = done + 1, rows + count
    text = "%d of %d old datasets, %d rows%s"
    log.info(
        text,
        done,
        len(datasets),
        rows,
        " (dry run: nothing was deleted)" if args.dry_run else "",
        extra={"step": "end"},
    )
    return 0


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=add_arguments)
