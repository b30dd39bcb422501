"""Put many new files into their directory with two transactions in place of four for each.

The promise is that of `saving`: the row names the place of a file before the file appears there. What is not plainly
new, such as a file whose content is known or whose name is taken, is left to `saving`.
"""

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from systemscripts import settings, whole_files
from systemscripts.arrivals import saving
from systemscripts.arrivals.ledger import Origin, ReceivedFile, Source, Status
from systemscripts.arrivals.names import name_in_directory
from systemscripts.log_sinks.entries import storable
from systemscripts.whole_files import UnnamedFile

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

_FLUSHES = 8  # at the same time

_KNOWN = "SELECT DISTINCT sha256 FROM dba.treceivedfile WHERE sha256 = ANY (%s)"
_RECORD = """
    INSERT INTO dba.treceivedfile
        ({column}, name, directory, file_name, saved_path, file_size, file_mtime, store_identity, sha256, run_uuid)
    SELECT %(origin)s, f.name, %(directory)s, f.file_name, f.path, f.size, f.mtime, f.identity, f.sha256, %(run)s::uuid
    FROM unnest(%(names)s::text[], %(file_names)s::text[], %(paths)s::text[], %(sizes)s::bigint[], %(mtimes)s::timestamptz[],
                %(identities)s::text[], %(sha256s)s::text[]) AS f (name, file_name, path, size, mtime, identity, sha256)
    RETURNING receivedfileid, sha256
"""
_SAVED = "UPDATE dba.treceivedfile SET status = 'Saved' WHERE receivedfileid = ANY (%s)"


class Arrival(NamedTuple):
    """A file that was fetched, still without a name in its directory."""

    name: str
    size: int
    sha256: str
    source: Source
    file: UnnamedFile


def put_new(
    connection: "Connection", origin: Origin, directory: Path, arrivals: list[Arrival]
) -> dict[str, tuple[ReceivedFile, Status]]:
    """Put those that are plainly new into the directory, and return their rows and statuses by SHA-256."""
    new = _plainly_new(connection, directory, arrivals)
    if not new:
        return {}
    with ThreadPoolExecutor(_FLUSHES) as pool:
        list(pool.map(UnnamedFile.flush, (arrival.file for arrival in new)))
    rows = _record(connection, origin, directory, new)
    saved, others = [], {}
    for arrival, row in zip(new, rows, strict=True):
        assert row.path is not None
        try:
            arrival.file.appear(row.path, one_of_many=True)
            saved.append(row)
        except FileExistsError:
            others[row.sha256] = (row, saving.put(connection, row, copy_of(arrival.file)))
    whole_files.sync_directory(directory)
    with connection, connection.cursor() as cursor:
        cursor.execute(_SAVED, ([row.id for row in saved],))
    return {row.sha256: (row, "Saved") for row in saved} | others


def copy_of(file: UnnamedFile) -> Callable[[IO[bytes]], None]:
    """Return what writes the file's bytes into another one, for `saving.put`."""

    def write(target: IO[bytes]) -> None:
        file.stream.flush()
        with whole_files.by_handle(file.stream.fileno()).open("rb") as source:
            shutil.copyfileobj(source, target, length=1 << 20)

    return write


def _plainly_new(connection: "Connection", directory: Path, arrivals: list[Arrival]) -> list[Arrival]:
    with connection, connection.cursor() as cursor:
        cursor.execute(_KNOWN, ([arrival.sha256 for arrival in arrivals],))
        contents = {sha256 for (sha256,) in cursor.fetchall()}
    names: set[str] = set()
    new = []
    for arrival in arrivals:
        name = name_in_directory(arrival.name)
        if arrival.sha256 not in contents and name not in names and not os.path.lexists(directory / name):
            new.append(arrival)
        contents.add(arrival.sha256)
        names.add(name)
    return new


def _record(connection: "Connection", origin: Origin, directory: Path, new: list[Arrival]) -> list[ReceivedFile]:
    file_names = [name_in_directory(arrival.name) for arrival in new]
    values = {
        "origin": origin.id, "directory": str(directory), "run": settings.run_uuid() or None,
        "names": [storable(arrival.name) for arrival in new], "file_names": file_names,
        "paths": [str(directory / name) for name in file_names], "sizes": [arrival.size for arrival in new],
        "mtimes": [arrival.source.changed_at for arrival in new],
        "identities": [arrival.source.identity for arrival in new], "sha256s": [arrival.sha256 for arrival in new],
    }  # fmt: skip
    with connection, connection.cursor() as cursor:
        cursor.execute(_RECORD.format(column=origin.column), values)
        numbers = {sha256: number for number, sha256 in cursor.fetchall()}
    return [
        ReceivedFile(
            numbers[arrival.sha256],
            storable(arrival.name),
            directory,
            name,
            arrival.sha256,
            "Planned",
            directory / name,
        )
        for arrival, name in zip(new, file_names, strict=True)
    ]
