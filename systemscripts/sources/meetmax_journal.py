"""The journal of a scan: every result is on disk before the next request, so that a killed scan goes on where it was.

One file for each range and site in file_watcher_temp/, JSON a line: first what is being scanned,
then a result a line. A line that was cut by a crash is dropped; of two lines about one event the
later counts, and one that failed is asked again.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from systemscripts import directory_management, settings
from systemscripts.errors import TemporaryFailure
from systemscripts.sources.meetmax import CheckedEvent


@dataclass(frozen=True)
class ScanRange:
    """The events of a scan, both ends included, and the site they are on."""

    base_url: str
    first: int
    last: int

    def journal_file(self) -> Path:
        site = hashlib.sha256(self.base_url.encode()).hexdigest()[:8]
        return directory_management.temp_dir() / f"MeetMaxURLCheck_{self.first}_{self.last}_{site}.journal"

    def event_ids(self) -> range:
        return range(self.first, self.last + 1)


class Journal:
    """The results of one scan so far. `begun` is when its first line was written."""

    def __init__(self, scan: ScanRange, stream: IO[bytes]) -> None:
        self.scan = scan
        self.begun = settings.now()
        self._stream = stream
        self._results: dict[int, CheckedEvent] = {}
        self._read()

    def is_done(self, event_id: int) -> bool:
        """Return whether the site gave a clear answer about this event."""
        result = self._results.get(event_id)
        return result is not None and not result.problem

    def add(self, result: CheckedEvent) -> None:
        """Keep a result: on disk when this returns."""
        self._write(asdict(result))
        self._results[int(result.event_id)] = result

    def results(self) -> list[CheckedEvent]:
        """Return all results, by event id."""
        return [self._results[event_id] for event_id in sorted(self._results)]

    def _read(self) -> None:
        """Take over the lines that are whole; start anew where the first one is not about this scan."""
        lines = self._stream.read().split(b"\n")[:-1]
        header = _parsed(lines[0]) if lines else None
        if header is None or {**asdict(self.scan), "begun": header.get("begun")} != header:
            self._stream.truncate(0)
            self._write({**asdict(self.scan), "begun": self.begun.isoformat()})
            return
        self.begun = datetime.fromisoformat(str(header["begun"]))
        good_bytes = len(lines[0]) + 1
        for line in lines[1:]:
            if (result := _result(line)) is None:
                break
            self._results[int(result.event_id)] = result
            good_bytes += len(line) + 1
        self._stream.truncate(good_bytes)

    def finish(self) -> None:
        """Forget the scan: its results are where they belong."""
        self.scan.journal_file().unlink()

    def _write(self, values: dict[str, object]) -> None:
        self._stream.write(json.dumps(values, ensure_ascii=False).encode() + b"\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())


@contextmanager
def open_journal(scan: ScanRange) -> Iterator[Journal]:
    """Open the scan's journal for this process alone; raises TemporaryFailure while another one has it."""
    file = scan.journal_file()
    directory_management.ensure_directory(file.parent)
    with file.open("ab+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TemporaryFailure(f"another scan of {scan.first} to {scan.last} is running; it holds {file}") from None
        stream.seek(0)
        yield Journal(scan, stream)


def _parsed(line: bytes) -> dict[str, object] | None:
    try:
        values = json.loads(line)
    except ValueError:
        return None
    return values if isinstance(values, dict) else None


def _result(line: bytes) -> CheckedEvent | None:
    values: dict[str, Any] = _parsed(line) or {}
    try:
        return CheckedEvent(**values)
    except TypeError:
        return None
