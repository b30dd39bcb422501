"""Take the files of a folder far away in groups, so that the database is asked for each group and not for each file."""

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from systemscripts import directory_management
from systemscripts.arrivals import ledger, many, saving
from systemscripts.arrivals.ledger import ReceivedFile
from systemscripts.arrivals.many import Arrival
from systemscripts.errors import DISK_TROUBLE, TemporaryFailure
from systemscripts.exchange import seen_before
from systemscripts.exchange.config import ExchangeConfig
from systemscripts.exchange.folder import Folder, FoundFile, NotYet, Refused, check_size

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

FILES = 192  # of a group, each an open file
BYTES = 64 << 20  # a group ends with the file that reaches this


class Taken(NamedTuple):
    """A file of a group: its row and the row's status, or why it stays in the folder."""

    file: FoundFile
    status: str
    row: ReceivedFile | None = None
    reason: Refused | NotYet | None = None


def of_files(found: list[FoundFile]) -> list[list[FoundFile]]:
    """Part the files into groups."""
    groups: list[list[FoundFile]] = []
    size = BYTES
    for file in found:
        if size >= BYTES or len(groups[-1]) >= FILES:
            groups.append([])
            size = 0
        groups[-1].append(file)
        size += file.size
    return groups


def take(connection: "Connection", config: ExchangeConfig, folder: Folder, group: list[FoundFile]) -> list[Taken]:
    """Put the files of a group into their place."""
    directory = directory_management.ensure_directory(config.target_directory)
    try:
        with contextlib.ExitStack() as stack:
            arrivals: dict[FoundFile, Arrival] = {}
            stays: list[Taken] = []
            for file in group:
                unnamed = stack.enter_context(directory_management.unnamed_file(directory))
                try:
                    check_size(file.size)
                    fetched = folder.fetch(file, unnamed.stream)
                except Refused as reason:
                    stays.append(Taken(file, "Refused", reason=reason))
                except NotYet as reason:
                    stays.append(Taken(file, "Unfinished", reason=reason))
                else:
                    source = ledger.Source(file.changed_at, fetched.identity or None)
                    arrivals[file] = Arrival(file.name, file.size, fetched.sha256, source, unnamed)
            new = many.put_new(connection, config.origin, directory, list(arrivals.values()))
            return [*(_put(connection, config, file, arrival, new) for file, arrival in arrivals.items()), *stays]
    except OSError as error:
        if error.errno in DISK_TROUBLE:
            raise TemporaryFailure(f"{directory}: {error.strerror}") from None
        raise


def _put(
    connection: "Connection",
    config: ExchangeConfig,
    file: FoundFile,
    arrival: Arrival,
    new: dict[str, tuple[ReceivedFile, ledger.Status]],
) -> Taken:
    """Return what became of a new file; put one that is not plainly new into its place."""
    row, status = new.pop(arrival.sha256, (None, None))
    if row is not None and status is not None:
        return Taken(file, status, row)
    row = seen_before.row_of(connection, config, file, arrival.sha256) or ledger.record(
        connection, config.origin, file.name, config.target_directory, file.size, arrival.sha256, arrival.source
    )
    return Taken(file, saving.put(connection, row, many.copy_of(arrival.file)), row)
