"""Find the sheet of a workbook that holds the data: the one that looks like a table, not a cover page."""

import csv
import io
from pathlib import Path
from typing import IO, NamedTuple

from systemscripts import directory_management, xls_to_csv
from systemscripts.errors import JobError
from systemscripts.file_kinds import opening, workbooks
from systemscripts.importing.config import ImportConfig
from systemscripts.suggesting.finding import Certainty, Finding

# A sheet is a table if so many of its rows fill more than half of its columns.
_LEAST_ROWS = 2
# Beside a table that has so many times as many rows, a sheet is a cover page or a note.
_TIMES_LARGER = 10
_MOST_NAMED = 5


class Sheet(NamedTuple):
    """A sheet with its width, and how many of its rows fill more than half of that."""

    name: str
    width: int
    rows: int

    def __str__(self) -> str:
        return f"{self.name!r} ({self.rows} {'row' if self.rows == 1 else 'rows'})"


def chosen(config: ImportConfig, path: Path, converted: IO[bytes], label: str) -> tuple[str, Finding]:
    """Convert the sheet with the data, or the one that `sheet` of the import names; return its file_type and what was found.

    Raises JobError if no sheet has rows.
    """
    password = opening.password_of(config) if config.password_name else ""
    try:
        found = xls_to_csv.contents(path, password)
        names = [sheet.name for sheet in found.sheets]
        if config.sheet is not None:
            wanted = workbooks.wanted_sheet(config, path, password)
            done = xls_to_csv.convert_into(converted, path, wanted, label=label, password=password)
            finding = Finding("sheet", done.sheet, "sure", "it was named", {"sheet": config.sheet})
        elif len(names) == 1:
            done = xls_to_csv.convert_into(converted, path, 1, label=label, password=password)
            finding = Finding("sheet", names[0], "sure", "the only one", {})
        else:
            sheets = []
            for sheet in found.sheets:
                if sheet.visible or not any(other.visible for other in found.sheets):
                    with directory_management.temporary_file() as trial:
                        xls_to_csv.convert_into(trial, path, sheet.name, label=label, password=password)
                        sheets.append(_measured(sheet.name, trial))
            finding = _best(sheets)
            done = xls_to_csv.convert_into(converted, path, finding.found, label=label, password=password)
    except xls_to_csv.UnreadableSpreadsheet as refusal:
        raise JobError(refusal.reason) from None
    return "XLSX" if done.kind == "OOXML" else "XLS", finding


def _measured(name: str, converted: IO[bytes]) -> Sheet:
    converted.seek(0)
    text = io.TextIOWrapper(converted, encoding="utf-8", newline="")
    width = rows = 0
    for fields in csv.reader(text):
        width = len(fields)  # a sheet is a rectangle
        rows += 2 * sum(1 for field in fields if field.strip()) > width
    text.detach()
    return Sheet(name, width, rows)


def _best(sheets: list[Sheet]) -> Finding:
    """Return the first sheet that looks like a table."""
    filled = [sheet for sheet in sheets if sheet.rows]
    if not filled:
        raise JobError(f"none of its sheets has rows: {', '.join(repr(sheet.name) for sheet in sheets)}")
    wide = [sheet for sheet in filled if sheet.width > 1] or filled
    tables = [sheet for sheet in wide if sheet.rows >= _LEAST_ROWS] or wide
    most = max(sheet.rows for sheet in tables)
    tables = [sheet for sheet in tables if sheet.rows * _TIMES_LARGER > most]
    best = tables[0]
    others = ", ".join(map(str, [sheet for sheet in sheets if sheet != best][:_MOST_NAMED]))
    sure: Certainty = "likely"
    told = f"{best.rows} rows; the others: {others}"
    if len(tables) > 1:
        sure = "cannot tell"
        told = f"{', '.join(map(str, tables[:_MOST_NAMED]))} look like tables; set sheet, or give --sheet NAME"
    return Finding("sheet", best.name, sure, told, {"sheet": best.name})
