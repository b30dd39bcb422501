"""A deadline for a whole answer: a server that sends a byte now and then never triggers a read timeout."""

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def hung_up_after(seconds: float, hang_up: Callable[[], object]) -> Iterator[None]:
    """Call `hang_up` from another thread if the block takes longer; the block then fails by itself."""
    timer = threading.Timer(seconds, hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
