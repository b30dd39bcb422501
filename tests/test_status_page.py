"""The status page: what it says of a year, of hostile names, of an empty installation; and that anybody can read it."""

import base64
import hashlib
import html
import html.parser
import importlib.resources
import json
import os
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

import cloud_servers
import needs
import pytest
import status_year
from conftest import Installation
from ssh_server import running_server

from systemscripts import db_config, settings
from systemscripts.errors import TemporaryFailure
from systemscripts.exchange.sftp_client import Client
from systemscripts.schedule.promises import Calendar
from systemscripts.status_page import copying, overview
from systemscripts.status_page.rendering import render

LARGEST = 1_000_000  # bytes
WIDTH = 390  # pixels


class Read(html.parser.HTMLParser):
    """What a browser makes of the page: its text, its elements with an id, its links, and what could run or be fetched."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.handlers: list[str] = []
        self.text = ""
        self._hidden = 0
        self.feed(source)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._hidden += tag in ("style", "script")
        for name, value in attributes:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src", "action", "xlink:href"):
                self.links.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("style", "script")

    def handle_data(self, data: str) -> None:
        self.text += "" if self._hidden else data


def built(now: datetime = status_year.NOW) -> tuple[str, Read]:
    """Build the page as of a time, and read it."""
    with db_config.session() as connection:
        source = render(overview.TEMPLATE, overview.contents(connection, now, UTC))
    return source, Read(source)


def fill(etl: Installation, days: int) -> None:
    with etl.connect() as connection, connection.cursor() as cursor:
        status_year.fill(cursor.execute, etl.home, days)


def sentence_of(source: str) -> str:
    return html.unescape(re.search(r"<h1>.*?<span>(.*?)</span>", source, re.DOTALL)[1])  # type: ignore[index]


def test_it_says_what_the_ledgers_say(etl: Installation) -> None:
    fill(etl, 60)
    source, read = built()
    awaited = etl.value("SELECT sum(cardinality(labels)) FROM dba.tfeed")
    came = etl.value(
        "SELECT count(DISTINCT datasetid) FROM dba.tdataset WHERE datasetdate = %s", status_year.NOW.date()
    )
    bad, held = ('<span class="kind bad">failed</span>', '<span class="kind look">held</span>')
    assert sentence_of(source).startswith("24 of the 26 jobs due so far ran well, ")
    assert f", {came} of {awaited} lists came (3 held), " in sentence_of(source)
    assert (source.count(bad), source.count(held)) == (
        2,
        1 + 1,
    )  # three things of one kind that wait, and the feed's line of that day

    # Each failed run says what to type.
    runs = source[source.index('id="runs"') : source.index('id="files"')]
    assert runs.count("<details id=") == len(re.findall(r'<code class="type">[^<]*etl log \S', runs)) > 0

    # Each cell that is not blank leads to the line of its day, and the days name what did not come.
    assert set(read.links) <= {f"#{place}" for place in read.ids}
    assert len(read.ids) == len(set(read.ids))
    missing = etl.query(
        """
        SELECT f.feedname, day::date FROM dba.tfeed AS f, generate_series(%s::date - 20, %s::date, '1 day') AS day
        WHERE extract(isodow FROM day) < 6 AND day NOT IN (SELECT fulldate FROM dba.tcalendardays WHERE NOT isbusday)
          AND cardinality(labels) > (SELECT count(DISTINCT label) FROM dba.timportfile JOIN dba.tdataset USING (datasetid)
                                     WHERE config_id = f.config_id AND datasetdate = day)
        """,
        status_year.NOW.date(),
        status_year.NOW.date(),
    )
    assert len(missing) > 10
    for name, day in missing:
        heading = re.search(rf'id="d{day}">.*?</ul>', source, re.DOTALL)
        assert heading, day
        told = re.search(rf"missing</span> {name}: (.*?)</li>", heading[0])
        assert told, (name, day)
        # What the sender sent instead was refused.
        assert ("refused: list_" in told[1]) == (int(name.split()[1]) % 2 == 0), told[1]
    assert source.count('<td class="m">') >= len(missing)


def test_the_page_needs_nothing_and_runs_nothing_but_its_own_script(etl: Installation) -> None:
    fill(etl, 10)
    with etl.connect() as connection, connection.cursor() as cursor:
        status_year.make_hostile(cursor.execute)
    source, read = built()
    assert len(source.encode()) < LARGEST
    (script,) = re.findall(r"<script>(.*?)</script>", source, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in source
    assert "default-src 'none'" in source
    assert not read.handlers
    assert not read.tags & {"img", "iframe", "link", "object", "form", "base"}
    assert all(link.startswith("#") for link in read.links)
    assert source.count("<style>") == 1
    for name in status_year.HOSTILE[:2]:
        assert name in read.text
    assert "{{ 7 * 7 }}" in read.text
    assert "\\u202egpj.exe" in read.text
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x1b]", source)
    assert "x" * 400 not in source


def test_an_empty_installation_says_what_to_do(etl: Installation) -> None:
    for table in ("tscheduler", "treportmanager", "timportconfig"):
        etl.query(f"DELETE FROM dba.{table}")
    source, read = built()
    assert sentence_of(source).startswith("Nothing is scheduled, ")
    assert "etl suggest FILE" in read.text
    assert "etl cron write" in read.text


def test_what_comes_late_is_late_and_what_does_not_come_is_missing(etl: Installation) -> None:
    """A feed without a date: a file counts for the due time that it is nearer to."""
    fill(etl, 10)
    monday = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
    etl.query("UPDATE dba.tfeed SET for_date = NULL, labels = NULL WHERE feedname = 'Feed 3'")
    etl.query("UPDATE dba.tfeed SET active_since = '2026-01-01' WHERE feedname = 'Feed 3'")
    etl.query(
        "DELETE FROM dba.timportfile WHERE config_id = (SELECT config_id FROM dba.tfeed WHERE feedname = 'Feed 3')"
    )
    for day, hours in ((0, -1), (2, 2), (4, -1)):  # in time; on Tuesday nothing; late; Thursday is free; in time
        etl.query(
            """
            INSERT INTO dba.timportfile (config_id, file_name, sha256, status, datasetid, created_at)
            SELECT config_id, 'x.csv', encode(sha256(%s::text::bytea), 'hex'), 'Loaded', (SELECT min(datasetid) FROM dba.tdataset), %s
            FROM dba.tfeed WHERE feedname = 'Feed 3'
            """,
            f"{day}",
            monday + timedelta(days=day, hours=hours),
        )
    source, _ = built()
    row = re.search(r'<th scope="row" class="name">Feed 3</th>(.*?)</tr>', source, re.DOTALL)
    assert row
    states = dict(re.findall(r'href="#d(2026-11-2\d)" aria-label="([^"]*)"', row[1]))
    assert states == {
        "2026-11-20": "missing",
        "2026-11-23": "came",
        "2026-11-24": "missing",
        "2026-11-25": "late",
        "2026-11-27": "came",
    }

    # A day without a fault says whether a feed was due, and whether anybody watched.
    etl.query("DELETE FROM dba.tfeed WHERE feedname <> 'Feed 3'")
    etl.query("UPDATE dba.tfeed SET active_since = '2026-11-25'")
    etl.query(
        "UPDATE dba.tincident SET first_slot = NULL WHERE closed_at IS NULL AND kind <> 'held'"
    )  # the table allows it
    _, read = built()
    assert "Friday 27 November: all lists came in time." in read.text
    assert re.search(r"\w+day \d\d October to Tuesday 24 November: no due time was watched yet\.", read.text)


def test_what_an_import_adds_on_its_first_day_waits_for_nobody(etl: Installation) -> None:
    fill(etl, 10)
    moment = status_year.NOW - timedelta(hours=2)
    for column, name in (("of the first day", "Import_4"), ("of a later day", "Import_7")):
        etl.query(
            "INSERT INTO dba.timportdrift (config_id, file_name, column_name, kind, created_at)"
            " SELECT config_id, 'x.csv', %s, 'added', %s FROM dba.timportconfig WHERE config_name = %s",
            column,
            moment,
            name,
        )
    etl.query(
        "UPDATE dba.timportfile SET created_at = %s FROM dba.timportconfig AS c"
        " WHERE c.config_id = timportfile.config_id AND c.config_name = 'Import_4'",
        moment,
    )
    _, read = built()
    assert "of a later day (added)" in read.text
    assert "of the first day" not in read.text


def test_what_waits_leads_nowhere_if_its_run_is_older_than_what_the_page_shows(etl: Installation) -> None:
    fill(etl, 10)
    etl.query(
        "UPDATE dba.tjobrun SET started_at = started_at - interval '20 days', scheduled_at = NULL, slot = NULL"
        " WHERE run_uuid IN (SELECT run_uuid FROM dba.tincident)"
    )
    _, read = built()
    assert "failed Job" in " ".join(read.text.split())
    assert set(read.links) <= {f"#{place}" for place in read.ids}


def test_a_feed_that_is_due_each_minute_and_a_secret_in_what_a_job_printed(
    etl: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(etl, 10)
    etl.query("UPDATE dba.tfeed SET due_by = '* * * * *', for_date = NULL WHERE feedname IN ('Feed 1', 'Feed 2')")
    etl.query("UPDATE dba.tfeed SET active_since = '2026-01-01'")
    monkeypatch.setenv("ETL_EMAIL_PASSWORD", "hunter2hunter2")
    settings.conceal("hunter2hunter2")
    etl.query(
        "UPDATE dba.tjobrun SET output_tail = 'login hunter2hunter2', reason = 'no hunter2hunter2' WHERE status = 'Failed'"
    )
    looked_at: list[int] = []
    before = Calendar.before
    monkeypatch.setattr(Calendar, "before", lambda *arguments: looked_at.append(1) or before(*arguments))
    source, _ = built()
    assert "hunter2" not in source
    # Each look back takes as long as some thousand due times.
    assert len(looked_at) < 70
    cells = re.search(r'<th scope="row" class="name">Feed 1</th>(.*?)</tr>', source, re.DOTALL)
    assert cells
    assert "label 1, label 2" in re.findall(r'aria-label="missing" title="([^"]*)"', cells[1])[0]


def test_a_wrong_call_of_the_schedule_is_a_failed_run_and_one_by_hand_is_none(etl: Installation) -> None:
    at = status_year.NOW - timedelta(hours=1)
    etl.query(
        "INSERT INTO dba.tjobrun (run_uuid, job, schedulerid, started_at, ended_at, status, exit_code, reason)"
        " SELECT gen_random_uuid(), 'sftp_exchange.py', task, %s, %s, 'Failed', 64, told"
        " FROM (VALUES ((SELECT min(schedulerid) FROM dba.tscheduler), 'no row nobody'), (NULL, 'mistyped')) AS v (task, told)",
        at,
        at,
    )
    source, _ = built()
    assert "no row nobody" in source[source.index('id="runs"') :]
    assert "mistyped" not in source


def test_the_job_writes_the_file_whole_and_prints_where_it_is(etl: Installation) -> None:
    target = etl.home / "logs/status_page.html"
    target.write_text("the page of before")
    result = etl.door("build_status_page.py")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0] == str(target)
    assert target.read_text().rstrip().endswith("</html>")
    refused = etl.door("build_status_page.py", "--output", str(etl.home / "nowhere/page.html"))
    assert refused.returncode == 1
    assert "cannot be written to" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_each_new_page_is_copied_and_appears_whole(
    etl: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_server(tmp_path / "sshd") as sshd:
        (tmp_path / "known_hosts").write_text(sshd.known_host)
        (tmp_path / "web").mkdir()
        (tmp_path / ".ssh").mkdir(mode=0o700)
        shutil.copy(sshd.key, tmp_path / ".ssh/id_ed25519")
        target = tmp_path / "web/page.html"
        target.write_text("the page of before")
        place = f"sftp://{sshd.user}@127.0.0.1:{sshd.port}/{target}"
        variables = {
            "ETL_PAGE_COPY": place,
            "ETL_SFTP_KNOWN_HOSTS": str(tmp_path / "known_hosts"),
            "HOME": str(tmp_path),
        }
        result = etl.door("build_status_page.py", **variables)
        assert (result.returncode, result.stderr.count("warning")) == (0, 0), result.stderr
        page = Path(result.stdout.splitlines()[0])
        assert target.read_bytes() == page.read_bytes()
        assert [file.name for file in target.parent.iterdir()] == ["page.html"]

        before = target.read_bytes()
        page.unlink()
        refused = etl.door(
            "build_status_page.py", **{**variables, "ETL_PAGE_COPY": place.replace("page.html", "no/page.html")}
        )
        other = etl.door("build_status_page.py", **{**variables, "HOME": str(tmp_path / "sshd")})
        assert "was shown neither a key nor a password" in other.stderr
        assert "check the key in ~/.ssh of this user" in other.stderr

        def breaks_off(client: Client, file: IO[bytes], path: str) -> None:
            with client.open(path, "wb") as half:
                half.write(file.read(100))
            raise EOFError

        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with monkeypatch.context() as broken, pytest.raises(TemporaryFailure, match="the connection was cut"):
            broken.setattr(Client, "putfo", breaks_off)
            copying.copy(b"x" * 200)
        assert target.read_bytes() == before
        # A server without OpenSSH's extension.
        monkeypatch.setattr(Client, "posix_rename", Client.rename)
        copying.copy(before)
        assert [file.name for file in target.parent.iterdir()] == ["page.html"]
    away = etl.door("build_status_page.py", **variables)
    for result in (refused, other, away):
        assert result.returncode == 75, result.stderr
        assert len(re.findall("the page is built, but was not copied to sftp://", result.stderr)) == 1
        assert "Traceback" not in result.stderr
    assert page.read_text().rstrip().endswith("</html>")
    assert target.read_bytes() == before


def test_each_new_page_is_copied_by_rsync_and_appears_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs.need_programs("rsync")
    target = tmp_path / "the web/page.html"
    target.parent.mkdir()
    programs = tmp_path / "bin"
    programs.mkdir()
    with running_server(tmp_path / "sshd") as sshd:
        (tmp_path / "known hosts").write_text(sshd.known_host)
        # As a line of ~/.ssh/config would: the port, the key, and nothing of the tester's own.
        (programs / "ssh").write_text(f"#!/bin/bash\nexec /usr/bin/ssh -F none -p {sshd.port} -i '{sshd.key}' \"$@\"\n")
        (programs / "ssh").chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
        monkeypatch.setenv("ETL_SFTP_KNOWN_HOSTS", str(tmp_path / "known hosts"))
        place = f"rsync:{sshd.user}@127.0.0.1:{target}"
        monkeypatch.setenv("ETL_PAGE_COPY", place)
        for page in (b"the first page", b"the next one"):
            assert copying.copy(page) == place
            assert target.read_bytes() == page
        assert (target.stat().st_mode & 0o777, os.listdir(target.parent)) == (0o644, ["page.html"])

        monkeypatch.setenv("ETL_PAGE_COPY", place.replace("the web", "no/where"))
        # When the other side ends first, rsync may lose what it said; then each try still fails.
        words = ""
        for _ in range(5):
            with pytest.raises(TemporaryFailure, match="was not copied to rsync:.*: rsync ended with [0-9]+: ") as told:
                copying.copy(b"x")
            words += str(told.value)
            if "No such file" in words:
                break
        assert "No such file" in words
        (tmp_path / "known hosts").write_text("")
        monkeypatch.setenv("ETL_PAGE_COPY", place)
        with pytest.raises(TemporaryFailure, match="Host key verification failed"):
            copying.copy(b"x")
    assert target.read_bytes() == b"the next one"


@pytest.mark.parametrize("kind", ["s3", "webdav"])
def test_each_new_page_is_copied_into_a_cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    cloud_servers.need_rclone()
    target = tmp_path / "served/web/page.html"
    target.parent.mkdir(parents=True)
    section = {"s3": cloud_servers.s3_section, "webdav": cloud_servers.webdav_section}[kind]
    monkeypatch.setenv("ETL_REMOTES_DIR", str(tmp_path / "remotes"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    monkeypatch.setenv("ETL_PAGE_COPY", "rclone:site/web/page.html")
    with cloud_servers.serving(kind, tmp_path / "served", tmp_path / "authority.pem") as address:
        cloud_servers.write_remote(tmp_path / "remotes", "site", section("site", address))
        for page in (b"the first page", b"the next one"):
            assert copying.copy(page) == "rclone:site/web/page.html"
            assert target.read_bytes() == page
        assert os.listdir(target.parent) == ["page.html"]
        monkeypatch.setenv("ETL_PAGE_COPY", "rclone:nosite/web/page.html")
        with pytest.raises(
            TemporaryFailure, match=r"not copied to rclone:nosite/web/page\.html: there is no remote nosite"
        ):
            copying.copy(b"x")
    assert target.read_bytes() == b"the next one"


@pytest.mark.parametrize(
    "place",
    [
        "sftp://me:secret-word@host/page.html",
        "https://host/page.html",
        "sftp://host/page.html",
        "sftp://me@host/",
        "sftp://me@-oX/\n",
        "rsync:web:page.html",
        "rsync:-oProxyCommand=x@web:page.html",
        "rsync:me:secret-word@web:page.html",
        "rsync:me@web:www/",
        "me@web:page.html",
        "rclone:web:page.html",
        "rclone:/page.html",
        "rclone:web,endpoint=x/page.html",
    ],
)
def test_a_place_for_the_copy_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setenv("ETL_PAGE_COPY", place)
    with pytest.raises(settings.SettingError, match="sftp_status_page.password") as refused:
        copying.copy(b"")
    assert "secret-word" not in str(refused.value)


def test_the_page_of_a_feed_says_what_it_promises_brought_and_feeds(etl: Installation) -> None:
    fill(etl, 10)
    etl.query(
        "CREATE FUNCTION dba.f_sums() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM dba.tjobrun -- of vkind1'"
    )
    etl.query(
        """
        INSERT INTO dba.treportmanager (reportname, frequency, subjectheader, toheader, hasattachment, emailbodytemplate, emailbodyqueries,
                                        datastatusid, attachmentqueries, deliver_to)
        VALUES ('Sums <b>', '0 9 * * *', 'Sums', 'reader@example.com', true, '{{sums}}', '{"sums": "SELECT dba.f_sums()"}', 1,
                '[{"name": "x.csv", "query": "SELECT 1"}]', 'acme/<i>weekly')
        """
    )
    result = etl.door("build_status_page.py", "feed 1", ETL_CLOCK=status_year.NOW.isoformat())
    assert result.returncode == 0, result.stderr
    read = Read(Path(result.stdout.splitlines()[0]).read_text())
    told = " ".join(read.text.split())
    assert "Feed 1: 2 labels, due at 0 8 * * 1-5, next Mon 30 Nov 08:00. Now: arrived." in told
    assert "to the report Sums <b> (0 9 * * *), for reader@example.com, the folder acme/<i>weekly" in told
    assert "with rejects.csv, line 3, column price: it is no number: 'n/a'4711,<b>n/a</b>" in told
    assert "list_1_20261127.csv2026-11-27label 2321 Active, dataset" in told
    assert "b" not in read.tags
    unknown = etl.door("build_status_page.py", "nobody's")
    assert (unknown.returncode, "no feed and no active import is" in unknown.stderr) == (64, True)


def in_browser(folder: Path, source: str, *, wait: int = 20_000) -> str:
    """Return the page as Chromium has it after its scripts have run, without a network."""
    needs.need_programs("chromium")
    file = folder / "page.html"
    file.write_text(source)
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile"]
    command += [
        f"--window-size={WIDTH},900",
        "--proxy-server=127.0.0.1:9",
        f"--virtual-time-budget={wait}",
        "--dump-dom",
        f"file://{file}",
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_a_browser_shows_that_it_is_old(etl: Installation, tmp_path: Path) -> None:
    old, _ = built(datetime.now(UTC) - timedelta(hours=3))
    shown = Read(in_browser(tmp_path, old)).text
    assert "This page is 3 hours old. It should be renewed every 15 minutes" in shown


def test_everybody_can_read_it(etl: Installation, tmp_path: Path) -> None:
    """axe finds nothing wrong for people who cannot see well, or use no mouse, but for what is put in here to be found."""
    fill(etl, 10)
    source, _ = built(datetime.now(UTC))
    axe = (importlib.resources.files("axe_core_python") / "axe.min.js").read_text()
    run = (
        "axe.run(document, {resultTypes: ['violations']}).then(function (found) { var all = document.createElement('pre');"
        "all.id = 'axe'; all.textContent = JSON.stringify(found.violations.map(function (v) { return [v.id, v.nodes.length]; }));"
        "document.body.appendChild(all); });"
    )
    source = re.sub('<meta http-equiv="Content-Security-Policy"[^>]*>', "", source)
    source = source.replace("</main>", '<p style="color:#ccc;background:#fff">pale</p></main>')
    shown = in_browser(tmp_path, source.replace("</body>", f"<script>{axe}</script><script>{run}</script></body>"))
    found = re.search('<pre id="axe">(.*?)</pre>', shown, re.DOTALL)
    assert found
    assert json.loads(html.unescape(found[1])) == [["color-contrast", 1]]
    assert "It should be renewed" not in Read(shown).text
