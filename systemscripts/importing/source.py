"""Find out the encoding, delimiter and header row of a delimited text file, declared or detected."""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from systemscripts import settings
from systemscripts.errors import JobError
from systemscripts.importing.config import ConfigurationError, ImportConfig
from systemscripts.importing.header import find_header
from systemscripts.progress import open_with_bar
from systemscripts.sources.vanished import says_vanished

# How much of a file is examined; the header row must end within it.
SAMPLE_BYTES = 1 << 20
DELIMITERS = (",", ";", "\t", "|")

# The csv module's limit of 128 KiB per field is too small for clients' texts; ETL_CSV_MAX_RECORD_MB is ours.
csv.field_size_limit(1 << 30)

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
# The encodings that COPY can read, with PostgreSQL's names; every other one is recoded on the way.
_SERVER_ENCODINGS = {"utf-8": "UTF8", "cp1252": "WIN1252"}

_MULTIBYTE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")

# A byte order mark is checked first; without one these names mean the byte order of most machines.
_WITHOUT_MARK = {"utf-16": "utf-16-le", "utf-32": "utf-32-le", "utf-8-sig": "utf-8"}

_SAID_BY_EXCEL = re.compile(r"sep=([,;\t|])\r?\n")
_JSON = re.compile(r"\s*(\{\s*\"|\[\s*[\[{\"])")
_PAGE = re.compile(r"\s*<(!doctype|html|head|body|\?xml)\b", re.IGNORECASE)


class NotText(JobError):
    """The file is not delimited text, or not in the encoding that was declared."""


class Record(NamedTuple):
    """One record: its number (the first after the header row is 1), its last line in the file, its text, its fields."""

    number: int
    line: int
    text: str
    fields: list[str]


class UnreadableRecord(NamedTuple):
    """A record that is not CSV; `is_endless` if its end is unknown, because a quote is never closed."""

    number: int
    line: int
    text: str
    reason: str
    is_endless: bool


class TextSource(NamedTuple):
    """A delimited text file, and how to read it.

    `data_start` is the offset of the first byte after the header, `header_records` how many records
    there are up to it, `above` the texts that stand above the headings, `label` what people call the file.
    """

    path: Path
    label: str
    encoding: str
    delimiter: str
    headings: list[str]
    bom_bytes: int
    data_start: int
    newline: bytes
    header_records: int = 1
    above: tuple[str, ...] = ()
    vanished: bool = False

    @property
    def server_encoding(self) -> str | None:
        """PostgreSQL's name of the encoding, None where COPY cannot read the bytes as they are."""
        return _SERVER_ENCODINGS.get(self.encoding)

    def records(self, keep_text: bool = False) -> Iterator["Record | UnreadableRecord"]:
        """Yield each record after the header as the csv module reads it in strict mode; blank lines are skipped.

        Bytes that do not fit the encoding come as lone surrogates. A record has its own text only if
        `keep_text` is set, because keeping it costs time.
        """
        with open_with_bar(self.path, self.label) as raw:
            raw.seek(self.bom_bytes)
            bounded = _Bounded(raw, settings.csv_max_record_mb())
            text = io.TextIOWrapper(cast("BinaryIO", bounded), self.encoding, errors="surrogateescape", newline="")
            lines = _Lines(text) if keep_text else None
            reader = csv.reader(lines or text, delimiter=self.delimiter, strict=True)
            number = -self.header_records
            while True:
                begins_at = reader.line_num + 1
                try:
                    fields = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    number += 1
                    content = lines.taken() if lines else ""
                    is_endless = "unexpected end" in str(error) or content.count('"') % 2 == 1
                    yield UnreadableRecord(number, reader.line_num, content, str(error), is_endless)
                    continue
                except _RecordTooLong as error:
                    yield UnreadableRecord(number + 1, begins_at, "", str(error), is_endless=True)
                    return
                except UnicodeDecodeError as error:  # UTF-16 only: its bad bytes cannot be passed on
                    reason = f"its bytes do not fit {self.encoding}: {error.reason}"
                    yield UnreadableRecord(number + 1, reader.line_num + 1, "", reason, is_endless=True)
                    return
                content = lines.taken() if lines else ""
                bounded.begin_record()
                if fields:
                    number += 1
                    if number > 0:
                        yield Record(number, reader.line_num, content, fields)


class _RecordTooLong(Exception):
    """A record is too long; the message says the limit."""


class _Bounded(io.BufferedIOBase):
    """The bytes of a file, with a limit per record: without it a whole line would be in memory before its length is known."""

    def __init__(self, stream: BinaryIO, most_mb: int) -> None:
        self._stream = cast("io.BufferedReader", stream)
        self._most_mb = most_mb
        self._read = 0

    def readable(self) -> bool:
        return True

    def read1(self, size: int = -1) -> bytes:
        chunk = self._stream.read1(size)
        self._read += len(chunk)
        if self._read > self._most_mb << 20:
            raise _RecordTooLong(
                f"its record is longer than {self._most_mb} MiB (ETL_CSV_MAX_RECORD_MB), or a quote in it is never closed"
            )
        return chunk

    def begin_record(self) -> None:
        self._read = 0


class _Lines:
    """The lines of a text; it remembers the lines since the last record."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self._since = io.StringIO(newline="")

    def __iter__(self) -> Iterator[str]:
        for line in self._text:
            self._since.write(line)
            yield line

    def taken(self) -> str:
        """Return the text read since the last call, without the last line end."""
        content = self._since.getvalue()
        self._since.seek(0)
        self._since.truncate()
        return content.removesuffix("\n").removesuffix("\r")


def examine(path: Path, config: ImportConfig, may_have_titles: bool = False, label: str = "") -> TextSource:
    """Find out how to read the file, from its first mebibyte and from the configuration.

    `label` is the file's name in messages; the default is the name of its path.
    With `may_have_titles` title rows may stand above the header row, as in a person's spreadsheet.
    Raises NotText for a file that is not text, NoHeader for a file without a header row.
    """
    label = label or path.name
    with path.open("rb") as stream:
        sample = stream.read(SAMPLE_BYTES)
    bom, encoding = next(((mark, name) for mark, name in _BOMS if sample.startswith(mark)), (b"", ""))
    body = sample[len(bom) :]
    encoding = encoding or (_declared(config.encoding) if config.encoding else detect_encoding(body))
    text = _decode(body, encoding)
    if says_vanished(text):
        return TextSource(path, label, encoding, ",", [], len(bom), len(sample), b"\n", vanished=True)
    if _PAGE.match(text):
        raise NotText("it is a web page, not delimited text; perhaps a login or error page instead of the file")
    if _JSON.match(text):
        raise NotText("it is JSON, not delimited text")
    # Excel's own way to declare the delimiter of a file.
    said = _SAID_BY_EXCEL.match(text)
    delimiter = config.field_delimiter or (said[1] if said else detect_delimiter(text, config.header_row or 1))
    header = find_header(text, delimiter, config.header_row or (2 if said else None), may_have_titles)
    if header.end == len(text) and len(sample) == SAMPLE_BYTES:
        raise NotText("its header row does not end within the first MiB")
    head = text[: header.end]
    if "\0" in head:
        raise NotText("its header row holds a NUL byte")
    head_bytes = head.encode(encoding, "surrogateescape") if encoding in _SERVER_ENCODINGS else b""
    newline = b"\r" if head.endswith("\r") else b"\n"
    data_start = len(bom) + len(head_bytes)
    above = tuple(" ".join(filter(None, fields)) for fields in header.above)
    return TextSource(
        path, label, encoding, delimiter, header.headings, len(bom), data_start, newline, header.records, above
    )


def detect_encoding(sample: bytes) -> str:
    """Return the codec for text without a byte order mark: UTF-8 if the bytes fit, else cp1252.

    Raises NotText for bytes that fit neither.
    """
    # Western text in UTF-16 has NUL as every second byte, and is also valid UTF-8.
    if b"\0" in sample and (wide := _wide_encoding(sample)):
        return wide
    if _is_utf8(sample):
        return "utf-8"
    if sample[:2] == b"PK" or sample[:4] == b"\xd0\xcf\x11\xe0":
        raise NotText("it is a spreadsheet, not delimited text; set file_type to XLS or XLSX")
    if _is_damaged_utf8(sample):
        return "utf-8"
    from charset_normalizer import from_bytes

    if b"\0" in sample or from_bytes(sample[: 1 << 16], cp_isolation=["cp1252"]).best() is None:
        raise NotText(
            "its encoding is neither UTF-8, UTF-16 nor cp1252; declare it in the configuration's encoding column"
        )
    return "cp1252"


def _is_damaged_utf8(sample: bytes) -> bool:
    """Return whether it is UTF-8 with some bad bytes; read as cp1252, each good character would become two wrong ones."""
    good = sum(len(found) for found in _MULTIBYTE.findall(sample))
    return 2 * good > sum(sample.count(byte) for byte in range(0x80, 0x100))


def _wide_encoding(sample: bytes) -> str | None:
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    if 3 * max(even, odd) < len(sample) or 10 * min(even, odd) > max(even, odd):
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def _is_utf8(sample: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        return False
    return True


def _declared(encoding: str) -> str:
    try:
        found = codecs.lookup(encoding).name
        name = _WITHOUT_MARK.get(found, found)
        # encode() refuses codecs that are not between text and bytes; the two named here are for single words only.
        if name not in ("idna", "punycode") and "a,1\n".encode(name).decode(name) == "a,1\n":
            return name
    except (LookupError, UnicodeError):
        pass
    raise ConfigurationError(
        f"the configuration's encoding {encoding!r} is not known; use a name such as utf-8 or cp1252"
    )


def _decode(body: bytes, encoding: str) -> str:
    """Decode a sample whose last character may be cut."""
    return codecs.getincrementaldecoder(encoding)("surrogateescape").decode(body)


def detect_delimiter(text: str, first_row: int = 1) -> str:
    """Return the delimiter that splits the first records most evenly into most columns; a comma if none does.

    Only the records from `first_row` on count; the first record of the text is 1.
    Raises NotText if two do it equally well, because a wrong guess would change every value.
    """
    start = text[: 1 << 16]

    def evenness(delimiter: str) -> tuple[float, int]:
        reader = csv.reader(io.StringIO(start, newline=""), delimiter=delimiter)
        widths: Counter[int] = Counter()
        try:
            for fields in islice(reader, first_row - 1, first_row + 49):
                widths[len(fields)] += bool(fields)
        except csv.Error:
            return (0.0, 0)
        width, count = widths.most_common(1)[0] if widths else (1, 0)
        return (count / max(widths.total(), 1), width) if width > 1 else (0.0, 0)

    found = [delimiter for delimiter in DELIMITERS if delimiter in start]
    if found in ([], [","]):
        return ","
    best, *others = sorted(dict.fromkeys([",", *found]), key=evenness, reverse=True)
    if evenness(best)[0] and evenness(others[0]) == evenness(best):
        raise NotText(
            f"its fields may be delimited by {best!r} or {others[0]!r}: set field_delimiter in its configuration"
        )
    return best
