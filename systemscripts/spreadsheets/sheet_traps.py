"""Search the XML of a sheet for cells that calamine reads differently from the reference.

The XML is read in chunks and searched, not parsed, because this runs beside the fast engine and must not slow it down.
"""

import re

from systemscripts.spreadsheets.model import MEBIBYTE

# A writer's unusual XML shows at the beginning: quotes, prefixes, another encoding.
_UNUSUAL_XML = re.compile(
    rb"<[^>]*(?:\s=|=\s|=')|<\w+:(?:worksheet|sst|sheetData)\b|encoding=\"(?!utf-8)|\A(?:\xff\xfe|\xfe\xff)",
    re.IGNORECASE,
)
# calamine gives errors as empty cells, and some ISO dates as text.
_UNTOLD_TYPE = re.compile(rb't="([ed])"')
# The attribute with the place of a row or cell; all known writers put it first.
_ROW_NUMBER, _CELL = b'<row r="', b'<c r="'
_ROW_OF_CELL = re.compile(_CELL + rb'[A-Z]+(\d+)"')
# calamine passes an invalid number on as text; only a formula may have text, and it is marked.
_NO_NUMBER = re.compile(rb"<v>(?![+-]?[\d.]+(?:[eE][+-]?\d+)?</v>)")
_NUMBER_THAT_IS_NONE = re.compile(
    rb'<c(?![^>]*\st="str")(?:\s[^>]*)?>(?:<f\b[^>]*(?:/>|>[^<]*</f>))?' + _NO_NUMBER.pattern
)
# calamine trims the ASCII blanks of a text that is not marked xml:space="preserve". What may be such a text is found
# first, without going back in any text: that is three times as fast.
_MAY_BE_TRIMMED = re.compile(rb"<t>(?:\s|&#|[^<]*+(?<=[\s;])</t>)")
_TRIMMED_TEXT = re.compile(rb"<t>(?:\s|&#|[^<]*(?:\s|&#\w+;)</t>)")


class SheetTraps:
    """The traps in one part of a workbook, which comes chunk by chunk.

    `has_negatives` says at the end whether the part has a number below zero.
    """

    def __init__(self) -> None:
        self.has_negatives = False
        self._begun = False
        self._rest = b""
        self._row = 0

    def found_in(self, chunk: bytes) -> str:
        """Return what the fast engine would get wrong, "" if nothing was found so far."""
        if not self._begun and _UNUSUAL_XML.search(chunk[:65536]):
            return "unusual XML"
        self._begun = True
        xml = self._rest + chunk
        # A cell, or a text and its tag, that may continue in the next chunk is checked with that chunk.
        cut = max(xml.rfind(b"<c "), xml.rfind(b"<c>"))
        if cut < 0:
            cut = max(xml.rfind(b"<", 0, max(xml.rfind(b"<"), 0)), 0)
        self._rest = xml[cut:]
        return "unusual XML" if len(self._rest) > MEBIBYTE else self._trap_in(xml[:cut])

    def found_at_the_end(self) -> str:
        """Return the same for the rest of the last chunk."""
        return self._trap_in(self._rest)

    def _trap_in(self, xml: bytes) -> str:
        self.has_negatives = self.has_negatives or b"<v>-" in xml
        if trap := _UNTOLD_TYPE.search(xml):
            return "cells with errors" if trap[1] == b"e" else "dates as ISO text"
        # Looking for one byte first is fifteen times as fast.
        if b"!" in xml and b"<!" in xml:
            return "comments or CDATA in the XML"
        if any(_TRIMMED_TEXT.match(xml, found.start()) for found in _MAY_BE_TRIMMED.finditer(xml)):
            return "blanks around text"
        if _NO_NUMBER.search(xml) and _NUMBER_THAT_IS_NONE.search(xml):
            return "numbers that are none"
        return "" if self._rows_are_in_order(xml) else "rows out of order"

    def _rows_are_in_order(self, xml: bytes) -> bool:
        """Return whether each row comes after the row before it and holds only its own cells.

        calamine puts rows and cells at their stated places; a sheet that contradicts itself is damaged.
        """
        cells = _ROW_OF_CELL.findall(xml)
        parts = xml.split(_ROW_NUMBER)
        if len(parts) - 1 != xml.count(b"<row ") or (cells and len(cells) != xml.count(b"<c ")):
            return False
        position = 0
        for index, part in enumerate(parts):
            if index:
                number = part.partition(b'"')[0]
                if not number.isdigit() or int(number) <= self._row:
                    return False
                self._row = int(number)
            end = position + part.count(_CELL)
            if cells[position:end] != [b"%d" % self._row] * (end - position):
                return False
            position = end
        return True
