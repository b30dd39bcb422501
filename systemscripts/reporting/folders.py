"""Put the files of a report into a folder: once for a slot, whole, and never over a file that is there.

Before the first is put, the files are kept in a directory of ours, and their names and hashes stand in the ledger. So a
run that dies is finished with the same bytes under the same names, whatever the queries would return by then. A file of
that name and content in the folder was put before.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from systemscripts import directory_management, whole_files
from systemscripts.errors import JobError, TemporaryFailure
from systemscripts.mail.composing import Attachment
from systemscripts.reporting.deliveries import Deliveries, Unfinished
from systemscripts.reporting.model import Report

# A mail address has no colon before its @, so no reader is called like a folder.
_PREFIX = "folder:"


class Outgoing(Protocol):
    """A folder that files are put into, wherever it is."""

    def sha256_of(self, name: str) -> str | None:
        """Return the hash of the content of this name, "" for what is no plain file; None if the name is free."""

    def put(self, name: str, source: Path, sha256: str) -> None:
        """Put the file whole under a free name; raises JobError, or TemporaryFailure if a later try may help."""

    def discard(self, name: str) -> None:
        """Remove a file of ours."""


Opener = Callable[[str], AbstractContextManager[Outgoing]]


@dataclass(frozen=True)
class File:
    """A file on its way; `put` when it is known to be there."""

    name: str
    bytes: int
    sha256: str
    put: bool = False


def reader_of(folder: str) -> str:
    """Return what stands in the ledger for the folder."""
    return _PREFIX + folder


def folder_of(reader: str) -> str | None:
    """Return the folder of a reader; None if it is an address."""
    return reader.removeprefix(_PREFIX) if reader.startswith(_PREFIX) else None


class FolderDelivery:
    """The way of a report's files into its folders; `opener` opens one by what deliver_to says."""

    def __init__(self, report: Report, deliveries: Deliveries, opener: Opener) -> None:
        self._report, self._deliveries, self._opener = report, deliveries, opener

    def put(self, delivery: int, folder: str, attachments: Sequence[Attachment], subject: str) -> list[str]:
        """Put the files of a new delivery and return their names.

        Raises JobError if the folder does not take them; the delivery is then Waiting.
        """
        files = [File(made.name, len(made.content), hashlib.sha256(made.content).hexdigest()) for made in attachments]
        is_begun = False
        try:
            self._keep(delivery, attachments)
            with self._opener(folder) as place:
                # All names are looked at before the first file is put: half of a slot helps nobody.
                for file in files:
                    _is_there(place, folder, file)
                self._deliveries.begin_files(delivery, [vars(file) for file in files], subject)
                is_begun = True
                self._put_all(place, delivery, folder, files)
        except JobError as reason:
            self._deliveries.end_files(delivery, "Waiting", str(reason))
            if not is_begun:
                self._forget(delivery)
            raise
        return self._sent(delivery, files)

    def forget_others(self, unfinished: Iterable[Unfinished]) -> None:
        """Delete the files that are kept for deliveries which nothing will finish."""
        kept = {self._directory(found.delivery) for found in unfinished}
        for directory in set(directory_management.temp_dir().glob(f"report_{self._report.report_id}_*")) - kept:
            shutil.rmtree(directory, ignore_errors=True)

    def finish(self, unfinished: Unfinished) -> list[str]:
        """Put what an earlier run did not come to, and return the names of all files; none if nothing had been put.

        Raises JobError if it cannot be finished; the delivery is then Waiting, or Unknown.
        """
        folder = folder_of(unfinished.recipient) or ""
        try:
            files = [File(**file) for file in unfinished.files]
            with self._opener(folder) as place:
                lost = self._put_all(place, unfinished.delivery, folder, files)
        except JobError as reason:
            self._deliveries.end_files(unfinished.delivery, "Waiting", str(reason))
            raise
        if len(lost) == len(files):
            # It is made anew, by who sends this slot.
            self._deliveries.end_files(unfinished.delivery, "Open", None)
            return []
        if lost:
            told = (
                f"an earlier job died while {folder} got its files, and {', '.join(lost)} is neither there nor kept on this "
                f"machine; look what the folder has, and if it lacks: --again {unfinished.recipient}"
            )
            self._deliveries.end_files(unfinished.delivery, "Unknown", told)
            raise JobError(told)
        return self._sent(unfinished.delivery, files)

    # ---- inside ----------------------------------------------------------------------------

    def _put_all(self, place: Outgoing, delivery: int, folder: str, files: list[File]) -> list[str]:
        """Put each file that is not there and note it; return the names of those whose content is kept nowhere."""
        lost = []
        for number, file in enumerate(files):
            if file.put:
                continue
            if not _is_there(place, folder, file):
                source = self._directory(delivery) / file.name
                if not (source.is_file() and whole_files.sha256_of(source) == file.sha256):
                    lost.append(file.name)
                    continue
                place.put(file.name, source, file.sha256)
            files[number] = replace(file, put=True)
            self._deliveries.note_files(delivery, [vars(file) for file in files])
        return lost

    def _sent(self, delivery: int, files: list[File]) -> list[str]:
        self._deliveries.end_files(delivery, "Sent", None)
        self._forget(delivery)
        return [file.name for file in files]

    def _directory(self, delivery: int) -> Path:
        return directory_management.temp_dir() / f"report_{self._report.report_id}_{delivery}"

    def _keep(self, delivery: int, attachments: Sequence[Attachment]) -> None:
        directory = self._directory(delivery)
        try:
            self._forget(delivery)  # of a run that died before it had put anything
            directory_management.ensure_directory(directory)
            for made in attachments:
                with directory_management.new_file(directory / made.name) as file:
                    file.write(made.content)
        except OSError as error:
            self._forget(delivery)
            raise TemporaryFailure(f"its files cannot be kept in {directory}: {error.strerror}") from None

    def _forget(self, delivery: int) -> None:
        shutil.rmtree(self._directory(delivery), ignore_errors=True)


def _is_there(place: Outgoing, folder: str, file: File) -> bool:
    """Return whether the file is in the folder; raises JobError if its name has another content there."""
    there = place.sha256_of(file.name)
    if there is None or there == file.sha256:
        return there is not None
    raise JobError(
        f"{folder} has another file {file.name} already, and nothing is overwritten there; take it away and send the report "
        "again, or give each file a name of its own with {timestamp} in attachmentqueries"
    )
