"""Two machines with one schedule: where a row runs, and what a machine that was away does not run any more."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from conftest import Installation
from schedule_simulation import simulation
from test_engines import NIGHTS, ZURICH, planned
from test_job_runner import add_job
from test_run_policy import SLOT, add_task, due, rows, start
from test_run_waiting import LOCKS, wait_until

from systemscripts import patterns, settings
from systemscripts.cron.crontab import Entry
from systemscripts.doctor import rows as doctor_rows
from systemscripts.engines import airflow, kubernetes, systemd
from systemscripts.runs import turn
from systemscripts.runs.claim import Claim
from systemscripts.runs.run import Call, Run
from systemscripts.schedule import adoption, machines
from systemscripts.status_page import timeline

BAD = "box-(a)"  # a glob with parentheses, or a regular expression
ON_A = {"ETL_HOST": "box-a"}
ON_B = {"ETL_HOST": "box-b"}


# ---- where a row runs ----------------------------------------------------------------------


def test_a_row_runs_only_where_its_pattern_fits_and_leaves_no_word_elsewhere(project_copy: Installation) -> None:
    add_job(project_copy, "return 0")
    task = add_task(project_copy, host_pattern="box-[ac]")
    elsewhere = due(project_copy, task, **ON_B)
    assert (elsewhere.returncode, elsewhere.stdout, elsewhere.stderr) == (75, "", "")
    assert rows(project_copy) == []
    assert due(project_copy, task, **ON_A).returncode == 0
    assert project_copy.door("--task", str(task), "probe.py", **ON_B).returncode == 0  # a person says where
    assert project_copy.query("SELECT host FROM dba.tjobrun ORDER BY jobrunid") == [("box-a",), ("box-b",)]


def test_a_pattern_that_cannot_be_used_is_told_by_everything_that_reads_it(project_copy: Installation) -> None:
    add_job(project_copy, "return 0")
    task = add_task(project_copy, host_pattern=BAD)
    told = f"host_pattern '{BAD}' has two meanings: "
    assert told in due(project_copy, task, **ON_A).stderr
    assert rows(project_copy) == [("Skipped", 75, 1)]
    (row,) = (
        row for row in json.loads(project_copy.door("jobs.py", "list", "--json").stdout) if row["id"] == str(task)
    )
    assert row["problem"].startswith(told)
    refused = project_copy.door("update_cron_jobs.py", "--dry-run", ETL_CRON_USER="nobody")
    assert (refused.returncode, told in refused.stderr) == (1, True)
    with project_copy.connect() as connection, connection.cursor() as cursor:
        job = next(job for job in timeline.active_jobs_of(cursor) if job.row_id == task)
    assert machines.on_none(job, ["box-b"]) == ""


@pytest.mark.parametrize("pattern", ["(?R)", f"^{'(' * 5000}a{')' * 5000}$"])
def test_a_pattern_that_is_nested_without_end_is_refused_as_any_bad_one(pattern: str) -> None:
    with pytest.raises(patterns.BadPattern, match="is nested too deeply to be used; make it simpler"):
        patterns.runs_on(pattern, "box-a")


def test_lists_say_where_a_row_runs_and_the_cron_file_is_the_same_everywhere(etl: Installation) -> None:
    task = str(add_task(etl, "Upkeep", "run_maintenance.py", host_pattern="box-*"))
    where = "only on hosts that fit 'box-*'"
    at_noon = {"ETL_CLOCK": "2026-03-04T12:00:00"}
    for command in (["jobs.py", "list"], ["jobs.py", "next", "1", "Upkeep"]):
        lines = etl.door(*command, **at_noon).stdout.splitlines()
        (line,) = (number for number, line in enumerate(lines) if f"  {task}  " in f"  {line}  ")
        assert lines[line + 1].strip() == where
    listed = etl.door("update_cron_jobs.py", "--list", "200", ETL_CRON_USER="nobody", **at_noon).stdout
    assert f"dba.tscheduler {task} 'Upkeep'  ({where})" in listed
    here, there = (
        etl.door("update_cron_jobs.py", "--dry-run", ETL_CRON_USER="nobody", ETL_HOST=host).stdout
        for host in ("box-a", "c")
    )
    assert f"--task {task} run_maintenance.py" in here
    assert here == there
    with etl.connect() as connection, connection.cursor() as cursor:
        lines = timeline.of_today(cursor, datetime(2026, 3, 4, 12, tzinfo=UTC), UTC)
    assert {line.where for line in lines} == {"", where}
    with etl.connect() as connection, connection.cursor() as cursor:
        adopted = adoption.plan(
            [Entry(1, "0 5 * * *", "me", "x/jobscripts/run_maintenance.py", "")], adoption.rows_of(cursor), "me"
        )
    assert [proposal.told for proposal in adopted] == [f"dba.tscheduler {task} 'Upkeep'  ({where})"]


def test_a_row_that_no_machine_runs_is_a_finding_and_a_slot_is_missed_for_that_reason(
    etl: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETL_HOST", "box-a")
    assert list(doctor_rows.hosts()) == []
    task = add_task(etl, "Night", host_pattern="box-a")
    (fits,) = doctor_rows.hosts()
    assert (fits.state, "box-a" in fits.told) == ("ok", True)
    etl.query("UPDATE dba.tscheduler SET host_pattern = 'box-x' WHERE schedulerid = %s", task)
    told = "its host_pattern 'box-x' fits no machine that ran anything in the last 7 days (box-a)"
    (finding,) = doctor_rows.hosts()
    assert (finding.state, finding.told) == ("failed", f"dba.tscheduler {task} 'Night': {told}")
    assert f"SET host_pattern = 'NEW' WHERE schedulerid = {task}" in finding.cure
    with simulation(etl, monkeypatch, "UTC") as simulated:
        simulated.only("Night")
        start = simulated.local("03-10 04:00")
        etl.query(
            "INSERT INTO dba.tjobrun (run_uuid, job, host, status, started_at, ended_at)"
            " SELECT gen_random_uuid(), 'probe.py', host, 'Succeeded', %s - age, %s"
            " FROM (VALUES ('box-a', interval '1 day'), ('box-x', interval '8 days')) AS machine (host, age)",
            start,
            start,
        )
        simulated.run(start, simulated.local("03-10 05:45"))
        assert [kind for kind, *_ in simulated.incidents()] == ["missed (open)"]
        assert f"no run was started: {told}" in simulated.mails[0].text


def test_engines_have_the_row_as_cron_has_it_and_kubernetes_cannot() -> None:
    row = planned()
    row = type(row)(type(row.job)(*list(vars(row.job).values())[:6], host_pattern="box-a"), row.policy)
    assert systemd.units([row], NIGHTS, "etl_user").refused == []
    assert airflow.dags([row], NIGHTS, ZURICH).refused == []
    made = kubernetes.manifests([row], NIGHTS, ZURICH)
    assert [name for name in made.files if name.startswith("etl-task")] == []
    assert "its host_pattern is 'box-a', and each pod has a name of its own" in made.refused[0]


# ---- a machine that is back ----------------------------------------------------------------


@pytest.mark.parametrize(("now", "runs"), [("2026-03-02T07:59:00+00:00", True), ("2026-03-02T08:01:00+00:00", False)])
def test_a_start_hours_after_its_slot_does_nothing(project_copy: Installation, now: str, runs: bool) -> None:
    add_job(project_copy, "return 0")
    task = add_task(project_copy, retries=2, retry_delay_minutes=0)
    result = due(project_copy, task, ETL_CLOCK=now)
    assert rows(project_copy) == [("Succeeded", 0, 1) if runs else ("Skipped", 75, 1)]
    if not runs:
        assert (
            "its slot is past: it was due 3 hours ago, and a run begins at most 3 hours late; to run it now"
            in result.stderr
        )
        assert result.stderr.endswith(f"/jobscripts/run_python_etl_script.sh jobs.py run {task}\n")


@pytest.mark.parametrize(("slept", "runs"), [("2 hours 59 minutes", True), ("3 hours 1 minute", False)])
def test_a_machine_that_slept_before_a_further_attempt_leaves_it(
    project_copy: Installation, slept: str, runs: bool
) -> None:
    add_job(project_copy, "return 0")
    task = add_task(project_copy, retries=1, retry_delay_minutes=10)
    project_copy.query(
        "INSERT INTO dba.tjobrun (run_uuid, job, schedulerid, scheduled_at, status, exit_code, ended_at) VALUES"
        " (gen_random_uuid(), 'probe.py', %s, %s, 'Failed', 1, now() - interval '10 minutes' - %s::interval)",
        task,
        SLOT,
        slept,
    )
    call = ["--scheduled-at", SLOT, "--attempt", "2", "--task", str(task), "probe.py"]
    result = project_copy.door(*call)
    assert result.returncode == (0 if runs else 75)
    assert ("its attempt 2 is past: it was due 3 hours ago" in result.stderr) is not runs


def test_a_machine_whose_shared_folder_is_not_mounted_leaves_its_slots_to_the_other(
    project_copy: Installation, tmp_path: Path
) -> None:
    add_job(project_copy, "return 0")
    task = add_task(project_copy)
    mount_point = tmp_path / "shared"
    mount_point.mkdir(mode=0o555)
    archive = {"ETL_ARCHIVE_DIR": f"{mount_point}/archive"}
    without = due(project_copy, task, **ON_B, **archive)
    told = f"{mount_point}/archive cannot be made by this user (Permission denied); if it lies in a shared folder, mount that; else"
    assert (without.returncode, told in without.stderr) == (1, True)
    mount_point.chmod(0o755)
    assert due(project_copy, task, **ON_A, **archive).returncode == 0
    assert rows(project_copy) == [("Succeeded", 0, 1)]


def test_a_machine_that_was_cut_off_leaves_its_slots_to_the_other(project_copy: Installation) -> None:
    add_job(project_copy, "return 0")
    task = add_task(project_copy)
    assert due(project_copy, task, PGHOST=str(project_copy.home), **ON_B).returncode == 75
    assert project_copy.door("probe.py", **ON_B).returncode == 0  # it is back, and brings what it had to say
    assert rows(project_copy)[0] == ("Skipped", 75, 1)
    assert due(project_copy, task, **ON_A).returncode == 0  # the engine of this one is later
    with project_copy.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT host, status, left(reason, 31) FROM dba.tjobrun WHERE schedulerid = %s ORDER BY 1", (task,)
        )
        assert cursor.fetchall() == [
            ("box-a", "Succeeded", None),
            ("box-b", "Skipped", "the database cannot be used: co"),
        ]


def test_each_slot_runs_once_when_both_machines_start_all_of_them_at_once(project_copy: Installation) -> None:
    add_job(project_copy, "return 0")
    task = add_task(project_copy, frequency="*/10 * * * *")
    slots = [f"2026-03-02T05:{minute}0:07+00:00" for minute in range(6)]

    def cron_of(machine: dict[str, str]) -> list[int]:
        call = ["--due", "--task", str(task), "probe.py"]
        return [project_copy.door(*call, ETL_CLOCK=slot, **machine).returncode for slot in slots]

    with ThreadPoolExecutor() as machines_:
        ends = list(zip(*machines_.map(cron_of, (ON_A, ON_B)), strict=True))
    assert all(75 in both for both in ends)
    run = "SELECT count(*), count(DISTINCT scheduled_at) FROM dba.tjobrun WHERE status = 'Succeeded'"
    assert project_copy.query(run) == [(len(slots), len(slots))]


def test_a_machine_whose_clock_is_ahead_leaves_the_slot_to_others(project_copy: Installation) -> None:
    add_job(project_copy, "return 0")
    task = add_task(project_copy, frequency="* * * * *")
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    call = ["--task", str(task), "probe.py"]
    wrong = project_copy.door("--scheduled-at", (now + timedelta(hours=1)).isoformat(), *call, **ON_B)
    assert (wrong.returncode, "its slot is still to come: it is due at " in wrong.stderr) == (75, True)
    assert "and by the database's clock it is 2" in wrong.stderr
    early = (now + timedelta(minutes=4)).isoformat()
    assert project_copy.door("--scheduled-at", early, *call, **ON_B).returncode == 0
    assert rows(project_copy) == [("Skipped", 75, 1), ("Succeeded", 0, 1)]


def test_a_machine_whose_clock_is_behind_does_nothing_that_is_past(
    etl: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = add_task(etl, frequency="* * * * *")
    yesterday = settings.now() - timedelta(days=1)
    monkeypatch.setattr(settings, "now", lambda: yesterday)
    run = Run(Path("probe.py"), [], Call(task=task, scheduled_at=yesterday.replace(second=0)), "", None, yesterday)
    told = f"its slot is past: it is due at {yesterday:%Y-%m-%d %H:%M}, and by the database's clock it is "
    with etl.connect() as connection:
        claim = cast("Claim", SimpleNamespace(ask=lambda question: question(connection)))
        with pytest.raises(
            turn.NotNow, match=f"^{told}.*; correct the clock that is wrong: sudo timedatectl set-ntp true$"
        ):
            turn.in_its_slot(claim, run)


def test_a_lock_whose_holder_only_finds_its_slot_taken_keeps_no_slot_away(project_copy: Installation) -> None:
    """The other machine is late with the slot before, and gone before its own start for this one."""
    add_job(project_copy, "return 0")
    task = add_task(project_copy)
    with project_copy.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtextextended('etl job probe.py', 0))")
        mine = start(project_copy, "--scheduled-at", SLOT, "--task", str(task), "probe.py")
        wait_until(project_copy, LOCKS, 3)  # this one, its own, and its place
        cursor.execute("SELECT pg_advisory_unlock_all()")
    assert mine.communicate(timeout=60) is not None
    assert rows(project_copy) == [("Succeeded", 0, 1)]
