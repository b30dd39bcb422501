"""Beats without drift, an action that fails, and the end of the block. The clock is a stub: nothing sleeps."""

import logging
import re

import pytest

from systemscripts import periodic_utils
from systemscripts.periodic_utils import every


class StubClock:
    """Is both the monotonic clock and the event: waiting moves the time on, `beats` waits later it is set."""

    def __init__(self, beats: int) -> None:
        self.now = 1000.0
        self.left = beats

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        self.left -= 1
        return self.left < 0

    def set(self) -> None:
        self.left = 0


def beats(monkeypatch: pytest.MonkeyPatch, interval: float, takes: list[float]) -> list[float]:
    """Return when the action is called, in seconds from the start, if its calls take this long."""
    clock = StubClock(len(takes))
    monkeypatch.setattr(periodic_utils.time, "monotonic", lambda: clock.now)
    called = []

    def action() -> None:
        clock.now += takes[len(called)]
        called.append(clock.now - takes[len(called)] - 1000)

    every(interval, action, clock)
    return called


@pytest.mark.parametrize(
    ("takes", "expected"),
    [
        ([0, 0, 0], [5, 10, 15]),
        ([1.5, 2, 4.9], [5, 10, 15]),
        ([12, 0, 0], [5, 20, 25]),
        ([5, 0, 0], [5, 15, 20]),
    ],
    ids=["short", "its own time does not shift the beat", "missed beats are left out", "just in time for the next"],
)
def test_it_beats_at_full_intervals(monkeypatch: pytest.MonkeyPatch, takes: list[float], expected: list[float]):
    assert beats(monkeypatch, 5, takes) == expected


def test_an_error_is_logged_when_it_is_new_and_the_rhythm_goes_on(caplog: pytest.LogCaptureFixture):
    outcomes = iter([OSError("disk full"), OSError("disk full"), None, OSError("disk full"), OSError("gone"), None])

    def flush() -> None:
        if outcome := next(outcomes):
            raise outcome

    every(0.001, flush, StubClock(6))

    assert next(outcomes, "all used") == "all used"
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 3
    assert re.search(r"flush failed.* 0\.001 s", caplog.text)


def test_the_action_may_end_the_rhythm():
    clock = StubClock(100)
    called = []

    every(0.001, lambda: (called.append(1), clock.set()), clock)

    assert called == [1]
