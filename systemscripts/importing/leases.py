"""Whether somebody has a file open for writing: asked of the kernel by a read lease (fcntl(2), "Leases").

The kernel gives a read lease only on a file that nobody has open for writing, and while it is held
whoever opens the file for writing, or truncates it, waits. Only the owner of a file, or root, may ask,
and not every file system answers: then it is unknown.
"""

import contextlib
import errno
import fcntl
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from systemscripts import whole_files

# Who opens a leased file for writing makes the kernel send a signal; this one does nothing unless it is asked for.
_HARMLESS = signal.SIGURG


class BeingWritten(Exception):
    """Somebody has the file open for writing."""


@contextlib.contextmanager
def without_writers(handle: int) -> Iterator[bool]:
    """Keep writers from the file while the block lasts; yield False where that cannot be had.

    `handle` is open for reading only. Raises BeingWritten where somebody has the file open for writing.
    """
    is_sure = _take(handle)
    try:
        yield is_sure
    finally:
        if is_sure:
            fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def is_written(path: Path) -> bool | None:
    """Tell whether somebody has the plain file open for writing, None where the kernel does not say."""
    try:
        handle = whole_files.open_plain(path)
    except (OSError, whole_files.NotPlain):
        return None
    try:
        with without_writers(handle) as is_sure:
            return False if is_sure else None
    except BeingWritten:
        return True
    finally:
        os.close(handle)


def _take(handle: int) -> bool:
    try:
        fcntl.fcntl(handle, fcntl.F_SETSIG, _HARMLESS)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            raise BeingWritten from None
        return False
    return True
