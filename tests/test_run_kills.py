"""Killed at a random moment — the job, its supervisor, both, all, the database session — a run is told truthfully."""

import contextlib
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import Installation, give_way
from test_job_runner import add_job

from systemscripts import processes

ROUNDS = int(os.environ.get("ETL_TEST_KILLS", "25"))
# A job that has a child of its own and takes about as long as the moments below reach.
BUSY = """
import subprocess
child = subprocess.Popen(["/bin/sleep", "1000.NUMBER"])
deadline = time.monotonic() + 0.15
while time.monotonic() < deadline:
    log.info("still at it")
child.kill()
return 0
"""


def descendants(process: int) -> list[int]:
    """Return the processes below this one, the nearest first."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{process}/task/{process}/children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def kill(processes: list[int]) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def strike(etl: Installation, what: str, supervisor: int) -> None:
    below = descendants(supervisor)
    if what == "database session":
        etl.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND usename = 'etl_user'"
        )
    else:
        kill(
            {
                "job": below[:1],
                "supervisor": [supervisor],
                "both": [supervisor, *below[:1]],
                "all": [supervisor, *below],
            }[what]
        )


def alive(marker: str) -> list[str]:
    """Return the processes whose command has the marker in it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if marker in (entry / "cmdline").read_bytes().decode(errors="replace"):
                    found.append(entry.name)
    return found


def test_what_is_left_of_a_run_that_vanished_is_ended_by_the_next_look(project_copy: Installation) -> None:
    uuid = "00000000-0000-4000-8000-000000000001"
    machine, _, tick = processes.identity().rpartition(" ")
    left = subprocess.Popen(["/bin/sleep", "1000"], env={"ETL_RUN_UUID": uuid}, start_new_session=True)
    other = subprocess.Popen(["/bin/sleep", "1000"], env={"ETL_RUN_UUID": uuid[:-1] + "2"}, start_new_session=True)
    project_copy.query(
        "INSERT INTO dba.tjobrun (run_uuid, job, started_at, process_identity) VALUES (%s, 'x.py', now() - interval '1 hour', %s)",
        uuid, f"{machine} {int(tick) + 1}",
    )  # fmt: skip
    add_job(project_copy, "return 0")
    assert project_copy.door("probe.py").returncode == 0
    assert left.wait(timeout=20) == -signal.SIGKILL
    assert other.poll() is None
    other.kill()
    other.wait()


@pytest.mark.parametrize("what", ["job", "supervisor", "both", "all", "database session"])
def test_killed_at_a_random_moment(project_copy: Installation, what: str) -> None:
    chance = random.Random(what)
    marker = f"{os.getpid()}{abs(hash(what)) % 10_000}"
    add_job(project_copy, BUSY.replace("NUMBER", marker))
    door = ["/bin/bash", str(project_copy.project / "jobscripts/run_python_etl_script.sh"), "probe.py"]
    for _ in range(ROUNDS // 5):
        run = subprocess.Popen(
            door, env=project_copy.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(timeout=chance.uniform(0.0, 0.7))
        strike(project_copy, what, run.pid)
        run.wait(timeout=60)

    add_job(project_copy, "return 0")
    assert project_copy.door("probe.py").returncode == 0, "a lock stuck"
    deadline = time.monotonic() + 20
    while alive(f"1000.{marker}"):
        assert time.monotonic() < deadline, "a child outlived its run"
        give_way()
    statuses = project_copy.query("SELECT status, exit_code, reason FROM dba.tjobrun ORDER BY jobrunid")
    assert project_copy.value("SELECT count(*) FROM dba.tjobrun WHERE ended_at IS NULL") == 0
    told = {
        "job": {"Killed", "Succeeded"},
        "supervisor": {"Lost", "Succeeded"},
        "both": {"Lost", "Succeeded"},
        "all": {"Lost", "Succeeded"},
        "database session": {"Succeeded", "Failed"},
    }
    assert {status for status, _, _ in statuses} <= told[what], statuses
