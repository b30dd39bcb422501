"""Fetch one event's company list, or take the copy in the archive if the site says that nothing has changed.

The first bytes decide what the site has sent. The name is always .xls, but the content is a workbook
(BIFF or OOXML), CSV or an HTML table. A page instead of a list is refused: an error, a login, or a
refusal.
"""

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path

from systemscripts import directory_management, settings
from systemscripts.sources.meetmax import EventFile, UnusableEvent, event_file, require_own_link
from systemscripts.sources.meetmax_page import LIST_HEADING, State, read_page
from systemscripts.sources.vanished import says_vanished
from systemscripts.web_utils import BadAnswer, Download, FetchError, ForbiddenByRobots, Refused, Validators, WebSession

_WORKBOOKS = (
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",  # OLE2: BIFF8, and encrypted OOXML
    b"PK\x03\x04",  # OOXML
    b"\x09\x08",  # BIFF5 and later without a container
    b"\x09\x04",  # BIFF4
    b"\x09\x02",  # BIFF3
    b"\x09\x00",  # BIFF2
)
_BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))

# The site's own pages have this at the end of their titles, and links to further pages.
_SITES_PAGE = re.compile(r"<title[^>]{0,200}>[^<]{0,1000} - MeetMax\s*</title|\bpage_num\s*=", re.IGNORECASE)

_DELIMITER = re.compile(r"[,;\t|]")
_EVENT = re.compile(r"\bevent_(?:id=)?(\d+)")  # in an address

MOST_LINES_ABOVE = 10  # a CSV file may begin with a title


class Vanished(BadAnswer):
    """The site says that the event no longer exists; `words` are its whole answer if that is not a page."""

    def __init__(self, words: bytes = b"") -> None:
        super().__init__("the site says Invalid Event ID in place of the list")
        self.words = words


@dataclass(frozen=True)
class CompanyFile:
    """The check of an event's company list: see web/download.py."""

    event_id: str

    def head(self, head: bytes, url: str) -> None:
        named = set(_EVENT.findall(url))
        if named - {self.event_id}:
            raise BadAnswer(f"the site leads to the list of another event: {url}")
        check_company_file(head)

    def is_cut(self, head: bytes, tail: bytes) -> bool:
        """Return whether a zipped workbook or markup lacks its end; the end of other forms cannot be recognised."""
        if head.startswith(b"PK"):
            return b"PK\x05\x06" not in tail
        begun, ended = head.lower(), tail.lower()
        if not _text(head).lstrip().startswith("<"):
            return False
        tag = next((name for name in ("workbook", "html", "table") if f"<{name}".encode() in begun), "")
        return bool(tag) and f"</{tag}".encode() not in ended


def check_company_file(head: bytes) -> None:
    """Raise BadAnswer unless these are the first bytes of a company list, and Vanished if the list no longer exists."""
    if head.startswith(_WORKBOOKS):
        return
    text = _text(head).lstrip()
    if not text:
        raise BadAnswer("the file is empty")
    if says_vanished(text):
        raise Vanished(head)
    if not text.startswith("<"):
        lines = text.splitlines()[:MOST_LINES_ABOVE]
        has_heading = any(_DELIMITER.search(line) and LIST_HEADING.search(line) for line in lines)
        if "\0" in text or text[0] in "{[" or not has_heading:
            raise BadAnswer(f"not a spreadsheet but {_excerpt(text)}")
        return
    # Of markup, SpreadsheetML is accepted, and a page with a table of companies.
    if "urn:schemas-microsoft-com:office:spreadsheet" in text:
        return
    if _SITES_PAGE.search(text):
        raise BadAnswer(f"the site's own page, with 30 rows, instead of the spreadsheet: {_excerpt(text)}")
    # The text is only the beginning of the file.
    page = read_page(f"{text}</html>", "", "")
    if page.state is State.INVALID:
        raise Vanished
    if page.login or page.state is not State.LISTED:
        what = "a login" if page.login else page.state.value
        raise BadAnswer(f"a page in place of a spreadsheet ({what}): {_excerpt(page.title or text)}")


def _text(head: bytes) -> str:
    for mark, encoding in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return head[len(mark) :].decode(encoding, errors="replace")
    return head.decode("utf-8", errors="replace")


def _excerpt(text: str) -> str:
    """Return the first words in quotes on one line."""
    return repr(" ".join(text[:400].split())[:80])


@dataclass(frozen=True)
class Copy:
    """The last file that came from a link, in the archive."""

    validators: Validators
    sha256: str
    path: Path


@dataclass(frozen=True)
class Outcome:
    """The result of one event's file; `reason` is "" if we have it, `words` is the text instead of a vanished list."""

    event: EventFile
    status: str
    reason: str = ""
    download: Download | None = None
    words: bytes = b""


def fetch_event(session: WebSession, event: EventFile, copy: Copy | None = None) -> Outcome:
    """Fetch one file; raises only TemporaryFailure, if the site has refused too often in a row."""
    try:
        target = event_file(settings.now(), event.event_id)
        require_own_link(event)
        content = content_of(copy)
        kept = copy.validators if copy and content else None
        download = session.download(event.link, target, CompanyFile(event.event_id), kept)
        if download is None:
            assert copy is not None, "the site is asked for changes only if there is a copy"
            return Outcome(event, "Unchanged", download=_placed(event, target, content, copy.validators))
    except (Refused, ForbiddenByRobots) as refusal:
        return Outcome(event, "Refused", str(refusal))
    except Vanished as answer:
        return Outcome(event, "Vanished", str(answer), words=answer.words)
    except (FetchError, UnusableEvent, FileExistsError) as failure:
        return Outcome(event, "Failed", str(failure))
    return Outcome(event, "Downloaded", download=download)


def placed_as_empty(vanished: Outcome) -> Outcome:
    """Save the words in place of the list; the import takes them as an empty list."""
    if not vanished.words:
        return vanished
    try:
        target = event_file(settings.now(), vanished.event.event_id)
        return replace(vanished, download=_placed(vanished.event, target, vanished.words, Validators()))
    except FileExistsError as failure:
        return replace(vanished, status="Failed", reason=str(failure))


def content_of(copy: Copy | None) -> bytes:
    """Return the copy's bytes, b"" if they have changed or are gone."""
    try:
        content = copy.path.read_bytes() if copy else b""
    except OSError:
        return b""
    return content if copy and hashlib.sha256(content).hexdigest() == copy.sha256 else b""


def _placed(event: EventFile, target: Path, content: bytes, validators: Validators) -> Download:
    with directory_management.new_file(target, replaces=False) as stream:
        stream.write(content)
    return Download(event.link, target, len(content), hashlib.sha256(content).hexdigest(), validators)
