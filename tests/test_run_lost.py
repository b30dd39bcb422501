"""A run is called Lost only when that is certain, and nobody begins the same beside one that lives."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import PROJECT, Installation, copy_code, give_way, server_home, set_up
from needs import missing
from test_import_outages import postmaster
from test_job_runner import add_job, start_waiting_job
from test_run_kills import descendants, kill
from test_run_policy import rows, start, wait_for_row

from systemscripts import db_config, embedded_postgres, processes
from systemscripts.runs import lost
from systemscripts.runs.door import parse_call
from systemscripts.runs.lost import Fate

ROUNDS = int(os.environ.get("ETL_TEST_RESTARTS", "2"))
ELSEWHERE = "00000000-0000-4000-8000-00000000000a"
A_LOCK = "SELECT pg_advisory_lock(hashtextextended(%s, 0))"


def add_open_run(
    etl: Installation, identity: str | None = "another machine process 1 1", job: str = "probe.py"
) -> None:
    etl.query(
        "INSERT INTO dba.tjobrun (run_uuid, job, host, pid, process_identity) VALUES (%s, %s, 'elsewhere', 1, %s)",
        ELSEWHERE, job, identity,
    )  # fmt: skip


def age_suspicion(etl: Installation) -> None:
    etl.query("UPDATE dba.tjobrun SET lost_suspected_at = lost_suspected_at - interval '61 seconds'")


def status_of(etl: Installation, uuid: str = ELSEWHERE) -> str:
    return str(etl.value("SELECT status FROM dba.tjobrun WHERE run_uuid = %s", uuid))


@pytest.fixture
def look(etl: Installation) -> Iterator[object]:
    """What a run that is about to begin sees of the others."""
    with db_config.session() as connection:
        connection.autocommit = True
        run = parse_call(["show_imports.py"])
        yield lambda: lost.fate_of_others(connection, run)


def test_one_elsewhere_whose_lock_is_free_is_lost_after_two_looks_in_one_life_of_the_server(etl, look) -> None:
    add_open_run(etl, job="show_imports.py")
    assert (look(), status_of(etl)) == (Fate.IN_DOUBT, "Running")
    assert (look(), status_of(etl)) == (Fate.IN_DOUBT, "Running")
    age_suspicion(etl)
    etl.query("UPDATE dba.tjobrun SET lost_suspected_in = 'the life before'")
    assert (look(), status_of(etl)) == (Fate.IN_DOUBT, "Running")
    age_suspicion(etl)
    assert (look(), status_of(etl)) == (Fate.GONE, "Lost")


def test_one_elsewhere_that_has_its_lock_again_is_under_suspicion_no_more(etl, look) -> None:
    add_open_run(etl, job="show_imports.py")
    assert look() is Fate.IN_DOUBT
    with contextlib.closing(etl.connect()) as supervisor, supervisor.cursor() as cursor:
        cursor.execute(A_LOCK, (f"etl run {ELSEWHERE}",))
        age_suspicion(etl)
        assert look() is Fate.ALIVE
        lost.revive(supervisor, ELSEWHERE, "Running")
        cursor.execute("SELECT pg_advisory_unlock_all()")
    assert look() is Fate.IN_DOUBT


def test_a_run_that_was_given_up_and_comes_back_is_open_again(etl, look) -> None:
    add_open_run(etl, job="show_imports.py")
    look()
    age_suspicion(etl)
    assert (look(), status_of(etl)) == (Fate.GONE, "Lost")
    with contextlib.closing(etl.connect("etl_user")) as supervisor:
        lost.revive(supervisor, ELSEWHERE, "Running")
    assert etl.query("SELECT status, ended_at, reason FROM dba.tjobrun") == [("Running", None, None)]


def test_what_is_certain_on_this_machine_needs_no_second_look(etl, look) -> None:
    ended = subprocess.run([sys.executable, "-c", "from systemscripts import processes; print(processes.identity())"],
                           capture_output=True, text=True, check=True).stdout.strip()  # fmt: skip
    add_open_run(etl, ended, job="show_imports.py")
    assert (look(), status_of(etl)) == (Fate.GONE, "Lost")


def test_a_process_is_known_by_more_than_its_number() -> None:
    mine = processes.identity()
    machine, _, tick = mine.rpartition(" ")
    assert processes.is_gone(mine) is False
    assert processes.is_gone(f"{machine} {int(tick) + 1}") is True
    assert processes.is_gone(f"x{mine}") is None
    assert processes.is_gone(None) is None


def test_a_process_that_its_parent_has_not_waited_for_has_ended() -> None:
    code = "from systemscripts import processes; print(processes.identity())"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        known = child.stdout.readline().strip()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert Path(f"/proc/{child.pid}").exists()
        assert processes.is_gone(known) is True


def test_another_machine_waits_until_it_is_certain_and_then_begins(project_copy: Installation) -> None:
    add_job(project_copy, "return 0")
    add_open_run(project_copy)
    second = start(project_copy, "probe.py")
    wait_for_row(project_copy, "Waiting")
    reason = project_copy.value("SELECT reason FROM dba.tjobrun WHERE status = 'Waiting'")
    assert f"run {ELSEWHERE} (process 1 on elsewhere, since " in reason
    age_suspicion(project_copy)
    second.communicate(timeout=60)
    assert (second.returncode, status_of(project_copy)) == (0, "Lost")


def test_another_machine_is_skipped_when_the_one_in_doubt_has_its_lock_again(project_copy: Installation) -> None:
    add_job(project_copy, "return 0")
    add_open_run(project_copy)
    second = start(project_copy, "probe.py")
    wait_for_row(project_copy, "Waiting")
    with contextlib.closing(project_copy.connect()) as supervisor, supervisor.cursor() as cursor:
        cursor.execute(A_LOCK, (f"etl run {ELSEWHERE}",))
        _, told = second.communicate(timeout=60)
    assert (second.returncode, status_of(project_copy)) == (75, "Running")
    assert f"by run {ELSEWHERE}" in told


def test_a_run_that_another_machine_has_replaced_is_stopped(project_copy: Installation) -> None:
    first = start_waiting_job(project_copy)
    database = project_copy.variables["PGDATABASE"]
    project_copy.query(f"ALTER DATABASE {database} CONNECTION LIMIT 0")  # its supervisor does not get in
    with contextlib.closing(project_copy.connect()) as other, other.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'etl_user' AND datname = %s",
            (database,),
        )
        cursor.execute(A_LOCK, ("etl job probe.py",))
        cursor.execute("UPDATE dba.tjobrun SET status = 'Lost', ended_at = now()")
        cursor.execute(f"ALTER DATABASE {database} CONNECTION LIMIT -1")
        first.communicate(timeout=60)
    assert first.returncode == 128 + signal.SIGTERM
    ((status, reason),) = project_copy.query("SELECT status, reason FROM dba.tjobrun")
    assert status == "Killed"
    assert "another machine has started" in reason


# ---- two machines and a server that starts anew ---------------------------------------------

# Two at the same time are seen by a lock of the file system, which asks no database.
BUSY = """
import fcntl
file = open(HOME + "/busy", "w")
try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    Path(HOME + "/twice").touch()
Path(HOME + "/begun").touch()
deadline = time.monotonic() + 2.5
while time.monotonic() < deadline:
    time.sleep(0.01)
return 0
"""


def restart(chance: random.Random, etl: Installation) -> str:
    """Let the server lose its sessions in one of the ways there are."""
    way = chance.choice(["fast", "immediate", "twice", "gap", "a process crashes", "sessions end"])
    if way == "a process crashes":
        children = Path(f"/proc/{postmaster()}/task/{postmaster()}/children").read_text().split()
        os.kill(int(chance.choice(children)), signal.SIGKILL)
    elif way == "sessions end":
        etl.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'etl_user'")
    else:
        for _ in range(2 if way == "twice" else 1):
            embedded_postgres._pg_ctl("stop", f"--mode={'immediate' if way == 'immediate' else 'fast'}")
            time.sleep(chance.uniform(0.2, 1.0) if way == "gap" else 0)
            embedded_postgres.ensure_running()
            time.sleep(chance.uniform(0, 0.5) if way == "twice" else 0)
    return way


class PatientInstallation(Installation):
    """One whose questions wait until a server that recovers answers."""

    def connect(self, user: str = "postgres") -> Any:
        connection = db_config.connect(user)
        connection.autocommit = True
        return connection


@pytest.fixture
def two_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """A checkout with a job that takes a while, and a server of its own, which a test may restart."""
    home = server_home("restarted")
    monkeypatch.setenv("ETL_HOME", str(home))
    for folder in ("logs", "archive", "file_watcher"):  # root's, where root runs the tests
        (home / folder).mkdir()
    set_up(PROJECT, {}, home)
    variables = {"ETL_HOME": str(home), "PGHOST": str(embedded_postgres.socket_dir()), "PGDATABASE": "feeds"}
    etl = PatientInstallation(home, variables, copy_code(tmp_path / "checkout"))
    etl.variables["PYTHONPATH"] = str(etl.project)
    add_job(etl, f"HOME = {str(home)!r}\n{BUSY}")
    add_job(etl, "return 0", "idle.py")
    yield etl
    embedded_postgres._pg_ctl("stop", "--mode=immediate")
    shutil.rmtree(home)


@pytest.mark.slow
def test_two_machines_and_a_server_that_starts_anew_do_no_job_twice(two_machines: Installation) -> None:
    chance = random.Random(os.environ.get("ETL_TEST_SEED", "restarts"))
    for number in range(ROUNDS):
        dies = number % 4 == 1
        way = one_round(two_machines, chance, dies)
        print(f"round {number + 1}: {way}{'; the first one dies' if dies else ''}: {rows(two_machines)}", flush=True)
        assert not (two_machines.home / "twice").exists()
        two_machines.query("DELETE FROM dba.tjobrun")


def one_round(etl: Installation, chance: random.Random, dies: bool) -> str:
    begun = etl.home / "begun"
    begun.unlink(missing_ok=True)
    first = start(etl, "probe.py", ETL_HOST="first")
    while not begun.exists():
        assert first.poll() is None, first.communicate()
        give_way()
    if dies:
        kill([first.pid, *descendants(first.pid)])
    way = restart(chance, etl)
    others = []
    for _ in range(3):
        time.sleep(chance.uniform(0, 0.4))
        others.append(start(etl, "probe.py", ETL_HOST="second"))
    if dies:
        wait_until_suspected(etl, others)
        age_suspicion(etl)
    ends = sorted(process.communicate(timeout=90) and process.returncode for process in others)
    first.communicate(timeout=60)
    # A server that recovers is waited for, and what could not be written down meanwhile is.
    assert etl.door("idle.py").returncode == 0
    etl.query("DELETE FROM dba.tjobrun WHERE job = 'idle.py'")
    statuses = sorted(str(status) for status, *_ in rows(etl))
    if dies:
        assert (ends[0], statuses.count("Lost"), statuses.count("Succeeded")) == (0, 1, ends.count(0)), (way, rows(etl))
    else:
        assert (first.returncode, "Lost" in statuses) == (0, False), (way, rows(etl))
    assert etl.value("SELECT count(*) FROM dba.tjobrun WHERE ended_at IS NULL") == 0, (way, rows(etl))
    return way


def wait_until_suspected(etl: Installation, others: "list[subprocess.Popen[str]]") -> None:
    while not etl.value("SELECT count(*) FROM dba.tjobrun WHERE lost_suspected_at IS NOT NULL"):
        if all(process.poll() is not None for process in others):  # the server went down under each of them
            others.append(start(etl, "probe.py", ETL_HOST="second"))
        time.sleep(0.05)


def test_a_process_knows_its_age_where_proc_shows_others_under_its_number() -> None:
    not_as_root = [] if os.geteuid() == 0 else ["--user", "--map-current-user"]
    code = "from systemscripts import processes; print(processes.age(), processes.is_gone(processes.identity()))"
    told = subprocess.run(
        ["unshare", *not_as_root, "--pid", "--fork", sys.executable, "-c", code],
        capture_output=True, text=True, check=False, cwd=PROJECT,
    )  # fmt: skip
    if told.returncode:
        missing("no namespace of processes can be had", "namespaces")
    age, is_gone = told.stdout.split()
    assert float(age) < 60
    assert is_gone == "False"
