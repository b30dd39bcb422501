"""Read and write dba.timportfile and the datasets: which file was seen, its result, and by which run."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NamedTuple

from psycopg2 import InterfaceError
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from systemscripts import locks, prepared, settings
from systemscripts.errors import JobError
from systemscripts.importing.config import ImportConfig
from systemscripts.importing.files import PendingFile
from systemscripts.log_sinks.entries import storable
from systemscripts.user_utils import current_user

# Set for the transaction of one load; the default of datasetid takes it from there, so the file's
# bytes need no column of their own for it.
DATASET_VARIABLE = "etl.datasetid"

# By configuration, key of the dataset, SHA-256 and path. Not materialized: each part looks only for what it needs, by
# an index, however long the ledger is.
_KNOWN = """
    WITH loaded AS NOT MATERIALIZED (
        SELECT importfileid, file_name, sha256, datasetid, status, error FROM dba.timportfile
        WHERE config_id = $1 AND dataset_key = $2 AND status IN ('Loaded', 'Empty', 'Undone'))
    SELECT own.unmoved, twin.datasetid, twin.file_name, twin.isactive, last.importfileid, last.sha256,
        CASE WHEN twin.status = 'Undone' AND NOT twin.isactive THEN twin.error END
    FROM (SELECT max(importfileid) AS unmoved FROM dba.timportfile
        WHERE config_id = $1 AND sha256 = $3 AND source_path = $4 AND archived_path IS NULL AND status <> 'Failed'
            AND archive_id IS NULL) AS own
    LEFT JOIN (SELECT datasetid, file_name, isactive, status, error FROM loaded JOIN dba.tdataset USING (datasetid)
        WHERE sha256 = $3 ORDER BY isactive DESC, importfileid DESC LIMIT 1) AS twin ON true
    LEFT JOIN (SELECT importfileid, sha256 FROM loaded WHERE $2 <> '' AND status IN ('Loaded', 'Empty')
        ORDER BY importfileid DESC LIMIT 1) AS last ON true
"""
# Nobody else can have ended it at the time of this transaction.
_FORMER = """
    SELECT former.datasetid FROM dba.tdataset AS own JOIN dba.tdataset AS former
    ON (former.datasettypeid, former.datasetdate, former.label) = (own.datasettypeid, own.datasetdate, own.label)
    WHERE own.datasetid = $1 AND NOT former.isactive AND former.effthrudate = now()
"""


class FileRow(NamedTuple):
    """The data of a file's row; `datasetid` is set only for a loaded or empty file.

    A file that came within an archive has the archive's `file`, its own name and size, and the row of the archive.
    """

    file: PendingFile
    sha256: str = ""
    status: str = ""
    dataset_key: str = ""
    datasetid: int | None = None
    rows: int | None = None
    rejects: int = 0
    encoding: str | None = None
    delimiter: str | None = None
    above_header: str | None = None
    below_data: str | None = None
    comes_back_after: int | None = None
    error: str | None = None
    forced: bool = False
    archive_id: int | None = None
    member: str = ""
    member_size: int = 0
    column_names: list[str] | None = None

    @property
    def name(self) -> str:
        return f"{self.file.name}/{self.member}" if self.member else self.file.name

    @property
    def size(self) -> int:
        return self.member_size if self.member else self.file.size


def known_size(cursor: Cursor, config: ImportConfig, size: int) -> bool:
    """Return whether a file of this size was loaded before; only then is its content worth comparing."""
    cursor.execute(
        "SELECT FROM dba.timportfile WHERE config_id = %s AND file_size = %s"
        " AND status IN ('Loaded', 'Empty', 'Unpacked', 'Undone') LIMIT 1",
        (config.config_id, size),
    )
    return cursor.fetchone() is not None


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """Commit or roll back at the end; why the connection is gone is told rather than that it cannot be rolled back."""
    try:
        with connection:
            yield
    except InterfaceError as closed:
        if isinstance(closed.__context__, JobError):
            raise closed.__context__ from None
        raise


def claimed(connection: Connection, file: PendingFile) -> AbstractContextManager[bool]:
    """Lock the file against other runs during the block; yield False if another run works on it."""
    return locks.held(connection, f"etl file {storable(str(file.path))}")


class Known(NamedTuple):
    """What dba.timportfile knows about a file's content; all None for new content.

    `duplicate_of` names the dataset that has this content already, and says whether it is active. `unmoved` is the id of
    this file's own row if its load is committed but its move to the archive is not. `comes_back_after` is the id of the
    last file that was loaded for its label and date: its content replaced this one, which now replaces it again.
    `undone` says who took this content back, if nobody has loaded it since.
    """

    duplicate_of: str | None = None
    unmoved: int | None = None
    comes_back_after: int | None = None
    undone: str | None = None

    @property
    def needs_no_load(self) -> bool:
        return self.duplicate_of is not None or self.unmoved is not None


def find_known(cursor: Cursor, config: ImportConfig, row: FileRow) -> Known:
    """Look up a file's content.

    Known content is a duplicate if its dataset is active, or if it was the last that was loaded for its label and date:
    a dataset that a person has made inactive does not come back by itself, and one that was taken back is no duplicate.
    """
    prepared.execute(
        cursor, "known", lambda: _KNOWN, "integer, text, text, text",
        (config.config_id, row.dataset_key, row.sha256, storable(str(row.file.path))),
    )  # fmt: skip
    unmoved, datasetid, file_name, is_active, last, last_sha256, undone = cursor.fetchone() or (None,) * 7
    if undone is not None:
        return Known(unmoved=unmoved, undone=undone)
    if datasetid is None:
        return Known(unmoved=unmoved)
    if not is_active and last_sha256 not in (None, row.sha256):
        return Known(unmoved=unmoved, comes_back_after=last)
    state = f"which is {'' if is_active else 'not '}active; to load it again, copy it back and add --force"
    return Known(f"dataset {datasetid} ({file_name}), {state}", unmoved)


def unmoved_files(cursor: Cursor, config: ImportConfig) -> list[tuple[int, str, str, str]]:
    """Return (importfileid, source_path, status, sha256) of the files whose new place is not recorded."""
    cursor.execute(
        "SELECT importfileid, source_path, status, sha256 FROM dba.timportfile"
        " WHERE config_id = %s AND archived_path IS NULL AND archive_id IS NULL ORDER BY importfileid",
        (config.config_id,),
    )
    return cursor.fetchall()


def write_file_row(cursor: Cursor, config: ImportConfig, row: FileRow) -> int | None:
    """Write the file's row and return its id; None if another load of the same content came first."""
    cursor.execute(
        "INSERT INTO dba.timportfile (config_id, file_name, file_size, file_mtime, sha256, status, dataset_key, datasetid,"
        " row_count, reject_count, encoding, delimiter, above_header, below_data, comes_back_after, error, forced,"
        " source_path, archive_id, column_names, run_uuid) VALUES %s ON CONFLICT DO NOTHING RETURNING importfileid",
        ((
            config.config_id, storable(row.name), row.size,
            datetime.fromtimestamp(row.file.modified_ns / 1e9, UTC), row.sha256, row.status, row.dataset_key,
            row.datasetid, row.rows, row.rejects, row.encoding, row.delimiter,
            None if row.above_header is None else storable(row.above_header),
            None if row.below_data is None else storable(row.below_data), row.comes_back_after, row.error, row.forced,
            storable(str(row.file.path)), row.archive_id, row.column_names, settings.run_uuid() or None,
        ),),
    )  # fmt: skip
    inserted = cursor.fetchone()
    return None if inserted is None else int(inserted[0])


def last_columns(cursor: Cursor, config: ImportConfig, label: str) -> list[str] | None:
    """Return the columns of the label's last file, by the date of its dataset; [] if they were not recorded, None if there is none."""
    cursor.execute(
        "SELECT coalesce(f.column_names, '{}') FROM dba.tdataset AS d JOIN dba.timportfile AS f USING (datasetid)"
        " WHERE d.datasettypeid = (SELECT datasettypeid FROM dba.tdatasettype WHERE typename = %s) AND d.label = %s"
        " AND f.config_id = %s AND f.status = 'Loaded' AND d.datastatusid IN (1, 2)"
        " ORDER BY d.datasetdate DESC, d.datasetid DESC LIMIT 1",
        (config.datasettype, label, config.config_id),
    )
    row = cursor.fetchone()
    return None if row is None else list(row[0])


def note_drift(cursor: Cursor, config: ImportConfig, file_name: str, drift: list[tuple[str, str]]) -> None:
    """Write a row of dba.timportdrift for each column that differed."""
    if drift:
        kinds, names = zip(*drift, strict=True)
        cursor.execute(
            "INSERT INTO dba.timportdrift (config_id, file_name, column_name, kind, run_uuid)"
            " SELECT %s, %s, name, kind, %s FROM unnest(%s, %s) AS of_file (kind, name)",
            (config.config_id, storable(file_name), settings.run_uuid() or None, list(kinds), list(names)),
        )


def note_rows(cursor: Cursor, archive_id: int, rows: int, rejects: int) -> None:
    """Record in the row of an archive how many rows and rejects its members have together."""
    cursor.execute(
        "UPDATE dba.timportfile SET row_count = %s, reject_count = %s WHERE importfileid = %s",
        (rows, rejects, archive_id),
    )


def note_moved(cursor: Cursor, importfileid: int, path: Path) -> None:
    """Record where the file is now, with all that came within it; a row without this is a file that must still be moved.

    The commit does not wait for the disk: if a power cut loses it, the next run finds the place again.
    """
    cursor.execute(
        "UPDATE dba.timportfile SET archived_path = %s"
        " WHERE (importfileid = %s OR archive_id = %s) AND set_config('synchronous_commit', 'off', true) = 'off'",
        (storable(str(path)), importfileid, importfileid),
    )


def is_anothers(cursor: Cursor, path: Path) -> bool:
    """Return whether the file at this path of an archive belongs to another row."""
    cursor.execute("SELECT FROM dba.timportfile WHERE archived_path = %s LIMIT 1", (storable(str(path)),))
    return cursor.fetchone() is not None


def has_archived(cursor: Cursor, config: ImportConfig) -> bool:
    """Return whether files of the import were moved to its archive directory."""
    cursor.execute(
        "SELECT FROM dba.timportfile WHERE config_id = %s AND starts_with(archived_path, %s) LIMIT 1",
        (config.config_id, storable(f"{config.archive_directory}/")),
    )
    return cursor.fetchone() is not None


def new_dataset(cursor: Cursor, config: ImportConfig, label: str, day: date, status: str) -> int:
    """Make a dataset for the rows that this transaction loads, and return its id."""
    cursor.execute(
        "SELECT set_config(%s, dba.f_dataset_iu(NULL, %s, %s, %s, %s, %s, %s)::text, true)",
        (DATASET_VARIABLE, day, config.datasettype, config.datasource, label, status, current_user()),
    )
    (datasetid,) = cursor.fetchone() or (None,)
    return int(datasetid)


def activate(cursor: Cursor, datasetid: int) -> int | None:
    """Make the dataset active and return the one that it replaces: a trigger deactivates it."""
    set_status(cursor, datasetid, "Active")
    prepared.execute(cursor, "former", lambda: _FORMER, "integer", (datasetid,))
    former = cursor.fetchone()
    return None if former is None else int(former[0])


def note_event(cursor: Cursor, datasetid: int, event: str, reason: str) -> None:
    """Write what was decided about a dataset."""
    cursor.execute(
        "INSERT INTO dba.tdatasetevent (datasetid, event, reason, run_uuid) VALUES (%s, %s, %s, %s)",
        (datasetid, event, storable(reason), settings.run_uuid() or None),
    )


def set_status(cursor: Cursor, datasetid: int, status: str) -> None:
    """Set the dataset's status."""
    cursor.execute("SELECT dba.f_dataset_iu(%s, NULL, NULL, NULL, NULL, %s, NULL)", (datasetid, status))
