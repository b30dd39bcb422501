"""Take a wrongly loaded dataset back: the one that it replaced is active again, and its file goes to failed/.

Reads   dba.tdataset, dba.timportfile, dba.timportconfig, the archive
Writes  in one transaction dba.tdataset and the file's row in dba.timportfile (Undone), as etl_owner; then moves the file
Run by  hand (etl undo)

The rows of the dataset stay in their table, and the view leaves them out. The same content is not loaded again by
itself: it is refused. To undo the undo, type etl retry with the file's name; a file that is no longer there must be
sent again first.

Examples:
  etl undo 74 --reason "prices of last year" --dry-run
  etl undo 74 --reason "prices of last year"
"""

import argparse
import logging
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psycopg2.errors

from systemscripts import db_config, directory_management, locks, settings
from systemscripts.errors import JobError, WrongCall
from systemscripts.importing import ledger, quarantine
from systemscripts.job_catalog import typed
from systemscripts.job_runner import run_job
from systemscripts.user_utils import current_user

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor

log = logging.getLogger(__name__)

# Of a file that came in an archive the archive is moved, when nothing of it counts any more.
WHAT = """
    SELECT d.datasetid, t.typename, d.label, d.datasetdate::text, s.statusname, f.importfileid, f.file_name, f.status, f.row_count,
           f.archived_path, f.sha256, c.config_id, c.config_name, c.archive_directory, f.archive_id, f.error
    FROM dba.tdataset AS d
    JOIN dba.tdatasettype AS t USING (datasettypeid)
    JOIN dba.tdatastatus AS s USING (datastatusid)
    LEFT JOIN dba.timportfile AS f ON f.datasetid = d.datasetid AND f.status IN ('Loaded', 'Empty', 'Undone')
    LEFT JOIN dba.timportconfig AS c USING (config_id)
    WHERE d.datasetid = %s ORDER BY f.importfileid DESC LIMIT 1
"""
COUNTS_IN_ARCHIVE = """
    SELECT file_name FROM dba.timportfile AS archive WHERE importfileid = %s
    AND EXISTS (SELECT FROM dba.timportfile WHERE archive_id = archive.importfileid AND status IN ('Loaded', 'Empty'))
"""
WHOLE_ARCHIVE = """
    UPDATE dba.timportfile SET status = 'Undone', error = %s WHERE importfileid = %s RETURNING file_name, archived_path, sha256
"""


class Dataset(NamedTuple):
    """A dataset with the row of the file that it came from; the file's part is None for one that no import loaded."""

    datasetid: int
    typename: str
    label: str
    day: str
    state: str
    importfileid: int | None
    file_name: str | None
    file_status: str | None
    rows: int | None
    archived_path: str | None
    sha256: str | None
    config_id: int | None
    config_name: str | None
    archive_directory: str | None
    archive_id: int | None
    error: str | None

    def __str__(self) -> str:
        rows = "" if self.rows is None else f", {self.rows} rows"
        return f"dataset {self.datasetid} ({self.typename}, {self.label}, {self.day}{rows})"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", type=int, help="its number, as etl imports shows it")
    parser.add_argument("--reason", default="no reason was given", help="why; it is kept with the file")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")


def look(cursor: "Cursor", datasetid: int) -> Dataset:
    cursor.execute(WHAT, (datasetid,))
    row = cursor.fetchone()
    if row is None:
        raise WrongCall(f"there is no dataset {datasetid}; etl imports shows the last ones")
    return Dataset(*row)


def take_back(cursor: "Cursor", dataset: Dataset, reason: str) -> tuple[Dataset, str]:
    """Change the rows; return the dataset with the file that is to be moved, and in words what is active now."""
    was_active = dataset.state == "Active"
    try:
        cursor.execute("SELECT dba.f_undo_dataset(%s, %s)", (dataset.datasetid, reason))
    except (psycopg2.errors.ObjectNotInPrerequisiteState, psycopg2.errors.NoDataFound) as error:
        raise JobError(str(error.diag.message_primary)) from None
    ((former,),) = cursor.fetchall()
    told = "it was not active, so nothing else changes"
    if former is not None:
        told = f"{look(cursor, former)} is active again"
    elif was_active:
        told = "it had replaced none that could be active again, so no dataset of its label and date is active"
    if dataset.archive_id is not None:
        cursor.execute(COUNTS_IN_ARCHIVE, (dataset.archive_id,))
        if archive := cursor.fetchone():
            folder = directory_management.failed_dir(dataset.config_name or "")
            copy = shlex.join(["cp", "-n", dataset.archived_path or "", str(folder / archive[0])])
            again = f"{copy}, then {typed('retry_files.py', archive[0])}"
            told += (
                f"; its archive stays, because other files of it count. To load this one again after all, type: {again}"
            )
            return dataset._replace(archived_path=None), told
        cursor.execute(WHOLE_ARCHIVE, (reason, dataset.archive_id))
        ((name, path, sha256),) = cursor.fetchall()
        dataset = dataset._replace(importfileid=dataset.archive_id, file_name=name, archived_path=path, sha256=sha256)
    return dataset, told


def is_to_move(dataset: Dataset) -> bool:
    """Return whether the dataset's file has a place, and that is not in failed/ already."""
    path = dataset.archived_path
    return path is not None and not quarantine.is_in_folder(dataset.config_name or "", Path(path))


def move_file(cursor: "Cursor", dataset: Dataset, reason: str) -> None:
    """Move the dataset's file from the archive to failed/, and say where it is and how it is loaded again."""
    assert dataset.importfileid is not None, "a path comes from the file's row"
    archive, path = Path(dataset.archive_directory or ""), Path(dataset.archived_path or "")
    try:
        place = quarantine.take_away(dataset.config_name or "", archive, path, dataset.sha256 or "", reason)
    except JobError as trouble:
        log.warning(
            "the file is not moved: %s; to load its content again after all, let it be sent again, and when it is refused, type: %s",
            trouble, typed("retry_files.py", dataset.file_name or ""), extra={"step": "move"},
        )  # fmt: skip
        return
    ledger.note_moved(cursor, dataset.importfileid, place)
    again = typed("retry_files.py", place.name)
    log.info("its file is now %s; to load it again after all, type: %s", place, again, extra={"step": "move"})


def main(args: argparse.Namespace) -> int:
    """Return 0."""
    if not args.reason.split():
        raise WrongCall("--reason is empty; say why, or leave it out")
    moment = f"{settings.now():%Y-%m-%d %H:%M}"
    reason = f"taken back by {current_user()} at {moment}: {' '.join(args.reason.split())}"
    try:
        with db_config.session(db_config.OWNER_ROLE) as connection, connection.cursor() as cursor:
            # Two at once: the second one waits, and then sees what the first has done, its file moved too.
            locks.wait_in_session(cursor, f"etl undo {args.dataset}")
            dataset = look(cursor, args.dataset)
            is_again = dataset.file_status == "Undone" and dataset.state != "Active"
            if is_again:  # a killed run may have left the file in its place
                reason = dataset.error or reason
            file, told = take_back(cursor, dataset, reason)
            said = "was taken back before" if is_again else "would be taken back" if args.dry_run else "is taken back"
            told = reason if is_again else told
            if args.dry_run:
                connection.rollback()
                log.info("%s %s: %s", dataset, said, told, extra={"step": "end"})
                if is_to_move(file):
                    would = (
                        "would be moved to failed/"
                        if os.path.lexists(file.archived_path or "")
                        else "is no longer there"
                    )
                    log.info("%s %s", file.archived_path, would, extra={"step": "end"})
                return 0
            connection.commit()
            if dataset.archive_id is not None:  # a person may copy the archive there
                directory_management.ensure_directory(directory_management.failed_dir(dataset.config_name or ""))
            log.info("%s %s: %s", dataset, said, told, extra={"step": "undo"})
            if is_to_move(file):
                connection.autocommit = True
                move_file(cursor, file, reason)
    except psycopg2.errors.InsufficientPrivilege as error:
        raise JobError(
            f"{error.diag.message_primary}; a dataset is taken back as the owner, with PGUSER=etl_owner"
        ) from None
    return 0


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=add_arguments)
