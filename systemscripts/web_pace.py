"""The pace towards a web site: the least interval between two requests, for all threads and processes of this machine.

A small file for each host says from when on it may be asked again. It is locked while a turn is taken.
"""

import contextlib
import fcntl
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from systemscripts import directory_management, settings

LONGEST_WAIT = 300.0  # seconds; a site that asks for more is asked again after this, and then given up
LONGEST_CRAWL_DELAY = 60.0  # seconds
JITTER = 0.2  # share of an interval that chance adds, so that requests do not come like clockwork


class Pacer:
    """Gives the turns. `folder` holds the files, logs/pace/ unless told; `clock` counts seconds as time.time does."""

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
        self._wished: dict[str, float] = {}

    def wait(self, host: str) -> None:
        """Return when the host may be asked, and take that turn."""
        while (pause := self._take_turn(host)) > 0:
            self._sleep(pause)

    def answered(self, host: str) -> None:
        """Count the interval from the answer: when the request itself reached the host, nobody here knows."""
        self.hold(host, self._interval_of(host))

    def hold(self, host: str, pause: float) -> None:
        """Let nobody ask the host for `pause` seconds from now."""
        with self._free_from(host) as file:
            _write(file, max(self._read(file), self._clock() + pause))

    def widen(self, host: str, interval: float) -> None:
        """Keep at least `interval` seconds between requests to this host: the Crawl-delay it asks for."""
        self._wished[host] = min(interval, LONGEST_CRAWL_DELAY)

    def _interval_of(self, host: str) -> float:
        return max(self._interval, self._wished.get(host, 0.0))

    def _take_turn(self, host: str) -> float:
        """Return 0 when the turn is taken, else the seconds after which to try again."""
        with self._free_from(host) as file:
            pause = self._read(file) - self._clock()
            if pause <= 0:
                _write(file, self._clock() + self._interval_of(host) * (1 + random.uniform(0, JITTER)))
            return max(pause, 0.0)

    def _read(self, file: IO[str]) -> float:
        """Return from when on the host is free; what is further away than any pause is from before the clock was set."""
        try:
            free_from = float(file.read() or 0)
        except ValueError:
            return 0.0
        longest = max(LONGEST_WAIT, LONGEST_CRAWL_DELAY, self._interval) * (1 + JITTER)
        return free_from if free_from <= self._clock() + longest else 0.0

    @contextlib.contextmanager
    def _free_from(self, host: str) -> Iterator[IO[str]]:
        """Open the host's file for one thread of one process."""
        path = directory_management.ensure_directory(self._folder) / directory_management.safe_name(host)
        with self._lock, path.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            if not os.fstat(file.fileno()).st_size:
                directory_management.share(path)
            yield file


def _write(file: IO[str], moment: float) -> None:
    file.truncate(0)
    file.write(repr(moment))
