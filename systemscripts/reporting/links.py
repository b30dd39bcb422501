"""Which texts of a report may become links, and for which cells of a table."""

import re
from collections.abc import Mapping

from systemscripts.reporting.model import ReportError, Table

LONGEST = 2_000  # characters; Excel takes 2,079

# A host without a name and password in front: https://bank.example@other.example leads to the other one.
_REST = r"[^\s<>\"'\\^`{|}]*"
_ADDRESS = re.compile(
    rf"https?://[\w-]+(?:\.[\w-]+)*\.?(?::\d{{1,5}})?(?:[/?#]{_REST})?|mailto:[\w.!#$%&*+/=?~-]+@[\w.-]+(?:\?{_REST})?",
    re.IGNORECASE,
)


def address_of(value: object) -> str | None:
    """Return the address of a web page (http, https) or of a mailbox (mailto:), or None for anything else."""
    text = value.strip() if isinstance(value, str) else ""
    return text if len(text) <= LONGEST and text.isprintable() and _ADDRESS.fullmatch(text) else None


def links_of(table: Table, links: Mapping[str, str]) -> dict[str, dict[int, str]]:
    """Return the addresses by columns and rows; `links` names the column with the address for each column of texts.

    Raises ReportError for a column that is not there.
    """
    for heading in (*links, *links.values()):
        if heading not in table.columns:
            raise ReportError(f"links has the column {heading[:60]!r}, but the columns are: {', '.join(table.columns)}")
    return {heading: _addresses(table, table.columns.index(source)) for heading, source in links.items()}


def _addresses(table: Table, index: int) -> dict[int, str]:
    found = {number: address_of(row[index]) for number, row in enumerate(table.rows)}
    return {number: address for number, address in found.items() if address}
