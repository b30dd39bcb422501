"""Convert spreadsheets to CSV: .xls, .xlsx, and other files with such a name.

The content decides, not the name. BIFF2 to 8, OOXML, HTML tables and SpreadsheetML 2003 are converted.
CSV, TSV and plain text are copied unchanged. Encrypted, damaged and foreign files are refused with one
sentence.

Reads   the files named
Writes  beside each FILE one with the ending .csv; UTF-8, RFC 4180, whole or not at all; an existing one
        is replaced

Examples:
  xls_to_csv.py companies.xls
  xls_to_csv.py book.xlsx --sheet Prices --output /tmp/prices.csv
  xls_to_csv.py book.xlsx --list-sheets
  xls_to_csv.py *.xls --all-sheets --json
"""

import argparse
import contextlib
import json
import logging
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal

from systemscripts import limited_child, settings
from systemscripts.directory_management import new_file, safe_name
from systemscripts.errors import JobError, TemporaryFailure, WrongCall
from systemscripts.plain_text import say
from systemscripts.progress import growing
from systemscripts.spreadsheets.model import Limits, Sheet

log = logging.getLogger(__name__)

# How often the progress at a terminal is renewed.
LOOK_SECONDS = 0.5

Engine = Literal["auto", "fast", "reference"]


class UnreadableSpreadsheet(JobError):
    """The file cannot be converted; the message names the file, the reason, and what to do.

    `reason` is the sentence without the file's name.
    """

    def __init__(self, label: str, reason: str) -> None:
        super().__init__(f"{label}: {reason}")
        self.reason = reason


@dataclass(frozen=True)
class Contents:
    """The kind of a file and its sheets; a text file has none."""

    kind: str
    sheets: tuple[Sheet, ...]


@dataclass(frozen=True)
class Conversion:
    """The result of a conversion.

    `kind` is the kind of the content: BIFF2 to BIFF8, OOXML, HTML table, SpreadsheetML 2003, CSV or text.
    `engine` is fast (python-calamine), reference (xlrd, openpyxl, …) or copy (CSV and text, whose rows
    and columns are not counted and are None). `rows` counts all lines of the rectangle, with the header
    and the empty rows in between; 0 rows means an empty sheet and an empty CSV.
    """

    source: Path
    kind: str
    engine: str
    sheet: str
    sheets: tuple[Sheet, ...]
    rows: int | None
    columns: int | None
    seconds: float


def convert(source: Path, target: Path, sheet: str | int | None = None, engine: Engine = "auto") -> Conversion:
    """Write one sheet of the file as CSV, whole or not at all, and return what was done.

    `sheet` is a name or a number from 1; None means the first visible one (in an HTML page, the
    table with the most cells). An existing target is replaced. Raises UnreadableSpreadsheet, OSError
    for a source that cannot be opened, and TemporaryFailure if the disk is full.
    """
    with new_file(target) as output:
        return convert_into(output, source, sheet, engine)


def xls_to_csv(path: str | os.PathLike[str]) -> str:
    """Convert the file's first visible sheet to CSV beside it, and return the path of the CSV.

    Jobs from older installations know `convert` by this name.
    """
    target = Path(path).with_suffix(".csv")
    if target.exists() and target.samefile(path):
        raise UnreadableSpreadsheet(str(path), "the CSV would replace the file itself; give it another ending")
    convert(Path(path), target)
    return str(target)


def convert_into(
    output: IO[bytes],
    source: Path,
    sheet: str | int | None = None,
    engine: Engine = "auto",
    label: str | None = None,
    password: str = "",
) -> Conversion:
    """Do the same as `convert` into a file that is open for writing; after an error its content is useless.

    `label` is the file's name in messages; the default is its path. `password` opens a protected workbook.
    """
    began = time.monotonic()
    report = _ask_child(source, output, sheet, engine, label or str(source), password)
    return Conversion(
        source=source,
        kind=report["kind"],
        engine=report["engine"],
        sheet=report["sheet"],
        sheets=_sheets(report),
        rows=report["rows"],
        columns=report["columns"],
        seconds=round(time.monotonic() - began, 3),
    )


def contents(source: Path, password: str = "") -> Contents:
    """Return the file's kind and its sheets without converting any; raises UnreadableSpreadsheet."""
    report = _ask_child(source, None, None, "auto", str(source), password)
    return Contents(report["kind"], _sheets(report))


def _sheets(report: dict[str, Any]) -> tuple[Sheet, ...]:
    return tuple(Sheet(name, visible) for name, visible in report["sheets"])


# ---- the child process ---------------------------------------------------------------------


def _ask_child(
    source: Path, output: IO[bytes] | None, sheet: str | int | None, engine: Engine, label: str, password: str = ""
) -> dict[str, Any]:
    """Let a child process read the file; if the fast engine crashes it, a second child uses the reference engine."""
    ended, report = _run_child(source, output, sheet, engine, label, password)
    if report is None and engine == "auto" and ended != limited_child.OUT_OF_TIME:
        log.debug("%s: the fast engine crashed (status %d); the reference engine reads it", label, ended)
        if output is not None:
            output.seek(0)
            output.truncate()
        ended, report = _run_child(source, output, sheet, "reference", label, password)
    if report is None:
        raise UnreadableSpreadsheet(label, _how_it_ended(ended))
    if "refused" in report:
        log.debug("%s: %s", label, report.get("traceback", "no reader was asked"))
        raise UnreadableSpreadsheet(label, report["refused"])
    if "unwritten" in report:
        raise TemporaryFailure(f"{label}: its CSV cannot be written ({report['unwritten']}); try again later")
    if report.get("fast_declined"):
        log.debug("%s: read by the reference engine, not the fast one, because of: %s", label, report["fast_declined"])
    return report


def _run_child(
    source: Path, output: IO[bytes] | None, sheet: str | int | None, engine: str, label: str, password: str
) -> tuple[int, dict[str, Any] | None]:
    """Run one conversion; return the child's status and its report, None if it left none."""
    limits = _limits()
    handle = None if output is None else output.fileno()
    with contextlib.ExitStack() as open_here:
        file = open_here.enter_context(source.open("rb"))
        secret = open_here.enter_context(_through_pipe(password)) if password else None
        request = {
            "sheet": sheet, "engine": engine, "output": handle, "limits": asdict(limits), "password": secret
        }  # fmt: skip
        child = limited_child.start(
            "systemscripts.spreadsheets.child",
            json.dumps(request),
            stdin=file,
            stdout=subprocess.PIPE,
            pass_fds=[passed for passed in (handle, secret) if passed is not None],
        )
    answer = _wait(child, limits.seconds, label, handle)
    if answer is None:
        return limited_child.OUT_OF_TIME, None
    try:
        report: dict[str, Any] = json.loads(answer)
    except ValueError:
        return child.returncode, None
    return child.returncode, report


@contextlib.contextmanager
def _through_pipe(password: str) -> Iterator[int]:
    """Yield a handle from which the child reads the password: other users can see what it is called with."""
    reader, writer = os.pipe()
    try:
        os.write(writer, password.encode())
    finally:
        os.close(writer)
    try:
        yield reader
    finally:
        os.close(reader)


def _wait(child: "subprocess.Popen[bytes]", seconds: int, label: str, handle: int | None) -> bytes | None:
    """Return the child's answer, None if its time was over and it was ended."""
    give_up = time.monotonic() + seconds
    with child, growing(Path(label).name) as show:
        while (left := give_up - time.monotonic()) > 0:
            try:
                return child.communicate(timeout=left if show is None else min(left, LOOK_SECONDS))[0]
            except subprocess.TimeoutExpired:
                if show is not None and handle is not None:
                    show(os.fstat(handle).st_size)
        child.kill()
    return None


def _limits() -> Limits:
    return Limits(
        memory_mb=settings.spreadsheet_memory_mb(),
        seconds=settings.spreadsheet_seconds(),
        max_cells=settings.spreadsheet_max_cells(),
        max_mb=settings.spreadsheet_max_mb(),
        max_ratio=settings.spreadsheet_max_ratio(),
    )


def _how_it_ended(status: int) -> str:
    limits = _limits()
    if status == limited_child.OUT_OF_TIME:
        return f"it was not read within {limits.seconds:,} seconds (ETL_SPREADSHEET_SECONDS)"
    return (
        f"its reader broke down (status {status}): the file is damaged, "
        f"or {limits.memory_mb:,} MiB of memory are too few (ETL_SPREADSHEET_MEMORY_MB)"
    )


# ---- the command ---------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--sheet", metavar="NAME|NUMBER", help="the sheet to convert (default: the first visible one)")
    which.add_argument(
        "--all-sheets", action="store_true", help="write FILE.<sheet>.csv for each sheet that is not empty"
    )
    which.add_argument("--list-sheets", action="store_true", help="convert nothing, list the sheets")
    parser.add_argument("--output", type=Path, metavar="PATH", help="the CSV file to write (one FILE, one sheet)")
    parser.add_argument("--engine", choices=("auto", "fast", "reference"), default="auto")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line on standard output")


def main(args: argparse.Namespace) -> int:
    """Return the number of files that could not be converted."""
    if args.output and (len(args.files) > 1 or args.all_sheets or args.list_sheets):
        raise WrongCall("--output takes one FILE and one sheet")
    targets = [file.with_suffix(".csv") for file in args.files]
    if len(set(targets)) < len(targets) and not (args.list_sheets or args.all_sheets):
        raise WrongCall("two of the files would get the same CSV name; convert them one by one with --output")
    failures = 0
    for file in args.files:
        try:
            _handle(file, args)
        except UnreadableSpreadsheet as refusal:
            log.error("%s", refusal, extra={"step": "convert"})
            failures += 1
        except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
            log.error("%s: it cannot be opened: %s", error.filename or file, error.strerror, extra={"step": "convert"})
            failures += 1
    return failures


def _handle(file: Path, args: argparse.Namespace) -> None:
    if args.list_sheets:
        _list(file, contents(file), args.json)
    elif args.all_sheets:
        _convert_all(file, args)
    else:
        target = args.output or file.with_suffix(".csv")
        if not target.parent.is_dir():
            raise WrongCall(f"{target}: there is no directory {target.parent}")
        if target.exists() and target.samefile(file):
            raise WrongCall(f"{file}: the CSV would replace it; name another file with --output")
        _tell(convert(file, target, args.sheet, args.engine), target, args.json)


def _convert_all(file: Path, args: argparse.Namespace) -> None:
    """Write each sheet that is not empty to FILE.<sheet>.csv."""
    names = [sheet.name for sheet in contents(file).sheets]
    if not names:
        raise UnreadableSpreadsheet(str(file), "it is a text file and has no sheets; leave --all-sheets out")
    endings = [safe_name(name) for name in names]
    for number, (name, ending) in enumerate(zip(names, endings, strict=True), 1):
        unique = ending if endings.count(ending) == 1 else f"{number}_{ending}"
        target = file.with_name(f"{file.stem}.{unique}.csv")
        done = convert(file, target, number, args.engine)
        if done.rows == 0:
            target.unlink()
            log.info("%s: sheet %r is empty and left out", file, name)
        else:
            _tell(done, target, args.json)


def _list(file: Path, found: Contents, as_json: bool) -> None:
    if as_json:
        say(json.dumps({"source": str(file), **asdict(found)}))
        return
    for number, sheet in enumerate(found.sheets, 1):
        say(f"{file}\t{number}\t{sheet.name}\t{'visible' if sheet.visible else 'hidden'}")
    if not found.sheets:
        log.info("%s is %s and has no sheets", file, found.kind)


def _tell(done: Conversion, target: Path, as_json: bool) -> None:
    size = "copied as it is" if done.rows is None else f"{done.rows:,} rows by {done.columns:,} columns"
    sheet = f" sheet {done.sheet!r}," if done.sheet else ""
    log.info("%s (%s):%s %s to %s, %s engine", done.source, done.kind, sheet, size, target, done.engine)
    if as_json:
        record = asdict(done) | {"source": str(done.source), "target": str(target)}
        say(json.dumps(record))


if __name__ == "__main__":
    from systemscripts.job_runner import run_job

    run_job(main, doc=__doc__, arguments=add_arguments)
