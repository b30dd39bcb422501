"""Maintenance does what it says, leaves a row a command, keeps to its time, and holds nobody up."""

import re
import threading
from datetime import datetime, timedelta

from conftest import Installation


def test_maintenance_vacuums_and_leaves_a_row_a_table(etl: Installation) -> None:
    etl.query("CREATE TABLE public.tmine (a integer)")
    etl.query("ALTER TABLE public.tmine OWNER TO etl_user")
    result = etl.door("run_maintenance.py")
    assert result.returncode == 0, result.stderr
    assert etl.value("SELECT details FROM dba.tmaintenancelog WHERE tablename = 'public.tmine'") == "done"
    assert etl.value("SELECT last_vacuum IS NOT NULL FROM pg_stat_user_tables WHERE relname = 'tmine'") is True


def test_maintenance_leaves_a_locked_table_out_and_says_so(etl: Installation) -> None:
    etl.query("CREATE TABLE public.tmine (a integer)")
    etl.query("ALTER TABLE public.tmine OWNER TO etl_user")
    blocker = etl.connect()
    blocker.autocommit = False
    with blocker.cursor() as cursor:
        cursor.execute("LOCK TABLE public.tmine")
        result = etl.door("run_maintenance.py", "--lock-timeout", "1")
    blocker.close()
    assert result.returncode == 1
    assert "left out: public.tmine: " in result.stderr
    details = "SELECT details FROM dba.tmaintenancelog WHERE tablename = 'public.tmine'"
    assert re.match("left out: .* lock", etl.value(details))


def add_tables(etl: Installation, *names: str) -> None:
    for name in names:
        etl.query(f"CREATE TABLE public.{name} AS SELECT n AS a FROM generate_series(1, 1000) AS n")
        etl.query(f"ALTER TABLE public.{name} OWNER TO etl_user")


def test_what_the_budget_leaves_over_the_next_run_begins_with(etl: Installation) -> None:
    add_tables(etl, "tone", "ttwo")
    nothing = etl.door("run_maintenance.py", "--only", "vacuum", "--budget", "0")
    assert nothing.returncode == 0
    assert "0 tables" in nothing.stderr
    etl.query(
        "INSERT INTO dba.tmaintenancelog (operation, tablename, details)"
        " SELECT 'VACUUM ANALYZE', schemaname || '.' || tablename, 'done' FROM pg_tables"
        " WHERE schemaname IN ('dba', 'public') AND tablename <> 'ttwo'"
    )
    etl.query(
        "UPDATE dba.tmaintenancelog SET maintenancetime = now() - interval '1 day' WHERE tablename = 'public.tone'"
    )
    begun = etl.value("SELECT max(logid) FROM dba.tmaintenancelog")

    assert etl.door("run_maintenance.py", "--only", "vacuum").returncode == 0

    order = etl.query("SELECT tablename FROM dba.tmaintenancelog WHERE logid > %s ORDER BY logid LIMIT 2", begun)
    assert order == [("public.ttwo",), ("public.tone",)]


def test_logs_are_purged_in_batches_while_others_write(etl: Installation) -> None:
    etl.query(
        """INSERT INTO dba.tlogentry ("timestamp", run_uuid, processtype, stepcounter, username, stepruntime, totalruntime, message)
           SELECT now() - interval '400 days', gen_random_uuid(), 'x', '1', 'x', 0, 0, 'x' FROM generate_series(1, 50000)"""
    )
    kept = etl.value("SELECT count(*) FROM dba.tlogentry WHERE \"timestamp\" > now() - interval '365 days'")
    longest = timedelta()
    done = threading.Event()

    def write_on() -> None:
        nonlocal longest
        while not done.is_set():
            began = datetime.now()
            etl.query(
                "INSERT INTO dba.tlogentry (\"timestamp\", message) VALUES (now(), 'written meanwhile')",
                user="etl_user",
            )
            longest = max(longest, datetime.now() - began)

    writer = threading.Thread(target=write_on)
    writer.start()
    result = etl.door("run_maintenance.py", "--only", "purge")
    done.set()
    writer.join()

    assert result.returncode == 0, result.stderr
    assert re.search("50000 .* 365 days", result.stderr)
    assert etl.value("SELECT count(*) FROM dba.tlogentry WHERE \"timestamp\" < now() - interval '365 days'") == 0
    assert etl.value("SELECT count(*) FROM dba.tlogentry") > kept
    details = "SELECT details FROM dba.tmaintenancelog WHERE operation = 'PURGE'"
    assert re.match("50000 .* 365 days", etl.value(details))


def test_a_run_by_hand_keeps_logs_for_as_long_as_the_row_says(etl: Installation) -> None:
    told = "log records older than {} days deleted"
    for arguments, days in (("--keep-logs 730", 730), ("--budget 30 --keep-logs=40", 40), ("--budget 30", 365)):
        etl.query("UPDATE dba.tscheduler SET scriptargs = %s WHERE scriptpath = 'run_maintenance.py'", arguments)
        assert told.format(days) in etl.door("run_maintenance.py", "--only", "purge").stderr
    assert told.format(500) in etl.door("run_maintenance.py", "--only", "purge", "--keep-logs", "500").stderr


def test_long_queries_and_what_they_wait_for_are_noted(etl: Installation) -> None:
    add_tables(etl, "tone")
    blocker = etl.connect()
    blocker.autocommit = False
    with blocker.cursor() as cursor:
        cursor.execute("LOCK TABLE public.tone")
        result = etl.door("run_maintenance.py", "--only", "long-queries", "--minutes", "0")
    blocker.close()

    assert result.returncode == 0
    assert "LOCK TABLE public.tone" in result.stderr
    assert etl.value("SELECT count(*) FROM dba.tmaintenancelog WHERE operation = 'LONG QUERY'") >= 1


def test_growth_and_unused_indexes_are_seen_in_views(etl: Installation) -> None:
    add_tables(etl, "tone")
    etl.query("CREATE INDEX tone_a ON public.tone (a)")
    etl.query("CREATE UNIQUE INDEX tone_key ON public.tone (a)")
    etl.query("ANALYZE public.tone")
    assert etl.door("run_maintenance.py", "--only", "snapshot").returncode == 0
    etl.query("UPDATE dba.ttableindexstats SET snapshottime = now() - interval '8 days', rowcount = 400, totalsize = 1")
    assert etl.door("run_maintenance.py", "--only", "snapshot").returncode == 0

    growth = etl.query("SELECT rows_in_a_week >= 0, bytes_in_a_week > 0 FROM dba.vtablegrowth WHERE tablename = 'tone'")
    assert growth == [(True, True)]
    unused = etl.query("SELECT indexname FROM dba.vunusedindex WHERE tablename = 'tone' AND watched_since < now()")
    assert unused == [("tone_a",)]
