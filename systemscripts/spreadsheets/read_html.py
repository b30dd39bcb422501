"""An HTML page with the name of a spreadsheet: its tables are the sheets.

A table that holds other tables is layout and does not count. Text is read as a browser shows it: runs of
blanks become one, <br> and the ends of blocks become line breaks, hidden text is left out, and end tags
may be missing. If a cell spans several places, its text is in the first one; the others are empty.

Not lxml or html5lib through bs4: they close what is open where the page ends, so that the half of a list
looks like all of it. They also take three to six times as long.
"""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

from systemscripts.spreadsheets.blocks import Rows, in_blocks
from systemscripts.spreadsheets.model import Limits, Refused, Sheet

_CHARSET = re.compile(rb"<meta[^>]{0,500}charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_PASSWORD = re.compile(rb"<input[^>]{0,500}type\s*=\s*[\"']?password", re.IGNORECASE)
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_BLANKS = re.compile(r"[ \t\r\n\f]+")
# A line break that stands, and the edge of a block, which breaks the line only between two texts. Unicode gives
# these two to programs; they are no characters of a text.
_BREAK, _EDGE = "\ufdd0", "\ufdd1"
_EDGES = re.compile(f"[ {_EDGE}]*{_EDGE}[ {_EDGE}]*")

_NEVER_SHOWN = {"script", "style", "template", "noscript"}
_VOID = {"br", "hr", "img", "input", "col", "meta", "link", "wbr", "area", "base", "embed", "source"}
_BLOCKS = {"p", "div", "li", "ul", "ol", "h1", "h2", "h3", "h4"}
_CELLS = {"td", "th"}
# What ends where one of these begins, its own end tag missing.
_ENDS_BEFORE = {"td": {"td", "th", "tr"}, "th": {"td", "th", "tr"}, "tr": {"tr"}}
# HTML's own limits for colspan and rowspan.
_MAX_ACROSS, _MAX_DOWN = 1000, 65534
_SUMMARY_LENGTH = 80


class HtmlPage:
    """The tables of a page; the one with the most cells is the visible sheet."""

    engine = "reference"

    def __init__(self, content: bytes, limits: Limits) -> None:
        if _PASSWORD.search(content):
            raise Refused("it is an HTML page that asks for a password, not the file")
        parser = _Parser()
        parser.feed(decoded(content))
        parser.close()
        self._grids = [_grid(table, limits) for table in parser.tables if not table.holds_tables]
        if not any(self._grids):
            raise Refused(f"it is an HTML page without a table: {parser.summary()}")
        if missing := parser.missing_end():
            raise Refused(f"it is cut off: it has {missing.replace('/', '')} and no {missing}; have it sent again")
        sizes = [sum(map(len, grid)) for grid in self._grids]
        meant = sizes.index(max(sizes))
        self.sheets = [Sheet(f"table {number + 1}", number == meant) for number in range(len(self._grids))]

    def width(self, index: int) -> int:
        return max(map(len, self._grids[index]), default=0)

    @in_blocks
    def blocks(self, index: int) -> Rows:
        yield from enumerate(self._grids[index])


def decoded(content: bytes) -> str:
    """Return the page's text by its byte order mark, its own word, UTF-8, or else as Windows-1252."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace")
    if content.startswith(b"\xef\xbb\xbf"):
        return content.decode("utf-8-sig", "replace")
    declared = _CHARSET.search(content[:4096])
    for encoding in (declared[1].decode() if declared else "utf-8", "utf-8"):
        try:
            return content.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
    return content.decode("cp1252", "replace")


@dataclass
class _Cell:
    across: int
    down: int
    pieces: list[str] = field(default_factory=list)

    def text(self) -> str:
        text = _EDGES.sub(_EDGE, _BLANKS.sub(" ", "".join(self.pieces))).strip(f" {_EDGE}")
        return "\n".join(line.strip(" \u00a0") for line in re.split(f"[{_BREAK}{_EDGE}]", text)).strip("\n")


@dataclass
class _Table:
    rows: list[list[_Cell]] = field(default_factory=list)
    in_cell: bool = False
    holds_tables: bool = False


class _Parser(HTMLParser):
    """Collects the tables, and some of the page's text for the message if there is no table."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tables: list[_Table] = []
        self._open: list[_Table] = []
        self._hidden: list[str] = []
        self._title: list[str] = []
        self._in_title = False
        self._in_html = False
        self._outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._hidden:
            if tag not in _ENDS_BEFORE.get(self._hidden[0], ()) or len(self._hidden) > 1:
                if tag == self._hidden[0]:
                    self._hidden.append(tag)
                return
            self._hidden = []
        attributes = dict(attrs)
        if tag in _NEVER_SHOWN or "hidden" in attributes or _HIDDEN.search(attributes.get("style") or ""):
            if tag not in _VOID:
                self._hidden = [tag]
        elif tag == "title":
            self._in_title = True
        elif tag == "html":
            self._in_html = True
        elif tag == "table":
            if self._open:
                self._open[-1].holds_tables = True
            self._open.append(_Table())
            self.tables.append(self._open[-1])
        elif self._open:
            self._in_table(tag, attributes)

    def _in_table(self, tag: str, attributes: dict[str, str | None]) -> None:
        table = self._open[-1]
        if tag == "tr":
            table.rows.append([])
            table.in_cell = False
        elif tag in _CELLS:
            if not table.rows:
                table.rows.append([])
            across = _span(attributes.get("colspan"), _MAX_ACROSS)
            table.rows[-1].append(_Cell(across, _span(attributes.get("rowspan"), _MAX_DOWN)))
            table.in_cell = True
        elif tag == "br":
            self.handle_data(_BREAK)
        elif tag in _BLOCKS:
            self.handle_data(_EDGE)

    def handle_endtag(self, tag: str) -> None:
        if self._hidden:
            if tag == self._hidden[0]:
                self._hidden.pop()
        elif tag == "title":
            self._in_title = False
        elif tag == "html":
            self._in_html = False
        elif self._open and tag == "table":
            self._open.pop()
        elif self._open and (tag in _CELLS or tag == "tr"):
            self._open[-1].in_cell = False
        elif tag in _BLOCKS:
            self.handle_data(_EDGE)

    def handle_data(self, data: str) -> None:
        if self._hidden:
            return
        if self._in_title:
            self._title.append(data)
        elif self._open and self._open[-1].in_cell:
            self._open[-1].rows[-1][-1].pieces.append(data)
        elif len(self._outside) < _SUMMARY_LENGTH:
            self._outside.append(data)

    def missing_end(self) -> str:
        """Return the missing end tag; "" for a whole page. Other end tags may be missing (HTML, 13.1.2.4)."""
        return "</table>" if self._open else "</html>" if self._in_html else ""

    def summary(self) -> str:
        """Return the beginning of the page's text for the message."""
        text = _BLANKS.sub(" ", re.sub(f"[{_BREAK}{_EDGE}]", " ", "".join(self._title or self._outside))).strip()
        return f"{text[:_SUMMARY_LENGTH]!r}" if text else "it shows no text"


def _span(value: str | None, most: int) -> int:
    text = (value or "").strip()
    return min(max(int(text), 1), most) if text.isascii() and text.isdigit() and len(text) < 9 else 1


def _grid(table: _Table, limits: Limits) -> list[list[str]]:
    """Lay the cells out in rows; places that others span stay empty."""
    grid: list[list[str]] = []
    taken: dict[int, int] = {}
    size = 0
    for cells in table.rows:
        row: list[str] = []
        taken = {column: left - 1 for column, left in taken.items() if left > 1}
        reaching_down: dict[int, int] = {}
        for cell in cells:
            while len(row) in taken:
                row.append("")
            if cell.down > 1:
                reaching_down |= dict.fromkeys(range(len(row), len(row) + cell.across), cell.down)
            row += [cell.text(), *[""] * (cell.across - 1)]
        taken |= reaching_down
        size += len(row)
        if size > limits.max_cells:
            raise Refused(f"its table exceeds {limits.max_cells:,} cells (ETL_SPREADSHEET_MAX_CELLS)")
        grid.append(row)
    return grid
