"""Show the last run of a task, a report or a script, with its log.

Reads   dba.tscheduler, dba.treportmanager, dba.tjobrun, dba.tlogentry
Writes  nothing; prints lines, or JSON
Run by  hand

Examples:
  etl log "MeetMax URL Check"      the last run of a row of the schedule, by its name
  etl log report:1                 the last run of a report
  etl log clients                  the last run of an import, by its name
  etl log run_import_job.py        the last run of a script, by the schedule or by hand
  etl log 5 --run 2                the run before the last one

If a row of the schedule and an import have the same name, the runs of both count.
"""

import argparse
import json
import shlex

from systemscripts import db_config
from systemscripts.cron import cron_file
from systemscripts.errors import WrongCall
from systemscripts.job_runner import run_job
from systemscripts.plain_text import say
from systemscripts.schedule.rows import Row, last_runs, query, that_run

MOST_LINES = 1_000
LOG = """
    SELECT "timestamp" AS time, level, stepcounter AS step, message FROM dba.tlogentry
    WHERE run_uuid = %(run)s ORDER BY "timestamp" DESC, logid DESC LIMIT %(most)s
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", help="a row of the schedule, by name or number, report:NUMBER, or the name of an import or a script"
    )
    parser.add_argument("--run", type=int, default=1, metavar="N", help="1 is the last run, 2 the one before")
    parser.add_argument("--json", action="store_true", help="as JSON")


def lines_of(run: Row, entries: list[Row]) -> list[str]:
    ended = f"{run['status']} after {run['took'].removeprefix('0')}" if run["ended_at"] else run["status"]
    code = "" if run["exit_code"] is None else f", exit status {run['exit_code']}"
    lines = [
        shlex.join([run["job"], *run["arguments"]]),
        f"{run['started_at']:%Y-%m-%d %H:%M:%S} on {run['host']}: {ended}{code}",
        *([f"{run['reason']}"] if run["reason"] else []),
        "",
    ]
    for entry in entries:
        level = "" if entry["level"] in (None, "INFO") else f"{entry['level']}: "
        first, *more = entry["message"].split("\n")  # of a traceback
        lines += [f"{entry['time']:%H:%M:%S}  {level}{first}", *(f"    | {line}" for line in more)]
    return lines if entries else [*lines, *(run["output_tail"] or "this run has written no log").splitlines()]


def main(args: argparse.Namespace) -> int:
    """Return 0."""
    if args.run < 1:
        raise WrongCall(f"--run is {args.run}; it must be 1 or more")
    with db_config.session() as connection:
        meant = that_run(connection, args.name)
        runs = last_runs(connection, meant, args.run)
        if len(runs) < args.run:
            raise WrongCall(
                f"{args.name} has {len(runs)} runs in dba.tjobrun" if runs else f"{args.name} has never run"
            )
        entries = query(connection, LOG, {"run": str(runs[-1]["run_uuid"]), "most": MOST_LINES})[::-1]
    if args.json:
        say(json.dumps({"run": runs[-1], "log": entries}, default=str))
        return 0
    if len(meant) > 1:
        row, other = meant
        say(f"{args.name!r} is row {row['id']} of the schedule and import {other['id']}; the runs of both count.")
        say(f"Those of the row alone: {cron_file.typed('log', row['id'])}", "")
    say(*lines_of(runs[-1], entries))
    return 0


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=add_arguments)
