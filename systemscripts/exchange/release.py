#!/usr/bin/python3 -I
"""Run as a client's own user: let the group read the files in a folder, and list those still open for writing.

setup_sftp.sh installs a copy of this file, owned by root; the job runs that copy by sudo, as the
client. Only the owner of a file may change its mode or ask for its writers (fcntl(2), leases).
It can do nothing that the client could not do. Prints a JSON list of names.
"""

import errno
import fcntl
import json
import os
import signal
import stat
import sys

READABLE = stat.S_IRUSR | stat.S_IRGRP
# fcntl's error if somebody has the file open for writing.
_BEING_WRITTEN = (errno.EAGAIN, errno.EACCES)


def release(folder: int, name: str) -> bool:
    """Let the group read the file; return whether somebody has it open for writing."""
    # O_PATH, because a file of mode 0 cannot be opened; the handle stays with the same file.
    handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink != 1:
            return False
        itself = f"/proc/self/fd/{handle}"
        mode = stat.S_IMODE(found.st_mode)
        if mode & READABLE != READABLE:
            os.chmod(itself, mode | READABLE)  # noqa: PTH101
        return _is_being_written(itself)
    finally:
        os.close(handle)


def _is_being_written(path: str) -> bool:
    try:
        reader = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        # Its mode was changed again just now, so the client works on it.
        return True
    try:
        fcntl.fcntl(reader, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(reader, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        if error.errno not in _BEING_WRITTEN:
            raise
        return True
    finally:
        os.close(reader)
    return False


def main(path: str) -> int:
    """Return how many files could not be looked at."""
    # If a program opens a file during the check, the kernel sends this signal, which would end the process.
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    being_written, failures = [], 0
    for name in os.listdir(folder):  # noqa: PTH208 — the folder is a handle
        try:
            if release(folder, name):
                being_written.append(name)
        except FileNotFoundError:
            continue
        except OSError as error:
            print(f"{name!r}: {error.strerror}", file=sys.stderr)
            failures += 1
    print(json.dumps(being_written))
    return 1 if failures else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: sftp_release DIRECTORY")
    sys.exit(main(sys.argv[1]))
