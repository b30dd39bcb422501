"""The fast way: pass a file's bytes to COPY, hash and count them, and check that COPY and csv read them alike.

In three places COPY is laxer than RFC 4180 and would change text without an error: a quote in the
middle of a field, text after a closing quote, and (up to PostgreSQL 17) a line that is exactly `\\.`,
which ends the input.
"""

import hashlib

from systemscripts.importing.source import TextSource
from systemscripts.progress import open_with_bar

# A small chunk, so that the server loads one while the next one is checked.
CHUNK_BYTES = 1 << 16
# A longer line goes the careful way, so that little memory is used.
LONGEST_WINDOW = 32 << 20


class NeedsCare(Exception):
    """COPY would read the bytes differently from the csv module."""


class GuardedFile:
    """The file's bytes after the header for COPY, which are counted and checked on the way.

    `records` is how many records the csv module would see. If COPY would read some bytes
    differently, `needs_care` is set and the read fails, which ends the COPY.
    """

    def __init__(self, source: TextSource) -> None:
        self.needs_care = False
        self.records = 0
        self._stream = open_with_bar(source.path, source.label)
        self.head = self._stream.read(source.data_start)
        self.sha256 = hashlib.sha256(self.head)
        self._newline = source.newline
        # Translates each byte: a dot for what may stand beside a quote, an x for everything else.
        edges = source.dialect.delimiter.encode() + b"\n\r"
        self._marks = bytes(byte if byte == 0x22 else 0x2E if byte in edges else 0x78 for byte in range(256))
        # Bytes that were passed on but not checked yet; they begin at the start of a line or within quotes.
        self._window = b""
        self._in_quotes = False

    def __enter__(self) -> "GuardedFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def read(self, _size: int = -1) -> bytes:
        """Return the next chunk, b"" at the end; the requested size is ignored."""
        chunk = self._stream.read(CHUNK_BYTES)
        self.sha256.update(chunk)
        try:
            self._check(chunk)
        except NeedsCare:
            self.needs_care = True
            raise
        return chunk

    def _check(self, chunk: bytes) -> None:
        """Check whole lines; the rest after the last line end waits for the next chunk."""
        window = self._window + chunk
        end = window.rfind(self._newline) + 1 if chunk else len(window)
        if len(window) - end > LONGEST_WINDOW:
            raise NeedsCare
        lines, self._window = window[:end], window[end:]
        if not lines:
            return
        if b"\\." in lines and any(line.strip(b"\r") == b"\\." for line in lines.splitlines()):
            raise NeedsCare
        self.records += self._outside_quotes(lines).count(self._newline)
        if not chunk and not lines.endswith(self._newline):
            self.records += 1

    def _outside_quotes(self, lines: bytes) -> bytes:
        """Return the bytes outside of quoted parts, with one quote in place of each part.

        Only a delimiter or a line end may stand beside such a quote. The function uses only methods of
        bytes, because it must keep up with COPY: 0.5 s for 100 MB, against 1.3 s part by part.
        """
        parts = lines.split(b'"')
        outside = b'"'.join(parts[1 if self._in_quotes else 0 :: 2])
        if self._in_quotes:
            outside = b'"' + outside
        self._in_quotes ^= len(parts) % 2 == 0
        if self._in_quotes:
            outside += b'"'
        marked = outside.translate(self._marks)
        if b'x"' in marked or b'"x' in marked:
            raise NeedsCare
        return outside
