"""The schema dba: set up twice, adopted from an older installation, its routines, its rules and its rights.

Everything here runs on the embedded server and on Debian's PostgreSQL 15.
"""

import contextlib
import fcntl
import json
import os
import pwd
import re
import secrets
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from conftest import PROJECT, TEMPLATE, Installation, clean_environment, missing, server_home
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg2 import errors
from psycopg2.extensions import TRANSACTION_STATUS_INTRANS

from systemscripts import embedded_postgres
from systemscripts.cron_expression import CronExpressionError, parse

DEBIAN = Path("/usr/lib/postgresql/15/bin")
OLDER = PROJECT / "tests/older_installation.sql"
FRIDAY, MONDAY, TUESDAY = date(2026, 2, 27), date(2026, 3, 2), date(2026, 3, 3)


# ---- the two servers -----------------------------------------------------------------------


@dataclass(frozen=True)
class Cluster:
    """A running server, by the directory of its socket, and a home for what is set up in it."""

    socket: Path
    home: Path

    def installation(self, name: str) -> Installation:
        return Installation(self.home, {"ETL_HOME": str(self.home), "PGHOST": str(self.socket), "PGDATABASE": name})

    def set_up(self, name: str, *arguments: str, project: Path = PROJECT, **more: str) -> subprocess.CompletedProcess:
        """Run the administrator's script; one at a time, because the roles are the whole server's."""
        variables = {**self.installation(name).variables, "PGUSER": "postgres", **more}
        with locked(self.home):
            return subprocess.run(
                ["/bin/bash", str(project / "onboarding/sh/sql_setupscripts.sh"), *arguments],
                env=clean_environment(**variables),
                capture_output=True,
                text=True,
                check=False,
            )

    def program(self, name: str, database: str, *arguments: str, user: str = "postgres") -> str:
        """Run one of PostgreSQL 18's programs on a database and return what it printed."""
        result = subprocess.run(
            [embedded_postgres.binary(name), *arguments],
            env=clean_environment(PGHOST=str(self.socket), PGDATABASE=database, PGUSER=user),
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    def make_database(self, template: str = TEMPLATE) -> str:
        name = f"schema_{secrets.token_hex(6)}"
        self.installation("postgres").query(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def debian_program(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    as_root = os.geteuid() == 0
    return subprocess.run(
        [DEBIAN / name, *arguments],
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        user="nobody" if as_root else None,
        group=pwd.getpwnam("nobody").pw_gid if as_root else None,
        extra_groups=[] if as_root else None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
        umask=0o077,
    )


def start_debian_server(home: Path) -> None:
    data = home / "data"
    if not data.exists():
        assert debian_program("initdb", "-D", data, "-U", "postgres", "-E", "UTF8", "-A", "trust").returncode == 0
        with (data / "postgresql.conf").open("a") as stream:
            stream.write(
                f"listen_addresses = ''\nunix_socket_directories = '{data}'\nunix_socket_permissions = 0700\n"
                "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\nmax_connections = 200\n"
            )
    if debian_program("pg_ctl", "status", "-D", data).returncode != 0:
        assert debian_program("pg_ctl", "start", "-w", "-s", "-D", data, "-l", home / "server.log").returncode == 0


@pytest.fixture(scope="session")
def debian_server() -> Iterator[Path]:
    """The socket directory of PostgreSQL 15; whoever uses it last stops it."""
    if not (DEBIAN / "postgres").exists():
        missing("Debian's PostgreSQL 15 is not installed")
    home = server_home("server15")
    use = os.open(home / "in_use", os.O_RDWR | os.O_CREAT)
    fcntl.flock(use, fcntl.LOCK_SH)
    with locked(home):
        start_debian_server(home)
    yield home / "data"
    with locked(home), contextlib.suppress(BlockingIOError):
        fcntl.flock(use, fcntl.LOCK_EX | fcntl.LOCK_NB)
        debian_program("pg_ctl", "stop", "-w", "-m", "fast", "-D", home / "data")
    os.close(use)


@pytest.fixture(scope="session", params=["server", "debian_server"], ids=["embedded", "debian15"])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """Each of the two servers, with the template database."""
    home = server_home(f"{request.param}_installations")
    cluster = Cluster(request.getfixturevalue(request.param), home)
    if request.param == "debian_server":
        with locked(cluster.socket):
            if not cluster.installation("postgres").query("SELECT FROM pg_database WHERE datname = %s", TEMPLATE):
                result = cluster.set_up(TEMPLATE)
                assert result.returncode == 0, result.stderr
    return cluster


@pytest.fixture(scope="session")
def shared(cluster: Cluster) -> Installation:
    """A database for tests that leave nothing behind."""
    return cluster.installation(cluster.make_database())


@pytest.fixture
def database(cluster: Cluster) -> Iterator[Installation]:
    """A database for one test."""
    installation = cluster.installation(cluster.make_database())
    yield installation
    cluster.installation("postgres").query(f"DROP DATABASE {installation.variables['PGDATABASE']} WITH (FORCE)")


@pytest.fixture(scope="session")
def connection(shared: Installation) -> Iterator[Any]:
    """A connection that is never committed."""
    with contextlib.closing(shared.connect()) as connection:
        connection.autocommit = False
        yield connection


@pytest.fixture
def cursor(connection: Any) -> Iterator[Any]:
    """A cursor in a transaction that is rolled back."""
    with connection.cursor() as cursor:
        yield cursor
    connection.rollback()


def become(cursor: Any, role: str) -> Any:
    cursor.execute(f"SET LOCAL SESSION AUTHORIZATION {role}")
    return cursor


def one(cursor: Any, statement: str, *values: Any) -> Any:
    """Run a statement and return the single column of its single row, or the row."""
    cursor.execute(statement, values)
    (row,) = cursor.fetchall()
    return row[0] if len(row) == 1 else row


def rows(cursor: Any, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    cursor.execute(statement, values)
    return cursor.fetchall()


def refusal(cursor: Any, statement: str, *values: Any) -> psycopg2.Error:
    """Return how the server refused a statement, and undo it."""
    cursor.execute("SAVEPOINT refusal")
    with pytest.raises(psycopg2.Error) as refused:
        cursor.execute(statement, values)
    cursor.execute("ROLLBACK TO refusal")
    return refused.value


def schema_dump(cluster: Cluster, name: str) -> list[str]:
    dump = cluster.program("pg_dump", name, "--schema-only")
    return [line for line in dump.splitlines() if not re.match(r"\\(un)?restrict ", line)]


def all_rows(installation: Installation) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of each table of dba with the transaction that wrote them."""
    tables = installation.query("SELECT tablename FROM pg_tables WHERE schemaname = 'dba'")
    return {
        name: installation.query(f"SELECT xmin::text, t::text FROM dba.{name} AS t ORDER BY 2") for (name,) in tables
    }


# ---- the set-up ----------------------------------------------------------------------------


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
    assert "2 import configurations, 5 scheduled jobs, 2 reports" in second.stdout
    assert schema_dump(cluster, unmade) == dumped
    assert all_rows(cluster.installation(unmade)) == kept
    assert not kept["tddllogs"]


def test_a_fault_in_any_file_leaves_nothing_behind(cluster: Cluster, unmade: str, tmp_path: Path):
    project = copy_of_onboarding(tmp_path)
    with (project / "onboarding/sql/grants.sql").open("a") as stream:
        stream.write("SELECT 1 / 0;\n")

    result = cluster.set_up(unmade, project=project)

    assert result.returncode != 0
    assert "grants.sql" in result.stderr
    assert "division by zero" in result.stderr
    assert cluster.installation(unmade).value("SELECT to_regnamespace('dba')") is None


def test_a_listed_file_that_is_not_there_is_named_before_anything_is_done(
    cluster: Cluster, unmade: str, tmp_path: Path
):
    project = copy_of_onboarding(tmp_path)
    (project / "onboarding/sql/grants.sql").unlink()

    result = cluster.set_up(unmade, project=project)

    assert result.returncode == 1
    assert "names grants.sql, which is not in" in result.stderr
    assert not cluster.installation("postgres").query("SELECT FROM pg_database WHERE datname = %s", unmade)


@pytest.mark.parametrize(
    ("argument", "status", "told"), [("--dry-run", 0, "create_roles.sql"), ("--help", 0, "Usage:"), ("--no", 64, "")]
)
def test_it_can_say_what_it_would_do(cluster: Cluster, unmade: str, argument: str, status: int, told: str):
    result = cluster.set_up(unmade, argument)

    assert result.returncode == status
    assert told in result.stdout
    assert not cluster.installation("postgres").query("SELECT FROM pg_database WHERE datname = %s", unmade)


def test_it_does_not_run_as_the_role_whose_rights_it_takes_away(cluster: Cluster, shared: Installation):
    result = cluster.set_up(shared.variables["PGDATABASE"], PGUSER="etl_owner")

    assert result.returncode != 0
    assert "run it as an administrator, not as etl_owner" in result.stderr


def test_every_sql_file_is_in_the_order():
    directory = PROJECT / "onboarding/sql"
    listed = {line for line in (directory / "ORDER.txt").read_text().splitlines() if line and not line.startswith("#")}

    assert listed | {"usefulqueries.sql"} == {path.name for path in directory.glob("*.sql")}


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


def test_what_an_operator_changed_stays(cluster: Cluster, database: Installation):
    for edit, _ in EDITS:
        database.query(edit, user="etl_owner")
    before = [database.query(look) for _, look in EDITS]

    result = cluster.set_up(database.variables["PGDATABASE"])

    assert result.returncode == 0, result.stderr
    assert [database.query(look) for _, look in EDITS] == before


# ---- an older installation -----------------------------------------------------------------

KEYS = {
    "tlogentry": "logid", "tddllogs": "logid", "tmaintenancelog": "logid", "tdatasettype": "datasettypeid",
    "tdatasource": "datasourceid", "tdatastatus": "datastatusid", "tdataset": "datasetid", "tholidays": "holiday_date",
    "tcalendardays": "fulldate", "timportstrategy": "importstrategyid", "timportconfig": "config_id",
    "tinboxconfig": "config_id", "treportmanager": "reportid", "tscheduler": "schedulerid", "ttableindexstats": "statid",
}  # fmt: skip
IMPORTED = "SELECT datasetid, company_name, ticker FROM public.tmeetmaxevent ORDER BY tmeetmaxeventid"
SHAPE = {
    "columns": """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
               -- Keys that were serial columns stay it.
               CASE WHEN a.attidentity <> '' OR pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval(%%' THEN 'its sequence'
                    ELSE pg_get_expr(d.adbin, d.adrelid) END
        FROM pg_class AS c
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'dba'::regnamespace AND c.relkind = 'r'""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'dba'::regnamespace AND contype <> 'n'""",
    "indexes": "SELECT indexdef FROM pg_indexes WHERE schemaname = 'dba'",
    "triggers": "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
    "event triggers": "SELECT evtname, evtevent, evtenabled, evtfoid::regproc::text FROM pg_event_trigger",
    "routines": "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'dba'::regnamespace",
    "sequence types": """
        SELECT s.seqtypid::regtype::text, d.refobjid::regclass::text
        FROM pg_sequence AS s JOIN pg_depend AS d ON d.objid = s.seqrelid AND d.deptype IN ('a', 'i')
        WHERE d.refobjid IN (SELECT oid FROM pg_class WHERE relnamespace = 'dba'::regnamespace)""",
    "owners": "SELECT relname, relowner::regrole::text FROM pg_class WHERE relnamespace = 'dba'::regnamespace "
    "AND relkind IN ('r', 'v')",
    "rights": "SELECT relname, relacl::text[] @> '{}' FROM pg_class WHERE relnamespace = 'dba'::regnamespace "
    "AND relkind = 'r'",
}  # fmt: skip


@dataclass
class Adopted:
    installation: Installation
    keys: dict[str, set[Any]]
    imported: list[tuple[Any, ...]]
    notices: str


def present_keys(installation: Installation) -> dict[str, set[Any]]:
    return {
        table: {key for (key,) in installation.query(f"SELECT {column} FROM dba.{table}")}
        for table, column in KEYS.items()
    }


def make_older(cluster: Cluster, *changes: str) -> Installation:
    name = cluster.make_database("template0")
    with locked(cluster.home):
        cluster.program("psql", name, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(OLDER))
    installation = cluster.installation(name)
    for change in changes:
        installation.query(change)
    return installation


@pytest.fixture(scope="module")
def adopted(cluster: Cluster) -> Adopted:
    """A database that the older installation made, after one set-up."""
    installation = make_older(cluster)
    keys, imported = present_keys(installation), installation.query(IMPORTED)
    result = cluster.set_up(installation.variables["PGDATABASE"])
    assert result.returncode == 0, result.stderr
    return Adopted(installation, keys, imported, result.stderr)


def test_the_older_installation_has_rows_in_every_table(adopted: Adopted):
    assert all(adopted.keys.values())
    assert adopted.imported


def test_adopting_an_older_installation_loses_no_row(adopted: Adopted):
    now = present_keys(adopted.installation)

    assert {table: keys - now[table] for table, keys in adopted.keys.items()} == {table: set() for table in KEYS}
    assert adopted.installation.query(IMPORTED) == adopted.imported


def test_adopting_it_a_second_time_changes_nothing(cluster: Cluster, adopted: Adopted):
    name = adopted.installation.variables["PGDATABASE"]
    dumped, kept = schema_dump(cluster, name), all_rows(adopted.installation)

    result = cluster.set_up(name)

    assert result.returncode == 0, result.stderr
    assert schema_dump(cluster, name) == dumped
    assert all_rows(adopted.installation) == kept


@pytest.mark.parametrize("part", SHAPE)
def test_an_adopted_schema_is_like_a_fresh_one(shared: Installation, adopted: Adopted, part: str):
    fresh, now = set(shared.query(SHAPE[part])), set(adopted.installation.query(SHAPE[part]))

    if part == "columns":  # one of its rows has no createddate
        assert "1 rows of dba.tdatasource have no createddate: the column stays optional" in adopted.notices
        now -= {("tdatasource", "createddate", "timestamp with time zone", False, "now()")}
        fresh -= {("tdatasource", "createddate", "timestamp with time zone", True, "now()")}
    assert now - fresh == set()
    assert fresh - now == set()


def test_of_two_active_datasets_the_newer_stays_active(adopted: Adopted):
    state = adopted.installation.query("SELECT datasetid, isactive, datastatusid FROM dba.tdataset ORDER BY 1")

    assert state == [(1, False, 2), (2, True, 1), (3, True, 1), (4, False, 2), (5, False, 2), (6, False, 5)]
    assert "Dataset 1 (119243, 2025-03-03) is now Inactive: dataset 2 is newer" in adopted.notices


@pytest.mark.parametrize(
    ("look", "found"),
    [
        ("SELECT (\"timestamp\" AT TIME ZONE current_setting('TimeZone'))::text FROM dba.tlogentry", "2025-03-04 05:06:07"),
        ("SELECT stepcounter FROM dba.tlogentry", "3"),
        ("SELECT source_directory FROM dba.timportconfig WHERE config_id = 1", "/older/file_watcher"),
        ("SELECT duplicate_scope FROM dba.timportconfig WHERE config_id = 2", "dataset"),
        ("SELECT duplicate_scope FROM dba.timportconfig WHERE config_id = 3", "config"),
        ("SELECT frequency FROM dba.tscheduler WHERE schedulerid = 1", "0 6,18 * * 1-5"),
        ("SELECT count(*) FROM dba.tscheduler WHERE scriptpath ~ 'run_download_and_import'", 1),
        ("SELECT count(*) FROM dba.tscheduler WHERE taskname = 'Daily Database Backup'", 1),
        ("SELECT datastatusid FROM dba.tscheduler WHERE schedulerid = 2", 2),
        ("SELECT toheader FROM dba.treportmanager WHERE reportid = 1", "desk@example.com"),
        ("SELECT is_active FROM dba.tinboxconfig", False),
        ("SELECT has_attachment FROM dba.tinboxconfig", True),
        ("SELECT sourcename FROM dba.tdatasource WHERE sourcename ~ 'Another'", "Another bank"),
        ("SELECT max(fulldate)::text FROM dba.tcalendardays", "2035-12-31"),
        ("SELECT count(*) FROM dba.tholidays WHERE holiday_date = '2025-12-24'", 1),
        ("SELECT count(*) FROM dba.tholidays WHERE holiday_date = '2025-12-25'", 0),
        ("SELECT count(*) FROM dba.tholidays WHERE holiday_date = '2026-12-25'", 1),
        ("SELECT relowner::regrole::text FROM pg_class WHERE oid = 'public.tmeetmaxevent'::regclass", "etl_user"),
    ],
)  # fmt: skip
def test_what_the_older_installation_said_still_holds(adopted: Adopted, look: str, found: Any):
    assert adopted.installation.value(look) == found


def test_jobs_work_in_an_adopted_database(adopted: Adopted):
    with contextlib.closing(adopted.installation.connect("etl_user")) as connection, connection.cursor() as cursor:
        connection.autocommit = False
        active = one(
            cursor, "SELECT dba.f_dataset_iu(NULL, '2025-03-03', 'MeetMaxEvents', 'MeetMax', '119243', 'Active')"
        )
        cursor.execute("INSERT INTO dba.tlogentry (message) VALUES ('x')")
        for call in JOB_CALLS:
            cursor.execute(call)
        cursor.execute("ALTER TABLE public.tmeetmaxevent ADD COLUMN description text")
        found = rows(cursor, "SELECT datasetid FROM dba.tdataset WHERE isactive AND datasetdate = '2025-03-03'")
        connection.rollback()

    assert found == [(active,)]


def test_an_older_row_that_breaks_a_rule_is_named_and_nothing_is_changed(cluster: Cluster):
    installation = make_older(cluster, "UPDATE dba.tscheduler SET frequency = '0 25 * * *'")

    result = cluster.set_up(installation.variables["PGDATABASE"])

    assert result.returncode != 0
    assert 'the rows with schedulerid 1, 2 break the rule "frequency_is_a_cron_expression"' in result.stderr
    assert "Correct these rows, then run the set-up again." in result.stderr
    assert installation.query(
        "SELECT to_regclass('dba.tjobrun'), format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = 'dba.tscheduler'::regclass AND attname = 'frequency'"
    ) == [(None, "character varying(50)")]


# ---- the rows that come with it ------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT datasettypeid, typename FROM dba.tdatasettype ORDER BY 1",
         [(1, "Metadata"), (2, "MeetMaxURL"), (3, "MeetMaxEvents")]),
        ("SELECT datastatusid, statusname FROM dba.tdatastatus ORDER BY 1",
         [(1, "Active"), (2, "Inactive"), (3, "Deleted"), (4, "New"), (5, "Failed"), (6, "Empty")]),
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
         [("0 5,17 * * 1-5", "run_download_and_import.sh", "", 1), ("0 19 * * 5", "meetmax_url_check.py", "", 1),
          ("0 2 * * 0", "weekly_cleanup_meetmaxevents.sh", "", 1), ("0 2 * * 0", "weekly_cleanup_logs.sh", "", 1),
          ("0 3 * * *", "daily_backup.sh", "", 1)]),
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
    for table, column in (("tdatasettype", "typename"), ("tdatastatus", "statusname"), ("timportstrategy", "name")):
        highest = one(cursor, f"SELECT max({KEYS[table]}) FROM dba.{table}")
        added = one(cursor, f"INSERT INTO dba.{table} ({column}) VALUES ('One more') RETURNING {KEYS[table]}")
        assert added > highest


# ---- datasets ------------------------------------------------------------------------------

DATASET = "SELECT dba.f_dataset_iu(%s, %s, %s, %s, %s, %s, %s)"
STATE = """
    SELECT s.statusname, d.isactive, d.effthrudate >= '9000-01-01'
    FROM dba.tdataset AS d JOIN dba.tdatastatus AS s USING (datastatusid) WHERE d.datasetid = %s"""


def add_dataset(cursor: Any, status: str | None = "Active", day: date = TUESDAY, label: str = "119243") -> int:
    return one(cursor, DATASET, None, day, "MeetMaxEvents", "MeetMax", label, status, None)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (None, ("New", False, True)),
        ("New", ("New", False, True)),
        ("Active", ("Active", True, True)),
        ("Inactive", ("Inactive", False, False)),
        ("Failed", ("Failed", False, False)),
        ("Empty", ("Empty", False, False)),
    ],
)
def test_f_dataset_iu_inserts_a_dataset(cursor: Any, status: str | None, state: tuple[Any, ...]):
    added = add_dataset(become(cursor, "etl_user"), status)

    assert one(cursor, STATE, added) == state
    assert one(cursor, "SELECT label, datasetdate, createdby FROM dba.tdataset WHERE datasetid = %s", added) == (
        "119243",
        TUESDAY,
        "etl_user",
    )


def test_f_dataset_iu_changes_what_is_said_and_keeps_the_rest(cursor: Any):
    former, added = add_dataset(become(cursor, "etl_user")), add_dataset(cursor, "New")

    assert one(cursor, DATASET, added, None, None, None, None, "Active", None) == added
    assert one(cursor, STATE, added) == ("Active", True, True)
    assert one(cursor, STATE, former) == ("Inactive", False, False)
    assert one(cursor, DATASET, added, MONDAY, "Metadata", None, "other", None, None) == added
    cursor.execute(
        "SELECT datasetdate, label, datasettypeid, datastatusid FROM dba.tdataset WHERE datasetid = %s", (added,)
    )
    assert cursor.fetchone() == (MONDAY, "other", 1, 1)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((None, TUESDAY, "MeetMaxEvents", "MeetMax", "1", "Activ", None),
         'Unknown status "Activ"; dba.tdatastatus has: Active, Inactive, Deleted, New, Failed, Empty'),
        ((None, TUESDAY, "Events", "MeetMax", "1", "New", None),
         'Unknown dataset type "Events"; dba.tdatasettype has: Metadata, MeetMaxURL, MeetMaxEvents'),
        ((None, TUESDAY, "MeetMaxEvents", "Max", "1", "New", None), 'Unknown data source "Max"; dba.tdatasource has: MeetMax'),
        ((None, None, "MeetMaxEvents", "MeetMax", "1", "New", None), "A new dataset needs a date, a type, a source and a label"),
        ((None, TUESDAY, "MeetMaxEvents", "MeetMax", None, "New", None), "A new dataset needs a date"),
        ((2_000_000_000, None, None, None, None, "Active", None), "There is no dataset 2000000000"),
    ],
)  # fmt: skip
def test_f_dataset_iu_refuses_and_says_what_is_allowed(cursor: Any, arguments: tuple[Any, ...], told: str):
    assert told in str(refusal(become(cursor, "etl_user"), DATASET, *arguments))


@pytest.mark.parametrize(
    ("day", "label", "kind", "stays"),
    [
        (TUESDAY, "119243", "MeetMaxEvents", False),
        (MONDAY, "119243", "MeetMaxEvents", True),
        (TUESDAY, "119244", "MeetMaxEvents", True),
        (TUESDAY, "119243", "MeetMaxURL", True),
    ],
)
def test_activating_a_dataset_deactivates_the_one_of_its_type_label_and_date_only(
    cursor: Any, day: date, label: str, kind: str, stays: bool
):
    first = add_dataset(cursor)

    one(cursor, DATASET, None, day, kind, "MeetMax", label, "Active", None)

    assert one(cursor, STATE, first)[1] is stays


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ("datastatusid = 2", ("Inactive", False, False)),
        ("isactive = false", ("Inactive", False, False)),
        ("isactive = true", ("Active", True, True)),
        ("datastatusid = 3", ("Deleted", False, False)),
    ],
)
def test_status_and_flag_follow_each_other(cursor: Any, change: str, state: tuple[Any, ...]):
    added = add_dataset(cursor)

    cursor.execute(f"UPDATE dba.tdataset SET {change} WHERE datasetid = %s", (added,))

    assert one(cursor, STATE, added) == state


def in_threads(work: Callable[[int], None], count: int = 8) -> list[BaseException]:
    """Do the work in threads that begin together, and return what went wrong."""
    barrier, wrong = threading.Barrier(count), []

    def begin(number: int) -> None:
        try:
            barrier.wait()
            work(number)
        except Exception as error:  # noqa: BLE001 - handed to the test
            wrong.append(error)

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong


@pytest.mark.parametrize("datasets", [8, 3, 1, 0], ids=["eight of them", "three of them", "one of them", "new ones"])
def test_eight_activations_at_once_leave_exactly_one_active(shared: Installation, datasets: int):
    """With fewer datasets than threads, some are activated again while they are deactivated."""
    label = f"{datasets} at once"
    connections = [shared.connect("etl_user") for _ in range(8)]
    with connections[0].cursor() as cursor:
        known = [add_dataset(cursor, "New", label=label) for _ in range(datasets)]

    def activate(number: int) -> None:
        with connections[number].cursor() as cursor:
            for round_ in range(10):
                if known:
                    again = known[(number + round_) % len(known)]
                    one(cursor, DATASET, again, None, None, None, None, "Active", None)
                else:
                    add_dataset(cursor, label=label)

    wrong = in_threads(activate)
    for connection in connections:
        connection.close()
    states = shared.query("DELETE FROM dba.tdataset WHERE label = %s RETURNING isactive, datastatusid", label)

    assert wrong == []
    assert sorted(states, reverse=True) == [(True, 1)] + [(False, 2)] * ((datasets or 80) - 1)


# ---- import configurations -----------------------------------------------------------------

IMPORT = {
    "config_name": "Calls", "datasource": "MeetMax", "datasettype": "Metadata", "source_directory": "/srv/in",
    "archive_directory": "/srv/archive", "file_pattern": "*.csv", "file_type": "CSV", "metadata_label_source": "static",
    "dateconfig": "filename", "metadata_label_location": "calls", "datelocation": "0", "dateformat": "yyyyMMdd",
    "delimiter": "_", "target_table": "public.tcall",
}  # fmt: skip
INBOX = {"config_name": "Mail", "gmail_account": "a@example.com", "local_repository_path": "/srv/in"}
JOB = {"taskname": "A job", "frequency": "0 5 * * 1-5", "scriptpath": "a_job.py", "datastatusid": 1}
REPORT = {
    "reportname": "A report", "frequency": "0 5 * * 1-5", "subjectheader": "Hello", "toheader": "a@example.com",
    "hasattachment": False, "emailbodytemplate": "{{grid1}}", "emailbodyqueries": '{"grid1": "SELECT 1"}',
}  # fmt: skip


def insert(table: str, values: dict[str, Any]) -> tuple[str, tuple[Any, ...]]:
    marks = ", ".join(["%s"] * len(values))
    return f"INSERT INTO dba.{table} ({', '.join(values)}) VALUES ({marks}) RETURNING *", tuple(values.values())


def call(routine: str, values: dict[str, Any]) -> tuple[str, tuple[Any, ...]]:
    verb = "CALL" if routine.startswith("p") else "SELECT"
    arguments = ", ".join(f"p_{name} => %s" for name in values)
    return f"{verb} dba.{routine}({arguments})", tuple(values.values())


def test_pimportconfigi_adds_a_configuration_and_returns_its_id(cursor: Any):
    statement, values = call("pimportconfigi", {**IMPORT, "encoding": "cp1252", "field_delimiter": ";"})
    added = one(become(cursor, "etl_owner"), statement, *values)

    names = [*IMPORT, "importstrategyid", "is_active", "encoding", "field_delimiter", "duplicate_scope"]
    found = one(cursor, f"SELECT {', '.join(names)} FROM dba.timportconfig WHERE config_id = %s", added)
    assert found == (*IMPORT.values(), 1, "1", "cp1252", ";", "config")


def test_pimportconfigu_changes_what_is_said_and_keeps_the_rest(cursor: Any):
    before = one(become(cursor, "etl_owner"), "SELECT * FROM dba.timportconfig WHERE config_id = 2")
    cursor.execute("UPDATE dba.timportconfig SET last_modified_at = last_modified_at WHERE config_id = 2")

    cursor.execute("CALL dba.pimportconfigu(2, p_file_type => 'XLSX', p_is_active => B'0')")

    after = one(cursor, "SELECT * FROM dba.timportconfig WHERE config_id = 2")
    names = [column.name for column in cursor.description]
    changed = {name: new for name, old, new in zip(names, before, after, strict=True) if old != new}
    assert set(changed) == {"file_type", "is_active", "last_modified_at"}
    assert one(cursor, "SELECT last_modified_at = now() FROM dba.timportconfig WHERE config_id = 2") is True


# ---- the schedule and the reports ----------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "table", "key", "values", "change"),
    [
        ("tscheduler", "tscheduler", "schedulerid", {**JOB, "taskdescription": None, "scriptargs": "--x 1"},
         {"frequency": "@daily", "datastatusid": 2, "scriptargs": ""}),
        ("treportmanager", "treportmanager", "reportid",
         {**REPORT, "reportdescription": None, "attachmentqueries": '[{"name": "a.csv", "query": "SELECT 1"}]'},
         {"frequency": "@daily", "toheader": "", "datastatusid": 2}),
    ],
)  # fmt: skip
def test_a_job_or_report_is_added_and_changed(
    cursor: Any, kind: str, table: str, key: str, values: dict[str, Any], change: dict[str, Any]
):
    def stored() -> dict[str, Any]:
        row = one(cursor, f"SELECT * FROM dba.{table} WHERE {key} = %s", added)
        return dict(zip([column.name for column in cursor.description], row, strict=True))

    statement, arguments = call(f"f_insert_{kind}", values)
    added = one(become(cursor, "etl_owner"), statement, *arguments)
    before = stored()
    statement, arguments = call(f"f_update_{kind}", {key: added, **change})
    returned = one(cursor, statement, *arguments)

    assert returned == added
    assert {name: before[name] for name in ("frequency", "createduser", "datastatusid")} == {
        "frequency": "0 5 * * 1-5",
        "createduser": "etl_owner",
        "datastatusid": 1,
    }
    assert stored() == {**before, **change}


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("SELECT dba.f_insert_tscheduler('A', NULL, '0 25 * * *', 'a.py')", 'frequency "0 25 * * *" is not a cron expression'),
        ("SELECT dba.f_update_tscheduler(1, p_frequency => 'daily')", 'frequency "daily" is not a cron expression'),
        ("SELECT dba.f_update_treportmanager(1, p_frequency => '0 5 * *')", 'frequency "0 5 * *" is not a cron expression'),
        ("SELECT dba.f_update_tscheduler(9999)", "There is no job 9999 in the schedule"),
        ("SELECT dba.f_update_treportmanager(9999)", "There is no report 9999"),
        ("CALL dba.pimportconfigu(9999)", "There is no import configuration 9999"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_explained(cursor: Any, statement: str, told: str):
    assert told in str(refusal(become(cursor, "etl_owner"), statement))


# ---- maintenance ---------------------------------------------------------------------------

JOB_CALLS = [
    "CALL dba.ppurgeoldlogs(30)",
    "CALL dba.prunmaintenancevacuumanalyze()",
    "CALL dba.pmonitorlongrunningqueries(60)",
    "CALL dba.pcapturetableindexstats()",
    "SELECT * FROM dba.f_get_event_changes()",
]


@pytest.mark.parametrize("statement", JOB_CALLS)
def test_a_routine_runs_inside_a_transaction_and_leaves_it_open(cursor: Any, statement: str):
    before = one(become(cursor, "etl_user"), "SELECT pg_current_xact_id()::text")

    cursor.execute(statement)

    assert cursor.connection.info.transaction_status == TRANSACTION_STATUS_INTRANS
    assert one(cursor, "SELECT pg_current_xact_id()::text") == before


def test_the_routines_run_outside_a_transaction(database: Installation):
    for statement in JOB_CALLS:
        database.query(statement, user="etl_user")

    done = database.query("SELECT DISTINCT operation FROM dba.tmaintenancelog ORDER BY 1")
    assert done == [("ANALYZE",), ("PURGE",)]


@pytest.mark.parametrize(("days", "kept"), [(7, ["6 days", "now"]), (0, ["now"]), (30, ["6 days", "8 days", "now"])])
def test_ppurgeoldlogs_deletes_what_is_older(cursor: Any, days: int, kept: list[str]):
    for age in ("now", "6 days", "8 days"):
        ago = "0" if age == "now" else age
        cursor.execute('INSERT INTO dba.tlogentry ("timestamp", message) VALUES (now() - %s::interval, %s)', (ago, age))

    become(cursor, "etl_user").execute("CALL dba.ppurgeoldlogs(%s)", (days,))

    assert rows(cursor, "SELECT message FROM dba.tlogentry ORDER BY 1") == [(message,) for message in kept]
    assert rows(cursor, "SELECT operation, tablename, username, details FROM dba.tmaintenancelog") == [
        ("PURGE", "dba.tlogentry", "etl_user", f"{3 - len(kept)} records older than {days} days")
    ]


@pytest.mark.parametrize("procedure", ["ppurgeoldlogs", "pmonitorlongrunningqueries"])
@pytest.mark.parametrize("threshold", [-1, None])
def test_a_threshold_below_zero_is_refused(cursor: Any, procedure: str, threshold: int | None):
    error = refusal(become(cursor, "etl_user"), f"CALL dba.{procedure}(%s)", threshold)

    assert f"{procedure} takes " in str(error)
    assert isinstance(error, errors.InvalidParameterValue)


def test_prunmaintenancevacuumanalyze_analyzes_our_tables_and_says_who_vacuums(cursor: Any):
    become(cursor, "etl_user").execute(
        "CREATE TABLE public.tcall (datasetid integer); INSERT INTO public.tcall SELECT generate_series(1, 500)"
    )

    cursor.execute("CALL dba.prunmaintenancevacuumanalyze()")

    tables = set(rows(cursor, "SELECT 'dba.' || tablename FROM pg_tables WHERE schemaname = 'dba'"))
    done = set(rows(cursor, "SELECT tablename FROM dba.tmaintenancelog WHERE operation = 'ANALYZE' AND durationseconds >= 0"))  # fmt: skip
    assert done >= tables
    assert done - tables <= {("public.tcall",), ("tcall",)}
    assert one(cursor, "SELECT reltuples::integer FROM pg_class WHERE oid = 'public.tcall'::regclass") == 500
    assert "VACUUM cannot run inside a procedure" in cursor.connection.notices[-1]


def test_pmonitorlongrunningqueries_notes_a_long_query_and_whom_it_waits_for(database: Installation):
    holder, waiting = database.connect(), database.connect("etl_user")
    holder.autocommit = False
    holder.cursor().execute("LOCK TABLE dba.tdownload")
    ended: list[BaseException] = []

    def wait() -> None:
        try:
            waiting.cursor().execute("SELECT 'password = geheim' FROM dba.tdownload")
        except psycopg2.Error as error:
            ended.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    deadline = time.monotonic() + 30
    pid, holder_pid = waiting.info.backend_pid, holder.info.backend_pid
    while not database.value("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s", pid):
        assert time.monotonic() < deadline
    database.query("CALL dba.pmonitorlongrunningqueries(60)", user="etl_user")
    noted_at_60 = database.value("SELECT count(*) FROM dba.tmaintenancelog")
    database.query("CALL dba.pmonitorlongrunningqueries(0)", user="etl_user")
    waiting.cancel()
    thread.join()
    holder.close()
    waiting.close()

    assert noted_at_60 == 0
    assert isinstance(ended[0], errors.QueryCanceled)
    noted = database.query("SELECT operation, username, durationseconds >= 0, details FROM dba.tmaintenancelog")
    name = database.variables["PGDATABASE"]
    (long,) = [row for row in noted if row[3].startswith(f"pid {pid},")]
    assert long[:3] == ("LONG QUERY", "etl_user", True)
    assert re.fullmatch(
        rf"pid {pid}, database {name}, active since .*, waits for pid {holder_pid}: SELECT 'password = \*\*\*.*",
        long[3],
    )
    assert [row for row in noted if "pmonitorlongrunningqueries" in row[3]] == []
    (open_transaction,) = [row for row in noted if row[3].startswith(f"pid {holder_pid},")]
    assert "idle in transaction" in open_transaction[3]


def test_pcapturetableindexstats_adds_a_row_for_each_table_and_index(cursor: Any):
    become(cursor, "etl_user").execute("CALL dba.pcapturetableindexstats()")

    captured = rows(
        cursor, "SELECT schemaname, tablename, indexname FROM dba.ttableindexstats WHERE snapshottime = now()"
    )
    tables = rows(cursor, "SELECT schemaname, tablename, NULL FROM pg_tables WHERE schemaname IN ('dba', 'public')")
    indexes = rows(
        cursor, "SELECT schemaname, tablename, indexname FROM pg_indexes WHERE schemaname IN ('dba', 'public')"
    )
    assert sorted(captured, key=str) == sorted(tables + indexes, key=str)
    sizes = rows(cursor, "SELECT totalsize FROM dba.ttableindexstats WHERE tablename = 'tcalendardays'")
    assert all(size > 100_000 for (size,) in sizes)


# ---- the record of DDL ---------------------------------------------------------------------

DDL = "SELECT eventtype, schemaname, objectname, objecttype, username FROM dba.tddllogs ORDER BY logid"


def test_flogddlchanges_records_what_a_job_makes_changes_and_drops(cursor: Any):
    become(cursor, "etl_user")
    for statement in (
        "CREATE TABLE public.tcall (datasetid integer)",
        "ALTER TABLE public.tcall ADD COLUMN ticker text",
        "DROP TABLE public.tcall",
    ):
        cursor.execute(statement)

    assert rows(cursor, DDL) == [
        ("CREATE TABLE", "public", "tcall", "table", "etl_user"),
        ("ALTER TABLE", "public", "tcall", "table", "etl_user"),
        ("DROP TABLE", "public", "tcall", "table", "etl_user"),
    ]
    assert (
        one(cursor, "SELECT sqlstatement FROM dba.tddllogs WHERE eventtype = 'DROP TABLE'") == "DROP TABLE public.tcall"
    )


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TEMPORARY TABLE scratch (x integer)",
        "CREATE TEMPORARY TABLE scratch (x integer); DROP TABLE scratch",
        "SET LOCAL etl.setup = 'on'; CREATE TABLE public.tcall (x integer); DROP TABLE public.tcall",
    ],
)
def test_flogddlchanges_leaves_out_temporary_tables_and_nothing_else(cursor: Any, statement: str):
    become(cursor, "etl_user").execute(statement)

    logged = rows(cursor, DDL)
    assert [row[0] for row in logged] == (["CREATE TABLE", "DROP TABLE"] if "public" in statement else [])


def test_flogddlchanges_masks_passwords(cursor: Any):
    cursor.execute("CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w")
    cursor.execute("CREATE USER MAPPING FOR etl_user SERVER s OPTIONS (user 'x', password 'geheim')")

    told = one(cursor, "SELECT sqlstatement FROM dba.tddllogs ORDER BY logid DESC LIMIT 1")
    assert told == "CREATE USER MAPPING FOR etl_user SERVER s OPTIONS (user 'x', password ***)"


# ---- changes of the lists ------------------------------------------------------------------

CHANGES = "SELECT company_name, ticker, scenario FROM dba.f_get_event_changes(%s) ORDER BY 3, 1, 2"


def add_lists(cursor: Any, columns: str, *lists: tuple[date, list[tuple[Any, ...]]], label: str = "119243") -> None:
    """Import lists of an event as a job does."""
    cursor.execute(f"CREATE TABLE IF NOT EXISTS public.tmeetmaxevent (datasetid integer, {columns})")
    for day, companies in lists:
        dataset = add_dataset(cursor, "Active", day, label)
        for company in companies:
            marks = ", ".join(["%s"] * (len(company) + 1))
            cursor.execute(f"INSERT INTO public.tmeetmaxevent VALUES ({marks})", (dataset, *company))


def business_days(cursor: Any) -> tuple[date, date]:
    """Return the last business day until today, and the one before it."""
    return one(
        cursor,
        "SELECT d.fulldate, d.previous_business_date FROM dba.tcalendardays AS today JOIN dba.tcalendardays AS d "
        "ON d.fulldate = CASE WHEN today.isbusday THEN today.fulldate ELSE today.previous_business_date END "
        "WHERE today.fulldate = current_date",
    )


NAME_TICKER = "company_name text, ticker text"


@pytest.mark.parametrize(
    ("columns", "before", "now", "changes"),
    [
        pytest.param(NAME_TICKER, [("Old", "OLD"), ("Acme", "ACME")], [("Acme", "ACME"), ("New", "NEW")],
                     [("NEW", "NEW", "added"), ("OLD", "OLD", "removed")], id="added and removed"),
        pytest.param(NAME_TICKER, [("Acme", "ACME")], [("Acme", "ACME")], [], id="unchanged"),
        pytest.param(NAME_TICKER, [("Acme", "ACME")], [(" acme ", "Acme")], [], id="upper case and trimmed"),
        pytest.param(NAME_TICKER, [], [("Acme", "ACME"), ("Acme", "ACME")], [("ACME", "ACME", "added")], id="equal rows twice"),
        pytest.param(NAME_TICKER, [("Acme", "ACME"), ("Acme", "ACME")], [("Acme", "ACME")], [], id="one of two equal rows gone"),
        pytest.param(NAME_TICKER, [("Acme", "ACME")], [("Acme", "ACM US")],
                     [("ACME", "ACM US", "added"), ("ACME", "ACME", "removed")], id="ticker changed"),
        pytest.param(NAME_TICKER, [], [("Acme", None), (None, "TXG"), (None, None), (" ", "")],
                     [("ACME", None, "added"), (None, "TXG", "added")], id="blanks"),
        pytest.param(NAME_TICKER, [("Acme", "ACME")], [], [("ACME", "ACME", "removed")], id="an empty list"),
        pytest.param('"company/organization" text, company_name text, company_ticker text, ticker text',
                     [], [("B", "A", "TB", "TA"), ("C", None, "TC", " ")], [("A", "TA", "added"), ("C", "TC", "added")],
                     id="the first column that is filled"),
        pytest.param('"company/organization" text', [], [("Acme",)], [("ACME", None, "added")], id="no ticker column"),
        pytest.param("ticker text", [("TXG",)], [], [(None, "TXG", "removed")], id="no name column"),
        pytest.param("name text, symbol text", [], [("Acme", "ACME")], [], id="none of the columns"),
    ],
)  # fmt: skip
def test_f_get_event_changes_compares_two_lists(
    cursor: Any, columns: str, before: list[tuple], now: list[tuple], changes: list[tuple]
):
    add_lists(become(cursor, "etl_user"), columns, (MONDAY, before), (TUESDAY, now))

    assert rows(cursor, CHANGES, TUESDAY) == changes
    become(cursor, "etl_report")
    assert rows(cursor, CHANGES, TUESDAY) == changes


def test_f_get_event_changes_is_empty_before_the_first_import(cursor: Any):
    assert rows(become(cursor, "etl_report"), CHANGES, TUESDAY) == []


@pytest.mark.parametrize(
    ("asked", "day", "before"),
    [
        pytest.param("2026-03-03", "2026-03-03", "2026-03-02", id="Tuesday and Monday"),
        pytest.param("2026-03-02", "2026-03-02", "2026-02-27", id="Monday and Friday"),
        pytest.param("2026-03-01", "2026-02-27", "2026-02-26", id="asked on a Sunday"),
        pytest.param("2026-07-06", "2026-07-06", "2026-07-02", id="after a holiday and a weekend"),
        pytest.param("2026-07-03", "2026-07-02", "2026-07-01", id="asked on a holiday"),
        pytest.param("2026-01-02", "2026-01-02", "2025-12-31", id="after New Year"),
    ],
)
def test_f_get_event_changes_skips_holidays_and_weekends(cursor: Any, asked: str, day: str, before: str):
    first, last = date.fromisoformat(before), date.fromisoformat(day)
    every_day = [first + timedelta(days=number) for number in range(-7, 12)]
    add_lists(cursor, NAME_TICKER, *((each, [(f"Of {each}", None)]) for each in every_day))

    found = rows(cursor, "SELECT company_name, mindate, maxdate, scenario FROM dba.f_get_event_changes(%s)", asked)

    assert found == [(f"OF {day}", last, last, "added"), (f"OF {before}", first, first, "removed")]


def test_f_get_event_changes_takes_today_when_no_day_is_given(cursor: Any):
    day, before = business_days(cursor)
    add_lists(cursor, NAME_TICKER, (before, [("Former", None)]), (day, [("Acme", None)]))

    found = rows(cursor, "SELECT company_name, mindate, scenario FROM dba.f_get_event_changes() ORDER BY 1")
    assert found == [("ACME", day, "added"), ("FORMER", before, "removed")]


def test_f_get_event_changes_keeps_events_apart_and_counts_active_datasets_only(cursor: Any):
    add_lists(
        cursor, NAME_TICKER, (MONDAY, [("Acme", None)]), (TUESDAY, [("Withdrawn", None)]), (TUESDAY, [("Acme", None)])
    )
    add_lists(cursor, NAME_TICKER, (TUESDAY, [("Acme", None)]), label="119244")

    found = rows(cursor, "SELECT eventid, company_name, scenario FROM dba.f_get_event_changes(%s)", TUESDAY)

    assert found == [("119244", "ACME", "added")]


def test_f_get_event_changes_names_the_page_of_the_newest_scan(cursor: Any):
    add_lists(cursor, NAME_TICKER, (TUESDAY, [("Acme", None)]))
    add_lists(cursor, NAME_TICKER, (TUESDAY, [("Other", None)]), label="119244")
    cursor.execute("CREATE TABLE public.tmeetmaxurlcheck (datasetid integer, eventid text, url text)")
    for day, status, url in ((FRIDAY, "Active", "/old"), (MONDAY, "Active", "/new"), (TUESDAY, "Failed", "/failed")):
        scan = one(cursor, DATASET, None, day, "MeetMaxURL", "MeetMax", "MeetMaxURLCheck", status, None)
        cursor.execute(
            "INSERT INTO public.tmeetmaxurlcheck VALUES (%s, '119243', %s), (%s, '7', '/7')", (scan, url, scan)
        )

    found = rows(cursor, "SELECT eventid, url FROM dba.f_get_event_changes(%s) ORDER BY 1", TUESDAY)

    assert found == [("119243", "/new"), ("119244", None)]


@pytest.mark.parametrize("day", ["1999-12-31", "2040-01-02", "2020-01-01"])
def test_f_get_event_changes_says_where_the_calendar_ends(cursor: Any, day: str):
    cursor.execute("UPDATE dba.tcalendardays SET previous_business_date = NULL WHERE fulldate = '2020-01-01'")

    assert f"dba.tcalendardays does not reach {day}" in str(refusal(cursor, CHANGES, day))


def test_f_refresh_calendar_follows_the_holidays(cursor: Any):
    become(cursor, "etl_owner").execute("INSERT INTO dba.tholidays VALUES ('2026-03-02', 'The office is closed')")

    changed = one(cursor, "SELECT dba.f_refresh_calendar()")

    assert changed == 2
    assert one(cursor, "SELECT previous_business_date FROM dba.tcalendardays WHERE fulldate = %s", TUESDAY) == FRIDAY
    assert one(cursor, "SELECT dba.f_refresh_calendar()") == 0


# ---- bad rows ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "expression",
    ["", "daily", "0 5 * *", "0 5 * * * *", "60 5 * * *", "0 24 * * *", "0 5 0 * *", "0 5 * 13 *", "0 5 * * 8", "*/0 * * * *",
     "0/15 * * * *", "0 5 L * *", "# 0 5 * * *", "0 5 * * 1-5\n* * * * *", "0 5 * * 1\r", "\ufeff0 5 * * *", "@fortnightly",
     "A=1 5 * * *", "0 5 * * mon-", ",5 * * * *"],
)  # fmt: skip
@pytest.mark.parametrize(("table", "row"), [("tscheduler", JOB), ("treportmanager", REPORT)])
def test_a_bad_cron_expression_is_refused(cursor: Any, table: str, row: dict[str, Any], expression: str):
    statement, values = insert(table, {**row, "frequency": expression})

    error = refusal(become(cursor, "etl_owner"), statement, *values)

    assert error.diag.constraint_name == "cron_expression_as_debian_reads_it"


@pytest.mark.parametrize(
    "expression",
    ["0 5,17 * * 1-5", "*/5 * * * *", " 0\t5 * * * ", "0 5 * jan-mar SUN,7", "@daily", "50-10 * * * *", "0 0 30 2 *", "5-59/10 * * * 0-7"],
)  # fmt: skip
def test_a_good_cron_expression_is_stored_as_it_is(cursor: Any, expression: str):
    statement, values = insert("tscheduler", {**JOB, "frequency": expression})

    assert expression in one(become(cursor, "etl_owner"), statement, *values)


def test_the_database_accepts_what_debians_cron_accepts(corpus_dir: Path, cursor: Any):
    """Three comments, and six lines whose sixth field a user's crontab takes for the command, are no schedule."""
    collected = json.loads((corpus_dir / "cron/expressions.json").read_text())
    verdicts = {entry["expr"]: entry["debian_cron_accepts"] for entry in collected}

    found = dict(rows(cursor, "SELECT e, dba.f_is_cron_expression(e) FROM unnest(%s::text[]) AS e", list(verdicts)))

    different = {expression for expression, accepted in verdicts.items() if found[expression] is not accepted}
    comments = {expression for expression in different if expression.startswith("#")}
    assert len(comments) == 3
    assert {len(expression.split()) for expression in different - comments} == {6}
    assert len(different) == 9
    assert not any(found[expression] for expression in different)


field = st.text("0123456789*,-/", min_size=1, max_size=6) | st.sampled_from(
    ["*", "*/5", "1-5", "1,2", "mon", "jan-mar", "SUN", "60", "0", "31", "*/0", "1-", "5#2", "a", "08", "%", "L"]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(field, min_size=4, max_size=6).map(" ".join)
    | st.text("0123456789*,-/ \t@=#monjSLd", max_size=20)
    | st.lists(field, min_size=5, max_size=5).map("\t ".join)
)
def test_the_database_and_the_cron_writer_agree(cursor: Any, expression: str):
    try:
        parse(expression)
        accepted = True
    except CronExpressionError:
        accepted = False

    assert one(cursor, "SELECT dba.f_is_cron_expression(%s)", expression) is accepted


ACTIVE = {
    "datasetdate": TUESDAY, "label": "x", "datasettypeid": 3, "datasourceid": 1, "datastatusid": 1,
    "isactive": True, "effthrudate": "9999-01-01",
}  # fmt: skip
FILE = {"config_id": 1, "file_name": "a.csv", "sha256": "0" * 64, "status": "Duplicate"}
RUN = {"run_uuid": "00000000-0000-0000-0000-000000000001", "job": "a.py"}
DOWNLOAD = {"eventid": "1", "url": "/1", "status": "Downloaded"}
UNSAFE_TABLES = [
    "tcall", "dba.tlogentry", "pg_catalog.pg_class", "information_schema.tables", "pg_temp.tcall", "Public.tcall",
    "public.TCall", "public.t-call", 'public."tcall"', "public.tcall; DROP TABLE x", "public.tcall ", "a.b.c",
    "public.1call", "public." + "a" * 61, "public.t\n", "public.täll", "",
]  # fmt: skip
BAD_ROWS = [
    ("tscheduler", JOB, {"taskname": "a\nb"}, "tscheduler_taskname_on_one_line"),
    ("tscheduler", JOB, {"taskname": " "}, "tscheduler_taskname_on_one_line"),
    ("tscheduler", JOB, {"scriptargs": "a\nb"}, "tscheduler_scriptargs_on_one_line"),
    ("tscheduler", JOB, {"scriptargs": "a\r"}, "tscheduler_scriptargs_on_one_line"),
    ("tscheduler", JOB, {"scriptpath": "a.py\n"}, "tscheduler_scriptpath_is_a_job_or_absolute"),
    ("tscheduler", JOB, {"scriptpath": "/a\nb"}, "tscheduler_scriptpath_is_a_job_or_absolute"),
    ("tscheduler", JOB, {"scriptpath": "../a.py"}, "tscheduler_scriptpath_is_a_job_or_absolute"),
    ("tscheduler", JOB, {"scriptpath": "a.py; rm"}, "tscheduler_scriptpath_is_a_job_or_absolute"),
    ("tscheduler", JOB, {"scriptpath": ""}, "tscheduler_scriptpath_is_a_job_or_absolute"),
    ("tscheduler", JOB, {"datastatusid": 99}, "tscheduler_datastatusid_fkey"),
    ("treportmanager", REPORT, {"reportname": "a\nb"}, "treportmanager_reportname_on_one_line"),
    ("treportmanager", REPORT, {"subjectheader": "a\r\nBcc: x@example.com"}, "treportmanager_subjectheader_on_one_line"),
    ("treportmanager", REPORT, {"toheader": "a@example.com\n"}, "treportmanager_toheader_on_one_line"),
    ("treportmanager", REPORT, {"attachmentqueries": '{"name": "a"}'}, "treportmanager_attachmentqueries_have_name_and_query"),
    ("treportmanager", REPORT, {"attachmentqueries": '[{"name": "a.csv"}]'}, "treportmanager_attachmentqueries_have_name_and_query"),
    ("treportmanager", REPORT, {"attachmentqueries": '[{"name": "../a", "query": "x"}]'},
     "treportmanager_attachmentqueries_have_name_and_query"),
    ("treportmanager", REPORT, {"attachmentqueries": r'[{"name": "a\nb", "query": "x"}]'},
     "treportmanager_attachmentqueries_have_name_and_query"),
    ("treportmanager", REPORT, {"emailbodyqueries": "[]"}, "treportmanager_emailbodyqueries_are_named_queries"),
    ("treportmanager", REPORT, {"emailbodyqueries": '{"a": 1}'}, "treportmanager_emailbodyqueries_are_named_queries"),
    ("timportconfig", IMPORT, {"source_directory": "/srv/in/"}, "timportconfig_directories_without_trailing_slash"),
    ("timportconfig", IMPORT, {"archive_directory": "/"}, "timportconfig_directories_without_trailing_slash"),
    ("timportconfig", IMPORT, {"archive_directory": "/srv/in"}, "timportconfig_directories_differ"),
    ("timportconfig", IMPORT, {"source_directory": "in"}, "timportconfig_directories_are_absolute"),
    ("timportconfig", IMPORT, {"archive_directory": "~/a"}, "timportconfig_directories_are_absolute"),
    ("timportconfig", IMPORT, {"archive_directory": "/srv/../etc"}, "timportconfig_directories_are_absolute"),
    ("timportconfig", IMPORT, {"file_pattern": " "}, "timportconfig_file_pattern_is_not_blank"),
    ("timportconfig", IMPORT, {"file_type": "PDF"}, "timportconfig_file_type_is_known"),
    ("timportconfig", IMPORT, {"metadata_label_source": "guess"}, "timportconfig_metadata_label_source_is_known"),
    ("timportconfig", IMPORT, {"dateconfig": "today"}, "timportconfig_dateconfig_is_known"),
    ("timportconfig", IMPORT, {"field_delimiter": "::"}, "timportconfig_field_delimiter_is_known"),
    ("timportconfig", IMPORT, {"duplicate_scope": "all"}, "timportconfig_duplicate_scope_is_known"),
    ("timportconfig", IMPORT, {"datasource": "Nobody"}, "timportconfig_datasource_fkey"),
    ("timportconfig", IMPORT, {"datasettype": "Nothing"}, "timportconfig_datasettype_fkey"),
    ("timportconfig", IMPORT, {"importstrategyid": 9}, "timportconfig_importstrategyid_fkey"),
    ("timportconfig", IMPORT, {"config_name": "MeetMaxURLCheckImport"}, "timportconfig_config_name_key"),
    *(("timportconfig", IMPORT, {"target_table": name}, "timportconfig_target_table_is_schema_dot_table") for name in UNSAFE_TABLES),
    ("tinboxconfig", INBOX, {"local_repository_path": "in"}, "tinboxconfig_local_repository_path_is_absolute"),
    ("tinboxconfig", INBOX, {"local_repository_path": "/in/"}, "tinboxconfig_local_repository_path_is_absolute"),
    ("tinboxconfig", INBOX, {"local_repository_path": "/in/../x"}, "tinboxconfig_local_repository_path_is_absolute"),
    ("tinboxconfig", INBOX, {"processed_label": "x", "error_label": "x"}, "tinboxconfig_labels_differ"),
    ("tdataset", ACTIVE, {"datastatusid": 5}, "tdataset_isactive_goes_with_status_active"),
    ("tdataset", ACTIVE, {"isactive": False}, "tdataset_isactive_goes_with_status_active"),
    ("timportfile", FILE, {"status": "Done"}, "timportfile_status_is_known"),
    ("timportfile", FILE, {"sha256": "A" * 64}, "timportfile_sha256_is_64_hex_digits"),
    ("timportfile", FILE, {"status": "Loaded"}, "timportfile_loaded_names_its_dataset"),
    ("timportfile", FILE, {"status": "Failed"}, "timportfile_failed_says_why"),
    ("timportdrift", {"config_id": 1, "file_name": "a", "column_name": "b", "kind": "renamed"}, {}, "timportdrift_kind_is_known"),
    ("tdownload", DOWNLOAD, {"status": "Skipped", "reason": "x"}, "tdownload_status_is_known"),
    ("tdownload", DOWNLOAD, {"status": "Refused"}, "tdownload_says_why_not"),
    ("tjobrun", RUN, {"status": "Done", "ended_at": "2026-03-03"}, "tjobrun_status_is_known"),
    ("tjobrun", RUN, {"status": "Succeeded"}, "tjobrun_ended_unless_running"),
    ("tjobrun", RUN, {"ended_at": "2026-03-03"}, "tjobrun_ended_unless_running"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "row", "change", "rule"), BAD_ROWS)
def test_a_bad_row_is_refused_by_a_rule_with_a_name(
    cursor: Any, table: str, row: dict[str, Any], change: dict[str, Any], rule: str
):
    statement, values = insert(table, {**row, **change})

    assert refusal(cursor, statement, *values).diag.constraint_name == rule


def test_the_set_up_names_the_rows_that_break_a_new_rule(cursor: Any):
    rule = "scriptpath !~ '^(daily|weekly)'"

    told = str(refusal(cursor, "CALL dba.p_ensure_check('dba.tscheduler', 'no_backups', %s)", rule))

    assert 'dba.tscheduler: the rows with schedulerid 3, 4, 5 break the rule "no_backups"' in told


@pytest.mark.parametrize(
    ("table", "row"), {table: row for table, row, _, _ in BAD_ROWS if table != "timportdrift"}.items()
)
def test_the_row_that_the_bad_ones_were_made_from_is_good(cursor: Any, table: str, row: dict[str, Any]):
    statement, values = insert(table, row)

    assert one(cursor, statement, *values)


def test_two_active_datasets_are_refused_even_without_the_trigger(cursor: Any):
    cursor.execute("ALTER TABLE dba.tdataset DISABLE TRIGGER USER")
    statement, values = insert("tdataset", ACTIVE)
    cursor.execute(statement, values)

    assert refusal(cursor, statement, *values).diag.constraint_name == "tdataset_one_active"


def test_content_loads_once_unless_forced(cursor: Any):
    loaded = {**FILE, "status": "Loaded", "datasetid": add_dataset(cursor)}
    statement, values = insert("timportfile", loaded)
    cursor.execute(statement, values)

    assert refusal(cursor, statement, *values).diag.constraint_name == "timportfile_content_loads_once"
    statement, values = insert("timportfile", {**loaded, "forced": True})
    cursor.execute(statement, values)


# ---- rights --------------------------------------------------------------------------------

NOT_FOR_JOBS = [
    "CREATE TABLE dba.tmine (x integer)",
    "CREATE FUNCTION dba.fmine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE SCHEMA mine",
    "CREATE DATABASE mine",
    "CREATE ROLE mine",
    "CREATE FOREIGN DATA WRAPPER mine",
    "ALTER TABLE dba.tdataset ADD COLUMN x integer",
    "ALTER TABLE dba.tdataset DISABLE TRIGGER ALL",
    "DROP TABLE dba.tlogentry",
    "DROP FUNCTION dba.flogddlchanges() CASCADE",
    "DROP INDEX dba.tdataset_one_active",
    "ALTER EVENT TRIGGER log_ddl_changes DISABLE",
    "ALTER SCHEMA dba OWNER TO etl_user",
    "ALTER ROLE etl_user CREATEDB",
    "ALTER ROLE etl_report SET default_transaction_read_only = off",
    "ALTER ROLE etl_owner PASSWORD 'x'",
    "GRANT etl_owner TO etl_user",
    "SET ROLE etl_owner",
    "SET SESSION AUTHORIZATION postgres",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY (SELECT 1) TO '/tmp/etl_user_was_here'",
    "SELECT pg_read_file('/etc/passwd')",
    "SET session_replication_role = replica",
    "DELETE FROM dba.timportfile",
    "DELETE FROM dba.tdataset",
    "DELETE FROM dba.tjobrun",
    "DELETE FROM dba.tlogentry",
    "UPDATE dba.tlogentry SET message = ''",
    "DELETE FROM dba.tmaintenancelog",
    "UPDATE dba.tdownload SET status = 'Downloaded'",
    "TRUNCATE dba.timportfile",
    "TRUNCATE dba.tlogentry",
    "INSERT INTO dba.tddllogs (eventtype) VALUES ('forged')",
    "DELETE FROM dba.tddllogs",
    "UPDATE dba.timportconfig SET is_active = B'0'",
    "UPDATE dba.tscheduler SET scriptargs = ''",
    "INSERT INTO dba.tscheduler (taskname, frequency, scriptpath) VALUES ('a', '@daily', 'a.py')",
    "UPDATE dba.treportmanager SET toheader = ''",
    "UPDATE dba.tinboxconfig SET is_active = true",
    "UPDATE dba.tcalendardays SET isbusday = true",
    "DELETE FROM dba.tholidays",
    "INSERT INTO dba.tdatasettype (typename) VALUES ('x')",
    "SELECT dba.f_insert_tscheduler('a', NULL, '@daily', 'a.py')",
    "SELECT dba.f_update_treportmanager(1, p_toheader => 'x')",
    "CALL dba.pimportconfigu(1, p_source_directory => '/x')",
    "SELECT dba.f_refresh_calendar()",
    "CALL dba.p_ensure_check('dba.tlogentry', 'x', 'true')",
]  # fmt: skip


@pytest.mark.parametrize("statement", NOT_FOR_JOBS)
def test_etl_user_must_not(shared: Installation, statement: str):
    with pytest.raises(errors.InsufficientPrivilege):
        shared.query(statement, user="etl_user")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT count(*) FROM dba.tinboxconfig",
        "SELECT count(*) FROM dba.tddllogs",
        "SELECT count(*) FROM dba.treportmanager",
        "SELECT count(*) FROM dba.tlogspool",
        "SELECT dba.f_dataset_iu(NULL, NULL, NULL, NULL, NULL, NULL)",
        "CALL dba.ppurgeoldlogs(0)",
        "INSERT INTO dba.tlogentry (message) VALUES ('x')",
        "DELETE FROM public.tmade",
        "INSERT INTO public.tmade VALUES (1)",
        "CREATE TABLE public.tmine (x integer)",
        "CREATE TABLE dba.tmine (x integer)",
        "SET ROLE etl_user",
        "COPY (SELECT 1) TO PROGRAM 'true'",
    ],
)
def test_etl_report_only_reads_even_when_it_leaves_read_only_mode(shared: Installation, statement: str):
    shared.query("CREATE TABLE IF NOT EXISTS public.tmade (datasetid integer)", user="etl_user")
    with contextlib.closing(shared.connect("etl_report")) as connection, connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = off")
        with pytest.raises(errors.InsufficientPrivilege):
            cursor.execute(statement)


def test_etl_report_reads_what_jobs_make_and_has_limits(shared: Installation):
    shared.query("CREATE TABLE IF NOT EXISTS public.tmade (datasetid integer)", user="etl_user")

    assert shared.value("SELECT count(*) FROM public.tmade", user="etl_report") == 0
    assert shared.value("SHOW default_transaction_read_only", user="etl_report") == "on"
    assert shared.value("SHOW statement_timeout", user="etl_report") == "5min"
    with pytest.raises(errors.ReadOnlySqlTransaction):
        shared.query("CREATE TEMPORARY TABLE x (y integer)", user="etl_report")


def test_the_default_reports_run_as_etl_report(database: Installation):
    with contextlib.closing(database.connect("etl_user")) as connection, connection.cursor() as cursor:
        add_lists(cursor, NAME_TICKER, (business_days(cursor)[0], [("Acme", "ACME")]))
        statement, values = insert("timportfile", {**FILE, "status": "Failed", "error": "no column"})
        cursor.execute(statement, values)

    found = {}
    reports = database.query("SELECT reportid, emailbodyqueries, attachmentqueries FROM dba.treportmanager")
    for report, body, attachments in reports:
        queries = {**body, **{each["name"]: each["query"] for each in attachments or []}}
        found[report] = {name: len(database.query(query, user="etl_report")) for name, query in queries.items()}

    assert found == {1: {"grid1": 1, "event_changes_{timestamp}.csv": 1}, 2: {"grid1": 1, "grid2": 1}}


@pytest.mark.parametrize(
    ("rule", "query"),
    [
        ("no right of PUBLIC on a table or sequence",
         ("SELECT c.oid::regclass::text FROM pg_class AS c, aclexplode(c.relacl) AS a "
         "WHERE c.relnamespace = 'dba'::regnamespace AND a.grantee = 0")),
        ("no right of PUBLIC on a routine",
         ("SELECT p.oid::regprocedure::text FROM pg_proc AS p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a "
         "WHERE p.pronamespace = 'dba'::regnamespace AND a.grantee = 0")),
        ("no right of PUBLIC on the schema, and none to create in public",
         ("SELECT n.nspname, a.privilege_type FROM pg_namespace AS n, aclexplode(n.nspacl) AS a "
         "WHERE a.grantee = 0 AND (n.nspname = 'dba' OR (n.nspname = 'public' AND a.privilege_type = 'CREATE'))")),
        ("a comment on every table, view and the schema",
         ("SELECT c.oid::regclass::text FROM pg_class AS c WHERE c.relnamespace = 'dba'::regnamespace "
         "AND c.relkind IN ('r', 'v', 'm', 'p') AND obj_description(c.oid, 'pg_class') IS NULL "
         "UNION ALL SELECT 'dba' WHERE obj_description('dba'::regnamespace, 'pg_namespace') IS NULL")),
        ("a comment on every routine and domain",
         ("SELECT p.oid::regprocedure::text FROM pg_proc AS p "
         "WHERE p.pronamespace = 'dba'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL "
         "UNION ALL SELECT t.typname FROM pg_type AS t WHERE t.typnamespace = 'dba'::regnamespace AND t.typtype = 'd' "
         "AND obj_description(t.oid, 'pg_type') IS NULL")),
        ("a fixed search_path for every routine",
         ("SELECT p.oid::regprocedure::text FROM pg_proc AS p WHERE p.pronamespace = 'dba'::regnamespace "
         "AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false)")),
        ("etl_owner owns everything in the schema",
         ("SELECT relname FROM pg_class WHERE relnamespace = 'dba'::regnamespace AND relowner <> 'etl_owner'::regrole "
         "UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'dba'::regnamespace AND proowner <> 'etl_owner'::regrole")),
        ("our roles are no administrators",
         ("SELECT rolname FROM pg_roles WHERE rolname IN ('etl_owner', 'etl_user', 'etl_report') "
         "AND (rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls)")),
        ("times have a zone, texts no limit",
         ("SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'dba' "
         "AND (data_type = 'timestamp without time zone' OR character_maximum_length IS NOT NULL AND udt_name <> 'bit')")),
        ("every table has a primary key",
         ("SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'dba'::regnamespace AND relkind = 'r' "
         "AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = pg_class.oid AND indisprimary)")),
        ("every routine that runs as its owner is one that was meant to",
         ("SELECT proname FROM pg_proc WHERE pronamespace = 'dba'::regnamespace AND prosecdef AND proname NOT IN "
         "('flogddlchanges', 'ppurgeoldlogs', 'prunmaintenancevacuumanalyze', 'pmonitorlongrunningqueries')")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("made", ["fresh", "adopted"])
def test_a_house_rule_holds(shared: Installation, adopted: Adopted, made: str, rule: str, query: str):
    installation = shared if made == "fresh" else adopted.installation

    assert installation.query(query) == []


@pytest.mark.parametrize("role", ["etl_user", "etl_report"])
def test_a_routine_added_later_is_not_for_everybody(cursor: Any, role: str):
    become(cursor, "etl_owner").execute(
        "CREATE FUNCTION dba.flater() RETURNS integer LANGUAGE sql SET search_path = pg_catalog AS 'SELECT 1'"
    )

    assert isinstance(refusal(become(cursor, role), "SELECT dba.flater()"), errors.InsufficientPrivilege)


# ---- files for operators -------------------------------------------------------------------


def test_the_samples_and_the_useful_queries_run(cluster: Cluster, database: Installation):
    files = [*sorted((PROJECT / "onboarding/sql/samples").glob("*.sql")), PROJECT / "onboarding/sql/usefulqueries.sql"]
    for file in files:
        cluster.program(
            "psql", database.variables["PGDATABASE"], "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(file), user="etl_owner"
        )  # fmt: skip

    assert len(files) == 5
    assert database.query(
        "SELECT (SELECT count(*) FROM dba.timportconfig), (SELECT count(*) FROM dba.tinboxconfig), "
        "(SELECT count(*) FROM dba.tscheduler WHERE datastatusid = 2), "
        "(SELECT count(*) FROM dba.treportmanager WHERE datastatusid = 2)"
    ) == [(3, 1, 1, 1)]
