"""Find the label and the date of a dataset: in the file's name, in a column, or as a fixed value."""

import re
from collections.abc import Iterator
from datetime import date, datetime
from functools import cache
from typing import TYPE_CHECKING

from systemscripts import patterns, settings
from systemscripts.errors import JobError
from systemscripts.importing.config import ConfigurationError, ImportConfig, ValueSource
from systemscripts.importing.header import column_names, normalised
from systemscripts.importing.source import Record, TextSource

if TYPE_CHECKING:
    from regex import Match

# The parts of a dateformat, each with its number of digits. Month names are not supported, because they
# depend on the machine's language.
_PARTS = {"yyyy": r"(?P<year>[0-9]{4})", "MM": r"(?P<month>[0-9]{2})", "dd": r"(?P<day>[0-9]{2})",
          "HH": r"(?P<hour>[0-9]{2})", "mm": r"(?P<minute>[0-9]{2})", "ss": r"(?P<second>[0-9]{2})"}  # fmt: skip


_POSITION = re.compile("[0-9]+")
TODAY = "today"

# Of `sales_20261127.csv.gz` the ending is `.csv.gz`.
_PACKED_ENDING = re.compile(r"(\.[a-z][a-z0-9]{1,4})\.(gz|bz2|xz|zip)$", re.IGNORECASE)


def dataset_label(config: ImportConfig, file_name: str, source: TextSource) -> str:
    """Return the label that the configuration asks for.

    Raises JobError if the file has no such part, column or value.
    """
    return _value("label", config, config.metadata_label_source, config.metadata_label_location, file_name, source)


def dataset_date(config: ImportConfig, file_name: str, source: TextSource) -> date:
    """Return the date that the configuration asks for.

    Raises JobError if it is missing or does not fit `dateformat`. The day of the import counts only if the
    configuration says so, with the static value `today`.
    """
    if config.dateconfig == "static" and config.datelocation == TODAY:
        return settings.now().date()
    value = _value("date", config, config.dateconfig, config.datelocation, file_name, source)
    return parse_date(value, config.dateformat or "yyyy-MM-dd")


def problems(config: ImportConfig) -> Iterator[tuple[str, JobError]]:
    """Yield each column with which every file would be refused, and why."""
    locations = (
        ("label", "metadata_label_location", config.metadata_label_source, config.metadata_label_location),
        ("date", "datelocation", config.dateconfig, config.datelocation),
    )
    for what, column, origin, location in locations:
        if origin == "filename" and location and not _POSITION.fullmatch(location):
            try:
                _search(what, location, "")
            except ConfigurationError as problem:
                yield column, ConfigurationError(f"import {config.config_name}: {problem}")
    if config.dateconfig == "static" and config.datelocation == TODAY:
        return
    date_format = config.dateformat or "yyyy-MM-dd"
    try:
        _date_expression(date_format)
    except ConfigurationError as problem:
        yield "dateformat", ConfigurationError(f"import {config.config_name}: {problem}")
        return
    try:
        if config.dateconfig == "static" and config.datelocation:
            parse_date(config.datelocation, date_format)
    except JobError as problem:
        yield "datelocation", JobError(f"import {config.config_name}: {problem}")


def parse_date(value: str, date_format: str) -> date:
    """Return the date in the text, read with a format such as `yyyyMMddTHHmmss`.

    >>> parse_date("20260302T050000", "yyyyMMddTHHmmss")
    datetime.date(2026, 3, 2)
    """
    found = _date_expression(date_format).fullmatch(value)
    try:
        if found is None:
            raise ValueError
        return datetime(**{part: int(digits) for part, digits in found.groupdict().items()}).date()  # type: ignore[arg-type]  # noqa: DTZ001
    except ValueError:
        raise JobError(f"the date {value!r} does not fit the format {date_format}") from None


@cache
def _date_expression(date_format: str) -> re.Pattern[str]:
    pieces = re.split("(" + "|".join(_PARTS) + ")", date_format)
    missing = [part for part in ("yyyy", "MM", "dd") if pieces.count(part) != 1]
    if missing or any(pieces.count(part) > 1 for part in _PARTS):
        raise ConfigurationError(f"the dateformat {date_format!r} must have yyyy, MM and dd, and each part once")
    return re.compile("".join(_PARTS.get(piece, re.escape(piece)) for piece in pieces))


def _value(
    what: str, config: ImportConfig, origin: ValueSource, location: str | None, file_name: str, source: TextSource
) -> str:
    if origin == "static":
        return location or _missing(what, "the configuration gives no value")
    if location is None:
        return _missing(what, "the configuration does not say where to find it")
    if origin == "filename":
        return _from_file_name(what, file_name, location, config.delimiter)
    return _from_column(what, source, location)


def _from_file_name(what: str, file_name: str, location: str, delimiter: str | None) -> str:
    """Take a part of the name without its ending: by position (from 0), or by the group of a regular expression.

    The name of a file within an archive is ARCHIVE/MEMBER: the position counts in the member's name.
    """
    if not _POSITION.fullmatch(location):
        found = _search(what, location, file_name)
        if found is None or not found.groups():
            return _missing(what, f"the expression {location} finds no group in the name {file_name!r}")
        return str(found.group(1) or "") or _missing(what, f"the group of {location} is empty in {file_name!r}")
    name = _PACKED_ENDING.sub(r"\1", file_name.rpartition("/")[2])
    parts = name.rpartition(".")[0].split(delimiter or "_")
    if int(location) >= len(parts) or not parts[int(location)]:
        return _missing(what, f"the name {file_name!r} has no part {location} when split by {delimiter or '_'!r}")
    return parts[int(location)]


def _search(what: str, location: str, file_name: str) -> "Match[str] | None":
    try:
        return patterns.find(location, file_name)
    except patterns.BadPattern as problem:
        raise ConfigurationError(f"the {what}'s location {location!r} {problem}") from None


def _from_column(what: str, source: TextSource, column: str) -> str:
    """Take the single value of the column; a file with several values is refused."""
    names = column_names(source.headings)
    if normalised(column) not in names:
        return _missing(what, f"the file has no column {column!r}")
    index = names.index(normalised(column))
    records = (record for record in source.records() if isinstance(record, Record))
    values = {record.fields[index] for record in records if index < len(record.fields)}
    if len(values) != 1:
        shown = ", ".join(sorted(map(repr, values))[:3])
        return _missing(
            what, f"column {column!r} must hold one value in the whole file, and holds {len(values)}: {shown}"
        )
    return values.pop() or _missing(what, f"column {column!r} is empty")


def _missing(what: str, reason: str) -> str:
    raise JobError(f"the dataset's {what} cannot be had: {reason}")
