"""Find the header row and the lines above it, and make column names from the headings."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from systemscripts.errors import JobError

# The limit is in bytes; PostgreSQL cuts longer identifiers and gives only a notice.
LONGEST_NAME_BYTES = 63
# The header row of a sheet is searched for in so many rows.
ROWS_LOOKED_AT = 50
# Fewer headings look like a title.
LEAST_HEADINGS = 3


class NoHeader(JobError):
    """There is no header row, or header_row names a wrong row."""


class Row(NamedTuple):
    """One row of the text, and the number of characters up to its end."""

    fields: list[str]
    end: int

    @property
    def filled(self) -> int:
        return sum(1 for field in self.fields if field.strip())


class Header(NamedTuple):
    """The headings, the lines above them, the number of records of both, and the text's length up to their end."""

    headings: list[str]
    above: list[list[str]]
    records: int
    end: int


def find_header(text: str, delimiter: str, row: int | None = None, may_have_titles: bool = False) -> Header:
    """Return the headings: in the given row (from 1, blank rows count), or in the first row that is not blank.

    With `may_have_titles` title rows are skipped first: see `_header_index`. Raises NoHeader.
    """
    if not text.strip():
        raise NoHeader("it has no header row: the file is empty")
    if row is not None:
        rows = _read(text, delimiter, row)
        if len(rows) < row or not rows[row - 1].filled:
            raise NoHeader(f"there are no headings in row {row}, which header_row names")
        index = row - 1
    else:
        rows = _read(text, delimiter, ROWS_LOOKED_AT if may_have_titles else 1)
        index = _header_index(rows) if may_have_titles else len(rows) - 1
    records = [row.fields for row in rows[: index + 1] if row.fields]
    return Header(rows[index].fields, [fields for fields in records[:-1] if any(fields)], len(records), rows[index].end)


def _read(text: str, delimiter: str, count: int) -> list[Row]:
    """Return the first rows, and more rows if all of them are blank; raises NoHeader if no row can be read."""
    rows: list[Row] = []
    try:
        for row in _rows(text, delimiter):
            rows.append(row)
            if len(rows) >= count and any(row.fields for row in rows):
                break
    except csv.Error as error:
        # An error further down is explained by the load.
        if count == 1 or not any(row.fields for row in rows):
            raise NoHeader(f"its header row cannot be read: {error}") from None
    return rows


def _rows(text: str, delimiter: str) -> Iterator[Row]:
    end = 0

    def lines() -> Iterator[str]:
        nonlocal end
        for line in io.StringIO(text, newline=""):
            end += len(line)
            yield line

    for fields in csv.reader(lines(), delimiter=delimiter, strict=True):
        yield Row(fields, end)


def _header_index(rows: list[Row]) -> int:
    """Return the index of the header row: the first row that is not blank, unless it is surely a title.

    Title rows have one filled cell each. Below them comes a row of at least three filled cells, which no
    later row exceeds, and then mostly rows with more than one filled cell. In other cases a person must
    set header_row.
    """
    filled = [row.filled for row in rows]
    first = next((index for index, count in enumerate(filled) if count), 0)
    candidate = next((index for index, count in enumerate(filled) if count > 1), first)
    below = [count for count in filled[candidate + 1 :] if count]
    is_full = filled[candidate] >= max(LEAST_HEADINGS, *filled)
    if first < candidate and is_full and 2 * sum(count > 1 for count in below) > len(below):
        return candidate
    return first


def column_names(headings: Sequence[str], reserved: Iterable[str] = ()) -> list[str]:
    """Return the column names for a header row, all different.

    They are in lower case and trimmed; blanks and `-` become `_`; other characters stay. A heading
    without text becomes `unnamed:_<position from 0>`. A heading used twice, or used by the import
    itself, gets `.1`, `.2` …. A name longer than 63 bytes is cut between characters.

    >>> column_names(["Company Name", "", "Ticker", "ticker "])
    ['company_name', 'unnamed:_1', 'ticker', 'ticker.1']
    """
    taken = set(reserved)
    names = []
    for position, heading in enumerate(headings):
        name = _unique(normalised(heading) or f"unnamed:_{position}", taken)
        taken.add(name)
        names.append(name)
    return names


def normalised(heading: str) -> str:
    """Return a heading as a column name: lower case, trimmed, blanks and `-` as `_`."""
    return re.sub(r"[\s-]", "_", heading.strip().lower())


def _unique(name: str, taken: set[str]) -> str:
    candidate, number = _cut(name, LONGEST_NAME_BYTES), 0
    while candidate in taken:
        number += 1
        candidate = _cut(name, LONGEST_NAME_BYTES - len(f".{number}")) + f".{number}"
    return candidate


def _cut(name: str, length: int) -> str:
    """Return the name cut to at most `length` bytes of UTF-8, between characters."""
    return name.encode()[:length].decode("utf-8", "ignore")
