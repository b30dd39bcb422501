"""A folder on a remote SFTP server. All of the server's answers are checked before use: names, sizes, times, bytes."""

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
from systemscripts.exchange.config import ExchangeConfig
from systemscripts.exchange.folder import Fetched, FoundFile, NotYet, Refused, copy_hashed
from systemscripts.exchange.seen_before import Memory
from systemscripts.exchange.sftp_client import Client, Garbled, NoMore, pieces
from systemscripts.exchange.ssh_login import logged_in

log = logging.getLogger(__name__)

MOST_ENTRIES = 1_000_000  # entries of a folder; a bad server could list without end
MOST_SAID = 100  # named in the log, of a server's odd entries
MOST_DOUBTS = 10  # each of them costs a listing
SLOWEST = 10_000  # bytes a second


@contextlib.contextmanager
def opened(config: ExchangeConfig) -> Iterator["RemoteFolder"]:
    """Yield the folder; raises JobError if the server is not known or refuses, TemporaryFailure if it cannot be reached."""
    with logged_in(config) as sftp:
        yield RemoteFolder(config, sftp)


class RemoteFolder:
    """The incoming and the outgoing folder of a row with a host."""

    removals_at_once = 1

    def __init__(self, config: ExchangeConfig, sftp: "Client") -> None:
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
        """Look a second time, and remember for the next run what was seen."""
        self._memory.save()
        now = set(self._listed()) if found else set()
        return [file for file in found if file in now]

    def fetch(self, file: FoundFile, target: IO[bytes]) -> Fetched:
        with self._understood(file.name, file.size):
            self._check_same(file)
            with self._sftp.open(self._path(file), "rb") as source:
                try:
                    digest = copy_hashed(pieces(source, file.size), target, file.size)
                except NotYet as difference:
                    self._check_same(file)
                    raise Refused(f"{difference}, although it has not changed; ask the server's owner") from None
            self._check_same(file)
        return Fetched(digest)

    def remove(self, file: FoundFile) -> None:
        # A newer file in its place is taken by the next run.
        with contextlib.suppress(NotYet), self._understood(file.name):
            self._check_same(file)
            self._sftp.remove(self._path(file))
            if self._told_of(file) == file:
                raise Refused(
                    "it was taken, and the server says that it has removed it, but it is still there;"
                    " set remove_taken to false if it may stay"
                )

    def put_receipt(self, name: str, content: bytes) -> None:
        folder = self._config.outgoing_path or ""
        path, part = f"{folder}/{name}", f"{folder}/.{name}.part"
        with self._understood(folder):
            if self._exists(path):
                return
            self._sftp.putfo(io.BytesIO(content), part)  # which then asks for its size
            # The plain rename of the protocol (version 3) never replaces a file.
            self._sftp.rename(part, path)
            if not self._exists(path):
                raise Refused(f"the server says that it has renamed {part!r} to {path!r}, but it has not")

    def replace(self, path: str, content: bytes) -> None:
        """Write a file of our own; others see the former one under its name, or the whole new one."""
        folder, _, name = path.rpartition("/")
        part = f"{folder}/.{name}.part" if folder else f".{name}.part"
        with self._understood(path, len(content)):
            self._sftp.putfo(io.BytesIO(content), part)  # which then asks for its size
            try:
                self._sftp.posix_rename(part, path)
            except OSError:
                # A server without OpenSSH's extension never replaces a file.
                with contextlib.suppress(FileNotFoundError):
                    self._sftp.remove(path)
                self._sftp.rename(part, path)

    # ---- inside ----------------------------------------------------------------------------

    def _listed(self) -> list[FoundFile]:
        """Return the plain files whose names are wanted."""
        found: dict[str, FoundFile] = {}
        with self._understood(self._config.incoming_path):
            for number, entry in enumerate(self._sftp.listing(self._config.incoming_path)):
                if number == MOST_ENTRIES:
                    raise JobError(
                        f"{self._config.incoming_path} has more than {MOST_ENTRIES:,} entries; check incoming_path"
                    )
                if (file := self._found(entry)) is not None:
                    found[file.name] = file
        return list(found.values())

    def _found(self, entry: "SFTPAttributes") -> FoundFile | None:
        name = entry.filename
        if name in (".", ".."):
            return None
        if "/" in name or "\0" in name or not name:
            self._say(logging.WARNING, name, "is not a possible file name; do not trust this server")
            return None
        if not self._config.wants(name):
            return None
        if entry.st_mode is None or entry.st_size is None or entry.st_mtime is None:
            self._say(logging.WARNING, name, "is left alone: the server does not tell its kind, size and time")
            return None
        if not stat.S_ISREG(entry.st_mode):
            if not stat.S_ISDIR(entry.st_mode):
                self._say(logging.WARNING, name, "is a link or not a plain file; it is left alone")
            return None
        return FoundFile(name, entry.st_size, entry.st_mtime * 10**9)

    def _check_same(self, file: FoundFile) -> None:
        """Raise NotYet if the file differs from the listed one, and Refused if the server contradicts itself."""
        now = self._told_of(file)
        if now == file:
            return
        self._doubts += 1
        if self._doubts <= MOST_DOUBTS and file in self._listed():
            told = f"{now.size:,} bytes, changed {now.changed_at}" if now else "no size and time"
            raise Refused(
                f"asked about this file alone, the server tells {told}, but it lists other values; ask the server's owner"
            )
        raise NotYet("it changed while it was being taken")

    def _told_of(self, file: FoundFile) -> FoundFile | None:
        """Return the file's present state; None if it is gone, or if the server does not tell its size and time."""
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
        # Bytes that are not UTF-8 go back unchanged.
        return f"{self._config.incoming_path}/{file.name}".encode("utf-8", "surrogateescape")

    @contextlib.contextmanager
    def _understood(self, what: str, size: int = 0) -> Iterator[None]:
        """Turn the server's bad answers and its silence into this project's exceptions.

        The whole answer must come within ten times the allowed silence, plus the time for `size` bytes at SLOWEST.
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
            # A refusal of the server has one of these numbers or none; other numbers come from this machine.
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
        """Log it once, even if the server lists it again."""
        if len(self._said) < MOST_SAID and (name, what) not in self._said:
            self._said.add((name, what))
            log.log(level, "%s: %r %s", self._config.config_name, name, what, extra={"step": "look"})
            if len(self._said) == MOST_SAID:
                log.warning(
                    "%s: there are more such entries, which are not named",
                    self._config.config_name,
                    extra={"step": "look"},
                )


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
