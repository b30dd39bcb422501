"""MeetMax, a site with the company lists of investor conferences: its addresses, and the check of one event.

An event is a number. For most numbers the public list says "Invalid Event ID". An event that exists
shows thirty companies per page, and offers the whole list as a spreadsheet.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from systemscripts import settings
from systemscripts.errors import JobError
from systemscripts.sources.meetmax_page import ListPage, State, read_page
from systemscripts.web_utils import BadStatus, FetchError, WebSession

CSV_HEADER = (
    "EventID",
    "URL",
    "IfExists",
    "InvalidEventID",
    "IsDownloadable",
    "DownloadLink",
    "StatusCode",
    "Title",
)

# Used in place of a status: no answer came, or the answer is not an event's page.
FAILED = "Failed"
ERROR = "Error"

# What a page says that is not one of the event.
NOT_THE_EVENTS = (State.UNKNOWN, State.ELSEWHERE)

MOST_LISTS = 3  # public, ~public, private


class UnusableEvent(JobError):
    """A scan's line about an event whose list cannot be fetched."""


@dataclass(frozen=True)
class CheckedEvent:
    """One event's line of a scan. `problem` is "" if the site gave a clear answer."""

    event_id: str
    url: str
    exists: bool = False
    invalid: bool = False
    downloadable: bool = False
    download_link: str = ""
    status_code: str = "200"
    title: str = ""
    problem: str = ""

    def csv_row(self) -> tuple[str, ...]:
        """Return the values below CSV_HEADER."""
        return (
            self.event_id,
            self.url,
            str(int(self.exists)),
            str(self.invalid),
            str(int(self.downloadable)),
            self.download_link,
            self.status_code,
            self.title,
        )


@dataclass(frozen=True)
class EventFile:
    """An event whose company list a scan found to be downloadable."""

    event_id: str
    link: str


def check_event(session: WebSession, event_id: str, keep_page: Callable[[str, str], str]) -> CheckedEvent:
    """Ask the site about one event; the result also holds a failure.

    An unknown page is passed to `keep_page` with the event's id, and its return value is added to the
    message. Raises only TemporaryFailure, if the site has refused too often in a row.
    """
    url = f"{settings.meetmax_base_url()}/sched/event_{event_id}/__co-list_cp.html"
    try:
        for _ in range(MOST_LISTS):
            # In a page of the event the words of a refusal are only part of a company's name.
            answer = session.get(url, lambda it: read_page(it.text, it.url, event_id).state not in NOT_THE_EVENTS)
            page = read_page(answer.text, answer.url, event_id)
            if page.download_link or not page.next_list:
                break
            url = page.next_list
    except FetchError as failure:
        status = str(failure.status) if isinstance(failure, BadStatus) else FAILED
        return CheckedEvent(event_id, url, status_code=status, problem=str(failure))
    result = judged(event_id, answer.url, page)
    return replace(result, problem=result.problem + keep_page(event_id, answer.text)) if result.problem else result


def judged(event_id: str, url: str, page: ListPage) -> CheckedEvent:
    """Return the scan's line for an event whose list was searched at `url`."""
    if f"/event_{event_id}/" not in urlsplit(url).path:
        problem = f"{url}: the site answers with a page that is not that of event {event_id}"
        return CheckedEvent(event_id, url, status_code=ERROR, title=page.title, problem=problem)
    if page.state in NOT_THE_EVENTS:
        what = "asks for a login" if page.login else "is neither a company list nor says Invalid Event ID"
        problem = f"{url}: the page {page.title!r} {what}"
        return CheckedEvent(event_id, url, status_code=ERROR, title=page.title, problem=problem)
    exists = page.state is not State.INVALID
    link = page.download_link if exists else ""
    return CheckedEvent(
        event_id=event_id,
        url=url,
        exists=exists,
        invalid=not exists,
        downloadable=bool(link),
        download_link=link,
        title=page.title,
    )


def scan_file(moment: datetime) -> Path:
    """Return the place for the result of a scan that ended at this moment; its name contains the second."""
    while True:
        file = settings.file_watcher_dir() / f"{moment:%Y%m%dT%H%M%S}_MeetMaxURLCheck.csv"
        if not os.path.lexists(file):  # a dangling link takes the name too
            return file
        moment += timedelta(seconds=1)


def event_file(moment: datetime, event_id: str) -> Path:
    """Return the place for an event's company list; raises UnusableEvent for an id that is not a number."""
    if not (event_id.isascii() and event_id.isdigit()):
        raise UnusableEvent(f"event id {event_id!r} is not a number")
    return settings.file_watcher_dir() / f"{moment:%Y%m%dT%H%M%S}_MeetMax_{event_id}.xls"


def require_own_link(event: EventFile) -> None:
    """Raise UnusableEvent unless the link leads to MeetMax itself; a link from a page is not trusted."""
    base = urlsplit(settings.meetmax_base_url())
    try:
        link = urlsplit(event.link)
    except ValueError:
        link = urlsplit("")
    if (link.scheme, link.netloc) != (base.scheme, base.netloc):
        raise UnusableEvent(
            f"event {event.event_id}: the link {event.link!r} does not lead to {base.scheme}://{base.netloc}"
        )
