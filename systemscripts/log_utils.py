"""Logging: each record goes to a TXT file for people, a CSV file for programs, and dba.tlogentry.

Built on the standard library's logging. A job logs with `logging.getLogger(__name__)`;
`start_logging` gives every record of the process the run's uuid, the step
(`extra={"step": "fetch"}`) and both run times. While the database is away, records go to a
spool file in logs/spool/ and are loaded later, once (see spool). Logging never changes
a job's result: a failure here is only printed on stderr.
"""

import atexit
import contextlib
import logging
import os
import sys
import threading
import time
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from systemscripts import directory_management, settings
from systemscripts.log_sinks.entries import CSV_HEADER, Entry, copy_entries, csv_line, storable
from systemscripts.periodic_utils import every
from systemscripts.plain_text import on_one_line, say
from systemscripts.user_utils import current_user

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

FLUSH_SECONDS = 3.0
FLUSH_RECORDS = 5_000
LONGEST_MESSAGE = 20_000


class RunHandler(logging.Handler):
    """Write the process's records to all three sinks."""

    def __init__(self, process_type: str, run_uuid: str, table: "_LogTable") -> None:
        super().__init__(logging.INFO)
        self._process_type = process_type
        self._run_uuid = run_uuid
        self._user = current_user()
        self._began = self._last_record = time.monotonic()
        self._waiting: list[Entry] = []
        self._database = table
        self._stop = threading.Event()
        self._flusher: threading.Thread | None = None
        self._text_file = _open_log(log_file(process_type, ".txt"), header="")
        self._csv_file = _open_log(log_file(process_type, ".csv"), header=CSV_HEADER)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            entry = self._entry(record)
            self._waiting.append(entry)
            _append(self._text_file, _text_lines(entry))
            message = on_one_line(entry.message)
            _append(self._csv_file, csv_line(entry if message == entry.message else entry._replace(message=message)))
            if record.levelno >= logging.ERROR or len(self._waiting) >= FLUSH_RECORDS:
                self._flush_waiting()
            elif self._flusher is None:
                self._start_flusher()
        except Exception as error:  # noqa: BLE001 — logging must never change a job's result
            complain(f"a log record could not be written: {error}")

    def flush(self) -> None:
        with self.lock or contextlib.nullcontext():
            self._flush_waiting()

    def close(self) -> None:
        self._stop.set()
        self.flush()
        self._database.close()
        super().close()

    def _entry(self, record: logging.LogRecord) -> Entry:
        now = time.monotonic()
        step_runtime, self._last_record = now - self._last_record, now
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + logging.Formatter().formatException(record.exc_info)
        message = storable(settings.mask(message)[:LONGEST_MESSAGE])
        return Entry(
            timestamp=datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds"),
            run_uuid=self._run_uuid,
            processtype=self._process_type,
            stepcounter=on_one_line(storable(str(getattr(record, "step", record.funcName)))),
            username=self._user,
            stepruntime=round(step_runtime, 6),
            totalruntime=round(now - self._began, 6),
            level=record.levelname,
            message=message,
        )

    def _flush_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._database.write(waiting)

    def _start_flusher(self) -> None:
        beat = (FLUSH_SECONDS, self.flush, self._stop)
        self._flusher = threading.Thread(target=every, args=beat, name="log flusher", daemon=True)
        self._flusher.start()


class _LogTable:
    """Write entries to dba.tlogentry by COPY; to the spool while the database is down."""

    def __init__(self, run_uuid: str, connection: "Connection | None", away: bool) -> None:
        self._run_uuid = run_uuid
        self._connection = connection
        self._away = away

    def write(self, entries: list[Entry]) -> None:
        from systemscripts.log_sinks import spool

        if not self._away:
            try:
                self._copy(entries)
                return
            except Exception as error:  # noqa: BLE001 — whatever the database says, the records must not be lost
                self._away = True
                complain(
                    f"the log table cannot be written, records go to {spool.spool_dir()}: {settings.mask(str(error)).strip()}"
                )
        try:
            spool.save_entries(self._run_uuid, entries)
        except OSError as error:
            complain(f"{len(entries)} log records will be missing in dba.tlogentry: {error}")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _copy(self, entries: list[Entry]) -> None:
        if self._connection is None:
            from systemscripts import db_config

            self._connection = db_config.connect(patience=0)  # no patience: the spool takes the records
        copy_entries(self._connection, entries)
        self._connection.commit()


def _text_lines(entry: Entry) -> str:
    first, *more = entry.message.splitlines() or [""]
    times = f"{entry.stepruntime:.3f}s/{entry.totalruntime:.3f}s"
    head = f"{entry.timestamp} {entry.level:<7} {entry.run_uuid[:8]} {entry.stepcounter} {times}  "
    return "\n".join([head + on_one_line(first), *("    | " + on_one_line(line) for line in more)]) + "\n"


def log_file(process_type: str, ending: str, day: date | None = None) -> Path:
    """Return the log file for the runs of a job that begin today, or on the given day."""
    return settings.logs_dir() / f"{process_type}_{day or datetime.now():%Y%m%d}{ending}"


def csv_files(process_type: str, since: datetime) -> list[Path]:
    """Return the existing CSV logs that a run may have written to since it began at `since`."""
    first = since.astimezone().date()
    days = (datetime.now().date() - first).days
    files = [log_file(process_type, ".csv", first + timedelta(days=day)) for day in range(max(days, 0) + 1)]
    return [file for file in files if file.is_file()]


def _open_log(path: Path, header: str) -> int | None:
    """Open a log file for appending, None if that fails; a new file gets its name only with its header in it."""
    try:
        if not path.exists():
            draft = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
            # Others may write in this directory, so no link of theirs is followed.
            handle = os.open(
                draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, directory_management.FILE_MODE
            )
            try:
                os.write(handle, header.encode())
                os.fchmod(handle, directory_management.FILE_MODE)
                directory_management.hand_over(draft)
                with contextlib.suppress(FileExistsError):
                    os.link(draft, path, follow_symlinks=False)
            finally:
                os.close(handle)
                draft.unlink(missing_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW)
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":  # the last line was cut by a full disk or a power cut
            os.write(handle, b"\n")
    except OSError as error:
        complain(f"logs cannot be written to {path}: {error.strerror}")
        return None
    return handle


def _append(handle: int | None, text: str) -> None:
    if handle is not None:
        os.write(handle, text.encode("utf-8", "backslashreplace"))


class ConsoleHandler(logging.Handler):
    """Show messages to the person who started the job: one line each, with the level of warnings and errors."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(logging.INFO)
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        mark = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        trace = logging.Formatter().formatException(record.exc_info).split("\n") if record.exc_info else []
        with contextlib.suppress(OSError, ValueError):
            say(*(f"    | {line}" for line in trace), mark + record.getMessage(), to=self._stream)


def start_logging(
    process_type: str,
    run_uuid: str,
    console: bool = True,
    connection: "Connection | None" = None,
    guard: "threading.RLock | None" = None,
    database_away: bool = False,
) -> None:
    """Send every record of this process from INFO up to the three sinks, and to stderr if `console`.

    The table is reached by the given connection. Other code may use it only while holding `guard`, and must
    not leave a transaction open on it. Without a given connection, logging opens its own for the first
    records. A database that is known to be down is not tried again.
    """
    settings.conceal_all()
    # Logging would look these up for each record, and nothing shows them.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    root.handlers.clear()
    if console:
        root.addHandler(ConsoleHandler(sys.stderr))
    handler = RunHandler(process_type, run_uuid, _LogTable(run_uuid, connection, database_away))
    if guard is not None:
        handler.lock = guard  # one lock for both, because two locks could deadlock
    root.addHandler(handler)
    atexit.register(handler.close)
    for noisy in ("urllib3", "googleapiclient", "matplotlib", "fontTools", "PIL"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def flush() -> None:
    """Write everything logged so far to the table (or the spool)."""
    for handler in logging.getLogger().handlers:
        handler.flush()


def complain(message: str) -> None:
    """Print on stderr what logging could not do."""
    with contextlib.suppress(OSError, ValueError):
        say(f"logging: {message}", to=sys.stderr)
