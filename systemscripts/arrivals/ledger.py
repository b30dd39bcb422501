"""dba.treceivedfile: a row for each received file. It is written before the file appears, so that it appears once."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from systemscripts import settings
from systemscripts.arrivals.names import name_in_directory
from systemscripts.log_sinks.entries import storable

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

Status = Literal["Planned", "Waiting", "Saved", "Duplicate"]


class Source(NamedTuple):
    """The file as the folder told of it; `identity` is what a cloud has to tell it from another."""

    changed_at: datetime
    identity: str | None = None


class Origin(NamedTuple):
    """The origin of a file: a row of dba.tinboxmessage or of dba.texchangeconfig."""

    column: Literal["messageid", "sftp_config_id"]
    id: int


class ReceivedFile(NamedTuple):
    """A row of dba.treceivedfile. `path` is where the file was put, or will be put next."""

    id: int
    name: str
    directory: Path
    file_name: str
    sha256: str
    status: Status
    path: Path | None


_COLUMNS = "receivedfileid, name, directory, file_name, sha256, status, saved_path"
_RECORD = f"""
    INSERT INTO dba.treceivedfile
        (messageid, sftp_config_id, name, directory, file_name, file_size, file_mtime, store_identity, sha256, run_uuid)
    VALUES (%(messageid)s, %(sftp_config_id)s, %(name)s, %(directory)s, %(file_name)s, %(size)s, %(mtime)s, %(identity)s, %(sha256)s,
        %(run)s)
    RETURNING {_COLUMNS}
"""  # noqa: S608 — our own column names
_SAVED_BEFORE = """
    SELECT receivedfileid FROM dba.treceivedfile AS r
    WHERE directory = %(directory)s AND file_name = %(file_name)s AND sha256 = %(sha256)s AND status = 'Saved'
      AND receivedfileid <> %(id)s
      -- What an import refused may come again: the reason may be gone.
      AND (SELECT v.import_status FROM dba.vreceivedfile AS v WHERE v.receivedfileid = r.receivedfileid) IS DISTINCT FROM 'Failed'
    ORDER BY receivedfileid LIMIT 1
"""
_WAS_IMPORTED = """
    SELECT FROM dba.timportfile AS f JOIN dba.treceivedfile AS r ON f.created_at >= r.created_at
    WHERE r.receivedfileid = %s AND f.sha256 = r.sha256 AND f.source_path = %s LIMIT 1
"""


def record(
    connection: "Connection",
    origin: Origin,
    name: str,
    directory: Path,
    size: int,
    sha256: str,
    source: Source | None = None,
) -> ReceivedFile:
    """Write the row of a received file, with status Planned, and return it."""
    values = {
        "messageid": None, "sftp_config_id": None, origin.column: origin.id,
        "name": storable(name), "directory": str(directory), "file_name": name_in_directory(name),
        "size": size, "sha256": sha256,
        "mtime": source and source.changed_at, "identity": source and source.identity, "run": settings.run_uuid() or None,
    }  # fmt: skip
    with connection, connection.cursor() as cursor:
        cursor.execute(_RECORD, values)
        return _typed(cursor.fetchall()[0])


def files_of(connection: "Connection", origin: Origin) -> list[ReceivedFile]:
    """Return the rows of the files that the mail, or the SFTP folder, has brought so far."""
    with connection, connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM dba.treceivedfile WHERE {origin.column} = %s ORDER BY receivedfileid",  # noqa: S608
            (origin.id,),
        )
        return [_typed(row) for row in cursor.fetchall()]


def saved_before(connection: "Connection", file: ReceivedFile) -> int | None:
    """Return the row of an earlier file with this name and content in the directory, or None."""
    values = {"id": file.id, "directory": str(file.directory), "file_name": file.file_name, "sha256": file.sha256}
    with connection, connection.cursor() as cursor:
        cursor.execute(_SAVED_BEFORE, values)
        found = cursor.fetchone()
    return None if found is None else int(found[0])


def was_imported(connection: "Connection", file: ReceivedFile, path: Path) -> bool:
    """Return whether an import has already handled the file at that path, and so may have moved it."""
    with connection, connection.cursor() as cursor:
        cursor.execute(_WAS_IMPORTED, (file.id, str(path)))
        return cursor.fetchone() is not None


def note(
    connection: "Connection", file: ReceivedFile, status: Status, path: Path | None = None, original: int | None = None
) -> None:
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "UPDATE dba.treceivedfile SET status = %s, saved_path = %s, original_id = %s WHERE receivedfileid = %s",
            (status, None if path is None else str(path), original, file.id),
        )


def import_patterns(connection: "Connection", directory: Path) -> list[str]:
    """Return the patterns of the active imports that take their files from the directory."""
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT file_pattern FROM dba.timportconfig WHERE source_directory = %s AND is_active = B'1'",
            (str(directory),),
        )
        return [pattern for (pattern,) in cursor.fetchall()]


def _typed(row: tuple[object, ...]) -> ReceivedFile:
    number, name, directory, file_name, sha256, status, path = row
    return ReceivedFile(
        int(str(number)), str(name), Path(str(directory)), str(file_name), str(sha256),
        status, None if path is None else Path(str(path)),  # type: ignore[arg-type]  # the table's own check has these words
    )  # fmt: skip
