"""What is due when, over all rows, and the job that writes the cron file."""

import argparse
import contextlib
import importlib.util
import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from zoneinfo import TZPATH, ZoneInfo

import pytest
from needs import missing

from systemscripts import settings
from systemscripts.cron import cron_file, slots
from systemscripts.cron.cron_file import REPORT_TABLE, TASK_TABLE, ScheduledJob
from systemscripts.errors import JobError
from systemscripts.schedule import timetable
from systemscripts.user_utils import current_user

NEW_YORK = ZoneInfo("America/New_York")
MIDNIGHT = datetime(2026, 3, 6, tzinfo=NEW_YORK)

DOWNLOAD = ScheduledJob(TASK_TABLE, 1, "Download", "0 5,17 * * 1-5", "run_download_and_import.sh")
BACKUP = ScheduledJob(TASK_TABLE, 2, "Backup", "0 3 * * *", "daily_backup.sh")
REPORT = ScheduledJob(REPORT_TABLE, 1, "Changes", "0 5 * * *", "send_reports.py", "1")


def times(slots: list[timetable.Slot]) -> list[str]:
    return [f"{slot.time:%m-%d %H:%M} {slot.job.name}" for slot in slots]


class StubCursor:
    """Answers the two queries with rows as psycopg2 does."""

    def __init__(self) -> None:
        self.rows: list[tuple] = []

    def __enter__(self) -> "StubCursor":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def execute(self, query: str, values: tuple) -> None:
        assert values == (1,)
        tasks = [(1, "Download", "0 5,17 * * 1-5", "run_download_and_import.sh", "", "")]
        self.rows = tasks if "dba.tscheduler" in query else [(1, "Changes", "0 5 * * *")]

    def fetchall(self) -> list[tuple]:
        return self.rows


class StubConnection(contextlib.nullcontext):
    def cursor(self) -> StubCursor:
        return StubCursor()


def test_active_rows_of_both_tables_become_jobs(monkeypatch: pytest.MonkeyPatch):
    @contextlib.contextmanager
    def session() -> Iterator[StubConnection]:
        yield StubConnection()

    monkeypatch.setattr(timetable.db_config, "session", session)

    assert timetable.active_jobs() == [DOWNLOAD, REPORT]


def test_upcoming_runs_of_all_jobs_come_in_order_of_time():
    found = timetable.upcoming([REPORT, DOWNLOAD, BACKUP], MIDNIGHT, 7, NEW_YORK)

    assert times(found) == [
        "03-06 03:00 Backup",
        "03-06 05:00 Changes",
        "03-06 05:00 Download",
        "03-06 17:00 Download",
        "03-07 03:00 Backup",
        "03-07 05:00 Changes",
        "03-08 03:00 Backup",
    ]


def test_both_hours_of_a_repeated_one_are_in_order():
    hourly = ScheduledJob(TASK_TABLE, 3, "Hourly", "10 * * * *", "x.sh")
    often = ScheduledJob(TASK_TABLE, 4, "Often", "*/30 * * * *", "x.sh")
    after = datetime(2026, 11, 1, 1, 0, tzinfo=NEW_YORK)

    found = timetable.upcoming([hourly, often], after, 5, NEW_YORK)

    assert [(f"{slot.time:%H:%M %Z}", slot.job.name) for slot in found] == [
        ("01:10 EDT", "Hourly"),
        ("01:30 EDT", "Often"),
        ("01:00 EST", "Often"),
        ("01:10 EST", "Hourly"),
        ("01:30 EST", "Often"),
    ]


def test_expected_slots_begin_after_the_start_and_include_the_end():
    start, end = datetime(2026, 3, 6, 5, tzinfo=NEW_YORK), datetime(2026, 3, 8, 5, tzinfo=NEW_YORK)

    found = timetable.expected_slots(REPORT, start, end, NEW_YORK)

    assert times(found) == ["03-07 05:00 Changes", "03-08 05:00 Changes"]


def test_the_changes_of_the_clock_are_found_to_the_second():
    found = list(timetable.clock_changes(datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC), NEW_YORK))

    assert [time.isoformat() for time in found] == ["2026-03-08T03:00:00-04:00", "2026-11-01T01:00:00-05:00"]
    assert list(timetable.clock_changes(found[0], found[0] + timedelta(days=3), NEW_YORK)) == []
    assert list(timetable.clock_changes(MIDNIGHT, MIDNIGHT + timedelta(days=400), UTC)) == []


def test_crons_time_zone_is_the_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    zone_files = [Path(directory) / "America/New_York" for directory in TZPATH]
    existing = next((file for file in zone_files if file.exists()), None)
    if existing is None:
        missing("this machine has no time zone files", "tzdata")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    local_time = tmp_path / "localtime"
    local_time.symlink_to(existing)

    zone = slots.cron_zone(local_time)

    assert str(zone) == "America/New_York"
    assert datetime(2026, 7, 1, tzinfo=zone).utcoffset() == timedelta(hours=-4)
    assert slots.cron_zone(tmp_path / "none") is UTC


# ---- update_cron_jobs.py -------------------------------------------------------------------


@pytest.fixture(scope="module")
def job() -> ModuleType:
    script = Path(__file__).parent.parent / "jobscripts" / "update_cron_jobs.py"
    specification = importlib.util.spec_from_file_location("update_cron_jobs", script)
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[ScheduledJob]:
    """Give the job these rows, a cron file below tmp_path, and Friday before New York's spring change."""
    rows = [DOWNLOAD, BACKUP, REPORT]
    monkeypatch.setattr(timetable, "active_jobs", lambda: rows)
    monkeypatch.setattr(slots, "cron_zone", lambda: NEW_YORK)
    monkeypatch.setattr(cron_file, "find_script", Path)
    monkeypatch.setenv("ETL_CRON_FILE", str(tmp_path / "etl_jobs"))
    monkeypatch.setenv("ETL_CRON_USER", current_user())
    monkeypatch.setenv("ETL_CLOCK", "2026-03-07T16:00:00-05:00")
    return rows


def run(job: ModuleType, *arguments: str) -> int:
    parser = argparse.ArgumentParser()
    job.add_arguments(parser)
    return job.main(parser.parse_args(arguments))


def test_it_writes_the_file_and_then_finds_it_right(job: ModuleType, rows: list[ScheduledJob]):
    assert run(job, "--check") == 1
    assert run(job) == 0
    assert settings.cron_file().read_text().count("run_python_etl_script.sh") == 3
    assert run(job, "--check") == 0


def test_check_fails_after_a_row_was_changed_and_diff_shows_it(
    job: ModuleType, rows: list[ScheduledJob], capsys: pytest.CaptureFixture[str]
):
    run(job)
    rows.remove(BACKUP)

    assert run(job, "--check") == 1
    assert run(job, "--diff") == 0
    assert "\n-# Backup\n-0 3 * * * " in capsys.readouterr().out
    assert "daily_backup.sh" in settings.cron_file().read_text()


def test_dry_run_prints_the_file_and_writes_none(
    job: ModuleType, rows: list[ScheduledJob], capsys: pytest.CaptureFixture[str]
):
    assert run(job, "--dry-run") == 0
    assert capsys.readouterr().out == cron_file.render(rows, current_user())
    assert not settings.cron_file().exists()


@pytest.mark.parametrize("name", ["ETL_HOME", "ETL_LOGS_DIR"])
def test_no_file_of_cron_is_written_with_a_place_that_only_the_terminal_has(
    job: ModuleType, rows: list[ScheduledJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    monkeypatch.delenv("ETL_HOME", raising=False)
    monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    monkeypatch.setenv("ETL_CRON_FILE", "/etc/cron.d/etl_jobs")
    monkeypatch.setattr(cron_file, "install", lambda *_: pytest.fail("it was written"))

    for options in ([], ["--adopt"]):
        with pytest.raises(JobError) as refusal:
            run(job, *options)
        assert f"{name}={tmp_path / 'elsewhere'} is set in this terminal only" in str(refusal.value)
        assert str(refusal.value).endswith(f"or type: unset {name}; nothing was changed")
    assert run(job, "--dry-run") == 0
    assert str(tmp_path / "elsewhere") not in cron_file.command_for_root()


@pytest.mark.parametrize("option", [[], ["--check"], ["--dry-run"], ["--diff"]])
def test_one_bad_row_refuses_the_file_and_the_old_one_stays(
    job: ModuleType, rows: list[ScheduledJob], option: list[str]
):
    run(job)
    old = settings.cron_file().read_text()
    rows.append(ScheduledJob(TASK_TABLE, 9, "Broken", "0/15 * * * *", "daily_backup.sh"))

    with pytest.raises(JobError, match=r"dba\.tscheduler 9 'Broken'"):
        run(job, *option)

    assert settings.cron_file().read_text() == old


def test_list_prints_local_time_and_utc_and_the_change_of_the_clock(
    job: ModuleType, rows: list[ScheduledJob], capsys: pytest.CaptureFixture[str]
):
    rows.append(ScheduledJob(TASK_TABLE, 5, "At start", "@reboot", "daily_backup.sh"))

    assert run(job, "--list", "4") == 0

    heading, change, *runs = capsys.readouterr().out.splitlines()
    assert ("Sat 2026-03-07 16:00 EST" in heading, "America/New_York" in heading) == (True, True)
    assert re.match("-- Sun 2026-03-08: .* 01:59:59 EST to 03:00 EDT$", change)
    assert runs == [
        "Sun 2026-03-08 03:00 EDT  2026-03-08 07:00 UTC  dba.tscheduler 2 'Backup'",
        "Sun 2026-03-08 05:00 EDT  2026-03-08 09:00 UTC  dba.treportmanager 1 'Changes'",
        "Mon 2026-03-09 03:00 EDT  2026-03-09 07:00 UTC  dba.tscheduler 2 'Backup'",
        "Mon 2026-03-09 05:00 EDT  2026-03-09 09:00 UTC  dba.tscheduler 1 'Download'",
        "at every start of the machine  dba.tscheduler 5 'At start'",
    ]


def test_list_names_a_bad_row_and_shows_the_others(
    job: ModuleType, rows: list[ScheduledJob], capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    rows.append(ScheduledJob(TASK_TABLE, 9, "Broken", "61 * * * *", "daily_backup.sh"))

    assert run(job, "--list", "1") == 1
    assert "'Backup'" in capsys.readouterr().out
    assert "dba.tscheduler 9 'Broken': '61 * * * *'" in caplog.text


def test_it_warns_of_what_cron_takes_differently(
    job: ModuleType, rows: list[ScheduledJob], caplog: pytest.LogCaptureFixture
):
    rows[:] = [
        ScheduledJob(TASK_TABLE, 6, "Never", "0 22-2 * * *", "daily_backup.sh"),
        ScheduledJob(TASK_TABLE, 7, "Third Saturday", "0 5 * * 6#3", "daily_backup.sh"),
    ]

    assert run(job) == 0

    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    never, third = (warning for warning in warnings if "is set in this terminal only" not in warning)
    assert re.match(r"dba.tscheduler 6 'Never' .*never run: .*'0 22-2 \* \* \*'$", never)
    assert re.match(r"dba.tscheduler 7 'Third Saturday': .*ignores '#3' .*'0 5 \* \* 6#3'$", third)


def test_it_warns_of_an_empty_schedule(job: ModuleType, rows: list[ScheduledJob], caplog: pytest.LogCaptureFixture):
    rows.clear()

    assert run(job) == 0
    assert "holds no job" in caplog.text
