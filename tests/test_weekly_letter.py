"""The weekly letter: what it says of a year and of an empty installation, that mail programs show it, and that it is sent once."""

import argparse
import html.parser
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
import status_year
from conftest import Installation, give_way
from smtp_server import SILENCE, mail_server, odd_server

from jobscripts import send_weekly_letter
from systemscripts import db_config
from systemscripts.cron import cron_file
from systemscripts.status_page import letter, letter_parts, week

LARGEST = 102_000  # bytes, where Gmail cuts a mail
MONDAY = datetime(2026, 11, 23, 7, 0, tzinfo=UTC)
AT = {"ETL_CLOCK": MONDAY.isoformat()}


class Elements(html.parser.HTMLParser):
    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}

    def handle_data(self, data: str) -> None:
        self.text += data


def written(now: datetime = MONDAY, weeks_ago: int = 0) -> letter.Letter:
    with db_config.session() as connection:
        return letter.letter(connection, week.week_before(now, UTC, weeks_ago), now, UTC)


def fill(etl: Installation, *, is_hostile: bool = False) -> None:
    with etl.connect() as connection, connection.cursor() as cursor:
        status_year.fill(cursor.execute, etl.home, 60)
        if is_hostile:
            status_year.make_hostile(cursor.execute)


def row_of(text: str, section: str, name: str) -> list[str]:
    """Return the words of a row after its name."""
    part = text.split(f"\n{section.upper()}\n")[1]
    return re.search(rf"^{re.escape(name)} +(.*)$", part, re.MULTILINE)[1].split()  # type: ignore[index]


def test_it_says_what_the_ledgers_say_of_a_week(etl: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETL_PAGE_URL", "https://box.example/page.html")
    fill(etl)
    for change in (
        "tscheduler SET active_since = '2026-11-18 10:00+00', createddate = '2026-11-18 10:00+00' WHERE taskname = 'Job 9'",
        "tjobrun SET started_at = started_at + interval '40 minutes' WHERE arguments = '{Import_8}' AND scheduled_at::date = '2026-11-19'",
        "tjobrun SET ended_at = ended_at + interval '9 minutes' WHERE arguments = '{Import_7}' AND scheduled_at > '2026-11-16'",
        "tfeed SET datastatusid = 2 WHERE feedname = 'Feed 60'",
        "tfeed SET paused_since = '2026-09-01', paused_reason = 'no contract' WHERE feedname = 'Feed 60'",
        "timportconfig SET created_at = '2026-01-01'",
    ):
        etl.query(f"UPDATE dba.{change}")
    etl.query(
        "INSERT INTO dba.tfeed (feedname, config_id, due_by) SELECT 'A second one', config_id, '0 9 * * 1-5' FROM dba.timportconfig"
        " WHERE config_name = 'Import_12'"
    )
    told = written()
    assert told.subject.endswith("Bad: the week to Sun 22 Nov")
    assert "The status page: https://box.example/page.html" in told.text
    assert 'href="https://box.example/page.html"' in told.html

    begin, end = datetime(2026, 11, 16, tzinfo=UTC), datetime(2026, 11, 23, tzinfo=UTC)
    # Jobs: by slots. What failed stands first.
    for job in (1, 12):
        ended = dict(
            etl.query(
                "SELECT status, count(*) FROM dba.tjobrun WHERE arguments = %s AND scheduled_at >= %s AND scheduled_at < %s GROUP BY 1",
                [f"Import_{job}"], begin, end,
            )
        )  # fmt: skip
        assert row_of(told.text, "Jobs", f"Job {job}")[0] == str(ended["Succeeded"])
    assert row_of(told.text, "Jobs", "Job 8") == ["5", "1"]  # four in time, and one late
    # Feeds: lists, and by how many more or fewer than in the week before.
    came, former = (
        etl.value(
            "SELECT count(*) FROM dba.timportfile JOIN dba.tdataset USING (datasetid) JOIN dba.tfeed USING (config_id)"
            " WHERE datasetdate >= %s::date AND datasetdate < %s::date AND file_name <> 'with rejects.csv'"
            " AND feedname <> ALL ('{Feed 60,A second one}')",
            start, stop,
        )
        for start, stop in ((begin, end), ("2026-11-09", begin))
    )  # fmt: skip
    assert row_of(told.text, "Feeds and imports", "Feed 27")[:2] == ["4", "1"]  # of five days one is missing
    rows = etl.value(
        "SELECT sum(row_count) FROM dba.timportfile WHERE created_at >= %s AND created_at < %s AND status = 'Loaded'",
        begin,
        end,
    )
    assert f", with {rows:,} rows." in told.text  # each once, though an import has two feeds
    assert f"{came} lists came ({came - former:+,} to the week before)" in told.text
    assert "Job 7" in re.search(r"More than twice as long as in the 30 days before: (.*?)\.", told.text)[1]  # type: ignore[index]
    unused = told.text.partition("SET UP AND NEVER USED")[2]
    assert "feed Feed 60: it is paused since 2026-09-01: no contract" in " ".join(unused.split())
    assert "import MeetMaxURLCheckImport: it never loaded a file" in unused
    assert re.search(r"Wed 10:00: job Job 9: new, by postgres", told.text)


def test_mail_programs_show_it(etl: Installation) -> None:
    fill(etl, is_hostile=True)
    told = written()
    read = Elements(told.html)
    assert not read.tags & {"style", "script", "svg", "img", "link", "b.", "i>"}
    assert not [name for name in read.attributes if name.startswith("on") or name in ("class", "src")]
    assert "<script>alert(1)</script>" in read.text
    assert len(told.html.encode()) < LARGEST
    assert [line for line in told.text.split("\n") if len(line) > letter_parts.TEXT_WIDTH] == []
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x1b]", told.text + told.html)
    for heading in re.findall(r"<h2[^>]*>([^<]*)</h2>", told.html):
        assert heading.upper() in told.text


def test_an_empty_installation_has_a_short_letter(etl: Installation) -> None:
    for table in ("tscheduler", "treportmanager", "timportconfig"):
        etl.query(f"DELETE FROM dba.{table}")
    told = written(datetime.now(UTC))
    assert "Nothing was due" in told.text
    assert "No job was due." in told.text
    assert "There is none." in told.text
    assert "did not" not in told.text


def test_it_is_sent_once(etl: Installation, tmp_path: Path) -> None:
    with mail_server(tmp_path) as server:
        first = etl.door("send_weekly_letter.py", **AT, **server.variables)
        again = etl.door("send_weekly_letter.py", **AT, **server.variables)
        before = etl.door("send_weekly_letter.py", "--weeks-ago", "1", **AT, **server.variables)
    assert [run.returncode for run in (first, again, before)] == [0, 0, 0], first.stderr
    assert "was sent already" in again.stderr
    assert [str(mail.message["Subject"]).partition(": ")[2] for mail in server.received] == [
        "the week to Sun 22 Nov",
        "the week to Sun 15 Nov",
    ]
    text, html_part = server.received[0].message.iter_parts()
    assert (text.get_content_type(), html_part.get_content_type()) == ("text/plain", "text/html")


def test_a_run_that_is_killed_while_the_server_has_the_letter_does_not_send_it_again(
    etl: Installation, tmp_path: Path
) -> None:
    with odd_server(end=SILENCE) as odd:
        process = subprocess.Popen(
            ["/bin/bash", str(cron_file.door()), "send_weekly_letter.py"],
            env=etl.environment(**AT, **odd.variables),
            stderr=subprocess.DEVNULL,
        )
        while "data" not in odd.commands:
            give_way()
        process.kill()
        process.wait(timeout=30)
    with mail_server(tmp_path) as server:
        while etl.door("send_weekly_letter.py", **AT, **server.variables).returncode == 75:  # the killed one's session
            give_way()
    assert server.received == []


def test_what_the_server_does_not_take_is_sent_by_the_next_start(etl: Installation, tmp_path: Path) -> None:
    with mail_server(tmp_path) as server:
        closed = {**server.variables, "SMTP_PORT": "1"}
        assert etl.door("send_weekly_letter.py", **AT, **closed).returncode == 75
        assert etl.door("send_weekly_letter.py", **AT, **server.variables).returncode == 0
    assert len(server.received) == 1


def test_a_later_attempt_tells_of_the_same_days(etl: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETL_CLOCK", "2026-11-24T00:20:00+00:00")
    monkeypatch.setenv("ETL_SCHEDULED_AT", MONDAY.isoformat())
    target = etl.home / "letter.html"
    send_weekly_letter.main(argparse.Namespace(weeks_ago=0, dry_run=False, output=target))
    assert "The week from Mon 16 Nov to Sun 22 Nov 2026" in target.read_text()


def test_it_can_be_read_without_being_sent(etl: Installation) -> None:
    result = etl.door("send_weekly_letter.py", "--dry-run", **AT)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("The week from Mon 16 Nov to Sun 22 Nov 2026 on ")
    target = etl.home / "letter.html"
    assert etl.door("send_weekly_letter.py", "--output", str(target), **AT).returncode == 0
    assert "<h1" in target.read_text()
    assert etl.door("send_weekly_letter.py", "--output", str(etl.home / "no/letter.html"), **AT).returncode == 1
    assert etl.door("send_weekly_letter.py", "--weeks-ago", "-1", **AT).returncode == 64
    quiet = etl.door("send_weekly_letter.py", **AT, ETL_ALERT_EMAIL="", ETL_EMAIL="")
    assert (quiet.returncode, "nobody gets the weekly letter" in quiet.stderr) == (0, True)
    assert etl.query("SELECT * FROM dba.tweeklyletter") == []
