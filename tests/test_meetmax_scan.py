"""Whole scans through the door against a site of our own: killed anywhere, paced, around what is known."""

import csv
import http.server
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PROJECT, Installation
from test_web_utils import running

from systemscripts.web.pace import Pacer

pytestmark = pytest.mark.slow

PAGE = re.compile(r"/sched/event_(\d+)/")
COMPANIES = '<table><tr><td class="col_company">A</td></tr></table><a href="__co-list_cp.xls?event_id={0}">x</a>'


class Site:
    """Every number that ends in 7 is an event. At chosen requests it calls `at_request` before it answers."""

    def __init__(self) -> None:
        self.asked: Counter[int] = Counter()
        self.times: list[float] = []
        self.exists = {number for number in range(1, 10_000) if number % 10 == 7}
        self.odd: dict[int, str] = {}
        self.at_request: dict[int, object] = {}
        self.url = ""
        self._lock = threading.Lock()

    def answer(self, event_id: int) -> str:
        with self._lock:
            self.times.append(time.monotonic())
            self.asked[event_id] += 1
            act = self.at_request.pop(self.asked.total(), None)
        if callable(act):
            act()
        if event_id in self.odd:
            return self.odd[event_id]
        if event_id in self.exists:
            return f"<title>Event {event_id} - MeetMax</title>{COMPANIES.format(event_id)}"
        return f'<div class="alert alert-danger">Invalid Event ID: {event_id}</div>'


@pytest.fixture
def site() -> Iterator[Site]:
    found = Site()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_GET(self) -> None:
            page = PAGE.match(self.path)
            body = found.answer(int(page[1])).encode() if page else b""
            self.send_response(200 if page else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            pass

    with running(Handler) as found.url:
        yield found


def scan(etl: Installation, site: Site, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
    return etl.door("meetmax_url_check.py", *arguments, MEETMAX_BASE_URL=site.url, **more)


def published(etl: Installation) -> str:
    (file,) = (etl.home / "file_watcher").glob("*_MeetMaxURLCheck.csv")
    text = file.read_text(encoding="utf-8")
    file.unlink()
    return text


def import_scan(etl: Installation) -> None:
    result = etl.door("run_import_job.py", "MeetMaxURLCheckImport")
    assert result.returncode == 0, result.stderr


# ---- killed, and gone on with --------------------------------------------------------------

EVENTS, KILLS = 700, int(os.environ.get("ETL_TEST_KILLS", "12"))


def kill_all(process: "subprocess.Popen[bytes]") -> None:
    """Kill the scan as a machine that goes down does: the job and its supervisor at once."""
    family = [process.pid, *(int(pid) for pid in children(process.pid))]
    family += [int(pid) for parent in family[1:] for pid in children(parent)]
    for pid in family:
        os.kill(pid, signal.SIGKILL)


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_a_scan_killed_at_any_request_asks_little_twice_and_ends_the_same(etl: Installation, site: Site) -> None:
    arguments = ["--first", "1", "--last", str(EVENTS)]
    assert scan(etl, site, *arguments).returncode == 0
    undisturbed = published(etl)
    assert site.asked.total() == EVENTS

    site.asked.clear()
    stops = sorted(random.sample(range(1, EVENTS), KILLS))
    for number, stop in enumerate(stops):
        process = subprocess.Popen(
            ["/bin/bash", str(PROJECT / "jobscripts/run_python_etl_script.sh"), "meetmax_url_check.py", *arguments],
            env=etl.environment(MEETMAX_BASE_URL=site.url),
            stderr=subprocess.DEVNULL,
        )
        # The requests that were made twice come on top.
        site.at_request[stop + number] = lambda process=process: kill_all(process)
        process.wait(timeout=60)
    assert scan(etl, site, *arguments).returncode == 0

    assert published(etl) == undisturbed
    assert set(site.asked) == set(range(1, EVENTS + 1))
    assert site.asked.total() <= EVENTS + KILLS
    assert max(site.asked.values()) <= 3  # the same event may be the next one of two kills


# ---- the pace ------------------------------------------------------------------------------

VISITOR = """
import sys, threading
from systemscripts.web.manners import Manners
from systemscripts.web_utils import WebSession

web = WebSession(Manners("tester/1.0", float(sys.argv[2]), 5.0, 0, 5, False))
def visit():
    for number in range(int(sys.argv[3])):
        web.get(f"{sys.argv[1]}/sched/event_{number}/__co-list_cp.html")
threads = [threading.Thread(target=visit) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def test_workers_and_processes_share_one_pace(site: Site, tmp_path: Path) -> None:
    interval, visits = 0.15, 3
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(PROJECT), "ETL_HOME": str(tmp_path)}
    command = [sys.executable, "-P", "-c", VISITOR, site.url, str(interval), str(visits)]
    visitors = [subprocess.Popen(command, env=environment) for _ in range(2)]
    assert [visitor.wait(timeout=60) for visitor in visitors] == [0, 0]

    assert len(site.times) == 2 * 4 * visits
    gaps = [after - before for before, after in zip(site.times, site.times[1:], strict=False)]
    assert min(gaps) >= interval


def test_what_one_process_is_asked_to_wait_holds_for_all(tmp_path: Path) -> None:
    now = [1000.0]
    sleeps: list[float] = []

    def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        now[0] += seconds

    refused, other = (Pacer(1, tmp_path, lambda: now[0], sleep) for _ in range(2))
    refused.wait("host")
    refused.hold("host", 120)
    other.wait("host")
    assert sum(sleeps) == pytest.approx(120)


@pytest.mark.parametrize("content", [b"", b"garbage", b"99999999999.0", b"nan"])
def test_a_file_that_makes_no_sense_holds_nobody_up(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "host").write_bytes(content)
    Pacer(5, tmp_path, lambda: 1000.0, pytest.fail).wait("host")


def test_workers_find_the_same(etl: Installation, site: Site) -> None:
    texts = []
    for workers in ("1", "4"):
        assert scan(etl, site, "--first", "1", "--last", "300", "--workers", workers).returncode == 0
        texts.append(published(etl))
    assert texts[0] == texts[1]


# ---- around what is known ------------------------------------------------------------------


def test_a_scan_around_the_known_asks_them_and_the_window_above(etl: Installation, site: Site) -> None:
    etl.query("UPDATE dba.tmeetmaxrange SET first_event_id = 1, last_event_id = 60")
    site.exists = {7, 17, 47}
    first = scan(etl, site, "--around-known", "--window", "20")
    assert first.returncode == 0
    assert "no event is known" in first.stderr
    assert site.asked.total() == 60
    import_scan(etl)

    site.asked.clear()
    site.exists = {7, 47, 55, 70, 200}  # 17 is gone; 55 and 70 are new, the one within the other's window
    second = scan(etl, site, "--around-known", "--window", "20", ETL_CLOCK="2030-03-01T19:00:00")
    assert second.returncode == 0
    assert set(site.asked) == {7, 17, *range(47, 91)}
    assert "(Event 17) is gone" in second.stderr
    assert "is new: Event 70" in second.stderr
    import_scan(etl)

    site.asked.clear()
    scan(etl, site, "--around-known", "--window", "5", ETL_CLOCK="2030-03-08T19:00:00")
    assert set(site.asked) == {7, 47, 55, *range(70, 76)}


def test_an_event_that_could_not_be_asked_is_not_forgotten(etl: Installation, site: Site) -> None:
    site.exists = {7, 8}
    scan(etl, site, "--first", "7", "--last", "8")
    import_scan(etl)
    site.odd = {8: "<h1>Maintenance</h1>"}
    assert scan(etl, site, "--first", "7", "--last", "8", ETL_CLOCK="2030-03-01T19:00:00").returncode == 1
    import_scan(etl)

    site.asked.clear()
    scan(etl, site, "--around-known", "--window", "1", ETL_CLOCK="2030-03-08T19:00:00")
    assert set(site.asked) == {7, 8, 9}


def test_the_ranges_of_the_table_are_scanned(etl: Installation, site: Site) -> None:
    etl.query("DELETE FROM dba.tmeetmaxrange")
    assert "INSERT INTO dba.tmeetmaxrange" in scan(etl, site).stderr
    etl.query(
        "INSERT INTO dba.tmeetmaxrange (first_event_id, last_event_id, is_active)"
        " VALUES (5, 9, B'1'), (8, 12, B'1'), (900, 950, B'0')"
    )
    assert scan(etl, site).returncode == 0
    assert sorted(site.asked.elements()) == list(range(5, 13))


def test_a_scan_that_leaves_known_events_out_says_so(etl: Installation, site: Site) -> None:
    scan(etl, site, "--first", "1", "--last", "30")
    import_scan(etl)
    few = scan(etl, site, "--first", "1", "--last", "9", ETL_CLOCK="2030-03-01T19:00:00")
    assert "2 events that exist are not" in few.stderr


def test_a_page_that_nobody_knows_is_kept_beside_the_log(etl: Installation, site: Site) -> None:
    site.odd = {5: "<h1>Wartung – bald zurück</h1>", 6: "<input type=password>"}
    result = scan(etl, site, "--first", "4", "--last", "8")
    assert result.returncode == 1
    (kept,) = (etl.home / "logs").glob("meetmax_event_5_*.html")
    assert kept.read_text(encoding="utf-8") == site.odd[5]
    assert str(kept) in result.stderr
    rows = {row["EventID"]: row["StatusCode"] for row in csv.DictReader(published(etl).splitlines())}
    assert rows == {"4": "200", "5": "Error", "6": "Error", "7": "200", "8": "200"}


def test_of_many_strange_pages_some_are_kept(etl: Installation, site: Site) -> None:
    site.odd = dict.fromkeys(range(1, 40), "<h1>New design</h1>")
    scan(etl, site, "--first", "1", "--last", "39")
    assert len(list((etl.home / "logs").glob("meetmax_event_*.html"))) == 20


def test_a_site_that_calls_every_number_an_event_comes_to_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from systemscripts.sources import meetmax_plan

    monkeypatch.setattr(meetmax_plan, "MOST_NEW_IDS", 100)
    plan = meetmax_plan.around_known([3, 9], 50)
    assert plan.event_ids(0) == [3, *range(9, 60)]
    assert plan.event_ids(10**9)[-1] == 109


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--first", "5"], "belong together"),
        (["--around-known", "--first", "1", "--last", "2"], "say different things"),
        (["--first", "9", "--last", "2"], "not above the last"),
        (["--around-known", "--window", "0"], "--window 0"),
        (["--workers", "99"], "between 1 and 8"),
    ],
)
def test_calls_that_make_no_sense_are_refused(etl: Installation, arguments: list[str], words: str) -> None:
    result = etl.door("meetmax_url_check.py", *arguments)
    assert result.returncode == 64
    assert words in result.stderr
