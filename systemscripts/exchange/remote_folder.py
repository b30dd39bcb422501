"""A folder on an SFTP server elsewhere. What the server says is checked before it is used: names, sizes, times, bytes."""

import contextlib
import errno
import io
import logging
import stat
from collections.abc import Iterator
from typing import IO

import paramiko
from paramiko import SFTPAttributes

from systemscripts import settings
from systemscripts.deadlines import hung_up_after
from systemscripts.errors import JobError, TemporaryFailure
from systemscripts.exchange.config import SftpConfig
from systemscripts.exchange.folder import FoundFile, NotYet, Refused, copy_hashed
from systemscripts.exchange.seen_before import Memory
from systemscripts.exchange.sftp_client import Client, Garbled, NoMore, pieces
from systemscripts.exchange.ssh_login import logged_in

log = logging.getLogger(__name__)

MOST_ENTRIES = 1_000_000  # of a folder; a server may list without end
MOST_SAID = 100  # of a server's odd entries
MOST_DOUBTS = 10  # each costs a listing
SLOWEST = 10_000  # bytes a second


@contextlib.contextmanager
def opened(config: SftpConfig) -> Iterator["RemoteFolder"]:
    """Yield the folder; raises JobError if the server is not known or refuses, TemporaryFailure if it cannot be reached."""
    with logged_in(config) as sftp:
        yield RemoteFolder(config, sftp)


class RemoteFolder:
    """The incoming and the outgoing folder of a row with a host."""

    def __init__(self, config: SftpConfig, sftp: "Client") -> None:
        self._config = config
        self._sftp = sftp
        self._memory = Memory(config)
        self._said: set[tuple[str, str]] = set()
        self._doubts = 0
        self.refused: dict[str, str] = {}

    def look(self) -> list[FoundFile]:
        listed = self._listed()
        self._memory.look(listed)
        settled = [file for file in listed if self._memory.is_settled(file)]
        for file in set(listed) - set(settled):
            self._say(logging.INFO, file.name, "came or changed since the run before; the next run looks again")
        return sorted(settled, key=lambda file: (file.changed_ns, file.name))

    def make_sure(self, found: list[FoundFile]) -> list[FoundFile]:
        """Look a second time, and keep in mind what was seen for the next run."""
        self._memory.save()
        now = set(self._listed()) if found else set()
        return [file for file in found if file in now]

    def fetch(self, file: FoundFile, target: IO[bytes]) -> str:
        with self._understood(file.name, file.size):
            self._check_same(file)
            with self._sftp.open(self._path(file), "rb") as source:
                try:
                    digest = copy_hashed(pieces(source, file.size), target, file.size)
                except NotYet as difference:
                    self._check_same(file)
                    raise Refused(f"{difference}, and it has not changed; have its server's owner see why") from None
            self._check_same(file)
        return digest

    def remove(self, file: FoundFile) -> None:
        # A newer one that took its place meanwhile is the next run's.
        with contextlib.suppress(NotYet), self._understood(file.name):
            self._check_same(file)
            self._sftp.remove(self._path(file))
            if self._told_of(file) == file:
                raise Refused(
                    "it was taken, and the server says that it has removed it, but it is there;"
                    " set remove_taken to false where it may stay"
                )

    def put_receipt(self, name: str, content: bytes) -> None:
        folder = self._config.outgoing_path or ""
        path, part = f"{folder}/{name}", f"{folder}/.{name}.part"
        with self._understood(folder):
            if self._exists(path):
                return
            self._sftp.putfo(io.BytesIO(content), part)  # which asks for its size then
            # The plain rename of the protocol (version 3) never replaces a file.
            self._sftp.rename(part, path)
            if not self._exists(path):
                raise Refused(f"the server says that it has renamed {part!r} to {path!r}, and has not")

    # ---- inside ----------------------------------------------------------------------------

    def _listed(self) -> list[FoundFile]:
        """Return the plain files whose names are wanted."""
        found: dict[str, FoundFile] = {}
        with self._understood(self._config.incoming_path):
            for number, entry in enumerate(self._sftp.listing(self._config.incoming_path)):
                if number == MOST_ENTRIES:
                    raise JobError(
                        f"{self._config.incoming_path} has more than {MOST_ENTRIES:,} entries; see what it is"
                    )
                if (file := self._found(entry)) is not None:
                    found[file.name] = file
        return list(found.values())

    def _found(self, entry: "SFTPAttributes") -> FoundFile | None:
        name = entry.filename
        if name in (".", ".."):
            return None
        if "/" in name or "\0" in name or not name:
            self._say(logging.WARNING, name, "is no name that a file can have; the server is not to be trusted")
            return None
        if not self._config.wants(name):
            return None
        if entry.st_mode is None or entry.st_size is None or entry.st_mtime is None:
            self._say(logging.WARNING, name, "is left alone: the server does not tell its kind, size and time")
            return None
        if not stat.S_ISREG(entry.st_mode):
            if not stat.S_ISDIR(entry.st_mode):
                self._say(logging.WARNING, name, "is a link or no plain file; it is left alone")
            return None
        return FoundFile(name, entry.st_size, entry.st_mtime * 10**9)

    def _check_same(self, file: FoundFile) -> None:
        """Raise NotYet if the file is another one than was listed, and Refused if the server contradicts itself."""
        now = self._told_of(file)
        if now == file:
            return
        self._doubts += 1
        if self._doubts <= MOST_DOUBTS and file in self._listed():
            told = f"{now.size:,} bytes, changed {now.changed_at}" if now else "no size and time"
            raise Refused(
                f"asked about it alone, its server tells {told}, and lists it otherwise; have its owner see why"
            )
        raise NotYet("it changed while it was being taken")

    def _told_of(self, file: FoundFile) -> FoundFile | None:
        """Return how the file is now; None where it is gone, or its size and time are not told."""
        with contextlib.suppress(FileNotFoundError):
            now = self._sftp.lstat(self._path(file))
            if now.st_size is not None and now.st_mtime is not None:
                return FoundFile(file.name, now.st_size, now.st_mtime * 10**9)
        return None

    def _exists(self, path: str) -> bool:
        with contextlib.suppress(FileNotFoundError):
            self._sftp.lstat(path)
            return True
        return False

    def _path(self, file: FoundFile) -> bytes:
        # What is not UTF-8 goes back as it came.
        return f"{self._config.incoming_path}/{file.name}".encode("utf-8", "surrogateescape")

    @contextlib.contextmanager
    def _understood(self, what: str, size: int = 0) -> Iterator[None]:
        """Turn what the server answers, or does not answer any more, into this project's failures.

        All of it has to be there in ten times what the server may be silent, and the time for `size` bytes at SLOWEST.
        """
        try:
            with hung_up_after(10 * settings.sftp_timeout() + size / SLOWEST, self._hang_up):
                yield
        except Garbled as error:
            raise JobError(f"{what}: the server does not keep to SFTP: {error}") from None
        except (NoMore, paramiko.SFTPError) as error:
            raise Refused(f"the server does not keep to SFTP: {_words(error)}") from None
        except (EOFError, TimeoutError, ConnectionError, paramiko.SSHException) as error:
            raise TemporaryFailure(f"{what}: the connection was cut: {_words(error)}") from None
        except OSError as error:
            # What the server refuses has one of these or no number; the others are of this machine.
            if error.errno not in (None, errno.ENOENT, errno.EACCES):
                raise
            channel = self._sftp.get_channel()
            if channel is None or channel.closed:
                raise TemporaryFailure(f"{what}: the connection was cut: {_words(error)}") from None
            raise Refused(f"the server refuses {what!r}: {_words(error)}") from None

    def _hang_up(self) -> None:
        channel = self._sftp.get_channel()
        if channel is not None:
            channel.get_transport().close()

    def _say(self, level: int, name: str, what: str) -> None:
        """Log it once, whatever a server lists."""
        if len(self._said) < MOST_SAID and (name, what) not in self._said:
            self._said.add((name, what))
            log.log(level, "%s: %r %s", self._config.config_name, name, what, extra={"step": "look"})
            if len(self._said) == MOST_SAID:
                log.warning(
                    "%s: there is more like that, which is not named", self._config.config_name, extra={"step": "look"}
                )


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
