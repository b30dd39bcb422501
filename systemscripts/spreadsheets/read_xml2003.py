"""SpreadsheetML 2003, the XML that Excel 2002 and 2003 and many exports name .xls; it is streamed, entities are refused."""

from collections.abc import Iterator
from typing import Any, BinaryIO

from defusedxml.ElementTree import iterparse

from systemscripts.spreadsheets.blocks import Rows, in_blocks
from systemscripts.spreadsheets.cell_text import TRUE_FALSE, NumberKind, iso_text, number_kind, number_text
from systemscripts.spreadsheets.model import Refused, Sheet

_SS = "{urn:schemas-microsoft-com:office:spreadsheet}"
_X = "{urn:schemas-microsoft-com:office:excel}"
# The number formats that have a name; the others have a code.
_NAMED_DATES = ("General Date", "Long Date", "Medium Date", "Short Date")
_MAX_COLUMNS = 16384
_MAX_ROWS = 1_048_576


class Xml2003Workbook:
    """A workbook as one XML document; it is read once for the list of sheets, and once for the rows of each sheet."""

    engine = "reference"

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        names: list[str] = []
        hidden: set[int] = set()
        widths: list[int] = []
        style = ""
        self._date_1904 = False
        self._date_styles: set[str] = set()
        for event, element in self._events():
            if event == "start" and element.tag == f"{_SS}Worksheet":
                names.append(element.get(f"{_SS}Name", f"Sheet{len(names) + 1}"))
                widths.append(0)
            elif event == "start" and element.tag == f"{_SS}Table" and widths:
                widths[-1] = min(_whole(element.get(f"{_SS}ExpandedColumnCount", "0")), _MAX_COLUMNS)
            elif event == "end" and element.tag == f"{_X}Visible" and names and element.text != "SheetVisible":
                hidden.add(len(names) - 1)
            elif event == "end" and element.tag == f"{_X}Date1904":
                self._date_1904 = True
            elif event == "start" and element.tag == f"{_SS}Style":
                style = element.get(f"{_SS}ID", "")
            elif event == "start" and element.tag == f"{_SS}NumberFormat":
                code = element.get(f"{_SS}Format", "")
                if code in _NAMED_DATES or number_kind(0, code) is NumberKind.DATE:
                    self._date_styles.add(style)
        self.sheets = [Sheet(name, number not in hidden) for number, name in enumerate(names)]
        self._widths = widths

    def _events(self) -> Iterator[tuple[str, Any]]:
        """Yield starts and ends of elements; the contents of an ended row are freed."""
        self._source.seek(0)
        open_elements: list[Any] = []
        for event, element in iterparse(self._source, events=("start", "end")):
            if event == "start":
                open_elements.append(element)
                yield event, element
                continue
            open_elements.pop()
            yield event, element
            if element.tag == f"{_SS}Row" and open_elements:
                open_elements[-1].remove(element)

    def width(self, index: int) -> int:
        return self._widths[index]

    @in_blocks
    def blocks(self, index: int) -> Rows:
        sheet, row = -1, 0
        for event, element in self._events():
            if event == "start":
                sheet += element.tag == f"{_SS}Worksheet"
                continue
            if sheet == index and element.tag == f"{_SS}Row":
                position = element.get(f"{_SS}Index")
                if position is not None:
                    if _whole(position) <= row:
                        raise Refused(f"it is damaged: row {position} of its sheet follows row {row}")
                    row = _whole(position) - 1
                if row >= _MAX_ROWS:
                    raise Refused(f"it is damaged: its sheet has a row {row + 1:,}")
                yield row, _cells(element, self._date_1904, self._date_styles)
                row += 1 + _whole(element.get(f"{_SS}Span", "0"))
            elif sheet == index and element.tag == f"{_SS}Table":
                return


def _cells(row: Any, date_1904: bool, date_styles: set[str]) -> list[str]:
    texts: list[str] = []
    for cell in row.iterfind(f"{_SS}Cell"):
        position = cell.get(f"{_SS}Index")
        if position is not None:
            if not len(texts) < _whole(position) <= _MAX_COLUMNS:
                raise Refused(f"it is damaged: a cell of its sheet stands at column {position}")
            texts += [""] * (_whole(position) - 1 - len(texts))
        data = cell.find(f"{_SS}Data")
        shows_date = cell.get(f"{_SS}StyleID", "") in date_styles
        texts.append("" if data is None else _text(data, date_1904, shows_date))
        texts += [""] * min(_whole(cell.get(f"{_SS}MergeAcross", "0")), _MAX_COLUMNS)
    return texts


def _text(data: Any, date_1904: bool, shows_date: bool) -> str:
    kind = data.get(f"{_SS}Type", "String")
    text = "".join(data.itertext())
    if not text:
        return ""
    try:
        if kind == "Number":
            return str(int(text)) if text.lstrip("-").isdigit() and len(text) < 4000 else number_text(float(text))
        if kind == "DateTime":
            return iso_text(text, date_1904, shows_date)
        if kind == "Boolean":
            return TRUE_FALSE[int(text)]
    except (ValueError, IndexError, OverflowError):
        raise Refused(f"it is damaged: a cell of its sheet holds {text[:40]!r} as {kind}") from None
    return text


def _whole(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number < 0:
        raise Refused(f"it is damaged: {text[:40]!r} where a row or column number must stand")
    return number
