"""Write a query's result as CSV that is safe to open in a spreadsheet: no cell is run as a formula.

Excel takes a cell that begins with = + - or @ as a formula. Such a text cell gets an apostrophe in
front, unless it is a number or a phone number, which compute nothing. A spreadsheet with ";" or the
tab as its delimiter breaks a cell in the middle, so the text after such a character also counts as
the beginning of a cell (OWASP, "CSV Injection").
"""

import csv
import io
import re

from systemscripts.reporting.model import MomentText, Table
from systemscripts.reporting.values import exact_text

# With a byte order mark Excel reads the file as UTF-8.
_MARK = b"\xef\xbb\xbf"

# Also the full-width forms, which Excel treats alike in an East Asian locale.
_STARTERS = "=+-@＝＋－＠"
_BREAKS = re.compile(r"([\t\r\n\v\f\x85\u2028\u2029;\"]|%0[9ad])", re.IGNORECASE)
_BLANKS = "".join(map(chr, range(33))) + "\x7f\xa0\u200b\u3000\ufeff"

# Signs, digits, grouping, a currency or percent sign: they compute nothing and call no function.
_NUMBER = re.compile(r"[+-]\s?[$€£¥]?\s?[.,]?\d[\d.,'’\s]*(?:e[+-]?\d+)?\s?[%‰$€£¥]?", re.IGNORECASE)
# A blank or bracket must follow the country code; otherwise +1-800-555 would be computed as a difference.
_PHONE = re.compile(r"\+\d{1,3}[\s(][\d\s()./-]*")


def csv_bytes(table: Table) -> bytes:
    """Return the table as CSV: UTF-8 with a byte order mark, RFC 4180, a first line of headings."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([inert(heading) for heading in table.columns])
    writer.writerows([_cell(value) for value in row] for row in table.rows)
    return _MARK + text.getvalue().encode()


def inert(text: str) -> str:
    """Return the text so that no spreadsheet takes it for a formula; harmless text is returned unchanged.

    >>> inert("=1+1"), inert("-1,234.50"), inert("+49 30 1234")
    ("'=1+1", '-1,234.50', '+49 30 1234')
    """
    if not any(starter in text for starter in _STARTERS):
        return text
    if _is_harmless(text):
        return text
    pieces = _BREAKS.split(text)
    # The first piece is judged by the whole cell, because Excel sees the whole cell.
    return _with_apostrophe(pieces[0]) + "".join(
        piece if number % 2 == 0 or _is_harmless(piece) else _with_apostrophe(piece)
        for number, piece in enumerate(pieces[1:])
    )


def _is_harmless(text: str) -> bool:
    text = text.strip(_BLANKS)
    return text == "-" or bool(_NUMBER.fullmatch(text) or _PHONE.fullmatch(text))


def _with_apostrophe(piece: str) -> str:
    begin = piece.lstrip(_BLANKS)
    if not begin or begin[0] not in _STARTERS:
        return piece
    return f"{piece[: len(piece) - len(begin)]}'{begin}"


def _cell(value: object) -> str:
    # A value that is not text, such as a number or a date, cannot carry a formula.
    if isinstance(value, str) and not isinstance(value, MomentText):
        return inert(exact_text(value))
    return exact_text(value)
