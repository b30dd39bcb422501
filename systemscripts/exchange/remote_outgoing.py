"""The folder on a remote SFTP server that files are put into."""

import contextlib
import stat
from collections.abc import Iterator
from pathlib import Path

import paramiko

from systemscripts.errors import TemporaryFailure
from systemscripts.exchange.config import ExchangeConfig
from systemscripts.exchange.folder import Refused, sha256_of
from systemscripts.exchange.remote_folder import RemoteFolder
from systemscripts.exchange.sftp_client import Client, pieces
from systemscripts.exchange.ssh_login import logged_in


@contextlib.contextmanager
def opened(config: ExchangeConfig, path: str) -> Iterator["RemoteOutgoing"]:
    """Yield the folder; raises JobError if the server is not known or refuses, TemporaryFailure if it cannot be reached."""
    with logged_in(config) as sftp:
        yield RemoteOutgoing(config, sftp, path)


class RemoteOutgoing(RemoteFolder):
    """A folder that is made below outgoing_path; a file is written beside its name and renamed when it is whole."""

    def __init__(self, config: ExchangeConfig, sftp: Client, path: str) -> None:
        super().__init__(config, sftp)
        self._folder = path
        at = config.outgoing_path or ""
        with self._understood(path):
            for part in filter(None, path.removeprefix(at).split("/")):
                at = f"{at}/{part}"
                if not self._exists(at):
                    self._sftp.mkdir(at)

    def sha256_of(self, name: str) -> str | None:
        path = f"{self._folder}/{name}"
        with self._understood(path):
            if not self._exists(path):
                return None
            found = self._sftp.lstat(path)
        if found.st_mode is None or found.st_size is None or not stat.S_ISREG(found.st_mode):
            return ""
        with self._understood(path, found.st_size), self._sftp.open(path, "rb") as source:
            return sha256_of(pieces(source, found.st_size))

    def discard(self, name: str) -> None:
        path = f"{self._folder}/{name}"
        with self._understood(path):
            self._sftp.remove(path)

    def put(self, name: str, source: Path, sha256: str) -> None:
        # Another run that puts another file of this name writes under another one.
        path, part = f"{self._folder}/{name}", f"{self._folder}/.{name}.{sha256[:12]}.part"
        size = source.stat().st_size
        with self._understood(path, size), source.open("rb") as content:
            try:
                self._sftp.putfo(content, part)  # which then asks for its size
            except OSError:
                # A server that is full or refuses; a connection that is cut leaves it, and the next try writes it anew.
                with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
                    self._sftp.remove(part)
                raise
            if self._exists(path):
                self._sftp.remove(part)
                raise TemporaryFailure(f"{self._folder} got another file {name} at this moment")
            # The plain rename of the protocol (version 3) never replaces a file.
            self._sftp.rename(part, path)
            found = self._sftp.lstat(path)
        if found.st_size != size:
            raise Refused(f"the server says that it has {found.st_size} bytes of {path!r}, and got {size:,}")
