"""A file on its way from a web site: the bytes that have come, where to go on after a cut, and when there is nothing new."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from systemscripts.web_answers import BadAnswer, Unreachable, body, decoded, refuse_refusals

if TYPE_CHECKING:
    from requests import Response

HEAD_SIZE = 64 << 10  # bytes of a download that are looked at before the rest is taken

_PLACE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclass(frozen=True)
class Validators:
    """By what a site tells one version of a file from another (RFC 9110, 8.8); "" for what it does not send."""

    etag: str = ""
    last_modified: str = ""


@dataclass(frozen=True)
class Download:
    """A file that is on disk, whole. `size` is in bytes, `sha256` in hexadecimal, `head` its first HEAD_SIZE bytes."""

    url: str
    file: Path
    size: int
    sha256: str
    validators: Validators
    head: bytes = b""


class Arrival:
    """What has come of one file, written to `stream`, over as many requests as it takes.

    `is_kept` says, once there is an answer, that the version with the validators `kept` is still the one;
    then nothing has come. `check` gets the first HEAD_SIZE bytes (all of a smaller file) and raises BadAnswer for what is
    not the file asked for.
    """

    def __init__(
        self, stream: IO[bytes], kept: Validators | None, limit: int, check: Callable[[bytes], None] | None
    ) -> None:
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
        self._head = b""
        self._digest = hashlib.sha256()

    def headers(self) -> dict[str, str]:
        """Return what the next request has to ask for: the rest of the file, or the file unless it is the one we have."""
        # Compressed on the way, the body's length could not be compared with the announced one.
        asked = {"Accept-Encoding": "identity"}
        version = self._strong_validator()
        if version and self.size > self._tried_from:
            self._tried_from = self.size
            return asked | {"Range": f"bytes={self.size}-", "If-Range": version}
        conditions = {"If-None-Match": self._kept.etag, "If-Modified-Since": self._kept.last_modified}
        return asked | {name: value for name, value in conditions.items() if value}

    def _strong_validator(self) -> str:
        """Return what proves that a rest belongs to what has come; a weak ETag does not (RFC 9110, 13.1.5)."""
        weak = self.validators.etag.startswith("W/")
        return self.validators.last_modified if weak or not self.validators.etag else self.validators.etag

    def take(self, response: "Response") -> None:
        """Write what an answer brings; raises Unreachable where it is cut."""
        self.is_kept = response.status_code == 304
        if self.is_kept:
            return
        if response.status_code != 206:
            self._begin_anew()
        elif not self._goes_on_with(response):
            raise Unreachable(f"{response.url}: a part of the file that was not asked for", 206, again=True)
        self.validators = Validators(response.headers.get("ETag", ""), response.headers.get("Last-Modified", ""))
        checked = len(self._head) >= HEAD_SIZE
        for chunk in body(response, self._limit - self.size):
            self._add(chunk)
            if not checked and len(self._head) >= HEAD_SIZE:
                self._look_at_head(response.url)
                checked = True
        if not checked:
            self._look_at_head(response.url)
        self._require_whole(response)

    def _goes_on_with(self, response: "Response") -> bool:
        """Tell whether this part begins where the last one was cut; without it, the next request asks for everything."""
        place = _PLACE.fullmatch(response.headers.get("Content-Range", ""))
        version = Validators(response.headers.get("ETag", ""), response.headers.get("Last-Modified", ""))
        is_another = any(
            new and old and new != old for new, old in zip(astuple(version), astuple(self.validators), strict=True)
        )
        if place and int(place[1]) == self.size and not is_another:
            return True
        self._begin_anew()
        return False

    def _add(self, chunk: bytes) -> None:
        self._stream.write(chunk)
        self._digest.update(chunk)
        self.size += len(chunk)
        if len(self._head) < HEAD_SIZE:
            self._head = (self._head + chunk)[:HEAD_SIZE]

    def _look_at_head(self, url: str) -> None:
        try:
            if self._head[:512].count(0) == 0:
                refuse_refusals(decoded(self._head), url)
            if self._check is not None:
                self._check(self._head)
        except Exception:
            self._begin_anew()
            raise

    def _require_whole(self, response: "Response") -> None:
        place = _PLACE.fullmatch(response.headers.get("Content-Range", ""))
        if place and place[2] not in ("*", str(self.size)):
            raise BadAnswer(f"{response.url}: {self.size:,} bytes came, in parts, of a file of {int(place[2]):,}")

    def done(self, url: str, file: Path) -> Download:
        return Download(url, file, self.size, self._digest.hexdigest(), self.validators, self._head)
