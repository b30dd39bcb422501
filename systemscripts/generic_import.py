"""The import: load every file that waits for one configuration into its table, whole or not at all.

    report = run_import(connection, load_config(connection, "MeetMax_Events_XLSWork"))

A file goes through examine → plan → load → switch in one transaction. Before the commit the file is
moved where nobody else can reach it (importing/held.py). After the commit it is moved to the archive.
If the run is killed before the commit, the former dataset stays active. The next run finishes the
file once, because dba.timportfile knows files by their content.
"""

import contextlib
import logging
from collections import Counter
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from systemscripts import log_utils, whole_files
from systemscripts.errors import JobError, TemporaryFailure
from systemscripts.file_kinds import opening
from systemscripts.file_kinds.opening import Content
from systemscripts.importing import (
    believed,
    columns,
    dataset_checks,
    files,
    filing,
    held,
    ledger,
    left_alone,
    loading,
    metadata,
)
from systemscripts.importing.config import ConfigurationError, ImportConfig, load_config
from systemscripts.importing.configured_rules import load_rules
from systemscripts.importing.files import PendingFile
from systemscripts.importing.held import Changed, HeldFile
from systemscripts.importing.ledger import FileRow, Known
from systemscripts.importing.load import Loaded
from systemscripts.importing.loading import Force, Tried, Work
from systemscripts.importing.rejects import Rejects
from systemscripts.importing.rules import ColumnRule
from systemscripts.importing.source import TextSource
from systemscripts.importing.transformed import Shown

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection
    from psycopg2.extensions import cursor as Cursor

log = logging.getLogger(__name__)


# To hash so little costs less than to ask whether a file of its size is known.
HASHED_AT_ONCE_BYTES = 1 << 18

_LEVELS = {"Failed": logging.ERROR} | dict.fromkeys(("Changed", "Held", "Not filed"), logging.WARNING)


class FileOutcome(NamedTuple):
    """The result of one file; `detail` says more about it, or why it was refused. `refused_to` is where a refused file is now.

    `statements` would change the table, and `readings` are examples of what the rules do; both are for a dry run.
    `shown` are the first changes that a transform made.
    """

    file: str
    status: str
    detail: str
    rows: int = 0
    rejects: int = 0
    statements: tuple[str, ...] = ()
    refused_to: str | None = None
    readings: tuple[str, ...] = ()
    shown: tuple[Shown, ...] = ()


class ImportReport(NamedTuple):
    """The result of each file of one run."""

    files: list[FileOutcome]

    def counts(self) -> dict[str, int]:
        """Return how many files ended with each status."""
        return dict(Counter(outcome.status for outcome in self.files))


class _Switched(NamedTuple):
    """A loaded file: its row, words about what became of its dataset, and whether that is held.

    `was_hashed_while_read` says that the SHA-256 is that of the loaded bytes themselves.
    """

    row: FileRow
    told: str
    is_held: bool
    was_hashed_while_read: bool


def run_import(
    connection: "Connection",
    config: ImportConfig,
    file: Path | None = None,
    force: Force = False,
    dry_run: bool = False,
    show: int = 0,
    rules: dict[str, ColumnRule] | None = None,
) -> ImportReport:
    """Import every waiting file of the configuration, or only the one named.

    A bad file is moved to failed/ with the reason. A file that changes meanwhile stays for the next run. Both do not
    stop the other files. Raises TemporaryFailure or ConfigurationError if the file is not to blame; the file then
    stays in place. With `force` known content is loaded again. With `dry_run` each file is read, checked and counted, but
    nothing is written or moved.
    `show` is how many of the lines that a transform changes are kept in the report. `rules` take the place of those of
    the configuration.
    """
    if rules is None:
        rules = load_rules(connection, config)
    checks = dataset_checks.load_checks(connection, config.config_id)
    work = Work(connection, config, rules, checks, force, dry_run, [], {}, [], [], show, Tried({}, {}))
    # A single statement needs no BEGIN and COMMIT: this halves the round trips of a small file.
    connection.autocommit = True
    report = ImportReport([])
    if not dry_run:
        _note_moves(work)
    for waiting in _waiting_files(config, file):
        outcomes = _outcomes(work, waiting)
        if not outcomes:
            log.info("%s is no longer there, or another run works on it", waiting.name, extra={"step": "file"})
        for outcome in outcomes:
            report.files.append(outcome)
            level = _LEVELS.get(outcome.status, logging.INFO)
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


def _outcomes(work: Work, file: PendingFile) -> list[FileOutcome]:
    """Import the file and return its result; of an archive one for each member.

    Nothing is returned if another run works on it or has moved it away.
    """
    if work.dry_run:
        return _import_or_refuse(work, file)
    with ledger.claimed(work.connection, file) as is_ours:
        return _import_or_refuse(work, file) if is_ours else []


def _import_or_refuse(work: Work, file: PendingFile) -> list[FileOutcome]:
    try:
        with held.hold(file) as held_file:
            return _import_held(work, held_file)
    except Changed as reason:
        return [FileOutcome(file.name, "Changed", str(reason))]
    except filing.NotFiled as reason:
        return [FileOutcome(file.name, "Not filed", str(reason))]
    except whole_files.NotPlain as found:
        become = f"it has become {found.kind}, which is never opened; it is left in place"
        return [FileOutcome(file.name, "Failed", become)]
    except held.Gone:
        return []
    except PermissionError as error:
        whose = left_alone.whose(file.path)
        told = f"it cannot be read: {error.strerror}; {whose}, and stays where it is until its owner makes it readable"
        return [FileOutcome(file.name, "Failed", told)]


def _import_held(work: Work, file: HeldFile) -> list[FileOutcome]:
    try:
        with (
            contextlib.nullcontext() if work.dry_run else file.counted(),
            opening.opened(work.config, file.path) as content,
        ):
            if content.archive is not None:
                return _import_members(work, file, content)
            return [_import_file(work, file, content)]
    except (TemporaryFailure, ConfigurationError):
        raise
    except JobError as refusal:
        place = None if work.dry_run else str(_refuse(work, file, str(refusal)))
        return [FileOutcome(file.name, "Failed", str(refusal), refused_to=place)]


def _waiting_files(config: ImportConfig, file: Path | None) -> list[PendingFile]:
    if file is not None:
        return [files.named_file(config, file)]
    ready, settling = files.wait_for_settling(config)
    for unfinished in settling:
        why = left_alone.why_unsettled(unfinished.path, unfinished.changed_ns / 1e9)
        log.info("%s is still being written: %s; left for the next run", unfinished.name, why, extra={"step": "find"})
    return ready


def _import_file(work: Work, file: HeldFile, content: Content) -> FileOutcome:
    """Bring one file into the database and then into the archive."""
    config, connection = work.config, work.connection
    work.warnings.clear()
    with opening.as_text(config, content, file.name) as text, Rejects() as rejects:
        row, dataset = _described(work, FileRow(file.file), text)
        known = _known(work, row, file.path)
        if known.needs_no_load:
            return _deal_with_known(work, row, file, known)
        row = _to_load(row, known)
        # The order matters: first the transaction is committed, then the file is kept for good.
        with contextlib.ExitStack() as until_committed, ledger.transaction(connection), connection.cursor() as cursor:
            if work.dry_run:
                return _try(cursor, work, text, file.path, row, dataset, rejects)
            switched = _load_and_switch(cursor, work, text, file.path, row, dataset, rejects)
            row = switched.row
            until_committed.enter_context(file.taken(row.sha256, switched.was_hashed_while_read))
            importfileid = ledger.write_file_row(cursor, config, row)
            if importfileid is None:  # another import committed the same content a moment ago
                connection.rollback()
            else:
                rejects.write(cursor, importfileid)
    if importfileid is None:
        return _deal_with_known(work, row, file, _known(work, row, file.path))
    if row.rows and not switched.is_held:
        work.last_columns[dataset[0]] = row.column_names
    _file_away(work, file, importfileid)
    return _loaded(work, switched, text, rejects)


def _import_members(work: Work, file: HeldFile, content: Content) -> list[FileOutcome]:
    """Bring the members of an archive into the database, all of them or none, and then the archive into the archive."""
    known = _known(work, FileRow(file.file), file.path)
    if known.unmoved:
        return [_deal_with_known(work, FileRow(file.file), file, known)]
    outcomes: list[FileOutcome] = []
    try:
        with (
            contextlib.ExitStack() as until_committed,
            ledger.transaction(work.connection),
            work.connection.cursor() as cursor,
        ):
            sha256 = whole_files.sha256_of(file.path)
            archive = FileRow(file.file, sha256=sha256, status="Unpacked", forced=work.force is True)
            archive_id = None if work.dry_run else ledger.write_file_row(cursor, work.config, archive)
            loaded: dict[tuple[str, date], str] = {}
            for member, unpacked in opening.members(content):
                row = FileRow(file.file, archive_id=archive_id, member=member.name, member_size=member.size)
                try:
                    with opening.opened(work.config._replace(member_pattern=None), unpacked, content.told) as inner:
                        outcomes.append(_import_member(cursor, work, row, unpacked, inner, loaded))
                except (TemporaryFailure, ConfigurationError):
                    raise
                except JobError as refusal:
                    raise JobError(f"its file {member.name!r}: {refusal}") from refusal
            if work.dry_run:
                planned = {outcome.statements: outcome.file for outcome in reversed(outcomes)}
                return [
                    outcome if planned[outcome.statements] == outcome.file else outcome._replace(statements=())
                    for outcome in outcomes
                ]
            assert archive_id is not None, "no rule of the table forbids a second row"
            rows, rejects = sum(member.rows for member in outcomes), sum(member.rejects for member in outcomes)
            ledger.note_rows(cursor, archive_id, rows, rejects)
            until_committed.enter_context(file.taken(sha256))
    finally:
        work.structure.clear()  # what was seen of the table may have been rolled back
        work.last_columns.clear()
    _file_away(work, file, archive_id)
    return outcomes


def _import_member(
    cursor: "Cursor", work: Work, row: FileRow, path: Path, content: Content, loaded: dict[tuple[str, date], str]
) -> FileOutcome:
    """Load one member in the open transaction; `loaded` has the datasets of the members before it."""
    work.warnings.clear()
    with opening.as_text(work.config, content, row.name) as text, Rejects() as rejects:
        row, dataset = _described(work, row, text)
        if (other := loaded.setdefault(dataset, row.member)) != row.member:
            raise JobError(
                f"its label {dataset[0]!r} and date {dataset[1]} are those of {other!r}, which it would replace; "
                "let metadata_label_source or dateconfig tell them apart"
            )
        known = _known(work, row, path)
        if known.duplicate_of is not None:
            if not work.dry_run:
                row = row._replace(status="Duplicate", sha256=whole_files.sha256_of(path))
                ledger.write_file_row(cursor, work.config, row)
            return FileOutcome(
                row.name, "Would be a duplicate" if work.dry_run else "Duplicate", f"of {known.duplicate_of}"
            )
        if work.dry_run:
            return _try(cursor, work, text, path, row, dataset, rejects)
        row = _to_load(row, known)
        cursor.execute("DROP TABLE IF EXISTS pg_temp.etl_staging, pg_temp.etl_faults")  # of the member before
        switched = _load_and_switch(cursor, work, text, path, row, dataset, rejects)
        row = switched.row
        importfileid = ledger.write_file_row(cursor, work.config, row)
        if importfileid is None:
            raise Changed(f"another run loads the content of {row.name}; the next run looks at its archive again")
        rejects.write(cursor, importfileid)
        if row.rows and not switched.is_held:
            work.last_columns[dataset[0]] = row.column_names
        return _loaded(work, switched, text, rejects)


def _described(work: Work, row: FileRow, text: TextSource) -> tuple[FileRow, tuple[str, date]]:
    """Return the file's row with how it is read, and the label and date of its dataset."""
    label = metadata.dataset_label(work.config, row.name, text)
    day = metadata.dataset_date(work.config, row.name, text)
    row = row._replace(encoding=text.encoding, delimiter=text.dialect.delimiter, forced=work.force is True)
    row = row._replace(above_header="\n".join(text.above) or None)
    if work.config.duplicate_scope == "dataset":
        row = row._replace(dataset_key=f"{label}|{day}")
    return row, (label, day)


def _loaded(work: Work, switched: _Switched, text: TextSource, rejects: Rejects) -> FileOutcome:
    row = switched.row
    into = f"{row.rows} rows into {work.config.target_table}, dataset {row.datasetid}"
    detail = f"{into}{_left_out(text, rejects)}{switched.told}{_warned(work)}"
    return FileOutcome(row.name, "Held" if switched.is_held else row.status, detail, row.rows or 0, rejects.count)


def _load_and_switch(
    cursor: "Cursor",
    work: Work,
    text: TextSource,
    path: Path,
    row: FileRow,
    dataset: tuple[str, date],
    rejects: Rejects,
) -> _Switched:
    """Load the records under a new dataset, and make it active if it is believable; nobody sees it before the commit.

    `dataset` is its label and date.
    """
    datasetid = ledger.new_dataset(cursor, work.config, *dataset, "New")
    loaded = Loaded(0) if text.vanished else loading.load_text(cursor, work, text, row, rejects)
    hashed = loaded.sha256 if text.path == path else None
    sha256 = hashed or whole_files.sha256_of(path)
    doubts = believed.doubts_about(cursor, work, dataset, datasetid, loaded, sha256)
    if loaded.rows:
        status = "Loaded"
        is_held, told = believed.settle(cursor, datasetid, doubts, is_wanted=bool(work.force))
    else:
        status, is_held, told = "Empty", False, believed.would_tell(doubts)
        ledger.set_status(cursor, datasetid, "Empty")
    row = row._replace(sha256=sha256, status=status, datasetid=datasetid, rows=loaded.rows, rejects=rejects.count)
    row = row._replace(below_data="\n".join(text.below) or None)
    if loaded.plan:
        label = dataset[0]
        if label not in work.last_columns:
            work.last_columns[label] = ledger.last_columns(cursor, work.config, label)
        ledger.note_drift(cursor, work.config, row.name, columns.drift(loaded.plan, work.last_columns[label]))
        row = row._replace(column_names=[*loaded.plan.filled, *loaded.plan.ignored])
    return _Switched(row, loaded.told + told, is_held, hashed is not None)


def _try(
    cursor: "Cursor",
    work: Work,
    text: TextSource,
    path: Path,
    row: FileRow,
    dataset: tuple[str, date],
    rejects: Rejects,
) -> FileOutcome:
    """Do a dry run: load the file into a temporary table, roll back, and return what would have been done."""
    loaded = Loaded(0) if text.vanished else loading.load_text(cursor, work, text, row, rejects)
    sha256 = (loaded.sha256 if text.path == path else None) or whole_files.sha256_of(path)
    first = work.tried.contents.setdefault((sha256, row.dataset_key), row.name)
    if first != row.name and not row.forced:
        work.connection.rollback()
        return FileOutcome(row.name, "Would be a duplicate", f"of {first}, which would be loaded before it")
    doubts = believed.doubts_about(cursor, work, dataset, None, loaded, sha256)
    work.connection.rollback()
    status = "Would load" if loaded.rows else "Would be empty"
    doubted = believed.would_tell(doubts) + believed.not_tried(work.checks)
    told = f"{text.told}){loaded.told}{_left_out(text, rejects)}{doubted}{_warned(work)}"
    detail = f"{loaded.rows} rows into {work.config.target_table} ({told}"
    outcome = FileOutcome(row.name, status, detail, loaded.rows, rejects.count, loaded.statements)
    return outcome._replace(readings=loaded.readings, shown=loaded.shown)


def _left_out(text: TextSource, rejects: Rejects) -> str:
    """Return which parts of the file were not loaded, as the end of a sentence."""
    left_out = f", left out the lines above the header row: {' / '.join(text.above)[:200]!r}" if text.above else ""
    left_out += f", left out the footer: {' / '.join(text.below)[:200]!r}" if text.below else ""
    return left_out + (f", {rejects.count} lines rejected, the first: {rejects.first}" if rejects.count else "")


def _warned(work: Work) -> str:
    return "".join(f"; warning: {warning}" for warning in work.warnings)


def _known(work: Work, row: FileRow, path: Path) -> Known:
    """Return what dba.timportfile knows of the file's content; a forced load is never a duplicate.

    Raises JobError for content that somebody has taken back, unless that is wanted again.
    """
    with work.connection.cursor() as cursor:
        if row.size > HASHED_AT_ONCE_BYTES and not ledger.known_size(cursor, work.config, row.size):
            return Known()
        known = ledger.find_known(cursor, work.config, row._replace(sha256=whole_files.sha256_of(path)))
    if known.undone and not work.force:
        raise JobError(
            f"a dataset with its content is no longer wanted: {known.undone}; etl retry of this file loads it all the same"
        )
    return known._replace(duplicate_of=None) if row.forced else known


def _to_load(row: FileRow, known: Known) -> FileRow:
    """Return the row with what lets the ledger take known content once more."""
    return row._replace(comes_back_after=known.comes_back_after, forced=row.forced or known.undone is not None)


def _deal_with_known(work: Work, row: FileRow, file: HeldFile, known: Known) -> FileOutcome:
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


def _copy_of_killed_run(work: Work, row: FileRow) -> Path | None:
    """Return the copy that a killed run made in an archive on another disk before it removed the file; else None."""
    path = filing.find_moved(work.config, row.file.name, "Loaded", row.sha256)
    with work.connection.cursor() as cursor:
        return None if path is None or ledger.is_anothers(cursor, path) else path


def _file_away(work: Work, file: HeldFile, importfileid: int) -> None:
    archive = work.config.archive_directory
    with work.connection.cursor() as cursor:
        if not archive.is_dir() and ledger.has_archived(cursor, work.config):
            log.warning(
                "%s is gone, with the files that were archived there; it is made anew: look whether its disk is mounted",
                archive, extra={"step": "file"},
            )  # fmt: skip
    _note_moved(work, importfileid, filing.archive(work.config, file))


def _note_moved(work: Work, importfileid: int, path: Path) -> None:
    with work.connection.cursor() as cursor:
        ledger.note_moved(cursor, importfileid, path)


def _note_moves(work: Work) -> None:
    """Record the new place of files that a run moved just before it was killed."""
    with work.connection.cursor() as cursor:
        for importfileid, source_path, status, sha256 in ledger.unmoved_files(cursor, work.config):
            file = Path(source_path)
            if files.lies_there(file):
                continue
            if path := filing.find_moved(work.config, file.name, status, sha256):
                ledger.note_moved(cursor, importfileid, path)


def _refuse(work: Work, file: HeldFile, reason: str) -> Path:
    """Record why the file is refused, then move it to failed/; raises Changed if it is another file by now."""
    row = FileRow(file.file, sha256=whole_files.sha256_of(file.path), status="Failed", error=reason)
    with work.connection.cursor() as cursor, file.taken(row.sha256):
        importfileid = ledger.write_file_row(cursor, work.config, row)
    path = filing.set_aside(work.config, file, reason)
    if importfileid is not None:
        _note_moved(work, importfileid, path)
    return path
