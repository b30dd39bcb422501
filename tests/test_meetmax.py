"""What MeetMax's pages and files say, the journal of a scan, and the two jobs against the stand-in site."""

import argparse
import contextlib
import csv
import fcntl
import importlib.util
import io
import json
import re
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from systemscripts import directory_management, whole_files
from systemscripts.errors import JobError, TemporaryFailure, WrongCall
from systemscripts.sources import meetmax, meetmax_journal, meetmax_plan, meetmax_scan
from systemscripts.sources.meetmax_download import Outcome, Vanished, check_company_file, fetch_event, placed_as_empty
from systemscripts.sources.meetmax_journal import Journal, journal_file, open_journal
from systemscripts.sources.meetmax_page import ListPage, State, read_page
from systemscripts.sources.meetmax_plan import Plan, around_known, of_range
from systemscripts.web.manners import Manners, refusal_in
from systemscripts.web_utils import BadAnswer, BadStatus, FetchError, Page, Refused, WebSession

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "onboarding" / "demo"))

import meetmax_site  # noqa: E402

BASE = "https://www.meetmax.com"
EVENT = f"{BASE}/sched/event_119243"
PUBLIC = f"{EVENT}/__co-list_cp.html"
FILE = f"{EVENT}/__co-list_cp.xls?event_id=119243"


def load_job(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "jobscripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


url_check = load_job("meetmax_url_check")
url_download = load_job("meetmax_url_download")


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETL_FILE_WATCHER_DIR", str(tmp_path / "file_watcher"))
    monkeypatch.setenv("ETL_CLOCK", "2026-03-06T19:00:00")
    monkeypatch.setenv("ETL_REQUEST_INTERVAL", "0")
    monkeypatch.setenv("ETL_TERMINAL", "no")
    monkeypatch.delenv("MEETMAX_BASE_URL", raising=False)
    monkeypatch.setenv("ETL_LOGS_DIR", str(tmp_path / "logs"))
    (tmp_path / "file_watcher").mkdir()
    (tmp_path / "logs").mkdir()
    # Nothing is known of earlier scans.
    monkeypatch.setattr(url_check.db_config, "session", lambda: contextlib.nullcontext(None))
    monkeypatch.setattr(meetmax_plan, "known_events", lambda _connection: {})


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with meetmax_site.serve(day=1) as base_url:
        monkeypatch.setenv("MEETMAX_BASE_URL", base_url)
        yield base_url


def read(html: str, url: str = PUBLIC) -> ListPage:
    return read_page(html, url, "119243")


# ---- a page: what it is --------------------------------------------------------------------


@pytest.mark.parametrize(
    "html",
    [
        '<div class="alert alert-danger">Invalid Event ID: 119243</div>',
        '<div role="alert" data-x=1 class="mt-3 alert-danger alert fade show"><b>Invalid Event ID:</b> 119243</div>',
        "<DIV CLASS='ALERT ALERT-DANGER'>\n invalid  event\nid:&nbsp;abc\n</DIV>",
        "<div class=alert><button>&times;</button>Invalid&nbsp;Event&#32;ID</div>",
        "<p role=alert>Invalid Event ID: ../x</p>",
        "Invalid Event ID",
        "<html><body>Invalid Event ID: 119243</body></html>",
        '<title>Company List - MeetMax</title><a class="nav-link">Login</a><p class="alert">Invalid Event ID: 1</p>',
    ],
)
def test_it_knows_an_event_that_does_not_exist(html: str) -> None:
    assert read(html).state is State.INVALID


@pytest.mark.parametrize(
    "html",
    [
        '<tr valign=top class="rows"><td class="col_company"><span class="full_name">A</span></td></tr>',
        "<td class='x col_ticker'>A</td>",
        "<table><tr><th>Company Name</th><th>Ticker</th></tr><tr><td>A</td><td>B</td></tr></table>",
        "<table><tr><td>ORGANIZATION</td><td>x</td></tr><tr><td>A</td><td>B</td></tr></table>",
        '<a href="__co-list_cp.xls?event_id=119243">x</a>',
        '<td class="col_company">Invalid Event ID Inc. says no companies found</td>',
    ],
)
def test_it_knows_a_company_list(html: str) -> None:
    assert read(html).state is State.LISTED


@pytest.mark.parametrize(
    "shown",
    [
        '<a href="__co-list_cp.xls?event_id=119243">Download Company List</a>',
        '<button id="export"><i></i>Download Company List</button>',
        '<td class="col_company">A</td>',
    ],
)
@pytest.mark.parametrize(
    "said",
    ['<div class="alert d-none">Invalid Event ID</div>', '<div role="alert" hidden>Invalid Event ID: 119243</div>'],
)
def test_a_page_that_contradicts_itself_is_not_known(said: str, shown: str) -> None:
    """A new layout may have the words ready on each page, for its script to show."""
    assert read(f"<html><body>{said}{'<p>word</p>' * 100}{shown}</body></html>").state is State.UNKNOWN


PIECES = [
    "<table><tr><td>",
    "<table><tr><td>company</td></tr></table>",
    "<div class=alert>",
    "<script>",
    "<title>",
    "<svg><title>",
]
ENDLESS = [
    "<!--",
    "<a ",
    "<!",
    "<?",
    "</",
    "<a b='",
    "<![CDATA[",
    "<!DOCTYPE [",
    "<a b=",
    "<!-- <",
    "<template>",
    "&#",
    "<p>",
]


@pytest.mark.parametrize("after", ["", ">"])
@pytest.mark.parametrize("piece", [*PIECES, *ENDLESS])
def test_whatever_a_page_repeats_reading_it_takes_time_in_proportion(piece: str, after: str) -> None:
    def seconds(number: int) -> float:
        page = f"<html>{piece * number}{after * number}</html>"
        begun = time.process_time()
        refusal_in(page)
        read(page)
        return time.process_time() - begun

    # Eight times the page: eight times the work, or 64 times where each piece is looked at from each other one.
    assert seconds(4_000) < 25 * (seconds(500) + 0.03)


def test_an_address_with_a_control_character_is_no_link() -> None:
    page = '<td class="col_company">A</td><a href="/sched/event_119243/a{}b/__co-list_cp.xls">x</a>'
    assert read(page.format("")).download_link.endswith("/sched/event_119243/ab/__co-list_cp.xls?event_id=119243")
    for character in ("\0", "\x1b", "\x85", "\u202e"):
        assert read(page.format(character)).download_link == ""


def test_a_title_is_clean_text() -> None:
    assert read("<title>a\0b\ud800c&#x1b;d</title>").title == "a b c d"


@pytest.mark.parametrize("html", ["<p>No companies found</p>", "NO&nbsp;COMPANIES\n<b>found</b>."])
def test_it_knows_an_event_without_companies(html: str) -> None:
    assert read(html).state is State.EMPTY


@pytest.mark.parametrize(
    "html",
    [
        "",
        "<title>Company List - MeetMax</title>",
        '<form><input name="user"><input type=PASSWORD name="p"></form>',
        "<h1>Internal error</h1><table><tr><td>company support</td></tr></table>",
        '<div class="alert alert-info">Maintenance tonight</div>',
        "<p>" + "word " * 200 + "Invalid Event ID</p>",
        "<title>Login</title><p>Your session has expired. No companies found.</p><input type=password>",
        "<html><p>No companies found</p>",
        "<!DOCTYPE html><title>Ev</title><body><![x<p>hi",
        '<a href="x" ' * 50_000,
        "<table><tr><td>Accompanying persons</td><td>x</td></tr><tr><td>1</td></tr></table>",
    ],
)
def test_it_never_takes_another_page_for_an_empty_event(html: str) -> None:
    page = read(html)

    assert page.state is State.UNKNOWN
    result = meetmax.judged("119243", PUBLIC, page)
    assert (result.exists, result.invalid, result.status_code) == (False, False, "Error")
    assert result.problem


@pytest.mark.parametrize(
    ("html", "title"),
    [
        ("<title>Company List - MeetMax</title>", "Company List"),
        ("<TITLE>\n Spring &amp; Growth - 2026\n -  meetmax </TITLE>", "Spring & Growth - 2026"),
        ("<title> - MeetMax</title>", ""),
        ("<title>MeetMax</title>", "MeetMax"),
        ("<svg><title>Logo</title></svg><title>Forum - MeetMax</title>", "Forum"),
        ("<p>none</p>", ""),
    ],
)
def test_it_reads_the_title(html: str, title: str) -> None:
    assert read(html).title == title


# ---- a page: where it leads ----------------------------------------------------------------


@pytest.mark.parametrize(
    "html",
    [
        '<a href="__co-list_cp.xls?event_id=119243;sort=company" class="link-excel" id="export">x</a>',
        "<a class=link-excel href=__co-list_cp.xls?event_id=119243>x</a>",
        "<A ID='e' HREF='/sched/event_119243/__co-list_cp.xls?sort=a&amp;event_id=119243&amp;x=2'>x</A>",
        f'<a href=" {FILE};x ">x</a>',
        '<a href="http://www.meetmax.com/sched/event_119243/__co-list_cp.xls#top">x</a>',
        '<a id="export" href="#"><i class="fas fa-x"> </i> Download Company List</a>',
        "<button data-x='1' id='Export'><i></i>\n Download&nbsp;Company\n <b>List</b></button>",
        '<div id=export><a href="javascript:void(0)"><i></i>Download company list</a></div>',
    ],
)
def test_it_finds_the_file_to_download(html: str) -> None:
    assert read(html).download_link == FILE


@pytest.mark.parametrize(
    "html",
    [
        '<a href="https://evil.example/sched/event_119243/__co-list_cp.xls?event_id=119243">x</a>',
        '<a href="//evil.example/sched/event_119243/__co-list_cp.xls">x</a>',
        '<a href="__co-list_cp.xls?event_id=5">x</a>',
        '<a href="/sched/event_5/__co-list_cp.xls">x</a>',
        '<a href="http://[bad/__co-list_cp.xls">x</a>',
        '<a href="__co-list_cp.html">x</a>',
        '<a id="export">Export calendar</a>',
        '<a id="exports">Download Company List</a>',
        "<!-- <a href='__co-list_cp.xls'>x</a> -->",
    ],
)
def test_it_downloads_nothing_from_other_links(html: str) -> None:
    assert read(html).download_link == ""


def test_the_file_of_a_list_elsewhere_is_found_there() -> None:
    url = f"{EVENT}/~public/__co-list_cp.html?event_id=119243"
    link = read('<a href="__co-list_cp.xls?event_id=119243;a">x</a>', url).download_link

    assert link == f"{EVENT}/~public/__co-list_cp.xls?event_id=119243"
    assert read('<a id="export">Download Company List</a>', url).download_link == FILE


@pytest.mark.parametrize(
    ("html", "target"),
    [
        ('<a class="nav-link" href="__private-co-list_cp.html">Private Company List</a>', "__private-co-list_cp.html"),
        ("<a href='#' class='x nav-link'> private  company list</a>", "__private-co-list_cp.html"),
        ('<a href="~public/__co-list_cp.html?event_id=119243">x</a>', "~public/__co-list_cp.html?event_id=119243"),
        ('<a href="/sched/event_5/__private-co-list_cp.html">x</a>', ""),
        ('<a href="https://evil.example/sched/event_119243/__private-co-list_cp.html">x</a>', ""),
        ('<a class="nav-link" href="/help">Help</a>', ""),
    ],
)
def test_it_finds_the_list_that_a_page_links_to(html: str, target: str) -> None:
    assert read(html).next_list == (f"{EVENT}/{target}" if target else "")


def test_a_list_does_not_lead_to_itself() -> None:
    html = '<a href="/sched/event_119243/~public/__co-list_cp.html">x</a><a href="__private-co-list_cp.html">y</a>'

    assert read(html, f"{EVENT}/__private-co-list_cp.html").next_list == ""
    assert "__private" in read(html, f"{EVENT}/~public/__co-list_cp.html").next_list


def test_it_reads_the_reconstructed_page(corpus_dir: Path) -> None:
    html = (corpus_dir / "meetmax" / "reconstructed_roster.html").read_text(encoding="utf-8")
    page = read_page(html, f"{BASE}/sched/event_138433/__co-list_cp.html", "138433")

    assert (page.state, page.title) == (State.LISTED, "Company List")
    assert page.download_link == f"{BASE}/sched/event_138433/__co-list_cp.xls?event_id=138433"


# ---- one event -----------------------------------------------------------------------------


class FakeSession(WebSession):
    """Answers from a table of pages."""

    def __init__(self, answers: dict[str, str | FetchError]) -> None:
        super().__init__(Manners("tester", 0, 1, 0, 5, False))
        self.answers = answers
        self.asked: list[str] = []

    def get(self, url: str, limit: int = 0) -> Page:  # noqa: ARG002 - the signature of the real one
        self.asked.append(url)
        answer = self.answers[url]
        if isinstance(answer, FetchError):
            raise answer
        return Page(url, 200, answer)


@pytest.mark.parametrize(
    ("failure", "status"), [(Refused("no", 429), "Failed"), (BadStatus("gone", 410), "410"), (BadAnswer("x"), "Failed")]
)
def test_an_event_that_cannot_be_asked_is_a_failure(failure: FetchError, status: str) -> None:
    result = meetmax.check_event(FakeSession({PUBLIC: failure}), "119243", lambda *_: "")

    assert result.csv_row() == ("119243", PUBLIC, "0", "False", "0", "", status, "")
    assert result.problem == str(failure)


def test_it_goes_from_the_public_page_to_the_private_list() -> None:
    private = f"{EVENT}/__private-co-list_cp.html"
    session = FakeSession(
        {
            PUBLIC: '<a class="nav-link" href="__private-co-list_cp.html">Private Company List</a>No companies found',
            private: '<title>Day - MeetMax</title><a href="__private-co-list_cp.xls?event_id=119243">x</a>',
        }
    )
    result = meetmax.check_event(session, "119243", lambda *_: "")

    link = f"{EVENT}/__private-co-list_cp.xls?event_id=119243"
    assert result.csv_row() == ("119243", private, "1", "False", "1", link, "200", "Day")


def test_it_stays_on_a_public_list_that_can_be_downloaded() -> None:
    html = '<a href="__co-list_cp.xls">x</a><a href="__private-co-list_cp.html">y</a>'
    session = FakeSession({PUBLIC: html})

    assert meetmax.check_event(session, "119243", lambda *_: "").download_link == FILE
    assert session.asked == [PUBLIC]


# ---- the file ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100),
        b"PK\x03\x04" + bytes(100),
        b"\x09\x08\x08\x00",
        b"Company Name,Ticker\r\nA,B\r\n",
        b"\xef\xbb\xbfcompany_name;ticker\n",
        "Company List\n\nCompany/Organization\tTicker\n".encode("utf-16"),
        b"<html><table><tr><th>Company</th><th>Ticker</th></tr><tr><td>A</td><td>B</td></tr></table></html>",
        b"  <TABLE><TR><TD>Company Name<TD>x</TR><TR><TD>A<TD>B</TR></TABLE>",
        b'<?xml version="1.0"?><Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet">',
    ],
)
def test_it_accepts_a_company_list_in_any_disguise(head: bytes) -> None:
    check_company_file(head)


@pytest.mark.parametrize("words", [b"Invalid Event ID", b"\n invalid event id: 119243\n"])
def test_the_words_in_place_of_a_list_are_kept_until_they_are_believed(words: bytes) -> None:
    with pytest.raises(Vanished) as answer:
        check_company_file(words)
    assert answer.value.words == words


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"", "empty"),
        (b" \r\n", "empty"),
        (b"<html><title>Login</title><input type=password></html>", "login"),
        (b"<h1>Internal Server Error</h1>", "something else"),
        (b'<div class="alert alert-danger">Invalid Event ID: 1</div>', "Invalid Event ID in place of the list"),
        (b"<p>No companies found</p>", "without companies"),
        (b'{"error": "company, ticker"}', "not a spreadsheet"),
        (b"Sorry, something went wrong", "not a spreadsheet"),
        (bytes(200), "not a spreadsheet"),
        (b"%PDF-1.7 company, ticker\0", "not a spreadsheet"),
    ],
)
def test_it_refuses_what_is_no_company_list(head: bytes, words: str) -> None:
    with pytest.raises(BadAnswer, match=words):
        check_company_file(head)


@pytest.mark.parametrize("event_id", ["", "12a", "../1", "1/2", "١٢", " 1"])
def test_only_a_number_becomes_a_file_name(event_id: str) -> None:
    with pytest.raises(meetmax.UnusableEvent, match="not a number"):
        meetmax.event_file(datetime.now(UTC), event_id)


@pytest.mark.parametrize(
    "link",
    [
        "",
        "https://evil.example/x.xls",
        "http://www.meetmax.com/x.xls",
        "https://www.meetmax.com.evil.example/x",
        "https://www.meetmax.com@evil.example/x",
        "https://www.meetmax.com:444/x",
        "file:///etc/passwd",
        "http://[x",
    ],
)
def test_a_link_must_lead_to_meetmax(link: str) -> None:
    with pytest.raises(meetmax.UnusableEvent, match=r"lead to https://www\.meetmax\.com"):
        meetmax.require_own_link(meetmax.EventFile("1", link))


# ---- the same page in another writer's hand ---------------------------------------------------


class Rewriter(HTMLParser):
    """Writes a page anew with other attribute order, quotes, case, entities, white space and more classes."""

    def __init__(self, random: Random) -> None:
        super().__init__(convert_charrefs=True)
        self.random = random
        self.parts: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.random.shuffle(attributes)
        named = [self.case(name) + self.value(name, value or "") for name, value in attributes]
        blanks = [self.random.choice([" ", "  ", "\n\t"]) + attribute for attribute in named]
        self.parts.append(f"<{self.case(tag)}{''.join(blanks)}{self.random.choice(['', ' '])}>")

    def value(self, name: str, value: str) -> str:
        if name == "class":
            classes = [*value.split(), *self.random.sample(["mt-3", "x_1", "d-flex"], self.random.randint(0, 2))]
            self.random.shuffle(classes)
            value = " ".join(classes)
        text = "".join(self.letter(character) for character in value)
        quotes = ['"', "'"] + ([""] if re.fullmatch(r"[\w.:/~-]+", text) else [])
        quote = self.random.choice(quotes)
        return f"{self.random.choice(['=', ' = '])}{quote}{text}{quote}"

    def handle_endtag(self, tag: str) -> None:
        self.parts.append(f"</{self.case(tag)}>")

    def handle_data(self, data: str) -> None:
        blanks = [" ", " ", "\n  ", "&nbsp;", "&#32;"]
        self.parts.append(
            "".join(self.random.choice(blanks) if character == " " else self.letter(character) for character in data)
        )

    def letter(self, character: str) -> str:
        needed = character in "<&\"'"
        if needed or self.random.random() < 0.1:
            return self.random.choice([f"&#{ord(character)};", f"&#x{ord(character):X};"])
        return character

    def case(self, name: str) -> str:
        return self.random.choice([name, name.upper(), name.title()])


PAGES = [
    f'<title>Big Conference - MeetMax</title><p><a class="link-excel" href="{FILE};sort=1">x</a></p>',
    '<title>One - MeetMax</title><tr valign="top" class="rows"><td class="col_company"><span class="full_name">A&B</span></td>',
    '<title>MeetMax</title><div role="alert" class="alert alert-danger">Invalid Event ID: 119243</div>',
    "<title>Company List - MeetMax</title><p>No companies found</p>",
    '<title>Two - MeetMax</title><a class="nav-link" href="x.html">Private Company List</a><p>No companies found</p>',
    '<title>Three - MeetMax</title><button type="button" id="export"><i class="fas"></i>Download Company List</button>',
    '<title>Login - MeetMax</title><form><input type="password" name="p"></form>',
    '<title>Four - MeetMax</title><a href="~public/__co-list_cp.html?event_id=119243">here</a>',
]


@settings(deadline=None)
@given(page=st.sampled_from(PAGES), random=st.randoms(use_true_random=False))
def test_a_page_says_the_same_however_it_is_written(page: str, random: Random) -> None:
    writer = Rewriter(random)
    writer.feed(page)
    writer.close()

    assert read("".join(writer.parts)) == read(page)


# ---- the journal ---------------------------------------------------------------------------

SCAN = of_range(1, 9)


def test_a_damaged_line_costs_its_event_only(caplog: pytest.LogCaptureFixture) -> None:
    keep(result(1), result(2), result(3))
    file = journal_file(SCAN)
    lines = file.read_bytes().split(b"\n")
    for damage in (b"{", lines[2].replace(b'"2"', b"2"), lines[2].replace(b"false", b'"no"'), b"\xff"):
        file.write_bytes(b"\n".join([*lines[:2], damage, *lines[3:]]))
        with open_journal(SCAN) as journal:
            assert kept(journal) == [result(1), result(3)]
        assert "1 lines of" in caplog.text


def test_a_journal_is_not_reached_through_a_link(tmp_path: Path) -> None:
    keep(result(1))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("not ours")
    journal_file(SCAN).unlink()
    journal_file(SCAN).symlink_to(elsewhere)
    with pytest.raises(OSError, match="symbolic link"), open_journal(SCAN):
        pass
    assert elsewhere.read_text() == "not ours"


def test_an_event_that_always_fails_comes_last() -> None:
    keep(result(2, problem="refused"), result(1))
    with open_journal(SCAN) as journal:
        assert meetmax_scan._open_ids(SCAN, journal, set()) == [3, 4, 5, 6, 7, 8, 9, 2]


def result(event_id: int, problem: str = "") -> meetmax.CheckedEvent:
    return meetmax.CheckedEvent(str(event_id), f"{BASE}/é", title='a "b"\nc', problem=problem)


def keep(*results: meetmax.CheckedEvent, scan: Plan = SCAN) -> None:
    with open_journal(scan) as journal:
        for one in results:
            journal.add(one)


def kept(journal: Journal) -> list[meetmax.CheckedEvent]:
    return list(journal.results(SCAN.ids))


def test_results_are_on_disk_before_the_next_request() -> None:
    with open_journal(SCAN) as journal:
        journal.add(result(1))
        lines = journal_file(SCAN).read_text(encoding="utf-8").splitlines()

    assert json.loads(lines[1])["event_id"] == "1"


def test_a_journal_opened_again_has_what_was_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    keep(result(2), result(1))
    monkeypatch.setenv("ETL_CLOCK", "2026-03-07T19:00:00")
    with open_journal(SCAN) as journal:
        assert kept(journal) == [result(1), result(2)]
        assert journal.begun.day == 6
        assert [n for n in SCAN.ids if not journal.is_done(n)] == [3, 4, 5, 6, 7, 8, 9]


def test_a_scan_of_days_goes_on_as_long_as_somebody_is_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for day in range(6, 12):
        monkeypatch.setenv("ETL_CLOCK", f"2026-03-{day:02}T19:00:00")
        keep(result(day - 5))
    with open_journal(SCAN) as journal:
        assert [one.event_id for one in kept(journal)] == ["1", "2", "3", "4", "5", "6"]


@pytest.mark.parametrize(
    "clock", ["2026-03-07T19:00:01", "2026-04-06T19:00:00", "2025-03-06T19:00:00", "1970-01-02T00:00:00"]
)
def test_what_was_left_alone_or_is_from_the_future_is_asked_anew(monkeypatch: pytest.MonkeyPatch, clock: str) -> None:
    keep(result(2), result(1))
    monkeypatch.setenv("ETL_CLOCK", clock)
    keep(result(3))
    with open_journal(SCAN) as journal:
        assert kept(journal) == [result(3)]
        assert f"{journal.begun:%Y-%m-%d}" == clock[:10]


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_line_cut_by_a_crash_is_dropped_and_written_again(cut: int) -> None:
    keep(result(1), result(2))
    file = journal_file(SCAN)
    file.write_bytes(file.read_bytes()[:-cut])
    keep(result(3))
    with open_journal(SCAN) as journal:
        assert kept(journal) == [result(1), result(3)]


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"[]\n", b'{"base_url": "http://other", "name": "1_9", "begun": "x"}\n{}\n']
)
def test_a_journal_of_something_else_starts_anew(content: bytes) -> None:
    keep(result(1))
    journal_file(SCAN).write_bytes(content)
    with open_journal(SCAN) as journal:
        assert kept(journal) == []
        journal.add(result(4))
    with open_journal(SCAN) as journal:
        assert kept(journal) == [result(4)]


@pytest.mark.parametrize("other", [of_range(1, 8), of_range(2, 9), around_known([3], 5)])
def test_another_scan_does_not_go_on_with_it(other: Plan) -> None:
    keep(result(3))
    with open_journal(other) as journal:
        assert kept(journal) == []
    with open_journal(SCAN) as journal:
        assert kept(journal) == [result(3)]


def test_what_failed_is_asked_again_and_the_later_answer_counts() -> None:
    keep(result(1, problem="refused"))
    with open_journal(SCAN) as journal:
        assert not journal.is_done(1)
        journal.add(result(1))
    with open_journal(SCAN) as journal:
        assert kept(journal) == [result(1)]


def test_a_journal_that_was_forgotten_just_before_it_was_locked_is_not_the_scans(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keep(result(1))
    lock = fcntl.flock

    def forgotten_then_locked(stream: Any, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        meetmax_journal.forget(SCAN)
        lock(stream, how)

    monkeypatch.setattr(fcntl, "flock", forgotten_then_locked)
    with open_journal(SCAN) as journal:
        assert kept(journal) == []
        journal.add(result(2))
    with open_journal(SCAN) as journal:
        assert kept(journal) == [result(2)]


def test_two_scans_of_one_range_do_not_share_a_journal() -> None:
    with open_journal(SCAN), pytest.raises(TemporaryFailure, match="another scan"), open_journal(SCAN):
        pass


# ---- the scan ------------------------------------------------------------------------------


def call(first: int = 119230, last: int = 119275, workers: int = 1) -> argparse.Namespace:
    return argparse.Namespace(first=first, last=last, around_known=False, window=None, workers=workers, accept=False)


def published(folder: Path) -> list[dict[str, str]]:
    (file,) = folder.glob("*_MeetMaxURLCheck.csv")
    return list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"))))


def test_a_scan_finds_every_event_of_the_site(site: str, tmp_path: Path) -> None:
    assert url_check.main(call()) == 0

    rows = published(tmp_path / "file_watcher")
    lists = meetmax_site.company_lists(1)
    assert list(rows[0]) == list(meetmax.CSV_HEADER)
    assert [row["EventID"] for row in rows] == [str(n) for n in range(119230, 119276)]
    assert {row["EventID"] for row in rows if row["IsDownloadable"] == "1"} == set(lists)
    assert {row["StatusCode"] for row in rows} == {"200"}
    assert all((row["IfExists"] == "0") == (row["InvalidEventID"] == "True") for row in rows)
    assert [file.name for file in (tmp_path / "file_watcher").glob("*.csv")] == ["20260306T190000_MeetMaxURLCheck.csv"]
    assert list((tmp_path / "file_watcher" / "file_watcher_temp").iterdir()) == []


def test_a_killed_scan_goes_on_where_it_was(site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    check = meetmax.check_event

    def killed_after_ten(session: WebSession, event_id: str, keep_page: Any) -> meetmax.CheckedEvent:
        if len(asked) == 10:
            raise KeyboardInterrupt
        asked.append(event_id)
        return check(session, event_id, keep_page)

    monkeypatch.setattr(meetmax, "check_event", killed_after_ten)
    with pytest.raises(KeyboardInterrupt):
        url_check.main(call())
    assert list((tmp_path / "file_watcher").glob("*.csv")) == []

    later: list[str] = []
    monkeypatch.setattr(meetmax, "check_event", lambda *words: later.append(words[1]) or check(*words))
    url_check.main(call())

    assert asked + later == [str(n) for n in range(119230, 119276)]
    assert len(published(tmp_path / "file_watcher")) == 46


class Killed(BaseException):
    pass


def killed(*_arguments: Any) -> None:
    raise Killed


def killed_after(step: Any) -> Any:
    def act(*arguments: Any) -> None:
        step(*arguments)
        raise Killed

    return act


KILLS = {
    "before the file is whole": (directory_management, "new_file", killed),
    "before the journal begins anew": (Journal, "begin_anew", killed),
    "after it": (Journal, "begin_anew", killed_after(Journal.begin_anew)),
    "before it is published": (whole_files, "move", killed),
    "after it is": (whole_files, "move", killed_after(whole_files.move)),
    "before it is forgotten": (url_check, "forget", killed),
}


@pytest.mark.parametrize("where", KILLS)
def test_a_scan_killed_while_it_is_published_is_published_once(
    site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    keep(result(119229), scan=of_range(119230, 119233))  # the journal is there before
    with monkeypatch.context() as patch:
        patch.setattr(*KILLS[where])
        with pytest.raises(Killed):
            url_check.main(call(119230, 119233))
    folder = tmp_path / "file_watcher"
    before = list(folder.glob("*.csv"))
    monkeypatch.setenv("ETL_CLOCK", "2026-03-06T20:00:00")
    asked = count_requests(monkeypatch)
    url_check.main(call(119230, 119233))

    if before:  # which an import may have taken since
        assert len(asked) == 4
        before[0].unlink()
    else:
        assert asked == []
    assert [row["EventID"] for row in published(folder)] == ["119230", "119231", "119232", "119233"]
    assert list((folder / "file_watcher_temp").iterdir()) == []


def count_requests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []
    check = meetmax.check_event
    monkeypatch.setattr(meetmax, "check_event", lambda *words: asked.append(words[1]) or check(*words))
    return asked


def test_a_scan_that_is_published_a_week_late_is_no_reason_not_to_ask(
    site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(whole_files, "move", killed)
        with pytest.raises(Killed):
            url_check.main(call(119230, 119233))
    monkeypatch.setenv("ETL_CLOCK", "2026-03-13T19:00:00")
    asked = count_requests(monkeypatch)
    url_check.main(call(119230, 119233))

    names = sorted(file.name for file in (tmp_path / "file_watcher").glob("*.csv"))
    assert names == ["20260306T190000_MeetMaxURLCheck.csv", "20260313T190000_MeetMaxURLCheck.csv"]
    assert len(asked) == 4


def test_two_scans_that_end_in_one_second_are_both_published(site: str, tmp_path: Path) -> None:
    """Of different events, so that no journal keeps them apart; another one takes the name just before it is given."""
    taken = tmp_path / "file_watcher" / "20260306T190000_MeetMaxURLCheck.csv"
    move = whole_files.move

    def taken_then_moved(source: Path, target: Path) -> None:
        taken.write_text("of the other scan")
        move(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whole_files, "move", taken_then_moved)
        url_check.main(call(119230, 119233))

    assert taken.read_text() == "of the other scan"
    assert taken.with_name("20260306T190001_MeetMaxURLCheck.csv").exists()


@pytest.mark.parametrize(("clock", "level"), [("2026-03-06T20:00:00", "INFO"), ("2026-03-07T19:15:00", "WARNING")])
def test_a_scan_that_goes_on_says_how_old_it_is(
    site: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, clock: str, level: str
) -> None:
    caplog.set_level("INFO")
    scan = of_range(119231, 119232)
    keep(meetmax.CheckedEvent("119231", "u", problem="not yet"), scan=scan)
    monkeypatch.setenv("ETL_CLOCK", "2026-03-06T19:30:00")
    keep(meetmax.CheckedEvent("119231", "u", invalid=True), scan=scan)
    monkeypatch.setenv("ETL_CLOCK", clock)
    url_check.main(call(119231, 119232))

    (line,) = [one for one in caplog.records if "going on with the scan begun 2026-03-06" in one.getMessage()]
    assert line.levelname == level
    assert "1 of 2 events" in line.getMessage()


def test_a_scan_without_clear_answers_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEETMAX_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("ETL_REQUEST_RETRIES", "0")
    monkeypatch.setenv("ETL_OBEY_ROBOTS", "no")

    with pytest.raises(JobError, match="2 of 2 events .*nothing is published"):
        url_check.main(call(1, 2))
    assert list((tmp_path / "file_watcher").glob("*.csv")) == []
    with open_journal(of_range(1, 2)) as journal:
        assert [result.status_code for result in journal.results([1, 2])] == ["Failed", "Failed"]


def test_a_scan_that_is_refused_too_often_stops_and_can_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEETMAX_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("ETL_REQUEST_RETRIES", "0")
    monkeypatch.setenv("ETL_OBEY_ROBOTS", "no")
    monkeypatch.setenv("ETL_REFUSALS_ALLOWED", "3")
    with pytest.raises(TemporaryFailure):
        url_check.main(call(1, 50))

    assert list((tmp_path / "file_watcher").glob("*.csv")) == []
    with open_journal(of_range(1, 50)) as journal:
        assert len(journal) == 2
        assert not journal.is_done(1)


@pytest.mark.parametrize(("first", "last"), [(0, 5), (5, 4), (-3, -1)])
def test_it_refuses_a_range_that_is_none(first: int, last: int) -> None:
    with pytest.raises(WrongCall, match="--first"):
        url_check.main(call(first, last))


# ---- the download --------------------------------------------------------------------------


def fetch(event_id: str, link: str) -> Outcome:
    manners = Manners("tester", 0, 5, 0, 5, False)
    return fetch_event(WebSession(manners), meetmax.EventFile(event_id, link))


def test_it_downloads_every_list_of_the_site(site: str, tmp_path: Path) -> None:
    for event_id in meetmax_site.company_lists(1):
        outcome = fetch(event_id, f"{site}/sched/event_{event_id}/__co-list_cp.xls?event_id={event_id}")
        assert outcome.status == ("Downloaded" if meetmax_site.company_lists(1)[event_id] else "Vanished")
        placed_as_empty(outcome)

    names = sorted(file.name for file in (tmp_path / "file_watcher").iterdir())
    assert names[0] == "20260306T190000_MeetMax_119230.xls"
    assert len(names) == len(meetmax_site.company_lists(1))


@pytest.mark.parametrize(
    ("event_id", "path", "status"),
    [
        ("119230", "/gone.xls", "Failed"),
        ("119230", "/sched/event_119238/__co-list_cp.html", "Failed"),
        ("119252", "/sched/event_119252/__co-list_cp.html", "Refused"),
        ("119241", "/sched/event_119241/__co-list_cp.html", "Refused"),
        ("../x", "/sched/event_119230/__co-list_cp.xls", "Failed"),
    ],
)
def test_a_file_that_cannot_be_had_leaves_its_reason(
    site: str, tmp_path: Path, event_id: str, path: str, status: str
) -> None:
    outcome = fetch(event_id, site + path)

    assert outcome.status == status
    assert outcome.reason
    assert list((tmp_path / "file_watcher").iterdir()) == []


def test_a_link_to_another_host_is_not_followed(site: str) -> None:
    assert "does not lead to" in fetch("119230", "https://evil.example/x.xls").reason
