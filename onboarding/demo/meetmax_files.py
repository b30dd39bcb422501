"""Writes company lists as the site serves them: always named .xls, and really BIFF, OOXML, CSV or HTML.

The same rows always give the same bytes.
"""

import csv
import html
import io
import re
import zipfile

from meetmax_lists import COLUMNS, Event, Row, is_number

VANISHED = b"Invalid Event ID"
SHEET_NAME = "Company List"

_LONG_AGO = (1980, 1, 1, 0, 0, 0)
_TIME_STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def file_bytes(event: Event, rows: list[Row]) -> bytes:
    """Return the event's file."""
    if event.file == "vanished":
        return VANISHED
    writer = {"biff": _biff, "ooxml": _ooxml, "csv": _csv, "html": _html}[event.file]
    return writer(COLUMNS[event.columns], rows)


def _cells(headings: tuple[str, ...], rows: list[Row]) -> list[list[str | float | None]]:
    """Return the rows with the numbers as numbers and the empty cells as None, headings first."""
    first: list[str | float | None] = [heading or None for heading in headings]
    return [first, *([_cell(heading, row[heading]) for heading in headings] for row in rows)]


def _cell(heading: str, text: str) -> str | float | None:
    return float(text) if text and is_number(heading) else text or None


def _biff(headings: tuple[str, ...], rows: list[Row]) -> bytes:
    import xlwt

    book = xlwt.Workbook(encoding="utf-8")
    sheet = book.add_sheet(SHEET_NAME)
    for number, cells in enumerate(_cells(headings, rows)):
        for column, value in enumerate(cells):
            if value is not None:
                sheet.write(number, column, value)
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()


def _ooxml(headings: tuple[str, ...], rows: list[Row]) -> bytes:
    import openpyxl

    book = openpyxl.Workbook()
    del book[book.sheetnames[0]]
    sheet = book.create_sheet(SHEET_NAME)
    for cells in _cells(headings, rows):
        sheet.append(cells)
    stream = io.BytesIO()
    book.save(stream)
    return _without_time(stream.getvalue())


def _without_time(workbook: bytes) -> bytes:
    """Return the workbook without the moment of its making, which openpyxl puts into it twice and zip once a part."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(workbook)) as source, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "docProps/core.xml":
                content = _TIME_STAMP.sub(b"2026-01-01T00:00:00Z", content)
            target.writestr(zipfile.ZipInfo(name, _LONG_AGO), content, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def _csv(headings: tuple[str, ...], rows: list[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(headings)
    writer.writerows([row[heading] for heading in headings] for row in rows)
    return text.getvalue().encode()


def _html(headings: tuple[str, ...], rows: list[Row]) -> bytes:
    lines = [_html_row("th", list(headings))]
    lines += [_html_row("td", [row[heading] for heading in headings]) for row in rows]
    text = "<html><head><title>Company List</title></head><body>\n<table border=1>\n{}\n</table>\n</body></html>\n"
    return text.format("\n".join(lines)).encode("ascii", errors="xmlcharrefreplace")


def _html_row(tag: str, texts: list[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in texts) + "</tr>"
