"""Read the objects of a cloud folder before they are asked for, because each answer comes from far away.

Where most of a folder is wanted, its small objects come in batches. What a batch does not bring is read one by one,
several at a time, and so is every other small object. A large one is read when it is asked for.
"""

import io
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, NamedTuple

from systemscripts.cloud import batches
from systemscripts.cloud.batches import Copied
from systemscripts.cloud.remote import CloudObject, Remote
from systemscripts.errors import JobError
from systemscripts.exchange.folder import FoundFile

READERS = 12
AHEAD_FILES = 96
SMALL_BYTES = 1 << 20  # of one object that is read ahead
BATCH_BYTES = 16 << 20  # two batches are in memory
BATCH_FILES = 1_000
# A batch lists the folder twice, so that it pays only where it takes one of so many objects there.
LISTED_FOR_EACH = 16


class _Batch(NamedTuple):
    files: list[FoundFile]
    copies: Future[dict[str, Copied]]


class Reader:
    """The objects of one run. Its own threads read; it is asked by one thread."""

    def __init__(self, remote: Remote, folder: str) -> None:
        self._remote = remote
        self._folder = folder
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="cloud")
        self._listed: dict[FoundFile, CloudObject] = {}
        self._batches: deque[list[FoundFile]] = deque()
        self._in_batch: dict[FoundFile, _Batch] = {}
        self._copied: dict[FoundFile, Copied] = {}
        self._to_come: deque[FoundFile] = deque()
        self._ahead: dict[FoundFile, Future[Copied]] = {}

    def begin(self, listed: dict[FoundFile, CloudObject], in_folder: int) -> None:
        """Begin to read these objects of a folder that has `in_folder` in all; they will be asked for in this order."""
        self._listed = listed
        small = [file for file in listed if file.size <= SMALL_BYTES]
        batched = _parted([file for file in small if batches.takes(file.name)], in_folder)
        self._batches = deque(batched)
        in_batches = {file for batch in batched for file in batch}
        self._to_come = deque(file for file in small if file not in in_batches)
        self._begin_batch()
        self._begin_batch()

    def read(self, file: FoundFile, target: IO[bytes]) -> tuple[str, CloudObject]:
        """Copy the object's bytes; return and raise what `Remote.read` does."""
        if file in self._in_batch:
            self._finish_batch(self._in_batch[file])
        self._read_ahead()
        copied = self._copied.pop(file, None)
        if copied is None and file in self._ahead:
            copied = self._ahead.pop(file).result()
        if copied is not None:
            target.write(copied.content)
            return copied.sha256, copied.now
        return self._remote.read(self._path(file), self._listed[file], target)

    def close(self) -> None:
        """Give up what is still being read."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    # ---- inside ----------------------------------------------------------------------------

    def _begin_batch(self) -> None:
        if self._batches:
            files = self._batches.popleft()
            listed = [self._listed[file] for file in files]
            batch = _Batch(files, self._pool.submit(batches.read, self._remote, self._folder, listed))
            self._in_batch |= dict.fromkeys(files, batch)

    def _finish_batch(self, batch: _Batch) -> None:
        """Wait for the batch, and begin another; what it has not brought is read one by one from now on."""
        try:
            copies = batch.copies.result()
        except JobError:
            copies = {}
        self._begin_batch()
        missing = []
        for file in batch.files:
            del self._in_batch[file]
            if file.name in copies:
                self._copied[file] = copies[file.name]
            else:
                missing.append(file)
        self._to_come.extendleft(reversed(missing))

    def _read_ahead(self) -> None:
        while self._to_come and len(self._ahead) < AHEAD_FILES:
            file = self._to_come.popleft()
            self._ahead[file] = self._pool.submit(self._read_small, file)

    def _read_small(self, file: FoundFile) -> Copied:
        content = io.BytesIO()
        sha256, now = self._remote.read(self._path(file), self._listed[file], content)
        return Copied(content.getvalue(), sha256, now)

    def _path(self, file: FoundFile) -> str:
        return f"{self._folder}/{file.name}"


def _parted(files: list[FoundFile], in_folder: int) -> list[list[FoundFile]]:
    """Part the files into batches; those whose batch would not pay are left out."""
    parts: list[list[FoundFile]] = []
    most = max(BATCH_FILES, in_folder // LISTED_FOR_EACH)
    size = BATCH_BYTES
    for file in files:
        if size + file.size > BATCH_BYTES or len(parts[-1]) >= most:
            parts.append([])
            size = 0
        parts[-1].append(file)
        size += file.size
    return [part for part in parts if len(part) * LISTED_FOR_EACH >= in_folder]
