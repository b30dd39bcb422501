"""The door runs any Python script in jobscripts/: those of older installations too, which do not end with run_job."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from conftest import PROJECT, Installation, give_way
from test_job_runner import last_run, start_script, wait_for_file
from test_run_policy import add_task, due

# How such a script begins.
HEAD = '''
"""Fill the list of calendar days."""
import os
import sys

sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
'''


def add_script(installation: Installation, body: str, name: str = "old.py") -> Path:
    script = installation.project / "jobscripts" / name
    script.write_text(f"{HEAD.lstrip()}\n{body}\n")
    return script


def test_it_runs_as_by_a_plain_call_with_a_row_of_its_own(project_copy: Installation) -> None:
    body = "if __name__ == '__main__':\n    print(sys.argv, __file__, 'systemscripts' in sys.modules, __spec__)\n"
    script = add_script(project_copy, body)

    result = project_copy.real_door("old.py", "two words", "-x", "--help-me")

    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"{[str(script), 'two words', '-x', '--help-me']} {script} True None\n"
    run = last_run(project_copy)
    assert (run["job"], run["status"], run["exit_code"]) == ("old.py", "Succeeded", 0)
    assert run["output_tail"] == result.stdout.rstrip("\n")


ENDS: list[tuple[str, int, str, str | None]] = [
    ("sys.exit(3)", 3, "Failed", "it said nothing on stderr"),
    ("sys.exit('no list today')", 1, "Failed", "no list today"),
    ("raise ValueError('surprise')", 1, "Failed", "ValueError: surprise"),
    ("def broken(:", 1, "Failed", "SyntaxError: invalid syntax"),
    ("input()", 1, "Failed", "EOFError: EOF when reading a line"),
    (
        "raise ValueError('\\nrow 7: no price\\n  it has: name')",
        1,
        "Failed",
        "ValueError: row 7: no price it has: name",
    ),
    ("try:\n    1 / 0\nfinally:\n    raise KeyError('row 7')", 1, "Failed", "KeyError: 'row 7'"),
    ("raise ValueError('x' * 600 + '\\nend')", 1, "Failed", f"ValueError: {'x' * 488}"),
    ("import nosuch", 1, "Failed", "ModuleNotFoundError: No module named 'nosuch'"),
    ("os.kill(os.getpid(), 9)", 137, "Killed", "killed by SIGKILL"),
    ("os._exit(0)", 0, "Succeeded", None),
]


def test_every_end_reaches_the_row_and_the_exit_status(project_copy: Installation) -> None:
    for body, exit_code, status, reason in ENDS:
        add_script(project_copy, body)
        result = project_copy.real_door("old.py")
        run = last_run(project_copy)
        assert (result.returncode, run["exit_code"], run["status"], run["reason"]) == (
            exit_code, exit_code, status, reason,
        ), body  # fmt: skip


def test_a_traceback_is_kept_and_secrets_in_it_are_not(project_copy: Installation) -> None:
    add_script(project_copy, "def fill():\n    raise ValueError(os.environ['ETL_EMAIL_PASSWORD'])\n\n\nfill()")

    result = project_copy.real_door("old.py", ETL_EMAIL_PASSWORD="hunter2hunter2")

    tail = str(last_run(project_copy)["output_tail"])
    assert tail == result.stderr.rstrip("\n")
    assert "line 11, in <module>" in tail
    assert tail.endswith("ValueError: ****")


def test_its_first_line_runs_when_the_row_is_there_and_not_before(project_copy: Installation) -> None:
    statement = "SELECT status FROM dba.tjobrun WHERE run_uuid = %s"
    add_script(
        project_copy,
        "import psycopg2\n"
        "with psycopg2.connect('dbname=' + os.environ['PGDATABASE'] + ' user=etl_user').cursor() as cursor:\n"
        f"    cursor.execute({statement!r}, [os.environ['ETL_RUN_UUID']])\n"
        "    print(cursor.fetchall(), os.environ['ETL_SCHEDULED_AT'], 'ETL_GATE_FD' in os.environ)",
    )
    task = add_task(project_copy, script="old.py")

    result = due(project_copy, task, "old.py", "2026-03-02T05:00:00+00:00")

    assert (result.stdout, result.stderr) == ("[('Running',)] 2026-03-02T05:00:00+00:00 False\n", "")


def test_a_run_that_gets_no_turn_runs_no_line_of_it(project_copy: Installation) -> None:
    begun = project_copy.home / "begun"
    add_script(project_copy, f"import signal\nopen({str(begun)!r}, 'a').write('x')\nsignal.pause()")
    process = start_script(project_copy, "old.py")
    wait_for_file(begun)

    result = project_copy.real_door("old.py")
    process.terminate()
    process.communicate(timeout=30)

    assert result.returncode == 75
    assert "still being done by run" in result.stderr
    assert begun.read_text() == "x"
    assert process.returncode == 128 + signal.SIGTERM
    assert dict(project_copy.query("SELECT status, count(*) FROM dba.tjobrun GROUP BY status")) == {
        "Killed": 1,
        "Skipped": 1,
    }


@contextlib.contextmanager
def waiting_run(installation: Installation) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Yield a run of old.py whose row cannot be written for the moment: its supervisor, and its process at the gate."""
    with contextlib.closing(installation.connect()) as blocker:
        blocker.autocommit = False
        blocker.cursor().execute("LOCK TABLE dba.tjobrun IN ACCESS EXCLUSIVE MODE")
        supervisor = start_script(installation, "old.py")
        waits = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        while not installation.query(waits):
            give_way()
        (script,) = subprocess.run(
            ["pgrep", "-P", str(supervisor.pid), "-f", "old.py"], capture_output=True, text=True, check=True
        ).stdout.split()
        yield supervisor, int(script)


def test_at_the_gate_it_ends_with_its_supervisor_and_has_done_nothing(project_copy: Installation) -> None:
    begun = project_copy.home / "begun"
    add_script(project_copy, f"open({str(begun)!r}, 'w')")

    with waiting_run(project_copy) as (supervisor, script):
        supervisor.kill()
        supervisor.communicate(timeout=30)
        while Path(f"/proc/{script}").exists():
            give_way()

    assert not begun.exists()


def test_killed_at_the_gate_it_is_a_run_that_was_killed(project_copy: Installation) -> None:
    begun = project_copy.home / "begun"
    add_script(project_copy, f"open({str(begun)!r}, 'w')")

    with waiting_run(project_copy) as (supervisor, script):
        os.kill(script, signal.SIGKILL)
    supervisor.communicate(timeout=30)

    assert supervisor.returncode == 128 + signal.SIGKILL
    assert (last_run(project_copy)["status"], last_run(project_copy)["reason"]) == ("Killed", "killed by SIGKILL")
    assert not begun.exists()


def test_its_time_limit_ends_it_with_what_it_has_forked(project_copy: Installation) -> None:
    pid_file = project_copy.home / "pid"
    body = (
        "import time\nchild = os.fork()\nif child:\n"
        f"    open({str(pid_file)!r}, 'w').write(str(child))\nwhile True:\n    time.sleep(1)"
    )
    add_script(project_copy, body)
    task = add_task(project_copy, script="old.py", timeout_minutes=0.03)

    assert due(project_copy, task, "old.py").returncode == 1

    assert project_copy.query("SELECT status, reason FROM dba.tjobrun") == [
        ("Timeout", "ended after 0.03 minutes, which is its time limit")
    ]
    while Path(f"/proc/{pid_file.read_text()}").exists():
        give_way()


def test_it_imports_its_neighbours_but_none_in_place_of_the_standard_library(project_copy: Installation) -> None:
    add_script(project_copy, "def told():\n    return 'a neighbour'", "old_helper.py")
    add_script(project_copy, "print('the wrong calendar')", "calendar.py")
    add_script(
        project_copy,
        "from old_helper import told\n"
        "from run_import_job import main\n"
        "from jobscripts.old_helper import told as again\n"
        "from systemscripts import settings\n"
        "import calendar\n"
        "print(told(), again(), calendar.isleap(2028), settings.__file__)",
    )

    result = project_copy.real_door("old.py")

    settings = project_copy.project / "systemscripts/settings.py"
    assert (result.stdout, result.stderr) == (f"a neighbour a neighbour True {settings}\n", "")
    assert project_copy.real_door("calendar.py").stdout == "the wrong calendar\n"


def test_a_link_to_a_script_elsewhere_runs_with_the_neighbours_of_both(
    project_copy: Installation, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    add_script(project_copy, "import beside_link, beside_script", "real.py").rename(elsewhere / "real.py")
    (elsewhere / "beside_script.py").write_text("print('beside the script')")
    (project_copy.project / "jobscripts/beside_link.py").write_text("print('beside the link')")
    (project_copy.project / "jobscripts/old.py").symlink_to(elsewhere / "real.py")

    for name in ("old.py", str(project_copy.project / "jobscripts/old.py")):
        result = project_copy.real_door(name)
        assert (result.stdout, result.stderr) == ("beside the link\nbeside the script\n", "")
    assert last_run(project_copy)["job"] == "old.py"


def test_a_script_with_a_run_job_of_its_own_is_no_job_that_waits_by_itself(project_copy: Installation) -> None:
    begun = project_copy.home / "begun"
    add_script(
        project_copy,
        f"def run_job(main):\n    open({str(begun)!r}, 'w')\n\n\nif __name__ == '__main__':\n    run_job(main=1)",
    )
    away = project_copy.real_door("old.py", PGHOST=str(project_copy.home))
    assert (away.returncode, begun.exists()) == (75, False)
    assert project_copy.real_door("old.py").returncode == 0
    assert begun.exists()


def test_started_by_hand_it_just_runs(project_copy: Installation) -> None:
    script = add_script(project_copy, "from systemscripts import settings\nprint(sys.argv[1:])")
    python = project_copy.environment()["ETL_VENV"] + "/bin/python"
    result = subprocess.run(
        [python, str(script), "x"], env=project_copy.environment(), cwd="/", capture_output=True, text=True, check=True
    )
    assert result.stdout == "['x']\n"
    assert project_copy.value("SELECT count(*) FROM dba.tjobrun") == 0


def test_the_list_and_help_tell_what_it_is_for_and_do_not_start_it(project_copy: Installation) -> None:
    begun = project_copy.home / "begun"
    add_script(project_copy, f"open({str(begun)!r}, 'w')")
    jobscripts = project_copy.project / "jobscripts"
    (jobscripts / "broken.py").write_text("def broken(:")
    (jobscripts / "older.py").write_bytes(b'# -*- coding: latin-1 -*-\n"""Z\xe4hlen."""\n')
    (jobscripts / "nul.py").write_bytes(b"\0")
    (jobscripts / "__init__.py").touch()
    (jobscripts / "gone.py").symlink_to("/nonexistent/gone.py")

    listed = dict(line.split(maxsplit=1) for line in project_copy.real_door().stdout.splitlines()[2:])

    assert listed["old.py"] == "Fill the list of calendar days."
    assert listed["older.py"] == "Zählen."
    assert listed["broken.py"] == listed["nul.py"] == "(no documentation)"
    assert not {"__init__.py", "gone.py"} & listed.keys()
    assert project_copy.real_door("old.py", "--help").stdout == "Fill the list of calendar days.\n"
    told = project_copy.real_door("broken.py", "-h").stdout
    assert "broken.py has no docstring" in told
    assert f"To run it, type: bash {project_copy.project}/jobscripts/run_python_etl_script.sh broken.py\n" in told
    assert not begun.exists()
    assert project_copy.value("SELECT count(*) FROM dba.tjobrun") == 0


def test_an_unknown_script_is_refused_with_the_one_that_may_be_meant(project_copy: Installation) -> None:
    add_script(project_copy, "", "daily_cancellations.py")
    result = project_copy.real_door("daily_cancelations.py")
    assert result.returncode == 64
    assert "there is no job 'daily_cancelations.py'; did you mean daily_cancellations.py?" in result.stderr


def test_the_schedule_takes_it(project_copy: Installation) -> None:
    add_script(project_copy, "")
    project_copy.query("DELETE FROM dba.tscheduler")
    project_copy.query("DELETE FROM dba.treportmanager")
    task = add_task(project_copy, script="/srv/older/jobscripts/old.py")
    result = project_copy.real_door("update_cron_jobs.py", "--diff", ETL_CRON_USER="root")
    assert f"--due --task {task} old.py" in result.stdout, result.stderr


def test_the_name_of_the_older_import_is_the_import_job(etl: Installation) -> None:
    result = etl.real_door("generic_import.py", "1")
    assert result.returncode == 0
    assert "no file waits in" in result.stderr
    assert etl.query("SELECT job, arguments FROM dba.tjobrun") == [("run_import_job.py", ["1"])]
    assert "Import the files that wait" in etl.real_door(f"{PROJECT}/systemscripts/generic_import.py", "-h").stdout
