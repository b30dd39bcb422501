"""Remove taken files from their folder, several at a time where each must wait for an answer from far away.

What the database is told stays with the thread that has the connection.
"""

import contextlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from systemscripts.arrivals.ledger import ReceivedFile
from systemscripts.errors import JobError
from systemscripts.exchange import seen_before
from systemscripts.exchange.folder import Folder, FoundFile, NotYet, Refused

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

_WAITING = 4  # removals that wait for each one that runs; more would only fill the memory


class Removals:
    """The removals of one run."""

    def __init__(self, connection: "Connection", folder: Folder, pool: ThreadPoolExecutor | None) -> None:
        self._connection = connection
        self._folder = folder
        self._pool = pool
        self._running: deque[tuple[FoundFile, ReceivedFile, Future[None]]] = deque()
        self._refused: list[tuple[str, Refused]] = []

    def remove(self, file: FoundFile, row: ReceivedFile) -> None:
        """Remove the file, or begin to; raises Refused if the folder keeps it and there is only one removal at a time."""
        if self._pool is None:
            self._folder.remove(file)
            seen_before.note_removed(self._connection, row)
            return
        self._running.append((file, row, self._pool.submit(self._folder.remove, file)))
        if len(self._running) > self._folder.removals_at_once * _WAITING:
            self._finish(self._folder.removals_at_once)

    def wait(self) -> None:
        """Wait for the removals that are not done yet."""
        self._finish(0)

    def refused(self) -> Iterator[tuple[str, Refused]]:
        """Yield the files that the folder keeps, each once, with the reason."""
        while self._refused:
            yield self._refused.pop()

    def _finish(self, most: int) -> None:
        removed = []
        try:
            while len(self._running) > most or (self._running and self._running[0][2].done()):
                file, row, removal = self._running.popleft()
                try:
                    removal.result()
                    removed.append(row)
                except Refused as reason:
                    self._refused.append((file.name, reason))
                except NotYet:
                    continue  # it was replaced; the next run looks again
        finally:
            # Also if the cloud went away meanwhile: these are removed.
            seen_before.note_removed(self._connection, *removed)


@contextlib.contextmanager
def begun(connection: "Connection", folder: Folder) -> Iterator[Removals]:
    """Yield the removals of the folder.

    When the block fails by a JobError, such as a full disk, what is saved already is still removed: else the next run
    would read it once more. By any other exception those that have not begun are given up.
    """
    if folder.removals_at_once == 1:
        yield Removals(connection, folder, None)
        return
    pool = ThreadPoolExecutor(folder.removals_at_once, thread_name_prefix="removing")
    removals = Removals(connection, folder, pool)
    try:
        yield removals
    except JobError:
        with contextlib.suppress(JobError):
            removals.wait()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
