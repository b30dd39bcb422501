"""Show a query's result as a table in a mail: as HTML, and as plain text."""

import re
import textwrap
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import zip_longest

from markupsafe import Markup, escape

from systemscripts.reporting.cell_formats import PALETTE
from systemscripts.reporting.columns import NO_OPTIONS, Column, columns_of
from systemscripts.reporting.model import GridOptions, Table

NO_ROWS = "no rows"

TEXT_WIDTH = 100  # characters; in a wider table each row becomes a block of lines
_CELL_WIDTH = 40


def text_table(table: Table, options: GridOptions = NO_OPTIONS, text_width: int = TEXT_WIDTH) -> str:
    """Return the table as aligned lines; if they would be too wide for a mail, return one block per row.

    Series of numbers are drawn with block characters. Raises ReportError if an option does not fit its column.
    """
    columns = []
    for column in columns_of(table, options):
        cells = [
            column.series[row].blocks
            if row in column.series
            else _with_address(" ".join(cell.split()), column.links.get(row))
            for row, cell in enumerate(column.cells)
        ]
        columns.append(replace(column, heading=" ".join(column.heading.split()), cells=cells))
    if not table.rows:
        return f"({NO_ROWS})"
    widths = [max(map(_width, [column.heading, *column.cells])) for column in columns]
    if sum(widths) + 2 * (len(widths) - 1) > text_width:
        return _as_blocks(columns, len(table.rows), bool(options.totals), text_width)
    dashes = ["-" * width for width in widths]
    lines = [[column.cells[number] for column in columns] for number in range(len(columns[0].cells))]
    if options.totals:
        lines.insert(-1, dashes)
    lines = [[column.heading for column in columns], dashes, *lines]
    padded = [
        [_pad(text, width, right=column.numeric) for column, width, text in zip(columns, widths, line, strict=True)]
        for line in lines
    ]
    return "\n".join("  ".join(texts).rstrip() for texts in padded)


def _with_address(text: str, address: str | None) -> str:
    return f"{text} ({address})" if text and address and text != address else text


def _as_blocks(columns: list[Column], row_count: int, has_totals: bool, text_width: int) -> str:
    width = min(max(_width(column.heading) for column in columns), _CELL_WIDTH)
    blocks = [_text_block(columns, number, width, text_width) for number in range(row_count)]
    if has_totals:
        totals = [column for column in columns if column.cells[-1]]
        blocks.append("-" * text_width + "\n" + _text_block(totals, row_count, width, text_width))
    return "\n\n".join(blocks)


def _text_block(columns: list[Column], number: int, width: int, text_width: int) -> str:
    """Return one row as lines of heading (padded to that width) and value."""
    lines = []
    for column in columns:
        heading = textwrap.wrap(column.heading, width) or [""]
        value = textwrap.wrap(column.cells[number], text_width - width - 2, break_on_hyphens=False) or [""]
        for left, right in zip_longest(heading, value, fillvalue=""):
            lines.append(f"{_pad(left, width)}  {right}".rstrip())
    return "\n".join(lines)


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


__all__ = ["NO_ROWS", "Draw", "html_table", "text_table"]

# Points, with None for a gap, and the text that describes the drawing.
Draw = Callable[[Sequence[float | None], str], Markup]

# Mail programs drop style sheets, and Outlook drops most of CSS, so attributes are used. They stand once
# per table or row, not per cell, because Gmail cuts a mail after 102 KB.
_BOX = "overflow-x:auto;margin:8px 0 20px"
_TABLE = (
    "border-collapse:collapse;border:1px solid #cfd8e3;font-family:Arial,Helvetica,sans-serif;"
    "font-size:13px;line-height:1.4;color:#1f2933;background-color:#ffffff;overflow-wrap:anywhere"
)
_HEADER_COLOR, _ZEBRA_COLOR, _TOTAL_COLOR = "#dfe7f0", "#f3f6fa", "#e9eff6"
_CHARACTER_PX, _BOLD_CHARACTER_PX = 7.5, 9.0
_LEAST_PX, _MOST_PX = 40, 160
# Columns of text are narrower if the table then fits a telephone, or with many columns a window; but not narrower than a word.
_TELEPHONE_PX, _READABLE_PX = 356, 90
_WINDOW_PX, _WORD_PX = 740, 60
_PADDING_PX = 12

_CELL = Markup("<td{}>{}</td>")
_UNBROKEN_CELL = Markup("<td nowrap{}>{}</td>")
_NUMBER_CELL = Markup('<td align="right" nowrap{}>{}</td>')

# Outlook knows the attribute, and dark modes do not change a pair of colours that is given together.
_TINTS = {
    name: Markup(' bgcolor="{}" style="color:{}"').format(tint.background, tint.text) for name, tint in PALETTE.items()
}
# On the cells, because Outlook draws no border of a row.
_TOTAL_BORDER = Markup(' style="border-top:2px solid #9fb3c8"')

_LINK = Markup('<a href="{}">{}</a>')
_WEB_ADDRESS = re.compile(r"https?://[^\s<>\"']+")


def html_table(table: Table, options: GridOptions = NO_OPTIONS, draw: Draw | None = None) -> Markup:
    """Return the table as HTML that depends on no style sheet; all text is escaped.

    On a narrow screen cells wrap, and a table that is still too wide scrolls in its own box. `draw` makes
    the image of a series of numbers; without it the text is shown. Raises ReportError if an option does
    not fit its column.
    """
    columns = columns_of(table, options)
    if not table.rows:
        return Markup('<p style="color:#52606d"><i>{}</i></p>').format(NO_ROWS)
    headings = Markup("").join(
        Markup('<th align="{}" style="min-width:{}px{}">{}</th>').format(
            "right" if column.numeric else "left", width, _whole_words(column.heading), column.heading
        )
        for column, width in zip(columns, _least_widths(columns, draw), strict=True)
    )
    rows = []
    for number in range(len(table.rows)):
        shade = Markup(' bgcolor="{}"').format(_ZEBRA_COLOR) if number % 2 else ""
        cells = Markup("").join(_html_cell(column, number, draw) for column in columns)
        rows.append(Markup('<tr valign="top"{}>{}</tr>').format(shade, cells))
    if options.totals:
        totals = [(column, column.cells[-1]) for column in columns]
        cells = Markup("").join(
            _cell_form(column).format(_TOTAL_BORDER, Markup("<b>{}</b>").format(text) if text else "")
            for column, text in totals
        )
        rows.append(Markup('<tr valign="top" bgcolor="{}">{}</tr>').format(_TOTAL_COLOR, cells))
    return Markup(
        '<div style="{}"><table cellpadding="6" cellspacing="0" border="0" style="{}">\n'
        '<thead><tr bgcolor="{}" valign="bottom">{}</tr></thead>\n<tbody>\n{}\n</tbody></table></div>'
    ).format(_BOX, _TABLE, _HEADER_COLOR, headings, Markup("\n").join(rows))


def _least_widths(columns: list[Column], draw: Draw | None) -> list[int]:
    """Return the width below which each column does not shrink; a table that is wider than its box with them scrolls."""
    most = min(_MOST_PX, max(_WINDOW_PX // len(columns), _WORD_PX))
    widths = [_least_width(column, draw, most) for column in columns]
    foldable = [not column.unbroken and width > _READABLE_PX for column, width in zip(columns, widths, strict=True)]
    if not any(foldable):
        return widths
    fixed = sum(width for width, folds in zip(widths, foldable, strict=True) if not folds)
    share = (_TELEPHONE_PX - _PADDING_PX * len(columns) - fixed) // sum(foldable)
    if share < _READABLE_PX:
        return widths
    return [_least_width(column, draw, min(most, share)) for column in columns]


def _whole_words(heading: str) -> str:
    """Return the style that keeps a heading's words whole in every font, unless one is too long for a column."""
    return ";overflow-wrap:normal" if _widest_word(heading) <= _MOST_PX else ""


def _widest_word(heading: str) -> float:
    return max(map(len, heading.split()), default=0) * _BOLD_CHARACTER_PX


def _least_width(column: Column, draw: Draw | None, most_px: int) -> int:
    texts = [cell for row, cell in enumerate(column.cells) if draw is None or row not in column.series]
    word = _widest_word(column.heading)
    longest = max(map(len, texts), default=0) * _CHARACTER_PX
    # Figures stay on their line, whatever is allowed.
    cells = longest if column.unbroken else min(longest, most_px)
    return min(max(round(word), round(cells), _LEAST_PX), _MOST_PX)


def _html_cell(column: Column, number: int, draw: Draw | None) -> Markup:
    series, text = column.series.get(number), column.cells[number]
    if series is not None and draw is not None:
        content = draw(series.points, series.alt)
    elif text and number in column.links:
        content = _LINK.format(column.links[number], text)
    elif _WEB_ADDRESS.fullmatch(text):
        content = _LINK.format(text, text)
    else:
        content = Markup("<br>").join(escape(line) for line in text.splitlines())
    tint = _TINTS[column.colours[number]] if number in column.colours else ""
    return _cell_form(column).format(tint, content)


def _cell_form(column: Column) -> Markup:
    return _NUMBER_CELL if column.numeric else _UNBROKEN_CELL if column.unbroken else _CELL
