"""Move a file that is done: to the archive, or to the folder of refused files."""

from pathlib import Path

from systemscripts import directory_management
from systemscripts.errors import TemporaryFailure
from systemscripts.importing.config import ImportConfig
from systemscripts.importing.files import TAKEN
from systemscripts.importing.held import Gone, HeldFile
from systemscripts.job_catalog import typed


class NotFiled(TemporaryFailure):
    """The file is done but was not moved to its place: it stays out of reach for the next run, or another run has moved it."""


def archive(config: ImportConfig, held: HeldFile) -> Path:
    """Move the taken file to the configuration's archive directory and return its new path; raises NotFiled."""
    return _move(held, config.archive_directory)


def set_aside(config: ImportConfig, held: HeldFile, reason: str) -> Path:
    """Move a refused file to failed/<configuration>/, with the reason in NAME.error.txt beside it; return its new path."""
    path = _move(held, directory_management.failed_dir(config.config_name))
    say_why(path, reason)
    return path


def say_why(path: Path, reason: str) -> None:
    """Write the reason, and how the file is tried again, into NAME.error.txt beside a file in failed/."""
    cure = f"To try it again, correct the file or the import, then type: {typed('retry_files.py', path.name)}"
    with directory_management.unnamed_file(path.parent) as file:
        file.stream.write(f"{reason}\n\n{cure}\n".encode("utf-8", "backslashreplace"))
        directory_management.appear_numbered(file, directory_management.with_ending(path, ".error.txt"))


def find_moved(config: ImportConfig, name: str, status: str, sha256: str) -> Path | None:
    """Return the place where a killed run moved the file before it could record that; None if it is not there."""
    failed = status == "Failed"
    directory = directory_management.failed_dir(config.config_name) if failed else config.archive_directory
    return directory_management.find_numbered(directory / name, sha256)


def _move(held: HeldFile, directory: Path) -> Path:
    try:
        directory_management.ensure_directory(directory)
        return held.move(directory)
    except Gone:
        raise NotFiled(
            f"{held.file.name} is no longer in {held.file.directory / TAKEN}: another run took this one for lost, and filed it; "
            f"to see it, type: {typed('show_imports.py')}"
        ) from None
    except OSError as error:
        raise NotFiled(
            f"{held.file.name} cannot be moved to {directory}: {error.strerror}; "
            f"it stays in {held.file.directory / TAKEN}, and later runs try again"
        ) from None
