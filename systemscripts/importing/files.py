"""Which files are waiting: whole ones, of the right name, lying in the configured directory itself."""

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


# In each watched directory: where a file lies while it is loaded and until it is archived, and how often runs died over one.
TAKEN = ".taken"
TRIES = ".tries."
_FORGET_TRIES_AFTER_S = 30 * 86_400


class PendingFile(NamedTuple):
    """A file as it was when it was found: in the watched directory, or `is_taken`, where a run that ended left it."""

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
        """Return where it lies."""
        return self.directory / TAKEN / self.name if self.is_taken else self.path

    def is_same(self, status: os.stat_result) -> bool:
        """Tell whether this is the status of the very file that was found, as it was."""
        found = (self.device, self.inode, self.size, self.modified_ns, self.changed_ns)
        return found == (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def pending_files(config: ImportConfig) -> tuple[list[PendingFile], list[PendingFile]]:
    """Return the files that are ready, oldest first, and those somebody may still be writing.

    A file is ready when it has been left alone for ETL_SETTLE_SECONDS and nobody has it open for writing.
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
    """Return `pending_files`, having waited once for files that were put there a moment ago."""
    ready, settling = pending_files(config)
    if settling:
        text = "%d files came a moment ago; waiting %g s to see whether they still grow"
        log.info(text, len(settling), settings.settle_seconds(), extra={"step": "find"})
        time.sleep(settings.settle_seconds())
        ready, settling = pending_files(config)
    return ready, settling


def named_file(config: ImportConfig, name: Path) -> PendingFile:
    """Return the one file that was asked for by path or name.

    Raises JobError if it lies elsewhere than in the configured directory, is no plain file, or
    does not fit the pattern.
    """
    path = config.source_directory / name
    if path.parent.resolve() != config.source_directory.resolve():
        raise JobError(f"import {config.config_name}: {name} does not lie in {config.source_directory}")
    if not config.matches(path.name):
        raise JobError(
            f"import {config.config_name}: the name {path.name!r} does not fit the pattern {config.file_pattern}"
        )
    if _is_unfinished(path.name):
        raise JobError(f"import {config.config_name}: {path.name!r} is what an unfinished file is called")
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
    """Tell whether a file waits under this path, or was taken from it and is not archived yet."""
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
    """Return the files that were taken and not archived: their runs ended, or could not reach the archive."""
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
    return not _is_unfinished(name) and config.matches(name)


def _is_unfinished(name: str) -> bool:
    return name.startswith(".") or name.lower().endswith(directory_management.UNFINISHED_SUFFIXES)


def _found(path: Path, is_taken: bool = False) -> PendingFile | None:
    """Describe a plain file; what has just vanished, and links, pipes and devices, which are named in the log, are None."""
    try:
        status = (path.parent / TAKEN / path.name if is_taken else path).lstat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    if not stat.S_ISREG(status.st_mode):
        kind = whole_files.kind_of(status.st_mode)
        log.warning(
            "%s is %s, which is not followed or opened; it is left alone", path.name, kind, extra={"step": "find"}
        )
        return None
    return PendingFile(
        path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_dev, status.st_ino, is_taken
    )


def _is_settled(file: PendingFile) -> bool:
    """Tell whether the file is whole, as far as that can be told from outside.

    Each byte written, and each change of name, mode or owner, sets the time of change by this machine's clock, so it
    does not tell a rename into place from a mode set before the next write. The time of the last write is the sender's.
    """
    if file.is_taken:
        return True
    # A time in the future, of a clock that was wrong, says nothing.
    age = abs(time.time() - file.changed_ns / 1e9)
    return age >= settings.settle_seconds() and not leases.is_written(file.path)
