"""The jobs' user turns hostile: whatever it plants in the database, none of it runs as anybody else."""

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from conftest import PROJECT, Installation, home_is, server_home, set_up
from psycopg2 import errors

from systemscripts import embedded_postgres
from systemscripts.backups import restore_plan

HERE = Path(__file__).parent

pytestmark = pytest.mark.slow


# A worker may come back to this module after others, so what is planted stays as long as the worker.
@pytest.fixture(scope="session")
def own_server() -> Iterator[Path]:
    """A server of this module's own, because a backup takes every database; what ran as whom is in its log."""
    home = server_home(f"hostile_{os.getpid()}")
    set_up(PROJECT, {}, home)
    yield home
    with home_is(home):
        embedded_postgres.stop()


@pytest.fixture(scope="session")
def hostile(own_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """An installation whose jobs' user has planted what it can."""
    home = tmp_path_factory.mktemp("hostile")
    variables = {
        "ETL_HOME": str(own_server),
        "ETL_BACKUP_DIR": str(home / "backups"),
        "ETL_LOGS_DIR": str(home / "logs"),
    }
    installation = Installation(home, variables)
    for name in ("planted_by_etl_user.sql", "planted_in_tables.sql"):
        log_in(own_server, (HERE / name).read_text())
    return installation


def log_in(home: Path, statement: str, user: str = "etl_user", database: str = "feeds") -> list[tuple[object, ...]]:
    with home_is(home):
        socket_dir = embedded_postgres.socket_dir()
    with contextlib.closing(psycopg2.connect(host=str(socket_dir), dbname=database, user=user)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def spied(hostile: Installation) -> Iterator[set[str]]:
    """What ran as somebody else during the test: filled, and looked at, when the test is over."""
    log = Path(hostile.variables["ETL_HOME"]) / "pgdata" / "server.log"
    before = log.stat().st_size
    found: set[str] = set()
    yield found
    with log.open("rb") as stream:
        stream.seek(before)
        found |= {line.split("SPY: ", 1)[1].strip() for line in stream.read().decode().splitlines() if "SPY: " in line}
    assert found == set()


def script(hostile: Installation, name: str, *arguments: str, text: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["bash", str(PROJECT / "onboarding/sh" / name), *arguments],
        env=hostile.environment(), input=text, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_what_is_planted_speaks_up(hostile: Installation):
    """Else the other tests would prove nothing."""
    home = Path(hostile.variables["ETL_HOME"])
    log_in(home, "SELECT format('%s', 'x'::text), 'a'::text ~ 'a'::name, t::text FROM public.tcast AS t", "postgres")
    log_in(home, "SELECT count(*) FROM public.vmeetmaxevent", "postgres")
    log_in(home, "BEGIN; INSERT INTO public.tfilled (a, b) VALUES ('', ''); ROLLBACK", "postgres")

    told = (home / "pgdata" / "server.log").read_text()

    for what in ("function format", "operator ~", "cast of a row", "view", "check", "domain", "generated", "default"):
        assert f"SPY: {what} ran as postgres" in told


@pytest.mark.usefixtures("spied")
def test_the_set_up_runs_none_of_it(hostile: Installation):
    home = Path(hostile.variables["ETL_HOME"])

    set_up(PROJECT, {}, home)

    assert log_in(home, "SELECT count(*) FROM public.tmeetmaxurlcheck WHERE downloadlink IS NULL") == [(0,)]


@pytest.mark.usefixtures("spied")
def test_the_jobs_of_the_night_run_none_of_it(hostile: Installation):
    for job in (["run_maintenance.py"], ["purge_datasets.py"], ["doctor.py"], ["check_schedule.py", "--dry-run"]):
        result = hostile.door(*job)
        assert "Traceback" not in result.stderr
        assert result.returncode == 0 or job == ["doctor.py"], result.stderr


@pytest.mark.usefixtures("spied")
def test_a_person_who_looks_at_the_data_runs_none_of_it(hostile: Installation):
    home = Path(hostile.variables["ETL_HOME"])
    relations = log_in(
        home,
        "SELECT format('%I.%I', relnamespace::regnamespace, relname) FROM pg_class WHERE relkind IN ('r', 'v', 'm', 'p') "
        "AND relnamespace IN ('public'::regnamespace, 'dba'::regnamespace)",
        "postgres",
    )
    typed = "".join(f"SELECT t.*, t::text FROM {name} AS t;\n\\d+ {name}\n" for (name,) in relations)

    result = script(
        hostile, "psql.sh", "-X", text=typed + "SELECT * FROM dba.f_get_event_changes(); \\df public.spy*\n"
    )

    assert result.returncode == 0, result.stderr
    assert "ERROR" not in result.stderr
    assert len(relations) > 40


def test_what_a_function_says_steers_no_terminal(hostile: Installation):
    noisy = """
        CREATE OR REPLACE FUNCTION public.noisy() RETURNS text LANGUAGE plpgsql AS $$
        BEGIN RAISE NOTICE E'\\x1b]0;title\\x07 \\u202e'; RETURN E'\\x1b[31m'; END $$"""
    log_in(Path(hostile.variables["ETL_HOME"]), noisy)
    result = script(hostile, "psql.sh", "-Atc", "SELECT public.noisy()")
    assert "?]0;title? ?" in result.stderr
    # To a program goes what is there.
    assert result.stdout == "\x1b[31m\n"
    assert script(hostile, "psql.sh", "--as").stderr.startswith("psql.sh: --as takes ")
    assert script(hostile, "psql.sh", "--as", "x\x1b[31m").returncode == 64


@pytest.mark.usefixtures("spied")
def test_a_person_who_changes_the_configuration_runs_none_of_it(hostile: Installation, tmp_path: Path):
    for sample in sorted((PROJECT / "onboarding/sql/samples").glob("*.sql")):
        result = script(hostile, "psql.sh", "--as", "etl_owner", "-X", "-v", "ON_ERROR_STOP=1", "-f", str(sample))
        assert result.returncode == 0, result.stderr
    assert hostile.door("jobs.py", "pause", "Restore Drill").returncode == 0
    file = tmp_path / "configuration.yaml"
    assert hostile.door("config.py", "export", str(file)).returncode == 0
    file.write_text(file.read_text().replace("datastatusid: Inactive", "datastatusid: Active"))
    applied = hostile.door("config.py", "apply", str(file))
    assert (applied.returncode, hostile.door("config.py", "diff", str(file)).returncode) == (0, 0), applied.stderr
    reached = script(
        hostile, "psql.sh", "--as", "etl_owner", "-X", text="TABLE public.vmeetmaxevent; DELETE FROM public.tcast;"
    )
    assert 'non-system view "vmeetmaxevent" is restricted' in reached.stderr
    assert "permission denied for table tcast" in reached.stderr


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO dba.tdatasource (sourcename) VALUES ('x')",
        "SELECT dba.f_insert_tscheduler('a', NULL, '@daily', 'a.py')",
    ],
)
def test_who_only_looks_is_told_how_to_change_something(hostile: Installation, statement: str):
    result = script(hostile, "psql.sh", "-X", "-c", statement)

    assert result.returncode == 1
    assert re.findall(r"--as (\w+)", result.stderr.splitlines()[1])[-2:] == ["etl_owner", "etl_user"]


@pytest.mark.usefixtures("spied")
def test_backup_and_restore_run_none_of_it(hostile: Installation):
    backup = hostile.door("daily_backup.sh")
    assert backup.returncode == 0, backup.stderr
    (folder,) = (hostile.home / "backups").iterdir()
    restored = script(hostile, "restore_backup.sh", str(folder), "feeds", "feeds_again")

    assert restored.returncode == 0, restored.stderr
    assert "equal to the backup" in restored.stdout
    home = Path(hostile.variables["ETL_HOME"])
    assert log_in(home, "SELECT a, c FROM public.tfilled", database="feeds_again") == [("a", "a")]
    assert log_in(home, "SELECT count(*) FROM public.vmeetmaxevent", database="feeds_again") == [(1,)]


def test_a_restore_runs_no_code_of_a_role_that_may_less(hostile: Installation, tmp_path: Path):
    home = Path(hostile.variables["ETL_HOME"])
    log_in(
        home,
        """CREATE ROLE carla; CREATE SCHEMA hers AUTHORIZATION carla; SET ROLE carla;
        CREATE FUNCTION hers.f(integer) RETURNS boolean LANGUAGE plpgsql
            AS $$BEGIN RAISE LOG 'code of carla ran as %', current_user; RETURN true; END$$;
        CREATE TABLE hers.t (a integer CHECK (hers.f(a))); INSERT INTO hers.t VALUES (1)""",
        user="postgres",
    )
    try:
        assert hostile.door("daily_backup.sh", ETL_BACKUP_DIR=str(tmp_path)).returncode == 0
        (folder,) = tmp_path.iterdir()
        restored = script(hostile, "restore_backup.sh", str(folder), "feeds", "feeds_of_carla")
        drilled = hostile.door("restore_drill.sh", ETL_BACKUP_DIR=str(tmp_path))
    finally:
        log_in(home, "DROP DATABASE IF EXISTS feeds_of_carla WITH (FORCE)", user="postgres")
        log_in(home, "DROP SCHEMA hers CASCADE; DROP ROLE carla", user="postgres")
    told = "left out, because it needs code of a role that may do less than an administrator: TABLE hers t carla\n"
    assert told in restored.stderr
    assert told in drilled.stderr
    log = (home / "pgdata" / "server.log").read_text()
    assert set(re.findall(r"code of carla ran as (\w+)", log)) == {"carla"}


LISTING = """;
; Archive created at 2026-11-28
4193; 0 0 ENCODING - ENCODING
8; 2615 16390 SCHEMA - dba etl_owner
9; 2615 16391 SCHEMA - feeds etl_user
711; 1255 16433 FUNCTION dba flogddlchanges() etl_owner
;\tdepends on: 8
560; 1255 16434 FUNCTION public f(text) etl_user
561; 1255 16435 FUNCTION public f() etl_user postgres
281; 1259 16436 TABLE public tprice etl_user
;\tdepends on: 560 711
282; 1259 16437 VIEW public vprice bob
;\tdepends on: 281
283; 1259 16438 VIEW public vagain etl_user
;\tdepends on: 282
284; 1259 16439 TABLE public tchecked bob
;\tdepends on: 560
4188; 0 16436 TABLE DATA public tprice etl_user
;\tdepends on: 281
3655; 3466 16440 EVENT TRIGGER - log_ddl_changes postgres
;\tdepends on: 711
"""


def test_each_restores_what_is_its_own_in_the_order_of_what_it_needs():
    plan = restore_plan.plan(LISTING.splitlines(keepends=True), [])

    assert plan.steps == [
        ("postgres", ["4193", "8", "9", "711", "561"]),
        ("etl_user", ["560", "281", "4188"]),
        ("postgres", ["282"]),
        ("etl_user", ["283"]),
        ("postgres", ["3655"]),
    ]
    assert (plan.of_jobs, plan.of_weaker) == (["TABLE public tchecked bob"], [])


def test_what_needs_code_of_a_weaker_role_is_left_out_with_all_that_needs_it():
    rights = {"anna": (), "manager": ("CREATEROLE",), "etl_owner": (), "etl_user": ()}
    roles = [
        {"name": name, "attributes": {right: right in has for right in ("SUPERUSER", "CREATEROLE")}}
        for name, has in rights.items()
    ]
    listing = """
560; 1255 1 FUNCTION x f(integer) anna
561; 1255 2 FUNCTION x g() manager
562; 1255 3 FUNCTION x h(integer) anna
;\tdepends on: 560
281; 1259 4 TABLE x tchecked bob
;\tdepends on: 562
282; 1259 5 TABLE x tmanaged bob
;\tdepends on: 561
283; 1259 6 TABLE x tjobs etl_user
;\tdepends on: 560
284; 1259 7 VIEW x v anna
;\tdepends on: 560
285; 1259 8 INDEX x i bob
;\tdepends on: 281
"""
    plan = restore_plan.plan(listing.splitlines(), roles)
    assert plan.of_weaker == ["TABLE x tchecked bob", "INDEX x i bob"]
    assert plan.steps == [("postgres", ["560", "561", "562", "282", "284"]), ("etl_user", ["283"])]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE EVENT TRIGGER eplanted ON ddl_command_end EXECUTE FUNCTION dba.flogddlchanges()",
        "ALTER DATABASE feeds SET search_path = public",
        "ALTER ROLE etl_owner SET search_path = public",
        "ALTER ROLE etl_user SET session_preload_libraries = 'x'",
        "CREATE TRIGGER spy BEFORE INSERT ON dba.tscheduler EXECUTE FUNCTION public.spy_trigger()",
        "CREATE FUNCTION public.spy_io(cstring) RETURNS text LANGUAGE plpgsql AS 'BEGIN END'",
        "CREATE CAST (public.tcast AS record) WITH INOUT",
    ],
)
def test_the_rest_is_refused(hostile: Installation, statement: str):
    with pytest.raises(
        (
            errors.InsufficientPrivilege,
            errors.FeatureNotSupported,
            errors.InvalidFunctionDefinition,
            errors.WrongObjectType,
        )
    ):
        log_in(Path(hostile.variables["ETL_HOME"]), statement)
