"""Weeks in which the site changes: no day's lists are lost, somebody is told, and one command goes on."""

import csv
import http.server
import re
import shlex
from collections.abc import Iterator

import pytest
from conftest import Installation
from test_meetmax_scan import import_scan, scan
from test_web_utils import running

PAGE = re.compile(r"/sched/event_(\d+)/(__co-list_cp\.(?:html|xls))")
EVENTS = (7, 8, 9, 10)
LAST_FRIDAY, MONDAY = "2026-03-06T19:00:00", "2026-03-09T05:00:00"
FRIDAY, NEXT_MONDAY = "2026-03-13T19:00:00", "2026-03-16T05:00:00"

INVALID = '<div class="alert alert-danger">Invalid Event ID: {0}</div>'
LINK = '<a href="__co-list_cp.xls?event_id={0}">Download Company List</a>'
KNOWN = '<title>Event {0} - MeetMax</title><table><tr><td class="col_company">A</td></tr></table>' + LINK
# A page that a script makes in the browser, and one that has both texts ready, of which the script shows one.
BY_SCRIPT = '<html><body><div id="app"></div><script src="app.js"></script></body></html>'
BOTH_READY = (
    '<html><body><div class="alert d-none">Invalid Event ID</div><div class="companies">Acme</div>{link}</body></html>'
)


class Site:
    """`layout` is how the page of an event looks that exists; `odd` what single events have in its place."""

    def __init__(self) -> None:
        self.layout = KNOWN
        self.odd: dict[int, str] = {}
        self.lists_are_invalid = self.not_found = False
        self.url = ""

    def answer(self, path: str) -> tuple[int, str]:
        asked = PAGE.match(path)
        if asked is None:
            return 404, ""
        event_id = int(asked[1])
        if event_id not in EVENTS or self.odd.get(event_id) == INVALID:
            return 404 if self.not_found else 200, INVALID.format(event_id)
        if asked[2].endswith("xls"):
            if self.lists_are_invalid:
                return 200, "Invalid Event ID"
            return 200, f"company_name,ticker\nAcme {event_id},AC\n"
        layout = self.odd.get(event_id, self.layout).replace("{link}", LINK)
        return 200, layout.format(event_id) if layout != BY_SCRIPT else layout


@pytest.fixture
def site() -> Iterator[Site]:
    found = Site()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = found.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_args: object) -> None:
            pass

    with running(Handler) as found.url:
        yield found


@pytest.fixture
def week(etl: Installation, site: Site) -> Installation:
    """An installation that knew four events last Friday, and had their lists on Monday."""
    etl.query("UPDATE dba.tmeetmaxrange SET first_event_id = 1, last_event_id = 20")
    assert scan(etl, site, "--around-known", "--window", "5", ETL_CLOCK=LAST_FRIDAY).returncode == 0
    import_scan(etl)
    assert lists_of(etl, site, MONDAY) == (0, [7, 8, 9, 10])
    return etl


def lists_of(etl: Installation, site: Site, moment: str) -> tuple[int, list[int]]:
    """Download the lists as the schedule does; return the status, and whose list came."""
    etl.query("DELETE FROM dba.tdownload WHERE created_at < now() - interval '1 hour'")
    before = etl.value("SELECT coalesce(max(downloadid), 0) FROM dba.tdownload")
    result = etl.door("meetmax_url_download.py", MEETMAX_BASE_URL=site.url, ETL_CLOCK=moment)
    rows = etl.query(
        "SELECT eventid::int FROM dba.tdownload WHERE downloadid > %s AND status = 'Downloaded' ORDER BY 1", before
    )
    return result.returncode, [event_id for (event_id,) in rows]


def friday(etl: Installation, site: Site, *more: str):
    return scan(etl, site, "--around-known", "--window", "5", *more, ETL_CLOCK=FRIDAY)


@pytest.mark.parametrize("layout", [BY_SCRIPT, BOTH_READY, KNOWN + '<p role="alert" hidden>Invalid Event ID</p>'])
def test_a_new_layout_publishes_nothing_and_the_lists_still_come(week: Installation, site: Site, layout: str) -> None:
    site.layout = layout

    result = friday(week, site)

    assert result.returncode == 1
    assert re.search(r"4 of 9 .*4 of the 4 .*nothing is published", result.stderr)
    assert list((week.home / "file_watcher").glob("*URLCheck.csv")) == []
    assert lists_of(week, site, NEXT_MONDAY) == (0, [7, 8, 9, 10])
    # A person's word says that events are gone, not that pages can be read; when they can be, it goes on.
    assert friday(week, site, "--accept").returncode == 1
    site.layout = KNOWN
    assert friday(week, site).returncode == 0


def test_events_that_vanish_together_wait_for_a_persons_word(week: Installation, site: Site) -> None:
    site.odd = dict.fromkeys((7, 8, 9), INVALID)

    held = friday(week, site)

    assert held.returncode == 1
    assert "3 of 4 known events" in held.stderr
    assert lists_of(week, site, NEXT_MONDAY)[1] == [10]
    command = shlex.split(held.stderr.split("type: ")[1].splitlines()[0])
    assert command[:2] == ["bash", str(week.project / "jobscripts/run_python_etl_script.sh")]
    accepted = week.door(*command[2:], MEETMAX_BASE_URL=site.url, ETL_CLOCK=FRIDAY)
    assert accepted.returncode == 0
    assert "6 of 9 events" in accepted.stderr  # those that nobody believed are asked again
    import_scan(week)
    assert lists_of(week, site, NEXT_MONDAY.replace("16T", "17T")) == (0, [10])


def test_lists_that_lose_their_links_together_are_held_and_come_back(week: Installation, site: Site) -> None:
    site.layout = KNOWN.replace(LINK, '<a href="list-export.csv">Export</a>')
    assert friday(week, site).returncode == 1
    # It was a trouble of the site: the same again, and all of it is asked anew.
    site.layout = KNOWN
    assert friday(week, site).returncode == 0
    import_scan(week)
    assert lists_of(week, site, NEXT_MONDAY) == (0, [7, 8, 9, 10])


def test_lists_that_are_all_called_invalid_are_not_imported_as_empty(week: Installation, site: Site) -> None:
    site.lists_are_invalid = True
    assert lists_of(week, site, NEXT_MONDAY) == (1, [])
    assert list((week.home / "file_watcher").glob("*20260316*")) == []
    assert (
        dict(
            week.query(
                "SELECT status, count(*) FROM dba.tdownload WHERE created_at > now() - interval '1 minute' GROUP BY 1"
            )
        )["Failed"]
        == 4
    )


def test_numbers_that_are_not_found_hold_no_scan(week: Installation, site: Site) -> None:
    site.not_found = True
    result = friday(week, site)
    assert result.returncode == 1
    assert "4 exist, 4 can be downloaded, 5 failed" in result.stderr
    assert len(list((week.home / "file_watcher").glob("*URLCheck.csv"))) == 1


def test_an_event_without_a_clear_answer_keeps_its_link(week: Installation, site: Site) -> None:
    site.odd = {8: BY_SCRIPT, 9: INVALID}
    assert friday(week, site).returncode == 1
    (published,) = (week.home / "file_watcher").glob("*URLCheck.csv")
    rows = {row["EventID"]: row["StatusCode"] for row in csv.DictReader(published.read_text().splitlines())}
    assert (rows["8"], rows["9"]) == ("Error", "200")
    import_scan(week)

    result = week.door("meetmax_url_download.py", MEETMAX_BASE_URL=site.url, ETL_CLOCK=NEXT_MONDAY)

    assert result.returncode == 0
    assert re.search(r"1 events .* 8: .*former links", result.stderr)
    assert "3 company lists: 3 downloaded" in result.stderr


def test_nothing_to_fetch_where_there_were_lists_is_a_failure(week: Installation, site: Site) -> None:
    site.odd = dict.fromkeys(EVENTS, INVALID)
    assert friday(week, site, "--accept").returncode == 0
    import_scan(week)

    result = week.door("meetmax_url_download.py", MEETMAX_BASE_URL=site.url, ETL_CLOCK=NEXT_MONDAY)

    assert result.returncode == 1
    assert "but 4 events had one" in result.stderr
    week.query("UPDATE dba.tdownload SET created_at = created_at - interval '5 days'")
    assert lists_of(week, site, NEXT_MONDAY) == (0, [])


def test_one_answer_with_a_nul_stops_no_other(week: Installation, site: Site) -> None:
    site.odd = {8: KNOWN.replace("/__co", "/__co").replace('href="__co', 'href="/sched/event_8/a\0b/__co')}
    assert friday(week, site).returncode == 0
    import_scan(week)
    assert lists_of(week, site, NEXT_MONDAY) == (0, [7, 9, 10])
