"""Where the headings of a text stand, and what stands above them."""

import csv
import io
from collections.abc import Iterator
from typing import NamedTuple

from systemscripts.errors import JobError

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
