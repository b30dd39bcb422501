"""The spool: records from the time when the database was down. They wait in logs/spool/ and are loaded once.

A spool file holds one JSON object per line: {"entry": [a log entry]} or {"run": {a row of
dba.tjobrun}}. Loading a file and noting its name in dba.tlogspool is one transaction, so a crash
between the commit and the removal of the file loads nothing twice.
"""

import contextlib
import csv
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from systemscripts import directory_management, settings
from systemscripts.log_sinks.entries import Entry, copy_entries

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

log = logging.getLogger(__name__)


def spool_dir() -> Path:
    return settings.logs_dir() / "spool"


def save_entries(run_uuid: str, entries: Iterable[Entry]) -> None:
    """Keep log entries for later."""
    _save(run_uuid, [{"entry": list(entry)} for entry in entries])


def save_run(run_uuid: str, row: dict[str, Any]) -> None:
    """Keep the final row of a run for later; keys are columns of dba.tjobrun, values are texts, numbers, lists or None."""
    _save(run_uuid, [{"run": row}])


def load_waiting(connection: "Connection") -> int:
    """Load every waiting spool file into the database and return how many there were.

    Several processes may do this at once: each file is loaded by only one of them.
    """
    if not spool_dir().is_dir():
        return 0
    files = sorted(spool_dir().glob("*.jsonl"))
    return sum(_load_file(connection, file) for file in files)


def recover_killed(connection: "Connection", run_uuid: str, csv_files: Iterable[Path]) -> int:
    """Load a killed job's records that are in its CSV logs but not yet in the table; return how many."""
    written = [entry for file in csv_files for entry in _entries_of(file, run_uuid)]
    with connection, connection.cursor() as cursor:
        cursor.execute(
            'SELECT "timestamp", stepcounter, totalruntime FROM dba.tlogentry WHERE run_uuid = %s', (run_uuid,)
        )
        there = {(moment.astimezone(UTC), step, total) for moment, step, total in cursor.fetchall()}
        missing = [
            entry
            for entry in written
            if (datetime.fromisoformat(entry.timestamp), entry.stepcounter, entry.totalruntime) not in there
        ]
        copy_entries(connection, missing)
    return len(missing)


def _entries_of(file: Path, run_uuid: str) -> Iterator[Entry]:
    """Yield a run's records; only a line that was cut by a full disk or a power cut is lost."""
    with file.open(encoding="utf-8", errors="replace", newline="\n") as stream:
        for line in stream:
            # A record has no line break in it, so a cut record does not damage the next one.
            with contextlib.suppress(ValueError, TypeError, csv.Error):
                (row,) = csv.reader([line])
                if row[1:2] == [run_uuid]:
                    datetime.fromisoformat(row[0])
                    yield Entry._make([*row[:5], float(row[5]), float(row[6]), *row[7:]])


def _save(run_uuid: str, lines: list[dict[str, Any]]) -> None:
    directory = directory_management.ensure_directory(spool_dir())
    # Named by time, so that files are loaded in the order of their records.
    target = directory / f"{time.time_ns()}_{os.getpid()}_{run_uuid}.jsonl"
    with directory_management.new_file(target) as stream:
        stream.writelines(json.dumps(line).encode() + b"\n" for line in lines)


def _load_file(connection: "Connection", file: Path) -> bool:
    import psycopg2

    try:
        lines = [json.loads(line) for line in file.read_bytes().splitlines()]
        entries = [Entry(*line["entry"]) for line in lines if "entry" in line]
        runs = [line["run"] for line in lines if "run" in line]
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            log.error("the log spool file %s cannot be read: %s", file, error.strerror)
        return False
    except (ValueError, KeyError, TypeError) as error:
        return _set_aside(file, error)
    try:
        _load(connection, file, entries, runs)
    except (psycopg2.DataError, psycopg2.IntegrityError, psycopg2.ProgrammingError, UnicodeError) as error:
        return _set_aside(file, error)
    with contextlib.suppress(OSError):  # the file is already noted as loaded
        file.unlink()
    return True


def _set_aside(file: Path, error: Exception) -> bool:
    """Rename a file that can never be loaded, so that it does not block the others."""
    aside = file.with_suffix(".unreadable")
    with contextlib.suppress(FileNotFoundError):  # another run has done it
        file.rename(aside)
    told = " ".join(str(error).split())
    log.error("the log spool file %s cannot be loaded (%s); it is kept as %s", file.name, told, aside.name)
    return False


def _load(connection: "Connection", file: Path, entries: list[Entry], runs: list[dict[str, Any]]) -> None:
    with connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO dba.tlogspool (spool_name) VALUES (%s) ON CONFLICT DO NOTHING", (file.name,))
        if cursor.rowcount == 1:
            copy_entries(connection, entries)
            for run in runs:
                _upsert_late(cursor, run)


def _upsert_late(cursor: Any, run: dict[str, Any]) -> None:
    """Write a run's row; leave out its slot if the slot has another run by now."""
    import psycopg2.errors

    cursor.execute("SAVEPOINT before_run")
    try:
        upsert_run(cursor, run)
    except psycopg2.errors.UniqueViolation:
        cursor.execute("ROLLBACK TO SAVEPOINT before_run")
        upsert_run(cursor, {**run, "scheduled_at": None, "slot": None})


def upsert_run(cursor: Any, run: dict[str, Any]) -> None:
    """Insert a row of dba.tjobrun, or update the row with the same run_uuid."""
    from psycopg2 import sql

    columns = [sql.Identifier(name) for name in run]
    # The row of the schedule may be gone before its job runs, or before the run is recorded.
    existing_task = sql.SQL("(SELECT schedulerid FROM dba.tscheduler WHERE schedulerid = {})").format(sql.Placeholder())
    values = [existing_task if name == "schedulerid" else sql.Placeholder() for name in run]
    statement = sql.SQL(
        "INSERT INTO dba.tjobrun ({columns}) VALUES ({values}) ON CONFLICT (run_uuid) DO UPDATE SET ({columns}) = ROW ({new})"
    ).format(
        columns=sql.SQL(", ").join(columns),
        values=sql.SQL(", ").join(values),
        new=sql.SQL(", ").join(sql.SQL("excluded.{}").format(column) for column in columns),
    )
    cursor.execute(statement, list(run.values()))
