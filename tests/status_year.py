"""Years of work of a made-up firm, written straight into the ledgers: for pictures, tests and a benchmark of the status page.

`NOW` is a Friday afternoon. Each weekday the jobs ran and the feeds came, but for what the numbers of a row say: some runs
failed or did not begin, some lists were late or did not come, some files were refused.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

NOW = datetime(2026, 11, 27, 14, 5, tzinfo=UTC)
HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>",
    '"><style>*{display:none}</style>',
    "\u202egpj.exe \u2067turned\u2069",
    "long " + "x" * 4_995,
    "{{ 7 * 7 }} {% raw %}",
    "a\tb\u00a0\U0001f600 ÄÖÜ 中文 العربية",
)

_FEEDS = """
    INSERT INTO dba.tdatasettype (typename) SELECT 'Kind ' || n FROM generate_series(1, %(feeds)s) AS n;
    INSERT INTO dba.timportconfig (config_name, datasource, datasettype, source_directory, archive_directory, file_pattern, file_type,
                                   metadata_label_source, dateconfig, metadata_label_location, datelocation, target_table)
    SELECT 'Import_' || n, 'MeetMax', 'Kind ' || n, %(home)s || '/file_watcher', %(home)s || '/archive', 'list_' || n || '_*.csv', 'CSV',
           'static', 'filename', 'x', '0', 'public.tkind' || n FROM generate_series(1, %(feeds)s) AS n;
    INSERT INTO dba.tfeed (feedname, config_id, labels, due_by, for_date, grace_minutes, active_since)
    SELECT 'Feed ' || n, config_id, ARRAY(SELECT 'label ' || l FROM generate_series(1, 1 + n %% 3) AS l), '0 8 * * 1-5',
           'same day', 30, '2016-01-01' FROM generate_series(1, %(feeds)s) AS n JOIN dba.timportconfig ON config_name = 'Import_' || n;
    CREATE TEMPORARY TABLE arrival AS
    SELECT day::date AS day, n, 'label ' || l AS label, row_number() OVER () + 1000000 AS datasetid,
           (day + CASE WHEN (n * 31 + l * 7 + extract(doy FROM day)::integer * 13) %% 71 = 0 THEN interval '9 hours 10 minutes'
                       ELSE interval '7 hours' + n * interval '20 seconds' END) AT TIME ZONE 'UTC' AS moment,
           (n * 17 + l * 5 + extract(doy FROM day)::integer * 11) %% 83 = 0 AS is_missing
    FROM generate_series((%(now)s::date - %(days)s)::timestamp, %(now)s::date, '1 day') AS day, generate_series(1, %(feeds)s) AS n,
         LATERAL generate_series(1, 1 + n %% 3) AS l
    WHERE extract(isodow FROM day) < 6;
    INSERT INTO dba.tdataset (datasetid, datasetdate, label, datasettypeid, datasourceid, datastatusid, isactive, effthrudate)
    SELECT datasetid, day, label, datasettypeid, 1,
           CASE WHEN n = 5 AND day = %(now)s::date THEN held.datastatusid ELSE 1 END, NOT (n = 5 AND day = %(now)s::date), '9999-01-01'
    FROM arrival JOIN dba.tdatasettype ON typename = 'Kind ' || n,
         (SELECT datastatusid FROM dba.tdatastatus WHERE statusname = 'Held') AS held
    WHERE NOT is_missing;
    INSERT INTO dba.timportfile (config_id, file_name, file_size, sha256, status, datasetid, row_count, archived_path,
                                 created_at)
    SELECT config_id, format('list_%%s_%%s.csv', n, to_char(day, 'YYYYMMDD')), 20000,
           encode(sha256(datasetid::text::bytea), 'hex'), 'Loaded', datasetid,
           300 + n * 10 + extract(doy FROM day)::integer %% 40, '/archive/' || datasetid, moment
    FROM arrival JOIN dba.timportconfig ON config_name = 'Import_' || n WHERE NOT is_missing ORDER BY moment;
    INSERT INTO dba.timportfile (config_id, file_name, status, error, archived_path, created_at)
    SELECT config_id, format('list_%%s_%%s.csv', n, to_char(day, 'YYYYMMDD')), 'Failed',
           'line 7: it has 3 fields, and the header row has 4', '/failed/' || datasetid, moment
    FROM arrival JOIN dba.timportconfig ON config_name = 'Import_' || n WHERE is_missing AND n %% 2 = 0;
    INSERT INTO dba.timportfile (config_id, file_name, file_size, sha256, status, datasetid, row_count, reject_count,
                                 archived_path, created_at)
    SELECT config_id, 'with rejects.csv', 5, repeat('a', 64), 'Loaded', datasetid, 9, 2, '/archive/r', moment
    FROM arrival JOIN dba.timportconfig ON config_name = 'Import_' || n WHERE day = %(now)s::date AND n = 1 AND NOT is_missing LIMIT 1;
    INSERT INTO dba.timportreject (importfileid, line_number, column_name, reason, original)
    SELECT importfileid, 3, 'price', 'it is no number: ''n/a''', '4711,<b>n/a</b>' FROM dba.timportfile WHERE reject_count > 0;
    DROP TABLE arrival
"""
_JOBS = """
    INSERT INTO dba.tscheduler (taskname, frequency, scriptpath, scriptargs, datastatusid, active_since, createddate)
    SELECT 'Job ' || n, CASE WHEN n <= 2 THEN '*/15 * * * *' ELSE format('%%s %%s * * 1-5', n, 5 + n %% 15) END, 'run_import_job.py',
           'Import_' || n, 1, '2016-01-01', '2016-01-01' FROM generate_series(1, %(jobs)s) AS n;
    INSERT INTO dba.tjobrun (run_uuid, job, arguments, schedulerid, scheduled_at, started_at, ended_at, status,
                             exit_code, reason, output_tail)
    SELECT gen_random_uuid(), scriptpath, ARRAY[scriptargs], schedulerid, slot, slot + n * interval '1 second',
           slot + n * interval '1 second' + (5 + n + ok %% 7) * interval '1 second',
           CASE WHEN ok %% 97 = 0 THEN 'Failed' ELSE 'Succeeded' END,
           CASE WHEN ok %% 97 = 0 THEN 1 ELSE 0 END, CASE WHEN ok %% 97 = 0 THEN 'line 7: it has 3 fields, and the header row has 4' END,
           CASE WHEN ok %% 97 = 0 THEN repeat(E'INFO a line of the job\\n', 30) || E'ERROR \\x1b[31m<i>end</i>' END
    FROM (SELECT s.*, substr(taskname, 5)::integer AS n, substr(taskname, 5)::integer * 7 + extract(doy FROM day)::integer * 3 + part AS ok,
                 (day + CASE WHEN frequency LIKE '*%%' THEN part * interval '15 minutes'
                             ELSE make_interval(hours => 5 + substr(taskname, 5)::integer %% 15, mins => substr(taskname, 5)::integer) END)
                 AT TIME ZONE 'UTC' AS slot
          FROM dba.tscheduler AS s, generate_series((%(now)s::date - %(days)s)::timestamp, %(now)s::date, '1 day') AS day,
               LATERAL generate_series(0, CASE WHEN frequency LIKE '*%%' THEN 95 ELSE 0 END) AS part
          WHERE taskname LIKE 'Job %%' AND (extract(isodow FROM day) < 6 OR frequency LIKE '*%%')) AS due
    WHERE slot <= %(now)s AND ok %% 211 <> 0 ORDER BY slot
"""
_STATS = """
    INSERT INTO dba.ttableindexstats (snapshottime, schemaname, tablename, indexname, rowcount, totalsize)
    SELECT day AT TIME ZONE 'UTC' + interval '90 minutes', 'public', 'tkind' || n, NULL, 1000 * n + number * 50, 100000 * n + number * 9000
    FROM generate_series((%(now)s::date - %(days)s)::timestamp, %(now)s::date, '1 day') WITH ORDINALITY AS d (day, number),
         generate_series(1, least(%(feeds)s, 40)) AS n
"""
_TROUBLE = """
    INSERT INTO dba.tincident (kind, source_table, source_id, name, first_slot, last_slot, occurrences, detail,
                               run_uuid, opened_at)
    SELECT 'failed', 'dba.tscheduler', schedulerid, 'Job ' || substr(arguments[1], 8), scheduled_at, scheduled_at, 1, reason,
           run_uuid, ended_at
    FROM dba.tjobrun WHERE status = 'Failed' AND started_at > %(now)s::timestamptz - interval '1 day' ORDER BY started_at DESC LIMIT 2
"""


def fill(query: Callable[..., Any], home: Path, days: int, jobs: int = 40, feeds: int = 60) -> None:
    """Write `days` days of history that end at NOW into an empty installation, by a function that runs one statement."""
    values = {"now": f"{NOW:%Y-%m-%d %H:%M%z}", "days": days, "jobs": jobs, "feeds": feeds, "home": str(home)}
    for statements in (_FEEDS, _JOBS, _STATS, _TROUBLE):
        for statement in statements.split(";\n"):
            query(statement, values)
    query("ANALYZE")


def make_hostile(query: Callable[..., Any]) -> None:
    """Give names and texts of others to some rows."""
    for number, name in enumerate(HOSTILE, start=1):
        values = {"name": name, "number": number, "line": name.replace("\t", " ")[:200]}
        query("UPDATE dba.tscheduler SET taskname = %(line)s WHERE taskname = 'Job ' || %(number)s", values)
        query("UPDATE dba.tfeed SET feedname = %(line)s WHERE feedname = 'Feed ' || %(number)s", values)
        query(
            "UPDATE dba.tfeed SET labels = labels || replace(%(name)s, E'\\t', ' ') WHERE feedname = 'Feed ' || 20 + %(number)s",
            values,
        )
    query(
        "UPDATE dba.timportfile SET error = %(name)s, file_name = %(name)s WHERE status = 'Failed'",
        {"name": "".join(HOSTILE[:3])},
    )
    query("UPDATE dba.tincident SET detail = %(name)s", {"name": "".join(HOSTILE[:3])})
