"""The container of .xls files (Compound File Binary, [MS-CFB]): its streams, and whether they are whole.

The readers would take the missing end of a cut file as blanks; this module notices it. `olefile` would not do:
it reads on where a chain runs in a circle, and gives sectors twice.
"""

import struct

from systemscripts.spreadsheets.model import Refused

_LAST_REGULAR = 0xFFFFFFF9
_ENTRY_BYTES = 128
_ROOT, _STREAM = 5, 2
_NOWHERE = "it is damaged: the chain of one of its streams is broken"


class CompoundFile:
    """The streams of an OLE2 file by lower-case name; raises Refused if its tables are not valid."""

    def __init__(self, content: bytes) -> None:
        if len(content) < 512:
            raise Refused("it is cut off: not even its header is whole")
        self._content = content
        shift, mini_shift = struct.unpack_from("<HH", content, 30)
        if shift not in (9, 12) or mini_shift > shift:
            raise Refused("it is damaged: its header names impossible sector sizes")
        self._sector_bytes = 1 << shift
        self._mini_bytes = 1 << mini_shift
        directory, _, self._cutoff, mini_fat = struct.unpack_from("<4I", content, 48)
        self._fat = self._read_fat()
        self._entries = self._read_directory(directory)
        self._mini_fat = self._numbers(self._chain(mini_fat, None)) if mini_fat <= _LAST_REGULAR else ()

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._entries

    def read(self, name: str) -> bytes:
        """Return a stream's bytes; raises Refused if the file ends before the stream."""
        start, size = self._entries[name.lower()]
        if size >= self._cutoff:
            return self._chain(start, size)
        root_start, root_size = self._entries[""]
        small = self._chain(root_start, root_size)
        return self._follow(start, size, self._mini_fat, self._mini_bytes, 0, small)

    def _read_fat(self) -> tuple[int, ...]:
        """Read the sector table, whose own sectors are listed in the header and in chained sectors after that."""
        locations = list(struct.unpack_from("<109I", self._content, 76))
        more, count = struct.unpack_from("<2I", self._content, 68)
        per_sector = self._sector_bytes // 4 - 1
        for _ in range(min(count, len(self._content) // self._sector_bytes)):
            if more > _LAST_REGULAR:
                break
            numbers = self._numbers(self._sector(more))
            locations += numbers[:per_sector]
            more = numbers[per_sector]
        table: list[int] = []
        for location in locations:
            if location <= _LAST_REGULAR:
                table += self._numbers(self._sector(location))
        return tuple(table)

    def _read_directory(self, start: int) -> dict[str, tuple[int, int]]:
        """Return start sector and size by name; the root, which holds the small streams, is named ""."""
        entries: dict[str, tuple[int, int]] = {}
        directory = self._chain(start, None)
        for offset in range(0, len(directory) - _ENTRY_BYTES + 1, _ENTRY_BYTES):
            name_bytes, kind = struct.unpack_from("<HB", directory, offset + 64)
            first, size = struct.unpack_from("<2I", directory, offset + 116)
            if kind == _ROOT:
                entries[""] = (first, size)
            elif kind == _STREAM:
                name = directory[offset : offset + max(min(name_bytes, 64) - 2, 0)].decode("utf-16-le", "replace")
                entries.setdefault(name.lower(), (first, size))
        if "" not in entries:
            raise Refused("it is cut off or damaged: the list of its streams is missing")
        return entries

    def _sector(self, number: int) -> bytes:
        offset = (number + 1) * self._sector_bytes
        sector = self._content[offset : offset + self._sector_bytes]
        if not sector:
            raise Refused("it is cut off or damaged: its tables point beyond its end")
        return sector

    def _numbers(self, data: bytes) -> tuple[int, ...]:
        return struct.unpack(f"<{len(data) // 4}I", data[: len(data) // 4 * 4])

    def _chain(self, start: int, size: int | None) -> bytes:
        return self._follow(start, size, self._fat, self._sector_bytes, self._sector_bytes, self._content)

    def _follow(
        self, start: int, size: int | None, table: tuple[int, ...], piece: int, offset: int, content: bytes
    ) -> bytes:
        """Join the pieces of a chain, runs of neighbours at once, up to `size` bytes, or to its end where that is None."""
        pieces: list[bytes] = []
        current, length = start, 0
        seen: set[int] = set()
        while current <= _LAST_REGULAR and (size is None or length < size):
            if current in seen:
                raise Refused("it is damaged: the chain of one of its streams runs in a circle")
            seen.add(current)
            if current >= len(table):
                raise Refused(_NOWHERE)
            last = current
            while last + 1 < len(table) and table[last] == last + 1 and last - current < len(content) // piece:
                last += 1
            begin = offset + current * piece
            data = content[begin : offset + (last + 1) * piece]
            pieces.append(data)
            length += len(data)
            if begin + len(data) < offset + (last + 1) * piece:
                break
            current = table[last]
        if size is not None and length < size:
            raise Refused(f"it is cut off: {size - length:,} bytes of its content are missing")
        return b"".join(pieces)[:size]
