"""The words that MeetMax sends instead of the list of a deleted event; the import takes them as an empty list."""

import re

_VANISHED = re.compile(r"Invalid Event ID\s*(:\s*\S*)?", re.IGNORECASE)
LONGEST = 1000  # characters


def says_vanished(text: str) -> bool:
    """Return whether a file's whole text is only these words."""
    return len(text) < LONGEST and _VANISHED.fullmatch(text.strip()) is not None
