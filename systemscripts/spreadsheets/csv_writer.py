"""Write a sheet's rows as CSV: UTF-8, RFC 4180, lines end with a line feed, each with one field per column of the sheet."""

import codecs
import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from systemscripts.spreadsheets.model import Limits, Refused

# A wider first guess probably counts formatting, not data, so the rows are read once before writing.
TRUSTED_WIDTH = 1024

Rows = Iterator[tuple[int, list[str]]]


@dataclass(frozen=True)
class Size:
    """The used part of a sheet, counted from A1."""

    rows: int
    columns: int


def write_rectangle(read_rows: Callable[[], Rows], width: int, output: BinaryIO, limits: Limits) -> Size:
    """Write the rows as a rectangle and return its size.

    It begins at A1, with empty rows and columns before the data, and ends with the last row and column
    that hold text. `width` is the sheet's own statement, 0 if there is none. If it (or the first row)
    proves wrong, the rows are read again, which needs little memory.
    """
    size, assumed = _write(read_rows(), width if width <= TRUSTED_WIDTH else 0, output, limits)
    if size.columns != assumed:
        output.seek(0)
        output.truncate()
        size, _ = _write(read_rows(), size.columns, output, limits)
    output.flush()
    return size


def _write(rows: Rows, width: int, output: BinaryIO, limits: Limits) -> tuple[Size, int]:
    """Write while the rows fit the width; return the real size, and the width that was used."""
    # Python's text file would close the output at its end.
    write_row = csv.writer(codecs.getwriter("utf-8")(output), lineterminator="\n").writerow
    used = width_seen = height = 0
    for number, cells in rows:
        length = len(cells)
        while length and not cells[length - 1]:
            length -= 1
        if not length:
            continue
        width = width or length
        width_seen = max(width_seen, length)
        used = number + 1
        if used * width_seen > limits.max_cells:
            raise Refused(
                f"the used part of its sheet, {used:,} rows and more by {width_seen:,} columns, "
                f"exceeds {limits.max_cells:,} cells (ETL_SPREADSHEET_MAX_CELLS)"
            )
        if length <= width:
            while height < number:
                write_row([""] * width)
                height += 1
            write_row(cells if len(cells) == width else cells[:length] + [""] * (width - length))
            height = used
    return Size(used, width_seen), width if used else 0
