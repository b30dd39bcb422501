"""The careful way: read records with Python's csv module in strict mode, check each, and write it again for COPY."""

import csv
import io
from collections.abc import Iterator

from systemscripts.errors import JobError
from systemscripts.importing.columns import ColumnPlan
from systemscripts.importing.rejects import LONGEST_SHOWN, Reject, Rejects
from systemscripts.importing.source import Record, TextSource, UnreadableRecord

CHUNK_BYTES = 1 << 20


class BadLine(JobError):
    """A record that cannot be loaded; the message names the line, the column and the reason."""


class RewrittenRecords:
    """The records as CSV with every field quoted, so that COPY takes each character literally.

    A bad record goes to `rejects`. If `rejects` is None, it ends the COPY, and `fault` says why.
    With `numbered` each record begins with its number in the file, counted from 1.
    """

    def __init__(self, source: TextSource, plan: ColumnPlan, rejects: Rejects | None, numbered: bool = False) -> None:
        self.fault: JobError | None = None
        self.records = 0
        self._source = source
        self._headings = source.headings
        self._keep = [index for index, target in enumerate(plan.targets) if target is not None]
        self._numbered = numbered
        self._rejects = rejects
        self._good = self._good_records(source.records(keep_text=True, recovers=rejects is not None))

    def read(self, _size: int = -1) -> bytes:
        """Return about a mebibyte of records, b"" at the end; the requested size is ignored."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\n")
        try:
            for fields in self._good:
                writer.writerow(fields)
                self.records += 1
                if buffer.tell() >= CHUNK_BYTES:
                    break
        except JobError as fault:
            self.fault = fault
            raise
        return buffer.getvalue().encode()

    def _good_records(self, records: Iterator[Record | UnreadableRecord]) -> Iterator[list[str]]:
        for record in records:
            reject = self._problem_of(record)
            if reject is None:
                assert isinstance(record, Record)
                kept = (
                    record.fields
                    if len(self._keep) == len(record.fields)
                    else [record.fields[index] for index in self._keep]
                )
                yield [str(record.number), *kept] if self._numbered else kept
            elif self._rejects is None or (isinstance(record, UnreadableRecord) and record.is_endless):
                # Nobody can say where such a record ends, so it cannot be rejected as a single bad line.
                raise BadLine(str(reject))
            else:
                self._rejects.add(reject)

    def _problem_of(self, record: Record | UnreadableRecord) -> Reject | None:
        """Return what is wrong with the record, None if nothing is."""
        if isinstance(record, UnreadableRecord):
            return Reject(record.line, None, record.reason, record.text)
        if len(record.fields) != len(self._headings):
            reason = f"it has {len(record.fields)} fields, and the header row has {len(self._headings)}"
            cure = self._cure_of_ragged(record.fields)
            return Reject(record.line, None, reason, record.text, ",".join(record.fields), cure)
        quote = self._source.dialect.quote
        if (
            quote
            and quote in record.text
            and self._source.dialect.reads_quotes_otherwise(record.text, len(record.fields))
        ):
            reason = "a quote stands within a field, and a delimiter may be missing before or after it"
            return Reject(record.line, None, reason, record.text, record.text)
        joined = "".join(record.fields)
        if "\0" not in joined and _encodable(joined):
            return None
        pairs = zip(self._headings, record.fields, strict=True)
        heading, value = next((heading, value) for heading, value in pairs if "\0" in value or not _encodable(value))
        return Reject(record.line, heading, _unstorable(value), record.text)

    def _cure_of_ragged(self, fields: list[str]) -> str:
        found, expected = len(fields), len(self._headings)
        if expected == 1 < found:
            heading = self._headings[0][:LONGEST_SHOWN]
            return f"if the heading {heading!r} is a title, set header_row to the row of the headings"
        if found == expected + 1 and not fields[-1]:
            return "if each line ends in a delimiter, set trailing_delimiter"
        if found == expected + 1:
            return "if all lines have one field more, write the names of all columns into headings, and set header_row"
        return ""


def _unstorable(value: str) -> str:
    if "\0" in value:
        return "it holds a NUL byte, which PostgreSQL's text cannot"
    wrong = next(character for character in value if "\ud800" <= character <= "\udfff")
    return (
        f"byte 0x{ord(wrong) & 0xFF:02x} does not fit the file's encoding;"
        " declare the right one in the configuration's encoding column"
    )


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
