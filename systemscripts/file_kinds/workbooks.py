"""Workbooks as delimited text: the sheet that the import names, the first one, or all of them with their names in a column."""

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from systemscripts import directory_management, patterns, whole_files, xls_to_csv
from systemscripts.errors import JobError
from systemscripts.importing import source
from systemscripts.importing.config import ConfigurationError, ImportConfig
from systemscripts.importing.header import NoHeader, normalised
from systemscripts.importing.source import Record, TextSource
from systemscripts.xls_to_csv import Conversion

# No sheet may be called so, so they mark a pattern.
_PATTERN_SIGNS = frozenset("*?[")
MOST_NAMED = 10
# A first sheet of so few rows, with its headings, may be a cover where another one has so many times as many.
SHORT_ROWS, TIMES_LONGER = 6, 10
_CURE = "set sheet to the one that is meant, or to 1 for the first"


def text_of(
    config: ImportConfig, path: Path, label: str, password: str, converted: IO[bytes]
) -> tuple[TextSource, str]:
    """Convert what the import wants of the workbook; return it as text, and in words what it is."""
    with _refusing():
        if config.sheet_column is not None:
            return _all_sheets(config, path, label, password, converted)
        sheet = wanted_sheet(config, path, password)
        done = xls_to_csv.convert_into(converted, path, sheet, label=label, password=password)
        if done.rows is None:
            text = source.examine(whole_files.by_handle(converted.fileno()), config, label=label)
            if done.kind == "text" and not text.vanished:
                raise JobError(f"it is not a spreadsheet but a text that begins with {text.headings[0][:80]!r}")
            return text, done.kind
        others = [each.name for each in done.sheets if each.visible and each.name != done.sheet]
        more = f" (1 of {len(others) + 1}, the others: {_listed(others)})" if others else ""
        if config.sheet is None and others:
            return _first_sheet(config, done, label, password, converted), f"{done.kind}, sheet {done.sheet!r}{more}"
        return _examined(config, label, converted), f"{done.kind}, sheet {done.sheet!r}{more}"


def wanted_sheet(config: ImportConfig, path: Path, password: str) -> str | int | None:
    """Return the sheet that `sheet` of the import means; raises JobError if its pattern fits none or several."""
    if not config.sheet or not _PATTERN_SIGNS & set(config.sheet):
        return config.sheet
    fitting = _fitting(config, path, password)
    if len(fitting) > 1:
        raise JobError(
            f"its sheets {_listed([name for _, name in fitting])} fit sheet {config.sheet!r}; let it fit one, "
            "or set sheet_column to load all of them"
        )
    return fitting[0][0]


def _first_sheet(config: ImportConfig, done: Conversion, label: str, password: str, converted: IO[bytes]) -> TextSource:
    """Return the first sheet, with a doubt if it is much shorter than another one.

    Raises JobError if it seems to be blank or a cover, and another one holds data.
    """
    trouble: NoHeader | None = None
    text: TextSource | None = None
    try:
        text = _examined(config, label, converted)
        is_bare = not text.vanished and next(text.records(), None) is None
    except NoHeader as problem:
        trouble, is_bare = problem, True
    fuller, longer = [], []
    is_short = (done.rows or 0) <= SHORT_ROWS and config.header_row is None and config.header_columns is None
    if is_bare or done.columns == 1 or is_short:
        for number, sheet in enumerate(done.sheets, 1):
            if sheet.visible and sheet.name != done.sheet:
                with directory_management.temporary_file() as other:
                    size = xls_to_csv.convert_into(other, done.source, number, label=label, password=password)
                if (size.rows or 0) > 1 and (is_bare or (size.columns or 0) > 1):
                    fuller.append(sheet.name)
                if (size.rows or 0) >= TIMES_LONGER * (done.rows or 1) and (size.columns or 0) > 1:
                    longer.append(sheet.name)
    fuller = fuller if is_bare or done.columns == 1 else []
    if fuller and trouble and done.rows:
        raise NoHeader(f"sheet {done.sheet!r}: {trouble}; or set sheet, if the data is in {_listed(fuller)}")
    if fuller:
        what = "one column only" if not is_bare else "no rows" if done.rows else "nothing in it"
        raise JobError(f"its first sheet {done.sheet!r} has {what}, and there is data in {_listed(fuller)}; {_CURE}")
    if text is None:
        assert trouble is not None
        raise trouble
    if is_short and longer:
        doubt = f"its first sheet {done.sheet!r} has {done.rows} rows only, and there are many more in {_listed(longer)}; {_CURE}"
        return text._replace(doubt=doubt)
    return text


def _all_sheets(
    config: ImportConfig, path: Path, label: str, password: str, converted: IO[bytes]
) -> tuple[TextSource, str]:
    """Write the sheets one below the other, with their names in a last column; their headings must be the same."""
    assert config.sheet_column is not None
    wanted = _fitting(config, path, password)
    first: tuple[str, list[str]] | None = None
    above: list[str] = []
    below: list[str] = []
    used: list[str] = []
    kind = ""
    combined = io.TextIOWrapper(converted, encoding="utf-8", newline="")
    writer = csv.writer(combined, lineterminator="\n")
    for number, name in wanted:
        with directory_management.temporary_file() as one:
            done = xls_to_csv.convert_into(one, path, number, label=label, password=password)
            kind = done.kind
            if not done.rows:
                continue
            text = _examined(config, label, one)
            names = [normalised(heading) for heading in text.headings]
            if first is None:
                if normalised(config.sheet_column) in names:
                    raise JobError(
                        f"its sheet {name!r} has a column {config.sheet_column!r} already, as sheet_column is"
                    )
                first = name, names
                writer.writerow([*text.headings, config.sheet_column])
            elif names != first[1]:
                raise JobError(
                    f"its sheets {first[0]!r} and {name!r} have different headings: {_listed(first[1])}, and {_listed(names)}; "
                    "let sheet fit only those that belong together"
                )
            for record in text.records():
                if not isinstance(record, Record):
                    raise JobError(f"its sheet {name!r}, line {record.line}: {record.reason}")
                writer.writerow([*record.fields, name])
            used.append(name)
            above += [f"{name}: {line}" for line in text.above]
            below += [f"{name}: {line}" for line in text.below]
    combined.detach()
    converted.flush()
    if first is None:
        raise NoHeader(f"none of its sheets has a row: {_listed([name for _, name in wanted])}")
    plain = config.for_sheet()._replace(
        header_row=1, header_columns=None, headings=None, footer_rows=None, footer_pattern=None
    )
    text = source.examine(whole_files.by_handle(converted.fileno()), plain, label=label)
    empty = [name for _, name in wanted if name not in used]
    told = f"{kind}, sheets {_listed(used)}" + (f", left out as empty: {_listed(empty)}" if empty else "")
    return text._replace(above=tuple(above), below=below), told


def _fitting(config: ImportConfig, path: Path, password: str) -> list[tuple[int, str]]:
    """Return number and name of the visible sheets that fit `sheet`, all of them without it; raises JobError if none does."""
    sheets = [
        (number, sheet.name)
        for number, sheet in enumerate(xls_to_csv.contents(path, password).sheets, 1)
        if sheet.visible
    ]
    try:
        fitting = [
            (number, name)
            for number, name in sheets
            if config.sheet is None or name == config.sheet or patterns.fits(config.sheet, name)
        ]
    except patterns.BadPattern as problem:
        raise ConfigurationError(f"import {config.config_name}: sheet {config.sheet!r} {problem}") from None
    if not fitting:
        raise JobError(
            f"none of its sheets fits sheet {config.sheet!r}; it has {_listed([name for _, name in sheets])}"
        )
    return fitting


def _examined(config: ImportConfig, label: str, sheet: IO[bytes]) -> TextSource:
    return source.examine(whole_files.by_handle(sheet.fileno()), config.for_sheet(), may_have_titles=True, label=label)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(map(repr, names[:MOST_NAMED])) + more


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except xls_to_csv.UnreadableSpreadsheet as refusal:
        raise JobError(refusal.reason) from refusal
