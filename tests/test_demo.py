"""The whole pipeline: two demonstration days through the real jobs, by the quick start."""

import os
import subprocess
import sys
from collections import Counter
from datetime import date

import pytest
from conftest import PROJECT, Installation, clean_environment, home_is, server_home
from needs import not_as_root

from systemscripts import embedded_postgres
from systemscripts.importing.files import TAKEN
from systemscripts.importing.header import column_names

sys.path.append(str(PROJECT / "onboarding/demo"))
import meetmax_site

pytestmark = pytest.mark.slow


def demo_days(etl: Installation) -> dict[int, date]:
    """Return the last business day up to today as day 2, and the one before it."""
    (days,) = etl.query(
        "SELECT previous_business_date, fulldate FROM dba.tcalendardays"
        " WHERE isbusday AND fulldate <= current_date ORDER BY fulldate DESC LIMIT 1"
    )
    return dict(enumerate(days, start=1))


def in_table(etl: Installation, day: date) -> dict[str, Counter[tuple[tuple[str, str], ...]]]:
    """Return each event's rows of a day as column → text, without what is NULL."""
    columns = [
        name
        for (name,) in etl.query(
            "SELECT column_name FROM information_schema.columns WHERE table_name = 'vmeetmaxevent' ORDER BY ordinal_position"
        )
    ]
    found: dict[str, Counter[tuple[tuple[str, str], ...]]] = {}
    rows = etl.query(
        "SELECT d.label, e.* FROM public.vmeetmaxevent e JOIN dba.tdataset d USING (datasetid) WHERE d.datasetdate = %s",
        day,
    )
    for label, *values in rows:
        cells = {name: value for name, value in zip(columns, values, strict=True) if value is not None}
        for name in ("tmeetmaxeventid", "datasetid", "datasetdate", "datasetlabel"):
            del cells[name]
        found.setdefault(label, Counter())[tuple(sorted(cells.items()))] += 1
    return found


def served(day: int) -> dict[str, Counter[tuple[tuple[str, str], ...]]]:
    """Return what the site has in its files, under the columns' names."""
    truth: dict[str, Counter[tuple[tuple[str, str], ...]]] = {}
    for event_id, rows in meetmax_site.company_lists(day).items():
        for row in rows:
            cells = zip(column_names(list(row)), row.values(), strict=True)
            truth.setdefault(event_id, Counter())[tuple(sorted((name, text) for name, text in cells if text))] += 1
    return truth


def test_the_cron_file_is_previewed_and_not_written(etl: Installation) -> None:
    target = etl.home / "etl_jobs"
    result = etl.real_door("update_cron_jobs.py", "--dry-run", ETL_CRON_FILE=str(target), ETL_CRON_USER="root")
    assert result.returncode == 0, result.stderr
    lines = [
        line for line in result.stdout.splitlines() if "run_python_etl_script.sh" in line and not line.startswith("#")
    ]
    assert sorted(line.split(" root ")[0] for line in lines) == sorted(
        [
            "0 5,17 * * 1-5",
            "20 11 * * 1-5",
            "25 11 * * 1-5",
            "0 19 * * 5",
            "0 5 * * 0",
            "30 1 * * *",
            "0 2 * * 0",
            "0 2 * * 0",
            "0 3 * * *",
            "*/15 * * * *",
            "0 7 * * 1",
        ]
    )
    assert not target.exists()


def check_what_is_there(etl: Installation) -> None:
    """Compare database and directories with what the site served on two days."""
    days = demo_days(etl)
    for number, day in days.items():
        assert in_table(etl, day) == served(number)
    changes = etl.query("SELECT eventid, company_name, ticker, scenario FROM dba.f_get_event_changes(%s)", days[2])
    assert sorted(changes) == sorted(meetmax_site.expected_changes())

    for text in ("1530", "NA", "003984"):
        assert etl.value("SELECT count(*) FROM public.tmeetmaxevent WHERE ticker = %s", text) > 0
    assert etl.value(
        """SELECT count(*) FROM public.tmeetmaxevent WHERE company_name = 'Société "Lumière" Biotech, S.A.'"""
    )
    assert etl.value('SELECT max(length("company_description_(bio)")) FROM public.tmeetmaxevent') == 2700

    # Every run is closed, every file has its row and lies in the archive, nothing is left behind.
    assert etl.query("SELECT DISTINCT status FROM dba.tjobrun") == [("Succeeded",)]
    assert etl.value("SELECT count(*) FROM dba.timportfile WHERE archived_path IS NULL") == 0
    assert sorted(os.listdir(etl.home / "file_watcher")) == [TAKEN, "file_watcher_temp"]
    assert os.listdir(etl.home / "file_watcher/file_watcher_temp") == []
    downloads = dict(etl.query("SELECT status, count(*) FROM dba.tdownload GROUP BY status"))
    assert downloads.keys() == {"Downloaded", "Vanished"}
    assert sum(downloads.values()) == etl.value("SELECT count(*) FROM dba.timportfile WHERE config_id = 2")


@pytest.mark.begins_first
def test_the_quick_start_leaves_exactly_what_the_site_served_and_works_twice() -> None:
    if os.geteuid() == 0:
        not_as_root("the quick start does not run as root")
    home = server_home("quickstart")
    environment = clean_environment(ETL_HOME=str(home))
    with home_is(home):
        socket_dir = embedded_postgres.socket_dir()

    def quickstart() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/bash", str(PROJECT / "onboarding/sh/quickstart.sh")],
            env=environment, capture_output=True, text=True, check=False, cwd="/", timeout=280,
        )  # fmt: skip

    try:
        first, second = quickstart(), quickstart()
        assert first.returncode == 0, first.stderr
        assert second.returncode == 0, second.stderr
        etl = Installation(home, {"PGHOST": str(socket_dir), "PGDATABASE": "feeds"})
        check_what_is_there(etl)
        etl.leave()
    finally:
        subprocess.run(
            ["/bin/bash", str(PROJECT / "onboarding/sh/embedded_postgres.sh"), "stop"], env=environment, check=True
        )
    assert second.stdout.count("was loaded already") == 2
    for told in ("What is in the database now", "Where to look", "What to type next"):
        assert told in first.stdout
    assert (home / "demo/report_1.html").read_text().count("<table")
    assert "MeetMax Download and Import" in (home / "demo/etl_jobs.cron").read_text()
