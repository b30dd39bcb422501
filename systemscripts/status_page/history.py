"""What the database remembers: the last runs, refused and rejected, data and its age, growth, and how long jobs take."""

from collections import defaultdict
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from systemscripts import settings
from systemscripts.doctor.database import LAST_DRILL, backups_made
from systemscripts.errors import JobError
from systemscripts.schedule.incident_mail import typed
from systemscripts.schedule.rows import BAD_ENDS
from systemscripts.status_page.words import natural

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor

Row = dict[str, Any]

DATES = 30  # of each import
MOST_RUNS, MOST_FILES, MOST_LINES, MOST_TABLES, MOST_BACKUPS = 30, 40, 5, 10, 10

_FAILED_RUNS = """
    SELECT r.run_uuid::text, r.job, r.arguments, r.started_at, r.ended_at - r.started_at AS took, r.status, r.exit_code, r.reason,
           right(r.output_tail, 8000) AS output_tail, coalesce(s.taskname, m.reportname) AS name,
           EXISTS (SELECT FROM dba.tjobrun AS after WHERE after.job = r.job AND after.arguments = r.arguments
                   AND after.started_at > r.started_at AND after.status = 'Succeeded') AS is_over
    FROM dba.tjobrun AS r
    LEFT JOIN dba.tscheduler AS s USING (schedulerid)
    LEFT JOIN dba.treportmanager AS m ON r.schedulerid IS NULL AND r.job = 'send_reports.py' AND m.reportid::text = r.arguments[1]
    WHERE r.started_at > %(now)s - interval '7 days' AND r.status = ANY (%(bad)s)
      -- Who typed it wrongly has read it; what the schedule has wrong stays so.
      AND (r.exit_code IS DISTINCT FROM 64 OR r.schedulerid IS NOT NULL)
    ORDER BY r.started_at DESC, r.jobrunid DESC LIMIT %(most)s
"""
_REFUSED = """
    SELECT f.importfileid, f.created_at, c.config_name, f.file_name, f.status, f.error, f.reject_count, f.row_count,
           f.archived_path
    FROM dba.timportfile AS f JOIN dba.timportconfig AS c USING (config_id)
    WHERE f.created_at > %(now)s - interval '7 days' AND (f.status = 'Failed' OR f.reject_count > 0)
    ORDER BY f.importfileid DESC LIMIT %(most)s
"""
_REJECTS = """
    SELECT r.importfileid, r.line_number, r.column_name, r.reason, left(r.original, 400) AS original
    FROM unnest(%(files)s::bigint[]) AS file (id)
    CROSS JOIN LATERAL (SELECT * FROM dba.timportreject WHERE importfileid = file.id ORDER BY rejectid LIMIT %(most)s) AS r
"""
_DRIFT = """
    SELECT c.config_name, d.kind, d.column_name, max(d.file_name) AS file_name, max(d.created_at) AS created_at
    FROM dba.timportdrift AS d JOIN dba.timportconfig AS c USING (config_id)
    WHERE d.created_at > %(now)s - interval '2 days'
      -- What the files of its first day add to an import is no change.
      AND d.created_at > (SELECT min(f.created_at) FROM dba.timportfile AS f
                          WHERE f.config_id = d.config_id AND f.status IN ('Loaded', 'Empty')) + interval '1 day'
    GROUP BY 1, 2, 3 ORDER BY 5 DESC, 1, 2, 3 LIMIT %(most)s
"""
_DATASETS = """
    SELECT c.config_name, d.datasetdate, sum(f.row_count)::float8 AS row_count, count(*) AS lists, max(f.created_at) AS loaded_at
    FROM dba.timportfile AS f JOIN dba.timportconfig AS c USING (config_id) JOIN dba.tdataset AS d USING (datasetid)
    WHERE f.created_at > %(now)s - interval '100 days' AND f.status IN ('Loaded', 'Empty') AND d.isactive
      AND f.importfileid = (SELECT max(importfileid) FROM dba.timportfile WHERE datasetid = d.datasetid)
    GROUP BY 1, 2 ORDER BY 1, 2
"""
_NEWEST = """
    SELECT c.config_name, last.created_at AS loaded_at, last.datasetdate FROM dba.timportconfig AS c
    LEFT JOIN LATERAL (SELECT f.created_at, d.datasetdate FROM dba.timportfile AS f JOIN dba.tdataset AS d USING (datasetid)
                       WHERE f.config_id = c.config_id AND f.status IN ('Loaded', 'Empty')
                       ORDER BY f.importfileid DESC LIMIT 1) AS last ON true
    WHERE c.is_active = B'1' ORDER BY c.config_name
"""
_SIZE = "SELECT pg_database_size(current_database()) AS size"
_SIZES = """
    SELECT snapshottime, sum(totalsize)::float8 AS size FROM dba.ttableindexstats
    WHERE snapshottime > %(now)s - interval '90 days' AND indexname IS NULL GROUP BY 1 ORDER BY 1
"""
_TABLES = """
    WITH last AS (SELECT max(snapshottime) AS at FROM dba.ttableindexstats),
         week AS (SELECT max(snapshottime) AS at FROM dba.ttableindexstats
                  WHERE snapshottime <= (SELECT at FROM last) - interval '7 days')
    SELECT concat(s.schemaname, '.', s.tablename) AS name, s.totalsize AS size, s.rowcount AS row_count,
           s.totalsize - former.totalsize AS in_a_week
    FROM dba.ttableindexstats AS s
    LEFT JOIN dba.ttableindexstats AS former
      ON former.snapshottime = (SELECT at FROM week) AND former.indexname IS NULL
     AND (former.schemaname, former.tablename) = (s.schemaname, s.tablename)
    WHERE s.snapshottime = (SELECT at FROM last) AND s.indexname IS NULL
    ORDER BY s.totalsize DESC, 1 LIMIT %(most)s
"""
_SLOW = """
    SELECT coalesce(s.taskname, m.reportname, r.job) AS name, count(*) AS runs,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY r.took) AS usual, max(r.took) AS longest,
           (array_agg(r.took ORDER BY r.started_at DESC))[1] AS last
    FROM (SELECT *, ended_at - started_at AS took FROM dba.tjobrun
          WHERE started_at > %(now)s - interval '30 days' AND status = 'Succeeded'
            AND (schedulerid IS NOT NULL OR scheduled_at IS NOT NULL)) AS r
    LEFT JOIN dba.tscheduler AS s USING (schedulerid)
    LEFT JOIN dba.treportmanager AS m
      ON r.schedulerid IS NULL AND r.job = 'send_reports.py' AND m.reportid::text = r.arguments[1]
    GROUP BY 1 ORDER BY usual DESC, 1 LIMIT %(most)s
"""


def rows_of(cursor: "Cursor", statement: str, **values: Any) -> list[Row]:
    cursor.execute(statement, values)
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def failed_runs(cursor: "Cursor", now: datetime) -> list[Row]:
    """Return the failed runs of a week, the newest first; `is_over`: the same call has succeeded since; `command` shows its log."""
    found = rows_of(cursor, _FAILED_RUNS, now=now, bad=list(BAD_ENDS), most=MOST_RUNS)
    for run in found:
        run["command"] = typed("log", _name_of(run))
    return found


def _name_of(run: Row) -> str:
    """Return the name by which etl log knows the run: its import or report, because many of them share a script."""
    first = next(iter(run["arguments"]), "")
    if run["job"] == "run_import_job.py" and first and not first.startswith("-"):
        return str(first)
    return f"report:{first}" if run["job"] == "send_reports.py" and first.isdecimal() else str(run["job"])


def refused_files(cursor: "Cursor", now: datetime) -> list[Row]:
    """Return the files of a week that were refused, or have rejected `lines` (the first of them)."""
    found = rows_of(cursor, _REFUSED, now=now, most=MOST_FILES)
    lines: defaultdict[int, list[Row]] = defaultdict(list)
    for reject in rows_of(cursor, _REJECTS, files=[file["importfileid"] for file in found], most=MOST_LINES):
        lines[reject["importfileid"]].append(reject)
    return [{**file, "lines": lines[file["importfileid"]]} for file in found]


def changed_columns(cursor: "Cursor", now: datetime) -> list[Row]:
    """Return the columns that came or went within two days."""
    return rows_of(cursor, _DRIFT, now=now, most=MOST_FILES)


def datasets(cursor: "Cursor", now: datetime) -> list[Row]:
    """Return each active import with its newest date, and its rows on each of its last dates; that with the oldest data first."""
    dates: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows_of(cursor, _DATASETS, now=now):
        dates[row["config_name"]].append(row)
    found = [{**newest, "dates": dates[newest["config_name"]][-DATES:]} for newest in rows_of(cursor, _NEWEST)]
    return sorted(found, key=lambda one: (one["datasetdate"] or date.max, natural(one["config_name"])))


def database(cursor: "Cursor", now: datetime) -> Row:
    """Return the size of the database in bytes, its sizes over 90 days, and its largest tables."""
    (size,) = rows_of(cursor, _SIZE)
    return {**size, "sizes": rows_of(cursor, _SIZES, now=now), "tables": rows_of(cursor, _TABLES, most=MOST_TABLES)}


def slow_jobs(cursor: "Cursor", now: datetime) -> list[Row]:
    """Return how long the jobs of the schedule take: the median of 30 days, the longest, and the last run."""
    return rows_of(cursor, _SLOW, now=now, most=MOST_TABLES)


def last_drill(cursor: "Cursor") -> Row | None:
    """Return when a backup was last restored to try it, and what came of it."""
    return next(iter(rows_of(cursor, LAST_DRILL)), None)


def last_backups() -> list[Row]:
    """Return the last backups with their sizes in bytes, the newest first; none where they cannot be looked at."""
    try:
        made = sorted(backups_made(settings.backup_dir()).items(), key=lambda item: item[1], reverse=True)
        return [
            {"name": folder.name, "made": moment, "size": sum(file.stat().st_size for file in folder.iterdir())}
            for folder, moment in made[:MOST_BACKUPS]
        ]
    except (JobError, OSError):
        return []
