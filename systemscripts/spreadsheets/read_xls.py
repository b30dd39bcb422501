"""xlrd: the reference for BIFF2 to 8."""

import os
from collections import defaultdict
from typing import Any, cast

import xlrd

from systemscripts.spreadsheets.blocks import Rows, in_blocks
from systemscripts.spreadsheets.cell_text import TRUE_FALSE, NumberKind, number_kind, serial_text
from systemscripts.spreadsheets.model import Sheet

# xlrd's cell types are 0 to 6; these are two more, because it does not distinguish elapsed times and times of day from dates.
_DURATION, _TIME = 7, 8
_CELL_TYPES = {NumberKind.NUMBER: 2, NumberKind.DATE: 3, NumberKind.DURATION: _DURATION, NumberKind.TIME: _TIME}
_KINDS = {number: kind for kind, number in _CELL_TYPES.items()}


class XlsWorkbook:
    """A workbook through xlrd. It gets only the stream, because xlrd refuses some containers that Excel opens."""

    engine = "reference"

    def __init__(self, stream: bytes) -> None:
        self._errors: dict[int, str] = xlrd.error_text_from_code
        # xlrd would evaluate defined names, which is not needed here, and it fails on some that Excel writes.
        cast("Any", xlrd.book.Book).names_epilogue = lambda _: None
        # xlrd writes oddities to its log file; it raises an exception for a refusal.
        with open(os.devnull, "w") as log_file:
            self._book: Any = xlrd.open_workbook(
                file_contents=stream, logfile=log_file, on_demand=True, ragged_rows=True
            )
            if self._book.biff_version >= 50:
                self._use_own_number_kinds()
            self._pages: list[Any] = self._book.sheets()
        self._date_1904 = bool(self._book.datemode)
        # Before Excel 5 the format does not show times of day, so a value below one day counts as a time of day.
        self._kinds = _KINDS if self._book.biff_version >= 50 else {**_KINDS, 3: NumberKind.TIME}
        self.sheets = [Sheet(page.name, page.visibility == 0) for page in self._pages]

    def _use_own_number_kinds(self) -> None:
        """Use the OOXML rule for date formats; xlrd's own rule differs for mixed and elapsed formats."""
        kinds: dict[int, int] = defaultdict(lambda: _CELL_TYPES[NumberKind.NUMBER])
        spelled_out = set(self._book.format_map) & {entry.format_key for entry in self._book.format_list}
        for index, style in enumerate(self._book.xf_list):
            key = style.format_key
            code = self._book.format_map[key].format_str if key in spelled_out else None
            kinds[index] = _CELL_TYPES[number_kind(key, code)]
        self._book._xf_index_to_xl_type_map = kinds

    def width(self, index: int) -> int:
        return int(self._pages[index].ncols)

    @in_blocks
    def blocks(self, index: int) -> Rows:
        page = self._pages[index]
        for number in range(page.nrows):
            kinds, values = page.row_types(number), page.row_values(number)
            yield number, [self._text(kind, value) for kind, value in zip(kinds, values, strict=True)]

    def _text(self, kind: int, value: Any) -> str:
        if kind == 1:
            return str(value)
        if kind in (0, 6):
            return ""
        if kind == 4:
            return TRUE_FALSE[bool(value)]
        if kind == 5:
            return self._errors.get(value, f"#ERROR {value}")
        return serial_text(float(value), self._kinds[kind], self._date_1904)
