"""Choose the readers of a file, and find out why the fast one may not read it."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from systemscripts.spreadsheets import detect
from systemscripts.spreadsheets.model import MEBIBYTE, FastEngineDeclines, Limits, Refused, Workbook
from systemscripts.spreadsheets.protection import Protected

# What the fast engine needs of memory, against the size of the largest part it unpacks.
_FAST_MEMORY_FACTOR = 3


@dataclass(frozen=True)
class Readers:
    """The kind of a file and its readers.

    `why_not_fast` says why the fast engine may not read it, "" if it may; it waits for the end of the
    file's inspection, and raises Refused if that finds damage.
    """

    kind: str
    reference: Callable[[], Workbook]
    fast: Callable[[], Workbook] | None = None
    why_not_fast: Callable[[], str] = str


def readers_for(source: BinaryIO, container: str, limits: Limits) -> Readers:
    """Return the readers for the kind that `detect` found; raises Refused if there is none."""
    if container == detect.ZIP:
        return _for_zip(source, limits)
    if container == detect.XML_2003:
        from systemscripts.spreadsheets.read_xml2003 import Xml2003Workbook

        return Readers("SpreadsheetML 2003", lambda: Xml2003Workbook(source))
    if container == detect.HTML:
        from systemscripts.spreadsheets.read_html import HtmlPage

        source.seek(0)
        content = source.read()
        return Readers("HTML table", lambda: HtmlPage(content, limits))
    return _for_biff(source, container)


def _biff_stream(source: BinaryIO, container: str) -> bytes:
    """Return the workbook's records; raises Refused that says what else the file holds."""
    source.seek(0)
    content = source.read()
    if container == detect.BIFF:
        return content
    from systemscripts.spreadsheets.ole2 import CompoundFile

    streams = CompoundFile(content)
    for name in ("Workbook", "Book"):
        if name in streams:
            return streams.read(name)
    if "EncryptedPackage" in streams:
        raise Protected
    for name, what in (("WordDocument", "a Word document"), ("PowerPoint Document", "a PowerPoint presentation")):
        if name in streams:
            raise Refused(f"it is {what}, not a workbook")
    raise Refused("it is an OLE2 document without a workbook in it")


def _for_biff(source: BinaryIO, container: str) -> Readers:
    from systemscripts.spreadsheets import biff

    # The records are read again for the reference, because few files need it, and large ones need the memory.
    facts = biff.inspect(_biff_stream(source, container))

    def fast() -> Workbook:
        if facts.fast_blocker:
            raise FastEngineDeclines(facts.fast_blocker)
        from systemscripts.spreadsheets.read_fast import FastWorkbook

        return FastWorkbook(source, times_are_sure=lambda: False, whole_numbers_are_exact=True)

    def reference() -> Workbook:
        from systemscripts.spreadsheets.read_xls import XlsWorkbook

        return XlsWorkbook(_biff_stream(source, container))

    return Readers(f"BIFF{facts.version}", reference, fast)


def _for_zip(source: BinaryIO, limits: Limits) -> Readers:
    """Check the declared sizes at once; unpack beside the fast engine, which leaves one processor free."""
    from systemscripts.spreadsheets import archive

    largest_part = archive.check(source, limits)

    found: list[archive.ArchiveFacts] = []
    errors: list[BaseException] = []

    def inspect() -> None:
        try:
            # The file is opened again to get its own position.
            with open(f"/dev/fd/{source.fileno()}", "rb") as own_handle:
                found.append(archive.inspect(own_handle))
        except BaseException as error:  # noqa: BLE001 - raised again for whoever asks
            errors.append(error)

    inspection = threading.Thread(target=inspect, daemon=True)
    inspection.start()

    def facts() -> archive.ArchiveFacts:
        inspection.join()
        if errors:
            raise errors[0]
        return found[0]

    def fast() -> Workbook:
        from systemscripts.spreadsheets.read_fast import FastWorkbook

        return FastWorkbook(source, lambda: not facts().times_are_doubtful, whole_numbers_are_exact=False)

    def reference() -> Workbook:
        from systemscripts.spreadsheets.read_xlsx import XlsxWorkbook

        return XlsxWorkbook(source)

    fits = largest_part * _FAST_MEMORY_FACTOR <= limits.memory_mb * MEBIBYTE
    return Readers("OOXML", reference, fast if fits else None, lambda: facts().fast_blocker)
