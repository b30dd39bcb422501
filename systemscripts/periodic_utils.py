"""Run something every few seconds beside the work: the log flusher does, in a thread of its own."""

import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)


def every(interval_seconds: float, action: Callable[[], object], stop: threading.Event) -> None:
    """Call the action at each full interval from now on, until `stop` is set; it may set it itself.

    The beats are counted on the monotonic clock, so that neither the action's own time nor a
    change of the wall clock shifts them; beats missed during a long action are left out. An error
    is logged when it is new, not at every beat, and the rhythm goes on.
    """
    start = time.monotonic()
    last_error = ""
    beat = 1
    while not stop.wait(max(0.0, start + beat * interval_seconds - time.monotonic())):
        try:
            action()
            last_error = ""
        except Exception as error:
            if repr(error) != last_error:
                log.exception("%s failed, and is tried again every %g s", _name(action), interval_seconds)
            last_error = repr(error)
        beat = max(beat, int((time.monotonic() - start) / interval_seconds)) + 1


def _name(action: Callable[[], object]) -> str:
    return getattr(action, "__qualname__", repr(action))
