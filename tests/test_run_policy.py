"""What a row of the schedule says about its runs: slots, time limits, overlap, retries, dependencies, pauses."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg2.errors
import pytest
from conftest import Installation, give_way
from test_job_runner import add_job, start_waiting_job, wait_for_file

from systemscripts import db_config, processes
from systemscripts.runs import after_failure, child_process
from systemscripts.runs.child_process import WaitingChild
from systemscripts.runs.door import parse_call

_ACTIVATE_PAGE = (
    "UPDATE dba.tscheduler SET datastatusid = 1 WHERE scriptpath = 'build_status_page.py' RETURNING schedulerid"
)
SLOT = "2026-03-02T05:00:00+00:00"
SOON_AFTER = "2026-03-02T06:00:00+00:00"


def add_task(etl: Installation, name: str = "probe", script: str = "probe.py", **columns: object) -> int:
    values = {"taskname": name, "frequency": "0 5 * * *", "scriptpath": script, **columns}
    marks = ", ".join(["%s"] * len(values))
    statement = f"INSERT INTO dba.tscheduler ({', '.join(values)}) VALUES ({marks}) RETURNING schedulerid"
    return int(etl.value(statement, *values.values()))


def due(etl: Installation, task: int, script: str = "probe.py", slot: str = SLOT, **more: str):
    more = {"ETL_CLOCK": slot.replace("T05:", "T06:"), **more}
    return etl.door("--scheduled-at", slot, "--task", str(task), script, **more)


def start(etl: Installation, *arguments: str, **more: str) -> "subprocess.Popen[str]":
    door = str(etl.project / "jobscripts/run_python_etl_script.sh")
    more = {"ETL_CLOCK": SOON_AFTER, **more}
    return subprocess.Popen(
        ["/bin/bash", door, *arguments], env=etl.environment(**more), stderr=subprocess.PIPE, text=True
    )


def wait_for_row(etl: Installation, status: str) -> None:
    while not etl.query("SELECT 1 FROM dba.tjobrun WHERE status = %s", status):
        give_way()


def rows(etl: Installation) -> list[tuple[object, ...]]:
    return etl.query("SELECT status, exit_code, attempt FROM dba.tjobrun ORDER BY jobrunid")


def test_what_cron_starts_is_due_this_minute(project_copy: Installation) -> None:
    add_job(project_copy, "return 0")
    task = add_task(project_copy)
    project_copy.door("--due", "--task", str(task), "probe.py", ETL_CLOCK="2026-03-02T05:00:41+00:00")
    slot = project_copy.query("SELECT schedulerid, scheduled_at AT TIME ZONE 'UTC' FROM dba.tjobrun")
    assert [(row[0], str(row[1])) for row in slot] == [(task, "2026-03-02 05:00:00")]


def test_two_starts_across_a_minute_are_about_the_same_slot(project_copy: Installation) -> None:
    add_job(project_copy, "return 0")
    due = ["--due", "--task", str(add_task(project_copy)), "probe.py"]
    first = project_copy.door(*due, ETL_CLOCK="2026-03-02T05:00:50+00:00")
    second = project_copy.door(*due, ETL_CLOCK="2026-03-02T05:01:11+00:00")
    assert (first.returncode, second.returncode) == (0, 75)
    assert "slot is taken" in second.stderr


def test_a_slow_start_is_about_the_slot_at_which_cron_began_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETL_CLOCK", "2026-03-02T05:01:08+00:00")
    monkeypatch.setattr(processes, "age", lambda: 67.2)
    call = parse_call(["--due", "--task", "1", "show_imports.py"]).call
    assert str(call.scheduled_at) == "2026-03-02 05:00:00+00:00"


def test_a_process_knows_how_long_ago_it_began() -> None:
    began = time.monotonic()
    told = subprocess.run(
        ["/bin/bash", "-c", "read; exec $0 -c 'from systemscripts import processes; print(processes.age())'", sys.executable],
        input="\n", capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert 0 < float(told.stdout) < time.monotonic() - began + 0.02


def test_a_machine_in_another_zone_means_the_same_slot(project_copy: Installation) -> None:
    add_job(project_copy, "return 0")
    task = add_task(project_copy)
    project_copy.query(
        "INSERT INTO dba.tjobrun (run_uuid, job, schedulerid, scheduled_at, slot, ended_at, status)"
        " VALUES (gen_random_uuid(), 'probe.py', %s, '2026-03-02 04:00+00', '2026-03-02 05:00', now(), 'Succeeded')",
        task,
    )
    assert "slot is taken" in due(project_copy, task).stderr


@pytest.mark.parametrize("name", ["probe.py", "probe.sh"])
def test_a_job_knows_its_slot(project_copy: Installation, name: str) -> None:
    add_job(project_copy, "print(os.environ['ETL_SCHEDULED_AT'])\nreturn 0")
    (project_copy.project / "jobscripts/probe.sh").write_text('echo "$ETL_SCHEDULED_AT"\n')
    task = add_task(project_copy)
    result = project_copy.door("--due", "--task", str(task), name, ETL_CLOCK="2026-03-02T05:01:11+00:00")
    assert result.stdout == f"{SLOT}\n"
    assert project_copy.door(name, ETL_SCHEDULED_AT=SLOT).stdout == "\n"


def test_a_further_attempt_keeps_its_slot_though_the_row_was_changed(project_copy: Installation) -> None:
    task = add_task(project_copy, retries=1, retry_delay_minutes=0)
    change = f"UPDATE dba.tscheduler SET frequency = '1 5 * * *' WHERE schedulerid = {task}"
    variables = project_copy.variables
    add_job(
        project_copy,
        f"import psycopg2\nc = psycopg2.connect(host={variables['PGHOST']!r}, dbname={variables['PGDATABASE']!r}, user='postgres')\n"
        f"with c: c.cursor().execute({change!r})\nreturn 1",
    )
    project_copy.door("--due", "--task", str(task), "probe.py", ETL_CLOCK="2026-03-02T05:01:11+00:00")
    slots = project_copy.query("SELECT attempt, slot, scheduled_at = %s FROM dba.tjobrun ORDER BY attempt", SLOT)
    assert slots == [(1, "2026-03-02 05:00", True), (2, "2026-03-02 05:00", True)]


def test_of_one_slot_there_is_one_run_however_many_hosts_start_it(project_copy: Installation) -> None:
    add_job(project_copy, "return 0")
    task = add_task(project_copy)
    hosts = [
        start(project_copy, "--scheduled-at", SLOT, "--task", str(task), "probe.py", ETL_HOST=f"host{number}")
        for number in range(4)
    ]
    ended = [(host.communicate(timeout=60)[1], host.returncode) for host in hosts]
    assert sorted(code for _, code in ended) == [0, 75, 75, 75]
    assert sorted(str(status) for status, *_ in rows(project_copy)) == ["Skipped"] * 3 + ["Succeeded"]
    again = due(project_copy, task)
    assert again.returncode == 75
    assert "slot is taken" in again.stderr
    assert due(project_copy, task, slot="2026-03-03T05:00:00+00:00").returncode == 0


def test_a_report_has_slots_as_well(project_copy: Installation) -> None:
    add_job(project_copy, "return 0")
    for expected in (0, 75):
        assert (
            project_copy.door("--scheduled-at", SLOT, "--report", "1", "probe.py", ETL_CLOCK=SOON_AFTER).returncode
            == expected
        )


def test_a_run_that_takes_too_long_is_ended_with_all_it_started(project_copy: Installation) -> None:
    pid_file = project_copy.home / "pid"
    add_job(project_copy, f"import subprocess\nchild = subprocess.Popen(['sleep', '1000'])\n"
                          f"Path({str(pid_file)!r}).write_text(str(child.pid))\nsignal.pause()")  # fmt: skip
    task = add_task(project_copy, timeout_minutes=0.03)
    result = due(project_copy, task)
    assert result.returncode == 1
    ((status, exit_code, reason),) = project_copy.query("SELECT status, exit_code, reason FROM dba.tjobrun")
    assert (status, exit_code) == ("Timeout", 1)
    assert "after 0.03 minutes" in reason
    while Path(f"/proc/{pid_file.read_text()}").exists():
        give_way()


def test_one_that_will_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "GRACE_SECONDS", 0.2)
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: signal.pause()"
    with WaitingChild(["/usr/bin/python3", "-c", stubborn], dict(os.environ)) as child:
        assert child.run(timeout=1.0).status == "Timeout"


def test_what_a_job_leaves_running_and_talking_does_not_keep_its_run_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "LAST_WORDS_SECONDS", 0.2)
    # In a session of its own, out of reach: it must end by itself when nobody reads what it says.
    talk = "setsid sh -c 'while echo still here; do sleep 0.01; done' & echo the end"
    with WaitingChild(["/bin/sh", "-c", talk], dict(os.environ)) as child:
        outcome = child.run(timeout=20.0)
    assert outcome.status == "Succeeded"
    assert "the end" in outcome.output_tail


def test_a_failure_is_tried_again_and_each_attempt_has_its_row(project_copy: Installation) -> None:
    marker = project_copy.home / "failed_once"
    add_job(project_copy, f"marker = Path({str(marker)!r})\nif marker.exists(): return 0\nmarker.touch()\nreturn 1")
    task = add_task(project_copy, retries=2, retry_delay_minutes=0)
    result = due(project_copy, task)
    assert result.returncode == 0
    assert rows(project_copy) == [("Failed", 1, 1), ("Succeeded", 0, 2)]


def test_when_all_attempts_fail_the_last_status_is_the_doors(project_copy: Installation) -> None:
    add_job(project_copy, "raise JobError('never')")
    task = add_task(project_copy, retries=2, retry_delay_minutes=0)
    assert due(project_copy, task).returncode == 1
    assert rows(project_copy) == [("Failed", 1, 1), ("Failed", 1, 2), ("Failed", 1, 3)]


def test_after_its_last_failure_the_page_shows_it_and_not_after_one_that_is_tried_again(
    project_copy: Installation,
) -> None:
    page = project_copy.home / "logs/status_page.html"
    add_job(project_copy, "raise JobError('the sender wrote nonsense')")
    task = add_task(project_copy, retries=1, retry_delay_minutes=0)
    assert due(project_copy, task).returncode == 1
    assert not page.exists(), "the row that builds it is not active"

    builder = project_copy.value(_ACTIVATE_PAGE)
    assert due(project_copy, task, slot="2026-03-03T05:00:00+00:00").returncode == 1
    assert "the sender wrote nonsense" in page.read_text()
    built = project_copy.query(
        "SELECT p.status, f.attempt, p.schedulerid FROM dba.tjobrun AS p JOIN dba.tjobrun AS f ON f.run_uuid = p.parent_run_uuid"
    )
    assert built == [("Succeeded", 2, builder)]

    page.unlink()
    assert project_copy.door("--task", str(task), "probe.py").returncode == 1
    assert not page.exists(), "a person who starts a job sees its end"

    # Many jobs that fail at once build it once.
    with db_config.session() as connection:
        assert after_failure.page_of_schedule(connection) == builder
        project_copy.query("UPDATE dba.tjobrun SET ended_at = NULL, status = 'Running' WHERE schedulerid = %s", builder)
        assert after_failure.page_of_schedule(connection) is None


def test_a_page_that_cannot_be_built_changes_nothing_and_calls_nothing_again(project_copy: Installation) -> None:
    add_job(project_copy, "return 1")
    task = add_task(project_copy)
    builder = project_copy.value(_ACTIVATE_PAGE)
    (project_copy.home / "in_the_way").write_text("")
    broken = {"ETL_PAGE_FILE": str(project_copy.home / "in_the_way/page.html")}
    assert due(project_copy, task, **broken).returncode == 1
    assert due(project_copy, builder, "build_status_page.py", **broken).returncode == 1
    assert rows(project_copy) == [("Failed", 1, 1)] * 3


def test_a_wrong_call_and_a_start_by_hand_are_not_tried_again(project_copy: Installation) -> None:
    add_job(project_copy, "return 1")
    task = add_task(project_copy, retries=2, retry_delay_minutes=0)
    assert project_copy.door("--task", str(task), "probe.py").returncode == 1
    wrong = ["--scheduled-at", SLOT, "--task", str(task), "probe.py", "--nonsense"]
    assert project_copy.door(*wrong, ETL_CLOCK=SOON_AFTER).returncode == 64
    assert rows(project_copy) == [("Failed", 1, 1), ("Failed", 64, 1)]


def test_a_run_that_may_wait_begins_when_the_other_has_ended(project_copy: Installation) -> None:
    other = start_waiting_job(project_copy)
    add_job(project_copy, "return 0")
    task = add_task(project_copy, overlap="wait")
    waiting = start(project_copy, "--scheduled-at", SLOT, "--task", str(task), "probe.py")
    wait_for_row(project_copy, "Waiting")
    other.terminate()
    other.communicate(timeout=30)
    waiting.communicate(timeout=30)
    assert waiting.returncode == 0
    assert [status for status, *_ in rows(project_copy)] == ["Killed", "Succeeded"]


def test_a_run_that_is_stopped_while_it_waits_says_so(project_copy: Installation) -> None:
    other = start_waiting_job(project_copy)
    task = add_task(project_copy, overlap="wait")
    waiting = start(project_copy, "--scheduled-at", SLOT, "--task", str(task), "probe.py")
    wait_for_row(project_copy, "Waiting")
    waiting.send_signal(signal.SIGTERM)
    waiting.communicate(timeout=30)
    assert waiting.returncode == 128 + signal.SIGTERM
    other.terminate()
    other.communicate(timeout=30)
    reasons = [reason for (reason,) in project_copy.query("SELECT reason FROM dba.tjobrun ORDER BY jobrunid")]
    assert "SIGTERM before it" in reasons[1]


def test_a_paused_row_is_skipped_before_cron_knows_of_it(project_copy: Installation) -> None:
    add_job(project_copy, "return 0")
    task = add_task(project_copy, datastatusid=2)
    result = due(project_copy, task)
    assert result.returncode == 75
    assert "is paused" in result.stderr
    assert project_copy.door("--task", str(task), "probe.py").returncode == 0
    project_copy.query("UPDATE dba.treportmanager SET datastatusid = 2")
    assert project_copy.door("--due", "--report", "1", "probe.py").returncode == 75


@pytest.mark.parametrize(("parent_ends", "starts"), [("return 0", True), ("return 1", False)])
def test_a_task_begins_only_after_the_one_it_depends_on_has_succeeded(
    project_copy: Installation, parent_ends: str, starts: bool
) -> None:
    add_job(project_copy, parent_ends, "parent.py")
    add_job(project_copy, "return 0")
    parent = add_task(project_copy, "parent", "parent.py", frequency="0 4 * * *")
    child = add_task(project_copy, depends_on=parent)
    due(project_copy, parent, "parent.py", slot="2026-03-02T04:00:00+00:00")
    result = due(project_copy, child)
    assert (result.returncode == 0) is starts
    if not starts:
        assert re.search(f"task {parent} 'parent', .* Failed for 2026-03-02 04:00", result.stderr)
    if not starts:  # a person repeats by hand what failed
        add_job(project_copy, "return 0", "parent.py")
        assert project_copy.door("--task", str(parent), "parent.py").returncode == 0
        assert due(project_copy, child).returncode == 0
        project_copy.query("UPDATE dba.tjobrun SET started_at = '2026-03-02 06:00+00' WHERE scheduled_at IS NULL")
    # Yesterday's success is not today's.
    tomorrow = due(project_copy, child, slot="2026-03-03T05:00:00+00:00")
    assert tomorrow.returncode == 75
    assert "not run for 2026-03-03 04:00" in tomorrow.stderr


def test_a_task_waits_while_the_one_it_depends_on_still_runs(project_copy: Installation) -> None:
    begun, end, done = (project_copy.home / name for name in ("parent_begun", "end", "parent_done"))
    add_job(
        project_copy,
        f"Path({str(begun)!r}).touch()\nwhile not Path({str(end)!r}).exists(): time.sleep(0.01)\nPath({str(done)!r}).touch()\nreturn 0",
        "parent.py",
    )
    add_job(project_copy, f"return not Path({str(done)!r}).exists()")
    parent = add_task(project_copy, "parent", "parent.py")
    child = add_task(project_copy, depends_on=parent)
    first = start(project_copy, "--scheduled-at", SLOT, "--task", str(parent), "parent.py")
    wait_for_file(begun)
    second = start(project_copy, "--scheduled-at", SLOT, "--task", str(child), "probe.py")
    assert project_copy.query("SELECT job FROM dba.tjobrun WHERE status = 'Running'") == [("parent.py",)]
    end.touch()
    first.communicate(timeout=30)
    second.communicate(timeout=30)
    assert (first.returncode, second.returncode) == (0, 0)


def test_tasks_cannot_wait_for_each_other(etl: Installation) -> None:
    first = add_task(etl, "first")
    second = add_task(etl, "second", depends_on=first)
    third = add_task(etl, "third", depends_on=second)
    for depends_on in (first, second, third):
        with pytest.raises(psycopg2.errors.CheckViolation, match=rf"Task {first} .* task {depends_on}\b"):
            etl.query("UPDATE dba.tscheduler SET depends_on = %s WHERE schedulerid = %s", depends_on, first)


def test_a_slot_that_was_spooled_while_the_database_was_away_arrives_though_another_host_ran_it(
    project_copy: Installation,
) -> None:
    add_job(project_copy, "return 0")
    task = add_task(project_copy)
    assert due(project_copy, task, PGHOST=str(project_copy.home)).returncode == 75
    other_home = project_copy.home.parent / "other"
    other_home.mkdir()
    assert due(project_copy, task, ETL_HOME=str(other_home)).returncode == 0
    assert project_copy.door("probe.py").returncode == 0
    assert sorted(str(status) for status, *_ in rows(project_copy)) == ["Skipped", "Succeeded", "Succeeded"]
    assert not list(project_copy.home.glob("logs/spool/*"))
