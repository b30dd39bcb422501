"""Which files of an SFTP folder have a row already, known by name, time of change, and size or content."""

from pathlib import Path
from typing import TYPE_CHECKING

from systemscripts.arrivals.ledger import ReceivedFile
from systemscripts.exchange.config import SftpConfig
from systemscripts.exchange.folder import FoundFile
from systemscripts.log_sinks.entries import storable

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

_ROW_OF = """
    SELECT receivedfileid, name, directory, file_name, sha256, status, saved_path
    FROM dba.treceivedfile
    WHERE sftp_config_id = %s AND name = %s AND file_mtime = %s AND sha256 = %s
      -- What was removed from the folder is done with: the same again was sent again.
      AND removed_at IS NULL
    ORDER BY receivedfileid LIMIT 1
"""
_SETTLED = """
    SELECT name, file_size, file_mtime
    FROM dba.treceivedfile
    WHERE sftp_config_id = %s AND name = ANY (%s) AND status IN ('Saved', 'Duplicate')
"""


def row_of(connection: "Connection", config: SftpConfig, file: FoundFile, sha256: str) -> ReceivedFile | None:
    """Return the row that an earlier run wrote for this very file and did not get done with."""
    with connection, connection.cursor() as cursor:
        cursor.execute(_ROW_OF, (config.config_id, storable(file.name), file.changed_at, sha256))
        found = cursor.fetchone()
    if found is None:
        return None
    number, name, directory, file_name, digest, status, path = found
    return ReceivedFile(number, name, Path(directory), file_name, digest, status, None if path is None else Path(path))


def note_removed(connection: "Connection", row: ReceivedFile) -> None:
    with connection, connection.cursor() as cursor:
        cursor.execute("UPDATE dba.treceivedfile SET removed_at = now() WHERE receivedfileid = %s", (row.id,))


def settled(connection: "Connection", config: SftpConfig, found: list[FoundFile]) -> set[FoundFile]:
    """Return those of the files that nothing is left to do for."""
    with connection, connection.cursor() as cursor:
        cursor.execute(_SETTLED, (config.config_id, [storable(file.name) for file in found]))
        rows = set(cursor.fetchall())
    return {file for file in found if (storable(file.name), file.size, file.changed_at) in rows}
