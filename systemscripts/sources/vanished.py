"""The words that MeetMax serves in place of a list once an event has gone: the import takes them for an empty list."""

import re

_VANISHED = re.compile(r"Invalid Event ID\s*(:\s*\S*)?", re.IGNORECASE)
LONGEST = 1000  # characters


def says_vanished(text: str) -> bool:
    """Tell whether a file's whole text is only these words."""
    return len(text) < LONGEST and _VANISHED.fullmatch(text.strip()) is not None
