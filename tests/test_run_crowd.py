"""More runs in a minute than the server has connections for: they wait, and none loses its slot."""

import contextlib
import subprocess
import threading

import pytest
from conftest import Installation
from test_job_runner import add_job, last_run, start_waiting_job
from test_run_policy import SLOT, add_task, rows, start

from systemscripts import db_config
from systemscripts.runs import record


def limit_connections(etl: Installation, number: int) -> None:
    etl.query(f"ALTER DATABASE {etl.variables['PGDATABASE']} CONNECTION LIMIT {number}")


def wait_for_line(process: "subprocess.Popen[str]", expected: str) -> None:
    assert process.stderr is not None
    assert process.stderr.readline() == expected


def test_jobs_of_one_minute_that_are_more_than_the_server_has_connections_for_all_run(
    project_copy: Installation,
) -> None:
    limit_connections(project_copy, record.CONNECTIONS_OF_A_RUN)
    add_job(project_copy, "with db_config.session(): return 0")
    tasks = [add_task(project_copy, f"probe {number}", scriptargs=f"--number {number}") for number in range(6)]
    runs = [
        start(project_copy, "--scheduled-at", SLOT, "--task", str(task), "probe.py", "--number", str(number))
        for number, task in enumerate(tasks)
    ]
    assert [run.communicate(timeout=100) and run.returncode for run in runs] == [0] * 6
    assert rows(project_copy) == [("Succeeded", 0, 1)] * 6


def test_a_run_that_finds_no_place_waits_and_a_step_of_a_chain_has_its_chains(project_copy: Installation) -> None:
    limit_connections(project_copy, 2 * record.CONNECTIONS_OF_A_RUN - 1)
    chain = start_waiting_job(project_copy)
    add_job(project_copy, "return 0")
    second = start(project_copy, "probe.py", "--number", "2")
    wait_for_line(second, "probe.py: waits for a connection to the database\n")
    step = project_copy.door("probe.py", "--number", "3", ETL_RUN_UUID=str(last_run(project_copy)["run_uuid"]))
    assert (step.returncode, second.poll()) == (0, None)
    chain.terminate()
    chain.communicate(timeout=30)
    assert (second.communicate(timeout=60)[1], second.returncode) == ("at work\n", 0)


def test_a_server_without_a_free_connection_is_asked_again_until_it_has_one(etl: Installation) -> None:
    limit_connections(etl, 1)
    etl.leave()
    first = db_config.connect()
    with pytest.raises(db_config.NoFreeConnection, match="no free connection .*0 minutes.*pg_stat_activity"):
        db_config.connect(patience=0)
    threading.Timer(0.1, first.close).start()
    with contextlib.closing(db_config.connect()) as second:
        assert not second.closed


def test_they_who_wait_do_not_all_ask_at_the_same_time() -> None:
    mine, others = db_config.pauses(), db_config.pauses()
    first = [next(mine) for _ in range(10)]
    assert first != [next(others) for _ in range(10)]
    assert 4 <= first[-1] <= 12
