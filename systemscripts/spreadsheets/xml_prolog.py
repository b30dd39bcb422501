"""The text before the first element of an XML part: only there can a document type with entities be declared.

No part of a workbook may have one (ECMA-376 part 2, 6.1.3). Comments and processing instructions before it may have any
length, so the search goes chunk by chunk.
"""

import codecs
import re

from systemscripts.spreadsheets.model import Refused

_DOCTYPE = "<!DOCTYPE"
_ENDS = {"<!--": "-->", "<?": "?>"}
_BLANKS = re.compile("[ \\t\\r\\n\\ufeff]*")


class Prolog:
    """The beginning of a part, which comes chunk by chunk; after its first element nothing is checked."""

    def __init__(self) -> None:
        self._is_over = False
        self._decoder: codecs.IncrementalDecoder | None = None
        self._rest = ""
        self._within = ""

    def look_at(self, chunk: bytes) -> None:
        """Raise Refused if a document type is declared."""
        if self._is_over or not chunk:
            return
        if self._decoder is None:
            self._decoder = codecs.getincrementaldecoder(_encoding(chunk))("replace")
        text = self._rest + self._decoder.decode(chunk)
        self._rest = text[self._looked_through(text) :]

    def _looked_through(self, text: str) -> int:
        """Return how much of the text need not be checked again with the next chunk."""
        place = 0
        while True:
            if self._within:
                end = text.find(self._within, place)
                if end < 0:
                    # The last characters may be the beginning of the end mark.
                    return max(place, len(text) - len(self._within) + 1)
                place = end + len(self._within)
                self._within = ""
            place = _BLANKS.match(text, place).end()  # type: ignore[union-attr]
            begin = text[place : place + len(_DOCTYPE)]
            if begin.upper() == _DOCTYPE:
                raise Refused("it declares XML entities, which sheets need not and files made to harm do")
            if len(begin) < len(_DOCTYPE):
                return place
            opening = next((opening for opening in _ENDS if begin.startswith(opening)), "")
            if not opening:
                self._is_over = True
                return len(text)
            self._within = _ENDS[opening]
            place += len(opening)


def _encoding(head: bytes) -> str:
    """Return the encoding that expat would use; in all of its other encodings ASCII characters are the same."""
    if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    if head[:1] == b"\0":
        return "utf-16-be"
    return "utf-16-le" if head[1:2] == b"\0" else "utf-8" if head.startswith(codecs.BOM_UTF8) else "latin-1"
