"""Call a function every few seconds; the log flusher does this in its own thread."""

import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)


def every(interval_seconds: float, action: Callable[[], object], stop: threading.Event) -> None:
    """Call the action at each full interval from now on, until `stop` is set; it may set it itself.

    The intervals are counted on the monotonic clock, so neither the action's own time nor a change of
    the wall clock shifts them. Calls missed during a long action are left out. A new error is logged
    once, not at every call, and the calls continue.
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
                log.exception("%s failed; it is tried again every %g s", _name(action), interval_seconds)
            last_error = repr(error)
        beat = max(beat, int((time.monotonic() - start) / interval_seconds)) + 1


def periodic_task(task_func: Callable[[], object], interval: float, stop_event: threading.Event) -> threading.Thread:
    """Call the function as `every` does, in a thread of its own, and return that thread at once.

    Jobs from older installations know it by this name. The thread does not keep the job from ending.
    """
    thread = threading.Thread(target=every, args=(interval, task_func, stop_event), name=_name(task_func), daemon=True)
    thread.start()
    return thread


def _name(action: Callable[[], object]) -> str:
    return getattr(action, "__qualname__", repr(action))
