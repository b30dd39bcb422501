"""openpyxl: the reference for OOXML, streaming.

openpyxl finds the parts of the workbook. The rows are read here, because openpyxl's worksheet class cuts
them at the declared size of the sheet, drops rows that are out of order, and turns dates into objects
without the number. A sheet with rows twice, or with cells of another row, is refused here; the fast engine
would guess their place.
"""

import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from openpyxl.cell.text import Text
from openpyxl.reader.excel import ExcelReader
from openpyxl.utils import column_index_from_string, coordinate_to_tuple
from openpyxl.utils.datetime import MAC_EPOCH
from openpyxl.xml.constants import SHARED_STRINGS, SHEET_MAIN_NS, STYLES_TYPE

from systemscripts.spreadsheets.blocks import Rows, in_blocks
from systemscripts.spreadsheets.cell_text import TRUE_FALSE, NumberKind, iso_text, number_kind, serial_text
from systemscripts.spreadsheets.model import Refused, Sheet
from systemscripts.spreadsheets.ooxml_package import Package

# This parser is in C and takes half the time of the one that checks for entities; `ooxml_package` has refused those.
_iterparse: Callable[[Any], Iterator[tuple[str, Any]]] = ET.iterparse

_ROW_TAG, _CELL_TAG, _VALUE_TAG, _INLINE_TAG, _DATA_TAG = (
    f"{{{SHEET_MAIN_NS}}}{name}" for name in ("row", "c", "v", "is", "sheetData")
)
_STRING_TAG = f"{{{SHEET_MAIN_NS}}}si"
_FORMATS_TAG = f"{{{SHEET_MAIN_NS}}}numFmts"
_STYLES_TAG = f"{{{SHEET_MAIN_NS}}}cellXfs"
_TEXT_TAG = f"{{{SHEET_MAIN_NS}}}t"
# ECMA-376 part 1, 22.9.2.19 (ST_Xstring); halves of surrogate pairs stay unchanged.
_ESCAPE = re.compile(r"_x((?![dD][89a-fA-F])[0-9a-fA-F]{4})_")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_DIMENSION = re.compile(rb'<dimension\b[^>]*\bref="[A-Z]+\d+(?::([A-Z]{1,3})\d+)?"')
_BOOLEANS = {"0": TRUE_FALSE[0], "false": TRUE_FALSE[0], "1": TRUE_FALSE[1], "true": TRUE_FALSE[1]}


class XlsxWorkbook:
    """A workbook through openpyxl."""

    engine = "reference"

    def __init__(self, source: BinaryIO) -> None:
        # openpyxl warns about parts that it leaves out; none of them holds cells.
        warnings.simplefilter("ignore")
        reader = ExcelReader(source, read_only=True, data_only=True, keep_links=False)
        self._archive = reader.archive = Package(source)
        reader.read_manifest()
        self._strings = self._read_strings(reader)
        reader.read_workbook()
        self._date_1904 = reader.wb.epoch == MAC_EPOCH
        self._kinds = self._read_number_kinds(reader)
        found = [
            (Sheet(sheet.name, sheet.state == "visible"), relation.target)
            for sheet, relation in reader.parser.find_sheets()
            if relation.Type.endswith("/worksheet")
        ]
        self.sheets = [sheet for sheet, _ in found]
        self._paths = [path for _, path in found]

    def _read_strings(self, reader: Any) -> list[str]:
        part = reader.package.find(SHARED_STRINGS)
        if part is None:
            return []
        with self._archive.open(part.PartName[1:]) as source:
            strings = []
            for _, element in _iterparse(source):
                if element.tag == _STRING_TAG:
                    strings.append(_string(element))
                    element.clear()
            return strings

    def _read_number_kinds(self, reader: Any) -> list[NumberKind]:
        """Return the kind of the number format of each cell style.

        openpyxl's own reader of styles fails on wrong fonts and fills of other writers.
        """
        part = reader.package.find(STYLES_TYPE)
        if part is None:
            return []
        codes: dict[int, str] = {}
        with self._archive.open(part.PartName[1:]) as source:
            for _, element in _iterparse(source):
                if element.tag == _FORMATS_TAG:
                    codes = {int(child.get("numFmtId")): child.get("formatCode", "") for child in element}
                elif element.tag == _STYLES_TAG:
                    ids = [int(child.get("numFmtId") or 0) for child in element]
                    return [number_kind(number, codes.get(number)) for number in ids]
        return []

    def width(self, index: int) -> int:
        with self._archive.open(self._paths[index]) as source:
            dimension = _DIMENSION.search(source.read(4096))
        return column_index_from_string(dimension[1].decode()) if dimension and dimension[1] else 0

    @in_blocks
    def blocks(self, index: int) -> Rows:
        with self._archive.open(self._paths[index]) as source:
            yield from _Rows(source, self._strings, self._kinds, self._date_1904).texts()


@dataclass
class _Rows:
    """The rows of one sheet as canonical text.

    `row` and `column` are those of the last row and cell; a row or cell without a place follows them.
    """

    source: Any
    strings: list[str]
    kinds: list[NumberKind]
    date_1904: bool
    row: int = 0
    column: int = 0

    def texts(self) -> Iterator[tuple[int, list[str]]]:
        for _, element in _iterparse(self.source):
            if element.tag == _ROW_TAG:
                written, last = element.get("r"), self.row
                if written is None:
                    number = last + 1
                elif _NUMBER.fullmatch(written) and float(written).is_integer():
                    number = int(float(written))  # some writers write it as 3.0
                else:
                    raise Refused(f"it is damaged: one of its rows has the number {written[:40]!r}")
                if number <= last:
                    raise Refused(f"it is damaged: row {number} of its sheet follows row {last}")
                self.row, self.column = number, 0
                cells = [self._cell(child) for child in element]
                element.clear()
                yield number - 1, _placed(cells)
            elif element.tag == _DATA_TAG:
                return
        raise Refused("its sheet holds no rows in the form that the reference reader knows")

    def _cell(self, element: Any) -> tuple[int, str]:
        """Return a cell's column, from 1, and its text; column 0 if the element is not a cell."""
        if element.tag != _CELL_TAG:
            return 0, ""
        coordinate = element.get("r")
        if coordinate:
            row, self.column = coordinate_to_tuple(coordinate)
            if row != self.row:
                raise Refused(f"it is damaged: cell {coordinate} stands in row {self.row}")
        else:
            self.column += 1
        try:
            return self.column, self._text(element)
        except (ValueError, IndexError, KeyError) as error:
            raise Refused(f"it is damaged: its cell {coordinate or self.column} cannot be read ({error})") from None

    def _text(self, element: Any) -> str:
        kind = element.get("t", "n")
        value = element.findtext(_VALUE_TAG)
        if kind == "inlineStr":
            child = element.find(_INLINE_TAG)
            if child is not None and value is not None:
                raise ValueError("it holds two values")
            return _string(child) if child is not None else ""
        if not value:
            return ""
        if kind == "n":
            return self._number(value, int(element.get("s") or 0))
        if kind == "s":
            position = int(value)
            if position < 0:
                raise ValueError(f"string number {position}")
            return str(self.strings[position])
        return _TEXT_OF[kind](value)

    def _number(self, value: str, style: int) -> str:
        if not _NUMBER.fullmatch(value):
            raise ValueError(f"{value[:40]!r} where a number must stand")
        kind = self.kinds[style] if style < len(self.kinds) else NumberKind.NUMBER
        # A number with more digits than a double holds is passed on unchanged.
        if kind is NumberKind.NUMBER and value.lstrip("+-").isdigit():
            return str(int(value)) if len(value) < 4000 else value
        return serial_text(float(value), kind, self.date_1904)


def _placed(cells: list[tuple[int, str]]) -> list[str]:
    """Return the texts from column A on."""
    texts = [""] * max((column for column, text in cells if text), default=0)
    for column, text in cells:
        if column and (text or column <= len(texts)):
            texts[column - 1] = text
    return texts


def _string(element: Any) -> str:
    """Return the text of a shared or inline string without its phonetic guide; each run is unescaped separately."""
    if len(element) == 1 and element[0].tag == _TEXT_TAG:
        return unescaped(element[0].text or "")
    text: Any = Text.from_tree(element)
    return "".join(unescaped(run) for run in (text.plain, *(run.t for run in text.formatted)) if run)


def unescaped(text: str) -> str:
    """Return the text with its _xHHHH_ escapes replaced by their characters.

    >>> unescaped("a_x000D_b _x005F_x000D_")
    'a\\rb _x000D_'
    """
    return _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), text) if "_x" in text else text


_TEXT_OF: dict[str, Callable[[str], str]] = {
    "str": unescaped,
    "e": str,
    "b": _BOOLEANS.__getitem__,
    "d": iso_text,
}
