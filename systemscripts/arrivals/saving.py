"""Put a received file into its directory: once, whole, without overwriting, even if the run is killed.

The row names the place of the file before the file appears there. A later run that finds such a row
checks whether the file appeared: at that place, or in the records of an import.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from systemscripts import directory_management, patterns
from systemscripts.arrivals import ledger
from systemscripts.arrivals.ledger import ReceivedFile, Status
from systemscripts.whole_files import UnnamedFile, sha256_of

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection


def put(connection: "Connection", file: ReceivedFile, write: Callable[[IO[bytes]], None]) -> Status:
    """Put the file into its directory, if that was not done yet; `write` writes its bytes. Returns the row's new status.

    Waiting means: another file of this name is there, and no import would see this file under a numbered name.
    """
    if file.status in ("Saved", "Duplicate"):
        return file.status
    if file.path is not None and _has_appeared(connection, file, file.path):
        ledger.note(connection, file, "Saved", file.path)
        return "Saved"
    if original := ledger.saved_before(connection, file):
        ledger.note(connection, file, "Duplicate", original=original)
        return "Duplicate"
    directory_management.ensure_directory(file.directory)
    with directory_management.unnamed_file(file.directory) as arrival:
        write(arrival.stream)
        return _give_name(connection, file, arrival)


def _give_name(connection: "Connection", file: ReceivedFile, arrival: UnnamedFile) -> Status:
    wanted = file.directory / file.file_name
    for candidate in directory_management.numbered_names(wanted):
        if os.path.lexists(candidate):
            continue
        if candidate != wanted:
            # The same imports must see the file under this name as under its own.
            there = ledger.import_patterns(connection, file.directory)
            wanting = [pattern for pattern in there if _fits(pattern, file.file_name)]
            if wanting and not any(_fits(pattern, candidate.name) for pattern in wanting):
                ledger.note(connection, file, "Waiting")
                return "Waiting"
        ledger.note(connection, file, "Planned", candidate)
        with suppress(FileExistsError):
            arrival.appear(candidate)
            ledger.note(connection, file, "Saved", candidate)
            return "Saved"
    raise AssertionError("there is always one more free name")


def _fits(pattern: str, name: str) -> bool:
    try:
        return patterns.fits(pattern, name)
    except patterns.BadPattern:  # the import reports this itself
        return False


def _has_appeared(connection: "Connection", file: ReceivedFile, path: Path) -> bool:
    with suppress(FileNotFoundError):
        if not path.is_symlink() and path.is_file() and sha256_of(path) == file.sha256:
            return True
    return ledger.was_imported(connection, file, path)
