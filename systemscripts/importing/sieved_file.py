"""The fast way for a file with bad lines: its bytes go to COPY without the records that have too many or too few fields.

Only such a record is read by the csv module, which gives it the words that the careful way would give it. Every other
doubt ends the fast way, as in guarded_file.
"""

import csv
import io
from collections.abc import Iterator

from systemscripts.importing.careful import problem_of
from systemscripts.importing.guarded_file import CHUNK_BYTES, GuardedFile, NeedsCare
from systemscripts.importing.rejects import Rejects
from systemscripts.importing.source import Record, TextSource

# A longer record goes the careful way, which knows the limit that is set for one.
LONGEST_RECORD = 1 << 19


class SievedFile(GuardedFile):
    """The file's bytes after the header, whole records only; what is no record of the table goes to the rejects.

    `records` is how many records COPY must take.
    """

    def __init__(self, source: TextSource, rejects: Rejects) -> None:
        super().__init__(source)
        self._source = source
        self._rejects = rejects
        self._delimiter = source.dialect.delimiter.encode()
        self._delimiters = len(source.headings) - 1
        # How many lines and records of the file lie before the next ones.
        self._lines_before = _line_ends(self.head)
        self._records_before = 0
        # The beginning of a record whose end is not read yet, and whether that lies within quotes.
        self._rest = b""
        self._rest_in_quotes = False

    def read(self, _size: int = -1) -> bytes:
        """Return the good ones of the next records, b"" at the end; the requested size is ignored."""
        try:
            while records := self._next_records():
                if good := self._sieved(records):
                    return good
            return b""
        except NeedsCare:
            self.needs_care = True
            raise

    def _next_records(self) -> bytes:
        """Return some whole records as they stand in the file, at its end all that is left."""
        while True:
            chunk = self._stream.read(CHUNK_BYTES)
            self.sha256.update(chunk)
            if not chunk:
                if self._rest_in_quotes:
                    raise NeedsCare
                records, self._rest = self._rest, b""
                return records
            end, odd = len(chunk), (chunk.count(b'"') + self._rest_in_quotes) % 2
            odd_at_end = bool(odd)
            while (newline := chunk.rfind(b"\n", 0, end)) >= 0:
                odd ^= chunk.count(b'"', newline, end) % 2
                end = newline + 1
                if not odd:
                    break
                end = newline
            else:
                self._rest += chunk
                self._rest_in_quotes = odd_at_end
                if len(self._rest) > LONGEST_RECORD:
                    raise NeedsCare
                continue
            records, self._rest = self._rest + chunk[:end], chunk[end:]
            self._rest_in_quotes = odd_at_end
            return records

    def _sieved(self, records: bytes) -> bytes:
        if b"\\." in records and any(line.strip(b"\r") == b"\\." for line in records.splitlines()):
            raise NeedsCare
        outside = self._outside_quotes(records).split(b"\n")
        if not outside[-1]:
            outside.pop()
        bad = [place for place, line in enumerate(outside) if line.count(self._delimiter) != self._delimiters]
        if not bad:
            self._pass_on(records, len(outside))
            return records
        single = list(_split(records))
        good: list[bytes] = []
        begin = 0
        for place in [*bad, len(single)]:
            good.append(b"".join(single[begin:place]))
            self._pass_on(good[-1], place - begin)
            if place < len(single):
                self._leave_out(single[place])
            begin = place + 1
        return b"".join(good)

    def _pass_on(self, records: bytes, count: int) -> None:
        self._lines_before += _line_ends(records)
        self._records_before += count
        self.records += count

    def _leave_out(self, record: bytes) -> None:
        """Give the record to the rejects if it is not only a blank line."""
        self._lines_before += _line_ends(record) + (not record.endswith((b"\n", b"\r")))  # the last one may have none
        if record.strip(b"\r\n"):
            self._records_before += 1
            self._reject(record)

    def _reject(self, record: bytes) -> None:
        try:
            text = record.decode(self._source.encoding)
            (fields,) = self._source.dialect.reader(io.StringIO(text, newline=""))
        except (UnicodeDecodeError, csv.Error, ValueError):  # ValueError: for the csv module it is not one record
            raise NeedsCare from None
        text = text.removesuffix("\n").removesuffix("\r")
        if "\n" in text and self._source.swallowed(text):
            raise NeedsCare
        reject = problem_of(self._source, Record(self._records_before, self._lines_before, text, fields))
        if reject is None:
            raise NeedsCare
        self._rejects.add(reject)


def _split(records: bytes) -> Iterator[bytes]:
    """Yield each record with its line end; a line end within quotes does not end one."""
    begun, odd = b"", 0
    for line in io.BytesIO(records):
        begun += line
        odd ^= line.count(b'"') & 1
        if not odd:
            yield begun
            begun = b""


def _line_ends(text: bytes) -> int:
    """Return how many line ends the csv module sees: CR LF, LF, or CR alone."""
    count = text.count(b"\n")
    if b"\r" in text:
        count += text.count(b"\r") - text.count(b"\r\n")
    return count
