"""The routines of maintenance, and the record of DDL."""

import re
import threading
import time
from typing import Any

import psycopg2
import pytest
from conftest import Installation
from psycopg2 import errors
from psycopg2.extensions import TRANSACTION_STATUS_INTRANS
from schema_helpers import JOB_CALLS, become, one, refusal, rows

pytest_plugins = ["schema_fixtures"]


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
        rf"pid {pid}, database {name}, active since .*, waits for pid {holder_pid}: SELECT 'password \*\*\* .*",
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


@pytest.mark.parametrize(
    "secret",
    [
        "password 'geheim'",
        "\"password\" 'geheim'",
        "Password $$geheim$$",
        "password U&'geheim'",
        "PASSWORD E'it''s geheim'",
        "password=''blank geheim''",
    ],
)
def test_flogddlchanges_keeps_no_password(cursor: Any, secret: str):
    cursor.execute("CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w")
    cursor.execute("CREATE USER MAPPING FOR etl_user SERVER s OPTIONS (user 'x', password 'geheim')")

    told = one(cursor, "SELECT sqlstatement FROM dba.tddllogs ORDER BY logid DESC LIMIT 1")
    assert told == "CREATE USER MAPPING FOR etl_user SERVER s OPTIONS (user 'x', password *** (the rest is not kept)"
    masked = one(cursor, "SELECT dba.f_mask_passwords(%s)", f"CREATE SUBSCRIPTION s CONNECTION 'host=x {secret}'")
    assert "geheim" not in masked
    assert (
        one(cursor, "SELECT dba.f_mask_passwords('CREATE TABLE t (password text)')") == "CREATE TABLE t (password text)"
    )
