"""Read MeetMax's company list pages: it takes the page's text and returns what the page says.

The pages of events differ: attributes come in any order and case, quoted or not, and boxes have
unexpected classes. So this looks at the purpose of an element. A page that is neither a company list
nor "Invalid Event ID" is called unknown, never empty.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from systemscripts.plain_text import as_words

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

MOST_OPEN_TAGS = 1_000  # unclosed comments of a page: each would be searched to the end of the page
MOST_DEPTH = 512  # of elements in each other, as in browsers; each may be looked at from all that are around it
MOST_IN_ALERT = 100  # elements and texts, also in a heading; what holds more is a whole page with an unlucky class name
LONGEST_ALERT = 300  # characters; the same of its text

_FILE_PATH = re.compile(r".*co-list_cp\.xlsx?", re.IGNORECASE)
_EVENT_QUERY = re.compile(r"\bevent_id=(\d+)", re.IGNORECASE)
_COMPANY_CLASSES = {"col_company", "col_ticker", "full_name"}
_LOGIN = re.compile(r"\b(log|sign)[ -]?in\b", re.IGNORECASE)
_TITLE_END = re.compile(r"\s+-\s+MeetMax\s*$", re.IGNORECASE)
LIST_HEADING = re.compile(r"(?<![a-z])(company|ticker|organization)(?![a-z])", re.IGNORECASE)


class State(Enum):
    """The kind of a page."""

    LISTED = "a company list"
    EMPTY = "an event without companies"
    INVALID = "no such event"
    ELSEWHERE = "a page that links to the list"
    UNKNOWN = "something else"


@dataclass(frozen=True)
class ListPage:
    """The contents of a page. Links are absolute and on the page's own host; "" if there is none.

    `title` is the title without " - MeetMax"; `next_list` is the linked ~public or private list.
    """

    state: State
    title: str
    download_link: str = ""
    next_list: str = ""
    login: bool = False


def read_page(html: str, url: str, event_id: str) -> ListPage:
    """Return what the page at `url` says about the event; a page that is cut off, or not HTML, is unknown."""
    from bs4 import BeautifulSoup, ParserRejectedMarkup

    lower = html.lower()
    is_cut = "<html" in lower and "</html" not in lower
    if is_cut or html.count("<") - html.count(">") > MOST_OPEN_TAGS:
        return ListPage(State.UNKNOWN, "")
    try:
        soup = BeautifulSoup(html, "html.parser")
    except (ParserRejectedMarkup, RecursionError):
        return ListPage(State.UNKNOWN, "")
    depths = {id(soup): 0}
    for element in soup.find_all(True):
        depth = depths[id(element)] = depths[id(element.parent)] + 1
        if depth > MOST_DEPTH:
            return ListPage(State.UNKNOWN, "")
    page = _Page(soup, url, event_id)
    download_link, next_list = page.download_link(), page.next_list()
    return ListPage(
        state=_state(page, download_link, next_list),
        title=page.title(),
        download_link=download_link,
        next_list=next_list,
        login=page.asks_for_a_password(),
    )


def _state(page: "_Page", download_link: str, next_list: str) -> State:
    has_companies = page.has_companies()
    if page.has_invalid_alert():
        # A page that says this but also shows or offers a list has changed in an unknown way.
        return State.UNKNOWN if has_companies or download_link else State.INVALID
    if has_companies:
        return State.LISTED
    if _says_invalid(page.words):
        return State.UNKNOWN if download_link else State.INVALID
    if "no companies found" in page.words and not (page.asks_for_a_password() and _LOGIN.search(page.title())):
        return State.EMPTY
    if download_link:
        return State.LISTED
    return State.ELSEWHERE if next_list else State.UNKNOWN


class _Page:
    """A parsed page; its elements are collected in one pass."""

    def __init__(self, soup: "BeautifulSoup", url: str, event_id: str) -> None:
        self._url = url
        self._event_path = f"/event_{event_id}/"
        self._event_id = event_id
        self._elements: list[Tag] = soup.find_all(True)
        self._links = list(self._own_links())
        self.words = _words(soup.body or soup)

    def _named(self, *names: str) -> "list[Tag]":
        return [element for element in self._elements if element.name in names]

    def has_companies(self) -> bool:
        """Return whether the page has a row of the list, found by classes or by the headings of a table."""
        if any(_COMPANY_CLASSES.intersection(_classes(cell)) for cell in self._named("td", "span")):
            return True
        rows, cells = self._held("table", "tr"), self._held("tr", "td", "th")
        for first, *others in rows.values():
            headings = cells.get(id(first), []) if others else []
            words = (_words(cell) for cell in headings if not _holds_much(cell))
            if len(headings) > 1 and any(map(LIST_HEADING.search, words)):
                return True
        return False

    def _held(self, holder: str, *names: str) -> "dict[int, list[Tag]]":
        """Return the elements of these names, keyed by the identity of the nearest enclosing table or row."""
        held: dict[int, list[Tag]] = {}
        for element in self._named(*names):
            held.setdefault(id(element.find_parent(holder)), []).append(element)
        return held

    def has_invalid_alert(self) -> bool:
        """Return whether an alert box says that there is no such event."""
        for element in self._elements:
            names = [str(element.get("role") or "").lower(), *_classes(element)]
            is_alert = "alert" in names or any(name.startswith("alert-") for name in names[1:])
            if is_alert and not _holds_much(element) and _says_invalid(_words(element)):
                return True
        return False

    def title(self) -> str:
        for title in self._named("title"):
            if title.find_parent("svg") is None:
                return _TITLE_END.sub("", " " + as_words(title.get_text())).strip()
        return ""

    def asks_for_a_password(self) -> bool:
        return any(str(field.get("type", "")).lower() == "password" for field in self._named("input"))

    def download_link(self) -> str:
        """Return the address of the spreadsheet, from a link or else from the export button."""
        for target in self._links:
            path = _FILE_PATH.match(urlsplit(target).path)
            query = _EVENT_QUERY.search(target)
            if path and (query is None or query.group(1) == self._event_id):
                return urljoin(target, f"{path.group(0)}?event_id={self._event_id}")
        for button in self._elements:
            if str(button.get("id", "")).lower() == "export" and "download company list" in _words(button):
                before, _, _ = self._url.partition(self._event_path)
                return f"{before}{self._event_path}__co-list_cp.xls?event_id={self._event_id}"
        return ""

    def next_list(self) -> str:
        """Return another list that this page links to; the ~public one comes before the private one."""
        if "__private-co-list" in self._url:
            return ""
        for name in ("~public/__co-list_cp.html", "__private-co-list_cp.html"):
            if name in self._url:
                continue
            for target in self._links:
                if name in target:
                    return target
        for link in self._named("a"):
            if "nav-link" in _classes(link) and _words(link) == "private company list":
                return urljoin(self._url.partition("~public/")[0], "__private-co-list_cp.html")
        return ""

    def _own_links(self) -> Iterator[str]:
        """Yield the absolute addresses of the page's links below its own event, in order."""
        page = urlsplit(self._url)
        for address in [str(element["href"]).strip() for element in self._elements if element.has_attr("href")]:
            try:
                target = urlsplit(urljoin(self._url, address))
            except ValueError:
                continue
            if address.isprintable() and target.netloc == page.netloc and self._event_path in target.path:
                yield target._replace(scheme=page.scheme, fragment="").geturl()


def _says_invalid(text: str) -> bool:
    return "invalid event id" in text and len(text) <= LONGEST_ALERT


def _holds_much(element: "Tag") -> bool:
    return next(islice(element.descendants, MOST_IN_ALERT, None), None) is not None


def _words(element: "Tag") -> str:
    """Return the visible text in lower case, all white space (also &nbsp;) as one blank."""
    return " ".join(element.get_text(" ").split()).lower()


def _classes(element: "Tag") -> list[str]:
    return [name.lower() for name in element.get_attribute_list("class") if name]
