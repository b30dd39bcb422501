"""Make a dataset active that was held because it is not as usual, or because it breaks a check of its import.

Reads   dba.tdataset, dba.tdatasetevent, the import's table
Writes  in one transaction dba.tdataset and dba.tdatasetevent, as etl_owner
Run by  hand (etl release)

The next files of its label are compared with it. To take it back instead, type etl undo.

Examples:
  etl release 75 --dry-run
  etl release 75
  etl release 75 --reason "the fair is over"
"""

import argparse
import logging

import psycopg2.errors
from psycopg2.sql import SQL, Identifier

from systemscripts import db_config, settings
from systemscripts.errors import JobError, WrongCall
from systemscripts.job_runner import run_job
from systemscripts.user_utils import current_user

log = logging.getLogger(__name__)

TABLE = """
    SELECT c.target_table FROM dba.timportfile AS f JOIN dba.timportconfig AS c USING (config_id)
    WHERE f.datasetid = %s AND f.row_count > 0 ORDER BY f.importfileid DESC LIMIT 1
"""
WHAT = """
    SELECT format('dataset %%s (%%s, %%s, %%s)', d.datasetid, t.typename, d.label, d.datasetdate),
           (SELECT reason FROM dba.tdatasetevent AS e WHERE e.datasetid = d.datasetid AND event = 'held'
            ORDER BY dataseteventid DESC LIMIT 1),
           (SELECT former.datasetid FROM dba.tdataset AS former
            WHERE (former.datasettypeid, former.datasetdate, former.label) = (d.datasettypeid, d.datasetdate, d.label)
              AND former.isactive)
    FROM dba.tdataset AS d JOIN dba.tdatasettype AS t USING (datasettypeid) WHERE d.datasetid = %s
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", type=int, help="its number, as etl imports shows it")
    parser.add_argument("--reason", default="no reason was given", help="why; it is kept with the dataset")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")


def require_rows(datasetid: int) -> None:
    """Raise JobError if the rows of a dataset that an import loaded are gone.

    They are looked at as the jobs' user, whose table may be anything by now.
    """
    with db_config.session() as connection, connection.cursor() as cursor:
        cursor.execute(TABLE, (datasetid,))
        for (table,) in cursor.fetchall():
            try:
                cursor.execute(
                    SQL("SELECT FROM {} WHERE datasetid = %s LIMIT 1").format(Identifier(*table.split("."))),
                    (datasetid,),
                )
                is_there = cursor.rowcount > 0
            except psycopg2.errors.UndefinedTable:
                is_there = False
            if not is_there:
                raise JobError(
                    f"the rows of dataset {datasetid} are no longer in {table}; take it back with etl undo, and let the file be sent again"
                )


def main(args: argparse.Namespace) -> int:
    """Return 0."""
    if not args.reason.split():
        raise WrongCall("--reason is empty; say why, or leave it out")
    require_rows(args.dataset)
    try:
        with db_config.session(db_config.OWNER_ROLE) as connection, connection, connection.cursor() as cursor:
            cursor.execute(WHAT, (args.dataset,))
            name, doubts, former = cursor.fetchone() or (f"dataset {args.dataset}", None, None)
            told = f"released by {current_user()} at {settings.now():%Y-%m-%d %H:%M}: {' '.join(args.reason.split())}"
            cursor.execute("SELECT dba.f_release_dataset(%s, %s)", (args.dataset, told))
            if args.dry_run:
                connection.rollback()
    except (psycopg2.errors.ObjectNotInPrerequisiteState, psycopg2.errors.NoDataFound) as error:
        raise JobError(f"{error.diag.message_primary}; etl imports --waiting shows what is held") from None
    except psycopg2.errors.InsufficientPrivilege as error:
        raise JobError(
            f"{error.diag.message_primary}; a dataset is released as the owner, with PGUSER=etl_owner"
        ) from None
    replaced = "" if former is None else f", in place of dataset {former}"
    becomes, held = ("would be active", "it is held") if args.dry_run else ("is active now", "it was held")
    log.info("%s %s%s; %s: %s", name, becomes, replaced, held, doubts, extra={"step": "end"})
    return 0


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=add_arguments)
