"""A stand-in for the MeetMax site, on this machine only, for the demonstration and the tests.

Some thirty events between 119230 and 119275 exist, in every form that the real site has; the
other numbers are invalid. Two events refuse their first visitor and serve the next. On day 2 some
companies have come and gone, and there is one event more.

  python onboarding/demo/meetmax_site.py --day 1 --port-file FILE

writes the port to FILE once it listens, and stops on SIGTERM.
"""

import argparse
import html
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

from meetmax_files import VANISHED, file_bytes
from meetmax_lists import (
    COMPANY_HEADINGS,
    DAYS,
    FIRST_EVENT_ID,
    LAST_EVENT_ID,
    TICKER_HEADINGS,
    Event,
    Row,
    company_lists,
    events_of,
    expected_changes,
)

__all__ = ["FIRST_EVENT_ID", "LAST_EVENT_ID", "company_lists", "expected_changes", "serve"]

TOO_MANY_AT_FIRST = "119241"
DENIED_AT_FIRST = "119252"
ROWS_A_PAGE = 30

_PATH = re.compile(
    r"/sched/event_(?P<id>[^/]+)/(?P<public>~public/)?__(?P<private>private-)?co-list_cp\.(?P<kind>html|xls)"
)
_NAV_LINK = '<li class="nav-item"><a href="__private-co-list_cp.html" class="nav-link">Private Company List</a></li>'


class Answer(NamedTuple):
    """A response before it is sent."""

    body: bytes
    status: int = 200
    content_type: str = "text/html; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


class Site:
    """What the site says on one day; only the two first refusals change while it runs."""

    def __init__(self, day: int) -> None:
        self._events = events_of(day)
        self._rows = company_lists(day)
        self._files = {id_: file_bytes(self._events[id_], rows) for id_, rows in self._rows.items()}
        self._refusals = {
            TOO_MANY_AT_FIRST: Answer(b"error code: 1015", 429, "text/plain", (("Retry-After", "1"),)),
            DENIED_AT_FIRST: Answer(_page("Access Denied", "<h1>Access denied</h1><p>Please try again later.</p>")),
        }
        self._lock = threading.Lock()

    def answer(self, target: str) -> Answer:
        """Return the response to GET `target`."""
        path = _PATH.fullmatch(target.partition("?")[0])
        if path is None:
            return Answer(_page("Not Found", "<h1>Not Found</h1>"), 404)
        event_id = path["id"]
        if path["kind"] == "xls":
            return Answer(self._files.get(event_id, VANISHED), content_type="application/vnd.ms-excel")
        with self._lock:
            refusal = self._refusals.pop(event_id, None)
        if refusal:
            return refusal
        event = self._events.get(event_id)
        if event is None:
            return Answer(_invalid_page(event_id))
        return self._list_page(event, bool(path["public"]), bool(path["private"]))

    def _list_page(self, event: Event, public: bool, private: bool) -> Answer:
        id_ = event.event_id
        rows = self._rows.get(id_, [])
        if event.page == "redirect" and not public:
            return Answer(b"", 302, headers=(("Location", f"~public/__co-list_cp.html?event_id={id_}"),))
        if event.page == "link" and not public:
            link = f'<p>The list has moved <a href="~public/__co-list_cp.html?event_id={id_}">here</a>.</p>'
            return Answer(_page(f"{event.title} - MeetMax", link))
        if event.page == "private" and not private:
            return Answer(_page(f"{event.title} - MeetMax", f"<ul>{_NAV_LINK}</ul><p>No companies found</p>"))
        if event.page == "empty":
            return Answer(_page(f"{event.title} - MeetMax", "<p> No companies found </p>"))
        return Answer(_page(f"{event.title} - MeetMax", _download_link(event) + _table(rows)))


def _page(title: str, body: str) -> bytes:
    head = f"<!DOCTYPE html>\n<html><head><title>{html.escape(title)}</title></head>"
    return f"{head}<body>\n{body}\n</body></html>\n".encode()


def _invalid_page(event_id: str) -> bytes:
    alert = '<div role="alert" class="mt-3 alert alert-danger alert-dismissible" data-auto="no">'
    close = '<button type="button" class="close">&times;</button>'
    return _page("MeetMax", f"{alert}{close}\n Invalid Event ID:&nbsp;{html.escape(event_id)}\n</div>")


def _download_link(event: Event) -> str:
    icon = '<i class="fas fa-cloud-download-alt"> </i> Download Company List'
    if event.page == "export":
        return f'<button type="button" class="btn link-excel" id="export">{icon}</button>'
    name = "__private-co-list_cp.xls" if event.page == "private" else "__co-list_cp.xls"
    return f'<a href="{name}?event_id={event.event_id};sort=company" class="link-excel">{icon}</a>'


def _table(rows: list[Row]) -> str:
    """Return the first page of the list: the spreadsheet is whole, the page is not."""
    lines = []
    for row in rows[:ROWS_A_PAGE]:
        company = next(row[heading] for heading in COMPANY_HEADINGS if heading in row)
        ticker = next(row[heading] for heading in TICKER_HEADINGS if heading in row)
        cells = f'<td class="col_company"><span class="full_name">{html.escape(company)}</span></td>'
        lines.append(f'<tr valign=top class="rows">{cells}<td class="col_ticker">{html.escape(ticker)}</td></tr>')
    more = "<a page_num='2'>2</a>" if len(rows) > ROWS_A_PAGE else ""
    return "<table>\n<tr><th>Company Name</th><th>Ticker</th></tr>\n" + "\n".join(lines) + f"\n</table>{more}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: apart, the second waits for the first to be acknowledged
    site: Site

    def do_GET(self) -> None:
        answer = self.site.answer(self.path)
        self.send_response(answer.status)
        for name, value in (*answer.headers, ("Content-Type", answer.content_type)):
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, *_args: object) -> None:
        """Stay silent: the visitors' logs tell what happened."""


@contextmanager
def serve(day: int = 1, port: int = 0) -> Iterator[str]:
    """Run the site on the loopback interface and yield its base URL; port 0 takes a free one."""
    handler = type("Handler", (_Handler,), {"site": Site(day)})
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--day", type=int, choices=DAYS, default=1)
    parser.add_argument("--port", type=int, default=0, help="default: any free one")
    parser.add_argument("--port-file", type=Path, help="where to write the port")
    args = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    with serve(args.day, args.port) as base_url:
        if args.port_file:
            part = args.port_file.with_name(args.port_file.name + ".part")
            part.write_text(base_url.rpartition(":")[2])
            part.replace(args.port_file)
        sys.stderr.write(f"the stand-in site for day {args.day} is at {base_url}\n")
        stop.wait()


if __name__ == "__main__":
    main()
