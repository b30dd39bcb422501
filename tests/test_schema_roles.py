"""What etl_user and etl_report may do, and what they must not."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Installation
from psycopg2 import errors
from schema_helpers import FILE, NAME_TICKER, Cluster, add_lists, become, business_days, insert, refusal

pytest_plugins = ["schema_fixtures"]

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
    "SELECT dba.f_update_treportmanager(1, 'A', NULL, '@daily', 's', 'x', false, NULL, 't', NULL, 1)",
    "CALL dba.pimportconfigu(1, p_source_directory => '/x')",
    "SELECT dba.f_refresh_calendar()",
    "CALL dba.p_ensure_check('dba.tlogentry', 'x', 'true')",
]


@pytest.mark.parametrize("statement", NOT_FOR_JOBS)
def test_etl_user_must_not(shared: Installation, statement: str):
    with pytest.raises(errors.InsufficientPrivilege):
        shared.query(statement, user="etl_user")


@pytest.fixture(scope="module")
def with_a_table(cluster: Cluster) -> Iterator[Installation]:
    """A database in which a job made a table."""
    installation = cluster.installation(cluster.make_database())
    installation.query("CREATE TABLE public.tmade (datasetid integer)", user="etl_user")
    yield installation
    cluster.installation("postgres").query(f"DROP DATABASE {installation.variables['PGDATABASE']} WITH (FORCE)")


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
def test_etl_report_only_reads_even_when_it_leaves_read_only_mode(with_a_table: Installation, statement: str):
    with contextlib.closing(with_a_table.connect("etl_report")) as connection, connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = off")
        with pytest.raises(errors.InsufficientPrivilege):
            cursor.execute(statement)


def test_etl_report_reads_what_jobs_make_and_has_limits(with_a_table: Installation):
    assert with_a_table.value("SELECT count(*) FROM public.tmade", user="etl_report") == 0
    assert with_a_table.value("SHOW default_transaction_read_only", user="etl_report") == "on"
    assert with_a_table.value("SHOW statement_timeout", user="etl_report") == "5min"
    with pytest.raises(errors.ReadOnlySqlTransaction):
        with_a_table.query("CREATE TEMPORARY TABLE x (y integer)", user="etl_report")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT count(*) FROM public.tmade",
        "DELETE FROM public.tmade",
        "CREATE TABLE public.x (y integer)",
        "SET ROLE etl_user",
    ],
)
def test_etl_owner_has_no_right_on_what_jobs_make(with_a_table: Installation, statement: str):
    with pytest.raises(errors.InsufficientPrivilege):
        with_a_table.query(statement, user="etl_owner")


@pytest.mark.parametrize("role", ["etl_owner", "etl_backup"])
def test_who_may_do_more_than_the_jobs_meets_no_function_of_theirs(with_a_table: Installation, role: str):
    assert with_a_table.value("SHOW search_path", user=role) == "pg_catalog, pg_temp"


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


@pytest.mark.parametrize("role", ["etl_user", "etl_report"])
def test_a_routine_added_later_is_not_for_everybody(cursor: Any, role: str):
    become(cursor, "etl_owner").execute(
        "CREATE FUNCTION dba.flater() RETURNS integer LANGUAGE sql SET search_path = pg_catalog AS 'SELECT 1'"
    )

    assert isinstance(refusal(become(cursor, role), "SELECT dba.flater()"), errors.InsufficientPrivilege)
