"""Check the records of a BIFF stream before it is read: version, password, and cells that calamine gets wrong.

Record numbers and layouts are those of [MS-XLS] 2.4.
"""

import re
import struct
from dataclasses import dataclass

from systemscripts.spreadsheets.model import Refused
from systemscripts.spreadsheets.protection import Protected

_EOF, _FILEPASS, _XF = 0x000A, 0x002F, 0x00E0
# BOF record number -> version; 0x0809 holds the version itself.
_OLD_BOFS = {0x0009: 2, 0x0209: 3, 0x0409: 4}
_VERSIONS = {0x0200: 2, 0x0300: 3, 0x0400: 4, 0x0500: 5, 0x0600: 8}

# The eight error codes, and the records of a cell that holds one as a constant or as a formula's result.
_ERROR_CODE = rb"[\x00\x07\x0f\x17\x1d\x24\x2a\x2b]"
_ERROR_CELLS = (
    re.compile(rb"\x05\x02\x08\x00.{6}" + _ERROR_CODE + rb"\x01", re.DOTALL),
    re.compile(rb"\x06\x00.{8}\x02." + _ERROR_CODE + rb"...\xff\xff", re.DOTALL),
)
# Formats that mean dates only in the East Asian editions.
_REGIONAL_DATES = {*range(27, 37), *range(50, 59)}


@dataclass(frozen=True)
class BiffFacts:
    """`fast_blocker` says why the fast engine must not read it; "" if it may."""

    version: int
    fast_blocker: str


def inspect(stream: bytes) -> BiffFacts:
    """Read the records up to the end of the first part; raises Refused for a password or a missing end."""
    if len(stream) < 6:
        raise Refused("it is cut off: its first record is not whole")
    number, _, version = struct.unpack_from("<3H", stream)
    if number in _OLD_BOFS:
        version = _OLD_BOFS[number]
    elif number == 0x0809 and version in _VERSIONS:
        version = _VERSIONS[version]
    else:
        raise Refused("it is damaged: its workbook does not begin as one")
    blocker = "cells with errors" if any(pattern.search(stream) for pattern in _ERROR_CELLS) else ""
    position = 0
    while position + 4 <= len(stream):
        number, length = struct.unpack_from("<HH", stream, position)
        body = stream[position + 4 : position + 4 + length]
        position += 4 + length
        if number == _FILEPASS:
            raise Protected
        if number == _XF and len(body) >= 4 and struct.unpack_from("<H", body, 2)[0] in _REGIONAL_DATES:
            blocker = "regional date formats"
        if number == _EOF:
            return BiffFacts(version, blocker if version >= 5 else f"BIFF{version}")
    raise Refused("it is cut off: its records have no end")
