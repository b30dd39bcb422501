"""A report's attachments; the ending of the name decides the kind of file."""

import importlib.util
import shlex
import sys
from collections.abc import Mapping
from pathlib import PurePath

from systemscripts import settings
from systemscripts.directory_management import safe_name
from systemscripts.mail.composing import Attachment
from systemscripts.reporting.csv_file import csv_bytes
from systemscripts.reporting.model import Query, ReportError, Table
from systemscripts.reporting.template import fill_line
from systemscripts.reporting.writing import PLAIN, Writing

_MEDIA_TYPES = {
    ".csv": "text/csv",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".parquet": "application/vnd.apache.parquet",
}


def file_names(attachments: tuple[Query, ...], values: Mapping[str, str]) -> list[str]:
    """Return the names of the attachments with filled placeholders, safe as file names everywhere.

    Raises ReportError for a name with an unknown ending, one of a kind that cannot be made here, and for two equal names.
    """
    names: list[str] = []
    for query in attachments:
        name = safe_name(fill_line(f"the attachment name {query.name!r}", query.name, values))
        suffix = PurePath(name).suffix.lower()
        if suffix not in _MEDIA_TYPES:
            raise ReportError(f"the attachment name {query.name!r} must end in {' or '.join(_MEDIA_TYPES)}")
        if suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
            requirements = settings.project_dir() / "requirements-parquet.txt"
            command = shlex.join([sys.executable, "-m", "pip", "install", "--require-hashes", "-r", str(requirements)])
            raise ReportError(
                f"{query.name!r} is a Parquet file, which pyarrow writes, and that is not installed; type: {command}"
            )
        if name.lower() in map(str.lower, names):
            raise ReportError(f"two attachments are named {name}")
        names.append(name)
    return names


def attachment_of(
    name: str, table: Table, writing: Writing = PLAIN, links: Mapping[str, str] | None = None
) -> Attachment:
    """Return the table as a file of the kind that its name says; `writing` and `links` are for a workbook only."""
    suffix = PurePath(name).suffix.lower()
    if suffix == ".csv":
        return Attachment(name, csv_bytes(table), _MEDIA_TYPES[suffix])
    if suffix == ".parquet":
        from systemscripts.reporting.parquet_file import parquet_bytes

        return Attachment(name, parquet_bytes(table), _MEDIA_TYPES[suffix])
    from systemscripts.reporting.xlsx_file import xlsx_bytes

    return Attachment(name, xlsx_bytes(table, PurePath(name).stem, writing, links or {}), _MEDIA_TYPES[suffix])
