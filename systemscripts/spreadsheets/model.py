"""The common parts of the readers: sheets, the interface of a reader, limits, and two exceptions."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from systemscripts.spreadsheets.blocks import Block

MEBIBYTE = 1 << 20


class Refused(Exception):
    """The file cannot be converted; the message has the reason and follows the file's name."""


class FastEngineDeclines(Exception):
    """The fast engine cannot give the same text as the reference; the message has the reason."""


@dataclass(frozen=True)
class Limits:
    """The limits of one conversion; a message names the limit that a file exceeds."""

    memory_mb: int
    seconds: int
    max_cells: int
    max_mb: int
    max_ratio: int = 250

    @property
    def max_bytes(self) -> int:
        return self.max_mb * MEBIBYTE


@dataclass(frozen=True)
class Sheet:
    """A worksheet, or a table of an HTML page."""

    name: str
    visible: bool


class Workbook(Protocol):
    """An opened file of any kind."""

    engine: str
    sheets: list[Sheet]

    def width(self, index: int) -> int:
        """Return the sheet's own number of used columns, which may be wrong; 0 if there is none."""

    def blocks(self, index: int) -> Iterator[Block]:
        """Yield the rows, ascending; rows may be missing.

        A second call begins again.
        """


def choose_sheet(sheets: list[Sheet], wanted: str | int | None) -> int:
    """Return the index of the wanted sheet; None means the first visible one.

    A text is a name (case counts only if two names differ by nothing else) or else a number; numbers begin with 1.
    """
    if wanted is None:
        for index, sheet in enumerate(sheets):
            if sheet.visible:
                return index
        raise Refused(f"it has no visible sheet; {_listing(sheets)}")
    if isinstance(wanted, str):
        for same in (str.__eq__, lambda a, b: a.casefold() == b.casefold()):
            for index, sheet in enumerate(sheets):
                if same(sheet.name, wanted):
                    return index
    if isinstance(wanted, int) or (wanted.isascii() and wanted.isdigit()):
        number = int(wanted)
        if 1 <= number <= len(sheets):
            return number - 1
    raise Refused(f"it has no sheet {wanted!r}; {_listing(sheets)}")


def _listing(sheets: list[Sheet]) -> str:
    names = [f"{sheet.name!r}" + ("" if sheet.visible else " (hidden)") for sheet in sheets[:20]]
    if len(sheets) > 20:
        names.append(f"{len(sheets) - 20} more")
    return "it has " + (", ".join(names) or "no worksheet at all")
