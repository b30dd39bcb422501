"""Detect the encoding and the delimiter of a delimited text file, from its first mebibyte."""

import codecs
import csv
import io
import re
from collections import Counter
from contextlib import suppress
from itertools import islice

from systemscripts.errors import JobError
from systemscripts.importing.config import ConfigurationError

DELIMITERS = (",", ";", "\t", "|")

# The mark of UTF-32 begins like the mark of UTF-16, so it is looked for first.
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip

_MULTIBYTE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")

# A byte order mark is checked first; without one these names mean the byte order of most machines.
_WITHOUT_MARK = {"utf-16": "utf-16-le", "utf-32": "utf-32-le", "utf-8-sig": "utf-8"}


class NotText(JobError):
    """The file is not delimited text, or not in the encoding that was declared."""


def encoding_of(sample: bytes, declared: str | None) -> tuple[str, int]:
    """Return the codec and how many bytes a byte order mark takes: by the mark, else as declared, else as detected."""
    for mark, name in _BOMS:
        if sample.startswith(mark):
            return name, len(mark)
    return _declared(declared) if declared else detect_encoding(sample), 0


def detect_encoding(sample: bytes) -> str:
    """Return the codec for text without a byte order mark: UTF-8 if the bytes fit, else cp1252.

    Raises NotText for bytes that fit neither.
    """
    # Western text in UTF-16 has NUL as every second byte, and is also valid UTF-8.
    if b"\0" in sample:
        even, odd = sample[0::2].count(0), sample[1::2].count(0)
        if 3 * max(even, odd) >= len(sample) and 10 * min(even, odd) <= max(even, odd):
            return "utf-16-le" if odd > even else "utf-16-be"
    with suppress(UnicodeDecodeError):
        codecs.getincrementaldecoder("utf-8")().decode(sample)
        return "utf-8"
    if sample[:2] == b"PK" or sample[:4] == b"\xd0\xcf\x11\xe0":
        raise NotText("it is a spreadsheet, not delimited text; set file_type to XLS or XLSX")
    # UTF-8 with some bad bytes; read as cp1252, each good character would become two wrong ones.
    good = sum(len(found) for found in _MULTIBYTE.findall(sample))
    if 2 * good > sum(sample.count(byte) for byte in range(0x80, 0x100)):
        return "utf-8"
    from charset_normalizer import from_bytes

    if b"\0" in sample or from_bytes(sample[: 1 << 16], cp_isolation=["cp1252"]).best() is None:
        raise NotText(
            "its encoding is neither UTF-8, UTF-16 nor cp1252; declare it in the configuration's encoding column"
        )
    return "cp1252"


def _declared(encoding: str) -> str:
    try:
        found = codecs.lookup(encoding).name
        name = _WITHOUT_MARK.get(found, found)
        # encode() refuses codecs that are not between text and bytes; the two named here are for single words only.
        if name not in ("idna", "punycode") and "a,1\n".encode(name).decode(name) == "a,1\n":
            return name
    except (LookupError, UnicodeError):
        pass
    raise ConfigurationError(
        f"the configuration's encoding {encoding!r} is not known; use a name such as utf-8 or cp1252"
    )


def decode(body: bytes, encoding: str) -> str:
    """Decode a sample whose last character may be cut."""
    return codecs.getincrementaldecoder(encoding)("surrogateescape").decode(body)


def detect_delimiter(text: str, first_row: int = 1) -> str:
    """Return the delimiter that splits the first records most evenly into most columns; a comma if none does.

    Only the records from `first_row` on count; the first record of the text is 1.
    Raises NotText if two do it equally well, because a wrong guess would change every value.
    """
    start = text[: 1 << 16]

    def evenness(delimiter: str) -> tuple[float, int]:
        reader = csv.reader(io.StringIO(start, newline=""), delimiter=delimiter)
        widths: Counter[int] = Counter()
        try:
            for fields in islice(reader, first_row - 1, first_row + 49):
                widths[len(fields)] += bool(fields)
        except csv.Error:
            return (0.0, 0)
        width, count = widths.most_common(1)[0] if widths else (1, 0)
        return (count / max(widths.total(), 1), width) if width > 1 else (0.0, 0)

    found = [delimiter for delimiter in DELIMITERS if delimiter in start]
    if found in ([], [","]):
        return ","
    best, *others = sorted(dict.fromkeys([",", *found]), key=evenness, reverse=True)
    if evenness(best)[0] and evenness(others[0]) == evenness(best):
        raise NotText(
            f"its fields may be delimited by {best!r} or {others[0]!r}: set field_delimiter in its configuration"
        )
    return best
