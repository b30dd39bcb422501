"""The directories of an installation, and the moves that make a file appear there whole.

A file is written without a name and flushed to disk. It gets its name only when it is whole
(whole_files). Directories have mode 2770, so that files of the job user and of the administrator
belong to the same group; files have mode 660.
"""

import contextlib
import errno
import itertools
import os
import pwd
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from systemscripts import settings, whole_files
from systemscripts.user_utils import current_user
from systemscripts.whole_files import UnnamedFile

DIRECTORY_MODE = 0o2770
FILE_MODE = 0o660

# The most bytes in one component of a path, on every common file system of Linux.
LONGEST_NAME_BYTES = 255

# The errors of a file system that cannot take room before it is written to.
_CANNOT_TAKE_ROOM = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)

# The ending of a compressed file belongs to the one before it.
_ENDING = re.compile(r"(\.[a-z][a-z0-9]{0,7})?\.(gz|bz2|xz|zst|lz4|z|gpg|pgp|age)$|\.[^.]+$", re.IGNORECASE)

# The endings of files that somebody is still writing; such files are never picked up.
UNFINISHED_SUFFIXES = (".part", ".tmp", ".filepart", ".crdownload")


def temp_dir() -> Path:
    """Return the folder for files between two steps of one run; it is on the file system of the watched folder."""
    return settings.file_watcher_dir() / "file_watcher_temp"


def failed_dir(config_name: str) -> Path:
    """Return the folder of refused files; it has a folder for each configuration."""
    return settings.file_watcher_dir() / "failed" / safe_name(config_name)


def safe_name(name: str) -> str:
    """Return the name as one path component: replace everything but letters, digits, `.`, `_` and `-`.

    >>> safe_name("../a b.csv")
    '.._a_b.csv'
    """
    cleaned = "".join(character if character.isalnum() or character in "._-" else "_" for character in name)
    return cleaned if cleaned.strip(".") else f"_{cleaned}"


def ensure_directory(directory: Path) -> Path:
    """Make the directory, and missing ones above it, with mode 2770; leave an existing one as it is."""
    if not directory.is_dir():
        ensure_directory(directory.parent)
        with contextlib.suppress(FileExistsError):
            directory.mkdir()
            hand_over(directory)
            # The umask cuts mkdir's mode, and mkdir ignores setgid.
            directory.chmod(DIRECTORY_MODE)
    return directory


def hand_over(path: Path) -> None:
    """Give what root has just made to the owner of its directory, so that the job user can still use it."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def other_user_of_the_jobs() -> str:
    """Return the user whom the data belongs to, "" if it is this one or nobody in particular.

    The door's hand_over asks the same before a job of root's runs as that user.
    """
    try:
        owner = settings.logs_dir().stat().st_uid
    except OSError:
        return ""
    if owner in (0, os.geteuid(), settings.project_dir().stat().st_uid) or settings.cron_user() == current_user():
        return ""
    try:
        return pwd.getpwuid(owner).pw_name
    except KeyError:
        return ""


def jobs_may_read(path: Path, status: os.stat_result) -> bool:
    """Return whether the jobs' user may read the file with this status; a file with an access control list counts as readable."""
    user = other_user_of_the_jobs()
    if not user:
        return os.access(path, os.R_OK, effective_ids=True)
    with contextlib.suppress(OSError):
        os.getxattr(path, "system.posix_acl_access", follow_symlinks=False)
        return True
    jobs = pwd.getpwnam(user)
    if status.st_uid == jobs.pw_uid:
        return bool(status.st_mode & stat.S_IRUSR)
    if status.st_gid in os.getgrouplist(user, jobs.pw_gid):
        return bool(status.st_mode & stat.S_IRGRP)
    return bool(status.st_mode & stat.S_IROTH)


def share(file: Path) -> None:
    """Allow both the job user and the administrator to write a file that this process has just made."""
    hand_over(file)
    file.chmod(FILE_MODE)


def ensure_directories() -> list[Path]:
    """Make every directory that the jobs expect and return them."""
    wanted = (settings.logs_dir(), settings.archive_dir(), settings.file_watcher_dir(), temp_dir())
    return [ensure_directory(directory) for directory in wanted]


@contextlib.contextmanager
def unnamed_file(directory: Path, mode: int = FILE_MODE) -> Iterator[UnnamedFile]:
    """Yield a new file that root hands over like directories; without `appear` or `replace` it vanishes."""
    with whole_files.unnamed_file(directory, mode) as file:
        if os.geteuid() == 0:
            owner = directory.stat()
            os.chown(file.stream.fileno(), owner.st_uid, owner.st_gid)
        yield file


@contextlib.contextmanager
def temporary_file() -> Iterator[IO[bytes]]:
    """Yield a new file for what lies between two steps of one run; it has no name, and vanishes with this process."""
    import tempfile

    with tempfile.TemporaryFile(dir=ensure_directory(temp_dir())) as file:
        yield file


@contextlib.contextmanager
def new_file(target: Path, replaces: bool = True) -> Iterator[IO[bytes]]:
    """Open `target` for writing so that it appears whole or not at all.

    The bytes go into a file without a name. After the block they are flushed to disk, and the file gets
    its name. If the block raises, nothing is left. An existing target is replaced; without `replaces` it
    raises FileExistsError.
    """
    with unnamed_file(target.parent) as file:
        yield file.stream
        if replaces:
            file.replace(target)
        else:
            file.appear(target)


def keep_private(file: Path, content: str) -> None:
    """Write a file that only its owner can read, in one step: nobody ever reads half of it."""
    with private_file(file) as write:
        write(content)


@contextlib.contextmanager
def private_file(file: Path, room: int = 0) -> Iterator[Callable[[str], None]]:
    """Yield what writes a file that only its owner can read, in one step; `room` bytes of the disk are taken before.

    A killed process may leave `.NAME.<pid>.part`.
    """
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = file.with_name(f".{file.name}.{os.getpid()}.part")
    beside.unlink(missing_ok=True)
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as stream:
            if room:
                _take_room(descriptor, room)

            def write(content: str) -> None:
                stream.write(content)
                stream.truncate()
                stream.flush()
                os.fsync(descriptor)
                if os.geteuid() == 0:
                    owner = (file if file.exists() else file.parent).stat()
                    os.chown(beside, owner.st_uid, owner.st_gid)
                beside.replace(file)
                whole_files.sync_directory(file.parent)

            yield write
    finally:
        beside.unlink(missing_ok=True)


def _take_room(descriptor: int, room: int) -> None:
    """Take room on the disk for a file; a file system that cannot do this lets the file be written without."""
    try:
        os.posix_fallocate(descriptor, 0, room)
    except OSError as error:
        if error.errno not in _CANNOT_TAKE_ROOM:
            raise


def with_ending(path: Path, ending: str) -> Path:
    """Return the path with the ending added to its name; a name that would be too long is cut.

    >>> with_ending(Path("/a/b.csv"), ".part")
    PosixPath('/a/b.csv.part')
    """
    room = LONGEST_NAME_BYTES - len(os.fsencode(ending))
    return path.with_name(os.fsdecode(os.fsencode(path.name)[:room]) + ending)


def move_without_overwriting(source: Path, directory: Path) -> Path:
    """Move a file into a directory under its own name, or under NAME.2.EXT, NAME.3.EXT … if that name is taken.

    Returns the new path. Raises the OSError of whole_files.cannot_link if the directory is on another file system.
    `source` must lie where only this process can replace it. After a crash in between the file is in its old place
    or in both places. Called again, this function then only removes the old one.
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


def carry(source: Path, target: Path, sha256: str | None = None) -> None:
    """Move a plain file to a path of any file system: exactly the file that lies there when this begins, or nothing.

    With `sha256` only a file of this content is moved. Raises FileExistsError if the target's name is taken,
    whole_files.NotPlain for a link, pipe or directory, whole_files.Replaced if it is another file. After a crash the
    file is in its old place or in both.
    """
    handle = whole_files.open_plain(source)
    try:
        content, found = whole_files.by_handle(handle), os.fstat(handle)
        if sha256 is not None and whole_files.sha256_of(content) != sha256:
            raise whole_files.Replaced(f"{source} has another content than was recorded")
        try:
            whole_files.move(source, target)
        except OSError as error:
            if not whole_files.cannot_link(error):
                raise
            import shutil

            with unnamed_file(target.parent) as copy:
                with content.open("rb") as original:
                    shutil.copyfileobj(original, copy.stream, 1 << 20)
                copy.stream.flush()
                os.utime(copy.stream.fileno(), ns=(found.st_atime_ns, found.st_mtime_ns))
                now = os.fstat(handle)
                if (now.st_size, now.st_mtime_ns) != (found.st_size, found.st_mtime_ns):
                    raise whole_files.Replaced(f"{source} is being written") from None
                copy.appear(target)
            if os.path.samestat(source.lstat(), found):
                source.unlink()
        else:
            if not os.path.samestat(target.lstat(), found):
                whole_files.move(target, source)
                raise whole_files.Replaced(f"{source} was replaced by another file")
        whole_files.sync_directory(target.parent)
    finally:
        os.close(handle)


def appear_numbered(file: UnnamedFile, wanted: Path) -> Path:
    """Give the file the first free one of the path's numbered names, and return it."""
    for candidate in numbered_names(wanted):
        with contextlib.suppress(FileExistsError):
            file.appear(candidate)
            return candidate
    raise AssertionError("there is always one more free name")


def numbered_names(wanted: Path) -> Iterator[Path]:
    """Yield the names that a file may get in its new directory: its own, then NAME.2.EXT, NAME.3.EXT and so on."""
    yield wanted
    stem, ending = stem_and_ending(wanted.name)
    if not stem.strip("."):
        stem, ending = wanted.name, ""
    for number in itertools.count(2):
        yield with_ending(wanted.with_name(stem), f".{number}{ending}")


def find_numbered(wanted: Path, sha256: str) -> Path | None:
    """Return the file of this content under one of the path's numbered names; None if there is none.

    Earlier versions put the number of a compressed file elsewhere: NAME.csv.2.gz.
    """
    earlier = (wanted.with_name(f"{wanted.stem}.{number}{wanted.suffix}") for number in itertools.count(2))
    for names in (numbered_names(wanted), earlier):
        for candidate in itertools.takewhile(Path.is_file, names):
            if whole_files.sha256_of(candidate) == sha256:
                return candidate
    return None


def stem_and_ending(name: str) -> tuple[str, str]:
    """Part a name before its ending; that of a compressed file includes what was compressed.

    >>> stem_and_ending("a.b.csv.gz")
    ('a.b', '.csv.gz')
    """
    found = _ENDING.search(name)
    return (name[: found.start()], found[0]) if found else (name, "")


# ---- names that jobs from older installations import ----------------------------------------

ROOT_DIR: str
JOB_SCRIPTS_DIR: str
SYSTEM_SCRIPTS_DIR: str
LOG_DIR: str
ARCHIVE_DIR: str
FILE_WATCHER_DIR: str

_OLDER_NAMES = {
    "ROOT_DIR": settings.project_dir,
    "JOB_SCRIPTS_DIR": lambda: settings.project_dir() / "jobscripts",
    "SYSTEM_SCRIPTS_DIR": lambda: settings.project_dir() / "systemscripts",
    "LOG_DIR": settings.logs_dir,
    "ARCHIVE_DIR": settings.archive_dir,
    "FILE_WATCHER_DIR": settings.file_watcher_dir,
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> str:
        """Return the directory as text, as the environment says when it is asked for (PEP 562)."""
        if name not in _OLDER_NAMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return str(_OLDER_NAMES[name]())


def ensure_directory_exists(directory: str | os.PathLike[str]) -> None:
    """Make the directory and missing ones above it, as ensure_directory does."""
    ensure_directory(Path(directory))


def initialize_directories() -> None:
    """Make every directory that the jobs expect, as ensure_directories does."""
    ensure_directories()
