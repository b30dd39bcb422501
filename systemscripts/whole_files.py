"""Safe files: only plain files are opened, a file gets its name when it is whole, and a move overwrites nothing.

Other users may write in our directories and replace a file between two of our steps. So a file is
held by its handle, and its name is never trusted twice.

Reference: open(2) (O_PATH, O_TMPFILE), linkat(2), renameat2(2), proc(5) (/proc/self/fd).
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

# The errors of a file system without unnamed files, without links, or without a rename that never replaces.
_CANNOT_BE_UNNAMED = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL)
_CANNOT_LINK = (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK)
_CANNOT_RENAME_NEW = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
_AT_FDCWD, _RENAME_NOREPLACE = -100, 1


class NotPlain(Exception):
    """There is no plain file under a name; `kind` says in words what is there."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Replaced(Exception):
    """Another file lies under a name than the one that is meant; the message says which."""


def open_plain(path: Path) -> int:
    """Open a plain file for reading and return its handle; raises NotPlain for a link, pipe, directory or device."""
    # O_PATH opens nothing yet: opening a pipe may wait for ever, and opening a device may have side effects.
    found = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        mode = os.fstat(found).st_mode
        if not stat.S_ISREG(mode):
            raise NotPlain(kind_of(mode))
        return os.open(by_handle(found), os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(found)


def by_handle(handle: int) -> Path:
    """Return a path to the open file or directory that stays right when its name changes."""
    return Path(f"/proc/self/fd/{handle}")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content in hexadecimal."""
    import hashlib

    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def kind_of(mode: int) -> str:
    """Return in words what a file of that mode is."""
    kinds = {
        stat.S_IFREG: "a plain file", stat.S_IFDIR: "a directory", stat.S_IFLNK: "a link", stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket", stat.S_IFBLK: "a device", stat.S_IFCHR: "a device",
    }  # fmt: skip
    return kinds[stat.S_IFMT(mode)]


class UnnamedFile:
    """A new file, open for writing, without a name: nobody finds it, and a killed process leaves nothing of it.

    If the file system does not support this, the file has a hidden random name that ends in `.part`.
    """

    def __init__(self, directory: Path, mode: int) -> None:
        self._directory = directory
        self._name: Path | None = None
        try:
            handle = os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, mode)
        except OSError as error:
            if error.errno not in _CANNOT_BE_UNNAMED or not directory.is_dir():
                raise
            self._name = self._hidden()
            handle = os.open(self._name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        self.stream: IO[bytes] = open(handle, "wb")  # noqa: SIM115 — closed by close()
        os.fchmod(handle, mode)

    def flush(self) -> None:
        """Bring the bytes to disk. Several files at the same time take little longer than one."""
        self.stream.flush()
        os.fsync(self.stream.fileno())

    def appear(self, target: Path, one_of_many: bool = False) -> None:
        """Give the file its name; raises FileExistsError if the name is taken.

        One of many was flushed by the caller, who calls `sync_directory` after the last of them.
        """
        if not one_of_many:
            self.flush()
        if self._name is not None:
            move(self._name, target)
            self._name = None
        else:
            self._link(target)
        if not one_of_many:
            sync_directory(target.parent)

    def replace(self, target: Path) -> None:
        """Give the file its name; replaces a file that has it."""
        self.flush()
        if self._name is None:
            self._name = self._hidden()
            self._link(self._name)
        self._name.replace(target)
        self._name = None
        sync_directory(target.parent)

    def close(self) -> None:
        self.stream.close()
        if self._name is not None:
            self._name.unlink(missing_ok=True)

    def _hidden(self) -> Path:
        return self._directory / f".{os.urandom(8).hex()}.part"

    def _link(self, target: Path) -> None:
        # With a directory's handle Python calls linkat; only linkat follows this path to the open file.
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.link(by_handle(self.stream.fileno()), target, src_dir_fd=directory, follow_symlinks=True)
        except FileExistsError:
            raise FileExistsError(
                errno.EEXIST, "a file of that name is there already, and is not replaced", str(target)
            ) from None
        finally:
            os.close(directory)


def move(source: Path, target: Path) -> None:
    """Give a file another name on its file system; raises FileExistsError if the name is taken.

    If the file system cannot do that in one step, a crash in between leaves the file under both names.
    """
    if _renamed_new(source, target):
        return
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        if not _is_same(source, target):
            raise
    os.unlink(source)  # noqa: PTH108


def cannot_link(error: OSError) -> bool:
    """Return whether the error means that the two places cannot share a file: another file system, or no links."""
    return error.errno in _CANNOT_LINK


def sync_directory(directory: Path) -> None:
    """Flush the directory's entries to disk; otherwise a power cut may undo a rename."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _renamed_new(source: Path, target: Path) -> bool:
    """Rename in one step if the name is free; return False if the file system cannot do this."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(source), os.fsencode(target)
    if libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_NOREPLACE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT_RENAME_NEW:
        return False
    raise OSError(number, os.strerror(number), str(source), None, str(target))


def _is_same(one: Path, other: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(one.lstat(), other.lstat())
    return False


@contextlib.contextmanager
def unnamed_file(directory: Path, mode: int) -> Iterator[UnnamedFile]:
    """Yield a new file in the directory; it vanishes after the block unless `appear` or `replace` was called."""
    file = UnnamedFile(directory, mode)
    try:
        yield file
    finally:
        file.close()
