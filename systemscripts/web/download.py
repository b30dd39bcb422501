"""The download of a file from a web site: the received bytes, the resumption after a cut, and the check for changes."""

import hashlib
import re
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from systemscripts.web.answers import FetchError, Unreachable, announced_size, body, decoded, raise_for_refusal

if TYPE_CHECKING:
    from requests import Response

HEAD_SIZE = 64 << 10  # bytes at the beginning of a download that are checked before the rest is read; also at its end
LONGEST_VALIDATOR = 1000  # characters

_PLACE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


@dataclass(frozen=True)
class Validators:
    """The values that identify a version of a file at its site (RFC 9110, 8.8); "" if the site does not send one."""

    etag: str = ""
    last_modified: str = ""

    @classmethod
    def of(cls, response: "Response") -> "Validators":
        """Return the answer's validators; an invalid one is left out."""
        found = [response.headers.get(name, "") for name in ("ETag", "Last-Modified")]
        return cls(*(text if text.isprintable() and len(text) <= LONGEST_VALIDATOR else "" for text in found))


@dataclass(frozen=True)
class Download:
    """A whole file on disk. `size` is in bytes, `sha256` in hexadecimal, `head` its first HEAD_SIZE bytes."""

    url: str
    file: Path
    size: int
    sha256: str
    validators: Validators
    head: bytes = b""


class Check(Protocol):
    """The caller's check of the files that it asks for."""

    def head(self, head: bytes, url: str) -> None:
        """Check the first HEAD_SIZE bytes (all of a smaller file) and the final address; raises BadAnswer for a wrong file."""

    def is_cut(self, head: bytes, tail: bytes) -> bool:
        """Return whether a file with this head, and these last HEAD_SIZE bytes, lacks its end."""


class Arrival:
    """The received part of one file, written to `stream`, over as many requests as needed.

    After an answer, `is_kept` says that the version with the validators `kept` is still current; then no
    file was sent. A file that passes the `check` never counts as a refusal.
    """

    def __init__(self, stream: IO[bytes], kept: Validators | None, limit: int, check: Check | None) -> None:
        self._stream = stream
        self._kept = kept or Validators()
        self._limit = limit
        self._check = check
        self._tried_from = 0
        self.is_kept = False
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._stream.seek(0)
        self._stream.truncate()
        self.size = 0
        self.validators = Validators()
        self._head = self._tail = b""
        self._announced: int | None = None
        self._digest = hashlib.sha256()

    def headers(self) -> dict[str, str]:
        """Return the headers of the next request: for the rest of the file, or for the file if it has changed."""
        # The length of a compressed body could not be compared with the announced one.
        asked = {"Accept-Encoding": "identity"}
        # This validator proves that a rest belongs to the received part; a weak ETag does not (RFC 9110, 13.1.5).
        etag = self.validators.etag
        version = self.validators.last_modified if not etag or etag.startswith("W/") else etag
        if version and self.size > self._tried_from:
            self._tried_from = self.size
            return asked | {"Range": f"bytes={self.size}-", "If-Range": version}
        conditions = {"If-None-Match": self._kept.etag, "If-Modified-Since": self._kept.last_modified}
        return asked | {name: value for name, value in conditions.items() if value}

    def take(self, response: "Response") -> None:
        """Write the body of an answer; raises Unreachable if it is cut."""
        self.is_kept = response.status_code == 304
        if self.is_kept:
            return
        if response.status_code != 206:
            self._begin_anew()
            # For an encoded body the length of the file is unknown.
            self._announced = None if "Content-Encoding" in response.headers else announced_size(response)
            end = None
        else:
            end = self._end_of_part(response)
        self.validators = Validators.of(response)
        checked = len(self._head) >= HEAD_SIZE
        for chunk in body(response, self._limit - self.size):
            self._stream.write(chunk)
            self._digest.update(chunk)
            self.size += len(chunk)
            self._tail = (self._tail + chunk)[-HEAD_SIZE:]
            if len(self._head) < HEAD_SIZE:
                self._head = (self._head + chunk)[:HEAD_SIZE]
            if not checked and len(self._head) >= HEAD_SIZE:
                self._look_at_head(response.url)
                checked = True
        if not checked:
            self._look_at_head(response.url)
        self._require_whole(response.url, end)

    def _end_of_part(self, response: "Response") -> int:
        """Return the file's length after this part; if the part does not fit, the next request asks for the whole file."""
        place = _PLACE.fullmatch(response.headers.get("Content-Range", ""))
        version = Validators.of(response)
        is_another = any(
            new and old and new != old for new, old in zip(astuple(version), astuple(self.validators), strict=True)
        )
        is_ours = not is_another and "Content-Encoding" not in response.headers
        if place and int(place[1]) == self.size <= int(place[2]) and is_ours:
            total = place[3]
            if self._announced is None and total != "*":
                self._announced = int(total)
            # The part must belong to a file of our length; without a stated length the end would be unknown.
            if self._announced is not None and total in ("*", str(self._announced)):
                return int(place[2]) + 1
        self._begin_anew()
        raise Unreachable(f"{response.url}: a part of the file that was not asked for", 206, again=True)

    def _look_at_head(self, url: str) -> None:
        """Run the caller's check; raise Refused instead of its exception if the page has the words of a refusal."""
        text = "" if b"\0" in self._head[:512] else decoded(self._head)
        try:
            if self._check is None:
                raise_for_refusal(url, text)
            else:
                self._check.head(self._head, url)
        except FetchError:
            self._begin_anew()
            raise_for_refusal(url, text)
            raise

    def _require_whole(self, url: str, end: int | None) -> None:
        """Raise Unreachable unless the last byte of the part and of the file were received, as far as they are known."""
        if end is not None and self.size != end:
            size = self.size
            self._begin_anew()
            raise Unreachable(f"{url}: {size:,} bytes where the part ends with {end:,}", 206, again=True)
        if self._announced is not None and self.size != self._announced:
            raise Unreachable(f"{url}: {self.size:,} bytes of {self._announced:,} announced", again=True)
        if self._check is not None and self._check.is_cut(self._head, self._tail):
            raise Unreachable(f"{url}: {self.size:,} bytes, but the end of the file is missing", again=True)

    def done(self, url: str, file: Path) -> Download:
        return Download(url, file, self.size, self._digest.hexdigest(), self.validators, self._head)
