"""Reports made of a real database, by the job as cron starts it and by its parts."""

import contextlib
import csv
import email
import email.policy
import io
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from bs4 import BeautifulSoup
from conftest import Installation

from systemscripts import db_config
from systemscripts.reporting import queries
from systemscripts.reporting.csv_file import csv_bytes
from systemscripts.reporting.model import Query, ReportError, Table
from systemscripts.reporting.queries import ReportQueries
from systemscripts.reporting.sparklines import series_of
from systemscripts.reporting.tables import html_table
from systemscripts.reporting.values import exact_text


def add_report(etl: Installation, **changes: object) -> int:
    row = {
        "name": "Test",
        "template": "<p>{timestamp}</p>{{grid1}}",
        "grids": json.dumps({"grid1": "SELECT 12345 AS n"}),
        "files": None,
        "status": 1,
        **changes,
    }
    return etl.value(
        "SELECT dba.f_insert_treportmanager(%s, '', '0 5 * * *', 'Subject {timestamp}', 'a@x.com', %s, %s, %s, %s, %s)",
        *(row["name"], row["files"] is not None, row["files"], row["template"], row["grids"], row["status"]),
    )


# ---- values: as PostgreSQL writes them -----------------------------------------------------

ZONE = "Europe/Berlin"

# An expression, and where they are not PostgreSQL's own text: its text in a file, its text in a mail.
VALUES = [
    ("interval '1 month'", None, None),
    ("interval '1 year 2 mons -3 days 04:05:06.7'", None, None),
    ("age(date '2026-03-01', date '2025-01-31')", None, None),
    ("interval '-1 hour'", None, None),
    ("interval '25:30:00'", None, None),
    ("interval '1 day'", None, None),
    ("timestamp '2026-03-02 10:00' - timestamp '2026-02-28 08:00'", None, None),
    ("ARRAY[interval '1 mon']", None, '"1 mon"'),
    ("ARRAY['a','b,c']", None, 'a, "b,c"'),
    ("ARRAY[NULL,'x']", None, "NULL, x"),
    ("ARRAY['NULL', '', ' a', '{', '\"', '\\']", None, '"NULL", "", " a", "{", "\\"", "\\\\"'),
    ("ARRAY[E'a\nb']", None, '"a\nb"'),
    ("ARRAY[]::text[]", None, None),
    ("ARRAY[[1,2],[3,4]]", None, None),
    ("'[0:1]={1,2}'::int[]", None, None),
    ("ARRAY[1.50, NULL, 'NaN']::numeric[]", None, "1.50, NULL, NaN"),
    ("ARRAY[true, false]", None, "t, f"),
    ("ARRAY[timestamptz '2026-03-02 05:00Z']", None, '"2026-03-02 06:00:00+01"'),
    ("ARRAY['4f4cf7a2-6e4c-4a1b-9b4e-4f4cf7a26e4c'::uuid]", None, "4f4cf7a2-6e4c-4a1b-9b4e-4f4cf7a26e4c"),
    ("ARRAY[box '((1,2),(3,4))', box '((5,6),(7,8))']", None, None),
    ("'1 2'::int2vector", None, None),
    ("12.5::money", None, None),
    ("(-1234.5)::money", None, None),
    ("int4range(1, 5)", None, None),
    ("'empty'::daterange", None, None),
    ("tstzrange('2026-03-02 05:00Z', NULL)", None, None),
    ("'{[1,2),[5,7)}'::int4multirange", None, None),
    ("B'0101'", None, None),
    ("B'01'::bit varying", None, None),
    ("timetz '05:00:07+02'", None, None),
    ("time '24:00:00'", None, None),
    ("time '05:00:07.25'", "05:00:07.250000", "05:00"),
    ("date '10000-01-01'", None, None),
    ("date '0044-03-15 BC'", None, None),
    ("timestamp '12026-03-02 05:00'", None, None),
    ("timestamptz '0044-03-15 12:00 BC'", None, None),
    ("date 'infinity'", None, None),
    ("timestamptz '-infinity'", None, None),
    ("timestamp 'infinity'", None, None),
    ("timestamptz '2026-03-02 05:00:07Z'", "2026-03-02 06:00:07", "2026-03-02 06:00"),
    ("timestamptz '1890-01-01 00:00:00Z'", "1890-01-01 00:53:28", "1890-01-01 00:53"),
    ("timestamptz '2026-10-25 01:30Z'", "2026-10-25 02:30:00+01:00", "2026-10-25 02:30+01:00"),
    ("timestamp '2026-10-25 02:30'", None, "2026-10-25 02:30"),
    ("'NaN'::numeric", None, None),
    ("'-Infinity'::numeric", None, None),
    ("'-Infinity'::float8", None, None),
    ("'NaN'::float4", None, None),
    ("0.1::float8 + 0.2::float8", None, "0.3"),
    ("0.1::float4", None, None),
    ("1::float8", None, "1.0"),
    ("1e-7::float8", None, "1e-7"),
    ("1.50", None, None),
    ("12345678901234567890123.45", None, "12,345,678,901,234,567,890,123.45"),
    ("true", "TRUE", "yes"),
    ("""'{"b": 1, "a": 12345678901234567890.10, "b": 2}'::json""", None, None),
    ("""'{"b": 1e400, "a": 1.00}'::jsonb""", None, None),
    ("'null'::jsonb", None, None),
    ("'\\x00ff'::bytea", None, None),
    ("'4f4cf7a2-6e4c-4a1b-9b4e-4f4cf7a26e4c'::uuid", None, None),
    ("ROW(1, 'a,b', NULL)", None, None),
    ("'a b'::tsvector", None, None),
    ("'a'::char(3)", None, None),
    ("'10.0.0.1/8'::inet", None, None),
    ("26::oid", None, None),
    ("point '(1,2)'", None, None),
]


@pytest.fixture(scope="module")
def berlin(server: Path) -> Iterator[ReportQueries]:
    """Queries on a server in UTC, from a machine in Berlin."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", ZONE)
        time.tzset()
        with contextlib.closing(psycopg2.connect(host=str(server), dbname="postgres", user="postgres")) as connection:
            with connection, connection.cursor() as cursor:
                cursor.execute("SET TimeZone = 'Etc/UTC'; SET extra_float_digits = 0")
            yield ReportQueries(connection)
    time.tzset()


@pytest.mark.parametrize(("expression", "exact", "readable"), VALUES)
def test_a_value_is_what_postgresql_writes(
    berlin: ReportQueries, expression: str, exact: str | None, readable: str | None
) -> None:
    table = berlin.run(Query("grid1", f"SELECT {expression} AS x"), 1)
    ((own,),) = berlin.run(Query("own", f"SELECT format('%s', {expression})"), 1).rows
    assert exact_text(table.rows[0][0]) == (own if exact is None else exact)
    file = csv.reader(io.StringIO(csv_bytes(table).decode("utf-8-sig"), newline=""))
    assert [cell.replace("'", "") for cell in list(file)[1]] == [(exact or own).replace("'", "")]
    cell = BeautifulSoup(html_table(table), "html.parser").find("td").get_text("\n")
    assert cell == (own if readable is None else readable)


def test_files_hold_no_apostrophe_that_postgresql_has_not_written(berlin: ReportQueries) -> None:
    moments = "interval '-1 mon', timestamptz '-infinity', -1.5, '-Infinity'::float8, 'x=1'"
    table = berlin.run(Query("grid1", f"SELECT {moments}, '=1+1'"), 1)
    assert csv_bytes(table).decode().splitlines()[1] == "-1 mons,-infinity,-1.5,-Infinity,x=1,'=1+1"


@pytest.mark.parametrize(
    ("expression", "points"),
    [
        ("ARRAY[1, NULL, 2.5, 'NaN']::float8[]", (1.0, None, 2.5, None)),
        ("ARRAY[1.50, -2]", (1.5, -2.0)),
        ("array_agg(n) FROM generate_series(1, 3) AS n", (1.0, 2.0, 3.0)),
        ("json_agg(n) FROM generate_series(1, 3) AS n", (1.0, 2.0, 3.0)),
    ],
)
def test_a_list_of_the_database_can_be_drawn(
    berlin: ReportQueries, expression: str, points: tuple[float | None, ...]
) -> None:
    series = series_of(berlin.run(Query("grid1", f"SELECT {expression}"), 1).rows[0][0])
    assert series is not None
    assert series.points == points


def test_a_report_has_one_time_zone(berlin: ReportQueries) -> None:
    query = """
        SELECT t, t::date, date_trunc('day', t), to_char(t, 'YYYY-MM-DD HH24:MI TZH'), (now() - current_date::timestamptz) < '1 day 1 h',
               current_setting('TimeZone')
        FROM (VALUES (timestamptz '2026-03-01 23:30Z')) AS v (t)
    """
    table = berlin.run(Query("grid1", query), 1)
    first = csv_bytes(table).decode().splitlines()[1]
    assert first == f"2026-03-02 00:30:00,2026-03-02,2026-03-02 00:00:00,2026-03-02 00:30 +01,TRUE,{ZONE}"


def test_a_zone_that_the_database_does_not_know_is_named(etl: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "machine_zone", lambda: "Mars/Olympus_Mons")
    with pytest.raises(ReportError, match="Mars/Olympus_Mons, .* TZ"):
        run("SELECT 1")


@contextlib.contextmanager
def report_queries() -> Iterator[ReportQueries]:
    with db_config.session(db_config.REPORT_ROLE) as connection:
        yield ReportQueries(connection)


def run(sql: str, most_rows: int = 10) -> Table:
    with report_queries() as queries:
        return queries.run(Query("grid1", sql), most_rows)


# ---- the job -------------------------------------------------------------------------------


def test_it_writes_the_whole_mail(etl: Installation, tmp_path: Path) -> None:
    files = json.dumps([{"name": "x_{timestamp}.xlsx", "query": "SELECT 1 AS a"}])
    report_id = add_report(etl, files=files)
    target = tmp_path / "r.eml"
    done = etl.door("send_reports.py", str(report_id), "--preview", str(target), ETL_CLOCK="2026-03-02T11:20:05")
    assert done.returncode == 0, done.stderr
    message = email.message_from_bytes(target.read_bytes(), policy=email.policy.default)
    assert (message["To"], message["Subject"]) == ("a@x.com", "Subject 2026-03-02 11:20")
    assert "12,345" in message.get_body(("plain",)).get_content()
    assert [part.get_filename() for part in message.iter_attachments()] == ["x_20260302T112005.xlsx"]


@pytest.mark.parametrize("report_id", ["1", "2"])
def test_the_reports_that_come_with_the_system_can_be_seen(etl: Installation, tmp_path: Path, report_id: str) -> None:
    target = tmp_path / "r.html"
    done = etl.door("send_reports.py", report_id, "--preview", str(target))
    assert done.returncode == 0, done.stderr
    assert "no rows" in target.read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["99", "--preview", "/tmp/x.html"], "no report 99 in dba.treportmanager; "),
        (["--preview", "/tmp/x.html"], "send_reports.py 1 --again"),
        (["1", "--preview", "/tmp/x.pdf"], ".eml or .html"),
        (["1", "--preview", "/nowhere/x.html"], "no directory /nowhere"),
    ],
)
def test_it_says_what_was_called_wrongly(etl: Installation, arguments: list[str], said: str) -> None:
    done = etl.door("send_reports.py", *arguments)
    assert done.returncode == 64
    assert said in done.stderr


def test_a_report_that_is_off_can_be_seen_and_is_not_sent(etl: Installation, tmp_path: Path) -> None:
    report_id = add_report(etl, status=2)
    target = tmp_path / "r.html"
    assert etl.door("send_reports.py", str(report_id), "--preview", str(target)).returncode == 0
    assert "12,345" in target.read_text("utf-8")
    done = etl.door("send_reports.py", str(report_id))
    assert done.returncode == 0
    assert "it is off" in done.stderr


def test_a_failed_query_names_the_report_and_the_query(etl: Installation, tmp_path: Path) -> None:
    report_id = add_report(etl, grids='{"grid1": "SELECT *\\nFROM nowhere"}')
    target = tmp_path / "r.html"
    done = etl.door("send_reports.py", str(report_id), "--preview", str(target))
    assert done.returncode == 1
    assert re.search(rf'report {report_id} \(Test\): .*grid1 .*"nowhere"', done.stderr)
    assert not target.exists()


def test_a_query_that_the_template_does_not_show_is_not_run(etl: Installation, tmp_path: Path) -> None:
    report_id = add_report(etl, grids='{"grid1": "SELECT 1 AS a", "grid2": "SELECT 1 / 0"}')
    done = etl.door("send_reports.py", str(report_id), "--preview", str(tmp_path / "r.html"))
    assert done.returncode == 0
    assert "does not show grid2" in done.stdout + done.stderr


# ---- the queries ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "table"),
    [
        ("SELECT 1 AS a, NULL AS b;", Table(("a", "b"), ((1, None),))),
        ("VALUES (1), (2)", Table(("column1",), ((1,), (2,)))),
        ('SELECT 7 %% 4 AS "50%% %%s" -- it\'s all'.replace("%%", "%"), Table(("50% %s",), ((3,),))),
        ("SELECT current_user::text AS who", Table(("who",), (("etl_report",),))),
        ("SELECT 1 AS a WHERE false", Table(("a",), ())),
    ],
)
def test_a_query_gives_its_rows(etl: Installation, sql: str, table: Table) -> None:
    assert run(sql) == table


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT 1; DELETE FROM public.t", "one single SELECT"),
        ("SELECT 1; COMMIT; ALTER ROLE etl_report PASSWORD 'x'", "one single SELECT"),
        ("COMMIT", "one single SELECT"),
        ("SET ROLE etl_user", "one single SELECT"),
        ("", "one single SELECT"),
        ("CREATE TEMP TABLE t AS SELECT 1", "one single SELECT"),
        ("COPY (SELECT 1) TO STDOUT", "one single SELECT"),
        ("INSERT INTO public.t VALUES (1) RETURNING 1", "cannot execute INSERT in a read-only transaction"),
        ("WITH gone AS (DELETE FROM public.t RETURNING 1) SELECT * FROM gone", "read-only transaction"),
        ("SELECT set_config('role', 'etl_user', false)", "permission denied to set role"),
        ("SELECT set_config('transaction_read_only', 'off', true)", "cannot set transaction read-write mode"),
        ("SELECT * FROM dba.treportmanager", "permission denied for table treportmanager"),
        ("SELECT lo_create(0)", "read-only transaction"),
        ("SELECT", "has no columns"),
        ("SELECT generate_series(1, 11)", "has more than 10 rows"),
    ],
)
def test_it_refuses_what_is_not_one_query_that_reads(etl: Installation, sql: str, said: str) -> None:
    # Even with every right on the table nothing is written.
    etl.query("CREATE TABLE public.t (a integer)")
    etl.query("GRANT ALL ON public.t TO etl_report")
    with pytest.raises(ReportError, match=f"query grid1 .*{said}"):
        run(sql)
    assert etl.value("SELECT count(*) FROM public.t") == 0


def test_a_query_cannot_lift_the_limits_of_the_next(etl: Installation) -> None:
    with report_queries() as queries:
        lifted = "SELECT set_config('statement_timeout', '0', false), set_config('search_path', 'x', false)"
        queries.run(Query("grid1", lifted), 10)
        shown = "SELECT current_setting('statement_timeout'), current_setting('search_path')"
        assert queries.run(Query("grid2", shown), 10).rows[0] == ("5min", '"$user", public')


def test_a_query_that_takes_too_long_is_ended(etl: Installation) -> None:
    with db_config.session(db_config.REPORT_ROLE) as connection:
        with connection, connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = '50ms'")
        begun = time.monotonic()
        with pytest.raises(ReportError, match="grid1 .* statement timeout"):
            ReportQueries(connection).run(Query("grid1", "SELECT pg_sleep(60)"), 10)
        assert time.monotonic() - begun < 10


def test_all_queries_of_a_report_see_the_same_moment(etl: Installation) -> None:
    etl.query("CREATE TABLE public.t (a integer)")
    etl.query("GRANT SELECT ON public.t TO etl_report")
    count = Query("grid1", "SELECT count(*) FROM public.t")
    with report_queries() as queries:
        before = queries.run(count, 10)
        etl.query("INSERT INTO public.t VALUES (1)")
        assert queries.run(count, 10) == before


def test_a_lost_connection_is_not_the_fault_of_the_query(etl: Installation) -> None:
    with report_queries() as queries:
        etl.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'etl_report' AND datname = current_database()"
        )
        with pytest.raises(psycopg2.Error) as lost:
            queries.run(Query("grid1", "SELECT 1"), 10)
    assert not isinstance(lost.value, ReportError)
