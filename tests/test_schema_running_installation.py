"""An older installation with tables, views, functions and reports of its own is taken over, and all of that goes on."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from conftest import PROJECT, Installation
from schema_helpers import Cluster, all_rows, rows, schema_dump
from test_schema_adoption import make_older

pytest_plugins = ["schema_fixtures"]

RUNNING = PROJECT / "tests/running_installation.sql"
SITE_TABLES = (
    "tconferenceexception", "ttickerexceptions", "tdaily_cancellations_incremental", "thistorical_cancellations_snapshot",
    "tmeetmaxeventdata", "tmeetmaxevent", "tmeetmaxurlcheck",
)  # fmt: skip
SITE_ROUTINES = """
    SELECT oid::regprocedure::text, prosrc, proowner::regrole::text FROM pg_proc
    WHERE pronamespace IN ('dba'::regnamespace, 'public'::regnamespace) AND proname IN ('p_dataset_deactivate', 'f_get_event_changes',
        'f_get_ticker_removals', 'f_historical_cancellations', 'insert_tickerexception', 'p_insert_daily_cancellations')
"""
VIEWS = """
    SELECT c.oid::regclass::text, c.relkind, c.relowner::regrole::text, c.reloptions, c.relacl::text, obj_description(c.oid),
           (SELECT array_agg(a.attname || coalesce(a.attacl::text, '') || coalesce(col_description(c.oid, a.attnum), '') ORDER BY a.attnum)
            FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0),
           (SELECT array_agg(indexrelid::regclass::text) FROM pg_index WHERE indrelid = c.oid)
    FROM pg_class AS c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('v', 'm') ORDER BY 1
"""
CHANGES = "SELECT * FROM dba.f_get_event_changes('2026-11-25')"
CANCELLATIONS = (
    "SELECT company_name, ticker, min_date, max_date, status FROM public.tdaily_cancellations_incremental ORDER BY id"
)


@dataclass
class TakenOver:
    installation: Installation
    told: str
    told_by_dry_run: str
    before: dict[str, Any]


def cancellations_of_a_day(installation: Installation, user: str) -> list[tuple[Any, ...]]:
    """Run the site's daily procedure, and take it back."""
    with contextlib.closing(installation.connect(user)) as connection, connection.cursor() as cursor:
        connection.autocommit = False
        cursor.execute("CALL public.p_insert_daily_cancellations('2026-11-25')")
        found = rows(cursor, CANCELLATIONS)
        connection.rollback()
    return found


def state(installation: Installation, user: str) -> dict[str, Any]:
    """Return what must not change: rows, routines, and what the site's own code answers."""
    return {
        **{table: installation.query(f"SELECT t::text FROM public.{table} AS t ORDER BY 1") for table in SITE_TABLES},
        "routines": sorted(installation.query(SITE_ROUTINES)),
        "changes": installation.query(CHANGES, user=user),
        "removals": installation.query("SELECT * FROM dba.f_get_ticker_removals('2026-11-25')", user=user),
        "history": installation.query("SELECT * FROM dba.f_historical_cancellations()", user=user),
        "labels": installation.query("SELECT label FROM public.vlabels ORDER BY 1"),
        "cancellations": cancellations_of_a_day(installation, user),
    }


@pytest.fixture(scope="module")
def taken(cluster: Cluster) -> TakenOver:
    installation = make_older(cluster, made_by=RUNNING)
    before = state(installation, "postgres") | {"views": installation.query(VIEWS)}
    assert before["changes"]
    assert before["cancellations"]
    name = installation.variables["PGDATABASE"]
    dumped = schema_dump(cluster, name)
    dry_run = cluster.set_up(name, "--dry-run")
    assert dry_run.returncode == 0, dry_run.stderr
    assert schema_dump(cluster, name) == dumped
    assert state(installation, "postgres") == {what: found for what, found in before.items() if what != "views"}
    result = cluster.set_up(name)
    assert result.returncode == 0, result.stderr
    return TakenOver(installation, result.stderr, dry_run.stdout + dry_run.stderr, before)


def test_rows_functions_and_their_answers_are_as_before_for_the_role_of_the_jobs(taken: TakenOver) -> None:
    now = state(taken.installation, "etl_user")
    # By our rule an empty list is not an active one.
    taken.before["labels"] = [row for row in taken.before["labels"] if row != ("119300",)]
    assert {
        what: (found, now[what]) for what, found in taken.before.items() if what != "views" and found != now[what]
    } == {}


def test_views_are_made_again_with_all_they_had(taken: TakenOver) -> None:
    now = {row[0]: row[1:] for row in taken.installation.query(VIEWS)}
    for name, kind, owner, options, acl, *rest in taken.before["views"]:
        assert (now[name][0], now[name][1], now[name][2]) == (kind, owner, options), name
        assert list(now[name][4:]) == rest, name
        assert (acl or "").strip("{}") in (now[name][3] or ""), name
    taken.installation.query("SET ROLE older_client; SELECT label FROM public.vlabels; RESET ROLE")


def test_a_second_run_changes_nothing(cluster: Cluster, taken: TakenOver) -> None:
    name = taken.installation.variables["PGDATABASE"]
    dumped, kept = schema_dump(cluster, name), all_rows(taken.installation)
    result = cluster.set_up(name)
    assert result.returncode == 0, result.stderr
    assert schema_dump(cluster, name) == dumped
    assert all_rows(taken.installation) == kept
    assert [line for line in result.stderr.splitlines() if line.startswith("- ")] == [
        "- dba.f_get_event_changes is your own and stays. To get the one of this system, drop it and run the set-up again"
    ]


def test_a_dry_run_tells_the_same_and_changes_nothing(taken: TakenOver) -> None:
    told = {line for line in taken.told.splitlines() if line.startswith("- ")}
    assert told - set(taken.told_by_dry_run.splitlines()) == set()
    assert "all of it was taken back" in taken.told_by_dry_run


@pytest.mark.parametrize(
    ("look", "found"),
    [
        ("SELECT file_pattern FROM dba.timportconfig WHERE config_id = 1", r"\d{8}T\d{6}_MeetMaxURLCheck\.csv.*"),
        ("SELECT file_pattern FROM dba.timportconfig WHERE config_id = 2", r"^\d{8}T\d{6}_MeetMax_\d+\.xls$"),
        ("SELECT file_pattern FROM dba.timportconfig WHERE config_id = 3", "MeetMax_Exception.*"),
        ("SELECT file_pattern FROM dba.timportconfig WHERE config_id = 4", r"(?:\d+_data|\d+_more).*"),
        ("SELECT datelocation FROM dba.timportconfig WHERE config_id = 3", "today"),
        ("SELECT local_repository_path FROM dba.tinboxconfig", "/older/file_watcher"),
        ("SELECT subject_pattern || attachment_name_pattern FROM dba.tinboxconfig", r"(?i)daily list(?i)\.xls"),
        ("SELECT processed_label || ' ' || error_label FROM dba.tinboxconfig", "Processed ErrorFolder"),
        ("SELECT has_attachment FROM dba.tinboxconfig", False),
        ("SELECT count(*) FROM dba.tscheduler WHERE datastatusid = 1 AND schedulerid > 3", 0),
        ("SELECT count(*) FROM dba.tscheduler WHERE datastatusid = 1 AND schedulerid <= 3", 2),
        ("SELECT count(*) FROM pg_constraint WHERE conname IN ('valid_date', 'valid_directories')", 0),
        ("SELECT isbusday FROM dba.tcalendardays WHERE fulldate = '2026-11-26'", False),
        ("SELECT isholiday FROM dba.tcalendardays WHERE fulldate = '2027-11-25'", True),
        ("SELECT previous_business_date::text FROM dba.tcalendardays WHERE fulldate = '2027-11-26'", "2027-11-24"),
        ("SELECT holiday_name FROM dba.tholidays WHERE holiday_date = '2026-12-24'", "Closed in the older calendar"),
        ("SELECT count(*) FROM dba.tholidays AS h JOIN dba.tcalendardays AS c ON c.fulldate = h.holiday_date WHERE NOT c.isholiday", 0),
        ("SELECT count(*) FROM dba.tcalendardays WHERE isholiday AND fulldate NOT IN (SELECT holiday_date FROM dba.tholidays)", 0),
        ("SELECT count(*) FROM dba.tddllogs WHERE eventtype = 'REPLACED' AND sqlstatement LIKE '%FUNCTION dba.f_dataset_iu%'", 1),
        ("SELECT emailbodyoptions #>> '{grid1,rows}' FROM dba.treportmanager WHERE reportid = 3", "10000"),
        ("SELECT attachmentqueries #>> '{0,attach_empty}' FROM dba.treportmanager WHERE reportid = 1", "true"),
        ("SELECT count(*) FROM pg_event_trigger WHERE evtname = 'logddl'", 0),
    ],
)  # fmt: skip
def test_what_a_row_meant_it_means_under_our_rules(taken: TakenOver, look: str, found: Any) -> None:
    assert taken.installation.value(look) == found


def test_a_name_that_would_steer_a_terminal_is_told_without_it(taken: TakenOver) -> None:
    assert 'public."red\\x1b[31m"' in taken.told
    assert "\x1b" not in taken.told + taken.told_by_dry_run


def test_each_change_is_told(taken: TakenOver) -> None:
    for told in (
        'file_pattern is now "MeetMax_Exception.*" instead of "MeetMax_Exception"',
        'local_repository_path is now "/older/file_watcher" instead of "/older/file_watcher/"',
        'datelocation is now "today" instead of NULL',
        'Dropped the older rule "valid_date"',
        'Task "Schedule Check" (check_schedule.py) was added, paused. To start it: etl resume "Schedule Check"',
        "View vlabels was dropped and made again",
        "Your own functions and procedures stay as they are",
        "only the owner can refresh them: mlabels (postgres). If a job of etl_user refreshes one: ALTER MATERIALIZED VIEW …",
        'tscheduler 3: datastatusid is now "2" instead of NULL, which means: it stays paused',
        "status Empty whose isactive was not false: isactive is now false. In all 1: 3 (119300, 2026-11-25)",
        "days are holidays now",
    ):
        assert told in taken.told.replace("public.", "")


@pytest.mark.parametrize("report", ["1", "2", "3"])
def test_its_reports_can_be_previewed(taken: TakenOver, report: str, tmp_path: Path) -> None:
    result = taken.installation.door("send_reports.py", report, "--preview", str(tmp_path / "report.html"))
    assert result.returncode == 0, result.stderr
    assert "<td" in (tmp_path / "report.html").read_text()


def test_its_imports_load_into_its_tables_with_their_views(cluster: Cluster, tmp_path: Path) -> None:
    installation = make_older(cluster, made_by=RUNNING)
    incoming, done = tmp_path / "file_watcher", tmp_path / "done"
    incoming.mkdir()
    installation.query(
        "UPDATE dba.timportconfig SET source_directory = %s, archive_directory = %s", str(incoming), str(done)
    )
    assert cluster.set_up(installation.variables["PGDATABASE"]).returncode == 0
    (incoming / "20261126_data_119243.csv").write_text(f"company_name,tickers\n{'x' * 200},TIC\n")
    (incoming / "MeetMax_Exception_20261128.csv").write_text("conferencename\nAnother\n")

    for name in ("EventData", "Exceptions"):
        result = installation.door("run_import_job.py", name, ETL_SETTLE_SECONDS="0")
        assert result.returncode == 0, result.stderr

    assert (
        installation.value("SELECT length(company_name) FROM public.tmeetmaxeventdata ORDER BY 1 DESC LIMIT 1") == 200
    )
    assert installation.value("SELECT datasetdate = current_date FROM dba.tdataset WHERE label = 'exceptions'") is True
    assert installation.query("SELECT label FROM public.vlabels WHERE label = '119243'")
    an_import_leaves_a_column_alone_that_a_view_uses(installation, tmp_path / "late")


def an_import_leaves_a_column_alone_that_a_view_uses(installation: Installation, incoming: Path) -> None:
    """In a table that came after the set-up; without the view the import takes the limit off."""
    incoming.mkdir()
    installation.query(
        "CREATE TABLE public.tlate (tlateid serial, datasetid integer, a varchar(3), b varchar(3));"
        " ALTER TABLE public.tlate OWNER TO etl_user"
    )
    installation.query("CREATE VIEW public.vlate AS SELECT a FROM public.tlate")
    values = ("Late", str(incoming), str(incoming / "done"))
    installation.query(
        "CALL dba.pimportconfigi(%s, 'MeetMax', 'Metadata', %s, %s, '*.csv', 'CSV', 'static', 'late', 'static', 'today', NULL, NULL,"
        " 'public.tlate')",
        *values, user="etl_owner",
    )  # fmt: skip
    (incoming / "late.csv").write_text("a,b\n1,longer\n")
    assert installation.door("run_import_job.py", "Late", ETL_SETTLE_SECONDS="0").returncode == 0

    (incoming / "late.csv").write_text("a,b\nlonger,1\n")
    refused = installation.door("run_import_job.py", "Late", ETL_SETTLE_SECONDS="0")
    assert refused.returncode == 1
    assert "drop the view, run the import again" in refused.stderr
    assert (incoming / "late.csv").exists()
    installation.query("DROP VIEW public.vlate")
    assert installation.door("run_import_job.py", "Late", ETL_SETTLE_SECONDS="0").returncode == 0
    installation.query("CREATE VIEW public.vlate AS SELECT a FROM public.tlate")
    assert installation.query("SELECT a FROM public.vlate ORDER BY 1") == [("1",), ("longer",)]


def test_what_the_jobs_put_into_a_check_of_an_import_table_runs_as_no_one_else(cluster: Cluster) -> None:
    installation = cluster.installation(cluster.make_database())
    installation.query("CREATE TABLE public.ran (who text); GRANT INSERT ON public.ran TO PUBLIC")
    for statement in (
        (
            "CREATE FUNCTION public.tell(text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN BEGIN EXECUTE 'RESET ROLE'; EXCEPTION"
            " WHEN OTHERS THEN NULL; END; INSERT INTO public.ran VALUES (current_user); RETURN true; END$$"
        ),
        "CREATE TABLE public.tmeetmaxevent (datasetid integer, company_name varchar(50) CHECK (public.tell(company_name)))",
        "CREATE TABLE public.kid (CHECK (public.tell('kid' || company_name))) INHERITS (public.tmeetmaxevent)",
        "INSERT INTO public.kid (company_name) VALUES ('Acme')",
        "INSERT INTO public.tmeetmaxevent (company_name) VALUES ('Acme')",
    ):
        installation.query(statement, user="etl_user")
    result = cluster.set_up(installation.variables["PGDATABASE"])
    assert result.returncode == 0, result.stderr
    # The import changes the jobs' own tables, as the jobs' role.
    kid = "attrelid = 'public.kid'::regclass AND attname = 'company_name'"
    assert (
        installation.value(f"SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE {kid}")
        == "character varying(50)"
    )
    assert {who for (who,) in installation.query("SELECT who FROM public.ran")} == {"etl_user"}


def test_code_of_the_jobs_in_an_import_table_of_somebody_else_stops_the_set_up(cluster: Cluster) -> None:
    installation = make_older(
        cluster,
        "CREATE FUNCTION public.tell(text) RETURNS boolean LANGUAGE sql AS 'SELECT true'; ALTER FUNCTION public.tell OWNER TO etl_user",
        "ALTER TABLE public.tmeetmaxevent ADD CONSTRAINT planted CHECK (public.tell(company_name))",
        made_by=RUNNING,
    )
    result = cluster.set_up(installation.variables["PGDATABASE"])
    assert result.returncode != 0
    assert "planted" in result.stderr
    assert installation.value("SELECT to_regclass('dba.tjobrun')") is None


def test_all_that_a_person_must_decide_is_in_one_list_and_nothing_is_changed(cluster: Cluster) -> None:
    installation = make_older(
        cluster,
        "UPDATE dba.tscheduler SET frequency = 'daily' WHERE schedulerid = 3",
        "UPDATE dba.treportmanager SET subjectheader = E'two\\nlines' WHERE reportid = 2",
        "ALTER TABLE dba.timportconfig DROP CONSTRAINT timportconfig_file_type_check",
        "UPDATE dba.timportconfig SET file_type = 'PDF' WHERE config_id = 1",
        "UPDATE dba.timportconfig SET importstrategyid = 77 WHERE config_id = 2",
        made_by=RUNNING,
    )
    dumped = schema_dump(cluster, installation.variables["PGDATABASE"])
    result = cluster.set_up(installation.variables["PGDATABASE"])
    assert result.returncode == 65
    assert result.stderr.splitlines()[-1].startswith(
        "sql_setupscripts.sh: nothing was changed, because a person must decide first"
    )
    assert schema_dump(cluster, installation.variables["PGDATABASE"]) == dumped
    for told in (
        "Nothing was changed. A person must decide first",
        'in the row with schedulerid 3 the frequency is no cron expression: "daily"',
        'reportid 2 break the rule "treportmanager_subjectheader_on_one_line"',
        'config_id 1 break the rule "timportconfig_file_type_is_known"',
        "(importstrategyid)=(77)",
    ):
        assert told in result.stderr


def test_the_site_s_tables_in_the_schema_dba_keep_their_owner_and_rights(taken: TakenOver) -> None:
    installation = taken.installation
    assert (
        installation.value("SELECT relowner::regrole::text FROM pg_class WHERE oid = 'dba.tclients'::regclass")
        == "postgres"
    )
    installation.query("INSERT INTO dba.tclients (name) VALUES ('a')", user="etl_user")
    installation.query("SELECT * FROM dba.tclients", user="etl_report")
    for user, statement in (
        ("etl_report", "INSERT INTO dba.tclients (name) VALUES ('a')"),
        (
            "etl_user",
            "CREATE TRIGGER mine BEFORE INSERT ON dba.tclients EXECUTE FUNCTION dba.fenforcesingleactivedataset()",
        ),
        ("etl_user", "ALTER TABLE public.ttickerexceptions ADD COLUMN mine text"),
    ):
        with pytest.raises(psycopg2.Error):
            installation.query(statement, user=user)
