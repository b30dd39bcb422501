"""A run through the door: its row, its logs, its exit status, whatever happens to the job."""

import csv
import os
import signal
import subprocess
import textwrap
import time
from pathlib import Path

import pytest
from conftest import Installation, give_way

JOB = '''
"""A job of the tests."""
import argparse
import logging
import os
import signal
import time
from pathlib import Path

from systemscripts import db_config
from systemscripts.errors import JobError
from systemscripts.job_runner import run_job

log = logging.getLogger(__name__)


def add_arguments(parser):
    parser.add_argument("--number", type=int, default=0)


def main(args):
    log.info("at work", extra={"step": "work"})
BODY


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=add_arguments)
'''


def add_job(installation: Installation, body: str, name: str = "probe.py") -> None:
    text = JOB.lstrip().replace("BODY", textwrap.indent(textwrap.dedent(body), "    "))
    (installation.project / "jobscripts" / name).write_text(text)


def last_run(installation: Installation) -> dict[str, object]:
    columns = ("run_uuid", "job", "status", "exit_code", "reason", "output_tail", "ended_at", "parent_run_uuid")
    (row,) = installation.query(f"SELECT {', '.join(columns)} FROM dba.tjobrun ORDER BY jobrunid DESC LIMIT 1")
    return dict(zip(columns, row, strict=True))


def logged(installation: Installation, run_uuid: object) -> dict[str, list[str]]:
    """Return the messages of a run by sink."""
    (csv_file,) = installation.home.glob("logs/probe_*.csv")
    (text_file,) = installation.home.glob("logs/probe_*.txt")
    with csv_file.open(newline="") as stream:
        in_csv = [record["message"] for record in csv.DictReader(stream) if record["run_uuid"] == run_uuid]
    lines = text_file.read_text().splitlines()
    in_text = [line.split("s  ", 1)[1] for line in lines if line.split()[2:3] == [str(run_uuid)[:8]]]
    in_table = [
        message.replace("\n", "\\n")
        for (message,) in installation.query(
            "SELECT message FROM dba.tlogentry WHERE run_uuid = %s ORDER BY logid", run_uuid
        )
    ]
    return {"csv": in_csv, "txt": in_text, "table": in_table}


@pytest.mark.parametrize(
    ("body", "status", "exit_code", "reason"),
    [
        ("return 0", "Succeeded", 0, None),
        ("return 3", "Failed", 1, "at work"),
        ("raise JobError('no such thing')", "Failed", 1, "no such thing"),
        ("raise ValueError('surprise')", "Failed", 1, "crashed: ValueError: surprise"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "Killed", 137, "killed by SIGKILL"),
        ("import sys; sys.exit(75)", "Failed", 75, "at work"),
    ],
)
def test_every_end_of_a_job_reaches_the_row_the_logs_and_the_exit_status(
    project_copy: Installation, body: str, status: str, exit_code: int, reason: str | None
) -> None:
    add_job(project_copy, body)
    result = project_copy.door("probe.py")
    run = last_run(project_copy)
    assert result.returncode == exit_code
    assert (run["status"], run["exit_code"], run["reason"]) == (status, exit_code, reason)
    messages = logged(project_copy, run["run_uuid"])
    for sink in messages.values():
        assert "started: probe.py" in sink
        assert "at work" in sink
        assert any(message.startswith(status.lower()) for message in sink)


def test_a_wrong_argument_is_a_wrong_call_all_the_way_up(project_copy: Installation) -> None:
    add_job(project_copy, "return 0")
    result = project_copy.door("probe.py", "--number", "many")
    run = last_run(project_copy)
    assert result.returncode == 64
    assert (run["status"], run["exit_code"]) == ("Failed", 64)
    assert run["reason"] == "called wrongly: argument --number: invalid int value: 'many'; see probe.py --help"


def test_a_job_started_by_hand_goes_through_the_door(project_copy: Installation) -> None:
    add_job(project_copy, "return 0")
    python = project_copy.environment()["ETL_VENV"] + "/bin/python"
    script = str(project_copy.project / "jobscripts/probe.py")
    subprocess.run([python, script], env=project_copy.environment(), cwd="/", check=True)
    assert last_run(project_copy)["status"] == "Succeeded"


@pytest.mark.parametrize(
    "name",
    [
        "nosuch.py",
        "x" * 300 + ".py",
        "../../etc/passwd",
        "/bin/true",
        "run_python_etl_script.sh",
        "__init__",
        "..",
        "settings.py",
    ],
)
def test_the_door_refuses_what_is_no_job(etl: Installation, name: str) -> None:
    result = etl.real_door(name)
    assert result.returncode == 64
    assert "there is no job" in result.stderr
    assert etl.value("SELECT count(*) FROM dba.tjobrun") == 0


def test_the_door_lists_the_jobs_without_arguments(etl: Installation) -> None:
    result = etl.real_door()
    assert result.returncode == 0
    assert "run_import_job.py" in result.stdout
    assert "Import the files that wait for one configuration" in result.stdout


def test_help_leaves_no_run(etl: Installation) -> None:
    result = etl.real_door("run_import_job.py", "--help")
    assert result.returncode == 0
    assert "Examples:" in result.stdout
    assert etl.value("SELECT count(*) FROM dba.tjobrun") == 0


def test_standard_output_stays_clean_of_log_lines(project_copy: Installation) -> None:
    add_job(project_copy, "print('{}')\nreturn 0")
    result = project_copy.door("probe.py")
    assert result.stdout == "{}\n"
    assert result.stderr == "at work\n"


def wait_for_file(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        give_way()


def start_script(installation: Installation, name: str) -> subprocess.Popen[str]:
    door = installation.project / "jobscripts/run_python_etl_script.sh"
    return subprocess.Popen(
        ["/bin/bash", str(door), name], env=installation.environment(), stderr=subprocess.PIPE, text=True
    )


def start_waiting_job(installation: Installation) -> subprocess.Popen[str]:
    """Start a job that waits for ever, and return once it has begun."""
    add_job(installation, f"Path({str(installation.home / 'begun')!r}).touch()\nsignal.pause()")
    process = start_script(installation, "probe.py")
    wait_for_file(installation.home / "begun")
    return process


def test_a_second_start_is_skipped_and_names_the_holder(project_copy: Installation) -> None:
    process = start_waiting_job(project_copy)
    holder = last_run(project_copy)["run_uuid"]
    result = project_copy.door("probe.py")
    process.terminate()
    process.communicate(timeout=30)
    assert result.returncode == 75
    assert f"still being done by run {holder}" in result.stderr
    statuses = dict(project_copy.query("SELECT status, count(*) FROM dba.tjobrun GROUP BY status"))
    assert statuses == {"Killed": 1, "Skipped": 1}


def test_other_arguments_are_another_run(project_copy: Installation) -> None:
    process = start_waiting_job(project_copy)
    add_job(project_copy, "return 0")
    assert project_copy.door("probe.py", "--number", "2").returncode == 0
    process.terminate()
    process.communicate(timeout=30)


def test_a_signal_to_the_supervisor_ends_the_job_and_is_told(project_copy: Installation) -> None:
    process = start_waiting_job(project_copy)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    run = last_run(project_copy)
    assert process.returncode == 128 + signal.SIGTERM
    assert (run["status"], run["reason"]) == ("Killed", "stopped by SIGTERM sent to its supervisor")


def test_a_vanished_run_is_closed_as_lost_by_the_next(project_copy: Installation) -> None:
    process = start_waiting_job(project_copy)
    lost = last_run(project_copy)["run_uuid"]
    (job,) = subprocess.run(
        ["pgrep", "-P", str(process.pid), "-f", "probe.py"], capture_output=True, text=True, check=True
    ).stdout.split()
    process.kill()
    process.communicate(timeout=30)
    while Path(f"/proc/{job}").exists():  # the kernel ends the job with its supervisor
        give_way()
    add_job(project_copy, "return 0")
    assert project_copy.door("probe.py").returncode == 0
    assert project_copy.value("SELECT status FROM dba.tjobrun WHERE run_uuid = %s", lost) == "Lost"


def test_without_a_database_a_job_says_so_and_its_records_arrive_later_once(project_copy: Installation) -> None:
    add_job(project_copy, "return 0")
    away = project_copy.door("probe.py", PGHOST=str(project_copy.home))
    assert away.returncode == 75
    assert away.stderr.startswith("error: the database cannot be used")
    assert len(away.stderr.splitlines()) == 1
    assert list(project_copy.home.glob("logs/spool/*.jsonl"))

    assert project_copy.door("probe.py").returncode == 0
    assert project_copy.door("probe.py").returncode == 0
    assert not list(project_copy.home.glob("logs/spool/*.jsonl"))
    assert (
        project_copy.value("SELECT count(*) FROM dba.tlogentry WHERE message LIKE 'the database cannot be used%%'") == 1
    )
    rows = project_copy.query("SELECT status, exit_code FROM dba.tjobrun ORDER BY started_at")
    assert rows == [("Failed", 75), ("Succeeded", 0), ("Succeeded", 0)]


def test_a_database_that_does_not_let_a_run_begin_is_told_without_a_traceback(project_copy: Installation) -> None:
    add_job(project_copy, "return 0")

    refused = project_copy.door("probe.py", PGUSER="etl_report")

    assert refused.returncode == 1
    spooled, told = refused.stderr.splitlines()
    assert spooled.startswith("logging: the log table cannot be written, records go to ")
    assert told.startswith("probe.py: the database does not let this run begin: cannot execute INSERT")


def test_a_chain_runs_its_steps_as_children_and_keeps_the_worst_status(project_copy: Installation) -> None:
    result = project_copy.door("run_download_and_import.sh")
    rows = project_copy.query(
        "SELECT job, exit_code, parent_run_uuid::text, run_uuid::text FROM dba.tjobrun ORDER BY started_at"
    )
    chain, *steps = rows
    assert [job for job, *_ in steps] == ["run_import_job.py", "meetmax_url_download.py", "run_import_job.py"]
    assert {parent for _, _, parent, _ in steps} == {chain[3]}
    # There is no scan to download from yet.
    assert [code for _, code, _, _ in steps] == [0, 1, 0]
    assert result.returncode == chain[1] == 1


@pytest.mark.parametrize("task", ["3", "99999999999"])
def test_a_row_of_the_schedule_that_is_gone_does_not_keep_its_job_from_running(
    project_copy: Installation, task: str
) -> None:
    project_copy.query("DELETE FROM dba.tscheduler")
    add_job(project_copy, "return 0")
    assert project_copy.door("--task", task, "probe.py").returncode == 0
    assert project_copy.value("SELECT schedulerid FROM dba.tjobrun") is None


def test_undecodable_arguments_do_not_stop_later_jobs(project_copy: Installation) -> None:
    add_job(project_copy, "return 0")
    name = os.fsdecode(b"a\xff")
    assert project_copy.door("probe.py", name, PGHOST=str(project_copy.home)).returncode == 75
    assert project_copy.door("probe.py").returncode == 0
    assert ["a\\udcff"] in [arguments for (arguments,) in project_copy.query("SELECT arguments FROM dba.tjobrun")]


def test_a_spooled_run_that_the_database_refuses_is_kept_aside(project_copy: Installation) -> None:
    add_job(project_copy, "return 0")
    spool = project_copy.home / "logs/spool"
    spool.mkdir(parents=True)
    (spool / "1_bad.jsonl").write_text('{"run": {"run_uuid": "no uuid", "job": "x"}}\n')
    assert project_copy.door("probe.py").returncode == 0
    assert [path.name for path in spool.iterdir()] == ["1_bad.unreadable"]


def test_a_home_that_is_not_there_is_said_so(etl: Installation) -> None:
    result = etl.real_door("run_import_job.py", "1", ETL_HOME="/nonexistent/home")
    assert result.returncode == 1
    assert "ETL_HOME is /nonexistent/home, but this directory does not exist" in result.stderr


def test_the_directories_of_a_new_home_are_made(etl: Installation, tmp_path: Path) -> None:
    home = tmp_path / "elsewhere"
    home.mkdir()
    assert etl.real_door("show_imports.py", ETL_HOME=str(home)).returncode == 0
    assert sorted(os.listdir(home)) == ["archive", "file_watcher", "logs"]
