"""Check a web site's answer: failures become exceptions, and the body must be whole and within limits."""

import contextlib
import re
import zlib
from collections.abc import Iterator
from http.client import HTTPException
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from systemscripts.errors import JobError
from systemscripts.web.manners import refusal_in, retry_after

if TYPE_CHECKING:
    from requests import Response

_PORTS = {"http": 80, "https": 443}
ENCODING = "gzip"  # the only encoding that is asked for
GZIP = (ENCODING, "x-gzip")  # by RFC 9110, 8.4.1.3, the same
CHUNK_SIZE = 16 << 10  # bytes; if a body is cut, the last incomplete chunk is lost

_CONNECTION = re.compile(r"^\w+\(host=[^)]*\): ")  # how urllib3 calls its own

_CHARSET = re.compile(r"\bcharset\s*=\s*[\"']?([\w.:-]{1,40})", re.IGNORECASE)

# Python has codecs that the web does not use, and some of them make no text.
_TEXT_CHARSETS = re.compile(
    r"utf-?(8|16|32)([-_]?[lb]e)?(-sig)?|(us-)?ascii|(iso[-_]?|latin)[-_0-9]+|(windows-|cp)\d+|koi8-[ru]|shift[-_]jis|euc-(jp|kr)|gb\w+|big5",
    re.IGNORECASE,
)


class FetchError(JobError):
    """A page or file could not be fetched. `status` is the HTTP status, 0 if there was no answer.

    `again` says that the same request may work later; `wait` is how many seconds the site asks for.
    """

    def __init__(self, message: str, status: int = 0, again: bool = False, wait: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.again = again
        self.wait = wait


class Refused(FetchError):
    """The site refuses this request: 403, 429, or a page that says so with any status."""


class Unreachable(FetchError):
    """No usable answer: no connection, a timeout, a cut body, a status of 500 or more."""


class BadStatus(FetchError):
    """An answer with another status that is not a success, such as 404."""


class BadAnswer(FetchError):
    """An answer that must not be used: too large, elsewhere, or not what was asked for."""


class ForbiddenByRobots(FetchError):
    """The site's robots.txt asks programs to leave this address alone."""


def redirect_target(url: str, location: str) -> str:
    """Return the target of a redirect, if it is on the same host and not less protected."""
    try:
        target = urljoin(url, location)
        before, after = _place(url), _place(target)
        same_site = before == after
        protected_now = before[0] == "http" and after == ("https", before[1], _PORTS["https"])
    except ValueError:
        raise BadAnswer(f"{url} redirects to {location!r}, which is not a web address") from None
    if not same_site and not protected_now:
        raise BadAnswer(
            f"{url} redirects to {target}; only redirects within the host, never from https to http, are followed"
        )
    return target


def _place(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port in one form; raises ValueError if they are missing."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or parts.username is not None or not parts.hostname:
        raise ValueError(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme]


def raise_for_status(response: "Response") -> None:
    status, asked = response.status_code, response.request.headers
    rest, conditional = "Range" in asked, "If-None-Match" in asked or "If-Modified-Since" in asked
    if status == 200 or (status == 206 and rest) or (status == 304 and conditional):
        return
    message = f"{response.url}: status {status} {response.reason or ''}".rstrip()
    wait = retry_after(response.headers.get("Retry-After"))
    if status in (403, 429):
        raise Refused(f"{message}: refused", status, again=status == 429, wait=wait)
    if status >= 500 or (status == 416 and rest):
        raise Unreachable(message, status, again=True, wait=wait)
    raise BadStatus(message, status)


def raise_for_refusal(url: str, text: str) -> None:
    """Raise Refused for a page that refuses us although its status is 200."""
    if words := refusal_in(text):
        raise Refused(f"{url}: refused with status 200 and the words {words!r}", 200, again=True)


@contextlib.contextmanager
def failures_translated(url: str) -> Iterator[None]:
    """Turn exceptions of requests and its libraries into a FetchError, also while the body is read."""
    from requests import exceptions
    from urllib3.exceptions import HTTPError

    try:
        yield
    except FetchError:
        raise
    except exceptions.SSLError as error:
        raise Unreachable(f"{url}: no verified TLS connection: {cause(error)}") from error
    except (exceptions.ConnectionError, exceptions.Timeout, exceptions.ChunkedEncodingError) as error:
        raise Unreachable(f"{url}: {cause(error)}", again=True) from error
    except exceptions.RequestException as error:
        raise BadAnswer(f"{url}: {cause(error)}") from error
    except (HTTPError, HTTPException, OSError, ValueError) as error:
        # An answer far from HTTP, such as a chunk of a negative length, raises other exceptions.
        raise Unreachable(f"{url}: no answer that can be read: {cause(error)}", again=True) from error


def cause(error: BaseException) -> str:
    """Return the cause on one line, without the wrapping exceptions and their object addresses."""
    inner = getattr(error.args[0], "reason", error.args[0]) if error.args else ""
    while isinstance(inner, BaseException) and inner.args and isinstance(inner.args[-1], BaseException):
        inner = inner.args[-1]
    words = _CONNECTION.sub("", str(inner).split(">: ")[-1])
    return " ".join(words.split()) or type(error).__name__


def body(response: "Response", limit: int) -> Iterator[bytes]:
    """Yield the body's bytes, decoded; raises BadAnswer above the limit, and Unreachable if it is cut short."""
    size = 0
    for chunk in _pieces(response):
        size += len(chunk)
        if size > limit:
            raise BadAnswer(f"{response.url}: larger than the limit of {limit:,} bytes")
        yield chunk


def beginning(response: "Response", limit: int) -> bytes:
    """Return the body's first bytes, or all of a smaller body; the rest is not read."""
    taken = b""
    for chunk in _pieces(response):
        taken += chunk
        if len(taken) >= limit:
            break
    return taken[:limit]


def _pieces(response: "Response") -> Iterator[bytes]:
    """Yield pieces of at most CHUNK_SIZE; raises Unreachable if the body is not whole."""
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity", *GZIP):
        raise BadAnswer(f"{response.url}: its content is encoded as {encoding[:40]!r}, which was not asked for")
    announced = announced_size(response)
    size = 0

    def counted() -> Iterator[bytes]:
        nonlocal size
        with failures_translated(response.url):
            for chunk in response.raw.stream(CHUNK_SIZE, decode_content=False):
                size += len(chunk)
                yield chunk

    yield from _unpacked(counted(), response.url) if encoding in GZIP else counted()
    if announced is not None and size != announced:
        raise Unreachable(f"{response.url}: {size:,} bytes of {announced} announced", again=True)


def _unpacked(chunks: Iterator[bytes], url: str) -> Iterator[bytes]:
    """Unpack gzip (RFC 1952) with limited memory. HTTP libraries do not notice if its end, a length and a checksum, is missing."""
    member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    is_whole = False
    for chunk in chunks:
        packed = chunk
        while True:
            try:
                piece = member.decompress(packed, CHUNK_SIZE)
            except zlib.error as error:
                raise Unreachable(f"{url}: its gzip is damaged ({error})", again=True) from None
            if piece:
                yield piece
            is_whole, packed = member.eof, member.unused_data or member.unconsumed_tail
            if member.eof and not packed.strip(b"\0"):  # some servers add padding
                packed = b""
            if member.eof and packed:
                member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
            elif not packed and len(piece) < CHUNK_SIZE:
                break
    if not is_whole:
        raise Unreachable(f"{url}: its gzip has no end", again=True)


def announced_size(response: "Response") -> int | None:
    """Return the announced number of bytes, None if there is none: a chunked body marks its own end (RFC 9112, 6.3)."""
    text = response.headers.get("Content-Length", "")
    is_number = text.isascii() and text.isdigit() and len(text) < 19
    return int(text) if is_number and "Transfer-Encoding" not in response.headers else None


def charset(response: "Response") -> str:
    found = _CHARSET.search(response.headers.get("Content-Type", ""))
    return found[1] if found else "utf-8"


def decoded(content: bytes, charset: str = "utf-8") -> str:
    """Return the text in its charset; if that fails, as cp1252 (the likely one) with bad bytes replaced."""
    try:
        return content.decode(charset if _TEXT_CHARSETS.fullmatch(charset) else "utf-8")
    except (UnicodeError, LookupError):
        return content.decode("cp1252", errors="replace")
