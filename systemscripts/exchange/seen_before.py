"""Remember which files of a folder elsewhere were seen before, and find those that have a row already.

A remote server does not tell whether a file is open, and its clock may be wrong. So a file counts as
complete when this machine has seen it unchanged for ETL_SFTP_SETTLE_SECONDS, usually since the run before;
the job need not wait for that. The memory is a small file. If it is lost, it only costs one more run.
"""

import contextlib
import json
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from systemscripts import directory_management, settings
from systemscripts.arrivals.ledger import ReceivedFile
from systemscripts.exchange.config import ExchangeConfig
from systemscripts.exchange.folder import FoundFile
from systemscripts.log_sinks.entries import storable

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection


class Memory:
    """For each name the size, the time of change, and since when this machine has seen it with these."""

    def __init__(self, config: ExchangeConfig) -> None:
        self._file = directory_management.temp_dir() / f"sftp_{config.config_id}_seen.json"
        self._since: dict[str, tuple[int, int, float]] = {}
        # If the file cannot be read, it is simply written again.
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            stored = json.loads(self._file.read_text(encoding="utf-8"))
            self._since = {name: (int(size), int(ns), float(at)) for name, (size, ns, at) in stored.items()}

    def look(self, found: Iterable[FoundFile]) -> None:
        """Update the memory with the folder's present files; forget those that are gone."""
        now = time.time()
        since = {}
        for file in found:
            size, changed_ns, at = self._since.get(file.name, (-1, 0, now))
            # It was seen in the future, so this machine's clock was set back.
            same = (size, changed_ns) == (file.size, file.changed_ns) and at <= now
            since[file.name] = (file.size, file.changed_ns, at if same else now)
        self._since = since

    def is_settled(self, file: FoundFile) -> bool:
        """Return whether the file was seen unchanged for long enough."""
        size, changed_ns, at = self._since.get(file.name, (-1, 0, 0.0))
        same = (size, changed_ns) == (file.size, file.changed_ns)
        return same and time.time() - at >= settings.sftp_settle_seconds()

    def save(self) -> None:
        directory_management.ensure_directory(self._file.parent)
        with directory_management.new_file(self._file) as stream:
            stream.write(json.dumps(self._since).encode())


_ROW_OF = """
    SELECT receivedfileid, name, directory, file_name, sha256, status, saved_path
    FROM dba.treceivedfile
    WHERE sftp_config_id = %s AND name = %s AND file_mtime = %s AND sha256 = %s
      -- What was removed from the folder is done with: the same again was sent again.
      AND removed_at IS NULL
    ORDER BY receivedfileid LIMIT 1
"""
_SETTLED = """
    SELECT name, file_size, file_mtime, coalesce(store_identity, '')
    FROM dba.treceivedfile
    WHERE sftp_config_id = %s AND name = ANY (%s) AND status IN ('Saved', 'Duplicate')
"""


def row_of(connection: "Connection", config: ExchangeConfig, file: FoundFile, sha256: str) -> ReceivedFile | None:
    """Return the row that an earlier run wrote for this same file but did not finish."""
    with connection, connection.cursor() as cursor:
        cursor.execute(_ROW_OF, (config.config_id, storable(file.name), file.changed_at, sha256))
        found = cursor.fetchone()
    if found is None:
        return None
    number, name, directory, file_name, digest, status, path = found
    return ReceivedFile(number, name, Path(directory), file_name, digest, status, None if path is None else Path(path))


def note_removed(connection: "Connection", *rows: ReceivedFile) -> None:
    if rows:
        with connection, connection.cursor() as cursor:
            numbers = [row.id for row in rows]
            cursor.execute(
                "UPDATE dba.treceivedfile SET removed_at = now() WHERE receivedfileid = ANY (%s)", (numbers,)
            )


def settled(connection: "Connection", config: ExchangeConfig, found: list[FoundFile]) -> set[FoundFile]:
    """Return the files for which nothing is left to do."""
    with connection, connection.cursor() as cursor:
        cursor.execute(_SETTLED, (config.config_id, [storable(file.name) for file in found]))
        identities: dict[tuple[str, int, datetime], list[str]] = {}
        for name, size, changed_at, identity in cursor.fetchall():
            identities.setdefault((name, size, changed_at), []).append(identity)
    return {
        file
        for file in found
        if any(
            _agree(file.identity, known)
            for known in identities.get((storable(file.name), file.size, file.changed_at), [])
        )
    }


def _agree(first: str, second: str) -> bool:
    """Return whether two identities may be of one object: a listing may tell fewer hashes than were told of the object.

    >>> _agree("id:7", "id:7 md5:0f"), _agree("", "md5:0f"), _agree("md5:0e", "id:7 md5:0f")
    (True, True, False)
    """
    one, other = (dict(part.split(":", 1) for part in identity.split()) for identity in (first, second))
    return all(one[kind] == other[kind] for kind in one.keys() & other.keys())
