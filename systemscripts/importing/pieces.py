"""The records of a file some thousand at a time, so that memory does not depend on the length of the file.

As in `load`, there is a fast way for a file that the csv module and COPY read alike. From the first piece on that needs care
the records are read and checked one by one.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

from systemscripts.importing.careful import good_records
from systemscripts.importing.guarded_file import GuardedFile, NeedsCare
from systemscripts.importing.rejects import Rejects
from systemscripts.importing.source import TextSource

# A piece has so many records, or fewer if they are long. Larger ones are slower: they do not fit into the processor's cache.
PIECE_RECORDS = 5_000
PIECE_BYTES = 8 << 20


class Piece(NamedTuple):
    """Some records: for each its number (the first after the header row is 1), its last line in the file, its fields."""

    numbers: Sequence[int]
    lines: list[int]
    rows: list[list[str]]

    @property
    def place(self) -> str:
        """Return in words where in the file it is."""
        if len(self.lines) < 2:
            return f"line {self.lines[0]} of the file" if self.lines else "no line, as the file has none"
        return f"lines {self.lines[0]} to {self.lines[-1]} of the file"


def pieces(source: TextSource, rejects: Rejects | None) -> Iterator[Piece]:
    """Yield all records that can be loaded; the others go to `rejects`, or raise BadLine if that is None."""
    done = 0
    if source.server_encoding is not None:
        with GuardedFile(source) as file:
            for piece in _plain_pieces(source, file):
                yield piece
                done = piece.numbers[-1]
            if not file.needs_care:
                return
    yield from _careful_pieces(source, rejects, done)


def _plain_pieces(source: TextSource, file: GuardedFile) -> Iterator[Piece]:
    """Yield pieces up to the first one that needs care; then `file` says so."""
    stream = _CheckedBytes(file, source.newline)
    text = io.TextIOWrapper(cast("io.BufferedReader", stream), source.encoding, newline="")
    reader = source.dialect.reader(text)
    lines_before = len(re.findall(b"\r\n?|\n", file.head))
    number = 1
    while True:
        lines: list[int] = []
        rows: list[list[str]] = []
        most_bytes = stream.bytes + PIECE_BYTES
        try:
            for fields in reader:
                if fields:
                    rows.append(fields)
                    lines.append(lines_before + reader.line_num)
                    if len(rows) >= PIECE_RECORDS or stream.bytes > most_bytes:
                        break
        except (csv.Error, UnicodeDecodeError, NeedsCare):
            file.needs_care = True
            return
        if not rows:
            return
        if set(map(len, rows)) != {len(source.headings)}:
            file.needs_care = True
            return
        yield Piece(range(number, number + len(rows)), lines, rows)
        number += len(rows)


def _careful_pieces(source: TextSource, rejects: Rejects | None, done: int) -> Iterator[Piece]:
    """Yield the records after the first `done`."""
    numbers: list[int] = []
    lines: list[int] = []
    rows: list[list[str]] = []
    characters = 0
    for record in good_records(source, rejects):
        if record.number <= done:
            continue
        numbers.append(record.number)
        lines.append(record.line)
        rows.append(record.fields)
        characters += len(record.text)
        if len(numbers) >= PIECE_RECORDS or characters >= PIECE_BYTES:
            yield Piece(numbers, lines, rows)
            numbers, lines, rows, characters = [], [], [], 0
    if numbers:
        yield Piece(numbers, lines, rows)


class _CheckedBytes(io.BufferedIOBase):
    """The bytes of the file after its header, whole lines that were checked; raises NeedsCare where COPY reads otherwise."""

    def __init__(self, file: GuardedFile, newline: bytes) -> None:
        self.bytes = 0
        self._file = file
        self._newline = newline
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read1(self, _size: int = -1) -> bytes:
        while True:
            chunk = self._file.read()
            if b"\0" in chunk:
                raise NeedsCare
            self._rest += chunk
            end = self._rest.rfind(self._newline) + 1 if chunk else len(self._rest)
            if end or not chunk:
                break
        checked, self._rest = self._rest[:end], self._rest[end:]
        self.bytes += end
        return checked
