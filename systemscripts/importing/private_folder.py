"""The folder in a watched directory for files that are being loaded: only the jobs' user can enter it."""

import contextlib
import os
import pwd
import shlex
import stat
from pathlib import Path
from typing import NamedTuple

from systemscripts import directory_management
from systemscripts.importing.config import ConfigurationError
from systemscripts.importing.files import TAKEN


class Trouble(NamedTuple):
    """What is wrong with such a folder, and the command that cures it."""

    told: str
    cure: str


def opened(source_directory: Path) -> int:
    """Return a handle of the folder, which is made if it is missing; raises ConfigurationError if it is not private."""
    directory, user = source_directory / TAKEN, os.geteuid()
    if user == 0 and (not directory.is_dir() or directory.lstat().st_uid != 0):
        user = source_directory.stat().st_uid
    try:
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)
            directory_management.hand_over(directory)
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        wrong = trouble(directory, user)
        told = (
            f"{wrong.told}; type: {wrong.cure}"
            if wrong
            else f"the folder {TAKEN} cannot be made or opened there ({error.strerror}); let the jobs' user write in {source_directory}"
        )
        raise ConfigurationError(f"files in {source_directory} cannot be loaded: {told}") from None
    if wrong := _wrong(directory, os.fstat(handle), user):
        os.close(handle)
        raise ConfigurationError(f"files in {source_directory} cannot be loaded: {wrong.told}; type: {wrong.cure}")
    return handle


def trouble(directory: Path, user: int) -> Trouble | None:
    """Return what keeps this user from having the folder alone, None if it is right or not there."""
    try:
        status = directory.lstat()
    except FileNotFoundError:
        return None
    return _wrong(directory, status, user) if stat.S_ISDIR(status.st_mode) else None


def _wrong(directory: Path, status: os.stat_result, user: int) -> Trouble | None:
    if status.st_uid == user and not stat.S_IMODE(status.st_mode) & 0o077:
        return None
    told = (
        f"the folder {directory} belongs to {_name(status.st_uid)} with mode {stat.S_IMODE(status.st_mode) & 0o777:o};"
        f" it must belong to {_name(user)} with mode 700"
    )
    # Root follows no link that somebody puts in its place: chown -h, and chmod as the one who has it then.
    give = ["sudo", "chown", "-h", _name(user), str(directory)]
    close = ["sudo", "-u", _name(user), "chmod", "700", str(directory)]
    return Trouble(told, f"{f'{shlex.join(give)} && ' if status.st_uid != user else ''}{shlex.join(close)}")


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
