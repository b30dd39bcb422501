"""An end for what a server may draw out for ever: a byte now and then is no silence, which a timeout would see."""

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def hung_up_after(seconds: float, hang_up: Callable[[], object]) -> Iterator[None]:
    """Call `hang_up` from another thread where the block takes longer; the block then fails by itself."""
    timer = threading.Timer(seconds, hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
