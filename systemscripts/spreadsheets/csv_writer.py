"""Write a sheet's blocks as CSV: UTF-8, RFC 4180, lines end with a line feed, each with one field per column of the sheet.

The bytes are those of the csv module, which looks at each character by itself. Here a column is searched for what
needs quotes, and most have nothing.
"""

import csv
import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from systemscripts.spreadsheets.blocks import Block
from systemscripts.spreadsheets.model import Limits, Refused

# A wider first guess probably counts formatting, not data, so the rows are read once before writing.
TRUSTED_WIDTH = 1024


def _written_by_csv(*fields: str) -> str:
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator="\n").writerow(fields)
    return line.getvalue().removesuffix("\n")


# The csv module gives a carriage return quotes in newer Pythons only.
_RETURN_NEEDS_QUOTES = _written_by_csv("\r") != "\r"
# A line with one empty field is not an empty line.
_EMPTY_FIELD_ALONE = _written_by_csv("")


@dataclass(frozen=True)
class Size:
    """The used part of a sheet, counted from A1."""

    rows: int
    columns: int


def write_rectangle(read_blocks: Callable[[], Iterator[Block]], width: int, output: BinaryIO, limits: Limits) -> Size:
    """Write the blocks as a rectangle and return its size.

    It begins at A1, with empty rows and columns before the data, and ends with the last row and column
    that hold text. `width` is the sheet's own statement, 0 if there is none. If it (or the first block)
    proves wrong, the rows are read again, which needs little memory.
    """
    size, assumed = _write(read_blocks(), width if width <= TRUSTED_WIDTH else 0, output, limits)
    if size.columns != assumed:
        output.seek(0)
        output.truncate()
        size, _ = _write(read_blocks(), size.columns, output, limits)
    output.flush()
    return size


def _write(blocks: Iterator[Block], width: int, output: BinaryIO, limits: Limits) -> tuple[Size, int]:
    """Write while the blocks fit the width; return the real size, and the width that was used."""
    used = width_seen = height = 0
    for block in blocks:
        lines, length = _lines(block.columns)
        if not lines:
            continue
        width = width or length
        width_seen = max(width_seen, length)
        used = block.first + len(lines)
        if used * width_seen > limits.max_cells:
            raise Refused(
                f"the used part of its sheet, {used:,} rows and more by {width_seen:,} columns, "
                f"exceeds {limits.max_cells:,} cells (ETL_SPREADSHEET_MAX_CELLS)"
            )
        if width_seen <= width:
            if width == 1:
                lines = [line or _EMPTY_FIELD_ALONE for line in lines]
            empty = ("," * (width - 1) or _EMPTY_FIELD_ALONE).encode() + b"\n"
            output.writelines(itertools.repeat(empty, block.first - height))
            end = "," * (width - length) + "\n"
            output.write((end.join(lines) + end).encode())
            height = used
    return Size(used, width_seen), width if used else 0


def _lines(columns: list[Sequence[str]]) -> tuple[list[str], int]:
    """Return the lines up to the last row with a text, and the number of columns up to the last one with a text."""
    length = len(columns)
    while length and not any(columns[length - 1]):
        length -= 1
    lines = list(map(",".join, zip(*map(_with_quotes, columns[:length]), strict=True)))
    # A text of commas has quotes.
    empty = "," * (length - 1)
    while lines and lines[-1] == empty:
        lines.pop()
    return lines, length


def _with_quotes(column: Sequence[str]) -> Sequence[str]:
    """Return the fields of a column."""
    if not _needs_quotes("".join(column)):
        return column
    return ['"' + text.replace('"', '""') + '"' if _needs_quotes(text) else text for text in column]


def _needs_quotes(text: str) -> bool:
    return '"' in text or "," in text or "\n" in text or (_RETURN_NEEDS_QUOTES and "\r" in text)
