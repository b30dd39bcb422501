"""The interface of an exchange folder, on this machine, on another server or in a cloud."""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import IO, NamedTuple, Protocol

from systemscripts import settings
from systemscripts.errors import JobError, TemporaryFailure

CHUNK_BYTES = 1 << 20


class Refused(JobError):
    """A file cannot be taken; the message has the reason, and the file stays where it is."""


class NotYet(TemporaryFailure):
    """A file is not complete yet; it stays until the next run."""


class FoundFile(NamedTuple):
    """A file as it was found. `changed_ns` distinguishes it from another file of the same name and content."""

    name: str
    size: int
    changed_ns: int
    inode: int = 0
    is_claimed: bool = False
    # What a cloud has to tell it from another: its number and hashes.
    identity: str = ""

    @property
    def changed_at(self) -> datetime:
        """Return the time of its last change in whole microseconds, as PostgreSQL keeps it."""
        seconds, rest = divmod(self.changed_ns, 10**9)
        return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=rest // 1000)


class Fetched(NamedTuple):
    """What came of a file: the SHA-256 of its bytes, and the identity that its store then told."""

    sha256: str
    identity: str = ""


class Folder(Protocol):
    """An incoming and an outgoing folder, on this machine, on another server or in a cloud."""

    # How many removals may run at the same time; each may wait for an answer from far away.
    removals_at_once: int

    # The files that `make_sure` cannot take, by name, with the reason.
    refused: dict[str, str]

    def look(self) -> list[FoundFile]:
        """Return the files that seem complete, oldest first; change nothing."""

    def make_sure(self, found: list[FoundFile]) -> list[FoundFile]:
        """Return those files that nobody is writing, ready to be fetched."""

    def fetch(self, file: FoundFile, target: IO[bytes]) -> Fetched:
        """Copy the file's bytes; raises NotYet if it changed meanwhile, Refused if it cannot be read."""

    def remove(self, file: FoundFile) -> None:
        """Remove the file from the folder, or move it away; its copy is in its place. Raises Refused if it stays there."""

    def put_receipt(self, name: str, content: bytes) -> None:
        """Put the receipt whole into the outgoing folder; a file of its name means that it was put before."""


def copy_hashed(pieces: Iterable[bytes], target: IO[bytes], expected: int) -> str:
    """Copy exactly the expected number of bytes and return their SHA-256; raises NotYet if there are more or fewer."""
    digest, copied = hashlib.sha256(), 0
    for piece in pieces:
        digest.update(piece)
        target.write(piece)
        copied += len(piece)
        if copied > expected:
            break
    if copied != expected:
        raise NotYet(f"it was to have {expected:,} bytes, and has {'more' if copied > expected else f'{copied:,}'}")
    target.flush()
    return digest.hexdigest()


def sha256_of(pieces: Iterable[bytes]) -> str:
    """Return the SHA-256 of the pieces in hexadecimal."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def check_size(size: int) -> None:
    """Raise Refused if a file is larger than allowed."""
    if size > settings.sftp_max_mb() << 20:
        raise Refused(f"it has {size:,} bytes, more than ETL_SFTP_MAX_MB={settings.sftp_max_mb()} allows")
