"""How fast spreadsheets become CSV, beside a plain calamine loop and other tools, of the same files in turns.

    venv/bin/python benchmarks/spreadsheets.py                           the project's venv alone
    venv/bin/python benchmarks/spreadsheets.py --tools ~/bench_tools     with what install_tools.sh installed
    venv/bin/python benchmarks/spreadsheets.py --xlsx 5000 --xls 5000 --rounds 1 --json

Each conversion is a process of its own, so that starting it counts; ours starts a child besides, as in
an import. The yardstick (sheet_with.py) must give the same bytes as ours. Needs no PostgreSQL.
"""

import datetime
import filecmp
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from installation import copy_code
from measuring import CommandFailed, Report, Usage, command_line, measure, middle, tell

HERE = Path(__file__).resolve().parent
COLUMNS = (
    "name", "ticker", "code", "date", "moment", "city", "sector", "note", "number", "price", "cap", "flag",
)  # fmt: skip
FIRST_MOMENT = datetime.datetime(2026, 3, 2, 9, 30)  # noqa: DTZ001 — cells have no zone

YARDSTICK, OURS = "calamine loop", "ours"
RATIO_GOAL, RATIO_FROM_ROWS = 1.15, 50_000
SPEED_GOALS, SPEED_ROWS = {"xlsx2csv": 4, "pandas + openpyxl": 7}, 200_000
# The default of ETL_SPREADSHEET_MEMORY_MB is MiB for the child; the parent is small.
MEMORY_CAP_MB = 1_074


def rows(number: int) -> Iterator[tuple[object, ...]]:
    """Yield the headings and rows of texts, whole and other numbers, dates, moments and truth values."""
    yield COLUMNS
    for index in range(1, number + 1):
        moment = FIRST_MOMENT + datetime.timedelta(minutes=index)
        yield (
            f'Acme "{index}" Holdings, Inc.', f"T{index} US", f"{index:08d}", moment.date(), moment,
            "Zürich", "Biotechnology", f"note {index}: some sixty characters with é and a\nline break",
            index, index / 8, index * 1_000_003, index % 2 == 0,
        )  # fmt: skip


def write_xlsx(path: Path, number: int) -> None:
    from openpyxl import Workbook

    book = Workbook(write_only=True)
    sheet = book.create_sheet("Prices")
    for row in rows(number):
        sheet.append(row)
    book.save(path)


def write_xls(path: Path, number: int) -> None:
    import xlwt

    book = xlwt.Workbook()
    sheet = book.add_sheet("Prices")
    date, moment = xlwt.easyxf(num_format_str="yyyy-mm-dd"), xlwt.easyxf(num_format_str="yyyy-mm-dd hh:mm:ss")
    styles = {datetime.date: date, datetime.datetime: moment}
    for index, row in enumerate(rows(number)):
        for column, value in enumerate(row):
            sheet.write(index, column, value, styles.get(type(value), xlwt.Style.default_style))
    book.save(str(path))


def commands(source: Path, target: Path, tools: Path) -> dict[str, list[str | Path]]:
    """Return how each converts this kind of file; what is not installed is among them."""
    script, theirs = HERE / "sheet_with.py", tools / "bin/python"
    engine = "openpyxl" if source.suffix == ".xlsx" else "xlrd"
    found: dict[str, list[str | Path]] = {
        YARDSTICK: [sys.executable, script, "calamine", source, target],
        OURS: [sys.executable, script, "ours", source, target],
        "fastexcel": [theirs, script, "fastexcel", source, target],
        "ssconvert": [shutil.which("ssconvert") or "/nonexistent/ssconvert", source, target],
        "in2csv": [tools / "bin/in2csv", "--no-inference", source],
        f"pandas + {engine}": [theirs, script, engine, source, target],
    }
    if source.suffix == ".xlsx":
        found["xlsx2csv"] = [tools / "bin/xlsx2csv", source, target]
    return found


def convert(command: list[str | Path], environment: dict[str, str]) -> Usage:
    if not Path(command[0]).exists():
        raise CommandFailed("it is not installed; see install_tools.sh and --tools")
    return measure(command, environment)


def run_in_turns(source: Path, tools: Path, rounds: int, report: Report) -> dict[str, list[Usage]]:
    """Convert the file with each, in turns, and return what they took; one that fails is left out."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(source.parent), "PYTHONPATH": str(source.parent / "code")}
    names = list(commands(source, source, tools))
    targets = {name: source.with_suffix(f".{index}.csv") for index, name in enumerate(names)}
    usages: dict[str, list[Usage]] = {name: [] for name in names}
    for number in range(1, rounds + 1):
        for name in list(usages):
            tell(f"{source.name}, round {number} of {rounds}: {name}")
            try:
                usages[name].append(convert(commands(source, targets[name], tools)[name], environment))
            except CommandFailed as failure:
                if name in (YARDSTICK, OURS):
                    raise
                del usages[name]
                report.left_out.append(f"{name} for {source.name}: {failure}")
    if not filecmp.cmp(targets[YARDSTICK], targets[OURS], shallow=False):
        raise SystemExit(f"{source.name}: ours gives another text than the yardstick")
    return usages


def add_figures(report: Report, file: str, rows_in_it: int, usages: dict[str, list[Usage]]) -> None:
    def times_of(name: str, other: str) -> float:
        return statistics.median(a.seconds / b.seconds for a, b in zip(usages[name], usages[other], strict=True))

    for name, of_one in usages.items():
        seconds, memory_mb = middle(of_one)
        report.figures.append({
            "file": file, "tool": name, "seconds": seconds, "memory MB": memory_mb,
            "ratio to the loop": times_of(name, YARDSTICK),
        })  # fmt: skip
    if rows_in_it >= RATIO_FROM_ROWS:
        report.at_most(f"{file}: time", times_of(OURS, YARDSTICK), RATIO_GOAL, "times the loop")
    for name, goal in SPEED_GOALS.items():
        if rows_in_it == SPEED_ROWS and name in usages:
            report.at_least(f"{file}: speed beside {name}", times_of(name, OURS), goal, "times")
    report.at_most(f"{file}: memory", middle(usages[OURS]).memory_mb, MEMORY_CAP_MB, "MB")


def main() -> None:
    parser = command_line(__doc__, rounds=3)
    parser.add_argument("--xlsx", type=int, nargs="*", default=[50_000, 200_000], metavar="ROWS",
                        help="default: 50000 200000")  # fmt: skip
    parser.add_argument("--xls", type=int, nargs="*", default=[60_000], metavar="ROWS", help="default: 60000")
    parser.add_argument("--tools", type=Path, default=Path("/nonexistent"), metavar="DIR",
                        help="the venv that install_tools.sh made")  # fmt: skip
    args = parser.parse_args()
    report = Report()
    with tempfile.TemporaryDirectory(prefix="etl_bench_") as folder:
        copy_code(Path(folder) / "code")
        for write, ending, sizes in ((write_xlsx, "xlsx", args.xlsx), (write_xls, "xls", args.xls)):
            for number in sizes:
                source = Path(folder) / f"{number}_rows.{ending}"
                tell(f"writing {source.name}")
                write(source, number)
                add_figures(
                    report, source.name, number, run_in_turns(source, args.tools.absolute(), args.rounds, report)
                )
    report.show(args.json)


if __name__ == "__main__":
    main()
