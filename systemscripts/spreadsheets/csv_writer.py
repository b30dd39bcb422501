"""A sheet's rows as CSV: UTF-8, RFC 4180, lines ended by a line feed, and as many fields on each as the sheet is wide."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from systemscripts.spreadsheets.model import Limits, Refused

# A first guess wider than this is more likely formatting than data: look before writing.
TRUSTED_WIDTH = 1024

Rows = Iterator[tuple[int, list[str]]]


@dataclass(frozen=True)
class Size:
    """How much of a sheet is used, counted from A1."""

    rows: int
    columns: int


def write_rectangle(read_rows: Callable[[], Rows], width: int, output: BinaryIO, limits: Limits) -> Size:
    """Write the rows as a rectangle and return its size.

    It begins at A1, empty rows and columns before the data included, and ends with the last row
    and column that hold text. `width` is what the sheet says of itself, 0 if nothing; where that
    (or else the first row) proves wrong the rows are read once more, so that memory stays flat.
    """
    size, assumed = _write(read_rows(), width if width <= TRUSTED_WIDTH else 0, output, limits)
    if size.columns != assumed:
        output.seek(0)
        output.truncate()
        size, _ = _write(read_rows(), size.columns, output, limits)
    output.flush()
    return size


def _write(rows: Rows, width: int, output: BinaryIO, limits: Limits) -> tuple[Size, int]:
    return _write_lines(rows, width, csv.writer(_Encoded(output), lineterminator="\n").writerow, limits)


class _Encoded:
    """What the csv module writes to. A text file of Python's would close the output with it."""

    def __init__(self, output: BinaryIO) -> None:
        self._write = output.write

    def write(self, text: str) -> None:
        self._write(text.encode())


def _write_lines(rows: Rows, width: int, write_row: Callable[[list[str]], object], limits: Limits) -> tuple[Size, int]:
    """Write as long as the rows fit the width; return the size there really is, and the width they were written with."""
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
