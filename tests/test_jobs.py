"""The operator's command, started as an operator does: what it shows, and what it does to a row of the schedule."""

import json
import re
import signal
import subprocess
from datetime import datetime
from typing import Any

import pytest
from conftest import Installation
from test_job_runner import add_job, wait_for_file

from systemscripts.cron import slots

WEDNESDAY = "2026-03-04T12:00:00+00:00"
NOON = "2026-03-04T12:00:00"  # the machine's, wherever it stands
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]")


@pytest.fixture
def empty(etl: Installation) -> Installation:
    """The installation without any row of the schedule."""
    etl.query("DELETE FROM dba.tscheduler")
    etl.query("DELETE FROM dba.treportmanager")
    return etl


def add_task(etl: Installation, name: str, script: str = "run_maintenance.py", arguments: str = "", **more: Any) -> int:
    row = {"taskname": name, "frequency": "0 5 * * *", "scriptpath": script, "scriptargs": arguments, **more}
    columns, holders = ", ".join(row), ", ".join(["%s"] * len(row))
    return etl.value(f"INSERT INTO dba.tscheduler ({columns}) VALUES ({holders}) RETURNING schedulerid", *row.values())


def add_run(etl: Installation, job: str = "run_maintenance.py", **more: Any) -> None:
    """Insert a run that succeeded after 72 seconds, unless told otherwise."""
    row = {"job": job, "arguments": [], "status": "Succeeded", "exit_code": 0, "started_at": WEDNESDAY, **more}
    row.setdefault("ended_at", "2026-03-04T12:01:12.4+00:00")
    columns, holders = ", ".join(row), ", ".join(["%s"] * len(row))
    etl.query(
        f"INSERT INTO dba.tjobrun (run_uuid, {columns}) VALUES (gen_random_uuid(), {holders})",
        *map(as_array, row.values()),
    )


def as_array(value: Any) -> Any:
    """Spare psycopg2 an empty list, which PostgreSQL cannot tell the type of."""
    return "{}" if value == [] else value


def lines(etl: Installation, *arguments: str, **more: str) -> list[str]:
    """Return the lines that it prints below the heading."""
    result = etl.door("jobs.py", *arguments, **{"ETL_CLOCK": NOON, **more})
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()[1:]


def as_json(etl: Installation, *arguments: str) -> Any:
    result = etl.door("jobs.py", *arguments, "--json", ETL_CLOCK=NOON)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def local(time: str, pattern: str = "%m-%d %H:%M") -> str:
    return datetime.fromisoformat(time).astimezone(slots.cron_zone()).strftime(pattern)


def state(etl: Installation, task: int) -> int:
    return etl.value("SELECT datastatusid FROM dba.tscheduler WHERE schedulerid = %s", task)


# ---- list ----------------------------------------------------------------------------------


def test_list_shows_each_task_and_report_with_its_next_and_its_last_run(empty: Installation) -> None:
    task = add_task(empty, "Upkeep")
    add_run(empty, schedulerid=task, started_at="2026-03-03T12:00:00+00:00", ended_at="2026-03-03T12:00:00+00:00")
    add_run(empty, schedulerid=task)
    paused = add_task(empty, "Rest", datastatusid=2)
    add_run(empty, schedulerid=paused, started_at="2025-03-04T12:00:00+00:00")
    report = empty.value("SELECT dba.f_insert_treportmanager('News', '', '@reboot', 's', '', false, NULL, 't', NULL)")
    add_run(empty, "send_reports.py", arguments=[str(report)], status="Failed", exit_code=1)
    add_run(empty, "send_reports.py", arguments=["99"])

    heading, *found = empty.door("jobs.py", "list", ETL_CLOCK=NOON).stdout.splitlines()

    assert re.split(" {2,}", heading) == ["id", "name", "when", "next run", "last run"]
    began = local(WEDNESDAY)
    assert [re.split(" {2,}", line) for line in found] == [
        [str(task), "Upkeep", "0 5 * * *", "03-05 05:00", f"Succeeded {began} 0:01:12"],
        [str(paused), "Rest", "0 5 * * *", "paused", f"Succeeded {local('2025-03-04T12:00:00+00:00', '%Y-%m-%d')}", "8760:0…"],
        [f"report:{report}", "News", "@reboot", "-", "Failed", f"{began} 0:01:12"],
    ]  # fmt: skip


def test_the_columns_of_the_list_line_up_within_a_hundred_characters(etl: Installation) -> None:
    add_task(etl, "A name that is much longer than the column for it", frequency="0,5,10,15,20,25,30,35 5 * * *")
    for task in etl.query("SELECT schedulerid FROM dba.tscheduler"):
        add_run(etl, schedulerid=task[0])

    heading, *found = etl.door("jobs.py", "list").stdout.splitlines()

    starts = [heading.index(name) for name in ("id", "name", "when", "next run", "last run")]
    for line in found:
        assert len(line) <= 100
        assert all(line[start] != " " and line[start - 2 : start] in ("", "  ") for start in starts)
    assert any("A name that is much longer…  0,5,10,15,20,25…  " in line for line in found)


def test_list_as_json_has_the_rules_for_runs_too(empty: Installation) -> None:
    first = add_task(empty, "First", arguments="--budget 5")
    add_task(empty, "Second", retries=3, timeout_minutes=1.5, depends_on=first)
    add_run(empty, schedulerid=first)

    one, two = as_json(empty, "list")

    assert (one["id"], one["name"], one["script"], one["arguments"]) == (
        str(first),
        "First",
        "run_maintenance.py",
        "--budget 5",
    )
    assert datetime.fromisoformat(one["last_run"]["started_at"]) == datetime.fromisoformat(WEDNESDAY)
    assert (two["retries"], two["timeout_minutes"], two["depends_on"], two["state"]) == (3, 1.5, first, "active")
    assert (two["last_run"], two["problem"]) == (None, None)
    assert two["next_run"].startswith("2026-03-05 05:00:00")


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("frequency", "61 * * * *", "the minute is '61'"),
        ("scriptpath", "gone.py", "no script 'gone.py' in jobscripts/"),
        ("scriptpath", "x" * 300 + ".py", "no script 'xxx"),
        ("scriptargs", "'open", 'scriptargs is "\'open": No closing quotation'),
    ],
)
def test_a_row_that_cron_cannot_run_is_shown_with_its_problem_among_the_others(
    empty: Installation, column: str, value: str, said: str
) -> None:
    # As in an installation that is older than the check.
    empty.query("ALTER DOMAIN dba.cron_expression DROP CONSTRAINT cron_expression_as_debian_reads_it")
    good, bad = add_task(empty, "Good"), add_task(empty, "Bad")
    empty.query(f"UPDATE dba.tscheduler SET {column} = %s WHERE schedulerid = %s", value, bad)

    first, second, problem = lines(empty, "list")
    assert first.startswith(f"{good}  ")
    assert second.startswith(f"{bad}  ")
    assert said in problem

    run, second, problem = lines(empty, "next", "1")
    assert run.endswith("Good")
    assert second.startswith("not by cron")
    assert said in problem


@pytest.mark.parametrize("command", ["list", "next", "last"])
def test_an_empty_schedule_is_shown_as_such(empty: Installation, command: str) -> None:
    assert lines(empty, command) == []
    assert as_json(empty, command) == []


# ---- next ----------------------------------------------------------------------------------


def test_next_shows_the_runs_of_active_rows_in_order_of_time(empty: Installation) -> None:
    task = add_task(empty, "Upkeep")
    add_task(empty, "Rest", datastatusid=2)
    report = empty.value("SELECT dba.f_insert_treportmanager('News', '', '0 6 5 3 *', 's', '', false, NULL, 't', NULL)")

    assert [(line[:20], line[28:]) for line in lines(empty, "next", "3")] == [
        ("Thu 2026-03-05 05:00", f"{task:<9}  Upkeep"),
        ("Thu 2026-03-05 06:00", f"report:{report:<2}  News"),
        ("Fri 2026-03-06 05:00", f"{task:<9}  Upkeep"),
    ]
    assert len(lines(empty, "next")) == 10
    first, *_ = as_json(empty, "next", "1")
    assert (first["id"], first["name"], first["time"][:16]) == (str(task), "Upkeep", "2026-03-05 05:00")


@pytest.mark.parametrize(
    "arguments",
    [("next", "0"), ("next", "-1"), ("next", "1001"), ("next", "soon"), ("last", "--last", "0"), ("fly",), ()],
)
def test_it_refuses_a_call_that_makes_no_sense(etl: Installation, arguments: tuple[str, ...]) -> None:
    assert etl.door("jobs.py", *arguments).returncode == 64


# ---- last ----------------------------------------------------------------------------------


def test_last_shows_the_newest_run_first_with_why_it_failed(empty: Installation) -> None:
    day_before = "2026-03-03T12:00:00+00:00"
    add_run(empty, "run_import_job.py", arguments=["Two words"], started_at=day_before, ended_at="2026-03-03T14:00Z")
    add_run(empty, status="Failed", exit_code=1, attempt=2, reason="it broke", output_tail="some\noutput")
    add_run(empty, "daily_backup.sh", status="Running", exit_code=None, ended_at=None, started_at="now")

    found = [re.split(" {2,}", line.strip()) for line in lines(empty, "last", "--tail")]

    began = {time: local(time, "%Y-%m-%d %H:%M:%S") for time in (WEDNESDAY, day_before)}
    assert found[0][1:] == ["daily_backup.sh", "Running", "-", found[0][4], "1"]
    assert found[1:] == [
        [began[WEDNESDAY], "run_maintenance.py", "Failed", "1", "0:01:12", "2"],
        ["it broke"],
        ["some"],
        ["output"],
        [began[day_before], "run_import_job.py 'Two words'", "Succeeded", "0", "2:00:00", "1"],
    ]
    assert "output" not in empty.door("jobs.py", "last").stdout
    assert as_json(empty, "last", "--last", "2")[1]["output_tail"] == "some\noutput"


def test_last_of_one_row_shows_its_runs_alone(empty: Installation) -> None:
    tasks = [add_task(empty, name) for name in ("Upkeep", "Other")]
    for task in (*tasks, *tasks, None):
        add_run(empty, schedulerid=task)
    report = empty.value("SELECT dba.f_insert_treportmanager('News', '', '@daily', 's', '', false, NULL, 't', NULL)")
    add_run(empty, "send_reports.py", arguments=[str(report)])
    add_run(empty, "send_reports.py", arguments=["99"])

    assert [run["schedulerid"] for run in as_json(empty, "last", "upkeep")] == [tasks[0]] * 2
    assert len(lines(empty, "last", str(tasks[1]), "--last", "1")) == 1
    (run,) = as_json(empty, "last", f"report:{report}")
    assert run["arguments"] == [str(report)]


def test_last_failed_leaves_out_what_went_well_or_did_not_begin(etl: Installation) -> None:
    statuses = ["Succeeded", "Skipped", "Failed", "Timeout", "Killed", "Lost"]
    for second, status in enumerate(statuses):
        add_run(etl, status=status, started_at=f"2026-03-04T11:00:{second:02}+00:00")

    assert [run["status"] for run in as_json(etl, "last", "--failed")] == statuses[:1:-1]


def test_last_leaves_out_that_somebody_looked_but_not_that_somebody_changed_a_row(etl: Installation) -> None:
    for arguments in (["list"], ["next", "3"], ["last"], ["pause", "2"]):
        assert etl.door("jobs.py", *arguments).returncode == 0

    assert [run["arguments"] for run in as_json(etl, "last")] == [["pause", "2"]]


def test_what_rows_hold_does_not_reach_the_terminal_raw(empty: Installation) -> None:
    evil = "\x1b]0;owned\x07\x9b2J\u202eevil\ttab\rback"
    empty.query("ALTER TABLE dba.tscheduler DROP CONSTRAINT tscheduler_taskname_on_one_line")
    task = add_task(empty, evil)
    said = {"reason": evil, "output_tail": f"{evil}\n{evil}"}
    add_run(empty, evil, schedulerid=task, arguments=[f"{evil}\nnext"], status="Failed", exit_code=1, **said)
    for arguments in (
        ["list"],
        ["next"],
        ["last", "--tail"],
        ["pause", str(task)],
        ["run", "nobody"],
        ["list", "--json"],
    ):
        result = empty.door("jobs.py", *arguments)
        assert not CONTROL.search(result.stdout + result.stderr), arguments
    assert "\\x1b]0;owned\\x07\\x9b2J\\u202eevil\\ttab\\rback" in empty.door("jobs.py", "last").stdout


# ---- run -----------------------------------------------------------------------------------


def test_run_starts_the_task_as_cron_does_and_passes_on_its_output_and_status(project_copy: Installation) -> None:
    add_job(project_copy, "print(f'number {args.number}')\nimport sys; sys.exit(7)")
    task = add_task(project_copy, "Probe", "probe.py", "--number '3'", datastatusid=2, retries=2)

    result = project_copy.door("jobs.py", "run", "PROBE")

    assert result.returncode == 7
    assert result.stdout == "number 3\n"
    assert result.stderr == f"dba.tscheduler {task} 'Probe': --task {task} probe.py --number 3\nat work\n"
    outer, inner = project_copy.query(
        "SELECT job, exit_code, schedulerid, scheduled_at, parent_run_uuid, run_uuid FROM dba.tjobrun ORDER BY started_at"
    )
    assert outer[:2] == ("jobs.py", 7)
    assert inner[:5] == ("probe.py", 7, task, None, outer[5])


def test_run_starts_a_report_with_its_number(project_copy: Installation) -> None:
    job = project_copy.project / "jobscripts/send_reports.py"
    job.unlink()
    add_job(project_copy, "import sys; print(sys.argv[1:])\nreturn 0", job.name)
    job.write_text(job.read_text().replace('"--number"', '"report"'))

    result = project_copy.door("jobs.py", "run", "report:2")

    assert (result.returncode, result.stdout) == (0, "['2']\n")


def test_a_signal_to_it_ends_the_task_and_is_told(project_copy: Installation) -> None:
    add_job(project_copy, f"Path({str(project_copy.home / 'begun')!r}).touch()\nsignal.pause()")
    task = add_task(project_copy, "Probe", "probe.py")
    door = str(project_copy.project / "jobscripts/run_python_etl_script.sh")
    process = subprocess.Popen(["/bin/bash", door, "jobs.py", "run", str(task)], env=project_copy.environment())
    wait_for_file(project_copy.home / "begun")

    process.terminate()

    assert process.wait(timeout=30) == 128 + signal.SIGTERM
    rows = project_copy.query("SELECT job, status, exit_code FROM dba.tjobrun ORDER BY started_at")
    assert rows == [("jobs.py", "Killed", 143), ("probe.py", "Killed", 143)]


def test_it_does_not_run_a_task_that_is_a_call_of_itself(etl: Installation) -> None:
    task = add_task(etl, "Loop", "jobs.py", "run Loop", overlap="wait")

    result = etl.door("jobs.py", "run", "Loop")

    assert result.returncode == 64
    assert f"dba.tscheduler {task} 'Loop' " in result.stderr
    assert "jobs.py itself" in result.stderr


# ---- pause and resume ----------------------------------------------------------------------


def test_a_paused_task_is_skipped_by_the_door_until_it_is_resumed(project_copy: Installation) -> None:
    add_job(project_copy, "return 0")
    task = add_task(project_copy, "Probe", "probe.py")
    as_due = ["--due", "--task", str(task), "probe.py"]

    paused = project_copy.door("jobs.py", "pause", "probe")

    assert paused.returncode == 0
    assert f"dba.tscheduler {task} 'Probe' is paused:" in paused.stderr
    assert paused.stderr.endswith("/jobscripts/run_python_etl_script.sh update_cron_jobs.py\n")
    assert state(project_copy, task) == 2
    assert project_copy.door(*as_due).returncode == 75

    again = project_copy.door("jobs.py", "pause", "probe")
    assert again.returncode == 0
    assert f"dba.tscheduler {task} 'Probe' is paused already" in again.stderr
    assert again.stderr.count("\n") == 1

    assert f"{task} 'Probe' is active:" in project_copy.door("jobs.py", "resume", str(task)).stderr
    assert state(project_copy, task) == 1
    assert project_copy.door(*as_due, ETL_CLOCK=NOON).returncode == 0
    assert "is active already" in project_copy.door("jobs.py", "resume", str(task)).stderr


def test_a_row_that_would_keep_the_cron_file_from_being_written_is_not_resumed(etl: Installation) -> None:
    task = add_task(etl, "Gone", "gone.py", datastatusid=2)

    result = etl.door("jobs.py", "resume", "gone")

    assert result.returncode == 1
    assert f"dba.tscheduler {task} 'Gone' stays paused: there is no script 'gone.py'" in result.stderr
    assert f'-c "UPDATE dba.tscheduler SET … WHERE schedulerid = {task}"' in result.stderr
    assert state(etl, task) == 2


def test_a_report_is_paused_and_resumed_by_its_number(etl: Installation) -> None:
    for command, status in (("pause", 2), ("resume", 1)):
        assert etl.door("jobs.py", command, "report:2").returncode == 0
        assert etl.query("SELECT reportid, datastatusid FROM dba.treportmanager ORDER BY 1") == [(1, 1), (2, status)]


def test_a_role_that_may_not_change_the_schedule_is_told_which_one_may(etl: Installation) -> None:
    result = etl.door("jobs.py", "pause", "1", PGUSER="etl_user")

    assert result.returncode == 1
    assert result.stderr.startswith("error: permission denied for ")
    assert result.stderr.endswith(" PGUSER=etl_owner\n")
    assert state(etl, 1) == 1
    assert etl.door("jobs.py", "pause", "1", PGUSER="etl_owner").returncode == 0


# ---- names ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("pause", "Upkee"),
        ("pause", "7777"),
        ("pause", "report:7777"),
        ("pause", "%"),
        ("run", ""),
        ("resume", ""),
        ("last", ""),
    ],
)
def test_a_name_that_fits_no_row_is_refused_with_those_there_are(empty: Installation, command: str, name: str) -> None:
    task = add_task(empty, "Upkeep")

    result = empty.door("jobs.py", command, name)

    assert result.returncode == 64
    assert re.search(f"'{re.escape(name)}'.*: {task} 'Upkeep'$", result.stderr, re.MULTILINE)


def test_a_name_that_fits_several_rows_is_refused_with_them(empty: Installation) -> None:
    tasks = [add_task(empty, name) for name in ("Upkeep", "UPKEEP", "Other")]

    result = empty.door("jobs.py", "pause", "upkeep")

    assert result.returncode == 64
    both = f"{tasks[0]} 'Upkeep', {tasks[1]} 'UPKEEP'\n"
    assert re.search(f"2 .*'upkeep'.*: {both}", result.stderr)
    assert {state(empty, task) for task in tasks} == {1}


def test_a_number_is_an_id_even_where_a_task_has_it_for_a_name(empty: Installation) -> None:
    task = add_task(empty, "Upkeep")
    namesake = add_task(empty, str(task))

    assert empty.door("jobs.py", "pause", str(task)).returncode == 0
    assert (state(empty, task), state(empty, namesake)) == (2, 1)


def test_help_shows_an_example_of_each_command(etl: Installation) -> None:
    text = etl.door("jobs.py", "run", "--help").stdout
    assert all(f"  etl {verb}" in text for verb in ("jobs", "next", "runs", "run", "pause", "resume"))
