"""python-calamine: the fast engine for BIFF5 to 8 and OOXML.

It is used only if its cells surely equal those of the reference. `archive` and `biff` search in advance
for differences that cannot be seen afterwards (an error that looks like an empty cell, a trimmed text).
Differences that show in the cells are declined here.
"""

import datetime
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

from python_calamine import CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum

from systemscripts.spreadsheets.blocks import Block, rows_in
from systemscripts.spreadsheets.cell_text import EXACT_INTEGERS, TRUE_FALSE, moment_text, number_text, timedelta_text
from systemscripts.spreadsheets.model import FastEngineDeclines, Sheet

_FIRST_SURE_DAY = datetime.date(1900, 3, 2)
_FIRST_SURE_MOMENT = datetime.datetime(1900, 3, 2)  # noqa: DTZ001 - cells have no zone


class FastWorkbook:
    """A workbook through calamine; `times_are_sure` where no negative number and no day of 1904 can pose as a time of day."""

    engine = "fast"

    def __init__(self, source: BinaryIO, times_are_sure: Callable[[], bool], whole_numbers_are_exact: bool) -> None:
        # Of a file that Python opened it would make a copy in memory first.
        self._book = CalamineWorkbook.from_path(f"/dev/fd/{source.fileno()}")
        self._names = [sheet.name for sheet in self._book.sheets_metadata if sheet.typ == SheetTypeEnum.WorkSheet]
        visible = {sheet.name: sheet.visible == SheetVisibleEnum.Visible for sheet in self._book.sheets_metadata}
        if len(visible) < len(self._book.sheets_metadata):
            raise FastEngineDeclines("two sheets of one name")
        self.sheets = [Sheet(name, visible[name]) for name in self._names]
        self._times_are_sure = times_are_sure
        self._text_of: dict[type, Callable[[Any], str]] = {
            float: _number if whole_numbers_are_exact else _number_with_exact_digits,
            int: str,
            bool: TRUE_FALSE.__getitem__,
            datetime.datetime: _datetime,
            datetime.date: _date,
            datetime.timedelta: timedelta_text,
        }
        self._loaded: tuple[int, Any] | None = None

    def _sheet(self, index: int) -> Any:
        if self._loaded is None or self._loaded[0] != index:
            self._loaded = (index, self._book.get_sheet_by_name(self._names[index]))
        return self._loaded[1]

    def width(self, index: int) -> int:
        end = self._sheet(index).end
        return end[1] + 1 if end else 0

    def blocks(self, index: int) -> Iterator[Block]:
        sheet = self._sheet(index)
        if not sheet.start:
            return
        text_of = self._text_of | {datetime.time: datetime.time.isoformat if self._times_are_sure() else _decline_time}
        # calamine counts rows from the top of the sheet, but cells from the first used column.
        before, height, rows, first = sheet.start[1], rows_in(self.width(index)), sheet.iter_rows(), 0
        while block := list(itertools.islice(rows, height)):
            # A single cell in the last corner comes with a million rows above it.
            if any(cell != "" for row in block for cell in row):
                empty: Sequence[str] = [""] * len(block)
                yield Block(first, [empty] * before + [_texts(cells, text_of) for cells in zip(*block, strict=True)])
            first += len(block)


def _texts(cells: Sequence[Any], text_of: dict[type, Callable[[Any], str]]) -> Sequence[str]:
    """Return the texts of a column's cells, with as little as possible to do for each if all are of one type."""
    kinds = set(map(type, cells))
    kind = kinds.pop()
    if kinds:
        return [cell if (kind := type(cell)) is str else text_of[kind](cell) for cell in cells]
    if kind is str:
        return cells
    if kind is float and all(map(float.is_integer, cells)):
        whole = list(map(int, cells))
        if min(whole) > -EXACT_INTEGERS and max(whole) < EXACT_INTEGERS:
            return list(map(str, whole))
    if kind is datetime.date or kind is bool:
        # A day stands in many rows.
        known = {cell: text_of[kind](cell) for cell in set(cells)}
        return [known[cell] for cell in cells]
    return list(map(text_of[kind], cells))


def _number(value: float) -> str:
    if not value.is_integer():
        return _fraction(value)
    return str(int(value)) if -EXACT_INTEGERS < value < EXACT_INTEGERS else number_text(value)


def _number_with_exact_digits(value: float) -> str:
    """OOXML may hold more digits than a double; the reference keeps them."""
    if not value.is_integer():
        return _fraction(value)
    if -EXACT_INTEGERS < value < EXACT_INTEGERS:
        return str(int(value))
    raise FastEngineDeclines("numbers of more than 15 digits")


def _fraction(value: float) -> str:
    text = repr(value)
    if text[-1] in "nf":
        raise FastEngineDeclines("numbers that are none")
    return text


def _datetime(value: datetime.datetime) -> str:
    if value < _FIRST_SURE_MOMENT:
        raise FastEngineDeclines("dates around the leap day that 1900 did not have")
    return moment_text(value)


def _date(value: datetime.date) -> str:
    if value < _FIRST_SURE_DAY:
        raise FastEngineDeclines("dates around the leap day that 1900 did not have")
    return value.isoformat()


def _decline_time(_value: datetime.time) -> str:
    raise FastEngineDeclines("times of day beside negative numbers, or dates counted from 1904")
