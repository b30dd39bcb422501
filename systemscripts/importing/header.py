"""Where the headings of a text stand, what stands above them, and how a heading becomes a column's name."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from systemscripts.errors import JobError

# PostgreSQL cuts longer identifiers, counted in bytes, and says so only in a notice.
LONGEST_NAME_BYTES = 63
# So many rows of a sheet are looked at for its headings.
ROWS_LOOKED_AT = 50
# Fewer headings than these are not told from a title.
LEAST_HEADINGS = 3


class NoHeader(JobError):
    """There is no header row, or not where it was said to be."""


class Row(NamedTuple):
    """One row of the text, and how many characters there are up to its end."""

    fields: list[str]
    end: int

    @property
    def filled(self) -> int:
        return sum(1 for field in self.fields if field.strip())


class Header(NamedTuple):
    """The headings, what was found above them, how many records both are, and the text's length up to their end."""

    headings: list[str]
    above: list[list[str]]
    records: int
    end: int


def find_header(text: str, delimiter: str, row: int | None = None, may_have_titles: bool = False) -> Header:
    """Return the headings: in the row given (from 1, blank ones counted), or the first that is not blank.

    With `may_have_titles` rows of a title are passed over first: see `_header_index`. Raises NoHeader.
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
    """Return the first rows, and more where all of them are blank; raises NoHeader where not even one can be read."""
    rows: list[Row] = []
    try:
        for row in _rows(text, delimiter):
            rows.append(row)
            if len(rows) >= count and any(row.fields for row in rows):
                break
    except csv.Error as error:
        # What is wrong further down is for the load to explain.
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
    """Return which row holds the headings: the first that is not blank, unless it is beyond doubt a title.

    Beyond doubt are rows of one filled cell each, above a row of at least three that no later one
    exceeds, and below which most rows fill more than one cell. A person says the rest in header_row.
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

    Lower case, trimmed, blanks and `-` become `_`; other characters stay. A heading without text
    becomes `unnamed:_<position from 0>`; one that stands there already, or that the import uses
    itself, gets `.1`, `.2` …; what is longer than 63 bytes is cut between characters.

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
    """Return a heading as a column is called: lower case, trimmed, blanks and `-` as `_`."""
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
