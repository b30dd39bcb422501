"""Clean-ups delete what is named and nothing else; a backup is there whole or not at all; maintenance says what it did."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PROJECT, Installation, home_is, server_home, set_up

from systemscripts import embedded_postgres

DAY = 86_400


def aged(path: Path, days: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    moment = time.time() - days * DAY
    os.utime(path, (moment, moment))
    return path


def test_the_log_clean_up_takes_old_logs_and_nothing_else(etl: Installation) -> None:
    logs = etl.home / "logs"
    gone = [aged(logs / "a_job_20260101.txt", 7.1), aged(logs / "-rf_20260101.csv", 30)]
    kept = [
        aged(logs / "a_job_20260102.txt", 6.9),
        aged(logs / "etl_cron.log", 90),
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
    result = etl.door("weekly_cleanup_logs.sh")
    assert result.returncode == 0
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in [*kept, link])


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
    assert etl.door("weekly_cleanup_meetmaxevents.sh").returncode == 0
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in kept)


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


@pytest.fixture(scope="module")
def own_server() -> Iterator[Path]:
    """A server of this module's own: a backup takes every database, and other tests' come and go."""
    home = server_home(f"backups_{os.getpid()}")
    set_up(PROJECT, {}, home)
    yield home
    with home_is(home):
        embedded_postgres.stop()


@pytest.fixture
def backups(own_server: Path, tmp_path: Path) -> Installation:
    """An installation without PostgreSQL's variables, whose backups go to a folder of the test."""
    return Installation(tmp_path, {"ETL_HOME": str(own_server), "ETL_BACKUP_DIR": str(tmp_path / "backups")})


def test_a_backup_holds_every_database_and_the_roles_and_can_be_read(backups: Installation) -> None:
    result = backups.door("daily_backup.sh")
    assert result.returncode == 0, result.stderr
    (folder,) = (backups.home / "backups").iterdir()
    assert set(os.listdir(folder)) == {
        "feeds.dump",
        "feeds.manifest",
        "postgres.dump",
        "postgres.manifest",
        "globals.sql",
        "SHA256SUMS",
    }
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
    assert "CREATE ROLE etl_user" in (folder / "globals.sql").read_text()
    assert folder.stat().st_mode & 0o077 == 0


def test_a_backup_that_fails_leaves_nothing_and_deletes_nothing(backups: Installation) -> None:
    for day in range(1, 10):
        aged(backups.home / f"backups/2020010{day}T030000/feeds.dump", 400)
    # No file may grow beyond 64 KiB: the dump is cut as it would be on a full disk.
    door = f"ulimit -f 64; exec bash {PROJECT}/jobscripts/run_python_etl_script.sh daily_backup.sh"
    result = subprocess.run(
        ["bash", "-c", door], env=backups.environment(), capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "the dump of feeds failed; nothing was kept" in result.stderr
    assert not list((backups.home / "backups").glob("*.part"))
    assert len(list((backups.home / "backups").iterdir())) == 9


def test_old_backups_go_after_a_good_one_but_never_the_newest_or_foreign_ones(backups: Installation) -> None:
    for name in [*(f"2020010{day}T030000" for day in range(1, 9)), "mine"]:
        folder = aged(backups.home / f"backups/{name}/feeds.dump", 400).parent
        os.utime(folder, (time.time() - 400 * DAY,) * 2)
    result = backups.door("daily_backup.sh", ETL_BACKUP_KEEP_COUNT="3", ETL_BACKUP_KEEP_DAYS="30")
    assert result.returncode == 0, result.stderr
    left = sorted(path.name for path in (backups.home / "backups").iterdir())
    assert left[:2] == ["20200107T030000", "20200108T030000"]
    assert left[3:] == ["mine"]
