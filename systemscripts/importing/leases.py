"""Whether somebody has a file open for writing: asked of the kernel by a read lease (fcntl(2), "Leases").

The kernel gives a read lease only on a file that nobody has open for writing, and while it is held
whoever opens the file for writing, or truncates it, waits: for 45 seconds (lease-break-time), then the
lease is gone. Who waits will write when it ends, under whatever name the file has by then. Only the
owner of a file, or root, may ask, and not every file system answers: then it is unknown.
"""

import contextlib
import errno
import fcntl
import os
import signal
from pathlib import Path

from systemscripts import whole_files

# Who opens a leased file for writing makes the kernel send a signal; this one does nothing unless it is asked for.
_HARMLESS = signal.SIGURG


class BeingWritten(Exception):
    """Somebody has the file open for writing."""


class Lease:
    """What keeps writers from a file. `is_held` is False where that cannot be had from the start."""

    def __init__(self, handle: int) -> None:
        """Ask for it; `handle` is open for reading only. Raises BeingWritten where somebody has the file open for writing."""
        self._handle = handle
        self.is_held = _take(handle)

    def is_wanted(self) -> bool:
        """Tell whether a writer waits for its end, or has waited so long that it is gone."""
        return self.is_held and fcntl.fcntl(self._handle, fcntl.F_GETLEASE) != fcntl.F_RDLCK

    def release(self) -> None:
        """Let in who waits; without it closing the handle does."""
        if self.is_held:
            self.is_held = False
            with contextlib.suppress(OSError):  # it is gone already
                fcntl.fcntl(self._handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def is_written(path: Path) -> bool | None:
    """Tell whether somebody has the plain file open for writing, None where the kernel does not say."""
    try:
        handle = whole_files.open_plain(path)
    except (OSError, whole_files.NotPlain):
        return None
    try:
        return False if Lease(handle).is_held else None
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
