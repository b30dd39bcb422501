"""The folder that the files of a report are put into: that of a row of dba.texchangeconfig, or one below it."""

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from psycopg2.extensions import connection as Connection

from systemscripts import directory_management, whole_files
from systemscripts.errors import DISK_TROUBLE, JobError, TemporaryFailure
from systemscripts.exchange.config import ExchangeConfig, load_outgoing
from systemscripts.exchange.folder import CHUNK_BYTES, sha256_of
from systemscripts.reporting.folders import Outgoing

FILE_MODE = 0o640
FOLDER_MODE = 0o750
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK, because a pipe in place of the file would make the job wait for ever.
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def place_of(connection: Connection, deliver_to: str) -> tuple[ExchangeConfig, str]:
    """Return the row and the folder that deliver_to means, as NAME or NAME/FOLDER; raises JobError if there is none."""
    name, _, below = deliver_to.partition("/")
    config = load_outgoing(connection, name)
    if config is None:
        raise JobError(
            f"deliver_to is {deliver_to!r}, but dba.texchangeconfig has no active row with the config_name {name!r}; correct "
            "one of the two"
        )
    if not config.outgoing_path:
        raise JobError(
            f"deliver_to is {deliver_to!r}, but the row {name!r} of dba.texchangeconfig has no outgoing_path; set it"
        )
    return config, f"{config.outgoing_path}/{below}" if below else config.outgoing_path


@contextlib.contextmanager
def opened(connection: Connection, deliver_to: str) -> Iterator[Outgoing]:
    """Yield the folder that deliver_to means; folders below outgoing_path are made.

    Raises JobError if it is not there or refuses, TemporaryFailure if its server cannot be reached.
    """
    config, path = place_of(connection, deliver_to)
    if config.remote:
        from systemscripts.exchange import cloud_outgoing

        with cloud_outgoing.opened(config.remote, path) as in_cloud:
            yield in_cloud
        return
    if config.host:
        from systemscripts.exchange import remote_outgoing

        with remote_outgoing.opened(config, path) as folder:
            yield folder
        return
    with _held(config, path) as handle:
        yield LocalOutgoing(path, handle)


@contextlib.contextmanager
def _held(config: ExchangeConfig, path: str) -> Iterator[int]:
    """Yield a handle of the folder; outgoing_path must be there, and nothing below it is a link."""
    top = config.outgoing_path or ""
    with contextlib.ExitStack() as stack:
        at = top
        try:
            handle = os.open(top, _OPEN_FOLDER)
            stack.callback(os.close, handle)
            for part in filter(None, path.removeprefix(top).split("/")):
                at = f"{at}/{part}"
                is_new = _made(part, handle)
                handle = os.open(part, _OPEN_FOLDER, dir_fd=handle)
                stack.callback(os.close, handle)
                if is_new:
                    # The umask cuts mkdir's mode. The group is that of the folder above, by its setgid.
                    os.fchmod(handle, FOLDER_MODE | os.fstat(handle).st_mode & stat.S_ISGID)
        except OSError as error:
            cure = "check outgoing_path" if at == top else "check deliver_to"
            raise JobError(f"the folder {at} cannot be opened: {error.strerror}; {cure}") from None
        yield handle


def _made(part: str, above: int) -> bool:
    try:
        os.mkdir(part, FOLDER_MODE, dir_fd=above)
    except FileExistsError:
        return False
    return True


class LocalOutgoing:
    """A folder on this machine, held by its handle."""

    def __init__(self, path: str, handle: int) -> None:
        self._path, self._handle = path, handle

    def sha256_of(self, name: str) -> str | None:
        try:
            handle = os.open(name, _OPEN_FILE, dir_fd=self._handle)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO, errno.EACCES):
                return ""
            raise JobError(f"{self._path}/{name} cannot be read: {error.strerror}") from None
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, handle)
            # Before the file object is made, which a directory cannot become.
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return ""
            return sha256_of(iter(partial(os.read, handle, CHUNK_BYTES), b""))

    def put(self, name: str, source: Path, sha256: str) -> None:
        target = whole_files.by_handle(self._handle)
        try:
            with directory_management.unnamed_file(target, FILE_MODE) as file, source.open("rb") as content:
                shutil.copyfileobj(content, file.stream, CHUNK_BYTES)
                file.appear(target / name)
        except FileExistsError:
            if self.sha256_of(name) != sha256:
                raise TemporaryFailure(f"{self._path} got another file {name} at this moment") from None
        except OSError as error:
            kind = TemporaryFailure if error.errno in DISK_TROUBLE else JobError
            raise kind(f"{self._path}/{name} cannot be written: {error.strerror}") from None

    def discard(self, name: str) -> None:
        os.unlink(name, dir_fd=self._handle)
