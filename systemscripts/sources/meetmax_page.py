"""Reads MeetMax's company list pages: the page's text in, what it says out.

No two events look quite the same: attributes come in any order and case, quoted or not, and
boxes carry more classes than one expects. So this goes by what an element is for, and a page
that is neither a company list nor "Invalid Event ID" is called unknown, never empty.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

LONGEST_ALERT = 300  # characters; a longer "alert" is a whole page with an unlucky class name

_FILE_PATH = re.compile(r".*co-list_cp\.xlsx?", re.IGNORECASE)
_EVENT_QUERY = re.compile(r"\bevent_id=(\d+)", re.IGNORECASE)
_TITLE_END = re.compile(r"\s+-\s+MeetMax\s*$", re.IGNORECASE)
LIST_HEADING = re.compile(r"(?<![a-z])(company|ticker|organization)(?![a-z])", re.IGNORECASE)


class State(Enum):
    """What a page is."""

    LISTED = "a company list"
    EMPTY = "an event without companies"
    INVALID = "no such event"
    ELSEWHERE = "a page that links to the list"
    UNKNOWN = "something else"


@dataclass(frozen=True)
class ListPage:
    """What a page says. Links are absolute and on the page's own host; "" where there is none.

    `title` stands before " - MeetMax"; `next_list` is the ~public or private list it links to.
    """

    state: State
    title: str
    download_link: str = ""
    next_list: str = ""
    login: bool = False


def read_page(html: str, url: str, event_id: str) -> ListPage:
    """Return what the page found at `url` says about the event."""
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(html, "html.parser")
    return ListPage(
        state=_state(soup, url, event_id),
        title=_title(soup),
        download_link=_download_link(soup, url, event_id),
        next_list=_next_list(soup, url, event_id),
        login=soup.find("input", type=re.compile("^password$", re.IGNORECASE)) is not None,
    )


def _state(soup: "BeautifulSoup", url: str, event_id: str) -> State:
    if _has_companies(soup):
        return State.LISTED
    if _says_invalid(soup):
        return State.INVALID
    if "no companies found" in _words(soup):
        return State.EMPTY
    if _download_link(soup, url, event_id):
        return State.LISTED
    return State.ELSEWHERE if _next_list(soup, url, event_id) else State.UNKNOWN


def _has_companies(soup: "BeautifulSoup") -> bool:
    """Return whether there is a row of the list, by its classes or by the headings of its table."""
    if soup.select_one("td.col_company, td.col_ticker, span.full_name"):
        return True
    for table in soup.find_all("table"):
        rows = table.find_all("tr")
        headings = rows[0].find_all(["th", "td"]) if rows else []
        if len(rows) > 1 and len(headings) > 1 and any(LIST_HEADING.search(_words(cell)) for cell in headings):
            return True
    return False


def _says_invalid(soup: "BeautifulSoup") -> bool:
    """Return whether an alert box, or the page as a whole, says that there is no such event."""
    boxes = [element for element in soup.find_all(True) if _is_alert(element)]
    texts = [_words(element) for element in (*boxes, soup.body or soup)]
    return any("invalid event id" in text for text in texts if len(text) <= LONGEST_ALERT)


def _is_alert(element: "Tag") -> bool:
    role = str(element.get("role") or "").lower()
    return role == "alert" or any(name == "alert" or name.startswith("alert-") for name in _classes(element))


def _title(soup: "BeautifulSoup") -> str:
    for title in soup.find_all("title"):
        if title.find_parent("svg") is None:
            return _TITLE_END.sub("", " " + " ".join(title.get_text().split())).strip()
    return ""


# ---- links ----


def _download_link(soup: "BeautifulSoup", url: str, event_id: str) -> str:
    """Return the address of the spreadsheet: from a link to it, else from the export button."""
    for target in _own_links(soup, url, event_id):
        path = _FILE_PATH.match(urlsplit(target).path)
        query = _EVENT_QUERY.search(target)
        if path and (query is None or query.group(1) == event_id):
            return urljoin(target, f"{path.group(0)}?event_id={event_id}")
    button = soup.find(id=re.compile("^export$", re.IGNORECASE))
    if button is not None and "download company list" in _words(button):
        event_path = f"/event_{event_id}/"
        before, _, _ = url.partition(event_path)
        return f"{before}{event_path}__co-list_cp.xls?event_id={event_id}"
    return ""


def _next_list(soup: "BeautifulSoup", url: str, event_id: str) -> str:
    """Return the list that this page links to and is not itself, the ~public one before the private one."""
    if "__private-co-list" in url:
        return ""
    for name in ("~public/__co-list_cp.html", "__private-co-list_cp.html"):
        if name in url:
            continue
        for target in _own_links(soup, url, event_id):
            if name in target:
                return target
    for link in soup.find_all("a"):
        if "nav-link" in _classes(link) and _words(link) == "private company list":
            return urljoin(url.partition("~public/")[0], "__private-co-list_cp.html")
    return ""


def _own_links(soup: "BeautifulSoup", url: str, event_id: str) -> Iterator[str]:
    """Yield the absolute addresses that the page links to below its own event, in order."""
    page = urlsplit(url)
    for link in soup.find_all(href=True):
        try:
            target = urlsplit(urljoin(url, str(link["href"]).strip()))
        except ValueError:
            continue
        if target.netloc == page.netloc and f"/event_{event_id}/" in target.path:
            yield target._replace(scheme=page.scheme, fragment="").geturl()


# ---- elements ----


def _words(element: "Tag") -> str:
    """Return the visible text in lower case, all white space (also &nbsp;) as one blank."""
    return " ".join(element.get_text(" ").split()).lower()


def _classes(element: "Tag") -> list[str]:
    return [name.lower() for name in element.get_attribute_list("class") if name]
