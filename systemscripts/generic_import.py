"""The import: every file that waits for one configuration, into its table, whole or not at all.

    report = run_import(connection, load_config(connection, "MeetMax_Events_XLS_Import"))

A file goes through examine → plan → load → switch in one transaction, and is moved to the
archive after the commit. Killed anywhere, the former dataset stays active and the file stays in
place; the next run finishes it once, because dba.timportfile knows files by their content.
"""

import contextlib
import logging
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from systemscripts import directory_management
from systemscripts.errors import JobError, TemporaryFailure
from systemscripts.importing import columns, files, filing, ledger, load, metadata, source, table
from systemscripts.importing.config import ConfigurationError, ImportConfig
from systemscripts.importing.files import PendingFile
from systemscripts.importing.ledger import FileRow
from systemscripts.importing.source import TextSource

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection
    from psycopg2.extensions import cursor as Cursor

log = logging.getLogger(__name__)


@dataclass
class ImportReport:
    """What came of each file of one run: (file name, status, rows or reason)."""

    files: list[tuple[str, str, str]] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Return how many files ended with each status."""
        return dict(Counter(status for _, status, _ in self.files))


def run_import(
    connection: "Connection", config: ImportConfig, file: Path | None = None, force: bool = False
) -> ImportReport:
    """Import every waiting file of the configuration, or only the one named.

    A file that cannot be right is set aside with the reason, and the others still go. Raises
    TemporaryFailure or ConfigurationError where the file is not to blame; it then stays in place.
    """
    report = ImportReport()
    for waiting in _waiting_files(config, file):
        try:
            status, detail = _import_file(connection, config, waiting, force)
        except (TemporaryFailure, ConfigurationError):
            raise
        except FileNotFoundError:
            if waiting.path.exists():
                raise
            log.info("%s was taken by another run meanwhile", waiting.name, extra={"step": "file"})
            continue
        except JobError as refusal:
            status, detail = "Failed", str(refusal)
            _refuse(connection, config, waiting, detail)
        report.files.append((waiting.name, status, detail))
        log.log(
            logging.ERROR if status == "Failed" else logging.INFO,
            "%s: %s, %s",
            waiting.name,
            status,
            detail,
            extra={"step": "file"},
        )
    return report


def _waiting_files(config: ImportConfig, file: Path | None) -> list[PendingFile]:
    if file is not None:
        return [files.named_file(config, file)]
    ready, settling = files.wait_for_settling(config)
    for unfinished in settling:
        log.info("%s is still being written; left for the next run", unfinished.name, extra={"step": "find"})
    return ready


def _import_file(connection: "Connection", config: ImportConfig, file: PendingFile, force: bool) -> tuple[str, str]:
    """Bring one file into the database and then into the archive; return its status and a word about it."""
    with _as_text(config, file) as text:
        label = metadata.dataset_label(config, file.name, text)
        day = metadata.dataset_date(config, file.name, text)
        row = ledger.FileRow(file, encoding=text.encoding, delimiter=text.delimiter, forced=force)
        if config.duplicate_scope == "dataset":
            row = replace(row, dataset_key=f"{label}|{day}")
        if known := _known_content(connection, config, row):
            return known
        with connection, connection.cursor() as cursor:
            row = _load_and_switch(cursor, config, text, row, label, day)
            if not file.is_unchanged():
                raise TemporaryFailure(f"{file.name} was changed while it was read; it is tried again next time")
            importfileid = ledger.write_file_row(cursor, config, row)
            if importfileid is None:  # another importer committed the same content a moment ago
                connection.rollback()
    if importfileid is None:
        return _known_content(connection, config, row) or ("Duplicate", "of a file that is being loaded")
    _file_away(connection, config, file, importfileid)
    return row.status, f"{row.rows} rows into {config.target_table}, dataset {row.datasetid}"


def _load_and_switch(
    cursor: "Cursor", config: ImportConfig, text: TextSource, row: FileRow, label: str, day: date
) -> FileRow:
    """Load the records under a new dataset and make it the active one; nothing of it is seen before the commit."""
    datasetid = ledger.new_dataset(cursor, config, label, day, "New")
    cursor.execute("SELECT set_config(%s, %s, true)", (table.DATASET_VARIABLE, str(datasetid)))
    loaded = load.Loaded(0, carefully=True) if text.vanished else _load(cursor, config, text, row)
    status = "Loaded" if loaded.rows else "Empty"
    ledger.set_status(cursor, datasetid, "Active" if loaded.rows else "Empty")
    sha256 = loaded.sha256 if loaded.sha256 and text.path == row.file.path else load.sha256_of(row.file.path)
    return replace(row, sha256=sha256, status=status, datasetid=datasetid, rows=loaded.rows)


def _load(cursor: "Cursor", config: ImportConfig, text: TextSource, row: FileRow) -> load.Loaded:
    """Fit the table to the file, as far as the strategy allows, and copy the records into it."""
    names = columns.column_names(text.headings, reserved=table.own_columns(config))
    plan = columns.plan_columns(config, names, table.existing_columns(cursor, config))
    if plan.added:
        table.lock_structure(cursor, config)
        plan = columns.plan_columns(config, names, table.existing_columns(cursor, config))
    table.apply_plan(cursor, config, plan)
    ledger.note_drift(cursor, config, row.file, plan)
    return load.load_records(cursor, text, plan, config)


def _known_content(connection: "Connection", config: ImportConfig, row: FileRow) -> tuple[str, str] | None:
    """Deal with a file whose content is known already, None for a new one.

    The very file whose load was committed and whose move was not is only moved; any other with
    the same content becomes a Duplicate.
    """
    with connection, connection.cursor() as cursor:
        if not ledger.known_size(cursor, config, row.file.size):
            return None
        row = replace(row, sha256=load.sha256_of(row.file.path), status="Duplicate")
        unmoved = ledger.find_unmoved(cursor, config, row)
        earlier = None if row.forced else ledger.find_earlier(cursor, config, row)
        if unmoved is None and earlier is None:
            return None
        importfileid = unmoved or ledger.write_file_row(cursor, config, row)
    assert importfileid is not None
    _file_away(connection, config, row.file, importfileid)
    return ("Archived", "its load was committed by an earlier run") if unmoved else ("Duplicate", f"of {earlier}")


def _file_away(connection: "Connection", config: ImportConfig, file: PendingFile, importfileid: int) -> None:
    try:
        path = filing.archive(config, file)
    except FileNotFoundError:  # another importer found the row that we had committed, and moved the file
        return
    with connection, connection.cursor() as cursor:
        ledger.note_moved(cursor, importfileid, path)


def _refuse(connection: "Connection", config: ImportConfig, file: PendingFile, reason: str) -> None:
    """Write down why the file cannot be loaded, then move it out of the way."""
    row = FileRow(file, sha256=load.sha256_of(file.path), status="Failed", error=reason)
    with connection, connection.cursor() as cursor:
        importfileid = ledger.write_file_row(cursor, config, row)
    path = filing.set_aside(config, file, reason)
    if importfileid is not None:
        with connection, connection.cursor() as cursor:
            ledger.note_moved(cursor, importfileid, path)


@contextlib.contextmanager
def _as_text(config: ImportConfig, file: PendingFile) -> Iterator[TextSource]:
    """Yield the file as delimited text: itself, or what a spreadsheet becomes, in a file that is removed afterwards."""
    if config.file_type == "CSV":
        yield source.examine(file.path, config)
        return
    from systemscripts import xls_to_csv

    folder = directory_management.ensure_directory(directory_management.temp_dir())
    converted = folder / f"{config.config_id}_{os.getpid()}_{directory_management.safe_name(file.name)}.csv"
    try:
        xls_to_csv.convert(file.path, converted)
        yield source.examine(converted, config)
    finally:
        converted.unlink(missing_ok=True)
