"""A query's result as a table of text, for the plain twin of a mail."""

import textwrap
import unicodedata
from dataclasses import replace

from systemscripts.reporting.columns import NO_OPTIONS, Column, columns_of
from systemscripts.reporting.model import GridOptions, Table

NO_ROWS = "no rows"

TEXT_WIDTH = 100  # characters; a wider table is written a row below the other
_CELL_WIDTH = 40


def text_table(table: Table, options: GridOptions = NO_OPTIONS) -> str:
    """Return the table as aligned lines, or a block a row where that would be wider than a mail.

    Series of numbers are drawn in blocks. Raises ReportError where an option does not fit its column.
    """
    columns = [_on_one_line(column) for column in columns_of(table, options)]
    if not table.rows:
        return f"({NO_ROWS})"
    widths = [max(map(_width, [column.heading, *column.cells])) for column in columns]
    if sum(widths) + 2 * (len(widths) - 1) > TEXT_WIDTH:
        return _as_blocks(columns, len(table.rows), has_totals=bool(options.totals))
    dashes = ["-" * width for width in widths]
    lines = [[column.cells[number] for column in columns] for number in range(len(columns[0].cells))]
    if options.totals:
        lines.insert(-1, dashes)
    lines = [[column.heading for column in columns], dashes, *lines]
    return "\n".join(_text_line(columns, widths, line) for line in lines)


def _on_one_line(column: Column) -> Column:
    cells = [
        column.series[row].blocks if row in column.series else " ".join(cell.split())
        for row, cell in enumerate(column.cells)
    ]
    return replace(column, heading=" ".join(column.heading.split()), cells=cells)


def _text_line(columns: list[Column], widths: list[int], texts: list[str]) -> str:
    cells = [
        _pad(text, width, right=column.numeric) for column, width, text in zip(columns, widths, texts, strict=True)
    ]
    return "  ".join(cells).rstrip()


def _as_blocks(columns: list[Column], row_count: int, has_totals: bool) -> str:
    width = min(max(_width(column.heading) for column in columns), _CELL_WIDTH)
    blocks = [_text_block(columns, number, width) for number in range(row_count)]
    if has_totals:
        totals = [column for column in columns if column.cells[-1]]
        blocks.append("-" * TEXT_WIDTH + "\n" + _text_block(totals, row_count, width))
    return "\n\n".join(blocks)


def _text_block(columns: list[Column], number: int, width: int) -> str:
    """Return one row as lines of heading, of that width, and value."""
    lines = []
    for column in columns:
        heading = textwrap.wrap(column.heading, width) or [""]
        value = textwrap.wrap(column.cells[number], TEXT_WIDTH - width - 2, break_on_hyphens=False) or [""]
        height = max(len(heading), len(value))
        for left, right in zip(_lengthened(heading, height), _lengthened(value, height), strict=True):
            lines.append(f"{_pad(left, width)}  {right}".rstrip())
    return "\n".join(lines)


def _lengthened(lines: list[str], length: int) -> list[str]:
    return lines + [""] * (length - len(lines))


def _width(text: str) -> int:
    """Return how many character cells the text takes: two for a wide one, none for a combining one."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def _pad(text: str, width: int, right: bool = False) -> str:
    blanks = " " * (width - _width(text))
    return blanks + text if right else text + blanks
