"""The careful way: read records with Python's csv module in strict mode, check each, and write it again for COPY."""

from collections.abc import Iterable, Iterator, Sequence

from systemscripts.errors import JobError
from systemscripts.importing.columns import ColumnPlan
from systemscripts.importing.rejects import LONGEST_SHOWN, Reject, Rejects
from systemscripts.importing.source import Record, TextSource, UnreadableRecord

CHUNK_BYTES = 1 << 20
# What ends a field or a row until the signs that mean something to COPY are written otherwise; no text has a NUL character.
_FIELD_ENDS, _ROW_ENDS = "\0,", "\0;"
_WRITTEN = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", _FIELD_ENDS: "\t", _ROW_ENDS: "\n"}


class BadLine(JobError):
    """A record that cannot be loaded; the message names the line, the column and the reason."""


class RewrittenRecords:
    """The records in COPY's text format, so that COPY takes each character literally.

    A bad record goes to `rejects`. If `rejects` is None, it ends the COPY, and `fault` says why.
    With `numbered` each record begins with its number in the file, counted from 1.
    """

    def __init__(self, source: TextSource, plan: ColumnPlan, rejects: Rejects | None, numbered: bool = False) -> None:
        self.fault: BaseException | None = None
        self.records = 0
        keep = [index for index, target in enumerate(plan.targets) if target is not None]
        self._keep = keep if len(keep) < len(plan.targets) else None
        self._numbered = numbered
        self._good = good_records(source, rejects)

    def read(self, _size: int = -1) -> bytes:
        """Return about a mebibyte of records, b"" at the end; the requested size is ignored."""
        rows: list[list[str]] = []
        characters = 0
        try:
            for record in self._good:
                fields = record.fields if self._keep is None else [record.fields[index] for index in self._keep]
                rows.append([str(record.number), *fields] if self._numbered else fields)
                characters += len(record.text)
                if characters >= CHUNK_BYTES:
                    break
        except BaseException as fault:
            self.fault = fault
            raise
        self.records += len(rows)
        return in_copy_format(rows)


def in_copy_format(rows: Iterable[Sequence[str]]) -> bytes:
    """Return the rows in COPY's text format; none of their texts may have a NUL character."""
    text = "".join([_FIELD_ENDS.join(row) + _ROW_ENDS for row in rows])
    for sign, written in _WRITTEN.items():
        text = text.replace(sign, written)
    return text.encode()


def good_records(source: TextSource, rejects: Rejects | None) -> Iterator[Record]:
    """Yield each record that can be loaded, with its text; raise BadLine for the first other one if `rejects` is None."""
    for record in source.records(keep_text=True, recovers=rejects is not None):
        reject = problem_of(source, record)
        if reject is None:
            assert isinstance(record, Record)
            yield record
        elif rejects is None or (isinstance(record, UnreadableRecord) and record.is_endless):
            # Nobody can say where such a record ends, so it cannot be rejected as a single bad line.
            raise BadLine(str(reject))
        else:
            rejects.add(reject)


def problem_of(source: TextSource, record: Record | UnreadableRecord) -> Reject | None:
    """Return what is wrong with the record, None if nothing is."""
    if isinstance(record, UnreadableRecord):
        return Reject(record.line, None, record.reason, record.text)
    if len(record.fields) != len(source.headings):
        found = len(record.fields)
        reason = f"it has {found} field{'' if found == 1 else 's'}, and the header row has {len(source.headings)}"
        cure = _cure_of_ragged(source.headings, record.fields)
        return Reject(record.line, None, reason, record.text, record.text, cure)
    if source.has_quote_in_doubt(record):
        reason = "a quote stands within a field, and a delimiter may be missing before or after it"
        return Reject(record.line, None, reason, record.text, record.text)
    if "\0" not in record.text and is_encodable(record.text):
        return None
    pairs = zip(source.headings, record.fields, strict=True)
    heading, value = next((heading, value) for heading, value in pairs if "\0" in value or not is_encodable(value))
    if "\0" in value:
        return Reject(record.line, heading, "it holds a NUL byte, which PostgreSQL's text cannot", record.text)
    wrong = next(character for character in value if "\ud800" <= character <= "\udfff")
    reason = (
        f"byte 0x{ord(wrong) & 0xFF:02x} does not fit the file's encoding;"
        " declare the right one in the configuration's encoding column"
    )
    return Reject(record.line, heading, reason, record.text)


def _cure_of_ragged(headings: list[str], fields: list[str]) -> str:
    found, expected = len(fields), len(headings)
    if expected == 1 < found:
        heading = headings[0][:LONGEST_SHOWN]
        return f"if the heading {heading!r} is a title, set header_row to the row of the headings"
    if found == expected + 1 and not fields[-1]:
        return "if each line ends in a delimiter, set trailing_delimiter"
    if found == expected + 1:
        return "if all lines have one field more, write the names of all columns into headings, and set header_row"
    return ""


def is_encodable(text: str) -> bool:
    """Return whether PostgreSQL can hold the text: bytes that did not fit their encoding are lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
