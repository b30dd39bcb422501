"""The zip of a workbook in the form that openpyxl expects, from any program.

Strict OOXML is read like the transitional kind, because only its namespaces differ (ISO/IEC 29500-1 and -4).
A part is found in upper or lower case (29500-2, 6.2.2.3), and with a backslash between its folders.
"""

import functools
import io
import zipfile
from typing import IO, Any

from systemscripts.spreadsheets.xml_prolog import Prolog

# A part names its namespaces on its first element; a relations part is not longer than this.
_HEAD_BYTES = 1 << 16
_NAMESPACES = (
    (b"http://purl.oclc.org/ooxml/spreadsheetml/main", b"http://schemas.openxmlformats.org/spreadsheetml/2006/main"),
    (
        b"http://purl.oclc.org/ooxml/officeDocument/relationships",
        b"http://schemas.openxmlformats.org/officeDocument/2006/relationships",
    ),
    (b"http://purl.oclc.org/ooxml/drawingml/main", b"http://schemas.openxmlformats.org/drawingml/2006/main"),
)


class Package(zipfile.ZipFile):
    """A workbook's archive for reading; any part that declares a document type is refused."""

    def getinfo(self, name: str) -> zipfile.ZipInfo:
        if name not in self.NameToInfo:
            name = self._actual_names.get(_plain(name), name)
        return super().getinfo(name)

    @functools.cached_property
    def _actual_names(self) -> dict[str, str]:
        return {_plain(name): name for name in self.namelist()}

    def open(self, name: Any, mode: Any = "r", pwd: bytes | None = None, *, force_zip64: bool = False) -> IO[bytes]:
        part = super().open(name, mode, pwd, force_zip64=force_zip64)
        head = part.read(_HEAD_BYTES)
        for strict, transitional in _NAMESPACES:
            head = head.replace(strict, transitional)
        return io.BufferedReader(_Joined(head, part))


def _plain(name: str) -> str:
    return name.replace("\\", "/").lower()


class _Joined(io.RawIOBase):
    """Some bytes, then the rest of a stream; all of it is checked on the way."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head = io.BytesIO(head)
        self._rest = rest
        self._prolog = Prolog()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._head.read(len(buffer)) or self._rest.read(len(buffer))
        self._prolog.look_at(data)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._rest.close()
        super().close()
