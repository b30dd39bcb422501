"""The bytes of a file as COPY may have them: hashed and counted on the way, and checked to mean the same to COPY as to csv.

COPY's idea of CSV is laxer than RFC 4180 in three places, and there it would change text without
an error: a quote in the middle of a field, text after a closing quote, and (up to PostgreSQL 17) a
line that is exactly `\\.`, which ends the input.
"""

import hashlib

from systemscripts.importing.source import TextSource

# Small enough that the server always has the next one waiting while this one is checked.
CHUNK_BYTES = 1 << 16
# A line longer than this goes the careful way, so that memory stays flat.
LONGEST_WINDOW = 32 << 20


class _NeedsCare(Exception):
    """The bytes are not what COPY reads as the csv module does."""


class GuardedFile:
    """The file's bytes after the header, as COPY reads them, counted and checked on the way.

    `records` is how many records the csv module would see. On bytes that COPY would read
    differently `needs_care` is set and the read fails, which ends the COPY.
    """

    def __init__(self, source: TextSource) -> None:
        self.needs_care = False
        self.records = 0
        self._stream = source.path.open("rb")
        self.sha256 = hashlib.sha256(self._stream.read(source.data_start))
        self._newline = source.newline
        self._edges = {b"", source.delimiter.encode(), b"\n", b"\r"}
        # What has been passed on and not yet checked: begins at the start of a line or within quotes.
        self._window = b""
        self._in_quotes = False

    def __enter__(self) -> "GuardedFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def read(self, _size: int = -1) -> bytes:
        """Return the next chunk, b"" at the end; the size asked for is COPY's habit, not a limit."""
        chunk = self._stream.read(CHUNK_BYTES)
        self.sha256.update(chunk)
        try:
            self._check(chunk)
        except _NeedsCare:
            self.needs_care = True
            raise
        return chunk

    def _check(self, chunk: bytes) -> None:
        """Check whole lines; what follows the last line end waits for the next chunk."""
        window = self._window + chunk
        end = window.rfind(self._newline) + 1 if chunk else len(window)
        if len(window) - end > LONGEST_WINDOW:
            raise _NeedsCare
        lines, self._window = window[:end], window[end:]
        if not lines:
            return
        if b"\\." in lines and any(line.strip(b"\r") == b"\\." for line in lines.splitlines()):
            raise _NeedsCare
        outside = self._segments_outside_quotes(lines)
        self.records += sum(segment.count(self._newline) for segment in outside)
        if not chunk and not lines.endswith(self._newline):
            self.records += 1

    def _segments_outside_quotes(self, lines: bytes) -> list[bytes]:
        """Return the text between quoted parts; each must begin and end at a delimiter or a line end where it meets a quote."""
        segments = lines.split(b'"')
        first = 1 if self._in_quotes else 0
        outside = segments[first::2]
        self._in_quotes ^= len(segments) % 2 == 0
        # The first segment begins, and the last one ends, at a line end of this window and not at a quote.
        begins = {segment[:1] for segment in (outside[1:] if first == 0 else outside)}
        ends_at_quote = outside if self._in_quotes else outside[:-1]
        if not begins <= self._edges or not {segment[-1:] for segment in ends_at_quote} <= self._edges:
            raise _NeedsCare
        return outside
