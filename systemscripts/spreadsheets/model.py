"""What the readers share: sheets, the shape of a reader, limits, and the two ways not to convert."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

MEBIBYTE = 1 << 20


class Refused(Exception):
    """The file cannot be converted; the message says why in one clause that follows the file's name."""


class FastEngineDeclines(Exception):
    """The fast engine could not give the same text as the reference; the message says what stands in the way."""


@dataclass(frozen=True)
class Limits:
    """What one conversion may take; each is named in the message of the file that exceeds it."""

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
    """An opened file, whatever its kind."""

    engine: str
    sheets: list[Sheet]

    def width(self, index: int) -> int:
        """Return how many columns the sheet says it uses; 0 where it does not say. It may be wrong."""

    def rows(self, index: int) -> Iterator[tuple[int, list[str]]]:
        """Yield (row number from 0, texts from column A on), ascending; rows may be missing, and ragged.

        Called again it begins again.
        """


def choose_sheet(sheets: list[Sheet], wanted: str | int | None) -> int:
    """Return the index of the wanted sheet; None means the first visible one.

    A text is a name (its case counts only where two differ by nothing else) or else a number; numbers begin with 1.
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
