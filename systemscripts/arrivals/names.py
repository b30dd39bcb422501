"""Make a safe name for a file from outside."""

import re
import unicodedata

from systemscripts.directory_management import UNFINISHED_SUFFIXES, safe_name

# Leaves room for a number and for .part within the 255 bytes that a name may have.
LONGEST_BYTES = 200
LONGEST_ENDING = 20  # a cut keeps this many characters of the .ending

_SEPARATORS = re.compile(r"[/\\]")


def name_in_directory(name: str) -> str:
    """Return the last part of the name; every character but letters, digits, `.`, `_` and `-` becomes `_`.

    The result is never a dotfile, an option, or the name of an unfinished file, which the import would not see.

    >>> name_in_directory("../../etc/conference calendar.csv"), name_in_directory(".csv")
    ('conference_calendar.csv', '_.csv')
    """
    parts = [part.strip() for part in _SEPARATORS.split(unicodedata.normalize("NFC", name))]
    last = next((part for part in reversed(parts) if part.strip(".")), "")
    cleaned = safe_name(last.rstrip(". ")) if last else "unnamed"
    if cleaned.startswith((".", "-")):
        cleaned = f"_{cleaned}"
    if cleaned.lower().endswith(UNFINISHED_SUFFIXES):
        cleaned = f"{cleaned}_"
    return _cut(cleaned)


def _cut(name: str) -> str:
    """Return the name within LONGEST_BYTES; the end of its stem is cut off."""
    if len(name.encode()) <= LONGEST_BYTES:
        return name
    stem, dot, ending = name.rpartition(".")
    if not stem or len(ending) > LONGEST_ENDING:
        stem, dot, ending = name, "", ""
    room = LONGEST_BYTES - len((dot + ending).encode())
    return stem.encode()[:room].decode(errors="ignore") + dot + ending
