"""Keep the long encoded parts of a mail out of the parser, which needs many times their size.

The parser looks for boundaries and headers. A line of nothing but letters, digits, +, / and = can be neither, so a long
run of such lines is given to it as one line of the same kind, and put back when the file is decoded.
"""

import re
import secrets
from collections.abc import Iterator

# No group is repeated: for that the module re needs memory for each line, and some of its releases match too much.
LONG = 32_768  # bytes
_SIGNS = rb"[A-Za-z0-9+/=\r\n]{%d,}"
# Ends the headers of a part, or is a line end to the parser alone.
_BREAK = re.compile(rb"\n\r?\n|\r(?!\n)")


class LongRuns:
    """The long runs of one mail."""

    def __init__(self, raw: bytes) -> None:
        # A mail cannot hold a mark that it does not know.
        self._mark = secrets.token_hex(16).encode()
        self._pattern = re.compile(rb"^" + self._mark + rb"x([0-9]+)", re.MULTILINE)
        self._raw = memoryview(raw)
        self._spans = list(_spans(raw))

    def shortened(self) -> bytes:
        """Return the mail with one line in place of each run, without the run's last line end, which stays."""
        pieces: list[bytes | memoryview] = []
        end = 0
        for number, (start, stop) in enumerate(self._spans):
            pieces += [self._raw[end:start], b"%sx%d" % (self._mark, number)]
            end = stop
        return b"".join([*pieces, self._raw[end:]])

    def are_in(self, part: bytes) -> bool:
        """Return whether a run belongs into this part of the shortened mail."""
        return self._mark in part

    def pieces(self, part: bytes) -> Iterator[bytes | memoryview]:
        """Yield the part's bytes as they are in the mail."""
        end = 0
        for found in self._pattern.finditer(part):
            yield part[end : found.start()]
            start, stop = self._spans[int(found[1])]
            yield self._raw[start:stop]
            end = found.end()
        yield part[end:]


def _spans(raw: bytes) -> Iterator[tuple[int, int]]:
    """Yield where each long run begins and ends: whole lines, none of them empty."""
    for found in re.finditer(_SIGNS % LONG, raw):
        begin = found.start()
        breaks = [(gap.start() + 1, gap.end()) for gap in _BREAK.finditer(raw, begin, found.end())]
        for end, after in [*breaks, (found.end(), found.end())]:
            start = begin if begin == 0 or raw[begin - 1 : begin] == b"\n" else raw.find(b"\n", begin, end) + 1
            stop = raw.rfind(b"\n", begin, end)
            if raw[stop - 1 : stop] == b"\r":
                stop -= 1
            if start and stop - start >= LONG:
                yield start, stop
            begin = after
