"""The page of one feed: its promise, what came, how much it was, what was wrong, and where it comes from and goes to."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any

from systemscripts.errors import WrongCall
from systemscripts.importing import views
from systemscripts.importing.config import ImportConfig, known_configs, load_config
from systemscripts.schedule import feed_states
from systemscripts.schedule.promises import Calendar
from systemscripts.status_page import feed_days
from systemscripts.status_page.history import Row, rows_of

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection
    from psycopg2.extensions import cursor as Cursor

TEMPLATE = "feed.html"
ARRIVALS, LINES, COLUMNS = 90, 40, 60

_ARRIVALS = """
    SELECT f.importfileid, f.created_at, f.file_name, f.status, f.row_count::float8, f.reject_count, f.error, d.datasetid, d.datasetdate,
           d.label, d.isactive, s.statusname
    FROM dba.timportfile AS f LEFT JOIN dba.tdataset AS d USING (datasetid) LEFT JOIN dba.tdatastatus AS s USING (datastatusid)
    WHERE f.config_id = %(config)s ORDER BY f.importfileid DESC LIMIT %(most)s
"""
_REJECTS = """
    SELECT f.file_name, r.line_number, r.column_name, r.reason, left(r.original, 400) AS original
    FROM unnest(%(files)s::bigint[]) AS file (id) JOIN dba.timportreject AS r ON r.importfileid = file.id
    JOIN dba.timportfile AS f ON f.importfileid = file.id ORDER BY f.importfileid DESC, r.rejectid LIMIT %(most)s
"""
_DRIFT = """
    SELECT created_at, kind, column_name, file_name FROM dba.timportdrift
    WHERE config_id = %(config)s AND created_at > %(now)s - interval '90 days' ORDER BY driftid DESC LIMIT %(most)s
"""
_PROFILES = """
    SELECT row_count, counted_rows, filled FROM dba.tdatasetprofile WHERE datasetid = ANY (%(datasets)s) ORDER BY datasetid
"""
_CONFIGURATION = """
    SELECT 'dba.timportconfig' AS "table", to_jsonb(c) AS values FROM dba.timportconfig AS c WHERE config_id = %(config)s
    UNION ALL SELECT 'dba.tfeed', to_jsonb(f) FROM dba.tfeed AS f WHERE config_id = %(config)s
    UNION ALL SELECT 'dba.timportcolumn', to_jsonb(r) FROM dba.timportcolumn AS r WHERE config_id = %(config)s
    UNION ALL SELECT 'dba.timportcheck', to_jsonb(k) FROM dba.timportcheck AS k WHERE config_id = %(config)s
"""
_SOURCES = """
    SELECT concat('mails to ', gmail_account, ' from ' || sender_filter, ' with the subject ' || subject_pattern) AS told
    FROM dba.tinboxconfig WHERE is_active AND rtrim(local_repository_path, '/') = %(directory)s
    UNION ALL
    SELECT 'files of ' || config_name || CASE kind WHEN 'rclone' THEN ' in the cloud, ' ELSE ' by SFTP, ' END || incoming_path
    FROM dba.texchangeconfig
    WHERE is_active AND rtrim(local_repository_path, '/') = %(directory)s
    UNION ALL
    SELECT 'the downloads from MeetMax' WHERE EXISTS (SELECT FROM dba.tdownload WHERE file_name = ANY (%(files)s))
"""
# What reads the import's data in the database: a report may use one of these instead.
_READERS = """
    SELECT proname::text AS name FROM pg_proc
    WHERE pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) AND prosrc ~* ('\\m(' || %(names)s || ')\\M')
    UNION
    SELECT viewname::text FROM pg_views
    WHERE schemaname NOT IN ('pg_catalog', 'information_schema') AND definition ~* ('\\m(' || %(names)s || ')\\M')
"""
_REPORTS = """
    SELECT m.reportid, m.reportname, m.frequency::text, concat_ws(', ', m.toheader, 'the folder ' || m.deliver_to,
           (SELECT string_agg(concat_ws(', ', r.toheader, 'the folder ' || r.deliver_to), ', ' ORDER BY r.reportrecipientid)
            FROM dba.treportrecipient AS r
            WHERE r.reportid = m.reportid AND r.is_active = B'1')) AS readers,
           (SELECT max(d.updated_at) FROM dba.treportdelivery AS d WHERE d.reportid = m.reportid AND d.status = 'Sent') AS sent_at
    FROM dba.treportmanager AS m
    WHERE m.datastatusid = 1
      AND concat(m.emailbodyqueries, ' ', m.attachmentqueries, ' ', m.required_datasets) ~* ('\\m(' || %(names)s || ')\\M') ORDER BY 2, 1
"""
_PASSED_OVER = {"created_at", "last_modified_at", "createddate", "createdby", "config_id"}


def contents(connection: "Connection", wanted: str, now: datetime, zone: tzinfo) -> dict[str, Any]:
    """Return all that the page shows of a feed, or of an import; raises WrongCall if there is neither."""
    with connection, connection.cursor() as cursor:
        name = _import_of(cursor, wanted)
    try:
        config = load_config(connection, name)
    except WrongCall as problem:
        if name == wanted:
            raise WrongCall(
                f"no feed and no active import is {wanted!r}; imports: {known_configs(connection)}"
            ) from None
        raise problem from None
    with connection, connection.cursor() as cursor:
        calendar = Calendar(cursor, now, zone)
        days = feed_days.last_days(calendar, now)
        arrivals = rows_of(cursor, _ARRIVALS, config=config.config_id, most=ARRIVALS)
        states = [
            state for state in feed_states.states(cursor, now, calendar) if state.import_name == config.config_name
        ]
        return {
            "config": config,
            "title": states[0].name if states else config.config_name,
            "promises": states,
            "days": days,
            "feeds": [
                row for row in feed_days.rows(cursor, calendar, days, now) if row.import_name == config.config_name
            ],
            "arrivals": arrivals,
            "rejects": rows_of(cursor, _REJECTS, files=[file["importfileid"] for file in arrivals], most=LINES),
            "drift": rows_of(cursor, _DRIFT, config=config.config_id, now=now, most=LINES),
            "columns": _filled(rows_of(cursor, _PROFILES, datasets=[file["datasetid"] for file in arrivals])),
            "configuration": list(_configuration(cursor, config)),
            "sources": _sources(cursor, config, arrivals),
            "reports": _reports(cursor, config),
            "now": now.astimezone(zone),
            "zone": zone,
        }


def _import_of(cursor: "Cursor", wanted: str) -> str:
    try:
        feed = feed_states.find(cursor, wanted)
    except WrongCall:
        return wanted
    if not feed.config_name:
        raise WrongCall(f"no import loads what comes of the feed {feed.name!r}, so it has no page; see etl feeds")
    return feed.config_name


def _sources(cursor: "Cursor", config: ImportConfig, arrivals: list[Row]) -> list[str]:
    files = [file["file_name"] for file in arrivals[:5]]
    return [row["told"] for row in rows_of(cursor, _SOURCES, directory=str(config.source_directory), files=files)]


def _reports(cursor: "Cursor", config: ImportConfig) -> list[Row]:
    """Return the active reports that name the import's table, a view or function over it, or its dataset type."""
    view = views.view_name(config)
    names = {config.table, view, views.latest_name(view)}
    names |= {row["name"] for row in rows_of(cursor, _READERS, names=_pattern(names))}
    return rows_of(cursor, _REPORTS, names=_pattern(names | {config.datasettype}))


def _pattern(names: set[str]) -> str:
    """Return a regular expression of PostgreSQL that fits each of the names."""
    return "|".join("".join(s if s.isalnum() or s == "_" else f"\\{s}" for s in name) for name in sorted(names))


def _filled(profiles: list[Row]) -> list[tuple[str, list[float | None]]]:
    """Return of each column the share of filled cells in each dataset, the oldest first; None where it was not there."""
    shares: defaultdict[str, list[float | None]] = defaultdict(list)
    for place, profile in enumerate(profiles):
        for column, count in profile["filled"].items():
            shares[column] += [None] * (place - len(shares[column]))
            shares[column].append(count / profile["counted_rows"] if profile["counted_rows"] else None)
    return [(column, [*found, *[None] * (len(profiles) - len(found))]) for column, found in shares.items()][:COLUMNS]


def _configuration(cursor: "Cursor", config: ImportConfig) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """Yield each row that configures the import: its table, and its columns that have a value."""
    for row in rows_of(cursor, _CONFIGURATION, config=config.config_id):
        given = [
            (name, value) for name, value in row["values"].items() if value is not None and name not in _PASSED_OVER
        ]
        yield row["table"], given
