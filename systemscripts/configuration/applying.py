"""Make the tables what a file wants, in one transaction: all of it, or nothing.

The tables are locked against other writers before they are read, so nothing can change between the comparison and the
writing. When the database refuses a row, all are written once more, each behind a savepoint: what it refuses is told
with the place of its value, and the next row is tried, so that one look at the file finds all its faults.
"""

from typing import TYPE_CHECKING, NamedTuple

from systemscripts.configuration import catalogue as catalogues
from systemscripts.configuration import comparing, rows, wanted, yaml_tree
from systemscripts.configuration.catalogue import Catalogue
from systemscripts.configuration.comparing import Change, What
from systemscripts.configuration.row_writer import Writer, refusals
from systemscripts.configuration.rows import State
from systemscripts.configuration.tables import SECTIONS, TOP
from systemscripts.configuration.yaml_tree import BEGINNING, Fault
from systemscripts.cron import cron_file
from systemscripts.errors import JobError, TemporaryFailure, WrongCall

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor

LOCK_PATIENCE_S = 10
_WRITERS = (
    "SELECT pid, usename, application_name, xact_start FROM pg_locks JOIN pg_stat_activity USING (pid)"
    " WHERE relation = {!r}::regclass"
)
# The calendar's days after a holiday have another previous business day; so many, with the holidays among them.
_DAYS_AFTER = 10


class RefusedFile(JobError):
    """The file has faults; `faults` are all that were found, in the order of their places."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(f"{len(faults)} faults")
        self.faults = sorted(set(faults))


class Compared(NamedTuple):
    """The tables and the file, and what lies between them."""

    catalogue: Catalogue
    present: State
    wanted: State  # the sections that the file and the call name
    changes: list[Change]


def compare(cursor: "Cursor", data: bytes, only: frozenset[str] = frozenset()) -> Compared:
    """Return what the file would change; raises RefusedFile if it has faults. Nothing is written."""
    catalogues.begin(cursor)
    root, faults = yaml_tree.read(data)
    if root is None:
        raise RefusedFile(faults)
    catalogue = catalogues.read(cursor)
    present = rows.read(cursor, catalogue)
    state, more = wanted.read(cursor, catalogue, root)
    governed = {name for name in state if not only or name in only}
    faults += more
    faults += wanted.unknown_names(cursor, catalogue, state, present, governed)
    if faults:
        raise RefusedFile(faults)
    if missing := sorted(only - set(state)):
        raise WrongCall(
            f"--only {', '.join(missing)}: the file has no such section; it has {', '.join(state) or 'none'}"
        )
    state = {name: own for name, own in state.items() if name in governed}
    return Compared(catalogue, present, state, comparing.plan(cursor, catalogue, present, state))


def apply(cursor: "Cursor", data: bytes, only: frozenset[str] = frozenset()) -> Compared:
    """Make the changes in the cursor's transaction; raises RefusedFile if the file has faults, or the database refuses rows."""
    _lock(cursor)
    compared = compare(cursor, data, only)
    _write(cursor, compared)
    _refresh_calendar(cursor, compared.changes)
    if faults := _not_as_written(cursor, compared):
        raise RefusedFile(faults)
    return compared


def _lock(cursor: "Cursor") -> None:
    """Let others read, and nobody write; raises TemporaryFailure if somebody writes for too long."""
    import psycopg2.errors

    cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_PATIENCE_S}s'")
    for table in sorted(section.table for section in SECTIONS):
        try:
            cursor.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")
        except psycopg2.errors.LockNotAvailable:
            told = (
                f"another session has changed {table} and has not ended its transaction for {LOCK_PATIENCE_S} seconds"
            )
            who = cron_file.typed("sql", "--as", "etl_owner", "-c", _WRITERS.format(table))
            raise TemporaryFailure(f"{told}; nothing was changed. Who it is: {who}") from None
    cursor.execute("SET LOCAL lock_timeout = 0")


def _write(cursor: "Cursor", compared: Compared) -> None:
    """Write the changes; when the database refuses one, write them again one by one, to find all that it refuses."""
    cursor.execute("SAVEPOINT changes")
    try:
        Writer(cursor, compared.catalogue, one_by_one=False).write(compared.changes)
    except refusals():
        cursor.execute("ROLLBACK TO changes")
        for change in compared.changes:
            if change.what is What.ADD:
                change.row.row_id = ""
        careful = Writer(cursor, compared.catalogue, one_by_one=True)
        careful.write(compared.changes)
        if careful.faults:
            raise RefusedFile(careful.faults) from None


def _refresh_calendar(cursor: "Cursor", changes: list[Change]) -> None:
    """Let the calendar know the holidays that came and went; other days keep what an operator has set by hand."""
    if days := sorted({change.row.key[0] for change in changes if change.path == "holidays"}):
        cursor.execute(
            "SELECT dba.f_refresh_calendar(ARRAY(SELECT DISTINCT day::date + after"
            " FROM unnest(%s::text[]) AS day, generate_series(0, %s) AS after))",
            (days, _DAYS_AFTER),
        )


def _not_as_written(cursor: "Cursor", compared: Compared) -> list[Fault]:
    """Return the values that the database's own triggers have made others of: with them the file would never be equal."""
    present = rows.read(cursor, compared.catalogue)
    faults = []
    for change in comparing.plan(cursor, compared.catalogue, present, compared.wanted):
        place = change.row.place or BEGINNING
        for name in change.columns:
            assert change.former is not None
            told = f"the database makes {_shown(change.former.values[name])} of {_shown(change.row.values[name])}; write it so"
            faults.append(Fault(change.row.places.get(name, place), f"{change.path} > {change.name} > {name}: {told}"))
        if not change.columns:
            faults.append(Fault(place, f"{change.path} > {change.name}: it is not there after all, or still there"))
    return faults


def _shown(text: str | None) -> str:
    return "null" if text is None else repr(text)


def sections(text: str) -> frozenset[str]:
    """Return the sections of --only; raises WrongCall for one that there is not."""
    named = frozenset(word.strip() for word in text.split(",") if word.strip())
    known = [section.name for section in TOP]
    if wrong := sorted(named - set(known)):
        raise WrongCall(f"--only {', '.join(wrong)}: it takes sections with commas between them: {', '.join(known)}")
    return named
