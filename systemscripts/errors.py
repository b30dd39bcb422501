"""The three ways a job can fail on purpose, each with the exit status that says so.

Whatever else is raised is a fault of the program: it is logged with its traceback and exits 1.
"""

import errno

EXIT_FAILED = 1
EXIT_WRONG_CALL = 64  # EX_USAGE of sysexits.h
EXIT_TEMPORARY = 75  # EX_TEMPFAIL of sysexits.h: the same call may work later

# What an OSError has where the disk cannot be written, whatever the file.
DISK_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


class JobError(Exception):
    """The job cannot do what it was asked to; the message says what, where, and what was there instead."""

    exit_status = EXIT_FAILED


class WrongCall(JobError):
    """The job was called with arguments that it cannot take."""

    exit_status = EXIT_WRONG_CALL


class TemporaryFailure(JobError):
    """Nothing is wrong with the work itself: the same call may succeed later."""

    exit_status = EXIT_TEMPORARY
