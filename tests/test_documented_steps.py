"""The steps in docs/, done as they stand there: a feed, a report, an undo, a file repaired and loaded."""

import re
import subprocess
from pathlib import Path

import pytest
from conftest import PROJECT, Installation

PLACE = "/srv/feeds/branch_sales"


def blocks(page: str, language: str) -> list[str]:
    text = (PROJECT / "docs" / page).read_text()
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [block for of, block in found if of == language]


def sql(etl: Installation, statements: str, role: str = "etl_owner") -> str:
    result = subprocess.run(
        ["bash", str(PROJECT / "onboarding/sh/psql.sh"), "--as", role, "-X", "-v", "ON_ERROR_STOP=1", "-At", "-f", "-"],
        input=statements, env=etl.environment(), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


def door(etl: Installation, *arguments: str, status: int = 0) -> str:
    result = etl.door(*arguments)
    assert result.returncode == status, result.stdout + result.stderr
    return result.stdout + result.stderr


@pytest.fixture
def feed(etl: Installation, tmp_path: Path) -> Path:
    """The place of the feed of docs/feeds.md, its row made and its example put there."""
    for name in ("incoming", "archive"):
        (tmp_path / name).mkdir()
    sql(etl, blocks("feeds.md", "sql")[0].replace(PLACE, str(tmp_path)))
    (tmp_path / "incoming/sales_20261127.csv").write_bytes(blocks("feeds.md", "")[0].encode("cp1252"))
    return tmp_path


def test_the_feed_is_loaded_undone_and_reported(etl: Installation, feed: Path) -> None:
    rules = blocks("feeds.md", "sql")[1]
    newest = "SELECT * FROM public.vbranchsales_latest"
    assert newest in (PROJECT / "docs/feeds.md").read_text()
    assert "Would load, 2 rows" in door(etl, "run_import_job.py", "Branch_Sales", "--dry-run")
    sql(etl, rules)
    assert "Loaded, 2 rows" in door(etl, "run_import_job.py", "Branch_Sales")
    assert [line.split("|")[2:] for line in sql(etl, newest, "etl_user").splitlines()] == [
        ["München", "1234.56", "2026-11-27", "t", "2026-11-27", "all branches"],
        ["Köln", "-12.50", "2026-11-27", "f", "2026-11-27", "all branches"],
    ]

    # A wrong file of the same day; the former one is had back.
    (feed / "incoming/sales_20261127.csv").write_text("a\nb\nbranch;sales;day;open\nBonn;1,00;27.11.2026;no\n")
    door(etl, "run_import_job.py", "Branch_Sales")
    assert "Bonn" in sql(etl, newest, "etl_user")
    undo = re.search(r"^etl undo \d+ --reason \"(.*)\"$", (PROJECT / "docs/feeds.md").read_text(), re.MULTILINE)
    assert undo is not None
    wrong = etl.value("SELECT max(datasetid) FROM dba.tdataset WHERE isactive")
    assert "is active again" in door(etl, "undo_dataset.py", str(wrong), "--reason", undo[1])
    assert "Bonn" not in sql(etl, newest, "etl_user")

    # The report of these rows.
    report, readers, file, in_file, waits, client, folder = blocks("reports.md", "sql")
    number = sql(etl, report).splitlines()[0]
    preview = feed / "report.html"
    door(etl, "send_reports.py", number, "--preview", str(preview))
    assert "1,222.06" in preview.read_text()
    assert "Köln" in sql(etl, file, "etl_report")
    sql(etl, readers + waits + client + folder)
    sql(etl, (PROJECT / "onboarding/sql/samples/add_waiting_reports.sql").read_text())
    seen = door(etl, "send_reports.py", number, "--preview", str(preview))
    assert "planned for " in seen
    assert "no active task" not in seen
    sql(etl, in_file)
    named = "there is no file branch_sales.sql in own/reports"
    assert named in door(etl, "send_reports.py", number, "--preview", str(preview), status=1)


def test_a_refused_file_is_repaired_and_loaded(etl: Installation, feed: Path) -> None:
    sql(etl, blocks("feeds.md", "sql")[1])
    file = feed / "incoming/sales_20261127.csv"
    file.write_text("a\nb\nbranch;sales;day;open\nBonn;1,00;1.1.2027;no\n")
    assert "it is not a date of the form dd.MM.yyyy" in door(etl, "run_import_job.py", "Branch_Sales", status=1)
    refused = etl.home / "file_watcher/failed/Branch_Sales/sales_20261127.csv"
    refused.write_text(refused.read_text().replace("1.1.2027", "01.01.2027"))
    assert "Loaded, 1 rows" in door(etl, "retry_files.py", refused.name)


def test_a_column_comes_from_the_name_of_the_file(etl: Installation, feed: Path) -> None:
    sql(etl, blocks("feeds.md", "sql")[2])
    (feed / "incoming/sales_20261127.csv").rename(feed / "incoming/sales_20261127_MUC.csv")
    door(etl, "run_import_job.py", "Branch_Sales")
    assert etl.query("SELECT DISTINCT branch_code FROM public.vbranchsales") == [("MUC",)]


def test_the_statements_of_a_move_run(etl: Installation) -> None:
    sql(etl, "\n".join(blocks("administration.md", "sql")))
