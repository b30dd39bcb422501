"""The stand-in MeetMax site: its files hold what it says they hold, and it starts and stops as a process."""

import csv
import io
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from html.parser import HTMLParser
from pathlib import Path

import pytest

DEMO = Path(__file__).resolve().parent.parent / "onboarding" / "demo"
sys.path.insert(0, str(DEMO))

import meetmax_files  # noqa: E402
import meetmax_lists  # noqa: E402
import meetmax_site  # noqa: E402

pytestmark = pytest.mark.slow

KINDS = {"biff", "ooxml", "csv", "html", "vanished"}


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as response:
        return bytes(response.read())


def text_of(value: object) -> str:
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, int | float) and value == int(value) else str(value)


def biff_rows(content: bytes) -> list[list[str]]:
    import xlrd

    sheet = xlrd.open_workbook(file_contents=content).sheet_by_index(0)
    return [[text_of(value) for value in sheet.row_values(number)] for number in range(sheet.nrows)]


def ooxml_rows(content: bytes) -> list[list[str]]:
    import openpyxl

    sheet = openpyxl.load_workbook(io.BytesIO(content)).worksheets[0]
    return [[text_of(value) for value in row] for row in sheet.iter_rows(values_only=True)]


def csv_rows(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode(), newline="")))


class _Table(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []

    def handle_starttag(self, tag: str, _attrs: object) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.rstrip("\n")


def html_rows(content: bytes) -> list[list[str]]:
    table = _Table()
    table.feed(content.decode("ascii"))
    return table.rows


READERS = {"biff": biff_rows, "ooxml": ooxml_rows, "csv": csv_rows, "html": html_rows}
LISTED = [(day, event) for day in meetmax_lists.DAYS for event in meetmax_lists.events_of(day).values() if event.file]


@pytest.mark.parametrize(("day", "event"), LISTED, ids=lambda one: getattr(one, "event_id", one))
def test_a_file_holds_exactly_the_rows_that_the_truth_has(day: int, event: meetmax_lists.Event) -> None:
    rows = meetmax_site.company_lists(day)[event.event_id]
    content = meetmax_files.file_bytes(event, rows)
    if event.file == "vanished":
        assert (content, rows) == (b"Invalid Event ID", [])
        return
    headings, *found = READERS[event.file](content)
    assert headings == list(meetmax_lists.COLUMNS[event.columns])
    assert found == [list(row.values()) for row in rows]


def test_the_same_rows_always_make_the_same_bytes() -> None:
    for event in meetmax_lists.EVENTS:
        if event.file:
            rows = meetmax_site.company_lists(2)[event.event_id]
            assert meetmax_files.file_bytes(event, rows) == meetmax_files.file_bytes(event, rows)


def test_what_is_said_to_change_is_what_changes() -> None:
    before, after = meetmax_site.company_lists(1), meetmax_site.company_lists(2)
    found = set()
    for event_id in after:
        old, new = companies(before.get(event_id, [])), companies(after[event_id])
        found |= {(event_id, *one, "added") for one in new - old} | {(event_id, *one, "removed") for one in old - new}

    assert found == meetmax_site.expected_changes()
    assert {scenario for *_, scenario in found} == {"added", "removed"}
    assert "119248" not in {event_id for event_id, *_ in found}
    assert set(after) - set(before) == {"119250"}


def companies(rows: list[meetmax_lists.Row]) -> set[tuple[str, str]]:
    return {
        (
            next(row[heading] for heading in meetmax_lists.COMPANY_HEADINGS if heading in row).upper(),
            next(row[heading] for heading in meetmax_lists.TICKER_HEADINGS if heading in row).upper(),
        )
        for row in rows
    }


def test_the_data_hold_what_breaks_careless_programs() -> None:
    values = [value for rows in meetmax_site.company_lists(2).values() for row in rows for value in row.values()]

    assert {"1530", "NA", "003984"} <= set(values)
    assert any("," in value and '"' in value and "é" in value for value in values)
    assert any(len(value) == 2700 for value in values)
    assert any("\n" in value for value in values)
    assert {event.file for event in meetmax_lists.EVENTS if event.file} == KINDS
    assert any("" in row for rows in meetmax_site.company_lists(1).values() for row in rows)


def test_its_headings_are_real_ones(corpus_dir: Path) -> None:
    lines = (corpus_dir / "meetmax" / "headings.tsv").read_text(encoding="utf-8").splitlines()
    known = {line.split("\t")[0].strip('"') for line in lines}
    used = {heading for headings in meetmax_lists.COLUMNS.values() for heading in headings if heading}

    assert {heading.lower().replace(" ", "_").replace("-", "_") for heading in used} <= known


def test_two_events_refuse_their_first_visitor_only() -> None:
    with meetmax_site.serve(day=1) as base_url:
        too_many = f"{base_url}/sched/event_{meetmax_site.TOO_MANY_AT_FIRST}/__co-list_cp.html"
        with pytest.raises(urllib.error.HTTPError) as refusal:
            get(too_many)
        refusal.value.close()
        assert (refusal.value.code, refusal.value.headers["Retry-After"]) == (429, "1")
        assert b"co-list_cp.xls" in get(too_many)

        denied = f"{base_url}/sched/event_{meetmax_site.DENIED_AT_FIRST}/__co-list_cp.html"
        assert b"Access denied" in get(denied)
        assert b"Download Company List" in get(denied)


def test_a_long_list_shows_thirty_rows_and_downloads_whole() -> None:
    with meetmax_site.serve(day=1) as base_url:
        page = get(f"{base_url}/sched/event_119243/__co-list_cp.html")
        content = get(f"{base_url}/sched/event_119243/__co-list_cp.xls?event_id=119243")

    assert page.count(b'class="rows"') == 30
    assert b"page_num='2'" in page
    assert len(biff_rows(content)) == len(meetmax_site.company_lists(1)["119243"]) + 1


@pytest.mark.parametrize("event_id", ["1", "119231", "abc", "119250"])
def test_any_other_event_is_invalid(event_id: str) -> None:
    with meetmax_site.serve(day=1) as base_url:
        assert b"Invalid Event ID" in get(f"{base_url}/sched/event_{event_id}/__co-list_cp.html")
        assert get(f"{base_url}/sched/event_{event_id}/__co-list_cp.xls") == b"Invalid Event ID"


def test_as_a_process_it_writes_its_port_and_stops_on_sigterm(tmp_path: Path) -> None:
    port_file = tmp_path / "port"
    command = [sys.executable, str(DEMO / "meetmax_site.py"), "--day", "2", "--port-file", str(port_file)]
    with subprocess.Popen(command, cwd="/", stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 20
            while not port_file.exists() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
            page = get(f"http://127.0.0.1:{port_file.read_text()}/sched/event_119250/__co-list_cp.html")
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
    assert b"Company List - MeetMax" in page
