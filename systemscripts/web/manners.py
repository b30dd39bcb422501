"""The behaviour towards a web site: when to retry, when to stop, and how to recognise a refusal."""

import random
import re
import threading
from dataclasses import dataclass

from systemscripts import settings
from systemscripts.errors import TemporaryFailure
from systemscripts.web.pace import JITTER, LONGEST_WAIT

# A refusal page is short; a company list that happens to hold the words is not.
SHORT_PAGE = 2000  # characters of visible text

_REFUSAL_TITLES = ("access denied", "just a moment", "attention required! | cloudflare")
_REFUSAL_WORDS = re.compile(r"access\s+denied|error\s+code:\s*1\d{3}\b", re.IGNORECASE)
_TITLE = re.compile(r"<title\b", re.IGNORECASE)
_TITLE_END = re.compile(r"</title", re.IGNORECASE)
_LONGEST_TITLE = 500  # characters
# Elements that hide text, keyed by the word after "<", with their ends. Each search continues from the last one, so a
# page is read once.
_HIDDEN = re.compile(r"<(script\b|style\b|!--)?", re.IGNORECASE)
_ENDS = {
    "script": re.compile(r"</script", re.IGNORECASE),
    "style": re.compile(r"</style", re.IGNORECASE),
    "!--": re.compile("-->"),
    "": re.compile(">"),
}


@dataclass(frozen=True)
class Manners:
    """The limits of a session. Times are in seconds."""

    user_agent: str
    interval: float
    timeout: float
    retries: int
    refusals_allowed: int
    obey_robots: bool

    @classmethod
    def from_settings(cls) -> "Manners":
        return cls(
            user_agent=settings.user_agent(),
            interval=settings.request_interval(),
            timeout=settings.request_timeout(),
            retries=settings.request_retries(),
            refusals_allowed=settings.refusals_allowed(),
            obey_robots=settings.obey_robots(),
        )


class Breaker:
    """Stops the requests to a host after `limit` failed requests in a row."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._in_a_row: dict[str, int] = {}

    def check(self, host: str, reason: str = "") -> None:
        """Raise TemporaryFailure, which says what to do, when the host has failed too often."""
        with self._lock:
            failed = self._in_a_row.get(host, 0)
        if failed < self._limit:
            return
        raise TemporaryFailure(
            f"{host} failed {failed} requests in a row{f' (the last: {reason})' if reason else ''}; this run stops "
            f"asking it. Start the same command again in an hour; if it is refused again, raise "
            f"ETL_REQUEST_INTERVAL (now {settings.request_interval():g} seconds)"
        )

    def failed(self, host: str, reason: str) -> None:
        """Count one failed request; raises as `check` does if the limit is reached."""
        with self._lock:
            self._in_a_row[host] = self._in_a_row.get(host, 0) + 1
        self.check(host, reason)

    def worked(self, host: str) -> None:
        with self._lock:
            self._in_a_row[host] = 0


def pause_before_retry(interval: float, attempt: int, asked_for: float | None) -> float:
    """Return the seconds before retry number `attempt` (0 is the first).

    It is the pause that the site asked for, up to LONGEST_WAIT; else three intervals, doubled each time,
    with jitter. An interval of 0, as on a test server, means no pause.
    """
    if asked_for is not None:
        return min(asked_for, LONGEST_WAIT)
    backoff: float = 3 * interval * 2**attempt
    return min(backoff * (1 + random.uniform(0, JITTER)), LONGEST_WAIT)


def retry_after(header: str | None) -> float | None:
    """Return the seconds a Retry-After header asks for, given as seconds or as a date (RFC 9110, 10.2.3), or None."""
    from urllib3.exceptions import InvalidHeader
    from urllib3.util import Retry

    if not header:
        return None
    try:
        return float(Retry().parse_retry_after(header))
    except (InvalidHeader, ValueError, OverflowError):
        return None


def refusal_in(text: str) -> str:
    """Return the words of a refusal in a page, "" for any other page.

    Sites and the networks in front of them send such pages with any status, 200 included.
    """
    begin = _TITLE.search(text)
    start = text.find(">", begin.end()) + 1 if begin else 0
    end = _TITLE_END.search(text, start) if start else None
    heading = " ".join(text[start : end.start()][:_LONGEST_TITLE].split()) if end else ""
    if heading.lower().startswith(_REFUSAL_TITLES):
        return heading
    visible = _visible(text, SHORT_PAGE)
    words = _REFUSAL_WORDS.search(visible) if len(visible) <= SHORT_PAGE else None
    return words.group(0) if words else ""


def _visible(html: str, most: int) -> str:
    """Return a page's text on one line, without markup, scripts and comments; a long text is cut after `most` characters.

    An element without an end hides all text after it, as in a browser.
    """
    pieces: list[str] = []
    at = length = 0
    while length <= most + 1:  # the blank between two pieces counts too
        opening = _HIDDEN.search(html, at)
        piece = " ".join(html[at : opening.start() if opening else len(html)].split())
        if piece:
            pieces.append(piece)
            length += len(piece) + 1
        end = _ENDS[(opening[1] or "").lower()].search(html, opening.end()) if opening else None
        if end is None:
            break
        at = end.end()
    return " ".join(pieces)
