"""The download of company lists through the door: every event has its row, whatever becomes of its file."""

import hashlib
import http.server
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Installation
from test_web_utils import running

LINK = re.compile(r"/sched/event_(\d+)/__co-list_cp\.xls")
LIST = "company_name,ticker\nAcme {0},AC{0}\n"
GONE = "Invalid Event ID: {0}"


class Site:
    """Serves lists by event with an ETag of their content; `bodies` and `statuses` say what is different."""

    def __init__(self) -> None:
        self.bodies: dict[str, str] = {}
        self.statuses: dict[str, int] = {}
        self.answers: list[tuple[str, int]] = []
        self.url = ""

    def answer(self, event_id: str, known: str) -> tuple[int, str, bytes]:
        body = self.bodies.get(event_id, LIST.format(event_id)).encode()
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        status = self.statuses.get(event_id, 304 if etag == known else 200)
        self.answers.append((event_id, status))
        return status, etag, b"" if status == 304 else body


@pytest.fixture
def site() -> Iterator[Site]:
    found = Site()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            link = LINK.match(self.path)
            status, etag, body = (
                found.answer(link[1], self.headers.get("If-None-Match", "")) if link else (404, "", b"")
            )
            self.send_response(status)
            self.send_header("ETag", etag)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            pass

    with running(Handler) as found.url:
        yield found


@pytest.fixture
def events(etl: Installation, site: Site) -> Installation:
    """The installation after a scan that has found events 1 to 6."""
    rows = [
        f"{n},u,1,False,1,{site.url}/sched/event_{n}/__co-list_cp.xls?event_id={n},200,Event {n}" for n in range(1, 7)
    ]
    header = "EventID,URL,IfExists,InvalidEventID,IsDownloadable,DownloadLink,StatusCode,Title"
    scan = etl.home / "file_watcher/20260306T190000_MeetMaxURLCheck.csv"
    scan.write_text("\n".join([header, *rows]) + "\n")
    assert etl.door("run_import_job.py", "MeetMaxURLCheckImport").returncode == 0
    return etl


def download(etl: Installation, site: Site, day: str, **more: str):
    return etl.door("meetmax_url_download.py", MEETMAX_BASE_URL=site.url, ETL_CLOCK=f"{day}T05:00:00", **more)


def import_lists(etl: Installation) -> None:
    result = etl.door("run_import_job.py", "MeetMax_Events_XLS_Import")
    assert result.returncode == 0, result.stderr


def outcomes(etl: Installation) -> list[tuple[str, str]]:
    return etl.query("SELECT eventid, status FROM dba.tdownload ORDER BY downloadid")  # type: ignore[return-value]


def test_what_has_not_changed_is_taken_from_the_archive(events: Installation, site: Site) -> None:
    assert download(events, site, "2026-03-09").returncode == 0
    import_lists(events)
    site.answers.clear()
    site.bodies["2"] = "company_name,ticker\nNewcomer,NEW\n"

    result = download(events, site, "2026-03-10")
    assert result.returncode == 0
    assert "6 company lists: 1 downloaded, 5 unchanged" in result.stderr
    assert sorted(site.answers) == [("1", 304), ("2", 200), ("3", 304), ("4", 304), ("5", 304), ("6", 304)]
    import_lists(events)

    # The list of the second day is a dataset of its own, so that the days can be compared.
    days = "SELECT datasetdate::text, count(*) FROM dba.tdataset JOIN public.tmeetmaxevent USING (datasetid) GROUP BY 1 ORDER BY 1"
    assert events.query(days) == [("2026-03-09", 6), ("2026-03-10", 6)]
    changes = events.query(
        "SELECT eventid, company_name, scenario FROM dba.f_get_event_changes('2026-03-10') ORDER BY 3"
    )
    assert changes == [("2", "NEWCOMER", "added"), ("2", "ACME 2", "removed")]
    # Unchanged once more: the copy of the second day is as good as the first one's.
    site.answers.clear()
    download(events, site, "2026-03-11")
    assert {status for _, status in site.answers} == {304}


@pytest.mark.parametrize("damage", ["removed", "changed"])
def test_a_copy_that_is_not_what_it_was_is_not_used(events: Installation, site: Site, damage: str) -> None:
    download(events, site, "2026-03-09")
    import_lists(events)
    for (path,) in events.query("SELECT archived_path FROM dba.timportfile WHERE config_id = 2"):
        with open(path, "ab") as stream:
            stream.write(b"!")
        if damage == "removed":
            Path(path).unlink()
    site.answers.clear()
    assert download(events, site, "2026-03-10").returncode == 0
    assert {status for _, status in site.answers} == {200}


def test_one_dead_link_does_not_stop_the_rest(events: Installation, site: Site) -> None:
    site.statuses = {"2": 404, "3": 500}
    site.bodies = {"4": "<h1>Login</h1><input type=password>", "5": GONE.format(5)}
    result = download(events, site, "2026-03-09", ETL_REQUEST_RETRIES="0")
    assert result.returncode == 1
    assert "6 company lists: 2 downloaded, 1 vanished, 3 failed" in result.stderr
    assert sorted(outcomes(events)) == [
        ("1", "Downloaded"), ("2", "Failed"), ("3", "Failed"), ("4", "Failed"), ("5", "Vanished"), ("6", "Downloaded"),
    ]  # fmt: skip
    reasons = dict(events.query("SELECT eventid, reason FROM dba.tdownload WHERE reason IS NOT NULL"))
    assert "status 404" in reasons["2"]
    assert "a login" in reasons["4"]
    assert "Invalid Event ID" in reasons["5"]
    assert len(list((events.home / "file_watcher").glob("*.xls"))) == 3


def test_what_was_not_asked_for_any_more_has_its_row_too(events: Installation, site: Site) -> None:
    site.statuses = dict.fromkeys("23456", 429)
    result = download(events, site, "2026-03-09", ETL_REQUEST_RETRIES="0", ETL_REFUSALS_ALLOWED="3")
    assert result.returncode == 75
    assert "3 requests in a row" in result.stderr
    assert [status for _, status in outcomes(events)] == [
        "Downloaded", "Refused", "Refused", "Refused", "Skipped", "Skipped",
    ]  # fmt: skip
    assert site.answers == [("1", 200), ("2", 429), ("3", 429), ("4", 429)]
    # What was refused is asked for again, and what we have comes once more under a name of its own.
    site.statuses = {}
    assert download(events, site, "2026-03-10").returncode == 0
