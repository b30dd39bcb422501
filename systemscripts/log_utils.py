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

log = logging.getLogger(__name__)

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
        self._process = os.getpid()
        self._is_forked = False
        self._began = self._last_record = time.monotonic()
        self._waiting: list[Entry] = []
        self._database = table
        self._stop = threading.Event()
        self._flusher: threading.Thread | None = None
        self._text_file = _open_log(log_file(process_type, ".txt"), header="")
        self._csv_file = _open_log(log_file(process_type, ".csv"), header=CSV_HEADER)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._leave_to_parent()
            entry = self._entry(record)
            if getattr(record, "use_db", True):
                self._waiting.append(entry)
            if path := getattr(record, "log_file", None):
                _append_older_line(Path(path), entry)
            _append(self._text_file, _text_lines(entry))
            message = on_one_line(entry.message)
            _append(self._csv_file, csv_line(entry if message == entry.message else entry._replace(message=message)))
            if self._is_forked or record.levelno >= logging.ERROR or len(self._waiting) >= FLUSH_RECORDS:
                self._flush_waiting()
            elif self._flusher is None:
                self._start_flusher()
        except Exception as error:  # noqa: BLE001 — logging must never change a job's result
            complain(f"a log record could not be written: {error}")

    def flush(self) -> None:
        with self.lock or contextlib.nullcontext():
            self._leave_to_parent()
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
        entry = Entry(
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
        return entry._replace(**getattr(record, "entry_fields", {}))

    def _leave_to_parent(self) -> None:
        """In a process that the job has forked, leave the job's records, connection and flusher to the job.

        Such a process may end without closing this handler, so its own records do not wait.
        """
        if self._process != os.getpid():
            self._process, self._is_forked = os.getpid(), True
            self._waiting = []
            self._database = _LogTable(self._run_uuid, None, away=False)

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
        if _is_cut(handle):
            os.write(handle, b"\n")
    except OSError as error:
        complain(f"logs cannot be written to {path}: {error.strerror}")
        return None
    return handle


def _is_cut(handle: int) -> bool:
    """Return whether the last line was cut by a full disk or a power cut.

    A line that another process is writing is seen in part where it goes over the end of a page, so it is looked at again.
    """
    for _ in range(10):
        size = os.fstat(handle).st_size
        if not size or os.pread(handle, 1, size - 1) == b"\n":
            return False
        time.sleep(0.01)
    return True


def _append_older_line(path: Path, entry: Entry) -> None:
    """Append the record to a log file of the job's own, as older installations wrote it."""
    if (handle := _open_log(path, header="")) is None:
        return
    try:
        told = (entry.run_uuid, f"{datetime.fromisoformat(entry.timestamp):%Y-%m-%d %H:%M:%S}", entry.processtype)
        _append(handle, " | ".join([*told, on_one_line(entry.message)]) + "\n")
    finally:
        os.close(handle)


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


# ---- names that jobs from older installations import ----------------------------------------

DB_PARAMS: dict[str, str]

_beginning = threading.Lock()


def log_message(  # noqa: PLR0913, PLR0917 — the arguments of older installations
    log_file: str | os.PathLike[str] | None,
    process_type: str,
    message: object,
    use_db: bool = True,
    run_uuid: str | None = None,
    stepcounter: object = None,
    user: str | None = None,
    script_start_time: float | None = None,
) -> None:
    """Log a message: to the three sinks, and as a line to `log_file` if one is given. It never raises.

    Jobs from older installations know logging by this name. Without `use_db` the record stays out of dba.tlogentry.
    `script_start_time` is a time.time() from which the total run time counts. `run_uuid` counts only for a job that is
    started by hand: in a run through the door each record belongs to that run.
    """
    try:
        ensure_logging(run_uuid)
        fields: dict[str, object] = {"processtype": on_one_line(storable(str(process_type)))}
        if user:
            fields["username"] = on_one_line(storable(str(user)))
        if run_uuid and not settings.run_uuid():
            fields["run_uuid"] = on_one_line(storable(str(run_uuid)))
        if script_start_time is not None:
            fields["totalruntime"] = round(time.time() - float(script_start_time), 6)
        extra = {"entry_fields": fields, "use_db": use_db, "log_file": log_file}
        if stepcounter is not None:
            extra["step"] = stepcounter
        log.info("%s", message, extra=extra, stacklevel=2)
    except Exception as error:  # noqa: BLE001 — logging must never change a job's result
        complain(f"a log record could not be written: {error}")


def ensure_logging(run_uuid: str | None = None) -> None:
    """Start logging for a job that does not end with run_job, unless it has begun.

    Only records of this package go to the sinks: how the job itself uses the standard library's logging stays its own
    affair. They are shown on stderr too, unless the job has set up where to show them.
    """
    package = logging.getLogger(__package__)
    # Looked at without the lock first: a process may be forked while another thread holds it, and would wait for ever.
    if _has_begun(package):
        return
    with _beginning:
        if _has_begun(package):
            return
        settings.conceal_all()
        console = ConsoleHandler(sys.stderr)
        console.addFilter(lambda _record: not logging.getLogger().handlers)
        uuid = settings.run_uuid() or run_uuid or Path("/proc/sys/kernel/random/uuid").read_text().strip()
        handler = RunHandler(Path(sys.argv[0]).stem or "python", uuid, _LogTable(uuid, None, away=False))
        atexit.register(handler.close)
        package.setLevel(logging.INFO)
        package.addHandler(console)
        package.addHandler(handler)


def _has_begun(package: logging.Logger) -> bool:
    return any(isinstance(handler, RunHandler) for handler in (*package.handlers, *logging.getLogger().handlers))


if not TYPE_CHECKING:

    def __getattr__(name: str) -> dict[str, str]:
        """Return DB_PARAMS of db_config, as the environment says when it is asked for (PEP 562)."""
        if name != "DB_PARAMS":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from systemscripts import db_config

        return db_config.DB_PARAMS


def flush() -> None:
    """Write everything logged so far to the table (or the spool)."""
    for handler in logging.getLogger().handlers:
        handler.flush()


def complain(message: str) -> None:
    """Print on stderr what logging could not do."""
    with contextlib.suppress(OSError, ValueError):
        say(f"logging: {message}", to=sys.stderr)
