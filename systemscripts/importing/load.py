"""The file's records into the table, by COPY: the bytes as they are where they can go as they are.

The fast way streams the file's own bytes through a guard. COPY's idea of CSV is laxer than RFC
4180 in three places, and there it would change text without an error: a quote in the middle of
a field, text after a closing quote, and (up to PostgreSQL 17) a line that is exactly `\\.`, which
ends the input. Where the guard sees one of these, or COPY refuses the data, the careful way reads
the file with Python's csv module in strict mode and either loads exactly those fields or says
which line is wrong and why.
"""

import csv
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from systemscripts.errors import JobError
from systemscripts.importing.columns import ColumnPlan
from systemscripts.importing.config import ImportConfig
from systemscripts.importing.source import TextSource

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor

CHUNK_BYTES = 1 << 20
# A line longer than this goes the careful way, so that memory stays flat.
LONGEST_WINDOW = 32 << 20


class BadLine(JobError):
    """A record that cannot be loaded; the message names the line, the column and the reason."""


class _NeedsCare(Exception):
    """The bytes are not what COPY reads as the csv module does."""


@dataclass(frozen=True)
class Loaded:
    """What went in: the number of records, the way they went, and the text file's SHA-256 where it was had on the way."""

    rows: int
    carefully: bool
    sha256: str | None = None


def load_records(cursor: "Cursor", source: TextSource, plan: ColumnPlan, config: ImportConfig) -> Loaded:
    """Copy every record of the file into the target table, in the cursor's open transaction.

    Raises BadLine; the transaction is then to be rolled back.
    """
    import psycopg2
    import psycopg2.errors

    as_they_are = source.server_encoding is not None and None not in plan.targets and len(plan.targets) > 1
    if as_they_are:
        cursor.execute("SAVEPOINT before_copy")
        with GuardedFile(source) as stream:
            try:
                rows = _copy(cursor, stream, plan, config, source.delimiter, source.server_encoding or "")
                if rows == stream.records:
                    cursor.execute("RELEASE SAVEPOINT before_copy")
                    return Loaded(rows, carefully=False, sha256=stream.sha256.hexdigest())
            except psycopg2.DataError:
                pass
            except psycopg2.errors.QueryCanceled:
                if not stream.needs_care:
                    raise
        cursor.execute("ROLLBACK TO SAVEPOINT before_copy")
    return Loaded(_load_carefully(cursor, source, plan, config), carefully=True)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class GuardedFile:
    """The file's bytes after the header, as COPY reads them, counted and checked on the way.

    `records` is how many records the csv module would see. On bytes that COPY would read
    differently `needs_care` is set and the read fails, which ends the COPY.
    """

    def __init__(self, source: TextSource) -> None:
        self.needs_care = False
        self.records = 0
        self._stream = source.path.open("rb")
        self.sha256 = hashlib.sha256(self._stream.read(source.data_start))
        self._newline = source.newline
        self._edges = {b"", source.delimiter.encode(), b"\n", b"\r"}
        # What has been passed on and not yet checked: begins at the start of a line or within quotes.
        self._window = b""
        self._in_quotes = False

    def __enter__(self) -> "GuardedFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def read(self, _size: int = -1) -> bytes:
        """Return the next chunk, b"" at the end; the size asked for is COPY's habit, not a limit."""
        chunk = self._stream.read(CHUNK_BYTES)
        self.sha256.update(chunk)
        try:
            self._check(chunk)
        except _NeedsCare:
            self.needs_care = True
            raise
        return chunk

    def _check(self, chunk: bytes) -> None:
        """Check whole lines; what follows the last line end waits for the next chunk."""
        window = self._window + chunk
        end = window.rfind(self._newline) + 1 if chunk else len(window)
        if len(window) - end > LONGEST_WINDOW:
            raise _NeedsCare
        lines, self._window = window[:end], window[end:]
        if not lines:
            return
        if b"\\." in lines and any(line.strip(b"\r") == b"\\." for line in lines.splitlines()):
            raise _NeedsCare
        outside = self._segments_outside_quotes(lines)
        self.records += sum(segment.count(self._newline) for segment in outside)
        if not chunk and not lines.endswith(self._newline):
            self.records += 1

    def _segments_outside_quotes(self, lines: bytes) -> list[bytes]:
        """Return the text between quoted parts; each must begin and end at a delimiter or a line end where it meets a quote."""
        segments = lines.split(b'"')
        first = 1 if self._in_quotes else 0
        outside = segments[first::2]
        self._in_quotes ^= len(segments) % 2 == 0
        # The first segment begins, and the last one ends, at a line end of this window and not at a quote.
        begins = {segment[:1] for segment in (outside[1:] if first == 0 else outside)}
        ends_at_quote = outside if self._in_quotes else outside[:-1]
        if not begins <= self._edges or not {segment[-1:] for segment in ends_at_quote} <= self._edges:
            raise _NeedsCare
        return outside


def _copy(cursor: "Cursor", stream: Any, plan: ColumnPlan, config: ImportConfig, delimiter: str, encoding: str) -> int:
    from psycopg2 import sql

    columns = sql.SQL(", ").join(sql.Identifier(name) for name in plan.loaded)
    statement = sql.SQL(
        "COPY {table} ({columns}) FROM STDIN WITH (FORMAT csv, DELIMITER {delimiter}, NULL '', FORCE_NULL ({columns}), ENCODING {encoding})"
    ).format(
        table=sql.Identifier(config.schema, config.table),
        columns=columns,
        delimiter=sql.Literal(delimiter),
        encoding=sql.Literal(encoding),
    )
    cursor.copy_expert(statement, stream, size=CHUNK_BYTES)
    return cursor.rowcount


def _load_carefully(cursor: "Cursor", source: TextSource, plan: ColumnPlan, config: ImportConfig) -> int:
    """Read with the csv module, check every record, and copy exactly its fields."""
    import psycopg2

    stream = _RewrittenRecords(source, plan)
    try:
        rows = _copy(cursor, stream, plan, config, ",", "UTF8")
    except psycopg2.Error:
        # COPY reports an error in the stream as its own; the stream knows the line.
        if stream.fault is not None:
            raise stream.fault from None
        raise
    if rows != stream.records:
        raise JobError(f"{stream.records} records were sent, and PostgreSQL says that it took {rows}")
    return rows


class _RewrittenRecords:
    """The records as CSV in which every field is quoted, so that nothing in them means anything to COPY."""

    def __init__(self, source: TextSource, plan: ColumnPlan) -> None:
        self.fault: BadLine | None = None
        self.records = 0
        self._plan = plan
        self._headings = source.headings
        self._lines = self._checked(source.records())

    def read(self, _size: int = -1) -> bytes:
        buffer = io.StringIO()
        writer = csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\n")
        try:
            for fields in self._lines:
                writer.writerow(fields)
                self.records += 1
                if buffer.tell() >= CHUNK_BYTES:
                    break
        except BadLine as fault:
            self.fault = fault
            raise
        return buffer.getvalue().encode()

    def _checked(self, records: Iterator[tuple[int, list[str]]]) -> Iterator[list[str]]:
        line = 1
        keep = [index for index, target in enumerate(self._plan.targets) if target is not None]
        try:
            for line, fields in records:
                self._check(line, fields)
                yield fields if len(keep) == len(fields) else [fields[index] for index in keep]
        except csv.Error as error:
            raise BadLine(f"after line {line}: {error}") from None

    def _check(self, line: int, fields: list[str]) -> None:
        if len(fields) != len(self._headings):
            raise BadLine(f"line {line}: it has {len(fields)} fields, and the header row has {len(self._headings)}")
        joined = "".join(fields)
        if "\0" in joined or not _encodable(joined):
            for heading, value in zip(self._headings, fields, strict=True):
                if "\0" in value:
                    raise BadLine(
                        f"line {line}, column {heading!r}: it holds a NUL byte, which PostgreSQL's text cannot"
                    )
                if not _encodable(value):
                    wrong = next(character for character in value if "\ud800" <= character <= "\udfff")
                    raise BadLine(
                        f"line {line}, column {heading!r}: byte 0x{ord(wrong) & 0xFF:02x} does not fit the file's encoding;"
                        " declare the right one in the configuration's encoding column"
                    )


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
