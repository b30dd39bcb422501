"""A cloud for the time of a run. What rclone and the store say is checked: success is what is there afterwards."""

import contextlib
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from systemscripts import known_secrets, settings
from systemscripts.cloud import content_hashes, rclone, refusals, remotes
from systemscripts.cloud.objects import CloudObject, clean, hashes_of, of_entry
from systemscripts.errors import JobError, TemporaryFailure

__all__ = ["Changed", "CloudObject", "Contradicts", "Remote", "opened"]

SLOWEST = 10_000  # bytes a second
MOST_OBJECTS = 1_000_000  # of a folder; a bad store could list without end
# A store may show what was written only after a moment: so long it is looked for.
PATIENCE_SECONDS = 10.0
# Here each hash of a listing may cost a request of its own, so only `stat` asks for them.
_DEAR_HASHES = ("s3",)
# Here half an object can be seen, so ours gets its name afterwards.
_SHOWS_HALF = ("webdav",)


class Changed(TemporaryFailure):
    """The object is no longer the one that was listed; the next run looks again."""


class Contradicts(JobError):
    """The store says two things that cannot both be right."""


@contextlib.contextmanager
def opened(name: str) -> Iterator["Remote"]:
    """Yield the remote; raises JobError if its file is missing, open to others, or holds what is not allowed."""
    file = remotes.check_file(name)
    with remotes.secrets_masked(name), rclone.running(file) as engine:
        try:
            sections = engine.call("config/dump", settings.cloud_timeout())
        except rclone.Answered:
            # rclone's words repeat the line, which may be a part of a key.
            raise remotes.not_understood(name) from None
        kind = remotes.check_sections(name, sections)
        if password := sections[name].get("pass"):
            known_secrets.conceal(rclone.revealed(password))
        yield Remote(name, kind, file, engine)


class Remote:
    """The objects of one remote by their paths, such as `bucket/folder/name`. Several threads may use it at the same time.

    Every method may also raise TemporaryFailure if the cloud is away or busy, refusals.Denied, or JobError; the
    sentence names the cure.
    """

    def __init__(self, name: str, kind: str, file: Path, engine: rclone.Rclone) -> None:
        self.name = name
        self.kind = kind
        self._file = file
        self._engine = engine
        # As a value of JSON: no path can become an option or a connection string.
        self._fs = {"_name": name, "_root": ""}

    @property
    def shows_half(self) -> bool:
        """Return whether others see an object while it is being sent."""
        return self.kind in _SHOWS_HALF

    def list(self, folder: str, with_hashes: bool | None = None) -> list[CloudObject]:
        """Return the folder's objects, without its subfolders'; at some stores two have one name. Raises refusals.Gone.

        They come with their hashes where these cost nothing, or where they are asked for. A store that knows no folders,
        such as S3, has nothing in a folder that is not there. Raises Contradicts if it is no store at all: rclone takes
        any page with status 200 for an empty folder.
        """
        tell = _tell(self.kind not in _DEAR_HASHES if with_hashes is None else with_hashes)
        entries = self._call("operations/list", folder, fs=self._fs, remote=clean(folder), opt=tell)["list"]
        if len(entries) > MOST_OBJECTS:
            raise JobError(
                f"the remote {self.name} has more than {MOST_OBJECTS:,} objects in {folder!r}; check that path"
            )
        if not entries:
            self._doubt(folder)
        return [of_entry(entry) for entry in entries]

    def stat(self, path: str) -> CloudObject | None:
        """Return the object that is there now; None if there is none."""
        try:
            item = self._call("operations/stat", path, fs=self._fs, remote=clean(path), opt=_tell(True))["item"]
        except refusals.Gone:
            return None
        return None if item is None else of_entry(item)

    def read(self, path: str, listed: CloudObject, target: IO[bytes]) -> tuple[str, CloudObject]:
        """Copy the object's bytes; return their SHA-256, and the object as it is afterwards.

        If the store has a hash of the object as it is then, the bytes must have it: this proves more than a time. Else
        it must be the listed object still. Raises Changed if it is not, or gone; Contradicts if the hash is another.
        """
        hashers = self.hashers()
        copied = self._copy(path, listed, target, hashers)
        now = self._still_there(path, listed)
        if copied != listed.size:
            raise Contradicts(
                f"{path!r} was cut off: of {listed.size:,} bytes came {'more' if copied > listed.size else f'{copied:,}'};"
                " the next run tries again; if this stays, ask its owner"
            )
        told = {kind: value for kind, value in now.hashes if kind in hashers}
        for kind, value in told.items():
            if (ours := hashers[kind].hexdigest()) != value:
                raise Contradicts(
                    f"{path!r} has the {kind} {value} by what the store says, and its {copied:,} bytes have {ours}: it was"
                    " replaced at this moment, or the hash is not of the content. If this stays, ask its owner; if the bucket"
                    f" encrypts with keys of its own (KMS), write server_side_encryption = aws:kms into {self._file}"
                )
        if not told and not now.is_same(listed):
            raise Changed(
                f"{path!r} was replaced while it was being taken: changed {now.changed_at}, and listed with {listed.changed_at}"
            )
        return hashers["sha256"].hexdigest(), now

    def copy_many(self, folder: str, names: Iterable[str], size: int, into: Path) -> None:
        """Copy the objects of these names, of `size` bytes in all, into a directory of this machine.

        What a name there has may be another object, or be missing though nothing is raised: see `batches`.
        """
        with tempfile.NamedTemporaryFile("w", dir=into.parent, encoding="utf-8") as list_of_names:
            list_of_names.writelines(f"{name}\n" for name in names)
            list_of_names.flush()
            self._call(
                "sync/copy", folder, size, srcFs={**self._fs, "_root": clean(folder)},
                dstFs={"type": "local", "no_set_modtime": "true", "_root": str(into)},
                _config=_BATCH, _filter={"FilesFromRaw": [list_of_names.name]},
            )  # fmt: skip

    def hashers(self) -> dict[str, content_hashes.Hasher]:
        """Return new hashers of SHA-256 and of the kinds that the store may tell."""
        return {kind: content_hashes.hasher(kind) for kind in ("sha256", *content_hashes.OF_KIND[self.kind])}

    @property
    def private_directory(self) -> Path:
        """Return a directory that only we can enter and that goes with the run."""
        return self._engine.directory

    def sha256_of(self, path: str, listed: CloudObject) -> str:
        """Read the object, keep nothing of it, and return its SHA-256; raises what `read` raises."""
        with open(os.devnull, "wb") as nowhere:
            return self.read(path, listed, nowhere)[0]

    def put(self, file: Path, path: str) -> CloudObject:
        """Send a file that nobody changes meanwhile; return the object, whose bytes were compared with the file's.

        An object that has this path is replaced. Raises TemporaryFailure if what is there is not the whole file.
        """
        folder, _, name = clean(path).rpartition("/")
        part = clean(f"{folder}/.{name}.part") if self.shows_half else clean(path)
        file = file.resolve()  # rclone follows no link
        size = file.stat().st_size
        try:
            not_seen = self._send(file, part, path, size)
            there = self._awaited(part, lambda found: found is not None and found.size == size)
            if there is None and not_seen:
                raise not_seen
            if there is None or there.size != size or not self._has_bytes_of_file(part, there, file):
                raise TemporaryFailure(
                    f"{path!r} was sent with {size:,} bytes, and there is {_told(there)}; the next run sends it again"
                )
            return there if part == clean(path) else self.move(part, path, there)
        except JobError:
            if part != clean(path):
                with contextlib.suppress(JobError):
                    self.delete(part)
            raise

    def move(self, source: str, target: str, expected: CloudObject, sha256: str = "") -> CloudObject:
        """Move within the store, and return what is at the target now; an object of the target's path is replaced.

        `expected` is what `stat` or `read` returned, because a listing may tell another time. Raises Changed if it is
        another object, which then is at the target, or still at the source, whole. Where the store can tell this neither
        by hash nor by time, it is read again if its SHA-256 is given.
        """
        try:
            self._move(source, target, expected)
        except refusals.NotKept:
            # It is copied before it is deleted, and rclone has seen that the copy is of something else.
            if self.stat(source) is not None:
                self.delete(target)
            raise Changed(f"{source!r} was replaced before it was moved to {target!r}, and stays") from None
        there = self._awaited(target, lambda found: found is not None)
        if there is None:
            raise Contradicts(f"the store says that it has moved {source!r} to {target!r}, but nothing is there")
        if not self._is_expected(target, there, expected, sha256):
            raise Changed(
                f"{source!r} was replaced before it was moved; what was moved to {target!r} is another object"
            )
        left = self._awaited(source, lambda found: found is None or not found.is_same(expected))
        if left is not None and left.is_same(expected):
            raise refusals.Denied(
                f"the store says that it has moved {source!r}, but it is still there; check the right to delete"
            )
        return there

    def delete(self, path: str) -> None:
        """Delete the object, if there is one; raises refusals.Denied if it is still there afterwards."""
        with contextlib.suppress(refusals.Gone):
            self._call("operations/deletefile", path, fs=self._fs, remote=clean(path))
        if self._awaited(path, lambda found: found is None) is not None:
            raise refusals.Denied(
                f"the store says that it has deleted {path!r}, but it is still there; check the right to delete"
            )

    # ---- inside ----------------------------------------------------------------------------

    def _call(self, command: str, path: str, size: int = 0, **parameters: Any) -> Any:
        # The whole answer may take ten times as long as a silence, and the time for the bytes.
        limit = 10 * settings.cloud_timeout() + size / SLOWEST
        try:
            return self._engine.call(command, limit, **parameters)
        except rclone.Answered as answer:
            known_secrets.conceal_file(self._file)  # a token may have been renewed
            raise refusals.refusal(self.name, self._file, path, str(answer)) from None
        except TemporaryFailure as failure:
            raise TemporaryFailure(f"the remote {self.name}, {path!r}: {failure}") from None

    def _send(self, file: Path, part: str, path: str, size: int) -> refusals.Gone | None:
        """Send the file; return what rclone says if it does not find it there at once."""
        try:
            self._call(
                "operations/copyfile", path, size, srcFs=str(file.parent), srcRemote=file.name,
                dstFs=self._fs, dstRemote=part, _config=_ALWAYS,
            )  # fmt: skip
        except refusals.Gone as gone:
            return gone
        return None

    def _move(self, source: str, target: str, expected: CloudObject) -> None:
        self._call(
            "operations/movefile", source, expected.size, srcFs=self._fs, srcRemote=clean(source),
            dstFs=self._fs, dstRemote=clean(target), _config=_ALWAYS,
        )  # fmt: skip

    def _copy(
        self, path: str, listed: CloudObject, target: IO[bytes], hashers: dict[str, content_hashes.Hasher]
    ) -> int:
        """Copy the bytes, one piece more at the most than expected, and return how many."""
        copied = 0
        with contextlib.ExitStack() as stack:
            limit = 10 * settings.cloud_timeout() + listed.size / SLOWEST
            answer = stack.enter_context(self._engine.reading(f"/[{self.name}:]/{quote(clean(path))}", limit))
            pieces = answer.pieces()
            if answer.status != 200:
                # It is "Not Found" here whatever the store said; a copy either tells why, or is one.
                for _ in pieces:
                    pass
                self._still_there(path, listed)
                pieces = stack.enter_context(self._fetched(path, listed.size))
            for piece in pieces:
                for hasher in hashers.values():
                    hasher.update(piece)
                target.write(piece)
                copied += len(piece)
                if copied > listed.size:
                    break
        target.flush()
        return copied

    @contextlib.contextmanager
    def _fetched(self, path: str, size: int) -> Iterator[Iterator[bytes]]:
        """Copy the object into a file of ours, and yield that file's bytes."""
        with tempfile.TemporaryDirectory() as folder:
            self._call(
                "operations/copyfile", path, size, srcFs=self._fs, srcRemote=clean(path),
                dstFs=folder, dstRemote="copy", _config=_ALWAYS,
            )  # fmt: skip
            with (Path(folder) / "copy").open("rb") as copy:
                yield iter(partial(copy.read, rclone.PIECE), b"")

    def _doubt(self, folder: str) -> None:
        """Ask for what cannot be there; who has it has not read what we ask."""
        if self.stat(f"{clean(folder)}/.{uuid.uuid4().hex}") is not None:
            raise Contradicts(
                f"the remote {self.name} has whatever it is asked for, so it is no cloud but a page such as for a login;"
                f" check endpoint or url in {self._file}, and the proxy"
            )

    def _still_there(self, path: str, listed: CloudObject) -> CloudObject:
        now = self.stat(path)
        if now is None:
            raise Changed(f"{path!r} is listed, but it is not there")
        if now.size != listed.size:
            raise Changed(
                f"{path!r} was replaced while it was being taken: {now.size:,} bytes, and listed with {listed.size:,}"
            )
        return now

    def _awaited(self, path: str, is_so: Callable[[CloudObject | None], bool]) -> CloudObject | None:
        """Return what is at the path, as soon as it is as wanted, at the latest after PATIENCE_SECONDS."""
        ends, pause = time.monotonic() + PATIENCE_SECONDS, 0.05
        while not is_so(found := self.stat(path)) and time.monotonic() + pause < ends:
            time.sleep(pause)
            pause *= 2
        return found

    def _has_bytes_of_file(self, path: str, there: CloudObject, file: Path) -> bool:
        known = [kind for kind, _ in there.hashes]
        ours = hashes_of(file, known or ["sha256"])
        if known:
            return ours == dict(there.hashes)
        return self.sha256_of(path, there) == ours["sha256"]

    def _is_expected(self, path: str, there: CloudObject, expected: CloudObject, sha256: str) -> bool:
        has_its_bytes = there.has_bytes_of(expected)
        if has_its_bytes is None and sha256 and not there.is_same(expected):
            return self.sha256_of(path, there) == sha256
        return has_its_bytes is not False


# What is there already is never taken for the same because it has the same size and time.
_ALWAYS = {"IgnoreTimes": True}
# Sizes and hashes are compared by us, after the store was asked again.
_BATCH = {**_ALWAYS, "IgnoreChecksum": True, "Inplace": True, "Transfers": 12}


def _tell(with_hashes: bool) -> dict[str, Any]:
    asked = {"showHash": True, "hashTypes": content_hashes.KNOWN} if with_hashes else {}
    return {"noMimeType": True, "filesOnly": True, **asked}


def _told(there: CloudObject | None) -> str:
    return "nothing" if there is None else f"an object of {there.size:,} bytes with other content"
