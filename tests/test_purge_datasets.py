"""Rows of datasets that were replaced long ago go where the operator says so, and no others."""

import pytest
from conftest import Installation

NAME = "20260302T0{}0000_MeetMaxURLCheck.csv"


@pytest.fixture
def replaced(etl: Installation) -> Installation:
    """Three datasets of one key: the first two were replaced, 400 and 10 days ago."""
    for number in (1, 2, 3):
        (etl.home / "file_watcher" / NAME.format(number)).write_text(f"EventID,URL\n{number},u\n{number},v\n")
        assert etl.door("run_import_job.py", "1").returncode == 0
    etl.query("ALTER TABLE dba.tdataset DISABLE TRIGGER USER")
    for number, days in ((1, 400), (2, 10)):
        etl.query("UPDATE dba.tdataset SET effthrudate = now() - make_interval(days => %s) WHERE datasetid ="
                  " (SELECT datasetid FROM public.tmeetmaxurlcheck WHERE eventid = %s LIMIT 1)", days, str(number))  # fmt: skip
    etl.query("ALTER TABLE dba.tdataset ENABLE TRIGGER USER")
    return etl


def left(etl: Installation) -> list[str]:
    return [row[0] for row in etl.query("SELECT DISTINCT eventid FROM public.tmeetmaxurlcheck ORDER BY 1")]


def statuses(etl: Installation) -> list[str]:
    statement = (
        "SELECT s.statusname FROM dba.tdataset JOIN dba.tdatastatus AS s USING (datastatusid) ORDER BY datasetid"
    )
    return [row[0] for row in etl.query(statement)]


def test_nothing_goes_as_long_as_nobody_says_so(replaced: Installation):
    result = replaced.door("purge_datasets.py")

    assert result.returncode == 0
    assert "0 of 0 old" in result.stderr
    assert left(replaced) == ["1", "2", "3"]


def test_what_was_replaced_long_ago_goes_and_its_dataset_says_so(replaced: Installation):
    replaced.query("UPDATE dba.tdatasettype SET keep_inactive_days = 365")
    dry = replaced.door("purge_datasets.py", "--dry-run")
    assert "would delete 2 rows" in dry.stderr
    assert left(replaced) == ["1", "2", "3"]

    assert replaced.door("purge_datasets.py").returncode == 0
    again = replaced.door("purge_datasets.py")

    assert left(replaced) == ["2", "3"]
    assert statuses(replaced) == ["Deleted", "Inactive", "Active"]
    assert "0 of 0 old" in again.stderr
    assert replaced.value("SELECT count(*) FROM dba.timportfile WHERE status = 'Loaded'") == 3


def test_an_active_dataset_never_goes(replaced: Installation):
    replaced.query("UPDATE dba.tdatasettype SET keep_inactive_days = 1")

    assert replaced.door("purge_datasets.py").returncode == 0
    assert left(replaced) == ["3"]


def test_a_budget_that_is_spent_leaves_the_rest_to_the_next_run(replaced: Installation):
    replaced.query("UPDATE dba.tdatasettype SET keep_inactive_days = 1")

    result = replaced.door("purge_datasets.py", "--budget", "0")

    assert "0 of 2 old" in result.stderr
    assert left(replaced) == ["1", "2", "3"]


def test_it_says_of_each_where_its_file_is(replaced: Installation):
    replaced.query("UPDATE dba.tdatasettype SET keep_inactive_days = 1")
    gone, taken_back = (replaced.home / "archive" / NAME.format(number) for number in (1, 2))
    gone.unlink()
    assert replaced.door("undo_dataset.py", "2").returncode == 0

    lines = [line for line in replaced.door("purge_datasets.py", "--dry-run").stderr.splitlines() if "would" in line]

    in_failed = next((replaced.home / "file_watcher/failed").glob(f"*/{taken_back.name}"))
    assert [line.partition("; ")[2] for line in lines] == [
        f"its file is no longer there: {gone}",
        f"its file is {in_failed}",
    ]
