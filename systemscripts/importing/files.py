"""Find the waiting files: whole ones with the right name, directly in the configured directory."""

import contextlib
import logging
import os
import stat
import time
from pathlib import Path
from typing import NamedTuple

from systemscripts import directory_management, settings, whole_files
from systemscripts.errors import JobError, TemporaryFailure
from systemscripts.importing import leases
from systemscripts.importing.config import ImportConfig

log = logging.getLogger(__name__)


# A folder in each watched directory. A file lies there from its load until it is archived; notes count the runs that died.
TAKEN = ".taken"
TRIES = ".tries."
_FORGET_TRIES_AFTER_S = 30 * 86_400


class PendingFile(NamedTuple):
    """A file as it was found: in the watched directory, or, with `is_taken`, where an earlier run left it."""

    path: Path
    size: int
    modified_ns: int
    changed_ns: int
    device: int
    inode: int
    is_taken: bool = False

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def directory(self) -> Path:
        return self.path.parent

    @property
    def place(self) -> Path:
        """Return the file's present path."""
        return self.directory / TAKEN / self.name if self.is_taken else self.path

    def is_same(self, status: os.stat_result) -> bool:
        """Return whether this is the status of the same file, unchanged since it was found."""
        found = (self.device, self.inode, self.size, self.modified_ns, self.changed_ns)
        return found == (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def pending_files(config: ImportConfig) -> tuple[list[PendingFile], list[PendingFile]]:
    """Return the files that are ready, oldest first, and those that may still be being written.

    A file is ready if it has not changed for ETL_SETTLE_SECONDS and nobody has it open for writing.
    """
    ready = [(file.modified_ns, file.name, file) for file in _left_by_earlier_runs(config)]
    settling: list[PendingFile] = []
    for path in _candidates(config):
        found = _found(path)
        if found is None:
            continue
        if _is_settled(found):
            ready.append((found.modified_ns, found.name, found))
        else:
            settling.append(found)
    return [file for _, _, file in sorted(ready)], settling


def wait_for_settling(config: ImportConfig) -> tuple[list[PendingFile], list[PendingFile]]:
    """Return `pending_files`; wait once for files that were put there a moment ago."""
    ready, settling = pending_files(config)
    if settling:
        text = "files that came a moment ago: %d; waiting %g s to see whether they still grow"
        log.info(text, len(settling), settings.settle_seconds(), extra={"step": "find"})
        time.sleep(settings.settle_seconds())
        ready, settling = pending_files(config)
    return ready, settling


def named_file(config: ImportConfig, name: Path) -> PendingFile:
    """Return the one file that was asked for by path or name.

    Raises JobError if it is not in the configured directory, is not a plain file, or does not fit
    the pattern.
    """
    path = config.source_directory / name
    if path.parent.resolve() != config.source_directory.resolve():
        raise JobError(f"import {config.config_name}: {name} is not in {config.source_directory}")
    if not config.matches(path.name):
        raise JobError(
            f"import {config.config_name}: the name {path.name!r} does not fit the pattern {config.file_pattern}"
        )
    if is_unfinished(path.name):
        raise JobError(f"import {config.config_name}: {path.name!r} is the name of an unfinished file")
    found = _found(path) or _found(path, is_taken=True)
    if found is None:
        told = "is not a plain file" if os.path.lexists(path) else "is not there"
        raise JobError(f"import {config.config_name}: {path} {told}")
    if not _is_settled(found):
        time.sleep(settings.settle_seconds())
        found = _found(path)
        if found is None or not _is_settled(found):
            raise TemporaryFailure(f"import {config.config_name}: {path.name} is still being written; try again later")
    return found


def lies_there(path: Path) -> bool:
    """Return whether a file waits under this path, or was taken from it and is not archived yet."""
    return _found(path) is not None or _found(path, is_taken=True) is not None


def _candidates(config: ImportConfig) -> list[Path]:
    try:
        with os.scandir(config.source_directory) as entries:
            names = [entry.name for entry in entries if not entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        raise JobError(
            f"import {config.config_name}: there is no directory {config.source_directory}; "
            "make it or correct source_directory"
        ) from None
    return [config.source_directory / name for name in names if _is_wanted(config, name)]


def _left_by_earlier_runs(config: ImportConfig) -> list[PendingFile]:
    """Return the files that were taken but not archived, because the run was killed or the archive was not reachable."""
    directory = config.source_directory / TAKEN
    left = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError), os.scandir(directory) as entries:
        for entry in entries:
            if _is_wanted(config, entry.name):
                left.append(_found(config.source_directory / entry.name, is_taken=True))
            elif entry.name.startswith(TRIES) and time.time() - entry.stat().st_mtime > _FORGET_TRIES_AFTER_S:
                Path(entry.path).unlink(missing_ok=True)
    return [file for file in left if file is not None]


def _is_wanted(config: ImportConfig, name: str) -> bool:
    return not is_unfinished(name) and config.matches(name)


def is_unfinished(name: str) -> bool:
    """Return whether a file of this name is never taken: a hidden one, or one that somebody still writes."""
    return name.startswith(".") or name.lower().endswith(directory_management.UNFINISHED_SUFFIXES)


def _found(path: Path, is_taken: bool = False) -> PendingFile | None:
    """Describe a plain file; return None for a file that vanished, and (with a warning) for a link, pipe or device."""
    try:
        status = (path.parent / TAKEN / path.name if is_taken else path).lstat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    if not stat.S_ISREG(status.st_mode):
        kind = whole_files.kind_of(status.st_mode)
        log.warning(
            "%s is %s, which is never followed or opened; it is left in place", path.name, kind, extra={"step": "find"}
        )
        return None
    return PendingFile(
        path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_dev, status.st_ino, is_taken
    )


def _is_settled(file: PendingFile) -> bool:
    """Return whether the file is whole, as far as that can be seen from outside.

    Every write, and every change of name, mode or owner, sets the time of change by this machine's clock. So a rename
    into place looks the same as a mode that was set before the next write. The time of the last write is the sender's.
    """
    if file.is_taken:
        return True
    # A time in the future comes from a wrong clock and is ignored.
    age = abs(time.time() - file.changed_ns / 1e9)
    return age >= settings.settle_seconds() and not leases.is_written(file.path)
