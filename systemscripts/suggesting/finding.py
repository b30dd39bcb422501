"""One thing that was found out about a file, how sure it is, and what it rests on."""

from typing import Any, Literal, NamedTuple

Certainty = Literal["sure", "likely", "cannot tell"]


class Finding(NamedTuple):
    """What was found; `settings` are the columns of dba.timportconfig that say so."""

    what: str
    found: str
    certainty: Certainty
    evidence: str
    settings: dict[str, Any]


def shown(values: list[str], most: int = 3) -> str:
    """Return the first values as a person reads them, each cut to a few words."""
    cut = [repr(value[:25] + "…" if len(value) > 26 else value) for value in values[:most]]
    return ", ".join(cut) + (", …" if len(values) > most else "")
