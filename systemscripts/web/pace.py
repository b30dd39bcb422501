"""The pace towards a web site: the minimum interval between two requests of all threads and processes of this machine.

A small file for each host holds the time of the next allowed request. It is locked while a turn is taken.
"""

import contextlib
import fcntl
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from systemscripts import directory_management, settings

LONGEST_WAIT = 300.0  # seconds; if a site asks for more, it is asked once more after this time, then given up
LONGEST_CRAWL_DELAY = 60.0  # seconds
WIDTH = 32  # bytes of the time in a file: a fixed length, so that the file is never cut
JITTER = 0.2  # share of an interval that is added at random, so that requests do not come at exact intervals


class Pacer:
    """Gives the turns. `folder` holds the files (default: logs/pace/); `clock` counts seconds like time.time."""

    def __init__(
        self,
        interval: float,
        folder: Path | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._interval = interval
        self._folder = folder or settings.logs_dir() / "pace"
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._intervals: dict[str, float] = {}  # of the hosts that ask for a longer one
        self._files: dict[str, BinaryIO] = {}

    def wait(self, host: str) -> None:
        """Wait until the host may be asked, and take that turn."""
        while True:
            with self._locked(host) as file:
                pause = self._read(file) - self._clock()
                if pause <= 0:
                    interval = self._intervals.get(host, self._interval)
                    _write(file, self._clock() + interval * (1 + random.uniform(0, JITTER)))
                    return
            self._sleep(pause)

    def answered(self, host: str) -> None:
        """Count the interval from the answer, because the time when the request reached the host is unknown."""
        if interval := self._intervals.get(host, self._interval):
            self.hold(host, interval)

    def hold(self, host: str, pause: float) -> None:
        """Block all requests to the host for `pause` seconds from now."""
        with self._locked(host) as file:
            _write(file, max(self._read(file), self._clock() + pause))

    def widen(self, host: str, interval: float) -> None:
        """Keep at least `interval` seconds between requests to this host: the Crawl-delay it asks for."""
        self._intervals[host] = max(self._interval, min(interval, LONGEST_CRAWL_DELAY))

    def _read(self, file: int) -> float:
        """Return when the host is free; a time further away than any pause comes from a clock that was set since."""
        try:
            free_from = float(os.pread(file, WIDTH, 0) or 0)
        except ValueError:
            return 0.0
        longest = max(LONGEST_WAIT, LONGEST_CRAWL_DELAY, self._interval) * (1 + JITTER)
        return free_from if free_from <= self._clock() + longest else 0.0

    @contextlib.contextmanager
    def _locked(self, host: str) -> Iterator[int]:
        """Yield the host's file for one thread of one process."""
        with self._lock:
            if host not in self._files:
                path = directory_management.ensure_directory(self._folder) / directory_management.safe_name(host)
                if not path.exists():
                    path.touch()
                    directory_management.share(path)
                self._files[host] = cast("BinaryIO", path.open("rb+", buffering=0))
            file = self._files[host].fileno()
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                yield file
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)


def _write(file: int, moment: float) -> None:
    os.pwrite(file, f"{moment:<{WIDTH}.6f}".encode(), 0)
