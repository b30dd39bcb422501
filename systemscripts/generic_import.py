"""The import: load every file that waits for one configuration into its table, whole or not at all.

    report = run_import(connection, load_config(connection, "MeetMax_Events_XLS_Import"))

A file goes through examine → plan → load → switch in one transaction. Before the commit the file is
moved where nobody else can reach it (importing/held.py). After the commit it is moved to the archive.
If the run is killed before the commit, the former dataset stays active. The next run finishes the
file once, because dba.timportfile knows files by their content.
"""

import contextlib
import logging
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from systemscripts import directory_management, log_utils, whole_files
from systemscripts.errors import JobError, TemporaryFailure
from systemscripts.importing import columns, files, filing, held, ledger, load, metadata, source, staging, table
from systemscripts.importing.columns import ColumnPlan
from systemscripts.importing.config import ConfigurationError, ImportConfig, load_config
from systemscripts.importing.files import PendingFile
from systemscripts.importing.header import column_names
from systemscripts.importing.held import Changed, HeldFile
from systemscripts.importing.ledger import FileRow, Known
from systemscripts.importing.load import Loaded
from systemscripts.importing.refusals import refusals_of_postgres
from systemscripts.importing.rejects import Rejects
from systemscripts.importing.rules import ColumnRule, load_rules
from systemscripts.importing.source import TextSource
from systemscripts.importing.transformed import Shown, TransformedRecords

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection
    from psycopg2.extensions import cursor as Cursor
    from psycopg2.sql import Composable

log = logging.getLogger(__name__)


class FileOutcome(NamedTuple):
    """The result of one file; `detail` says more about it, or why it was refused. `refused_to` is where a refused file is now.

    `shown` are the first changes that a transform made.
    """

    file: str
    status: str
    detail: str
    rows: int = 0
    rejects: int = 0
    statements: tuple[str, ...] = ()
    refused_to: str | None = None
    shown: tuple[Shown, ...] = ()


class ImportReport(NamedTuple):
    """The result of each file of one run."""

    files: list[FileOutcome]

    def counts(self) -> dict[str, int]:
        """Return how many files ended with each status."""
        return dict(Counter(outcome.status for outcome in self.files))


class _Import(NamedTuple):
    """The data that one run works with."""

    connection: "Connection"
    config: ImportConfig
    rules: dict[str, ColumnRule]
    force: bool
    dry_run: bool
    # The target's columns after the last file; empty if they must be looked up.
    structure: list[table.Column]
    # Warnings about the rules, each once for the current file.
    warnings: list[str]
    # How many of the lines that a transform changes are kept for a person.
    show: int


def run_import(
    connection: "Connection",
    config: ImportConfig,
    file: Path | None = None,
    force: bool = False,
    dry_run: bool = False,
    show: int = 0,
) -> ImportReport:
    """Import every waiting file of the configuration, or only the one named.

    A bad file is moved to failed/ with the reason. A file that changes meanwhile stays for the next run. Both do not
    stop the other files. Raises TemporaryFailure or ConfigurationError if the file is not to blame; the file then
    stays in place. With `dry_run` each file is read, checked and counted, but nothing is written or moved.
    `show` is how many of the lines that a transform changes are kept in the report.
    """
    work = _Import(connection, config, load_rules(connection, config), force, dry_run, [], [], show)
    # A single statement needs no BEGIN and COMMIT: this halves the round trips of a small file.
    connection.autocommit = True
    report = ImportReport([])
    if not dry_run:
        _note_moves(work)
    for waiting in _waiting_files(config, file):
        outcome = _outcome(work, waiting)
        if outcome is None:
            log.info("%s is no longer there, or another run works on it", waiting.name, extra={"step": "file"})
            continue
        report.files.append(outcome)
        level = {"Failed": logging.ERROR, "Changed": logging.WARNING, "Not filed": logging.WARNING}.get(
            outcome.status, logging.INFO
        )
        log.log(level, "%s: %s, %s", outcome.file, outcome.status, outcome.detail, extra={"step": "file"})
    return report


def generic_import(config_id: int | str) -> ImportReport:
    """Import the files that wait for the configuration with this id or name, and return the result of each.

    Jobs from older installations know `run_import` by this name. As there, a refused file does not end the caller: it
    is logged as an error and lies in failed/. An unknown configuration, or a database that is away, raises a JobError.
    """
    from systemscripts import db_config

    log_utils.ensure_logging()
    with db_config.session() as connection:
        return run_import(connection, load_config(connection, str(config_id)))


def _outcome(work: _Import, file: PendingFile) -> FileOutcome | None:
    """Import the file and return the result; None if another run works on it or has moved it away."""
    if work.dry_run:
        return _import_or_refuse(work, file)
    with ledger.claimed(work.connection, file) as is_ours:
        return _import_or_refuse(work, file) if is_ours else None


def _import_or_refuse(work: _Import, file: PendingFile) -> FileOutcome | None:
    try:
        with held.hold(file) as held_file:
            return _import_held(work, held_file)
    except Changed as reason:
        return FileOutcome(file.name, "Changed", str(reason))
    except filing.NotFiled as reason:
        return FileOutcome(file.name, "Not filed", str(reason))
    except whole_files.NotPlain as found:
        return FileOutcome(
            file.name, "Failed", f"it has become {found.kind}, which is never opened; it is left in place"
        )
    except held.Gone:
        return None
    except PermissionError as error:  # It stays in place: its owner must make it readable.
        return FileOutcome(file.name, "Failed", f"it cannot be read: {error.strerror}")


def _import_held(work: _Import, file: HeldFile) -> FileOutcome:
    try:
        if work.dry_run:
            return _import_file(work, file)
        with file.counted():
            return _import_file(work, file)
    except (TemporaryFailure, ConfigurationError):
        raise
    except JobError as refusal:
        place = None if work.dry_run else str(_refuse(work, file, str(refusal)))
        return FileOutcome(file.name, "Failed", str(refusal), refused_to=place)


def _waiting_files(config: ImportConfig, file: Path | None) -> list[PendingFile]:
    if file is not None:
        return [files.named_file(config, file)]
    ready, settling = files.wait_for_settling(config)
    for unfinished in settling:
        log.info("%s is still being written; left for the next run", unfinished.name, extra={"step": "find"})
    return ready


def _import_file(work: _Import, file: HeldFile) -> FileOutcome:
    """Bring one file into the database and then into the archive."""
    config, connection = work.config, work.connection
    work.warnings.clear()
    with _as_text(config, file) as text, Rejects() as rejects:
        label = metadata.dataset_label(config, file.name, text)
        day = metadata.dataset_date(config, file.name, text)
        row = ledger.FileRow(file.file, encoding=text.encoding, delimiter=text.dialect.delimiter, forced=work.force)
        row = row._replace(above_header="\n".join(text.above) or None)
        if config.duplicate_scope == "dataset":
            row = row._replace(dataset_key=f"{label}|{day}")
        known = _known(work, row, file)
        if known.needs_no_load:
            return _deal_with_known(work, row, file, known)
        row = row._replace(comes_back_after=known.comes_back_after)
        # The order matters: first the transaction is committed, then the file is kept for good.
        with contextlib.ExitStack() as until_committed, connection, connection.cursor() as cursor:
            if work.dry_run:
                return _try(cursor, work, text, file, rejects)
            row, replaced, was_hashed_while_read = _load_and_switch(
                cursor, work, text, file, row, (label, day), rejects
            )
            until_committed.enter_context(file.taken(row.sha256, was_hashed_while_read))
            importfileid = ledger.write_file_row(cursor, config, row)
            if importfileid is None:  # another import committed the same content a moment ago
                connection.rollback()
            else:
                rejects.write(cursor, importfileid)
    if importfileid is None:
        return _deal_with_known(work, row, file, _known(work, row, file))
    _file_away(work, file, importfileid)
    into = f"{row.rows} rows into {config.target_table}, dataset {row.datasetid}"
    detail = f"{into}{replaced}{_left_out(text, rejects)}{_warned(work)}"
    return FileOutcome(file.name, row.status, detail, row.rows or 0, rejects.count)


def _load_and_switch(
    cursor: "Cursor",
    work: _Import,
    text: TextSource,
    file: HeldFile,
    row: FileRow,
    dataset: tuple[str, date],
    rejects: Rejects,
) -> tuple[FileRow, str, bool]:
    """Load the records under a new dataset and make it active; nobody sees it before the commit.

    `dataset` is its label and date. Returns the file's row, words about the dataset that it replaces and about a transform, and whether the
    file's SHA-256 comes from the loaded bytes themselves.
    """
    datasetid = ledger.new_dataset(cursor, work.config, *dataset, "New")
    loaded = Loaded(0) if text.vanished else _load(cursor, work, text, file, rejects)
    former = ledger.activate(cursor, datasetid) if loaded.rows else None
    if not loaded.rows:
        ledger.set_status(cursor, datasetid, "Empty")
    hashed = loaded.sha256 if text.path == file.path else None
    status = "Loaded" if loaded.rows else "Empty"
    row = row._replace(status=status, datasetid=datasetid, rows=loaded.rows, rejects=rejects.count)
    row = row._replace(below_data="\n".join(text.below) or None)
    row = row._replace(sha256=hashed or whole_files.sha256_of(file.path))
    return row, ("" if former is None else f", in place of dataset {former}") + loaded.told, hashed is not None


def _load(cursor: "Cursor", work: _Import, text: TextSource, file: HeldFile, rejects: Rejects) -> Loaded:
    """Change the table as the strategy allows, then copy the file's records into it."""
    config = work.config
    kept = rejects if config.reject_limit_percent is not None else None
    found = column_names(text.headings, table.reserved_names(config))
    transformed = None
    if config.transform:
        transformed = TransformedRecords(config, text, found, kept, work.show)
        found = column_names(transformed.headings, table.reserved_names(config))
    names, rules = columns.renamed(found, work.rules)
    types = {name: rule.sql_type for name, rule in rules.items()}
    existing = work.structure or table.structure(cursor, config)
    plan, statements = _fit(config, existing, names, types)
    if statements:
        table.lock_structure(cursor, config)
        existing = table.structure(cursor, config)  # another load may have changed the table meanwhile
        plan, statements = _fit(config, existing, names, types)
    work.structure[:] = [] if statements else existing
    work.warnings.extend(columns.idle_rules(work.rules, found, names, table.file_columns(config, existing)))
    work.warnings.extend(table.kept_types(cursor, config, existing, rules))
    for warning in work.warnings:
        log.warning("%s: %s", file.name, warning, extra={"step": "file"})
    with refusals_of_postgres(config):
        if work.dry_run:
            _try_statements(cursor, statements)
            destination = table.trial_table(cursor, config, existing, plan, types)
        else:
            for statement in statements:
                cursor.execute(statement)
            ledger.note_drift(cursor, config, file.name, plan)
            destination = load.target_of(config, plan)
        if rules:
            loaded = staging.load_through_staging(cursor, text, plan, destination, rules, kept, transformed)
        else:
            loaded = load.load_records(cursor, text, plan, destination, kept, transformed)
    _check_counts(config, loaded.rows, rejects)
    if transformed:
        loaded = loaded._replace(told=transformed.told, shown=tuple(transformed.shown))
    return loaded._replace(statements=tuple(statement.as_string(cursor) for statement in statements))


def _try_statements(cursor: "Cursor", statements: "list[Composable]") -> None:
    """Run the statements that would change the table, then roll them back, which also frees their locks."""
    cursor.execute("SAVEPOINT before_trial")
    for statement in statements:
        cursor.execute(statement)
    cursor.execute("ROLLBACK TO SAVEPOINT before_trial")


def _fit(
    config: ImportConfig, existing: list[table.Column], names: list[str], types: dict[str, str]
) -> "tuple[ColumnPlan, list[Composable]]":
    """Return the plan for each column, and the statements that prepare the table for it."""
    plan = columns.plan_columns(config, names, table.file_columns(config, existing))
    return plan, table.statements_for(config, existing, plan, types)


def _check_counts(config: ImportConfig, rows: int, rejects: Rejects) -> None:
    if config.reject_limit_percent is not None:
        rejects.check_limit(rows, float(config.reject_limit_percent))
    if config.minimum_rows is not None and rows < config.minimum_rows:
        raise JobError(f"it has {rows} rows; minimum_rows asks for at least {config.minimum_rows}")
    if config.maximum_rows is not None and rows > config.maximum_rows:
        raise JobError(f"it has {rows} rows; maximum_rows allows at most {config.maximum_rows}")


def _try(cursor: "Cursor", work: _Import, text: TextSource, file: HeldFile, rejects: Rejects) -> FileOutcome:
    """Do a dry run: load the file into a temporary table, roll back, and return what would have been done."""
    loaded = Loaded(0) if text.vanished else _load(cursor, work, text, file, rejects)
    work.connection.rollback()
    status = "Would load" if loaded.rows else "Would be empty"
    form = f"{text.encoding}, delimiter {text.dialect.delimiter!r}"
    detail = f"{loaded.rows} rows into {work.config.target_table} ({form}){loaded.told}{_left_out(text, rejects)}{_warned(work)}"
    return FileOutcome(file.name, status, detail, loaded.rows, rejects.count, loaded.statements, shown=loaded.shown)


def _left_out(text: TextSource, rejects: Rejects) -> str:
    """Return which parts of the file were not loaded, as the end of a sentence."""
    left_out = f", left out the lines above the header row: {' / '.join(text.above)[:200]!r}" if text.above else ""
    left_out += f", left out the footer: {' / '.join(text.below)[:200]!r}" if text.below else ""
    return left_out + (f", {rejects.count} lines rejected, the first: {rejects.first}" if rejects.count else "")


def _warned(work: _Import) -> str:
    return "".join(f"; warning: {warning}" for warning in work.warnings)


def _known(work: _Import, row: FileRow, file: HeldFile) -> Known:
    """Return what dba.timportfile knows of the file's content; a forced load is never a duplicate."""
    with work.connection.cursor() as cursor:
        if not ledger.known_size(cursor, work.config, row.file.size):
            return Known()
        known = ledger.find_known(cursor, work.config, row._replace(sha256=whole_files.sha256_of(file.path)))
    return known._replace(duplicate_of=None) if row.forced else known


def _deal_with_known(work: _Import, row: FileRow, file: HeldFile, known: Known) -> FileOutcome:
    """Finish the move of a file whose load is committed; any other file with the same content is a Duplicate."""
    if not known.needs_no_load:
        return FileOutcome(
            file.name, "Changed", "another run loads the same content; the next run looks at this file again"
        )
    if work.dry_run:
        return FileOutcome(file.name, "Would be a duplicate", f"of {known.duplicate_of or file.name}")
    row = row._replace(sha256=whole_files.sha256_of(file.path), status="Duplicate")
    with work.connection.cursor() as cursor, file.taken(row.sha256):
        importfileid = known.unmoved or ledger.write_file_row(cursor, work.config, row)
    assert importfileid is not None
    if known.unmoved and (copy := _copy_of_killed_run(work, row)):
        file.remove()
        _note_moved(work, importfileid, copy)
    else:
        _file_away(work, file, importfileid)
    if known.unmoved:
        return FileOutcome(file.name, "Archived", "its load was committed by an earlier run")
    return FileOutcome(file.name, "Duplicate", f"of {known.duplicate_of}")


def _copy_of_killed_run(work: _Import, row: FileRow) -> Path | None:
    """Return the copy that a killed run made in an archive on another disk before it removed the file; else None."""
    path = filing.find_moved(work.config, row.file.name, "Loaded", row.sha256)
    with work.connection.cursor() as cursor:
        return None if path is None or ledger.is_anothers(cursor, path) else path


def _file_away(work: _Import, file: HeldFile, importfileid: int) -> None:
    _note_moved(work, importfileid, filing.archive(work.config, file))


def _note_moved(work: _Import, importfileid: int, path: Path) -> None:
    with work.connection.cursor() as cursor:
        ledger.note_moved(cursor, importfileid, path)


def _note_moves(work: _Import) -> None:
    """Record the new place of files that a run moved just before it was killed."""
    with work.connection.cursor() as cursor:
        for importfileid, source_path, status, sha256 in ledger.unmoved_files(cursor, work.config):
            file = Path(source_path)
            if files.lies_there(file):
                continue
            if path := filing.find_moved(work.config, file.name, status, sha256):
                ledger.note_moved(cursor, importfileid, path)


def _refuse(work: _Import, file: HeldFile, reason: str) -> Path:
    """Record why the file is refused, then move it to failed/; raises Changed if it is another file by now."""
    row = FileRow(file.file, sha256=whole_files.sha256_of(file.path), status="Failed", error=reason)
    with work.connection.cursor() as cursor, file.taken(row.sha256):
        importfileid = ledger.write_file_row(cursor, work.config, row)
    path = filing.set_aside(work.config, file, reason)
    if importfileid is not None:
        _note_moved(work, importfileid, path)
    return path


@contextlib.contextmanager
def _as_text(config: ImportConfig, file: HeldFile) -> Iterator[TextSource]:
    """Yield the file as delimited text; a spreadsheet is converted for the time of the block."""
    if config.file_type == "CSV":
        yield source.examine(file.path, config, label=file.name)
        return
    import tempfile

    from systemscripts import xls_to_csv

    # The converted file has no name, so nothing of it is left even if this process is killed.
    with tempfile.TemporaryFile(
        dir=directory_management.ensure_directory(directory_management.temp_dir())
    ) as converted:
        try:
            conversion = xls_to_csv.convert_into(converted, file.path, config.sheet, label=file.name)
        except xls_to_csv.UnreadableSpreadsheet as refusal:
            raise JobError(refusal.reason) from refusal
        is_sheet = conversion.rows is not None
        text = source.examine(
            whole_files.by_handle(converted.fileno()), config.for_sheet() if is_sheet else config, is_sheet, file.name
        )
        if conversion.kind == "text" and not text.vanished:
            raise JobError(f"it is not a spreadsheet but a text that begins with {text.headings[0][:80]!r}")
        yield text
