"""Whether every job gets its run when many are due in the same minute, and how long it takes until the last has ended.

    venv/bin/python benchmarks/same_minute.py                     400 jobs
    venv/bin/python benchmarks/same_minute.py --jobs 60

The jobs do nothing, each has a row of the schedule, and all are started at once as cron does, through the door, against
the embedded server with its default settings. A slot is lost if no run of it ended with success. Not as root.
"""

import subprocess
import time
from datetime import UTC, datetime

from installation import Installation, installation
from measuring import Report, command_line, tell

LOST_SLOTS = 0

JOB = '''"""Do nothing."""

import argparse

from systemscripts.job_runner import run_job


def main(args: argparse.Namespace) -> int:
    return 0


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=lambda parser: parser.add_argument("number"))
'''


def schedule(etl: Installation, jobs: int) -> list[int]:
    """Leave nothing in the schedule but this many rows of the job that does nothing; return their ids."""
    (etl.code / "jobscripts" / "do_nothing.py").write_text(JOB)
    etl.sql("UPDATE dba.tscheduler SET datastatusid = 2")
    rows = etl.sql(
        "INSERT INTO dba.tscheduler (taskname, frequency, scriptpath, scriptargs)"
        " SELECT 'Nothing ' || n, '* * * * *', 'do_nothing.py', n::text FROM generate_series(1, %s) AS n RETURNING schedulerid",
        jobs,
    )
    return [row_id for (row_id,) in rows]


def start_all(etl: Installation, rows: list[int]) -> float:
    """Start a run of each row for the same minute, wait for all, and return the seconds until the last has ended."""
    slot = datetime.now(UTC).replace(second=0, microsecond=0).isoformat()
    door = ["/bin/bash", str(etl.code / "jobscripts/run_python_etl_script.sh"), "--scheduled-at", slot]
    log = etl.home / "cron.log"
    began = time.monotonic()
    with log.open("ab") as output:
        runs = [
            subprocess.Popen(
                [*door, "--task", str(row), "do_nothing.py", str(row)],
                env=etl.environment,
                stdout=output,
                stderr=output,
            )
            for row in rows
        ]
        for run in runs:
            run.wait()
    return time.monotonic() - began


def main() -> None:
    parser = command_line(__doc__, rounds=1)
    parser.add_argument("--jobs", type=int, default=400, metavar="N", help="default: %(default)s")
    args = parser.parse_args()
    report = Report()
    with installation() as etl:
        rows = schedule(etl, args.jobs)
        etl.door("do_nothing.py", "0")  # writes the bytecode
        for number in range(1, args.rounds + 1):
            etl.sql("TRUNCATE dba.tjobrun CASCADE")
            etl.settle()
            tell(f"round {number} of {args.rounds}: {args.jobs} jobs")
            seconds = start_all(etl, rows)
            ended = dict(etl.sql("SELECT status, count(*) FROM dba.tjobrun WHERE schedulerid IS NOT NULL GROUP BY 1"))
            report.figures.append(
                {"jobs": args.jobs, "seconds": seconds, "jobs a minute": 60 * args.jobs / seconds, **ended}
            )
            lost = args.jobs - ended.get("Succeeded", 0)
            report.at_most("slots without a run", lost, LOST_SLOTS)
    report.show(args.json)


if __name__ == "__main__":
    main()
