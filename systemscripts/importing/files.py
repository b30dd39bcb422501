"""Which files are waiting: whole ones, of the right name, lying in the configured directory itself."""

import logging
import os
import stat
import time
from pathlib import Path
from typing import NamedTuple

from systemscripts import directory_management, settings
from systemscripts.errors import JobError, TemporaryFailure
from systemscripts.importing.config import ImportConfig

log = logging.getLogger(__name__)


class PendingFile(NamedTuple):
    """A file as it was when it was found."""

    path: Path
    size: int
    modified_ns: int
    changed_ns: int
    inode: int

    @property
    def name(self) -> str:
        return self.path.name

    def is_unchanged(self) -> bool:
        """Tell whether the same file with the same content lies there still; FileNotFoundError if none does."""
        now = self.path.lstat()
        return (now.st_size, now.st_mtime_ns, now.st_ino) == (self.size, self.modified_ns, self.inode)


def pending_files(config: ImportConfig) -> tuple[list[PendingFile], list[PendingFile]]:
    """Return the files that are ready, oldest first, and those somebody may still be writing.

    A file is ready when it was renamed into place (its status changed after its last byte), or
    has been left alone for ETL_SETTLE_SECONDS.
    """
    ready: list[tuple[int, str, PendingFile]] = []
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
    found = _found(path)
    if found is None:
        told = "is not a plain file" if os.path.lexists(path) else "is not there"
        raise JobError(f"import {config.config_name}: {path} {told}")
    if not _is_settled(found):
        time.sleep(settings.settle_seconds())
        found = _found(path)
        if found is None or not _is_settled(found):
            raise TemporaryFailure(f"import {config.config_name}: {path.name} is still being written; try again later")
    return found


def _candidates(config: ImportConfig) -> list[Path]:
    try:
        with os.scandir(config.source_directory) as entries:
            found = [(entry.name, entry.is_symlink()) for entry in entries if not entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        raise JobError(
            f"import {config.config_name}: there is no directory {config.source_directory}; "
            "make it or correct source_directory"
        ) from None
    fitting = [(name, is_link) for name, is_link in found if not _is_unfinished(name) and config.matches(name)]
    for name, is_link in fitting:
        if is_link:
            log.warning("%s is a link, which is not followed; it is left alone", name, extra={"step": "find"})
    return [config.source_directory / name for name, is_link in fitting if not is_link]


def _is_unfinished(name: str) -> bool:
    return name.startswith(".") or name.lower().endswith(directory_management.UNFINISHED_SUFFIXES)


def _found(path: Path) -> PendingFile | None:
    """Describe a plain file; links, directories, devices and what has just vanished are None."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return PendingFile(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _is_settled(file: PendingFile) -> bool:
    renamed_after_last_write = file.changed_ns > file.modified_ns
    # A time in the future, set by whoever made the file, says nothing about when it was written.
    age = abs(time.time() - file.modified_ns / 1e9)
    return renamed_after_last_write or age >= settings.settle_seconds()
