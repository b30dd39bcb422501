"""The rows of the schedule for a person: found by name or number, with their next run and their last runs."""

import contextlib
from datetime import datetime
from typing import Any

from psycopg2.extensions import connection as Connection

from systemscripts import settings
from systemscripts.cron import cron_file, slots
from systemscripts.errors import JobError, WrongCall
from systemscripts.job_catalog import find_script
from systemscripts.schedule import timetable

Row = dict[str, Any]

STATES = {timetable.ACTIVE: "active", 2: "paused", 3: "deleted"}  # dba.tdatastatus
BAD_ENDS = ("Failed", "Timeout", "Killed", "Lost")
_SCHEDULE = """
    SELECT 'dba.tscheduler' AS "table", schedulerid AS row_id, taskname AS name, frequency, scriptpath AS script,
           coalesce(scriptargs, '') AS arguments, coalesce(host_pattern, '') AS host_pattern,
           schedulerid::text AS id, datastatusid, timeout_minutes::float8, overlap,
           retries, retry_delay_minutes::float8, depends_on, jitter_seconds FROM dba.tscheduler
    UNION ALL
    SELECT 'dba.treportmanager', reportid, reportname, frequency, 'send_reports.py', reportid::text, '',
           'report:' || reportid, datastatusid, NULL, NULL, NULL, NULL, NULL, NULL FROM dba.treportmanager
    ORDER BY "table" DESC, row_id
"""
_FEEDS = """
    SELECT 'dba.tfeed' AS "table", feedid AS row_id, feedname AS name, due_by::text, 'feed:' || feedid AS id, datastatusid
    FROM dba.tfeed ORDER BY feedid
"""
# The conditions that select the runs of a row of the schedule, or of a script.
_RUNS_OF = {
    cron_file.TASK_TABLE: "schedulerid = %(row_id)s",
    cron_file.REPORT_TABLE: "job = 'send_reports.py' AND arguments = ARRAY[%(row_id)s::text]",
    "script": "job = %(row_id)s",
    "import": "job = 'run_import_job.py' AND arguments[1] = ANY (%(row_id)s)",
    "": "true",
}
# Runs that only show something are left out, unless they are asked for.
_RUNS = """
    SELECT *, make_interval(secs => greatest(trunc(extract(epoch FROM coalesce(ended_at, now()) - started_at)), 0))::text AS took
    FROM dba.tjobrun
    WHERE NOT (%(table)s = '' AND job IN ('show_state.py', 'show_log.py', 'show_columns.py', 'show_imports.py')
               OR %(table)s = '' AND job = 'jobs.py' AND coalesce(arguments[1], '') IN ('list', 'next', 'last')
               OR %(table)s = '' AND job = 'feeds.py' AND NOT arguments && '{snooze,--apply}')
      AND (NOT %(failed)s OR status = ANY (%(bad)s)) AND
"""


def query(connection: Connection, statement: str, values: Row) -> list[Row]:
    """Return the rows, their times in the machine's zone."""
    zone = slots.cron_zone()
    with connection, connection.cursor() as cursor:
        cursor.execute(statement, values)
        names = [column.name for column in cursor.description or ()]
        rows = [[value.astimezone(zone) if isinstance(value, datetime) else value for value in row] for row in cursor]
    return [dict(zip(names, row, strict=True)) for row in rows]


def rows_of(connection: Connection) -> list[Row]:
    """Return all tasks and reports, each with its `job`, `state`, `next_run`, and the `problem` that keeps it out of cron."""
    return [_planned(row) for row in query(connection, _SCHEDULE, {})]


def feed_rows(connection: Connection) -> list[Row]:
    """Return the promises of feeds, as far as they can be paused like the rows of the schedule."""
    found = []
    for row in query(connection, _FEEDS, {}):
        job = cron_file.ScheduledJob(row["table"], row["row_id"], row["name"], row["due_by"], "")
        found.append({**row, "job": job, "state": STATES.get(row["datastatusid"], "off"), "problem": None})
    return found


def _planned(row: Row) -> Row:
    job = cron_file.ScheduledJob(*list(row.values())[:7])  # _SCHEDULE begins with the fields of the job
    row = {**row, "job": job, "state": STATES.get(row["datastatusid"], "off"), "next_run": None, "problem": None}
    row["where"] = job.where
    try:
        cron_file.cron_line(job, settings.cron_user())
        due = timetable.upcoming([job], settings.now(), 1, slots.cron_zone())
        return {**row, "next_run": due[0].time if due and row["state"] == "active" else None}
    except (JobError, OSError) as problem:
        return {**row, "problem": str(problem)}


def find(rows: list[Row], wanted: str) -> Row:
    """Return the row with this name or number; raises WrongCall if there is none or several, and lists the rows."""
    name = wanted.casefold()
    fits = [row for row in rows if row["id"] == name] or [row for row in rows if row["name"].casefold() == name]
    if len(fits) == 1:
        return fits[0]
    trouble = f"{len(fits)} rows have the name {wanted!r}" if fits else f"no task, report or feed is {wanted!r}"
    there_are = ", ".join(f"{row['id']} {row['name']!r}" for row in fits or rows) or "none"
    raise WrongCall(f"{trouble}; there are: {there_are}")


def that_run(connection: Connection, wanted: str) -> list[Row]:
    """Return what `last_runs` takes for a name: a script, or a row of the schedule, an import, or both if both have it.

    Raises WrongCall as `find` does.
    """
    if wanted.endswith((".py", ".sh")):
        with contextlib.suppress(JobError):  # the runs of a script that is gone can still be seen
            wanted = find_script(wanted).name
        return [{"table": "script", "row_id": wanted}]
    statement = (
        "SELECT config_id::text AS id, config_name FROM dba.timportconfig WHERE lower(config_name) = lower(%(name)s)"
    )
    imports = [
        {"table": "import", "id": row["id"], "row_id": [row["config_name"], row["id"]]}
        for row in query(connection, statement, {"name": wanted})
    ]
    rows = rows_of(connection)
    if imports and wanted.casefold() not in {name.casefold() for row in rows for name in (row["id"], row["name"])}:
        return imports
    return [find(rows, wanted), *imports]


def last_runs(connection: Connection, of: list[Row], count: int, failed: bool = False) -> list[Row]:
    """Return the last runs of these rows together, or of all if there are none, newest first.

    A row is one of `rows_of` or of `that_run`.
    """
    runs: dict[int, Row] = {}
    for row in of or [{"table": "", "row_id": None}]:
        statement = f"{_RUNS} {_RUNS_OF[row['table']]} ORDER BY started_at DESC, jobrunid DESC LIMIT %(count)s"
        values = {**row, "failed": failed, "bad": list(BAD_ENDS), "count": count}
        runs |= {run["jobrunid"]: run for run in query(connection, statement, values)}
    return sorted(runs.values(), key=lambda run: (run["started_at"], run["jobrunid"]), reverse=True)[:count]


def next_slots(rows: list[Row], count: int) -> list[tuple[datetime, Row]]:
    """Return the next times at which cron starts one of the rows."""
    due = {row["job"]: row for row in rows if row["next_run"]}
    return [
        (slot.time, due[slot.job]) for slot in timetable.upcoming(list(due), settings.now(), count, slots.cron_zone())
    ]


def short_time(time: datetime | None) -> str:
    """Return a time without its year if it is this year, "-" for None."""
    return f"{time:{'%m-%d %H:%M' if time.year == settings.now().year else '%Y-%m-%d'}}" if time else "-"
