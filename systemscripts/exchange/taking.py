"""Take the files of one exchange folder: each once, whole, and removed from the folder only when its copy is complete.

A file is first copied into an unnamed file on the target disk, and hashed on the way. The row needs the
hash, a remote server should send the file only once, and an unnamed file leaves nothing if the run is killed.
"""

import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from systemscripts import directory_management
from systemscripts.arrivals import ledger, saving
from systemscripts.arrivals.ledger import ReceivedFile
from systemscripts.errors import DISK_TROUBLE, TemporaryFailure
from systemscripts.exchange import groups, removals, seen_before
from systemscripts.exchange.config import ExchangeConfig
from systemscripts.exchange.folder import CHUNK_BYTES, Folder, FoundFile, NotYet, Refused, check_size

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection


class FileOutcome(NamedTuple):
    """The result of one file: Saved, Duplicate, Waiting, Unfinished, Refused, or in a dry run Ready."""

    folder: str
    file: str
    status: str
    detail: str = ""

    @property
    def is_failure(self) -> bool:
        return self.status == "Refused"


def take_files(
    connection: "Connection", config: ExchangeConfig, folder: Folder, dry_run: bool
) -> Iterator[FileOutcome]:
    """Take the complete files, and yield the result of each; in a dry run only say what would be taken."""
    outcome = partial(FileOutcome, config.config_name)
    found = folder.look()
    if not config.remove_taken:
        # Taken files stay in the folder, so those that were taken before are left out.
        known = seen_before.settled(connection, config, found)
        found = [file for file in found if file not in known]
    takeable = []
    for file in found:
        try:
            check_size(file.size)
            takeable.append(file)
        except Refused as reason:
            yield outcome(file.name, "Refused", str(reason))
    if dry_run:
        yield from (outcome(file.name, "Ready", f"{file.size:,} bytes") for file in takeable)
        yield from (outcome(name, "Refused", reason) for name, reason in folder.refused.items())
        return
    sure = folder.make_sure(takeable)
    yield from (outcome(name, "Refused", reason) for name, reason in folder.refused.items())
    with removals.begun(connection, folder) as removing:
        take_them = _take_in_groups if folder.removals_at_once > 1 else _take_each
        for file, status, detail, row in take_them(connection, config, folder, sure):
            try:
                if row is not None and config.remove_taken and status != "Waiting":
                    removing.remove(file, row)
                yield outcome(file.name, status, detail)
            except Refused as reason:
                yield outcome(file.name, "Refused", str(reason))
            except NotYet as reason:
                yield outcome(file.name, "Unfinished", f"{reason}; the next run looks again")
            yield from (outcome(name, "Refused", str(reason)) for name, reason in removing.refused())
        removing.wait()
        yield from (outcome(name, "Refused", str(reason)) for name, reason in removing.refused())


_Result = tuple[FoundFile, str, str, ReceivedFile | None]


def _take_each(
    connection: "Connection", config: ExchangeConfig, folder: Folder, found: list[FoundFile]
) -> Iterator[_Result]:
    """Yield each file with its row's status, a remark, and the row."""
    for file in found:
        try:
            row, status = _take(connection, config, folder, file)
            yield file, status, _remark(file, status), row
        except Refused as reason:
            yield file, "Refused", str(reason), None
        except NotYet as reason:
            yield file, "Unfinished", f"{reason}; the next run looks again", None


def _take_in_groups(
    connection: "Connection", config: ExchangeConfig, folder: Folder, found: list[FoundFile]
) -> Iterator[_Result]:
    for group in groups.of_files(found):
        for taken in groups.take(connection, config, folder, group):
            again = "; the next run looks again" if taken.status == "Unfinished" else ""
            yield (
                taken.file,
                taken.status,
                f"{taken.reason}{again}" if taken.reason else _remark(taken.file, taken.status),
                taken.row,
            )


def _remark(file: FoundFile, status: str) -> str:
    return "another file of its name has not been imported yet" if status == "Waiting" else f"{file.size:,} bytes"


def _take(
    connection: "Connection", config: ExchangeConfig, folder: Folder, file: FoundFile
) -> tuple[ReceivedFile, str]:
    """Put one file into its place, and return its row and the row's status."""
    check_size(file.size)
    directory_management.ensure_directory(config.target_directory)
    try:
        with tempfile.TemporaryFile(dir=config.target_directory) as copy:
            fetched = folder.fetch(file, copy)
            row = seen_before.row_of(connection, config, file, fetched.sha256) or ledger.record(
                connection, config.origin, file.name, config.target_directory, file.size, fetched.sha256,
                ledger.Source(file.changed_at, fetched.identity or None),
            )  # fmt: skip
            copy.seek(0)
            return row, saving.put(connection, row, partial(shutil.copyfileobj, copy, length=CHUNK_BYTES))
    except OSError as error:
        if error.errno in DISK_TROUBLE:
            raise TemporaryFailure(f"{config.target_directory}: {error.strerror}") from None
        raise
