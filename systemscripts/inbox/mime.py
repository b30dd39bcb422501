"""Read the headers and the files of a mail from untrusted bytes.

It follows RFC 5322 and 2045 to 2049 as senders use them: names by RFC 2231 or, though forbidden there,
RFC 2047; headers in raw UTF-8 (RFC 6532) or another encoding. It refuses what it cannot decode for certain.
"""

import binascii
import mimetypes
import re
from collections.abc import Iterable, Iterator
from email import errors as defects
from email import message_from_bytes
from email.header import decode_header
from email.message import Message
from email.parser import BytesHeaderParser
from email.policy import Compat32
from email.utils import getaddresses
from typing import NamedTuple

from systemscripts.errors import JobError
from systemscripts.inbox.long_runs import LongRuns

# Limits that are checked before a mail is parsed. The parser compares each line that begins with -- with every open
# boundary, decodes headers in more than linear time, and cannot be interrupted.
MOST_HEADER_BYTES = 256 << 10
MOST_BOUNDARIES = 50
MOST_BOUNDARY_LINES = 50_000
MOST_LINES = 3_000_000
MOST_PART_HEADER = 32 << 10  # characters
LONGEST_SUBJECT = 2000
LONGEST_SENDER = 2000

_STEP = 1 << 20

# The values of Content-Transfer-Encoding in RFC 2045 and its predecessors.
_PLAIN = ("", "7bit", "8bit", "binary")
_UUENCODED = ("x-uuencode", "uuencode", "uue", "x-uue")
_DAMAGED_QUOTING = re.compile(rb"=(?![0-9A-Fa-f]{2}|[ \t]*\r?\n|[ \t]*\Z)")
_HEADERS_END = re.compile(rb"\r?\n\r?\n")
_COMMENT = re.compile(r"\([^()]*\)")


class MailRefused(JobError):
    """The mail cannot be taken; the message continues "the mail …: "."""


class Envelope(NamedTuple):
    """The headers that decide about a mail. `senders` are bare addresses in lower case; `size` is in bytes, 0 if unknown."""

    senders: tuple[str, ...]
    subject: str
    message_id: str
    is_automatic: bool
    size: int = 0


class MailFile(NamedTuple):
    """A file in a mail, with its sender's name for it."""

    name: str
    part: Message
    runs: LongRuns

    def content(self) -> bytes:
        """Return the file's bytes; raises MailRefused if they cannot be decoded for certain."""
        try:
            return _content(self.part, self.name, self.runs)
        except MailRefused:
            raise
        except Exception as problem:  # noqa: BLE001 — see parse_mail
            raise MailRefused(f"its file {self.name!r} cannot be decoded: {type(problem).__name__}") from None


class ParsedMail(NamedTuple):
    """A whole mail. `damage` says what is wrong with its structure, or ""; a damaged mail may lack files or parts of them."""

    envelope: Envelope
    files: tuple[MailFile, ...]
    damage: str


class _Lenient(Compat32):
    """Headers as text on one line from any bytes: as UTF-8 if they fit, else as cp1252."""

    def header_fetch_parse(self, name: str, value: str) -> str:
        del name
        return _text(value.replace("\r", "").replace("\n", ""))


_POLICY = _Lenient()


def envelope_of(headers: list[tuple[str, str]], size: int = 0) -> Envelope:
    """Return the envelope of these undecoded headers."""
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(name.lower(), []).append(" ".join(_text(value).split()))
    return Envelope(
        senders=_senders(found.get("from", [])),
        subject=decoded(found.get("subject", [""])[0][:LONGEST_SUBJECT]),
        message_id=found.get("message-id", [""])[0][:LONGEST_SUBJECT],
        is_automatic=_is_automatic(found),
        size=size,
    )


def _senders(headers: list[str]) -> tuple[str, ...]:
    """Return the senders that the mail names, or nobody if that is not certain.

    Addresses are taken from the undecoded header, because a decoded name could contain an address.
    """
    if any(len(header) > LONGEST_SENDER for header in headers):
        return ()
    addresses = [address.strip().lower() for _, address in getaddresses(headers)]
    if any("=?" in address for address in addresses):
        return ()
    return tuple(dict.fromkeys(address for address in addresses if address))


def header_envelope(head: bytes, size: int = 0) -> Envelope:
    """Return the envelope from a mail's header section or whole text; an empty envelope if it cannot be read."""
    head = _HEADERS_END.split(head[:MOST_HEADER_BYTES], maxsplit=1)[0]
    try:
        # Only the headers that are needed: others would make the parser search for untrusted boundaries.
        message = BytesHeaderParser(policy=_POLICY).parsebytes(head + b"\r\n\r\n")
        return envelope_of(list(message.raw_items()), size)
    except Exception:  # noqa: BLE001 — see parse_mail
        return Envelope((), "", "", True, size)


def parse_mail(raw: bytes) -> ParsedMail:
    """Return the mail with its files, also those in attached mails.

    Raises MailRefused for a mail beyond the limits, which no normal mail reaches.
    """
    head = raw[:MOST_HEADER_BYTES]
    if len(raw) > MOST_HEADER_BYTES and b"\n\r\n" not in head and b"\n\n" not in head:
        raise MailRefused(f"its headers have more than {MOST_HEADER_BYTES:,} bytes")
    if len(re.findall(rb"boundary", raw, re.IGNORECASE)) > MOST_BOUNDARIES:
        raise MailRefused(f"its parts nest too deep: more than {MOST_BOUNDARIES} boundaries")
    if raw.count(b"\n--") > MOST_BOUNDARY_LINES:
        raise MailRefused(f"it has more than {MOST_BOUNDARY_LINES:,} lines that may separate parts")
    if raw.count(b"\n") > MOST_LINES:
        raise MailRefused(f"it has more than {MOST_LINES:,} lines")
    try:
        runs = LongRuns(raw)
        message = message_from_bytes(runs.shortened(), policy=_POLICY)
        envelope = envelope_of(list(message.raw_items()), len(raw))
        return ParsedMail(envelope, tuple(_files(message, runs)), _damage(message))
    except MailRefused:
        raise
    except Exception as problem:  # noqa: BLE001 — on what is no mail the parser raises whatever it comes upon
        raise MailRefused(f"it cannot be read as a mail: {type(problem).__name__}: {problem}") from None


def decoded(value: str) -> str:
    """Return a header's text with its encoded words (RFC 2047) decoded as far as possible.

    >>> decoded("=?utf-8?q?caf=C3=A9?=.csv")
    'café.csv'
    """
    if "=?" not in value:
        return value
    try:
        parts = decode_header(value)
    except (ValueError, defects.HeaderParseError):
        return value
    texts = []
    for part, charset in parts:
        try:
            texts.append(part if isinstance(part, str) else part.decode(charset or "ascii", "replace"))
        except (LookupError, ValueError):
            texts.append(_text(part.decode("ascii", "surrogateescape")))
    return "".join(texts)


def _files(message: Message, runs: LongRuns) -> Iterator[MailFile]:
    for part in message.walk():
        if sum(len(value) for _, value in part.raw_items()) > MOST_PART_HEADER and part is not message:
            raise MailRefused(f"the headers of one of its parts have more than {MOST_PART_HEADER:,} characters")
        if part.is_multipart():
            continue
        name = part.get_filename()
        if name is None and part.get_content_disposition() != "attachment":
            continue
        named = decoded(str(name)) if name else f"unnamed{mimetypes.guess_extension(part.get_content_type()) or ''}"
        yield MailFile(named, part, runs)


def _damage(message: Message) -> str:
    for part in message.walk():
        for defect in part.defects:
            if isinstance(defect, defects.CloseBoundaryNotFoundDefect | defects.StartBoundaryNotFoundDefect):
                return "it was cut off: a mark between or after its parts is missing"
    return ""


def _content(part: Message, name: str, runs: LongRuns) -> bytes:
    written = _COMMENT.sub("", str(part.get("Content-Transfer-Encoding", "")))
    encoding = written.partition(";")[0].strip().strip('"').strip().lower()
    if encoding not in (*_PLAIN, *_UUENCODED, "base64", "quoted-printable"):
        raise MailRefused(f"its file {name!r} has an encoding that nobody knows: {written[:40]!r}")
    del part["Content-Transfer-Encoding"]
    raw = part.get_payload(decode=True)
    if isinstance(raw, bytes) and runs.are_in(raw):
        if encoding == "base64":
            return _of_base64(runs.pieces(raw), name)
        raw = b"".join(runs.pieces(raw))
        part.set_payload(raw.decode("ascii", "surrogateescape"))
    part["Content-Transfer-Encoding"] = encoding
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes) or not isinstance(raw, bytes):
        raise MailRefused(f"its file {name!r} has no content")
    if encoding == "quoted-printable" and _DAMAGED_QUOTING.search(raw):
        raise MailRefused(f"the quoted-printable of its file {name!r} is damaged")
    if encoding in _UUENCODED and (content == raw or b"\nend" not in raw):
        raise MailRefused(f"the uuencoding of its file {name!r} is damaged")
    for defect in part.defects:
        if isinstance(defect, defects.InvalidBase64LengthDefect | defects.InvalidBase64CharactersDefect):
            raise MailRefused(f"the base64 of its file {name!r} is damaged")
    return content


def _of_base64(pieces: Iterable[bytes | memoryview], name: str) -> bytes:
    """Return the content, with the least memory; like get_payload it adds `=` that is missing at the end."""
    encoded = bytearray()
    for piece in pieces:
        for begin in range(0, len(piece), _STEP):
            encoded += bytes(piece[begin : begin + _STEP]).translate(None, b"\r\n")
    encoded += b"=" * (-len(encoded) % 4)
    try:
        return binascii.a2b_base64(encoded, strict_mode=True)
    except binascii.Error:
        raise MailRefused(f"the base64 of its file {name!r} is damaged") from None


def _is_automatic(headers: dict[str, list[str]]) -> bool:
    """Return whether a program wrote or distributed it, so that an answer could start a loop (RFC 3834, section 2)."""
    if any(value.lower().split(";")[0].strip() != "no" for value in headers.get("auto-submitted", [])):
        return True
    if {value.lower() for value in headers.get("precedence", [])} & {"bulk", "list", "junk"}:
        return True
    if "<>" in headers.get("return-path", []):
        return True
    return any(name.startswith("list-") or name in ("x-auto-response-suppress", "x-loop") for name in headers)


def _text(value: str) -> str:
    """Return the text of a header in which the parser kept undecodable bytes as surrogates."""
    # A text with characters beyond ASCII that are not surrogates is decoded already.
    is_decoded = any(ord(character) > 127 and not 0xDC80 <= ord(character) <= 0xDCFF for character in value)
    raw = value.encode() if is_decoded else value.encode("ascii", "surrogateescape")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp1252", "replace")
