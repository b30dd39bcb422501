"""The import: every file that waits for one configuration, into its table, whole or not at all.

    report = run_import(connection, load_config(connection, "MeetMax_Events_XLS_Import"))

A file goes through examine → plan → load → switch in one transaction. Before the commit it is taken
out of everybody's reach (importing/held.py), and after it moved to the archive. Killed anywhere, the
former dataset stays active; the next run finishes the file once, because dba.timportfile knows files
by their content.
"""

import contextlib
import logging
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from systemscripts import directory_management, whole_files
from systemscripts.errors import JobError, TemporaryFailure
from systemscripts.importing import columns, files, filing, held, ledger, load, metadata, source, staging, table
from systemscripts.importing.columns import ColumnPlan
from systemscripts.importing.config import ConfigurationError, ImportConfig
from systemscripts.importing.files import PendingFile
from systemscripts.importing.header import column_names
from systemscripts.importing.held import Changed, HeldFile
from systemscripts.importing.ledger import FileRow, Known
from systemscripts.importing.load import Loaded
from systemscripts.importing.refusals import refusals_of_postgres
from systemscripts.importing.rejects import Rejects
from systemscripts.importing.rules import ColumnRule, load_rules
from systemscripts.importing.source import TextSource

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection
    from psycopg2.extensions import cursor as Cursor
    from psycopg2.sql import Composable

log = logging.getLogger(__name__)


class FileOutcome(NamedTuple):
    """What came of one file; `detail` is a word about it, or the reason why it was refused."""

    file: str
    status: str
    detail: str
    rows: int = 0
    rejects: int = 0
    statements: tuple[str, ...] = ()


class ImportReport(NamedTuple):
    """What came of each file of one run."""

    files: list[FileOutcome]

    def counts(self) -> dict[str, int]:
        """Return how many files ended with each status."""
        return dict(Counter(outcome.status for outcome in self.files))


class _Import(NamedTuple):
    """What one run works with."""

    connection: "Connection"
    config: ImportConfig
    rules: dict[str, ColumnRule]
    force: bool
    dry_run: bool
    # The target's columns as the last file left them; empty where they have to be looked up.
    structure: list[table.Column]
    # What is to be said of the rules, once for the file that is at hand.
    warnings: list[str]


def run_import(
    connection: "Connection", config: ImportConfig, file: Path | None = None, force: bool = False, dry_run: bool = False
) -> ImportReport:
    """Import every waiting file of the configuration, or only the one named.

    A file that cannot be right is set aside with the reason; one that is changed meanwhile stays for the next run; the
    others still go. Raises TemporaryFailure or ConfigurationError where the file is not to blame; it then stays in place.
    With `dry_run` each file is read, checked and counted, and nothing is written or moved.
    """
    work = _Import(connection, config, load_rules(connection, config), force, dry_run, structure=[], warnings=[])
    # What is one statement needs no BEGIN and COMMIT of its own: a small file is half as many round trips.
    connection.autocommit = True
    report = ImportReport([])
    if not dry_run:
        _note_moves(work)
    for waiting in _waiting_files(config, file):
        outcome = _outcome(work, waiting)
        if outcome is None:
            log.info("%s is no longer there, or another run is at it", waiting.name, extra={"step": "file"})
            continue
        report.files.append(outcome)
        level = {"Failed": logging.ERROR, "Changed": logging.WARNING, "Not filed": logging.WARNING}.get(
            outcome.status, logging.INFO
        )
        log.log(level, "%s: %s, %s", outcome.file, outcome.status, outcome.detail, extra={"step": "file"})
    return report


def _outcome(work: _Import, file: PendingFile) -> FileOutcome | None:
    """Import the file and return what came of it, None where another run is at it or has moved it away."""
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
        return FileOutcome(file.name, "Failed", f"it has become {found.kind}, which is not opened; it is left alone")
    except held.Gone:
        return None
    except PermissionError as error:  # stays in place: whoever put it there has to let it be read
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
        if not work.dry_run:
            _refuse(work, file, str(refusal))
        return FileOutcome(file.name, "Failed", str(refusal))


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
        row = ledger.FileRow(file.file, encoding=text.encoding, delimiter=text.delimiter, forced=work.force)
        row = row._replace(above_header="\n".join(text.above) or None)
        if config.duplicate_scope == "dataset":
            row = row._replace(dataset_key=f"{label}|{day}")
        known = _known(work, row, file)
        if known.needs_no_load:
            return _deal_with_known(work, row, file, known)
        row = row._replace(comes_back_after=known.comes_back_after)
        # Left in this order: the transaction is committed, then the file is kept out of reach for good.
        with contextlib.ExitStack() as until_committed, connection, connection.cursor() as cursor:
            if work.dry_run:
                return _try(cursor, work, text, file, rejects)
            row, was_hashed_while_read = _load_and_switch(cursor, work, text, file, row, (label, day), rejects)
            until_committed.enter_context(file.taken(row.sha256, was_hashed_while_read))
            importfileid = ledger.write_file_row(cursor, config, row)
            if importfileid is None:  # another importer committed the same content a moment ago
                connection.rollback()
            else:
                rejects.write(cursor, importfileid)
    if importfileid is None:
        return _deal_with_known(work, row, file, _known(work, row, file))
    _file_away(work, file, importfileid)
    detail = (
        f"{row.rows} rows into {config.target_table}, dataset {row.datasetid}{_left_out(text, rejects)}{_warned(work)}"
    )
    return FileOutcome(file.name, row.status, detail, row.rows or 0, rejects.count)


def _load_and_switch(
    cursor: "Cursor",
    work: _Import,
    text: TextSource,
    file: HeldFile,
    row: FileRow,
    dataset: tuple[str, date],
    rejects: Rejects,
) -> tuple[FileRow, bool]:
    """Load the records under a new dataset and make it the active one; nothing of it is seen before the commit.

    `dataset` is its label and date. Returns the file's row, and whether its SHA-256 is that of the very bytes that were loaded.
    """
    datasetid = ledger.new_dataset(cursor, work.config, *dataset, "New")
    loaded = Loaded(0) if text.vanished else _load(cursor, work, text, file, rejects)
    ledger.set_status(cursor, datasetid, "Active" if loaded.rows else "Empty")
    hashed = loaded.sha256 if text.path == file.path else None
    status = "Loaded" if loaded.rows else "Empty"
    row = row._replace(status=status, datasetid=datasetid, rows=loaded.rows, rejects=rejects.count)
    return row._replace(sha256=hashed or whole_files.sha256_of(file.path)), hashed is not None


def _load(cursor: "Cursor", work: _Import, text: TextSource, file: HeldFile, rejects: Rejects) -> Loaded:
    """Fit the table to the file, as far as the strategy allows, and copy the records into it."""
    config = work.config
    found = column_names(text.headings, table.reserved_names(config))
    names, rules = columns.renamed(found, work.rules)
    types = {name: rule.sql_type for name, rule in rules.items()}
    existing = work.structure or table.structure(cursor, config)
    plan, statements = _fit(config, existing, names, types)
    if statements:
        table.lock_structure(cursor, config)
        existing = table.structure(cursor, config)  # another load may have changed it meanwhile
        plan, statements = _fit(config, existing, names, types)
    work.structure[:] = [] if statements else existing
    work.warnings.extend(columns.idle_rules(work.rules, found, names, table.file_columns(config, existing)))
    work.warnings.extend(table.kept_types(cursor, config, existing, rules))
    for warning in work.warnings:
        log.warning("%s: %s", file.name, warning, extra={"step": "file"})
    kept = rejects if config.reject_limit_percent is not None else None
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
            loaded = staging.load_through_staging(cursor, text, plan, destination, rules, kept)
        else:
            loaded = load.load_records(cursor, text, plan, destination, kept)
    _check_counts(config, loaded.rows, rejects)
    return loaded._replace(statements=tuple(statement.as_string(cursor) for statement in statements))


def _try_statements(cursor: "Cursor", statements: "list[Composable]") -> None:
    """Run what would change the table and take it back at once, with its locks."""
    cursor.execute("SAVEPOINT before_trial")
    for statement in statements:
        cursor.execute(statement)
    cursor.execute("ROLLBACK TO SAVEPOINT before_trial")


def _fit(
    config: ImportConfig, existing: list[table.Column], names: list[str], types: dict[str, str]
) -> "tuple[ColumnPlan, list[Composable]]":
    """Return what to do with each column, and the statements that make the table ready for it."""
    plan = columns.plan_columns(config, names, table.file_columns(config, existing))
    return plan, table.statements_for(config, existing, plan, types)


def _check_counts(config: ImportConfig, rows: int, rejects: Rejects) -> None:
    if config.reject_limit_percent is not None:
        rejects.check_limit(rows, float(config.reject_limit_percent))
    if config.minimum_rows is not None and rows < config.minimum_rows:
        raise JobError(f"it has {rows} rows, fewer than the {config.minimum_rows} that minimum_rows asks for")
    if config.maximum_rows is not None and rows > config.maximum_rows:
        raise JobError(f"it has {rows} rows, more than the {config.maximum_rows} that maximum_rows allows")


def _try(cursor: "Cursor", work: _Import, text: TextSource, file: HeldFile, rejects: Rejects) -> FileOutcome:
    """Do everything up to the load in a temporary table, take it back, and say what would have been done."""
    loaded = Loaded(0) if text.vanished else _load(cursor, work, text, file, rejects)
    work.connection.rollback()
    status = "Would load" if loaded.rows else "Would be empty"
    detail = f"{loaded.rows} rows into {work.config.target_table} ({text.encoding}, delimiter {text.delimiter!r}){_left_out(text, rejects)}"
    return FileOutcome(file.name, status, detail + _warned(work), loaded.rows, rejects.count, loaded.statements)


def _left_out(text: TextSource, rejects: Rejects) -> str:
    """Return what of the file was not loaded, as the end of a sentence."""
    above = f", left out what stands above the headings: {' / '.join(text.above)[:200]!r}" if text.above else ""
    return above + (f", {rejects.count} lines rejected, the first: {rejects.first}" if rejects.count else "")


def _warned(work: _Import) -> str:
    return "".join(f"; warning: {warning}" for warning in work.warnings)


def _known(work: _Import, row: FileRow, file: HeldFile) -> Known:
    """Return what is known of the file's content; one that is loaded by force is no duplicate."""
    with work.connection.cursor() as cursor:
        if not ledger.known_size(cursor, work.config, row.file.size):
            return Known()
        known = ledger.find_known(cursor, work.config, row._replace(sha256=whole_files.sha256_of(file.path)))
    return known._replace(duplicate_of=None) if row.forced else known


def _deal_with_known(work: _Import, row: FileRow, file: HeldFile, known: Known) -> FileOutcome:
    """Move the very file whose load was committed and whose move was not; any other with the same content is a Duplicate."""
    if not known.needs_no_load:
        return FileOutcome(file.name, "Changed", "another run loads the same content; it is looked at again next time")
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
    """Return the copy in an archive on another disk that a run made and was killed before it removed the file, None if there is none."""
    path = filing.find_moved(work.config, row.file.name, "Loaded", row.sha256)
    with work.connection.cursor() as cursor:
        return None if path is None or ledger.is_anothers(cursor, path) else path


def _file_away(work: _Import, file: HeldFile, importfileid: int) -> None:
    _note_moved(work, importfileid, filing.archive(work.config, file))


def _note_moved(work: _Import, importfileid: int, path: Path) -> None:
    with work.connection.cursor() as cursor:
        ledger.note_moved(cursor, importfileid, path)


def _note_moves(work: _Import) -> None:
    """Write down where files lie that a run moved just before it was killed."""
    with work.connection.cursor() as cursor:
        for importfileid, source_path, status, sha256 in ledger.unmoved_files(cursor, work.config):
            file = Path(source_path)
            if files.lies_there(file):
                continue
            if path := filing.find_moved(work.config, file.name, status, sha256):
                ledger.note_moved(cursor, importfileid, path)


def _refuse(work: _Import, file: HeldFile, reason: str) -> None:
    """Write down why the file cannot be loaded, then move it out of the way; raises Changed if it is another one by now."""
    row = FileRow(file.file, sha256=whole_files.sha256_of(file.path), status="Failed", error=reason)
    with work.connection.cursor() as cursor, file.taken(row.sha256):
        importfileid = ledger.write_file_row(cursor, work.config, row)
    path = filing.set_aside(work.config, file, reason)
    if importfileid is not None:
        _note_moved(work, importfileid, path)


@contextlib.contextmanager
def _as_text(config: ImportConfig, file: HeldFile) -> Iterator[TextSource]:
    """Yield the file as delimited text: itself, or what a spreadsheet becomes, for as long as the block lasts."""
    if config.file_type == "CSV":
        yield source.examine(file.path, config, label=file.name)
        return
    import tempfile

    from systemscripts import xls_to_csv

    # It has no name, so that nothing of it is left behind, whatever ends this process.
    with tempfile.TemporaryFile(
        dir=directory_management.ensure_directory(directory_management.temp_dir())
    ) as converted:
        try:
            conversion = xls_to_csv.convert_into(converted, file.path, config.sheet, label=file.name)
        except xls_to_csv.UnreadableSpreadsheet as refusal:
            raise JobError(refusal.reason) from refusal
        text = source.examine(
            whole_files.by_handle(converted.fileno()), config, conversion.rows is not None, label=file.name
        )
        if conversion.kind == "text" and not text.vanished:
            raise JobError(f"it is no spreadsheet, only the words {text.headings[0][:80]!r}")
        yield text
