"""Write a query's result as an Excel workbook: numbers as numbers, dates as dates, text never as a formula.

openpyxl makes the workbook with its headings and formats. The rows are then put into its sheet as
XML (ECMA-376, 18.3.1), which takes a fifth of openpyxl's time.
"""

import io
import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from xml.sax.saxutils import escape
from zipfile import ZIP_DEFLATED, ZipFile

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.cell.cell import Cell
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter
from openpyxl.utils.datetime import to_excel

from systemscripts.reporting.model import MomentText, ReportError, Table
from systemscripts.reporting.values import exact_text, local_time, offset_if_twice
from systemscripts.reporting.writing import PLAIN, Writing
from systemscripts.reporting.xlsx_links import LINK_COLOUR, RELATIONS_OF_SHEET, SheetLinks

LONGEST_TEXT = 32_767  # characters in a cell, by Excel's specification
_EXACT_DIGITS = 15  # of a double
_FIRST_DATE = date(1900, 3, 1)  # before this date Excel counts a 29 February 1900, which did not exist
_SAMPLE_ROWS = 200  # the rows that set a column's width
_NARROWEST, _WIDEST = 9, 60  # characters

_SHEET = "xl/worksheets/sheet1.xml"
_END_OF_ROWS = b"</sheetData>"

_FORMATS: dict[type, str] = {
    Decimal: "#,##0.00",  # for those with two decimal places
    date: "yyyy-mm-dd",
    datetime: "yyyy-mm-dd hh:mm:ss",
    time: "hh:mm:ss",
    timedelta: "[h]:mm:ss",
}

# An interval of hours as Excel shows it; months and days have no fixed number of hours (a day may have 23).
_HOURS = re.compile(r"(\d{2,4}):(\d\d):(\d\d)")

# Characters that XML cannot hold, and text that looks like their escape (ECMA-376, ST_Xstring).
_TO_ESCAPE = re.compile(r"[\x00-\x08\x0b-\x1f\ufffe\uffff]|_(?=x[0-9A-Fa-f]{4}_)")


def xlsx_bytes(
    table: Table, sheet_name: str, writing: Writing = PLAIN, links: Mapping[str, str] | None = None
) -> bytes:
    """Return the table as a workbook of one sheet with frozen headings and a filter.

    `writing` decides how dates and times are shown. The signs in a number are those of the reader's own Excel.
    `links` names the column with the addresses for each column whose cells are links. Raises ReportError if a
    text is too long for a cell, or if a column of `links` is not there.
    """
    linked = SheetLinks(table, links or {})
    workbook, styles = _headings_only(table, sheet_name, writing)
    stream = io.BytesIO()
    with ZipFile(workbook) as made, ZipFile(stream, "w", ZIP_DEFLATED) as target:
        for part in made.namelist():
            content = made.read(part)
            if part == _SHEET:
                before, end, after = content.rpartition(_END_OF_ROWS)
                rows = "".join(_rows(table, styles, linked.addresses)).encode()
                content = before + rows + end + linked.put_into(after)
            target.writestr(part, content)
        if linked.targets:
            target.writestr(RELATIONS_OF_SHEET, linked.relations())
    return stream.getvalue()


# ---- the workbook --------------------------------------------------------------------------


def _headings_only(table: Table, sheet_name: str, writing: Writing) -> tuple[io.BytesIO, dict[type, int]]:
    """Return the workbook without rows, and the number of the cell style for each type that has a format; str has that of a link."""
    workbook = Workbook(write_only=True)
    sheet = workbook.create_sheet(re.sub(r"[\[\]:*?/\\]", "_", sheet_name)[:31].strip("'") or "Sheet1")
    sheet.freeze_panes = "A2"
    headings = []
    for index, heading in enumerate(table.columns):
        title: Cell = WriteOnlyCell(sheet, _xml_text(heading, heading))
        # Without this openpyxl guesses: =1+1 becomes a formula, #N/A an error.
        title.data_type = "s"
        title.font = Font(bold=True)
        title.fill = PatternFill("solid", fgColor="DFE7F0")
        title.alignment = Alignment(vertical="top", wrap_text=True)
        headings.append(title)
        longest_word = max(map(len, heading.split()), default=0)
        cells = (len(exact_text(row[index])) for row in table.rows[:_SAMPLE_ROWS])
        # Three more characters for the button of the filter.
        width = min(max(longest_word + 3, *cells, _NARROWEST), _WIDEST) + 1
        sheet.column_dimensions[get_column_letter(index + 1)].width = width
    sheet.append(headings)
    sheet.auto_filter.ref = f"A1:{get_column_letter(len(table.columns))}{len(table.rows) + 1}"
    styles: dict[type, int] = {}
    link: Cell = WriteOnlyCell(sheet)
    link.font = Font(color=LINK_COLOUR, underline="single")
    styles[str] = link.style_id
    for kind, number_format in _FORMATS.items():
        cell: Cell = WriteOnlyCell(sheet)
        is_moment = kind in (date, datetime, time) and writing is not PLAIN
        cell.number_format = writing.excel(kind) if is_moment else number_format
        styles[kind] = cell.style_id
    stream = io.BytesIO()
    workbook.save(stream)
    return stream, styles


# ---- its rows ------------------------------------------------------------------------------


def _rows(table: Table, styles: dict[type, int], links: Mapping[str, Mapping[int, str]]) -> Iterator[str]:
    letters = [get_column_letter(number) for number in range(1, len(table.columns) + 1)]
    for number, row in enumerate(table.rows, start=2):
        yield f'<row r="{number}">'
        for letter, column, value in zip(letters, table.columns, row, strict=True):
            if value not in (None, ""):
                yield f'<c r="{letter}{number}"{_content(column, value, styles, number - 2 in links.get(column, {}))}</c>'
        yield "</row>"


def _content(column: str, value: object, styles: dict[type, int], is_link: bool) -> str:
    """Return the rest of a cell's element: its type or style, and its value."""
    if isinstance(value, bool):
        return f' t="b"><v>{value:d}</v>'
    if isinstance(value, int | float | Decimal) and _is_exact(value):
        has_cents = isinstance(value, Decimal) and value.as_tuple().exponent == -2
        style = f' s="{styles[Decimal]}"' if has_cents else ""
        return f"{style}><v>{value}</v>"
    if isinstance(value, datetime) and not offset_if_twice(value):
        value = local_time(value)
    elif isinstance(value, MomentText) and (hours := _HOURS.fullmatch(value)):
        value = timedelta(hours=int(hours[1]), minutes=int(hours[2]), seconds=int(hours[3]))
    if isinstance(value, date | time | timedelta) and _has_serial_number(value):
        serial_number = to_excel(value)  # type: ignore[no-untyped-call]
        return f' s="{styles[type(value)]}"><v>{serial_number}</v>'
    style = f' s="{styles[str]}"' if is_link else ""
    return f'{style} t="inlineStr"><is><t xml:space="preserve">{escape(_xml_text(column, exact_text(value)))}</t></is>'


def _is_exact(number: float | Decimal) -> bool:
    """Return whether Excel can hold the number exactly; a long key that Excel would round is written as text."""
    if isinstance(number, int):
        return len(str(abs(number))) <= _EXACT_DIGITS
    exact = Decimal(number)
    return exact.is_finite() and (
        isinstance(number, float) or len(exact.normalize().as_tuple().digits) <= _EXACT_DIGITS
    )


def _has_serial_number(value: date | time | timedelta) -> bool:
    """Return whether Excel has a number for the date; it has none before 1900, or for a time that comes twice in a day."""
    if isinstance(value, datetime):
        return value.tzinfo is None and value.date() >= _FIRST_DATE
    return not isinstance(value, date) or value >= _FIRST_DATE


def _xml_text(column: str, text: str) -> str:
    if len(text) > LONGEST_TEXT:
        raise ReportError(
            f"column {column} has a text of {len(text):,} characters, but a cell of a workbook holds {LONGEST_TEXT:,}; "
            "cut it in the query, or name the file .csv"
        )
    return _TO_ESCAPE.sub(lambda found: f"_x{ord(found[0]):04X}_", text)
