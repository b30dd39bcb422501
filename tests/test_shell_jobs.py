"""Clean-ups delete what is named and nothing else."""

import time

import pytest
from conftest import Installation, aged


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("false", "stopped at line 4 of probe.sh: status 1"),
        ("main() {\n  (exit 3)\n}\nmain", "stopped at line 5 of probe.sh: status 3"),
        ("echo no such list >&2; false", "no such list"),
        ("set +e; false; true; exit 5", "it said nothing on stderr"),
        ("if false; then :; fi; false || true", None),
    ],
)
def test_a_job_that_ends_without_a_word_says_at_which_line(
    project_copy: Installation, body: str, reason: str | None
) -> None:
    job = project_copy.project / "jobscripts/probe.sh"
    job.write_text(
        f'#!/usr/bin/env bash\nset -euo pipefail\nsource "$ETL_PROJECT/env.sh"; through_the_door "$@"\n{body}\n'
    )
    done = project_copy.door("probe.sh")
    assert (done.returncode == 0) is (reason is None)
    assert project_copy.query("SELECT reason FROM dba.tjobrun") == [(reason,)]


def test_the_log_clean_up_takes_old_logs_and_nothing_else(etl: Installation) -> None:
    logs = etl.home / "logs"
    gone = [aged(logs / "a_job_20260101.txt", 7.1), aged(logs / "-rf_20260101.csv", 30)]
    gone += [aged(logs / f"a_job_20260101T050000.{ending}", 8) for ending in ("txt", "csv", "log")]
    gone.append(aged(logs / "send_reports.log_20260101", 8))
    kept = [
        aged(logs / "a_job_20260102T050000.log", 6.9),
        aged(logs / "send_reports.log_20260102", 6.9),
        aged(logs / "a_job_20260102.txt", 6.9),
        aged(logs / "notes.txt", 90),
        aged(logs / ".hidden_20260101.txt", 90),
        aged(logs / "sub/a_job_20260101.txt", 90),
        aged(etl.home / "a_job_20260101.txt", 90),
    ]
    link = logs / "link_20260101.txt"
    link.symlink_to(kept[-1])
    dry = etl.door("weekly_cleanup_logs.sh", "--dry-run")
    assert dry.returncode == 0
    assert all(f"would delete {path}" in dry.stdout for path in gone)
    assert all(path.exists() for path in gone)
    printed = aged(logs / "etl_cron.log", 0)
    result = etl.door("weekly_cleanup_logs.sh")
    assert result.returncode == 0
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in [*kept, link])
    # What cron's jobs print goes on in a new file.
    assert not printed.exists()
    assert (logs / f"etl_cron_{time.strftime('%Y%m%d')}.txt").read_text() == "x"


def test_the_file_clean_up_takes_old_meetmax_files_from_the_archive(etl: Installation) -> None:
    gone = [
        aged(etl.home / "archive/20260101T050000_MeetMax_119243.xls", 8),
        aged(etl.home / "archive/20260101T050000_MeetMax_119243.2.xls", 8),
        aged(etl.home / "archive/20260101T190000_MeetMaxURLCheck.csv", 8),
    ]
    kept = [
        aged(etl.home / "archive/clients_20260101.csv", 90),
        aged(etl.home / "archive/20260101T050000_MeetMax_1.xls", 1),
    ]
    dry = etl.door("weekly_cleanup_meetmaxevents.sh", "--dry-run")
    assert sorted(dry.stdout.splitlines()) == sorted(f"would delete {path}" for path in gone)
    assert etl.door("weekly_cleanup_meetmaxevents.sh").returncode == 0
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in kept)


def test_the_file_clean_up_looks_in_the_archives_of_the_meetmax_imports_below_the_archive(etl: Installation) -> None:
    name = "20260101T050000_MeetMax_119243.xls"
    adopted = etl.home / "archive/meetmax $(touch x)'s"
    gone = aged(adopted / name, 8)
    kept = [
        aged(adopted / "20260102T050000_MeetMax_1.xls", 6.9),
        aged(adopted / "sub" / name, 8),
        aged(adopted / "other.csv", 90),
    ]
    kept += [aged(etl.home / "elsewhere" / name, 8), aged(etl.home / "archive/not_named" / name, 8)]
    (etl.home / "archive/way_out").symlink_to(etl.home / "elsewhere")
    for number, directory in ((1, adopted), (2, etl.home / "archive/way_out")):
        etl.query("UPDATE dba.timportconfig SET archive_directory = %s WHERE config_id = %s", str(directory), number)

    result = etl.door("weekly_cleanup_meetmaxevents.sh")

    assert result.returncode == 0, result.stderr
    assert not gone.exists()
    assert all(path.exists() for path in kept)


RUNS = """
    INSERT INTO dba.tjobrun (run_uuid, job, status, started_at, ended_at)
    SELECT gen_random_uuid(), 'x.py', 'Succeeded', t, t
    FROM generate_series(now() - interval '20 days', now() - interval '%s days', interval '1 day') AS t
"""


@pytest.mark.parametrize(("last_run", "status"), [(1, 0), (3, 0), (5, 75)])
def test_nothing_is_deleted_for_its_age_after_the_clock_leapt(etl: Installation, last_run: int, status: int) -> None:
    old = aged(etl.home / "logs/a_job_20260101.txt", 30)
    etl.query(RUNS, last_run)

    result = etl.door("weekly_cleanup_logs.sh")

    assert result.returncode == status
    assert old.exists() == (status == 75)
    assert ("the clock may be wrong" in result.stderr) == (status == 75)
    assert etl.door("weekly_cleanup_logs.sh", "--dry-run").returncode == 0


def test_a_clock_that_was_wrong_and_was_set_back_is_right(etl: Installation) -> None:
    old = aged(etl.home / "logs/a_job_20260101.txt", 30)
    etl.query(RUNS, 0)
    etl.query(
        "UPDATE dba.tjobrun SET started_at = '2099-01-01', ended_at = '2099-01-01' WHERE started_at > now() - interval '1 day'"
    )

    assert etl.door("weekly_cleanup_logs.sh").returncode == 0
    assert not old.exists()


@pytest.mark.parametrize(
    "arguments",
    [("", "*", "7"), ("/", "*", "7"), ("/tmp", "*", "7"), ("/tmp/..", "*", "7"), ("logs", "*", "7"), ("/nonexistent/a", "*", "7"),
     ("HOME", "", "7"), ("HOME", "../*", "7"), ("HOME", "*", "-1"), ("HOME", "*", "soon"), ("HOME", "*"), ("HOME", "*", "7", "more")],
)  # fmt: skip
def test_a_clean_up_refuses_what_is_not_named_clearly(etl: Installation, arguments: tuple[str, ...]) -> None:
    witness = aged(etl.home / "witness", 90)
    result = etl.door("delete_old_files.sh", *(str(etl.home) if word == "HOME" else word for word in arguments))
    assert result.returncode == 64
    assert witness.exists()
