"""One waiting file, held by its handle from the first read until it is in the archive.

Its sender may at any moment append to it, replace it, rename it or put another file under its name.
So it is read through one handle, and it is taken before the commit: a rename puts it into a directory
that only this user can enter. It is taken only if nobody has it open for writing and it is still exactly
what was read. Until it is archived, the kernel makes writers wait (a lease). If a writer waits, or if the
kernel cannot do this, a copy with the right hash is archived and the file goes back to its sender. So the
archive always holds what was loaded.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from systemscripts import directory_management, whole_files
from systemscripts.errors import JobError, TemporaryFailure
from systemscripts.importing import leases, private_folder
from systemscripts.importing.files import TRIES, PendingFile
from systemscripts.job_catalog import typed
from systemscripts.whole_files import sha256_of

# A file system's clock may stand still for so long, so a later write may get the same time.
CLOCK_STEP_S = 0.02
# After so many runs that died while they read a file, the file is moved to failed/.
MOST_TRIES = 3


class Changed(TemporaryFailure):
    """The file changed after it was found or read; the next run looks at it again."""


class Gone(Exception):
    """The file is no longer there: its sender or another run has taken it away."""


class HeldFile:
    """A plain file that is open. `path` leads to its content even if its name changes."""

    def __init__(self, file: PendingFile, handle: int) -> None:
        self.file = file
        self.path = whole_files.by_handle(handle)
        self._handle = handle
        self._opened = self._settled_status()
        self._private: int | None = None
        self._lease: leases.Lease | None = None
        self._sha256 = ""
        self._is_out_of_reach = False
        self._is_kept = False
        if not file.is_same(self._opened):
            raise Changed(f"{file.name} was changed since it was found; it is tried again next time")

    @property
    def name(self) -> str:
        return self.file.name

    @contextlib.contextmanager
    def taken(self, sha256: str, was_hashed_while_read: bool = False) -> Iterator[None]:
        """Take the file out of everybody's reach during the block; after a commit it stays taken.

        If the block raises, the file goes back to its place. `sha256` is the hash of what was read. Raises Changed if
        the file has changed since, TemporaryFailure if it cannot be moved away from its place.
        """
        try:
            lease = self._lease = self._lease or leases.Lease(self._handle)
        except leases.BeingWritten:
            raise Changed(f"{self.name} is still being written; it is tried again next time") from None
        changed = Changed(f"{self.name} was changed while it was read; it is tried again next time")
        if not self._is_as_opened() and not (was_hashed_while_read and sha256_of(self.path) == sha256):
            raise changed
        self._take()
        self._tries().unlink(missing_ok=True)
        # Without a lease a writer may have opened it between the check and the rename.
        if lease.is_wanted() or (not lease.is_held and sha256_of(self.path) != sha256):
            raise changed
        self._sha256 = sha256
        yield
        self._is_kept = True

    def move(self, directory: Path) -> Path:
        """Put the taken file, or a copy of it, into the directory and return its path there; nothing is replaced.

        Raises Changed if it is no longer what was taken, and Gone if it is no longer there.
        """
        self._require_ours()
        path = self._renamed_into(directory)
        if path is None:
            path = self._copied_into(directory)
            self.remove()
        return path

    def remove(self) -> None:
        """Remove the taken file, whose content is already in the archive; give it back if a writer waits for it."""
        assert self._lease is not None, "only what was taken is known to be what was read"
        self._require_ours()
        source = self._private_directory() / self.name
        is_changed = not self._lease.is_held and sha256_of(self.path) != self._sha256
        if is_changed or self._lease.is_wanted() or leases.is_written(source):
            self._give_back()
        else:
            source.unlink()
        self._lease.release()

    def _renamed_into(self, directory: Path) -> Path | None:
        """Move the file itself if that is safe: it has no other name, and no writer waits for it or can come."""
        assert self._lease is not None, "only what was taken is known to be what was read"
        source = self._private_directory() / self.name
        if not self._lease.is_held or self._lease.is_wanted() or source.lstat().st_nlink != 1:
            return None
        try:
            path = directory_management.move_without_overwriting(source, directory)
        except OSError as error:
            if not whole_files.cannot_link(error):
                raise
            return None
        self._lease.release()
        if leases.is_written(path):  # a writer that came in between has had no time to write
            whole_files.move(path, source)
            return None
        return path

    def _copied_into(self, directory: Path) -> Path:
        import hashlib

        digest = hashlib.sha256()
        with self.path.open("rb") as original, directory_management.unnamed_file(directory) as copy:
            while chunk := original.read(1 << 20):
                digest.update(chunk)
                copy.stream.write(chunk)
            if digest.hexdigest() != self._sha256:
                self._is_kept = False
                raise Changed(
                    f"{self.name} was written to after it was loaded, so it is not archived; the loaded rows are in the "
                    "table, and the next run loads the file as it is now"
                )
            times = os.fstat(original.fileno())
            os.utime(copy.stream.fileno(), ns=(times.st_atime_ns, times.st_mtime_ns))
            return directory_management.appear_numbered(copy, directory / self.name)

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Count the runs that die before the file is taken, as by SIGKILL; raises JobError after too many."""
        marker = self._tries()
        with marker.open("ab") as stream:
            stream.write(b".")
            tries = stream.tell()
        try:
            if tries > MOST_TRIES:
                raise JobError(
                    f"{MOST_TRIES} runs died while they read it (killed, or the machine went down);"
                    f" see dba.tjobrun, then type: {typed('retry_files.py', self.name)}"
                )
            yield
        finally:
            marker.unlink(missing_ok=True)

    def close(self) -> None:
        if self._is_out_of_reach and not self._is_kept and not self.file.is_taken:
            self._give_back()
        if self._lease is not None:
            self._lease.release()
        os.close(self._handle)
        if self._private is not None:
            os.close(self._private)

    def _settled_status(self) -> os.stat_result:
        """Return the file's status at a time when every later change of the content must show in it."""
        status = os.fstat(self._handle)
        left = status.st_ctime + CLOCK_STEP_S - time.time()
        if 0 < left <= CLOCK_STEP_S:
            time.sleep(left)
            status = os.fstat(self._handle)
        return status

    def _is_as_opened(self) -> bool:
        now, then = os.fstat(self._handle), self._opened
        return (now.st_size, now.st_mtime_ns, now.st_ctime_ns) == (then.st_size, then.st_mtime_ns, then.st_ctime_ns)

    def _take(self) -> None:
        """Rename the file into the private directory; raises Changed if another file has its name by now."""
        place = self._private_directory() / self.name
        if not self.file.is_taken and not self._is_out_of_reach:
            # Only our own runs work in this directory, and only one at a time on a path.
            if os.path.lexists(place):
                raise Changed(f"{self.name} waits: the earlier file of this name is not archived yet")
            try:
                os.rename(self.file.path, place)  # noqa: PTH104
            except FileNotFoundError:
                raise Changed(f"{self.name} was removed or renamed while it was read") from None
            except OSError as error:
                raise TemporaryFailure(
                    f"{self.name} cannot be taken out of {self.file.directory}: {error.strerror}; it is tried again next time"
                ) from None
        self._is_out_of_reach = True
        if not os.path.samestat(place.lstat(), self._opened):
            raise Changed(f"{self.name} was replaced while it was read; it is tried again next time")
        self._opened = os.fstat(self._handle)  # the rename has set the time of change

    def _require_ours(self) -> None:
        """Raise Gone if the file that was taken is not in the private directory, or if another one has its name there.

        A machine that was cut off has lost its locks without knowing it. Another may have filed this file since, and have
        taken the next one of its name.
        """
        try:
            is_ours = os.path.samestat((self._private_directory() / self.name).lstat(), self._opened)
        except FileNotFoundError:
            is_ours = False
        if not is_ours:
            raise Gone

    def _tries(self) -> Path:
        found = self.file
        return self._private_directory() / f"{TRIES}{found.device}.{found.inode}.{found.size}.{found.modified_ns}"

    def _give_back(self) -> None:
        """Give the file its name back; if another file has that name by now, it waits where it is."""
        with contextlib.suppress(OSError):
            whole_files.move(self._private_directory() / self.name, self.file.path)

    def _private_directory(self) -> Path:
        """Return the handle of the folder for taken files; raises ConfigurationError if others can enter it."""
        if self._private is None:
            self._private = private_folder.opened(self.file.directory)
        return whole_files.by_handle(self._private)


@contextlib.contextmanager
def hold(file: PendingFile) -> Iterator[HeldFile]:
    """Hold the file while the block reads it.

    Raises Changed if another file lies there now, whole_files.NotPlain if it is not a plain file,
    and Gone if there is none.
    """
    try:
        handle = whole_files.open_plain(file.place)
    except FileNotFoundError:
        raise Gone from None
    try:
        held = HeldFile(file, handle)
    except BaseException:
        os.close(handle)
        raise
    with contextlib.closing(held):
        yield held
