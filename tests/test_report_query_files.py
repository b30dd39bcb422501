"""A report's SQL in a file of the checkout: which files may be named, and what is said of those that cannot be used."""

import json
import os
from pathlib import Path

import pytest
from conftest import Installation
from smtp_server import MailServer
from test_report_delivery import A, add_report, mail, send

from systemscripts import settings
from systemscripts.doctor.reports import reports
from systemscripts.reporting.model import Query, ReportError
from systemscripts.reporting.query_files import MOST_BYTES, sql_of
from systemscripts.reporting.rows import report_of

__all__ = ["mail"]

WEEK = "file:datasets_of_the_week.sql"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for folder in ("own/reports", "onboarding/sql/reports"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setattr(settings, "project_dir", lambda: tmp_path)
    return tmp_path


def test_a_query_is_sql_or_the_name_of_a_file(checkout: Path) -> None:
    (checkout / "onboarding/sql/reports/a.sql").write_text("SELECT 'system'")
    assert sql_of("SELECT 'file:a.sql'") == "SELECT 'file:a.sql'"
    assert sql_of("file:a.sql") == sql_of(" file: a.sql\n") == "SELECT 'system'"
    (checkout / "own/reports/a.sql").write_bytes(b"\xef\xbb\xbfSELECT 'own'")
    assert sql_of("file:a.sql") == "SELECT 'own'"


def test_every_place_of_a_query_takes_a_file(checkout: Path) -> None:
    (checkout / "own/reports/a.sql").write_text("SELECT 1")
    charts = {"c": {"query": "file:a.sql"}}
    files = [{"name": "x.csv", "query": "file:a.sql", "attach_empty": True}]
    row = (
        7,
        "S",
        1,
        "S",
        "",
        "",
        {"g": "file:a.sql"},
        True,
        files,
        charts,
        None,
        "@daily",
        0,
        None,
        None,
        "skip",
        None,
        "",
    )
    report = report_of(row)
    assert report.queries == (
        Query("g", "SELECT 1", file="a.sql"), Query("c", "SELECT 1", file="a.sql"), Query("x.csv", "SELECT 1", True, file="a.sql"),
    )  # fmt: skip
    missing = (*row[:6], {"g": "file:b.sql"}, *row[7:])
    with pytest.raises(
        ReportError, match=r"^report 7 \(S\): query g: there is no file b\.sql in own/reports or onboarding/sql/rep"
    ):
        report_of(missing)


@pytest.mark.parametrize(
    "name", ["", "../a.sql", "/etc/passwd", "x/a.sql", "a.txt", ".a.sql", "a\x00.sql", "..", "a.sql\n-- x", "ä.sql"]
)
def test_no_other_path_can_be_named(checkout: Path, name: str) -> None:
    (checkout / "own/a.sql").write_text("SELECT 1")
    with pytest.raises(ReportError, match="is not the name of a file such as sales.sql in own/reports or onboarding"):
        sql_of(f"file:{name}")


def test_what_is_no_plain_file_of_the_folder_is_refused(checkout: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.sql"
    outside.write_text("SELECT 1")
    own = checkout / "own/reports"
    (own / "link.sql").symlink_to(outside)
    (own / "dangling.sql").symlink_to("nothing")
    (own / "folder.sql").mkdir()
    os.mkfifo(own / "pipe.sql")
    for name, kind in (("link", "a link"), ("dangling", "a link"), ("folder", "a directory"), ("pipe", "a pipe")):
        with pytest.raises(
            ReportError, match=f"^the file own/reports/{name}.sql is {kind}; put the file itself there$"
        ):
            sql_of(f"file:{name}.sql")


def test_a_folder_that_is_a_link_is_refused(checkout: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a.sql").write_text("SELECT 1")
    (checkout / "own/reports").rmdir()
    (checkout / "own/reports").symlink_to(elsewhere)
    with pytest.raises(ReportError, match="own/reports/a.sql is reached by a link; make own/reports a directory of"):
        sql_of("file:a.sql")


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (b"", 0o644, "is empty; it must be one single SELECT"),
        (b" \n", 0o644, "is empty"),
        (b"SELECT '\xe4'", 0o644, "is not in UTF-8: .* at byte 8"),
        (b"SELECT '\0'", 0o644, "is no text"),
        (b"SELECT 1 " + b" " * MOST_BYTES, 0o644, "has more than 1,000,000 bytes"),
        (b"SELECT 1", 0o646, "can be written by everybody; read it, then: chmod o-w .*/own/reports/a.sql$"),
        (b"SELECT 1", 0o000, "cannot be read: Permission denied"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_reason(
    checkout: Path, content: bytes, mode: int, said: str
) -> None:
    file = checkout / "own/reports/a.sql"
    file.write_bytes(content)
    file.chmod(mode)
    if not mode and os.access(file, os.R_OK):
        pytest.skip("root may read everything")
    with pytest.raises(ReportError, match=f"^the file own/reports/a.sql {said}"):
        sql_of("file:a.sql")


def test_a_file_of_another_user_is_refused(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / "own/reports/a.sql").write_text("SELECT 1")
    stat = Path.stat
    other = type("Status", (), {"st_uid": os.geteuid() + 1})()
    monkeypatch.setattr(Path, "stat", lambda path, **more: other if path == checkout else stat(path, **more))
    if os.geteuid() == 0:
        pytest.skip("root's files are trusted")
    with pytest.raises(
        ReportError, match="the file own/reports/a.sql belongs to .*; read it, then: sudo chown .*/own/reports/a.sql$"
    ):
        sql_of("file:a.sql")


def test_a_report_with_its_sql_in_a_file_is_sent_as_the_role_that_only_reads(
    etl: Installation, mail: MailServer
) -> None:
    report = add_report(etl, A, emailbodyqueries=f'{{"grid1": "{WEEK}"}}')
    done = send(etl, mail, report)
    assert done.returncode == 0, done.stderr
    (sent,) = mail.received
    assert sent.recipients == [A]
    assert "no rows" in sent.message.get_body(("html",)).get_content()


def test_a_preview_says_what_is_wrong_with_the_file(etl: Installation, mail: MailServer, tmp_path: Path) -> None:
    report = add_report(etl, emailbodyqueries='{"grid1": "file:../../secrets.sql"}')
    done = send(etl, mail, report, "--preview", str(tmp_path / "r.html"))
    assert done.returncode == 1
    assert "query grid1: file:'../../secrets.sql' is not the name of a file such as sales.sql" in done.stderr


def test_the_doctor_says_of_each_report_which_file_is_not_one_query(etl: Installation, checkout: Path) -> None:
    no_query = "failed: it must be one single SELECT"
    contents = {
        "two": ("SELECT 1; SELECT 2", f"query grid1 (two.sql) {no_query}"),
        "nothing": ("-- nothing", f"query grid1 (nothing.sql) {no_query}"),
        "psql": ("\\set x 1", 'query grid1 (psql.sql) failed: syntax error at or near "\\"'),
        "column": ("SELECT x FROM dba.tdataset", 'query grid1 (column.sql) failed: column "x" does not exist'),
        "missing": (
            None,
            f"query grid1: there is no file missing.sql in own/reports or onboarding/sql/reports of {checkout}",
        ),
        "good": ("SELECT 1; -- with a semicolon", ""),
    }
    numbers = {}
    for name, (content, _) in contents.items():
        queries = {"grid1": f"file:{name}.sql", "grid2": f"file:{name}.sql"}
        numbers[name] = add_report(etl, reportname=name, emailbodyqueries=json.dumps(queries))
        if content is not None:
            (checkout / f"own/reports/{name}.sql").write_text(content)

    found = [finding for finding in reports() if finding.state == "failed"]

    for name, (content, said) in contents.items():
        told = [finding.told for finding in found if f" {numbers[name]} --preview report.html" in finding.cure]
        # The second query is looked at also where the first one is wrong; a row whose file is missing is looked at no further.
        expected = [said, said.replace("grid1", "grid2")][: 2 if content else 1] if said else []
        assert [text.partition(f"report {numbers[name]} ({name}): ")[2] for text in told] == expected
    etl.query("DELETE FROM dba.treportmanager WHERE reportname <> 'good'")
    assert [(finding.state, finding.told) for finding in reports()] == [
        ("ok", "1 active, their rows can be used; with SQL in files: 1")
    ]
