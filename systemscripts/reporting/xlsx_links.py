"""The links of a workbook's sheet: an element in the sheet, and a part of the file with the addresses (ECMA-376, 18.3.1.48)."""

import logging
import re
from collections.abc import Mapping
from xml.sax.saxutils import quoteattr

from openpyxl.utils import get_column_letter

from systemscripts.reporting.links import links_of
from systemscripts.reporting.model import Table

log = logging.getLogger(__name__)

RELATIONS_OF_SHEET = "xl/worksheets/_rels/sheet1.xml.rels"
# The elements of a sheet have an order: the links stand before the margins.
_AFTER_LINKS = b"<pageMargins"
_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
MOST_LINKS = 65_530  # of a sheet, by Excel's specification
LINK_COLOUR = "0563C1"
_UNRESERVED = "%/:?=&;,@!$*()+~[]"
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


class SheetLinks:
    """The links of a sheet's cells: `addresses` by columns and rows, `targets` by cells, in the order of the sheet."""

    def __init__(self, table: Table, links: Mapping[str, str]) -> None:
        self.addresses = links_of(table, links)
        cells = [
            (row, index, found[row])
            for index, heading in enumerate(table.columns)
            if (found := self.addresses.get(heading))
            for row in sorted(found)
            if table.rows[row][index] not in (None, "")
        ]
        if len(cells) > MOST_LINKS:
            text = "a workbook holds %s links; the last %s of %s stay text"
            log.warning(text, f"{MOST_LINKS:,}", f"{len(cells) - MOST_LINKS:,}", f"{len(cells):,}")
        self.targets = {
            f"{get_column_letter(index + 1)}{row + 2}": address for row, index, address in sorted(cells)[:MOST_LINKS]
        }

    def put_into(self, end_of_sheet: bytes) -> bytes:
        """Return the XML behind the rows with the element of the links in its place."""
        if not self.targets:
            return end_of_sheet
        # What follows the sign # has its own attribute.
        parts = [(cell, address.partition("#")[2]) for cell, address in self.targets.items()]
        links = "".join(
            f'<hyperlink xmlns:r="{_RELATIONS}" ref="{cell}" r:id="rId{number}"'
            + (f" location={quoteattr(place)}" if place else "")
            + "/>"
            for number, (cell, place) in enumerate(parts, start=1)
        )
        before, found, after = end_of_sheet.partition(_AFTER_LINKS)
        return before + f"<hyperlinks>{links}</hyperlinks>".encode() + found + after

    def relations(self) -> bytes:
        """Return the part of the file that has the addresses."""
        targets = map(_target, self.targets.values())
        found = "".join(
            f'<Relationship Id="rId{number}" Type="{_RELATIONS}/hyperlink" Target={quoteattr(target)} TargetMode="External"/>'
            for number, target in enumerate(targets, start=1)
        )
        return f'<?xml version="1.0" encoding="UTF-8"?>\n<Relationships xmlns="{_PACKAGE}">{found}</Relationships>'.encode()


def _target(address: str) -> str:
    """Return the address without its place in the page, and in the characters that an address may have."""
    from urllib.parse import quote

    return quote(_LONE_PERCENT.sub("%25", address.partition("#")[0]), safe=_UNRESERVED)
