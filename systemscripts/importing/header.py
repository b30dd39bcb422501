"""Find the header row and the lines above it, and make column names from the headings."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from systemscripts.errors import JobError
from systemscripts.importing.dialect import Dialect

# The limit is in bytes; PostgreSQL cuts longer identifiers and gives only a notice.
LONGEST_NAME_BYTES = 63
# The header row of a sheet is searched for in so many rows.
ROWS_LOOKED_AT = 50
# header_columns may stand further down.
ROWS_SEARCHED = 1_000
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
    """The headings, the lines above them, the number of records of both, the text's length up to their end, their row."""

    headings: list[str]
    above: list[list[str]]
    records: int
    end: int
    row: int = 0


def find_header(
    text: str,
    dialect: Dialect,
    row: int | None = None,
    may_have_titles: bool = False,
    columns: Sequence[str] | None = None,
    comment_prefix: str | None = None,
) -> Header:
    """Return the headings: in the given row (from 1, blank rows count), or in the first row that is not blank.

    With `columns` it is the first row that has all of them. With `may_have_titles` title rows are skipped first: see
    `_header_index`. Raises NoHeader.
    """
    if not text.strip():
        raise NoHeader("it has no header row: the file is empty")
    count = row or (ROWS_SEARCHED if columns else ROWS_LOOKED_AT if may_have_titles else 1)
    rows = _read(text, dialect, count, comment_prefix)
    if row is not None:
        if len(rows) < row or not rows[row - 1].filled:
            raise NoHeader(f"there are no headings in row {row}, which header_row names")
        index = row - 1
    elif columns:
        index = _row_with(rows, columns)
    else:
        index = _header_index(rows) if may_have_titles else len(rows) - 1
    records = [row.fields for row in rows[: index + 1] if row.fields]
    above = [fields for fields in records[:-1] if any(fields)]
    return Header(rows[index].fields, above, len(records), rows[index].end, index + 1)


def _read(text: str, dialect: Dialect, count: int, comment_prefix: str | None) -> list[Row]:
    """Return the first rows, and more rows if all of them are blank; raises NoHeader if no row can be read."""
    rows: list[Row] = []
    try:
        for row in _rows(text, dialect, comment_prefix):
            rows.append(row)
            if len(rows) >= count and any(row.filled for row in rows):
                break
    except csv.Error as error:
        # An error further down is explained by the load.
        if count == 1 or not any(row.filled for row in rows):
            raise NoHeader(f"its header row cannot be read: {error}") from None
    if not any(row.filled for row in rows):
        raise NoHeader("it has no header row: none of its rows has a text")
    return rows


def _rows(text: str, dialect: Dialect, comment_prefix: str | None) -> Iterator[Row]:
    end, within_record = 0, False

    def lines() -> Iterator[str]:
        nonlocal end, within_record
        for line in io.StringIO(text, newline=""):
            end += len(line)
            if within_record or not comment_prefix or not line.startswith(comment_prefix):
                within_record = True
                yield line

    for fields in dialect.reader(lines()):
        yield Row(fields, end)
        within_record = False


def _row_with(rows: list[Row], columns: Sequence[str]) -> int:
    wanted = {normalised(column) for column in columns}
    for index, row in enumerate(rows):
        if wanted <= {normalised(field) for field in row.fields}:
            return index
    raise NoHeader(f"none of its first {len(rows)} rows has all of header_columns: {', '.join(columns)}")


_NUMBER_OR_DATE = re.compile(
    r"[-+(]?[\d.,' \u00a0]*\d[\d.,]*[)%]?|\d{1,4}[-./]\d{1,2}[-./]\d{1,4}([ T][\d:.]+Z?)?|nan|null|n/?a", re.IGNORECASE
)


def check_headings(header: Header) -> None:
    """Raise NoHeader if the row that would be the header row is plainly something else; a person says then what it is."""
    filled = [heading.strip() for heading in header.headings if heading.strip()]
    blank = len(header.headings) - len(filled)
    cure = f"if it is, set header_row = {header.row}"
    if blank > 1 and blank >= len(filled):
        shown = ", ".join(map(repr, filled))[:100]
        raise NoHeader(
            f"row {header.row} seems to be a title, not the header row: {blank} of its {len(header.headings)} fields are "
            f"blank, and it has {shown}; {cure}, else set header_row to the row of the headings"
        )
    if all(_NUMBER_OR_DATE.fullmatch(heading) for heading in filled):
        shown = ", ".join(map(repr, filled))[:100]
        raise NoHeader(
            f"row {header.row} seems to be data, not the header row: {shown}; {cure}; "
            "if the file has no header row, write the names of its columns into headings"
        )


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
        name = normalised(heading) or f"unnamed:_{position}"
        unique, number = _cut(name, LONGEST_NAME_BYTES), 0
        while unique in taken:
            number += 1
            unique = _cut(name, LONGEST_NAME_BYTES - len(f".{number}")) + f".{number}"
        taken.add(unique)
        names.append(unique)
    return names


def normalised(heading: str) -> str:
    """Return a heading as a column name: lower case, trimmed, blanks and `-` as `_`."""
    return re.sub(r"[\s-]", "_", heading.strip().lower())


def _cut(name: str, length: int) -> str:
    """Return the name cut to at most `length` bytes of UTF-8, between characters."""
    return name.encode()[:length].decode("utf-8", "ignore")
