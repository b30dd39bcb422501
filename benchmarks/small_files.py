"""How many small files one run of the import loads in a second, each with its ledger row and its way to the archive.

    venv/bin/python benchmarks/small_files.py                     1,000 files of 10 KB
    venv/bin/python benchmarks/small_files.py --files 100 --rounds 1

Measured is the whole job through the door. Not as root.
"""

from installation import Installation, installation
from measuring import Report, command_line, middle, tell
from sample_csv import ROWS_A_MB, write_csv

ROWS_A_FILE = ROWS_A_MB // 100
FILES_A_SECOND = 100


def add_files(etl: Installation, number: int, round_number: int) -> None:
    folder = etl.home / "file_watcher" / "small"
    for index in range(number):
        write_csv(folder / f"{round_number}_{index}.csv", ROWS_A_FILE, f"{round_number}-{index}")


def check(etl: Installation, files: int) -> None:
    """Stop if not every file of all rounds is in the table, in the ledger and in the archive."""
    archived = len(list((etl.home / "archive" / "small").iterdir()))
    ((recorded,),) = etl.sql(
        "SELECT count(*) FROM dba.timportfile WHERE status = 'Loaded' AND archived_path IS NOT NULL"
    )
    if (archived, recorded, etl.rows_in("public.tsmall")) != (files, files, files * ROWS_A_FILE):
        raise SystemExit(f"of {files} files {archived} are in the archive and {recorded} in the ledger")


def main() -> None:
    parser = command_line(__doc__, rounds=3)
    parser.add_argument("--files", type=int, default=1_000, metavar="N", help="default: %(default)s")
    args = parser.parse_args()
    report = Report()
    with installation() as etl:
        etl.configure("small")
        add_files(etl, 1, 0)
        etl.door("run_import_job.py", "small")  # makes the table
        usages = []
        for number in range(1, args.rounds + 1):
            tell(f"round {number} of {args.rounds}: {args.files} files")
            add_files(etl, args.files, number)
            etl.settle()
            usages.append(etl.door("run_import_job.py", "small"))
        check(etl, 1 + args.rounds * args.files)
    seconds, memory_mb = middle(usages)
    rate = args.files / seconds
    report.figures.append({"files": args.files, "seconds": seconds, "files/s": rate, "memory MB": memory_mb})
    report.at_least("files a second", rate, FILES_A_SECOND)
    report.show(args.json)


if __name__ == "__main__":
    main()
