"""A query's result as a table in a mail: as HTML, and as text for the plain twin."""

import re
import textwrap
import unicodedata
from dataclasses import dataclass

from markupsafe import Markup, escape

from systemscripts.reporting.model import Table
from systemscripts.reporting.values import is_moment, is_number, readable_numbers, readable_text

NO_ROWS = "no rows"

TEXT_WIDTH = 100  # characters; a wider table is written a row below the other
_CELL_WIDTH = 40

# Mail programs drop style sheets, Outlook most of CSS. What counts is said by attributes, and once
# a table or row rather than once a cell: Gmail cuts a mail after 102 KB.
_BOX = "overflow-x:auto;margin:8px 0 20px"
_TABLE = (
    "border-collapse:collapse;border:1px solid #cfd8e3;font-family:Arial,Helvetica,sans-serif;"
    "font-size:13px;line-height:1.4;color:#1f2933;background-color:#ffffff;overflow-wrap:anywhere"
)
_HEADER_COLOR, _ZEBRA_COLOR = "#dfe7f0", "#f3f6fa"
_CHARACTER_PX, _BOLD_CHARACTER_PX = 7.5, 9.0
_LEAST_PX, _MOST_PX = 40, 160

_CELL = Markup("<td>{}</td>")
_UNBROKEN_CELL = Markup("<td nowrap>{}</td>")
_NUMBER_CELL = Markup('<td align="right" nowrap>{}</td>')

_WEB_ADDRESS = re.compile(r"https?://[^\s<>\"']+")


@dataclass(frozen=True)
class Column:
    """A column as it is shown; `numeric` stands on the right, `unbroken` stays on one line."""

    heading: str
    cells: list[str]
    numeric: bool
    unbroken: bool


def columns_of(table: Table) -> list[Column]:
    """Return the columns with their cells as readable text."""
    return [_column(heading, [row[index] for row in table.rows]) for index, heading in enumerate(table.columns)]


def _column(heading: str, values: list[object]) -> Column:
    present = [value for value in values if value is not None]
    if present and all(is_number(value) for value in present):
        return Column(heading, readable_numbers(heading, values), numeric=True, unbroken=True)
    moments = bool(present) and all(is_moment(value) for value in present)
    return Column(heading, [readable_text(value) for value in values], numeric=False, unbroken=moments)


# ---- HTML ----------------------------------------------------------------------------------


def html_table(table: Table) -> Markup:
    """Return the table as HTML that depends on no style sheet; all text is escaped.

    On a narrow screen cells wrap, and what still does not fit scrolls inside its own box.
    """
    if not table.rows:
        return Markup('<p style="color:#52606d"><i>{}</i></p>').format(NO_ROWS)
    columns = columns_of(table)
    headings = Markup("").join(_heading_cell(column) for column in columns)
    rows = Markup("\n").join(_html_row(columns, number) for number in range(len(table.rows)))
    return Markup(
        '<div style="{}"><table cellpadding="6" cellspacing="0" border="0" style="{}">\n'
        '<thead><tr bgcolor="{}" valign="bottom">{}</tr></thead>\n<tbody>\n{}\n</tbody></table></div>'
    ).format(_BOX, _TABLE, _HEADER_COLOR, headings, rows)


def _heading_cell(column: Column) -> Markup:
    wanted = (
        max(map(len, column.heading.split()), default=0) * _BOLD_CHARACTER_PX,
        max(map(len, column.cells)) * _CHARACTER_PX,
    )
    width = min(max(round(max(wanted)), _LEAST_PX), _MOST_PX)
    align = "right" if column.numeric else "left"
    return Markup('<th align="{}" style="min-width:{}px">{}</th>').format(align, width, column.heading)


def _html_row(columns: list[Column], number: int) -> Markup:
    shade = Markup(' bgcolor="{}"').format(_ZEBRA_COLOR) if number % 2 else ""
    cells = Markup("").join(_html_cell(column, column.cells[number]) for column in columns)
    return Markup('<tr valign="top"{}>{}</tr>').format(shade, cells)


def _html_cell(column: Column, text: str) -> Markup:
    if _WEB_ADDRESS.fullmatch(text):
        content = Markup('<a href="{0}">{0}</a>').format(text)
    else:
        content = Markup("<br>").join(escape(line) for line in text.splitlines())
    return (_NUMBER_CELL if column.numeric else _UNBROKEN_CELL if column.unbroken else _CELL).format(content)


# ---- text ----------------------------------------------------------------------------------


def text_table(table: Table) -> str:
    """Return the table as aligned lines, or a block a row where that would be wider than a mail."""
    if not table.rows:
        return f"({NO_ROWS})"
    columns = [_on_one_line(column) for column in columns_of(table)]
    widths = [max(map(_width, [column.heading, *column.cells])) for column in columns]
    if sum(widths) + 2 * (len(widths) - 1) > TEXT_WIDTH:
        return "\n\n".join(_text_block(columns, number) for number in range(len(table.rows)))
    lines = [[column.heading for column in columns], ["-" * width for width in widths]]
    lines += [[column.cells[number] for column in columns] for number in range(len(table.rows))]
    return "\n".join(_text_line(columns, widths, line) for line in lines)


def _on_one_line(column: Column) -> Column:
    cells = [" ".join(cell.split()) for cell in column.cells]
    return Column(" ".join(column.heading.split()), cells, column.numeric, column.unbroken)


def _text_line(columns: list[Column], widths: list[int], texts: list[str]) -> str:
    cells = [
        _pad(text, width, right=column.numeric) for column, width, text in zip(columns, widths, texts, strict=True)
    ]
    return "  ".join(cells).rstrip()


def _text_block(columns: list[Column], number: int) -> str:
    """Return one row as lines of heading and value."""
    width = min(max(_width(column.heading) for column in columns), _CELL_WIDTH)
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
