"""A folder in a cloud.

A taken file is moved to taken/ below the folder, or stays there and is remembered in dba.treceivedfile.
"""

import contextlib
import logging
import tempfile
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

from systemscripts import directory_management
from systemscripts.cloud import refusals
from systemscripts.cloud.remote import Changed, CloudObject, Contradicts, Remote
from systemscripts.cloud.remote import opened as remote_opened
from systemscripts.errors import TemporaryFailure
from systemscripts.exchange.cloud_reading import READERS, Reader
from systemscripts.exchange.config import ExchangeConfig
from systemscripts.exchange.folder import Fetched, FoundFile, NotYet, Refused
from systemscripts.exchange.seen_before import Memory

log = logging.getLogger(__name__)

TAKEN = "taken"
MOST_FAILED = 5  # objects in a row
MOST_SAID = 100  # named in the log, of odd objects
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


@contextlib.contextmanager
def opened(config: ExchangeConfig) -> Iterator["CloudFolder"]:
    """Yield the folder; raises JobError if its remote cannot be used, TemporaryFailure if some object could not be had."""
    with remote_opened(config.remote or "") as remote:
        folder = CloudFolder(config, remote)
        try:
            yield folder
            if folder.failure is not None:
                raise folder.failure
        finally:
            folder.close()


class CloudFolder:
    """The incoming and the outgoing folder of a row with a remote."""

    removals_at_once = READERS

    def __init__(self, config: ExchangeConfig, remote: Remote) -> None:
        self._config = config
        self._remote = remote
        self._reader = Reader(remote, config.incoming_path)
        self._listed: dict[FoundFile, CloudObject] = {}
        self._in_folder = 0
        # The SHA-256 of what was read, and the object as it was afterwards.
        self._read: dict[FoundFile, tuple[str, CloudObject]] = {}
        # Where half an object can be seen, it must have been seen unchanged before.
        self._memory = Memory(config) if remote.shows_half else None
        # An object that cannot be had for now must not keep the others from being taken; it is told at the end.
        self.failure: TemporaryFailure | None = None
        self._failed_in_a_row = 0
        self.refused: dict[str, str] = {}

    def look(self) -> list[FoundFile]:
        self._listed = self._list()
        found = list(self._listed)
        if self._memory is not None:
            self._memory.look(found)
            settled = [file for file in found if self._memory.is_settled(file)]
            self._say(set(found) - set(settled), "came or changed since the run before; the next run looks again")
            found = settled
        return sorted(found, key=lambda file: (file.changed_ns, file.name))

    def make_sure(self, found: list[FoundFile]) -> list[FoundFile]:
        """Look a second time where half a file can be seen; begin to read ahead."""
        if self._memory is not None:
            self._memory.save()
            now = self._list() if found else {}
            found = [file for file in found if file in now]
        self._reader.begin({file: self._listed[file] for file in found}, self._in_folder)
        return found

    def fetch(self, file: FoundFile, target: IO[bytes]) -> Fetched:
        try:
            with _understood():
                sha256, now = self._reader.read(file, target)
        except (NotYet, Refused):
            raise
        except TemporaryFailure as failure:
            self.failure = self.failure or failure
            self._failed_in_a_row += 1
            if self._failed_in_a_row == MOST_FAILED:
                raise  # it is not the object, it is the cloud
            raise NotYet(str(failure)) from None
        self._failed_in_a_row = 0
        target.flush()
        self._read[file] = sha256, now
        return Fetched(sha256, now.identity)

    def remove(self, file: FoundFile) -> None:
        """Move the object to taken/, and give back what turns out to be another one."""
        sha256, now = self._read.pop(file)
        taken = f"{self._config.incoming_path}/{TAKEN}/{taken_name(file.name, sha256)}"
        with _understood(), contextlib.suppress(refusals.Gone):
            try:
                self._remote.move(self._path(file), taken, now, sha256)
            except Changed:
                self._give_back(file, taken)

    def put_receipt(self, name: str, content: bytes) -> None:
        path = f"{self._config.outgoing_path or ''}/{name}"
        with _understood(), tempfile.TemporaryDirectory() as folder:
            if self._remote.stat(path) is not None:
                return
            receipt = Path(folder) / "receipt"
            receipt.write_bytes(content)
            self._remote.put(receipt, path)

    def close(self) -> None:
        """Give up what is still being read."""
        self._reader.close()

    # ---- inside ----------------------------------------------------------------------------

    def _list(self) -> dict[FoundFile, CloudObject]:
        """Return the objects whose names are wanted; those of which two have one name are refused."""
        everything = self._remote.list(self._config.incoming_path)
        self._in_folder = len(everything)
        wanted = [found for found in everything if self._config.wants(found.name)]
        count = Counter(found.name for found in wanted)
        self.refused = {
            name: f"{number} objects have this name, and none of them can be meant; have all but one renamed"
            for name, number in count.items()
            if number > 1
        }
        self.refused |= {
            found.name: "the cloud tells no size of it, as for a document that is no file; have it exported as a file"
            for found in wanted
            if found.size < 0
        }
        return {_file(found): found for found in wanted if found.name not in self.refused}

    def _give_back(self, file: FoundFile, taken: str) -> None:
        """Give its name back to an object that came meanwhile; where a still newer one has that name, a numbered one."""
        other = self._remote.stat(taken)
        if other is None:
            return
        for candidate in directory_management.numbered_names(Path(file.name)):
            path = f"{self._config.incoming_path}/{candidate}"
            if self._remote.stat(path) is None:
                self._remote.move(taken, path, other)
                self._say({file}, f"was replaced before it was moved away; the new one is {str(candidate)!r} again")
                return

    def _path(self, file: FoundFile) -> str:
        return f"{self._config.incoming_path}/{file.name}"

    def _say(self, files: set[FoundFile], what: str) -> None:
        for file in sorted(files)[:MOST_SAID]:
            log.info("%s: %r %s", self._config.config_name, file.name, what, extra={"step": "look"})


def taken_name(name: str, sha256: str) -> str:
    """Return the name of a taken object: with the beginning of its SHA-256, so that it is in no other's way.

    >>> taken_name("list.csv.gz", "0123456789abcdef")
    'list.0123456789ab.csv.gz'
    """
    stem, ending = directory_management.stem_and_ending(name)
    return directory_management.with_ending(Path(stem or name), f".{sha256[:12]}{ending}").name


def _file(found: CloudObject) -> FoundFile:
    changed_ns = (found.changed_at - _EPOCH) // timedelta(microseconds=1) * 1000
    return FoundFile(found.name, found.size, changed_ns, identity=found.identity)


@contextlib.contextmanager
def _understood() -> Iterator[None]:
    """Turn what is wrong with one object into the words of an exchange folder; a cloud that is away ends the run."""
    try:
        yield
    except Changed as change:
        raise NotYet(str(change)) from None
    except (Contradicts, refusals.Denied) as refusal:
        raise Refused(str(refusal)) from None
