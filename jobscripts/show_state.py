"""Show the state in eight lines: what runs, what is due next, what failed, what waits.

Reads   dba.tjobrun, the schedule, dba.tincident, dba.timportfile, dba.treportdelivery, and the imports' directories
Writes  nothing; prints lines, or JSON
Run by  hand (etl alone)

"failed" looks at the last 24 hours, and only at the last run of each job and its arguments.

Examples:
  show_state.py
  show_state.py --json
"""

import argparse
import json
import shlex
import textwrap
from typing import Any

from psycopg2.extensions import connection as Connection

from systemscripts import db_config, job_catalog, settings
from systemscripts.errors import JobError
from systemscripts.importing.config import active_configs
from systemscripts.importing.files import pending_files
from systemscripts.job_runner import run_job
from systemscripts.plain_text import say
from systemscripts.schedule.rows import BAD_ENDS, Row, query, rows_of

MOST_NAMED = 3
WIDTH = 80  # characters
VERBS = "jobs | next | runs | run | pause | resume | log | imports | import | report | describe | check | doctor | cron | backup | sql"

# Only the last run of each job and its arguments counts: a failure that was repeated with success is not shown.
RUNS = """
    SELECT * FROM (
        SELECT DISTINCT ON (job, arguments) job, arguments, status, started_at, reason FROM dba.tjobrun
        WHERE (started_at > now() - interval '24 hours' OR ended_at IS NULL) AND status <> 'Skipped'
          AND run_uuid::text <> %(own)s AND (exit_code <> 64) IS NOT FALSE
        ORDER BY job, arguments, started_at DESC, jobrunid DESC
    ) AS last WHERE status IN ('Running', 'Waiting') OR status = ANY (%(bad)s) ORDER BY started_at DESC
"""
COUNTS = """
    SELECT (SELECT count(*) FROM dba.tincident WHERE closed_at IS NULL) AS incidents,
           (SELECT count(*) FROM dba.timportfile WHERE status IN ('Loaded', 'Empty') AND created_at >= current_date) AS loaded,
           (SELECT count(*) FROM dba.timportfile WHERE status = 'Failed' AND created_at >= current_date) AS refused,
           (SELECT count(*) FROM dba.treportdelivery WHERE status = 'Sent' AND updated_at >= current_date) AS sent,
           (SELECT count(*) FROM dba.treportdelivery
            WHERE status NOT IN ('Sent', 'Open', 'Sending', 'Skipped') AND updated_at >= current_date) AS not_sent
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON")


def waiting_files(connection: Connection) -> dict[str, Any]:
    """Return how many files wait for each import; if its directory cannot be read, return the reason instead."""
    waiting: dict[str, Any] = {}
    for config in active_configs(connection):
        try:
            count = sum(map(len, pending_files(config)))
        except (JobError, OSError) as problem:
            waiting[config.config_name] = str(problem)
        else:
            if count:
                waiting[config.config_name] = count
    return waiting


def listed(items: list[str], none: str) -> str:
    more = f", and {len(items) - MOST_NAMED} more" if len(items) > MOST_NAMED else ""
    return (", ".join(items[:MOST_NAMED]) + more) if items else none


def of_run(run: Row) -> str:
    return f"{shlex.join([run['job'], *run['arguments']])} ({run['started_at']:%H:%M})"


def lines_of(state: dict[str, Any]) -> list[str]:
    runs = state["runs"]
    next_runs = [f"{row['time']:%a %H:%M} {row['name']}" for row in state["next"]]
    waiting = [f"{name}: {count}" for name, count in state["waiting"].items()]
    counts = state["counts"]
    told = {
        "runs": listed([of_run(run) for run in runs if run["status"] == "Running"], "nothing"),
        "waits": listed([of_run(run) for run in runs if run["status"] == "Waiting"], "no run"),
        "next": listed(next_runs, "nothing by cron"),
        "failed": listed([of_run(run) for run in runs if run["status"] in BAD_ENDS], "nothing in 24 hours"),
        "files wait": listed(waiting, "none"),
        "today": f"{counts['loaded']} files loaded, {counts['refused']} refused; {counts['sent']} mails sent, "
        f"{counts['not_sent']} not",
        "incidents": f"{counts['incidents']} open" if counts["incidents"] else "none open",
    }
    lines = [f"{label:<11}{text}" for label, text in told.items()]
    heading = f"{settings.now():%a %Y-%m-%d %H:%M}, version {state['version']}, {settings.etl_home()}"
    return [line if len(line) <= WIDTH else line[: WIDTH - 1] + "…" for line in [heading, *lines]]


def main(args: argparse.Namespace) -> int:
    """Return 0."""
    with db_config.session() as connection:
        due = sorted((row for row in rows_of(connection) if row["next_run"]), key=lambda row: row["next_run"])
        state = {
            "version": (job_catalog.code_version() or "unknown")[:12],
            "runs": query(connection, RUNS, {"own": settings.run_uuid(), "bad": list(BAD_ENDS)}),
            "next": [{"time": row["next_run"], "name": row["name"]} for row in due],
            "waiting": waiting_files(connection),
            "counts": query(connection, COUNTS, {})[0],
        }
    if args.json:
        say(json.dumps(state, default=str))
        return 0
    say(
        *lines_of(state),
        "",
        *textwrap.wrap(f"etl {VERBS}", WIDTH, subsequent_indent="    "),
        "etl help VERB shows all options of a verb",
    )
    return 0


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=add_arguments)
