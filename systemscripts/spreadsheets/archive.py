"""The zip archive of an .xlsx file: check limits before unpacking, then read every part once.

The pass checks the checksums, which the fast engine ignores. It also lets `sheet_traps` search for
cells that the fast engine would read differently from the reference.
"""

import contextlib
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from systemscripts.spreadsheets.model import MEBIBYTE, Limits, Refused
from systemscripts.spreadsheets.sheet_traps import SheetTraps
from systemscripts.spreadsheets.xml_prolog import Prolog

MAX_ENTRIES = 10_000
# Small archives may compress as far as they like.
RATIO_COUNTS_FROM = 16 * MEBIBYTE
CHUNK = 1 << 20

# Parts that hold no cells.
_OTHER_PARTS = re.compile(
    r"(^|/)(theme|drawings|charts|docprops|customxml|media|printersettings|_rels)/|(styles|calcchain)\.xml$"
)
_STYLES = re.compile(r"(^|/)styles\.xml$")
_REGIONAL_DATES = re.compile(rb'numFmtId="(?:2[789]|3[0-6]|5[0-8])"')
_WORKBOOK = re.compile(r"(^|/)workbook\.xml$")
_COUNTS_FROM_1904 = re.compile(rb'date1904="(?:1|true)"')
# A picture may be XML with a document type (SVG); still no reader gets such a part, see ooxml_package.
_PICTURES = re.compile(r"(^|/)media/")


@dataclass
class ArchiveFacts:
    """`fast_blocker` says why the fast engine must not read it; "" if it may.

    With `times_are_doubtful` calamine's time of day may be wrong: a number below zero, or the first day of 1904.
    """

    fast_blocker: str = ""
    times_are_doubtful: bool = False


def check(source: BinaryIO, limits: Limits) -> int:
    """Return the size of the largest part that may hold cells; raises Refused if it is not a workbook or too large."""
    with _refusing_damage(), zipfile.ZipFile(source) as archive:
        entries = archive.infolist()
        if len(entries) > MAX_ENTRIES:
            raise Refused(f"its zip archive has {len(entries):,} entries; {MAX_ENTRIES:,} are allowed")
        if any(entry.flag_bits & 1 for entry in entries):
            raise Refused("its zip archive is protected with a password; save it without one")
        unpacked = sum(entry.file_size for entry in entries)
        packed = sum(entry.compress_size for entry in entries)
        if unpacked > limits.max_bytes:
            raise Refused(
                f"unpacked it is {unpacked // MEBIBYTE:,} MiB; {limits.max_mb:,} are allowed; look at the file "
                "before you raise ETL_SPREADSHEET_MAX_MB"
            )
        if unpacked > RATIO_COUNTS_FROM and unpacked > packed * limits.max_ratio:
            raise Refused(
                f"unpacked it is more than {limits.max_ratio:,} times its size, like a zip bomb; look at the file before you "
                "raise ETL_SPREADSHEET_MAX_RATIO"
            )
        _check_kind([_plain_name(entry) for entry in entries])
        return max((entry.file_size for entry in entries if _may_hold_cells(entry)), default=0)


def inspect(source: BinaryIO) -> ArchiveFacts:
    """Unpack every part of a checked archive; raises Refused if a part is damaged or declares entities."""
    facts = ArchiveFacts()
    with _refusing_damage(), zipfile.ZipFile(source) as archive:
        entries = archive.infolist()
        if len({_plain_name(entry) for entry in entries}) < len(entries):
            facts.fast_blocker = "two parts of one name"
        for entry in entries:
            if not _PICTURES.search(_plain_name(entry)):
                _inspect_part(archive, entry, facts)
    return facts


@contextlib.contextmanager
def _refusing_damage() -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError) as error:
        raise Refused(f"it is damaged or cut off: its zip archive cannot be unpacked ({error})") from None


def _may_hold_cells(entry: zipfile.ZipInfo) -> bool:
    return not _OTHER_PARTS.search(_plain_name(entry))


def _plain_name(entry: zipfile.ZipInfo) -> str:
    """Return the name in standard form; some writers use backslashes or capitals."""
    return entry.filename.replace("\\", "/").lower()


def _check_kind(names: list[str]) -> None:
    """Accept a workbook; raise Refused that says what another file is."""
    if any(name.endswith("workbook.xml") for name in names):
        return
    if any(name.endswith("workbook.bin") for name in names):
        raise Refused("it is a binary workbook (.xlsb), which is not read; save it as .xlsx")
    if any(name.endswith((".iwa", "index.zip", "index.apxl", "index.numbers")) for name in names):
        raise Refused("it is a Numbers document, which is not read; export it as .xlsx or CSV")
    if "content.xml" in names:
        raise Refused("it is an OpenDocument file (.ods), which is not read; save it as .xlsx")
    for folder, what in (("word/", "a Word document"), ("ppt/", "a PowerPoint presentation")):
        if any(name.startswith(folder) for name in names):
            raise Refused(f"it is {what}, not a workbook")
    raise Refused("it is a zip archive without a workbook in it; unpack it first")


def _inspect_part(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, facts: ArchiveFacts) -> None:
    name = _plain_name(entry)
    traps = SheetTraps() if name.endswith(".xml") and _may_hold_cells(entry) else None
    prolog = Prolog()
    with archive.open(entry) as part:
        chunk = part.read(CHUNK)
        if _STYLES.search(name) and _REGIONAL_DATES.search(chunk):
            facts.fast_blocker = "regional date formats"
        if _WORKBOOK.search(name) and _COUNTS_FROM_1904.search(chunk):
            facts.times_are_doubtful = True
        while chunk:
            prolog.look_at(chunk)
            if traps and not facts.fast_blocker:
                facts.fast_blocker = traps.found_in(chunk)
            chunk = part.read(CHUNK)
    if traps and not facts.fast_blocker:
        facts.fast_blocker = traps.found_at_the_end()
        facts.times_are_doubtful |= traps.has_negatives
