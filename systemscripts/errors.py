"""The three exceptions that a job raises on purpose, each with its exit status.

Any other exception is a fault of the program: the traceback is logged, and the exit status is 1.
"""

import errno

EXIT_FAILED = 1
EXIT_WRONG_CALL = 64  # EX_USAGE of sysexits.h
EXIT_TEMPORARY = 75  # EX_TEMPFAIL of sysexits.h: the same call may work later

# The errno of an OSError when no file on the disk can be written.
DISK_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


class JobError(Exception):
    """The job cannot do its work; the message says what is wrong, where, and what was there instead."""

    exit_status = EXIT_FAILED


class WrongCall(JobError):
    """The job was called with arguments that it cannot take."""

    exit_status = EXIT_WRONG_CALL


class TemporaryFailure(JobError):
    """The job failed for a passing reason: the same call may succeed later."""

    exit_status = EXIT_TEMPORARY
