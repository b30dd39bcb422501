"""What a week brought: its jobs, its feeds and imports, how the database grew, and what is set up and not used."""

from datetime import date, datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING, NamedTuple

from systemscripts.schedule.promises import Calendar
from systemscripts.status_page import feed_days, timeline
from systemscripts.status_page.feed_days import HELD, FeedRow
from systemscripts.status_page.history import Row, rows_of
from systemscripts.status_page.timeline import Line

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor

_DAY, _WEEK = timedelta(days=1), timedelta(days=7)
MOST_SLOW, MOST_UNUSED = 10, 40

_FILES = """
    SELECT c.config_name, f.created_at >= %(start)s AS is_this_week,
           count(*) FILTER (WHERE f.status IN ('Loaded', 'Empty')) AS lists,
           coalesce(sum(f.row_count) FILTER (WHERE f.status IN ('Loaded', 'Empty')), 0)::bigint AS row_count,
           count(*) FILTER (WHERE f.status = 'Failed') AS refused,
           count(*) FILTER (WHERE s.statusname = 'Held') AS held
    FROM dba.timportfile AS f JOIN dba.timportconfig AS c USING (config_id)
    LEFT JOIN dba.tdataset AS d USING (datasetid) LEFT JOIN dba.tdatastatus AS s USING (datastatusid)
    WHERE f.created_at >= %(before)s AND f.created_at < %(end)s GROUP BY 1, 2
"""
_SLOW = """
    SELECT coalesce(s.taskname, m.reportname, r.job) AS name,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY took) FILTER (WHERE is_this_week) AS took,
           max(took) FILTER (WHERE is_this_week) AS longest,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY took) FILTER (WHERE NOT is_this_week) AS usual
    FROM (SELECT *, ended_at - started_at AS took, started_at >= %(start)s AS is_this_week FROM dba.tjobrun
          WHERE started_at >= %(start)s - interval '30 days' AND started_at < %(end)s AND status = 'Succeeded'
            AND (schedulerid IS NOT NULL OR scheduled_at IS NOT NULL)) AS r
    LEFT JOIN dba.tscheduler AS s USING (schedulerid)
    LEFT JOIN dba.treportmanager AS m
      ON r.schedulerid IS NULL AND r.job = 'send_reports.py' AND m.reportid::text = r.arguments[1]
    GROUP BY 1 HAVING bool_or(is_this_week) ORDER BY took DESC, 1 LIMIT %(most)s
"""
_SIZES = """
    SELECT sum(totalsize) FILTER (WHERE snapshottime = last.at)::float8 AS last,
           sum(totalsize) FILTER (WHERE snapshottime = former.at)::float8 AS former
    FROM dba.ttableindexstats,
         (SELECT max(snapshottime) AS at FROM dba.ttableindexstats WHERE snapshottime < %(end)s) AS last,
         (SELECT max(snapshottime) AS at FROM dba.ttableindexstats WHERE snapshottime < %(start)s) AS former
    WHERE indexname IS NULL AND snapshottime IN (last.at, former.at)
"""
# What is a week old and was never used; what is paused for a month.
_UNUSED = """
    SELECT * FROM (
        SELECT 1 AS kind, 'import' AS what, config_name AS name, 'it never loaded a file' AS told
        FROM dba.timportconfig AS c WHERE is_active = B'1' AND created_at < %(old)s
          AND NOT EXISTS (SELECT FROM dba.timportfile AS f WHERE f.config_id = c.config_id AND f.status IN ('Loaded', 'Empty'))
        UNION ALL
        SELECT 2, 'job', taskname, 'it never ran' FROM dba.tscheduler AS t
        WHERE datastatusid = 1 AND greatest(createddate, active_since) < %(old)s
          AND NOT EXISTS (SELECT FROM dba.tjobrun AS r WHERE r.schedulerid = t.schedulerid AND r.status <> 'Skipped')
        UNION ALL
        SELECT 3, 'report', reportname, 'it was never sent' FROM dba.treportmanager AS m
        WHERE datastatusid = 1 AND greatest(createddate, active_since) < %(old)s
          AND NOT EXISTS (SELECT FROM dba.treportdelivery AS d WHERE d.reportid = m.reportid AND d.status = 'Sent')
        UNION ALL
        SELECT 4, 'inbox rule', config_name, 'no mail ever fitted it' FROM dba.tinboxconfig AS i WHERE is_active AND created_at < %(old)s
          AND NOT EXISTS (SELECT FROM dba.tinboxmessage AS m WHERE m.config_id = i.config_id)
        UNION ALL
        SELECT 5, 'folder', config_name, 'no file was ever taken from it'
        FROM dba.texchangeconfig AS i WHERE is_active AND incoming_path IS NOT NULL AND created_at < %(old)s
          AND NOT EXISTS (SELECT FROM dba.treceivedfile AS f WHERE f.sftp_config_id = i.config_id)
        UNION ALL
        SELECT 6, 'feed', feedname,
               concat('it is paused since ' || to_char(paused_since, 'YYYY-MM-DD'), ': ' || paused_reason)
        FROM dba.tfeed WHERE datastatusid = 2 AND coalesce(paused_since, createddate) < %(now)s - interval '30 days'
    ) AS found ORDER BY kind, name LIMIT %(most)s
"""
_CHANGES = """
    WITH made AS (
        SELECT 'import' AS what, config_name AS name, created_at AS made_at, '' AS who, last_modified_at AS changed_at, 'changed' AS told
        FROM dba.timportconfig
        UNION ALL SELECT 'inbox rule', config_name, created_at, '', last_modified_at, 'changed' FROM dba.tinboxconfig
        UNION ALL SELECT 'folder', config_name, created_at, '', last_modified_at, 'changed' FROM dba.texchangeconfig
        UNION ALL SELECT 'job', taskname, createddate, createduser, active_since, 'resumed, or at another time' FROM dba.tscheduler
        UNION ALL SELECT 'report', reportname, createddate, createduser, active_since, 'resumed, or at another time' FROM dba.treportmanager
        UNION ALL SELECT 'feed', feedname, createddate, createduser, active_since, 'resumed, or due at another time' FROM dba.tfeed
    )
    SELECT what, name, 'new' AS told, made_at AS moment, who FROM made WHERE made_at >= %(start)s AND made_at < %(end)s
    UNION ALL
    SELECT what, name, told, changed_at, '' FROM made
    WHERE changed_at >= %(start)s AND changed_at < %(end)s AND changed_at > made_at + interval '1 second' AND made_at < %(start)s
    UNION ALL
    SELECT 'feed', feedname, concat('paused', ': ' || paused_reason), paused_since, coalesce(paused_by, '') FROM dba.tfeed
    WHERE paused_since >= %(start)s AND paused_since < %(end)s
    ORDER BY moment DESC, what, name
"""


class Week(NamedTuple):
    """Seven days that ended at a midnight of the machine's zone."""

    start: datetime
    end: datetime

    @property
    def days(self) -> list[date]:
        return [self.start.date() + number * _DAY for number in range(7)]


class Source(NamedTuple):
    """What came of a feed, or of an import without one; `lists` is compared with the same number of the week before."""

    name: str
    due: int
    lists: int
    lists_before: int
    missing: int
    held: int
    refused: int
    row_count: int
    rows_before: int

    @property
    def is_wrong(self) -> bool:
        return bool(self.missing or self.held or self.refused)


def week_before(now: datetime, zone: tzinfo, weeks_ago: int) -> Week:
    """Return the seven days until the last midnight, or as many weeks before these."""
    last = now.astimezone(zone).date() - weeks_ago * _WEEK
    start, end = (datetime.combine(day, time(), zone) for day in (last - _WEEK, last))
    return Week(start, end)


def jobs(cursor: "Cursor", week: Week, now: datetime, zone: tzinfo) -> list[Line]:
    """Return the rows of the schedule that were due, what went wrong first."""
    lines = [line for line in timeline.between(cursor, week.start, week.end, now, zone) if line.marks or line.problem]
    return sorted(lines, key=lambda line: not (line.is_wrong or line.late or line.problem))


def sources(cursor: "Cursor", calendar: Calendar, week: Week, now: datetime) -> list[Source]:
    """Return the feeds, then the imports without one, those with something wrong first."""
    former = [day - _WEEK for day in week.days]
    files = {
        (row["config_name"], row["is_this_week"]): row
        for row in rows_of(cursor, _FILES, before=week.start - _WEEK, start=week.start, end=week.end)
    }
    found = [_source(row, files) for row in feed_days.rows(cursor, calendar, [*former, *week.days], now)]
    return sorted(found, key=lambda source: not source.is_wrong)


_NOTHING: Row = {"lists": 0, "row_count": 0, "refused": 0, "held": 0}


def _source(row: FeedRow, files: dict[tuple[str, bool], Row]) -> Source:
    # Of several feeds of one import the first one has what is known of its files.
    this, before = (files.pop((row.import_name, is_this), _NOTHING) for is_this in (True, False))
    cells, former = row.cells[7:], row.cells[:7]
    due = sum(cell.due for cell in cells)
    # A feed counts what it promises; without a promise, and on days on which nothing was promised, files count.
    lists, lists_before = this["lists"], before["lists"]
    if row.due_by:
        lists, lists_before = (sum(cell.came for cell in some) for some in (cells, former))
    held = this["held"] or sum(cell.state == HELD for cell in cells)
    figures = due - lists if row.due_by else 0, held, this["refused"], this["row_count"], before["row_count"]
    return Source(row.name or row.import_name, due, lists, lists_before, *figures)


def slow_jobs(cursor: "Cursor", week: Week) -> list[Row]:
    """Return the jobs that took longest, with the median of the week and that of the 30 days before."""
    return rows_of(cursor, _SLOW, start=week.start, end=week.end, most=MOST_SLOW)


def growth(cursor: "Cursor", week: Week) -> float | None:
    """Return by how many bytes the tables grew; None if nobody measured them before and after."""
    (sizes,) = rows_of(cursor, _SIZES, start=week.start, end=week.end)
    return None if None in sizes.values() else sizes["last"] - sizes["former"]


def unused(cursor: "Cursor", now: datetime) -> list[Row]:
    """Return what is set up for a week and was never used, and the feeds that are paused for a month."""
    return rows_of(cursor, _UNUSED, now=now, old=now - _WEEK, most=MOST_UNUSED)


def changes(cursor: "Cursor", week: Week) -> list[Row]:
    """Return the rows of the configuration that were made or changed, as far as the tables keep it, the newest first."""
    return rows_of(cursor, _CHANGES, start=week.start, end=week.end)
