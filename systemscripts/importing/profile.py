"""Measure what a dataset brought, keep it in dba.tdatasetprofile, and read what the earlier ones of its label brought."""

import json
from datetime import date

from psycopg2.extensions import cursor as Cursor
from psycopg2.sql import SQL, Composable, Identifier, Literal

from systemscripts.importing.config import ConfigurationError, ImportConfig
from systemscripts.importing.usual import MOST_RECENT, Judgement, Past, Profile, judge

# Cells are counted in so many of the first rows, so that a large file takes hardly longer.
COUNTED_ROWS = 100_000
# Half a year of business days.
_MOST_PAST = 130

# Of each date the dataset that counted last. What a person took back, and what was never in use, says nothing.
_PAST = """
    WITH own AS (SELECT datasettypeid, %(label)s AS label, %(day)s AS datasetdate FROM dba.tdatasettype WHERE typename = %(type)s),
    past AS (
        SELECT DISTINCT ON (d.datasetdate) d.datasetdate, p.*
        FROM own JOIN dba.tdataset AS d USING (datasettypeid, label) JOIN dba.tdatasetprofile AS p USING (datasetid)
        WHERE d.datasetdate < own.datasetdate AND d.datastatusid IN (1, 2)
          AND NOT EXISTS (SELECT FROM dba.tdatasetevent AS e
                          WHERE e.datasetid = d.datasetid AND e.event IN ('undone', 'replaced'))
        ORDER BY d.datasetdate DESC, d.isactive DESC, d.datasetid DESC LIMIT %(most)s
    ), month_end AS (
        SELECT max(fulldate) AS day FROM dba.tcalendardays, own
        WHERE isbusday AND fulldate BETWEEN own.datasetdate - 300 AND own.datasetdate + 31
        GROUP BY date_trunc('month', fulldate)
    )
    SELECT past.datasetdate, past.datasetdate IN (SELECT day FROM month_end), row_count, counted_rows,
           CASE WHEN number <= %(recent)s THEN filled ELSE '{}' END,
           CASE WHEN number <= %(recent)s THEN distinct_values ELSE '{}' END, sha256, usual_rows::float8,
           EXISTS (SELECT FROM dba.tdatasetevent AS e WHERE e.datasetid = past.datasetid AND e.event = 'released'),
           EXISTS (SELECT FROM dba.tdatasetevent AS e WHERE e.datasetid = past.datasetid AND e.event = 'warned'),
           own.datasetdate IN (SELECT day FROM month_end)
    FROM (SELECT past.*, row_number() OVER (ORDER BY datasetdate DESC) AS number FROM past) AS past, own
    ORDER BY number
"""


def measure(
    cursor: Cursor, config: ImportConfig, table: Composable, columns: list[str], datasetid: int | None, rows: int
) -> Profile:
    """Count the filled cells of the columns, and the different values of the import's key_columns.

    `table` has the dataset's rows, or in a dry run (`datasetid` is None) those of the file alone. Raises ConfigurationError
    for a key column that the file does not fill.
    """
    keys = config.key_columns or []
    if wrong := [name for name in keys if name not in columns]:
        raise ConfigurationError(
            f"import {config.config_name}: key_columns names {wrong[0]!r}; the file has: {', '.join(columns)}"
        )
    counts = [SQL("count({})").format(Identifier(name)) for name in columns]
    counts += [SQL("count(DISTINCT {}::text)").format(Identifier(name)) for name in keys]
    own = SQL("") if datasetid is None else SQL("WHERE datasetid = {}").format(Literal(datasetid))
    cursor.execute(
        SQL("SELECT count(*), ARRAY[{}] FROM (SELECT {} FROM {} {} LIMIT {}) AS first_rows").format(
            SQL(", ").join(counts), SQL(", ").join(map(Identifier, columns)), table, own, Literal(COUNTED_ROWS)
        )
    )
    ((counted, found),) = cursor.fetchall()
    filled, distinct = found[: len(columns)], found[len(columns) :]
    return Profile(rows, counted, dict(zip(columns, filled, strict=True)), dict(zip(keys, distinct, strict=True)))


def compare(cursor: Cursor, config: ImportConfig, dataset: tuple[str, date], profile: Profile) -> Judgement:
    """Say what of a profile is not as usual for the label; `dataset` is its label and date."""
    label, day = dataset
    cursor.execute(
        _PAST, {"type": config.datasettype, "label": label, "day": day, "most": _MOST_PAST, "recent": MOST_RECENT}
    )
    past, is_month_end = [], False
    for then, was_end, rows, counted, filled, distinct, sha256, usual_rows, released, warned, is_month_end in cursor:  # noqa: B007 — the last one is the same in each row
        past.append(Past(then, was_end, Profile(rows, counted, filled, distinct, sha256), usual_rows, released, warned))
    return judge(profile, day, is_month_end, past)


def keep(cursor: Cursor, datasetid: int, profile: Profile, usual_rows: float | None) -> None:
    """Write the profile for the datasets to come."""
    cursor.execute(
        "INSERT INTO dba.tdatasetprofile (datasetid, row_count, counted_rows, filled, distinct_values, sha256, usual_rows)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s)",
        (datasetid, profile.rows, profile.counted, json.dumps(profile.filled), json.dumps(profile.distinct), profile.sha256, usual_rows),
    )  # fmt: skip
