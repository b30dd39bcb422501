"""Runs that wait, and sessions that the server ends: nothing is done twice, nothing is lost, and the row says so."""

import contextlib
import logging
import signal
import subprocess
import threading
from datetime import datetime

import psycopg2.extensions
import pytest
from conftest import Installation, give_way
from test_job_runner import add_job, start_waiting_job, wait_for_file
from test_run_policy import SLOT, add_task, due, rows, start, wait_for_row

from systemscripts import db_config, log_utils
from systemscripts.runs import claim, record
from systemscripts.runs.door import parse_call

LOCKS = (
    "SELECT count(*) FROM pg_locks"
    " JOIN pg_database ON pg_database.oid = database"
    " WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND datname = current_database()"
)


def end_sessions(etl: Installation) -> None:
    """Do what a restart of the server does to those who are connected."""
    etl.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'etl_user' AND datname = current_database()"
    )


def wait_until(etl: Installation, query: str, expected: object) -> None:
    while etl.value(query) != expected:
        give_way()


def start_due(etl: Installation, task: int) -> "subprocess.Popen[str]":
    return start(etl, "--scheduled-at", SLOT, "--task", str(task), "probe.py")


def wait_for_parent(etl: Installation) -> tuple[int, int, "subprocess.Popen[str]", "subprocess.Popen[str]"]:
    """Return two tasks and their supervisors: the first runs until the file `end` is there, the second waits for it."""
    begun, end = etl.home / "parent_begun", etl.home / "end"
    body = f"Path({str(begun)!r}).touch()\nwhile not Path({str(end)!r}).exists(): time.sleep(0.01)\nreturn 0"
    add_job(etl, body, "parent.py")
    add_job(etl, "return 0")
    parent = add_task(etl, "parent", "parent.py")
    child = add_task(etl, depends_on=parent)
    first = start(etl, "--scheduled-at", SLOT, "--task", str(parent), "parent.py")
    wait_for_file(begun)
    second = start_due(etl, child)
    wait_for_row(etl, "Waiting")
    return parent, child, first, second


def test_a_run_that_waits_for_another_task_has_its_row(project_copy: Installation) -> None:
    parent, child, first, second = wait_for_parent(project_copy)
    waiting = project_copy.query("SELECT schedulerid, status, reason FROM dba.tjobrun WHERE status = 'Waiting'")
    assert waiting == [(child, "Waiting", f"waits for task {parent}")]
    assert "slot is taken" in due(project_copy, child).stderr
    (project_copy.home / "end").touch()
    assert [process.communicate(timeout=60) and process.returncode for process in (first, second)] == [0, 0]
    assert (
        project_copy.query("SELECT status, reason FROM dba.tjobrun WHERE status <> 'Skipped'")
        == [("Succeeded", None)] * 2
    )
    # What it waited for is no part of its run.
    assert project_copy.value(
        "SELECT r.started_at >= p.ended_at FROM dba.tjobrun AS r, dba.tjobrun AS p"
        " WHERE r.schedulerid = %s AND p.schedulerid = %s AND r.status <> 'Skipped'",
        child,
        parent,
    )


@pytest.mark.parametrize("columns", [{"jitter_seconds": 3600}, {"overlap": "wait"}])
def test_one_that_is_killed_while_it_waits_is_lost(project_copy: Installation, columns: dict[str, object]) -> None:
    other = start_waiting_job(project_copy)
    waiting = start_due(project_copy, add_task(project_copy, **columns))
    wait_for_row(project_copy, "Waiting")
    waiting.kill()
    waiting.communicate(timeout=30)
    other.terminate()
    other.communicate(timeout=30)
    project_copy.door("show_imports.py")
    assert "Lost" in [status for status, *_ in rows(project_copy)]


def test_a_run_that_waits_outlives_the_servers_restart(project_copy: Installation) -> None:
    _, _, first, second = wait_for_parent(project_copy)
    end_sessions(project_copy)
    wait_until(project_copy, LOCKS, 5)
    (project_copy.home / "end").touch()
    assert [process.communicate(timeout=60) and process.returncode for process in (first, second)] == [0, 0]
    assert [status for status, *_ in rows(project_copy)] == ["Succeeded", "Succeeded"]


def test_a_run_that_is_put_off_by_its_jitter_has_its_lock_again_at_once(project_copy: Installation) -> None:
    add_job(project_copy, "return 0")
    waiting = start_due(project_copy, add_task(project_copy, jitter_seconds=3600))
    wait_for_row(project_copy, "Waiting")
    wait_until(project_copy, LOCKS, 2)  # its own, and its place
    end_sessions(project_copy)
    wait_until(project_copy, LOCKS, 2)
    waiting.terminate()
    waiting.communicate(timeout=30)


def test_what_waits_for_its_next_attempt_keeps_nobody_away(project_copy: Installation) -> None:
    add_job(project_copy, "return 1")
    retried = start_due(project_copy, add_task(project_copy, retries=1, retry_delay_minutes=60))
    wait_for_row(project_copy, "Failed")
    wait_until(project_copy, LOCKS, 0)
    add_job(project_copy, "return 0")
    assert project_copy.door("probe.py").returncode == 0
    retried.kill()
    retried.communicate(timeout=30)


def test_a_run_whose_session_was_ended_still_keeps_others_away(project_copy: Installation) -> None:
    running = start_waiting_job(project_copy)
    for host in ({}, {"ETL_HOST": "other"}):
        end_sessions(project_copy)
        if host:  # this machine sees the process; another one sees the lock, once it is taken anew
            wait_until(project_copy, LOCKS, 3)
        second = project_copy.door("probe.py", **host)
        assert (second.returncode, "still being done" in second.stderr) == (75, True)
    wait_until(project_copy, LOCKS, 3)
    running.terminate()
    running.communicate(timeout=30)
    assert [status for status, *_ in rows(project_copy)] == ["Killed", "Skipped", "Skipped"]


def test_a_pause_stops_a_run_that_waits(project_copy: Installation) -> None:
    _, child, first, second = wait_for_parent(project_copy)
    project_copy.query("UPDATE dba.tscheduler SET datastatusid = 2 WHERE schedulerid = %s", child)
    assert "is paused" in second.communicate(timeout=60)[1]
    assert second.returncode == 75
    first.terminate()
    first.communicate(timeout=30)


def test_a_pause_stops_further_attempts(project_copy: Installation) -> None:
    task = add_task(project_copy, retries=3, retry_delay_minutes=0)
    pause = f"UPDATE dba.tscheduler SET datastatusid = 2 WHERE schedulerid = {task}"
    variables = project_copy.variables
    add_job(
        project_copy,
        f"import psycopg2\nc = psycopg2.connect(host={variables['PGHOST']!r}, dbname={variables['PGDATABASE']!r}, user='postgres')\n"
        f"with c: c.cursor().execute({pause!r})\nreturn 1",
    )
    assert due(project_copy, task).returncode == 75
    assert rows(project_copy) == [("Failed", 1, 1), ("Skipped", 75, 2)]


def test_who_reads_crons_log_sees_a_time_limit_too(project_copy: Installation) -> None:
    add_job(project_copy, "signal.pause()")
    result = due(project_copy, add_task(project_copy, timeout_minutes=0.01))
    assert result.stderr.splitlines()[-1].startswith("probe.py: ended after 0.01 minutes")


def test_a_database_that_stays_away_ends_the_wait(project_copy: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(claim, "LOOK_SECONDS", 0.0)
    held = claim.Claim(parse_call(["show_imports.py"]))
    held.connection.close()
    monkeypatch.setenv("PGHOST", "/nonexistent")
    with pytest.raises(db_config.DatabaseUnavailable, match="went away"):
        held.take_run()


def test_a_runs_log_its_keeper_and_itself_share_a_connection(
    etl: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    run = parse_call(["show_imports.py"])
    held = claim.Claim(run)
    root, former = logging.getLogger(), list(logging.getLogger().handlers)
    log_utils.start_logging("probe", run.run_uuid, console=False, connection=held.connection, guard=held.guard)

    def write() -> None:
        for number in range(150):
            root.error("record %d", number)  # an error goes into the table at once, by COPY

    writers = [threading.Thread(target=write, daemon=True) for _ in range(2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert held.ask(ask_one) == 1
        assert held.renew()
    (handler,) = root.handlers
    root.handlers = former
    handler.close()
    assert capsys.readouterr().err == ""
    assert etl.value("SELECT count(*) FROM dba.tlogentry") == 300


def ask_one(connection: "psycopg2.extensions.connection") -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        ((one,),) = cursor.fetchall()
    return int(one)


def test_a_stop_between_two_looks_leaves_a_row(project_copy: Installation) -> None:
    _, _, first, second = wait_for_parent(project_copy)
    second.send_signal(signal.SIGTERM)
    second.communicate(timeout=30)
    first.terminate()
    first.communicate(timeout=30)
    reasons = [reason for (reason,) in project_copy.query("SELECT reason FROM dba.tjobrun ORDER BY jobrunid")]
    assert "SIGTERM before it" in reasons[1]


def test_while_the_database_is_moved_nothing_begins_and_its_slot_is_told(project_copy: Installation) -> None:
    """The steps of a chain that runs go on, because the move waits for the chain."""
    add_job(project_copy, "return 0")
    project_copy.query("UPDATE dba.tscheduler SET datastatusid = 2")
    task = add_task(project_copy)
    project_copy.query("UPDATE dba.tscheduler SET active_since = '2026-03-01'")
    project_copy.door("check_schedule.py", ETL_CLOCK="2026-03-02T04:50:00+00:00")  # it begins the watch
    with contextlib.closing(project_copy.connect()) as moving, moving.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (record.MOVE_LOCK,))
        refused = due(project_copy, task)
        watch = project_copy.door("check_schedule.py", "--dry-run")
        step = project_copy.door("probe.py", "step", ETL_RUN_UUID="11111111-1111-1111-1111-111111111111")
    assert (refused.returncode, watch.returncode) == (75, 75)
    assert "the database is being moved to another server by move_database.sh" in refused.stderr
    assert (step.returncode, "unrecognized arguments" in step.stderr) == (64, True)
    assert project_copy.door("show_imports.py").returncode == 0  # it brings what was kept for the table
    told = project_copy.query(
        "SELECT status, exit_code, reason LIKE '%%being moved%%', scheduled_at FROM dba.tjobrun WHERE schedulerid = %s",
        task,
    )
    assert told == [("Skipped", 75, True, datetime.fromisoformat(SLOT))]
    watch = project_copy.door("check_schedule.py", "--dry-run", ETL_CLOCK="2026-03-02T05:20:00+00:00")
    assert "FAILED  probe" in watch.stdout, watch.stdout + watch.stderr


def test_a_database_that_was_left_for_another_takes_no_run(project_copy: Installation) -> None:
    project_copy.query(f"ALTER DATABASE {project_copy.variables['PGDATABASE']} SET default_transaction_read_only = on")
    add_job(project_copy, "return 0")
    refused = project_copy.door("probe.py")
    assert (refused.returncode, "the installation has moved to another server" in refused.stderr) == (75, True)
