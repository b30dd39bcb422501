"""One delimited text file: how to read it, declared or detected, and its records."""

import csv
import io
import re
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from systemscripts import patterns, settings
from systemscripts.errors import JobError
from systemscripts.importing import detection
from systemscripts.importing.config import ConfigurationError, ImportConfig
from systemscripts.importing.detection import NotText
from systemscripts.importing.dialect import Dialect, dialect_of
from systemscripts.importing.header import Header, check_headings, find_header
from systemscripts.progress import open_with_bar
from systemscripts.sources.vanished import says_vanished

# How much of a file is examined; the header row must end within it.
SAMPLE_BYTES = 1 << 20
# A quote that swallows the rest of a file makes it be read again from there; after so many times no more.
MOST_SWALLOWING = 100
# From so many columns on, lines that look like records are records.
FEWEST_COLUMNS = 3
# More rows than this are no footer.
LONGEST_FOOTER = 100
_DIGIT = re.compile(r"\d")

# The csv module's limit of 128 KiB per field is too small for clients' texts; ETL_CSV_MAX_RECORD_MB is ours.
csv.field_size_limit(1 << 30)

# The encodings that COPY can read, with PostgreSQL's names; every other one is recoded on the way.
_SERVER_ENCODINGS = {"utf-8": "UTF8", "cp1252": "WIN1252"}

_SAID_BY_EXCEL = re.compile(r"sep=([,;\t|])\r?\n")
_JSON = re.compile(r"\s*(\{\s*\"|\[\s*[\[{\"])")
_XML = re.compile(r"\s*<\?xml\b(?!.{0,500}<(!doctype\s+html|html)\b)", re.IGNORECASE | re.DOTALL)
_PAGE = re.compile(r"\s*<(!doctype|html|head|body|\?xml)\b", re.IGNORECASE)


_SWALLOWS = "a quote in it is never closed, or stands at a wrong place; the lines below it were read without it"


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


class Footer(NamedTuple):
    """Which rows at the end of a file are no data: so many, or all from the first one in which the pattern is found."""

    rows: int = 0
    pattern: str | None = None


class TextSource(NamedTuple):
    """A delimited text file, and how to read it.

    `data_start` is the offset of the first byte after the header, `header_records` how many records
    there are up to it, `above` the texts that stand above the headings, `label` what people call the file.
    `below` gets the texts of the footer each time the records are read to their end. `told` says what kind of file it is,
    `doubt` why no table may be made or widened for it before a person has decided.
    """

    path: Path
    label: str
    encoding: str
    dialect: Dialect
    headings: list[str]
    bom_bytes: int
    data_start: int
    newline: bytes
    below: list[str]
    header_records: int = 1
    above: tuple[str, ...] = ()
    vanished: bool = False
    comment_prefix: str | None = None
    trailing_delimiter: bool = False
    skip_blank_rows: bool = False
    footer: Footer = Footer()
    told: str = ""
    doubt: str = ""

    @property
    def server_encoding(self) -> str | None:
        """PostgreSQL's name of the encoding, None where COPY cannot read the bytes as they are."""
        is_plain = not (self.comment_prefix or self.trailing_delimiter or self.skip_blank_rows or any(self.footer))
        return _SERVER_ENCODINGS.get(self.encoding) if is_plain and self.dialect.is_standard else None

    def records(self, keep_text: bool = False, recovers: bool = False) -> Iterator["Record | UnreadableRecord"]:
        """Yield each record after the header as the csv module reads it in strict mode; blank lines are skipped.

        Bytes that do not fit the encoding come as lone surrogates. A record has its own text only if
        `keep_text` is set, because keeping it costs time. Comments and the footer are left out. With `recovers` a line
        whose quote swallows records is a bad line by itself, where these are plainly records of this table.
        """
        records = self._data(keep_text or recovers or any(self.footer), recovers)
        if not any(self.footer):
            return records
        return self._before_footer(records)

    def _data(self, keep_text: bool, recovers: bool) -> Iterator["Record | UnreadableRecord"]:
        with open_with_bar(self.path, self.label) as raw:
            raw.seek(self.bom_bytes)
            bounded = _Bounded(raw, settings.csv_max_record_mb())
            text = io.TextIOWrapper(cast("BinaryIO", bounded), self.encoding, errors="surrogateescape", newline="")
            lines = _Lines(text, self.comment_prefix) if keep_text or self.comment_prefix else None
            reader = self.dialect.reader(lines or text)
            number = -self.header_records
            while True:
                begins_at = (lines.count if lines else reader.line_num) + 1
                fields: list[str] = []
                fault: csv.Error | None = None
                try:
                    fields = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    fault = error
                except _RecordTooLong as error:
                    yield UnreadableRecord(number + 1, begins_at, "", str(error), is_endless=True)
                    return
                except UnicodeDecodeError as error:  # UTF-16 and UTF-32 only: their bad bytes cannot be passed on
                    reason = f"its bytes do not fit {self.encoding}: {error.reason}"
                    yield UnreadableRecord(number + 1, begins_at, "", reason, is_endless=True)
                    return
                content, line = (lines.taken(), lines.count) if lines else ("", reader.line_num)
                bounded.begin_record()
                is_torn = fault is not None or ("\n" in content and len(fields) != len(self.headings))
                if recovers and lines and is_torn and lines.read_again(self.swallowed(content)):
                    number += 1
                    first = next(io.StringIO(content, newline=""), "").rstrip("\r\n")
                    yield UnreadableRecord(number, lines.count, first, _SWALLOWS, is_endless=False)
                elif fault is not None:
                    number += 1
                    is_endless = self._is_endless(content, fault, recovers)
                    yield UnreadableRecord(number, line, content, str(fault), is_endless)
                elif fields and (number < 0 or not self.skip_blank_rows or any(map(str.strip, fields))):
                    number += 1
                    if number > 0:
                        if self.trailing_delimiter and len(fields) == len(self.headings) + 1 and not fields[-1]:
                            fields.pop()
                        yield Record(number, line, content, fields)

    def _is_endless(self, content: str, fault: csv.Error, recovers: bool) -> bool:
        """Return whether nobody can say where the record ends; a single line is bad by itself where the lines below tell."""
        if recovers and "\n" not in content and len(self.headings) >= FEWEST_COLUMNS:
            return False
        return "unexpected end" in str(fault) or content.count(self.dialect.quote or "\n") % 2 == 1

    def has_quote_in_doubt(self, record: Record) -> bool:
        """Return whether a delimiter may be missing beside a quote of the record, which must have its text."""
        quote, fields = self.dialect.quote, len(record.fields)
        if not quote or quote not in record.text:
            return False
        fields += self.trailing_delimiter and record.text.rstrip().endswith(self.dialect.delimiter)
        return self.dialect.reads_quotes_otherwise(record.text, fields)

    def swallowed(self, content: str) -> list[str]:
        """Return the lines after the first one if nine of ten are records of this table by themselves, else none.

        With fewer columns the lines of a long text could look like records.
        """
        lines = list(io.StringIO(content, newline=""))[1:]
        reader, good, bad = self.dialect.reader(iter(lines)), 0, 0
        while len(self.headings) >= FEWEST_COLUMNS:
            try:
                good, bad = (good + 1, bad) if len(next(reader)) == len(self.headings) else (good, bad + 1)
            except csv.Error:
                bad += 1
            except StopIteration:
                break
        return lines if good >= 9 * bad and good else []

    def _before_footer(self, records: Iterator["Record | UnreadableRecord"]) -> Iterator["Record | UnreadableRecord"]:
        self.below.clear()
        held: deque[Record | UnreadableRecord] = deque()
        usual = _Usual(len(self.headings))
        for record in records:
            if self.footer.pattern and self._begins_footer(record):
                held.extend((record, *islice(records, LONGEST_FOOTER)))
                if len(held) > LONGEST_FOOTER:
                    raise JobError(
                        f"line {record.line} fits footer_pattern, but more than {LONGEST_FOOTER - 1} rows follow it: "
                        f"{record.text[:80]!r}; make footer_pattern fit the footer only"
                    )
                self._check_below_footer(record, list(held), usual)
                break
            if isinstance(record, Record) and self.footer.pattern:
                usual.note(record.fields)
            held.append(record)
            if len(held) > self.footer.rows:
                yield held.popleft()
        self.below.extend(record.text for record in held)

    def _check_below_footer(
        self, first: "Record | UnreadableRecord", held: list["Record | UnreadableRecord"], usual: "_Usual"
    ) -> None:
        """Raise JobError if a row below the first one of the footer is like the data above it: that was a subtotal."""
        for record in held[held.index(first) + 1 :]:
            if isinstance(record, Record) and usual.fits(record.fields) and not self._begins_footer(record):
                raise JobError(
                    f"line {first.line} fits footer_pattern, but line {record.line} below it looks like data: "
                    f"{record.text[:80]!r}; make footer_pattern fit each line of the footer, and no line of the data"
                )

    def _begins_footer(self, record: "Record | UnreadableRecord") -> bool:
        assert self.footer.pattern is not None
        try:
            return patterns.find(self.footer.pattern, record.text) is not None
        except patterns.BadPattern as problem:
            raise ConfigurationError(f"footer_pattern {self.footer.pattern!r} {problem}") from None


class _Usual:
    """What all records of the data have in common: how many fields are filled at least, and in which is a digit."""

    def __init__(self, width: int) -> None:
        self._width = self._least_filled = width
        self._with_digit = set(range(width))

    def note(self, fields: list[str]) -> None:
        self._least_filled = min(self._least_filled, sum(map(bool, fields)))
        self._with_digit = {at for at in self._with_digit if at < len(fields) and _DIGIT.search(fields[at])}

    def fits(self, fields: list[str]) -> bool:
        # Without a column of numbers there are no subtotals, and only a person could tell a note from data.
        is_full = len(fields) == self._width and sum(map(bool, fields)) >= self._least_filled
        return is_full and bool(self._with_digit) and all(_DIGIT.search(fields[at]) for at in self._with_digit)


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
    """The lines of a text without its comments; it remembers the lines since the last record, and counts all lines."""

    def __init__(self, text: io.TextIOWrapper, comment_prefix: str | None) -> None:
        self.count = 0
        self._text = text
        self._again: deque[str] = deque()
        self._times_again = 0
        self._since: list[str] = []
        self._comment_prefix = comment_prefix
        self._within_record = False

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        while True:
            line = self._again.popleft() if self._again else next(self._text)
            self.count += 1
            if not self._comment_prefix or self._within_record or not line.startswith(self._comment_prefix):
                break
        self._within_record = True
        self._since.append(line)
        return line

    def taken(self) -> str:
        """Return the text read since the last call, without the last line end."""
        content = "".join(self._since)
        self._since.clear()
        self._within_record = False
        return content.removesuffix("\n").removesuffix("\r")

    def read_again(self, lines: list[str]) -> bool:
        """Let lines that were read come once more; return whether there are any."""
        self._times_again += bool(lines)
        if not lines or self._times_again > MOST_SWALLOWING:
            return False
        self._again.extendleft(reversed(lines))
        self.count -= len(lines)
        return True


def examine(path: Path, config: ImportConfig, may_have_titles: bool = False, label: str = "") -> TextSource:
    """Find out how to read the file, from its first mebibyte and from the configuration.

    `label` is the file's name in messages; the default is the name of its path.
    With `may_have_titles` title rows may stand above the header row, as in a person's spreadsheet.
    Raises NotText for a file that is not text, NoHeader for a file without a header row.
    """
    label = label or path.name
    with path.open("rb") as stream:
        sample = stream.read(SAMPLE_BYTES)
    encoding, bom_bytes = detection.encoding_of(sample, config.encoding)
    text = detection.decode(sample[bom_bytes:], encoding)
    if says_vanished(text):
        return TextSource(path, label, encoding, Dialect(","), [], bom_bytes, len(sample), b"\n", [], vanished=True)
    if _XML.match(text):
        raise NotText(
            "it is XML, not delimited text; if it is what the sender means, set file_type to XML, and record_path"
        )
    if _PAGE.match(text):
        raise NotText("it is a web page, not delimited text; perhaps a login or error page instead of the file")
    if _JSON.match(text):
        raise NotText("it is JSON, not delimited text; if it is what the sender means, set file_type to JSON")
    # Excel's own way to declare the delimiter of a file.
    said = _SAID_BY_EXCEL.match(text)
    guessed = said[1] if said else ""
    delimiter = config.field_delimiter or guessed or detection.detect_delimiter(text, config.header_row or 1)
    dialect = dialect_of(config, delimiter)
    header = _header(text, config, dialect, may_have_titles, after_first_row=said is not None)
    if header.end == len(text) and len(sample) == SAMPLE_BYTES:
        raise NotText("its header row does not end within the first MiB")
    head = text[: header.end]
    if "\0" in head:
        raise NotText("its header row holds a NUL byte")
    head_bytes = head.encode(encoding, "surrogateescape") if encoding in _SERVER_ENCODINGS else b""
    newline = b"\r" if (head or text).endswith("\r") else b"\n"
    above = tuple(" ".join(filter(None, fields)) for fields in header.above)
    return TextSource(
        path, label, encoding, dialect, header.headings, bom_bytes, bom_bytes + len(head_bytes), newline, [],
        header.records, above, False, config.comment_prefix, config.trailing_delimiter, config.skip_blank_rows,
        Footer(config.footer_rows or 0, config.footer_pattern),
    )  # fmt: skip


def _header(text: str, config: ImportConfig, dialect: Dialect, may_have_titles: bool, after_first_row: bool) -> Header:
    """Return the headings and where they end: as the configuration says, else where they plainly stand."""
    row = config.header_row or (2 if after_first_row else None)
    if config.headings and row is None:
        return Header(config.headings, [], 0, 0)
    header = find_header(text, dialect, row, may_have_titles, config.header_columns, config.comment_prefix)
    if config.headings:
        return header._replace(headings=config.headings)
    if config.header_row is None and config.header_columns is None:
        check_headings(header)
    return header
