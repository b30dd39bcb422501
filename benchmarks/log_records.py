"""How many log records a second reach all three sinks: the TXT file, the CSV file and dba.tlogentry.

    venv/bin/python benchmarks/log_records.py
    venv/bin/python benchmarks/log_records.py --records 20000 --rounds 1

A process of its own logs as a job does. The clock runs from the first record until all are in the
table; afterwards every sink is counted, and one record missing anywhere is an error. Not as root.
"""

import statistics
import subprocess
import sys

from installation import Installation, installation
from measuring import Report, command_line, tell

RECORDS_A_SECOND = 15_000

PROGRAM = """
import logging, sys, time
from systemscripts import log_utils

log_utils.start_logging(sys.argv[1], "00000000-0000-4000-8000-000000000000", console=False)
log = logging.getLogger("job")
began = time.perf_counter()
for number in range(int(sys.argv[2])):
    log.info("event %d: %s", number, "a message of ordinary length, with a number and a name", extra={"step": "scan"})
log_utils.flush()
print(time.perf_counter() - began)
"""


def seconds_for(etl: Installation, name: str, records: int) -> float:
    command = [sys.executable, "-P", "-c", PROGRAM, name, str(records)]
    result = subprocess.run(command, env=etl.environment, cwd="/", capture_output=True, text=True, check=False)
    if result.returncode != 0 or result.stderr:
        raise SystemExit(result.stderr)
    check(etl, name, records)
    return float(result.stdout)


def check(etl: Installation, name: str, records: int) -> None:
    """Stop if a record is missing; the CSV has a header line more."""
    found = {
        path.suffix: len(path.read_text().splitlines()) for path in (etl.home / "logs").glob(f"{name}_*")
    }  # fmt: skip
    ((in_table,),) = etl.sql("SELECT count(*) FROM dba.tlogentry WHERE processtype = %s", name)
    if (found, in_table) != ({".txt": records, ".csv": records + 1}, records):
        raise SystemExit(f"of {records} records {in_table} are in the table, and in the files {found}")


def main() -> None:
    parser = command_line(__doc__, rounds=5)
    parser.add_argument("--records", type=int, default=200_000, metavar="N", help="default: %(default)s")
    args = parser.parse_args()
    report = Report()
    with installation() as etl:
        etl.door("show_imports.py")  # makes the directories
        rates = []
        for number in range(1, args.rounds + 1):
            tell(f"round {number} of {args.rounds}: {args.records} records")
            rates.append(args.records / seconds_for(etl, f"round{number}", args.records))
    rate = statistics.median(rates)
    report.figures.append({
        "records": args.records, "records/s": rate, "slowest round": min(rates), "fastest round": max(rates),
    })  # fmt: skip
    report.at_least("records a second", rate, RECORDS_A_SECOND)
    report.show(args.json)


if __name__ == "__main__":
    main()
