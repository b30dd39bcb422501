"""Show the state in nine lines: what runs, what is due next, what failed, what waits, what did not come.

Reads   dba.tjobrun, the schedule, dba.tfeed, dba.timportfile, dba.tincident, dba.treportdelivery, and the imports' directories
Writes  nothing; prints lines, or JSON
Run by  hand (etl alone)

"failed" looks at the last 24 hours, and only at the last run of each job and its arguments. If the watch itself
(check_schedule.py) failed, one more line says why, because it may be that no mail can tell it.

Examples:
  etl
  etl --json
"""

import argparse
import contextlib
import json
import shlex
import textwrap
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from systemscripts import db_config, job_catalog, settings
from systemscripts.cron import slots
from systemscripts.errors import JobError
from systemscripts.importing.config import ImportConfig, active_configs
from systemscripts.importing.files import pending_files
from systemscripts.importing.left_alone import left_alone
from systemscripts.job_runner import run_job
from systemscripts.plain_text import say
from systemscripts.schedule import feed_states, timetable
from systemscripts.schedule.promises import Calendar
from systemscripts.schedule.rows import BAD_ENDS, Row, query, rows_of

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

MOST_NAMED = 3
WIDTH = 80  # characters
WATCH = "check_schedule.py"
OFTEN = 24  # runs a day; rows with more are not named, because they would always be the next
VERBS = (
    "jobs | next | runs | run | pause | resume | log | imports | feeds | snooze | import | exchange | retry | release | "
    "undo | suggest | report | describe | config | page | week | check | doctor | cron | backup | sql"
)

# Only the last run of each job and its arguments counts: a failure that was repeated with success is not shown.
RUNS = """
    SELECT * FROM (
        SELECT DISTINCT ON (job, arguments) job, arguments, status, started_at, reason FROM dba.tjobrun
        WHERE (started_at > now() - interval '24 hours' OR ended_at IS NULL) AND status <> 'Skipped'
          AND run_uuid::text <> %(own)s AND (exit_code <> 64) IS NOT FALSE AND NOT arguments && '{--preview,--dry-run}'
        ORDER BY job, arguments, started_at DESC, jobrunid DESC
    ) AS last WHERE status IN ('Running', 'Waiting') OR status = ANY (%(bad)s) ORDER BY started_at DESC
"""
COUNTS = """
    SELECT (SELECT count(*) FROM dba.tincident WHERE closed_at IS NULL) AS incidents,
           (SELECT count(*) FROM dba.timportfile WHERE status IN ('Loaded', 'Empty') AND created_at >= current_date) AS loaded,
           (SELECT count(*) FROM dba.timportfile WHERE status = 'Failed' AND created_at >= current_date) AS refused,
           (SELECT count(*) FROM dba.tdataset JOIN dba.tdatastatus USING (datastatusid) WHERE statusname = 'Held') AS held,
           (SELECT count(*) FROM dba.treportdelivery WHERE status = 'Sent' AND updated_at >= current_date) AS sent,
           (SELECT count(*) FROM dba.treportdelivery
            WHERE status NOT IN ('Sent', 'Open', 'Sending', 'Skipped', 'Postponed') AND updated_at >= current_date) AS not_sent
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON")


def waiting_files(configs: list[ImportConfig]) -> dict[str, Any]:
    """Return how many files wait for each import; if its directory cannot be read, return the reason instead."""
    waiting: dict[str, Any] = {}
    for config in configs:
        try:
            count = sum(map(len, pending_files(config)))
        except (JobError, OSError) as problem:
            waiting[config.config_name] = str(problem)
        else:
            if count:
                waiting[config.config_name] = count
    return waiting


def unwanted_files(configs: list[ImportConfig]) -> list[str]:
    """Return the files in the imports' directories whose names fit no active import: perhaps a slip in a name."""
    found: list[str] = []
    for directory in sorted({config.source_directory for config in configs}):
        with contextlib.suppress(OSError):  # told as a waiting import's reason
            found += [str(directory / entry.name) for entry in left_alone(directory, configs) if not entry.may_pass]
    return found


def next_runs(rows: list[Row]) -> tuple[list[Row], int]:
    """Return the active rows by their next run, and the number of rows left out because they run every few minutes."""
    due = sorted((row for row in rows if row["next_run"]), key=lambda row: row["next_run"])
    tomorrow = settings.now() + timedelta(days=1)
    seldom = [
        row
        for row in due
        if len(timetable.expected_slots(row["job"], settings.now(), tomorrow, slots.cron_zone())) <= OFTEN
    ]
    return seldom, len(due) - len(seldom)


def promised(connection: "Connection") -> dict[str, Any]:
    """Return how many promises there are, and the feeds of which something is missing, as etl feeds says."""
    now = settings.now()
    with connection, connection.cursor() as cursor:
        states = feed_states.states(cursor, now, Calendar(cursor, now, slots.cron_zone()))
    return {
        "promises": len(states),
        "missing": [state.name for state in states if state.is_missing],
        "paused": [f"{state.name} {state.word}" for state in states if state.is_paused],
    }


def trouble_with_cron() -> str | None:
    """Return why nothing starts the jobs, None if cron has its file, or something else starts them."""
    file = settings.cron_file()
    if file.exists() or timetable.begun_elsewhere(settings.now(), slots.cron_zone()):
        return None
    return f"nothing: {file} is missing; type: etl cron write"


def listed(items: list[str], none: str) -> str:
    more = f", and {len(items) - MOST_NAMED} more" if len(items) > MOST_NAMED else ""
    return (", ".join(items[:MOST_NAMED]) + more) if items else none


def of_run(run: Row) -> str:
    return f"{shlex.join([run['job'], *run['arguments']])} ({run['started_at']:%H:%M})"


def lines_of(state: dict[str, Any]) -> list[str]:
    runs = state["runs"]
    due = [f"{row['time']:%a %H:%M} {row['name']}" for row in state["next"]]
    often = f"; {state['often']} more run every few minutes" if state["often"] else ""
    waiting = [f"{name}: {count}" for name, count in state["waiting"].items()]
    if unwanted := len(state["unwanted"]):
        waiting.insert(0, f"{unwanted} {'fits' if unwanted == 1 else 'fit'} no import (etl imports --waiting)")
    counts, feeds = state["counts"], state["feeds"]
    if counts["held"]:
        waiting.insert(0, f"{counts['held']} held for a person (etl imports --waiting)")
    missing = listed(feeds["missing"], "nothing is missing" if feeds["promises"] else "no feed promises anything")
    told = {
        "runs": listed([of_run(run) for run in runs if run["status"] == "Running"], "nothing"),
        "waits": listed([of_run(run) for run in runs if run["status"] == "Waiting"], "no run"),
        "next": state["cron"] or listed(due, "nothing by cron") + often,
        "failed": listed([of_run(run) for run in runs if run["status"] in BAD_ENDS], "nothing in 24 hours"),
        "files wait": listed(waiting, "none"),
        "not come": "; ".join([missing, *feeds["paused"]]),
        "today": f"{counts['loaded']} files loaded, {counts['refused']} refused; reports: {counts['sent']} sent, "
        f"{counts['not_sent']} not",
        "incidents": f"{counts['incidents']} open" if counts["incidents"] else "none open",
    }
    lines = [f"{label:<11}{text}" for label, text in told.items()]
    heading = f"{settings.now():%a %Y-%m-%d %H:%M}, version {state['version']}, {settings.etl_home()}"
    return [line if len(line) <= WIDTH else line[: WIDTH - 1] + "…" for line in [heading, *lines]]


def trouble_with_the_watch(runs: list[Row]) -> str:
    """Return why the last check of the schedule failed, "" if it did not: it is what no mail may tell."""
    failures = [run["reason"] for run in runs if run["job"] == WATCH and run["status"] in BAD_ENDS]
    return next((str(reason) for reason in failures if reason), "")


def main(args: argparse.Namespace) -> int:
    """Return 0."""
    with db_config.session() as connection:
        due, often = next_runs(rows_of(connection))
        configs = active_configs(connection)
        runs = query(connection, RUNS, {"own": settings.run_uuid(), "bad": list(BAD_ENDS)})
        state = {
            "version": (job_catalog.code_version() or "unknown")[:12],
            "runs": runs,
            "cron": trouble_with_cron(),
            "next": [{"time": row["next_run"], "name": row["name"]} for row in due],
            "often": often,
            "waiting": waiting_files(configs),
            "unwanted": unwanted_files(configs),
            "feeds": promised(connection),
            "counts": query(connection, COUNTS, {})[0],
        }
    if args.json:
        say(json.dumps(state, default=str))
        return 0
    say(
        *lines_of(state),
        # Not cut: it may end with what is to be typed.
        *(f"the watch  {told}" for told in [trouble_with_the_watch(runs)] if told),
        "",
        *textwrap.wrap(f"etl {VERBS}", WIDTH, subsequent_indent="    "),
        "etl help VERB shows all options of a verb",
    )
    return 0


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=add_arguments)
