"""Run a scan: ask about every event of its plan, keep each answer at once, and report the progress."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta

from tqdm import tqdm

from systemscripts import directory_management, settings
from systemscripts.sources import meetmax
from systemscripts.sources.meetmax_journal import Journal
from systemscripts.sources.meetmax_plan import Plan
from systemscripts.web_utils import WebSession

log = logging.getLogger(__name__)

NEWS_EVERY = 300.0  # seconds between two log lines about the progress when there is no terminal
MOST_STRANGE_PAGES = 20  # pages kept per run, because a changed site makes thousands
BATCH = 256  # events that are handed to the workers at a time


def ask(plan: Plan, journal: Journal, session: WebSession, workers: int) -> None:
    """Ask about every event of the plan without a clear answer; each result is on disk before the next request.

    Raises TemporaryFailure if the site has refused too often in a row.
    """
    pages = StrangePages()

    def ask_one(event_id: int) -> meetmax.CheckedEvent:
        result = meetmax.check_event(session, str(event_id), pages.keep)
        journal.add(result)
        return result

    asked: set[int] = set()
    with closing(Progress(len(journal))) as progress:
        # An event that is found may move the window up.
        while open_ids := _open_ids(plan, journal, asked):
            progress.extend(len(open_ids))
            for result in _each(ask_one, open_ids, workers):
                if result.problem:
                    log.warning("event %s: %s", result.event_id, result.problem, extra={"step": "fetch"})
                progress.step()
            asked.update(open_ids)


def _open_ids(plan: Plan, journal: Journal, asked: set[int]) -> list[int]:
    """Return the open events; those never asked come first, so that events that always fail do not block each start."""
    planned = plan.event_ids(journal.highest_found)
    left = [event_id for event_id in planned if event_id not in asked and not journal.is_done(event_id)]
    return sorted(left, key=journal.has_failed)


def _each(
    ask_one: Callable[[int], meetmax.CheckedEvent], event_ids: Sequence[int], workers: int
) -> Iterator[meetmax.CheckedEvent]:
    if workers == 1:
        yield from map(ask_one, event_ids)
        return
    with ThreadPoolExecutor(workers) as pool:
        for begin in range(0, len(event_ids), BATCH):
            yield from pool.map(ask_one, event_ids[begin : begin + BATCH])


class Progress:
    """A progress bar with rate and time left for a person at a terminal, else a log line every few minutes."""

    def __init__(self, done: int) -> None:
        self._done_before = done
        self._bar = tqdm(initial=done, total=done, unit="event", disable=not settings.at_terminal())
        self._total, self._number = done, 0
        self._begun = self._said = time.monotonic()

    def close(self) -> None:
        self._bar.close()

    def extend(self, more: int) -> None:
        self._total += more
        self._bar.total = self._total
        self._bar.refresh()

    def step(self) -> None:
        self._number += 1
        self._bar.update()
        now = time.monotonic()
        if self._bar.disable and now - self._said >= NEWS_EVERY:
            self._said = now
            each = (now - self._begun) / self._number
            asked = self._done_before + self._number
            left = timedelta(seconds=round(each * (self._total - asked)))
            text = "%d of %d events asked, %.1f a minute, %s left"
            log.info(text, asked, self._total, 60 / each, left, extra={"step": "fetch"})


class StrangePages:
    """Keep unknown pages beside the log, for a person to look at."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept = 0

    def keep(self, event_id: str, html: str) -> str:
        """Keep the page and return its place, in words for a message; "" if enough pages are kept."""
        with self._lock:
            if self._kept == MOST_STRANGE_PAGES:
                return ""
            self._kept += 1
        file = settings.logs_dir() / f"meetmax_event_{event_id}_{settings.now():%Y%m%d}.html"
        with directory_management.new_file(file) as stream:
            stream.write(html.encode(errors="replace"))
        return f"; it is kept as {file}"
