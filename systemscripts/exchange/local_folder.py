"""The folder of a client who logs in to this machine by SFTP, as setup_sftp.sh makes it.

The client can change everything in incoming/ at any moment, so nothing there is trusted: no link is
followed, every file is held by its handle, and it is claimed by a rename before it is read. A command
that runs as the client's own user (by sudo) finds out which files are still being written.
"""

import contextlib
import grp
import json
import logging
import os
import stat
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

from systemscripts import directory_management, settings, whole_files
from systemscripts.errors import JobError
from systemscripts.exchange.config import ExchangeConfig
from systemscripts.exchange.folder import CHUNK_BYTES, Fetched, FoundFile, NotYet, Refused, copy_hashed

# setup_sftp.sh makes a user and a group with this prefix for each client, and gives its folder to that group.
CLIENTS_GROUP = "sftp_"
ANSWER_SECONDS = 60


def being_written(folder: str, gid: int) -> set[str]:
    """Make the client's files readable for the job, and return the names of files that are still being written.

    Only the owner of a file can do both. For a folder that setup_sftp.sh did not make, only the waiting
    time after the last change counts. Raises JobError if there is no answer.
    """
    try:
        group = grp.getgrgid(gid).gr_name
    except KeyError:
        group = ""
    if not group.startswith(CLIENTS_GROUP):
        return set()
    command = ["sudo", "-n", "-u", group, "--", str(settings.sftp_release_program()), folder]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=ANSWER_SECONDS, cwd="/")
        return set(json.loads(told.stdout))
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        reason = " ".join(str(getattr(error, "stderr", "") or error).split())
        raise JobError(
            f"it cannot be told which files in {folder} are complete, so none was taken ({reason});"
            f" run as root: setup_sftp.sh add {group.removeprefix(CLIENTS_GROUP)} --key FILE"
        ) from None


log = logging.getLogger(__name__)

# After this rename the file belongs to the job, and the client may put the next file under its name.
CLAIMED = ".taken."
RECEIPT_MODE = 0o640
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK, because a pipe in place of the file would make the job wait for ever.
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextlib.contextmanager
def opened(config: ExchangeConfig) -> Iterator["LocalFolder"]:
    """Yield the folder, held by its handle; raises JobError if it is not there."""
    try:
        handle = os.open(config.incoming_path, _OPEN_FOLDER)
    except OSError as error:
        raise JobError(
            f"the folder {config.incoming_path} cannot be opened: {error.strerror};"
            " see incoming_path in dba.texchangeconfig, and setup_sftp.sh"
        ) from None
    try:
        yield LocalFolder(config, handle)
    finally:
        os.close(handle)


@dataclass
class LocalFolder:
    """A client's incoming/, held by its handle, and outgoing/ on this machine."""

    config: ExchangeConfig
    handle: int
    refused: dict[str, str] = field(default_factory=dict)
    removals_at_once: int = 1

    def look(self) -> list[FoundFile]:
        found = []
        for entry in sorted(os.listdir(self.handle)):  # noqa: PTH208 — the folder is a handle
            is_claimed = entry.startswith(CLAIMED)
            name = entry.removeprefix(CLAIMED)
            if not self.config.wants(name):
                continue
            file = self._found(name, is_claimed)
            if file is not None:
                found.append(file)
        return sorted(found, key=lambda file: (file.changed_ns, file.name))

    def make_sure(self, found: list[FoundFile]) -> list[FoundFile]:
        """Claim the files that nobody has open for writing, and return those that are still not open afterwards."""
        if not found:
            return []
        # The first call also makes files readable, which is a change. The second one comes when no new writer can find the name.
        busy = self._being_written()
        for file in found:
            if _entry(file) in busy:
                self._say(logging.INFO, file.name, "is still being written; the next run looks again")
        claimed = [self._claim(file) for file in found if _entry(file) not in busy]
        busy = self._being_written()
        sure = []
        for file in filter(None, claimed):
            if _entry(file) in busy:
                self._say(logging.INFO, file.name, "is still being written; the next run looks again")
                self._give_back(file)
            else:
                sure.append(file)
        return sure

    def fetch(self, file: FoundFile, target: IO[bytes]) -> Fetched:
        try:
            handle = os.open(_entry(file), _OPEN_FILE, dir_fd=self.handle)
        except OSError as error:
            # With its own name back, its owner can find the file and correct it.
            self._give_back(file)
            raise Refused(f"it cannot be read: {error.strerror}") from None
        with open(handle, "rb", buffering=0) as source:
            if not _is(file, os.fstat(handle)):
                raise NotYet("it changed")
            digest = copy_hashed(iter(partial(source.read, CHUNK_BYTES), b""), target, file.size)
            if not _is(file, os.fstat(handle)):
                raise NotYet("it changed while it was copied")
        return Fetched(digest)

    def remove(self, file: FoundFile) -> None:
        # The folder belongs to the client, so there may be an unread file under the claimed name.
        with contextlib.suppress(FileNotFoundError):
            if _is(file, os.lstat(_entry(file), dir_fd=self.handle)):
                os.unlink(_entry(file), dir_fd=self.handle)
            else:
                self._say(logging.WARNING, file.name, "was replaced after it was copied; the next run looks again")
        os.fsync(self.handle)

    def put_receipt(self, name: str, content: bytes) -> None:
        folder = self.config.outgoing_path or ""
        try:
            outgoing = os.open(folder, _OPEN_FOLDER)
        except OSError as error:
            raise JobError(f"the folder {folder} cannot be opened: {error.strerror}; check outgoing_path") from None
        try:
            # The file is whole when it appears; a file of its name stays.
            target = whole_files.by_handle(outgoing)
            with directory_management.unnamed_file(target, RECEIPT_MODE) as file:
                file.stream.write(content)
                with contextlib.suppress(FileExistsError):
                    file.appear(target / name)
        except PermissionError:
            raise JobError(f"the folder {folder} cannot be written; check outgoing_path, and setup_sftp.sh") from None
        finally:
            os.close(outgoing)

    # ---- inside ----------------------------------------------------------------------------

    def _found(self, name: str, is_claimed: bool, must_be_settled: bool = True) -> FoundFile | None:
        """Describe a file that may be taken; for anything else log why it is not taken."""
        try:
            status = os.lstat((CLAIMED if is_claimed else "") + name, dir_fd=self.handle)
        except FileNotFoundError:
            return None
        if stat.S_ISDIR(status.st_mode):
            self._say(logging.INFO, name, "is a folder; only files of the folder itself are taken")
            return None
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            kind = (
                "a link, which is not followed"
                if stat.S_ISLNK(status.st_mode) or status.st_nlink > 1
                else "no plain file"
            )
            self._say(logging.WARNING, name, f"is {kind}; it is left alone")
            return None
        # The time of the last change of any kind, because the client can set the time of the content.
        # A time in the future comes from a wrong clock and is ignored.
        age = abs(time.time() - status.st_ctime_ns / 1e9)
        if must_be_settled and age < settings.sftp_settle_seconds():
            self._say(logging.INFO, name, "came or changed a moment ago; the next run looks again")
            return None
        return FoundFile(name, status.st_size, status.st_ctime_ns, status.st_ino, is_claimed)

    def _claim(self, file: FoundFile) -> FoundFile | None:
        """Rename the file to its claimed name; return None if another file has that name, or if the file is gone."""
        if not file.is_claimed:
            claimed = CLAIMED + file.name
            if len(os.fsencode(claimed)) > 255:
                self.refused[file.name] = f"its name has more than {255 - len(CLAIMED)} bytes; it is left alone"
                return None
            try:
                whole_files.move(self._path(file.name), self._path(claimed))
            except FileExistsError:
                if self._found(file.name, is_claimed=True, must_be_settled=False):
                    self._say(logging.INFO, file.name, "waits: the earlier file of this name is not taken yet")
                else:
                    self.refused[file.name] = f"{claimed!r}, which is not a file, is in its way; have it removed"
                return None
            except FileNotFoundError:
                return None
        return self._found(file.name, is_claimed=True, must_be_settled=False)

    def _give_back(self, file: FoundFile) -> None:
        """Give the file its name back; if the client has put another file there, it stays claimed."""
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            whole_files.move(self._path(_entry(file)), self._path(file.name))

    def _path(self, entry: str) -> Path:
        return whole_files.by_handle(self.handle) / entry

    def _being_written(self) -> set[str]:
        return being_written(self.config.incoming_path, os.fstat(self.handle).st_gid)

    def _say(self, level: int, name: str, what: str) -> None:
        log.log(level, "%s: %r %s", self.config.config_name, name, what, extra={"step": "look"})


def _entry(file: FoundFile) -> str:
    return CLAIMED + file.name if file.is_claimed else file.name


def _is(file: FoundFile, status: os.stat_result) -> bool:
    """Return whether this is the file that was found: unchanged, plain, and with only one name."""
    same = (status.st_ino, status.st_size, status.st_ctime_ns) == (file.inode, file.size, file.changed_ns)
    return same and stat.S_ISREG(status.st_mode) and status.st_nlink == 1
