"""The set-up of the schema dba, the rows that come with it, and the files that operators run in it."""

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import PROJECT, Installation
from schema_helpers import Cluster, all_rows, one, rows, schema_dump

pytestmark = pytest.mark.slow

pytest_plugins = ["schema_fixtures"]


# Where the server plays no part in what is shown.
ONE_SERVER = pytest.mark.parametrize("cluster", ["server"], indirect=True, ids=["embedded"])


@pytest.fixture
def unmade(cluster: Cluster) -> Iterator[str]:
    """The name of a database that is not there yet."""
    name = f"schema_{secrets.token_hex(6)}"
    yield name
    cluster.installation("postgres").query(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def copy_of_onboarding(directory: Path) -> Path:
    shutil.copytree(PROJECT / "onboarding", directory / "onboarding")
    shutil.copy(PROJECT / "env.sh", directory)
    return directory


def test_a_second_set_up_changes_nothing(cluster: Cluster, unmade: str):
    first = cluster.set_up(unmade)
    dumped, kept = schema_dump(cluster, unmade), all_rows(cluster.installation(unmade))
    second = cluster.set_up(unmade)

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert f"database {unmade}: made\n" in first.stdout
    assert f"database {unmade}: was there already\n" in second.stdout
    assert "2 import configurations, 10 scheduled jobs, 2 reports" in second.stdout
    assert schema_dump(cluster, unmade) == dumped
    assert all_rows(cluster.installation(unmade)) == kept
    assert not kept["tddllogs"]
    roles = "SELECT rolname FROM pg_roles WHERE rolname ~ '^etl_' AND has_database_privilege(oid, current_database(), 'TEMPORARY')"
    assert cluster.installation(unmade).query(roles) == [("etl_user",)]


@ONE_SERVER
def test_a_fault_in_any_file_leaves_nothing_behind(cluster: Cluster, unmade: str, tmp_path: Path):
    project = copy_of_onboarding(tmp_path)
    with (project / "onboarding/sql/grants.sql").open("a") as stream:
        stream.write("SELECT 1 / 0;\n")

    result = cluster.set_up(unmade, project=project)

    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == "sql_setupscripts.sh: nothing was changed, because of the error above"
    assert "grants.sql" in result.stderr
    assert "division by zero" in result.stderr
    assert cluster.installation(unmade).value("SELECT to_regnamespace('dba')") is None


@ONE_SERVER
def test_a_listed_file_that_is_not_there_is_named_before_anything_is_done(
    cluster: Cluster, unmade: str, tmp_path: Path
):
    project = copy_of_onboarding(tmp_path)
    (project / "onboarding/sql/grants.sql").unlink()

    result = cluster.set_up(unmade, project=project)

    assert result.returncode == 1
    assert "names grants.sql, which is not in" in result.stderr
    assert not cluster.installation("postgres").query("SELECT FROM pg_database WHERE datname = %s", unmade)


@ONE_SERVER
@pytest.mark.parametrize(
    ("argument", "status", "told"), [("--dry-run", 0, "create_roles.sql"), ("--help", 0, "Usage:"), ("--no", 64, "")]
)
def test_it_can_say_what_it_would_do(cluster: Cluster, unmade: str, argument: str, status: int, told: str):
    result = cluster.set_up(unmade, argument)

    assert result.returncode == status
    assert told in result.stdout
    assert not cluster.installation("postgres").query("SELECT FROM pg_database WHERE datname = %s", unmade)


@ONE_SERVER
def test_it_does_not_run_as_the_role_whose_rights_it_takes_away(cluster: Cluster, shared: Installation):
    result = cluster.set_up(shared.variables["PGDATABASE"], PGUSER="etl_owner")

    assert result.returncode != 0
    assert "run it as an administrator, not as etl_owner" in result.stderr


EDITS = [
    ("UPDATE dba.timportconfig SET source_directory = '/srv/in', is_active = B'0' WHERE config_id = 1",
     "SELECT source_directory, is_active FROM dba.timportconfig WHERE config_id = 1"),
    ("UPDATE dba.timportconfig SET config_name = 'Renamed' WHERE config_id = 2",
     "SELECT config_id, config_name FROM dba.timportconfig ORDER BY 1"),
    ("UPDATE dba.tscheduler SET frequency = '0 6 * * *', datastatusid = 2, scriptargs = '--x' WHERE schedulerid = 1",
     "SELECT frequency, datastatusid, scriptargs FROM dba.tscheduler WHERE schedulerid = 1"),
    ("UPDATE dba.tscheduler SET scriptpath = '/srv/' || scriptpath WHERE taskname = 'MeetMax URL Check'",
     "SELECT taskname, scriptpath FROM dba.tscheduler ORDER BY schedulerid"),
    ("UPDATE dba.treportmanager SET toheader = 'a@example.com', emailbodytemplate = '{{grid1}}' WHERE reportid = 1",
     "SELECT toheader, emailbodytemplate FROM dba.treportmanager WHERE reportid = 1"),
    ("DELETE FROM dba.tholidays WHERE holiday_date = '2026-07-03'", "SELECT holiday_date FROM dba.tholidays ORDER BY 1"),
    ("UPDATE dba.tcalendardays SET isbusday = false WHERE fulldate = '2026-03-03'",
     "SELECT isbusday FROM dba.tcalendardays WHERE fulldate = '2026-03-03'"),
    ("UPDATE dba.tdatastatus SET description = 'Ours' WHERE datastatusid = 1",
     "SELECT description FROM dba.tdatastatus ORDER BY datastatusid"),
    ("INSERT INTO dba.timportstrategy (name) VALUES ('Ours')", "SELECT * FROM dba.timportstrategy ORDER BY 1"),
]  # fmt: skip


def test_an_installation_that_is_there_is_brought_up_to_date_and_what_an_operator_changed_stays(
    cluster: Cluster, database: Installation
):
    """What an earlier version made otherwise, the set-up makes as on a new installation."""
    name = database.variables["PGDATABASE"]
    fresh = schema_dump(cluster, name)
    for edit, _ in EDITS:
        database.query(edit, user="etl_owner")
    before = [database.query(look) for _, look in EDITS]
    for former in (
        (
            "ALTER TABLE dba.timportfile DROP CONSTRAINT timportfile_status_is_known, "
            "ADD CONSTRAINT timportfile_status_is_known CHECK (status IN ('Loaded', 'Failed'))"
        ),
        "ALTER TABLE dba.tscheduler DROP CONSTRAINT tscheduler_overlap_is_known",
        (
            "ALTER TABLE dba.treportmanager DROP CONSTRAINT treportmanager_min_rows_is_a_number_of_rows, "
            "ADD CONSTRAINT treportmanager_min_rows_is_a_number_of_rows CHECK (min_rows > 0)"
        ),
        "COMMENT ON COLUMN dba.timportfile.status IS 'What it was called before'",
        "CREATE FUNCTION dba.f_refresh_calendar() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "ALTER FUNCTION dba.f_refresh_calendar() OWNER TO etl_owner",
        "CREATE OR REPLACE FUNCTION dba.f_touch_last_modified() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "GRANT INSERT ON dba.tscheduler TO etl_user",
    ):
        database.query(former)

    result = cluster.set_up(name)

    assert result.returncode == 0, result.stderr
    assert "Dropped the former dba.f_refresh_calendar()" in result.stderr
    assert schema_dump(cluster, name) == fresh
    assert [database.query(look) for _, look in EDITS] == before


def test_no_sql_file_meets_what_a_job_has_left_in_a_schema():
    for name in (PROJECT / "onboarding/sql/ORDER.txt").read_text().splitlines()[1:]:
        statements = [
            line for line in (PROJECT / "onboarding/sql" / name).read_text().splitlines() if line[:2] not in ("--", "")
        ]
        assert statements[0] == "SET search_path = pg_catalog, pg_temp;", name


def test_no_sql_file_tells_a_name_as_it_is():
    for path in (PROJECT / "onboarding/sql").glob("*.sql"):
        for _, block in re.findall(r"^DO \$(\w*)\$\n(.*?)^\$\1\$;", path.read_text(), flags=re.DOTALL | re.MULTILINE):
            assert "RAISE NOTICE" not in block, f"{path.name}: CALL pg_temp.etl_tell(…) tells it on one line"


def test_every_sql_file_is_in_the_order():
    directory = PROJECT / "onboarding/sql"
    listed = {line for line in (directory / "ORDER.txt").read_text().splitlines() if line and not line.startswith("#")}

    assert listed | {"usefulqueries.sql"} == {path.name for path in directory.glob("*.sql")}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT datasettypeid, typename FROM dba.tdatasettype ORDER BY 1",
         [(1, "Metadata"), (2, "MeetMaxURL"), (3, "MeetMaxEvents")]),
        ("SELECT datastatusid, statusname FROM dba.tdatastatus ORDER BY 1",
         [(1, "Active"), (2, "Inactive"), (3, "Deleted"), (4, "New"), (5, "Failed"), (6, "Empty"), (7, "Held")]),
        ("SELECT importstrategyid, name FROM dba.timportstrategy ORDER BY 1",
         [(1, "Import and create new columns if needed"), (2, "Import only (ignores new columns)"),
          (3, "Import or fail if columns are missing from source file")]),
        (("SELECT config_id, config_name, datasource, datasettype, file_pattern, file_type, metadata_label_source, "
         "metadata_label_location, dateconfig, datelocation, dateformat, delimiter, target_table, importstrategyid, "
         "is_active FROM dba.timportconfig ORDER BY 1"),
         [(1, "MeetMaxURLCheckImport", "MeetMax", "MeetMaxURL", r"\d{8}T\d{6}_MeetMaxURLCheck\.csv", "CSV", "static",
           "MeetMaxURLCheck", "filename", "0", "yyyyMMddTHHmmss", "_", "public.tmeetmaxurlcheck", 1, "1"),
          (2, "MeetMax_Events_XLS_Import", "MeetMax", "MeetMaxEvents", r"^\d{8}T\d{6}_MeetMax_\d+\.xls$", "XLS",
           "filename", "2", "filename", "0", "yyyyMMddTHHmmss", "_", "public.tmeetmaxevent", 1, "1")]),
        ("SELECT frequency, scriptpath, coalesce(scriptargs, ''), datastatusid FROM dba.tscheduler ORDER BY schedulerid",
         [("0 5,17 * * 1-5", "run_download_and_import.sh", "", 1), ("0 19 * * 5", "meetmax_url_check.py", "--around-known", 1),
          ("0 2 * * 0", "weekly_cleanup_meetmaxevents.sh", "", 1), ("0 2 * * 0", "weekly_cleanup_logs.sh", "", 1),
          ("0 3 * * *", "daily_backup.sh", "", 1), ("0 5 * * 0", "restore_drill.sh", "", 1),
          ("30 1 * * *", "run_maintenance.py", "--keep-logs 365", 1), ("*/15 * * * *", "check_schedule.py", "", 1),
          ("2-59/15 * * * *", "build_status_page.py", "", 1),
          ("0 7 * * 1", "send_weekly_letter.py", "", 1)]),
        ("SELECT reportid, frequency, toheader, datastatusid FROM dba.treportmanager ORDER BY 1",
         [(1, "20 11 * * 1-5", None, 1), (2, "25 11 * * 1-5", None, 1)]),
        ("SELECT min(fulldate)::text, max(fulldate)::text, count(*)::integer FROM dba.tcalendardays",
         [("2020-01-01", "2035-12-31", 5844)]),
        (("SELECT downame, downum, isbusday, isholiday, previous_business_date::text FROM dba.tcalendardays "
         "WHERE fulldate IN ('2026-03-01', '2026-03-02', '2026-07-03', '2026-07-06') ORDER BY fulldate"),
         [("Sunday", 0, False, False, "2026-02-27"), ("Monday", 1, True, False, "2026-02-27"),
          ("Friday", 5, False, True, "2026-07-02"), ("Monday", 1, True, False, "2026-07-02")]),
    ],
)  # fmt: skip
def test_the_rows_of_the_system_are_there(cursor: Any, query: str, expected: list[tuple[Any, ...]]):
    assert rows(cursor, query) == expected


def test_the_directories_are_below_the_home(cluster: Cluster, cursor: Any):
    home = one(cursor, "SELECT DISTINCT regexp_replace(source_directory, '/file_watcher$', '') FROM dba.timportconfig")

    assert Path(home).parent == Path(os.environ["ETL_TEST_ROOT"])
    assert rows(cursor, "SELECT DISTINCT source_directory, archive_directory FROM dba.timportconfig") == [
        (f"{home}/file_watcher", f"{home}/archive")
    ]


def test_the_next_row_gets_a_free_key(cursor: Any):
    for table, key, column in (
        ("tdatasettype", "datasettypeid", "typename"),
        ("tdatastatus", "datastatusid", "statusname"),
        ("timportstrategy", "importstrategyid", "name"),
    ):
        highest = one(cursor, f"SELECT max({key}) FROM dba.{table}")
        added = one(cursor, f"INSERT INTO dba.{table} ({column}) VALUES ('One more') RETURNING {key}")
        assert added > highest


def test_the_samples_and_the_useful_queries_run(cluster: Cluster, database: Installation):
    files = [*sorted((PROJECT / "onboarding/sql/samples").glob("*.sql")), PROJECT / "onboarding/sql/usefulqueries.sql"]
    for file in files:
        user = "etl_owner" if file.parent.name == "samples" else "etl_user"
        cluster.program(
            "psql", database.variables["PGDATABASE"], "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(file), user=user
        )  # fmt: skip

    assert len(files) == 10
    assert database.query(
        "SELECT (SELECT count(*) FROM dba.timportconfig), (SELECT count(*) FROM dba.tinboxconfig), "
        "(SELECT count(*) FROM dba.tscheduler WHERE datastatusid = 2), "
        "(SELECT count(*) FROM dba.treportmanager WHERE datastatusid = 2)"
    ) == [(3, 1, 1, 2)]
