"""The zip around an .xlsx file: caps before anything is unpacked, checksums, and what calamine gets wrong.

One pass unpacks every part, which proves its checksum (the fast engine does not look), and notes
what makes the fast engine give another text than the reference.
"""

import contextlib
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from systemscripts.spreadsheets.model import MEBIBYTE, Limits, Refused

MAX_ENTRIES = 10_000
# Small archives may compress as far as they like.
RATIO_COUNTS_FROM = 16 * MEBIBYTE
CHUNK = 1 << 20

# Parts that hold no cells.
_OTHER_PARTS = re.compile(r"(^|/)(theme|drawings|charts|docprops|customxml|media|printersettings|_rels)/|styles\.xml$")
_STYLES = re.compile(r"(^|/)styles\.xml$")
_REGIONAL_DATES = re.compile(rb'numFmtId="(?:2[789]|3[0-6]|5[0-8])"')
# How a writer puts its XML shows at once: quotes, prefixes, an encoding of its own.
_UNUSUAL_XML = re.compile(
    rb"<[^>]*(?:\s=|=\s|=')|<\w+:(?:worksheet|sst|sheetData)\b|encoding=\"(?!utf-8)|\A(?:\xff\xfe|\xfe\xff)",
    re.IGNORECASE,
)
# No part of a workbook has one (ECMA-376 part 2, 6.1.3); it stands before the first element. In UTF-16 too.
_DTD = re.compile(rb"<\x00?!\x00?D\x00?O\x00?C\x00?T\x00?Y\x00?P\x00?E", re.IGNORECASE)
# calamine gives errors as empty cells, and some ISO dates as text.
_UNTOLD_TYPE = re.compile(rb't="([ed])"')
# calamine trims the ASCII blanks of a text that is not marked xml:space="preserve".
_TRIMMED_TEXT = re.compile(rb"<t>(?:\s|&#|[^<]*(?:\s|&#\w+;)</t>)")


@dataclass
class ArchiveFacts:
    """`fast_blocker` says why the fast engine must not read it; "" where it may."""

    fast_blocker: str = ""
    has_negatives: bool = False


def check(source: BinaryIO, limits: Limits) -> int:
    """Return the size of the largest part that may hold cells; raises Refused for what is no workbook or too large."""
    with _refusing_damage(), zipfile.ZipFile(source) as archive:
        entries = archive.infolist()
        _check_caps(entries, limits)
        _check_kind([entry.filename.replace("\\", "/").lower() for entry in entries])
        return max((entry.file_size for entry in entries if _may_hold_cells(entry)), default=0)


def inspect(source: BinaryIO) -> ArchiveFacts:
    """Unpack every part of a checked archive; raises Refused where one is damaged or declares entities."""
    facts = ArchiveFacts()
    with _refusing_damage(), zipfile.ZipFile(source) as archive:
        entries = archive.infolist()
        if len({entry.filename.lower() for entry in entries}) < len(entries):
            facts.fast_blocker = "two parts of one name"
        for entry in entries:
            if entry.filename.lower().endswith((".xml", ".rels")):
                _inspect_part(archive, entry, facts)
    return facts


@contextlib.contextmanager
def _refusing_damage() -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError) as error:
        raise Refused(f"it is damaged or cut off: its zip archive cannot be unpacked ({error})") from None


def _may_hold_cells(entry: zipfile.ZipInfo) -> bool:
    return not _OTHER_PARTS.search(entry.filename.replace("\\", "/").lower())


def _check_caps(entries: list[zipfile.ZipInfo], limits: Limits) -> None:
    if len(entries) > MAX_ENTRIES:
        raise Refused(f"its zip archive has {len(entries):,} entries; {MAX_ENTRIES:,} are allowed")
    if any(entry.flag_bits & 1 for entry in entries):
        raise Refused("its zip archive is protected with a password; save it without one")
    unpacked = sum(entry.file_size for entry in entries)
    packed = sum(entry.compress_size for entry in entries)
    if unpacked > limits.max_bytes:
        raise Refused(
            f"unpacked it is {unpacked // MEBIBYTE:,} MiB; {limits.max_mb:,} are allowed (ETL_SPREADSHEET_MAX_MB)"
        )
    if unpacked > RATIO_COUNTS_FROM and unpacked > packed * limits.max_ratio:
        raise Refused(
            f"unpacked it is more than {limits.max_ratio:,} times its size, as a zip bomb is (ETL_SPREADSHEET_MAX_RATIO)"
        )


def _check_kind(names: list[str]) -> None:
    """Let a workbook pass; say what else it is."""
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
    holds_cells = _may_hold_cells(entry)
    with archive.open(entry) as part:
        head = chunk = part.read(CHUNK)
        if _DTD.search(head):
            raise Refused("it declares XML entities, which sheets need not and files made to harm do")
        if holds_cells and _UNUSUAL_XML.search(head[:65536]):
            facts.fast_blocker = "unusual XML"
        if _STYLES.search(entry.filename.lower()) and _REGIONAL_DATES.search(head):
            facts.fast_blocker = "regional date formats"
        tail = b""
        while chunk:
            if holds_cells and not facts.fast_blocker:
                # What straddles two chunks is whole in the tail of one and the head of the next.
                _note_traps(tail + chunk, facts)
                tail = chunk[chunk.rfind(b"<", 0, chunk.rfind(b"<")) :]
            chunk = part.read(CHUNK)


def _note_traps(xml: bytes, facts: ArchiveFacts) -> None:
    if trap := _UNTOLD_TYPE.search(xml):
        facts.fast_blocker = "cells with errors" if trap[1] == b"e" else "dates as ISO text"
    # Looking for one byte first is fifteen times as fast.
    elif b"!" in xml and b"<!" in xml:
        facts.fast_blocker = "comments or CDATA in the XML"
    elif _TRIMMED_TEXT.search(xml):
        facts.fast_blocker = "blanks around text"
    if not facts.has_negatives and b"<v>-" in xml:
        facts.has_negatives = True
