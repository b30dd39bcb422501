"""The directories of an installation, and the moves by which a file appears in one of them whole.

A file is written without a name, flushed to disk, and named when it is whole (whole_files); it is
never half there. Directories are 2770, so that what the job user and the
administrator write belongs to the same group; files are 660.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from systemscripts import settings, whole_files
from systemscripts.whole_files import UnnamedFile

DIRECTORY_MODE = 0o2770
FILE_MODE = 0o660

# Of one component of a path, on every file system that Linux has in daily use.
LONGEST_NAME_BYTES = 255

# What a file is called while somebody is still writing it: never to be picked up.
UNFINISHED_SUFFIXES = (".part", ".tmp", ".filepart", ".crdownload")


def temp_dir() -> Path:
    """Return where files lie between two steps of one run; on the same file system as the watched folder."""
    return settings.file_watcher_dir() / "file_watcher_temp"


def failed_dir(config_name: str) -> Path:
    """Return where the files that an import refused lie, a folder for each configuration."""
    return settings.file_watcher_dir() / "failed" / safe_name(config_name)


def safe_name(name: str) -> str:
    """Return the name with everything but letters, digits, `.`, `_` and `-` replaced, so that it is one path component.

    >>> safe_name("../a b.csv")
    '.._a_b.csv'
    """
    cleaned = "".join(character if character.isalnum() or character in "._-" else "_" for character in name)
    return cleaned if cleaned.strip(".") else f"_{cleaned}"


def ensure_directory(directory: Path) -> Path:
    """Make the directory and what is missing above it, with the mode of the house; leave an existing one as it is."""
    if not directory.is_dir():
        ensure_directory(directory.parent)
        with contextlib.suppress(FileExistsError):
            directory.mkdir()
            hand_over(directory)
            # mkdir's mode is cut by the umask, and setgid is not taken by it at all.
            directory.chmod(DIRECTORY_MODE)
    return directory


def hand_over(path: Path) -> None:
    """Give what root has just made to the owner of the directory it lies in: root's runs must not shut the job user out."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def share(file: Path) -> None:
    """Let the job user and the administrator both write a file that this process has just made."""
    hand_over(file)
    file.chmod(FILE_MODE)


def ensure_directories() -> list[Path]:
    """Make every directory that the jobs expect and return them."""
    wanted = (settings.logs_dir(), settings.archive_dir(), settings.file_watcher_dir(), temp_dir())
    return [ensure_directory(directory) for directory in wanted]


@contextlib.contextmanager
def unnamed_file(directory: Path, mode: int = FILE_MODE) -> Iterator[UnnamedFile]:
    """Yield a new file that root hands over as directories are; without its `appear` or `replace` nothing is left of it."""
    with whole_files.unnamed_file(directory, mode) as file:
        if os.geteuid() == 0:
            owner = directory.stat()
            os.chown(file.stream.fileno(), owner.st_uid, owner.st_gid)
        yield file


@contextlib.contextmanager
def new_file(target: Path, replaces: bool = True) -> Iterator[IO[bytes]]:
    """Open `target` for writing so that it appears whole or not at all.

    The bytes go into a file without a name; after the block they are flushed to disk, and it gets
    its own. If the block raises, nothing is left. A target that is there by then is replaced, or without
    `replaces` raises FileExistsError.
    """
    with unnamed_file(target.parent) as file:
        yield file.stream
        if replaces:
            file.replace(target)
        else:
            file.appear(target)


def with_ending(path: Path, ending: str) -> Path:
    """Return the path with the ending added to its name; a name that is too long for that loses its own end.

    >>> with_ending(Path("/a/b.csv"), ".part")
    PosixPath('/a/b.csv.part')
    """
    room = LONGEST_NAME_BYTES - len(os.fsencode(ending))
    return path.with_name(os.fsdecode(os.fsencode(path.name)[:room]) + ending)


def move_without_overwriting(source: Path, directory: Path) -> Path:
    """Move a file into a directory under its own name, or NAME.2.EXT, NAME.3.EXT … where that is taken.

    Returns the new path; raises the OSError of whole_files.cannot_link where the directory is on another file system.
    `source` lies where only this process can put something else under its name. A crash in between leaves the file in
    its old place or in both, never in none; called again it then only removes the old one.
    """
    for candidate in numbered_names(directory / source.name):
        try:
            whole_files.move(source, candidate)
        except FileExistsError:
            if not candidate.samefile(source):
                continue
            source.unlink()
        whole_files.sync_directory(directory)
        return candidate
    raise AssertionError("there is always one more free name")


def appear_numbered(file: UnnamedFile, wanted: Path) -> Path:
    """Give the file the first of the path's numbered names that nothing has yet, and return it."""
    for candidate in numbered_names(wanted):
        with contextlib.suppress(FileExistsError):
            file.appear(candidate)
            return candidate
    raise AssertionError("there is always one more free name")


def numbered_names(wanted: Path) -> Iterator[Path]:
    """Yield the names that a file may get in its new directory: its own, then NAME.2.EXT, NAME.3.EXT and so on."""
    yield wanted
    number = 2
    while True:
        yield with_ending(wanted.with_name(wanted.stem), f".{number}{wanted.suffix}")
        number += 1
