"""Find out with a read lease whether somebody has a file open for writing (fcntl(2), "Leases").

The kernel gives a read lease only if nobody has the file open for writing. While the lease is held, a
program that opens the file for writing, or truncates it, must wait. After 45 seconds (lease-break-time)
the lease is gone. The waiting program then writes, even if the file has another name by then. Only the
owner of the file, or root, may take a lease, and some file systems have none; then it is unknown.
"""

import contextlib
import errno
import fcntl
import os
import signal
from pathlib import Path

from systemscripts import whole_files

# When a program opens a leased file for writing, the kernel sends this signal, which is ignored by default.
_HARMLESS = signal.SIGURG


class BeingWritten(Exception):
    """Somebody has the file open for writing."""


class Lease:
    """A lease that makes writers of a file wait. `is_held` is False if the kernel does not give it."""

    def __init__(self, handle: int) -> None:
        """Take the lease; `handle` must be open for reading only. Raises BeingWritten if the file is open for writing."""
        self._handle = handle
        self.is_held = _take(handle)

    def is_wanted(self) -> bool:
        """Return whether a writer waits for the end of the lease, or the lease has timed out."""
        return self.is_held and fcntl.fcntl(self._handle, fcntl.F_GETLEASE) != fcntl.F_RDLCK

    def release(self) -> None:
        """Release the lease, so that a waiting writer goes on; closing the handle does the same."""
        if self.is_held:
            self.is_held = False
            with contextlib.suppress(OSError):  # the lease is gone already
                fcntl.fcntl(self._handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def is_written(path: Path) -> bool | None:
    """Return whether somebody has the plain file open for writing, None if the kernel does not say."""
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
