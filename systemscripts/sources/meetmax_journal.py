"""The journal of a scan: every result is on disk before the next request, so that a killed scan can continue.

Each scan and site has one file in file_watcher_temp/ with one JSON object per line: first what is
scanned, then the results. A line that was cut by a crash is dropped. If an event has two lines, the
later one counts; failed events are asked again. After a day without new results the scan begins again,
because old answers do not belong to today's scan. Only the places of the results are in memory.
"""

import fcntl
import hashlib
import json
import logging
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any

from systemscripts import directory_management, settings
from systemscripts.errors import TemporaryFailure
from systemscripts.sources.meetmax import CheckedEvent
from systemscripts.sources.meetmax_plan import Plan

log = logging.getLogger(__name__)


LEFT_ALONE = timedelta(days=1)
CLOCK_TOLERANCE = timedelta(minutes=5)


def journal_file(plan: Plan) -> Path:
    site = hashlib.sha256(settings.meetmax_base_url().encode()).hexdigest()[:8]
    return directory_management.temp_dir() / f"MeetMaxURLCheck_{plan.name}_{site}.journal"


class Journal:
    """The results of one scan so far. `begun` is when its first line was written.

    `highest_found` is the highest event that exists, 0 if none was found yet. Threads may share it.
    """

    def __init__(self, plan: Plan, stream: IO[bytes]) -> None:
        self.begun = self._written = settings.now()
        self.highest_found = 0
        self._header = {"base_url": settings.meetmax_base_url(), "name": plan.name}
        self._stream = stream
        self._lock = threading.Lock()
        self._offsets: dict[int, int] = {}
        self._failed: set[int] = set()
        self._read()
        if not -CLOCK_TOLERANCE <= settings.now() - self._written <= LEFT_ALONE:
            text = "the scan begun %s has its last result from %s; it begins again from the start"
            log.warning(text, *(f"{moment:%Y-%m-%d %H:%M}" for moment in (self.begun, self._written)))
            self.begin_anew()

    def __len__(self) -> int:
        return len(self._offsets)

    def is_done(self, event_id: int) -> bool:
        """Return whether the site gave a clear answer about this event."""
        return event_id in self._offsets and event_id not in self._failed

    def has_failed(self, event_id: int) -> bool:
        return event_id in self._failed

    def add(self, result: CheckedEvent) -> None:
        """Keep a result; it is on disk when this returns."""
        with self._lock:
            offset = self._write({**asdict(result), "at": settings.now().isoformat()})
            self._note(result, offset)

    def results(self, event_ids: Iterable[int]) -> Iterator[CheckedEvent]:
        """Yield the existing results of these events, in their order."""
        for event_id in event_ids:
            if event_id in self._offsets:
                self._stream.seek(self._offsets[event_id])
                values = json.loads(self._stream.readline())
                yield CheckedEvent(**{name: value for name, value in values.items() if name != "at"})

    def begin_anew(self) -> None:
        """Empty the journal; this is on disk when this returns."""
        self.begun = self._written = settings.now()
        self.highest_found = 0
        self._offsets.clear()
        self._failed.clear()
        self._stream.truncate(0)
        self._write({**self._header, "begun": self.begun.isoformat()})

    def _note(self, result: CheckedEvent, offset: int) -> None:
        event_id = int(result.event_id)
        self._offsets[event_id] = offset
        (self._failed.add if result.problem else self._failed.discard)(event_id)
        if result.exists:
            self.highest_found = max(self.highest_found, event_id)

    def _read(self) -> None:
        """Read the valid lines; begin again if the first line is about another scan."""
        self._stream.seek(0)
        header = _parsed(self._stream.readline()) or {}
        begun = _time(header.get("begun"))
        if begun is None or header != {**self._header, "begun": header["begun"]}:
            self.begin_anew()
            return
        self.begun = self._written = begun
        offset, damaged = self._stream.tell(), 0
        while (line := self._stream.readline()).endswith(b"\n"):
            if (found := _result(line)) is not None:
                result, self._written = found
                self._note(result, offset)
            else:
                damaged += 1
            offset += len(line)
        # A line without an end was cut by a crash.
        self._stream.truncate(offset)
        if damaged:
            log.warning("%d lines of %s are not valid; those events are asked again", damaged, self._stream.name)

    def _write(self, values: dict[str, object]) -> int:
        """Append a line and return its position."""
        offset = self._stream.seek(0, os.SEEK_END)
        self._stream.write(json.dumps(values).encode() + b"\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())
        return offset


@contextmanager
def open_journal(plan: Plan) -> Iterator[Journal]:
    """Open the scan's journal and lock it; raises TemporaryFailure while another process has it."""
    file = journal_file(plan)
    directory_management.ensure_directory(file.parent)
    # Others may write in this directory, so no link of theirs is followed: it could empty another file.
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o660)
        with open(handle, "ab+") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise TemporaryFailure(f"another scan of the same events is running; it holds {file}") from None
            # While we waited for the lock, the scan that held it may have ended and removed this file.
            is_there = False
            with suppress(FileNotFoundError):
                is_there = os.path.samestat(file.lstat(), os.fstat(handle))
            if is_there:
                yield Journal(plan, stream)
                return


def forget(plan: Plan) -> None:
    """Remove the journal, because its results are published."""
    journal_file(plan).unlink()


def _parsed(line: bytes) -> dict[str, object] | None:
    """Return the values of a complete line."""
    if not line.endswith(b"\n"):
        return None
    try:
        values = json.loads(line)
    except ValueError:
        return None
    return values if isinstance(values, dict) else None


def _time(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text)).astimezone()
    except (ValueError, OverflowError):
        return None


def _result(line: bytes) -> tuple[CheckedEvent, datetime] | None:
    """Return a result and its time."""
    values: dict[str, Any] = _parsed(line) or {}
    written = _time(values.pop("at", None))
    kinds = {field.name: bool if field.type is bool else str for field in fields(CheckedEvent)}
    if values.keys() != kinds.keys() or any(type(value) is not kinds[name] for name, value in values.items()):
        return None
    result = CheckedEvent(**values)
    is_number = result.event_id.isascii() and result.event_id.isdigit()
    return (result, written) if is_number and written else None
