"""Where a file goes when it is done: the archive, or the folder of those that were refused."""

from pathlib import Path

from systemscripts import directory_management
from systemscripts.errors import TemporaryFailure
from systemscripts.importing.config import ImportConfig
from systemscripts.importing.files import PendingFile
from systemscripts.importing.load import sha256_of


def archive(config: ImportConfig, file: PendingFile) -> Path:
    """Move the file to the configuration's archive directory and return its new path.

    Raises TemporaryFailure if it cannot be moved (the next run tries again), FileNotFoundError if
    it is no longer there.
    """
    return _move(config, file, config.archive_directory)


def set_aside(config: ImportConfig, file: PendingFile, reason: str) -> Path:
    """Move a refused file to failed/<configuration>/, with the reason in NAME.error.txt beside it; return its new path."""
    path = _move(config, file, directory_management.failed_dir(config.config_name))
    beside = directory_management.with_ending(path, ".error.txt")
    with directory_management.new_file(directory_management.free_name(beside)) as stream:
        stream.write((reason + "\n").encode("utf-8", "backslashreplace"))
    return path


def find_moved(config: ImportConfig, name: str, status: str, sha256: str) -> Path | None:
    """Return where a file was moved to by a run that ended before it could write that down, None if it is not there."""
    failed = status == "Failed"
    directory = directory_management.failed_dir(config.config_name) if failed else config.archive_directory
    for candidate in directory_management.numbered_names(directory / name):
        if not candidate.is_file():
            return None
        if sha256_of(candidate) == sha256:
            return candidate
    return None


def _move(config: ImportConfig, file: PendingFile, directory: Path) -> Path:
    try:
        directory_management.ensure_directory(directory)
        return directory_management.move_without_overwriting(file.path, directory)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not file.path.exists():
            raise
        raise TemporaryFailure(
            f"import {config.config_name}: {file.name} cannot be moved to {directory}: {error.strerror}; "
            "it stays where it is and is tried again next time"
        ) from None
