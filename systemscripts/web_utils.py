"""Fetches pages and files from web sites, politely and whole.

One WebSession serves a whole job and all of its threads. TLS is verified. Every answer has a
deadline and a size limit. web/manners.py sets the pace and the retries. robots.txt is obeyed
(RFC 9309). A redirect is followed only within the same host.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urljoin, urlsplit

from systemscripts import directory_management, settings
from systemscripts.web.answers import (
    ENCODING,
    BadAnswer,
    BadStatus,
    FetchError,
    ForbiddenByRobots,
    Refused,
    Unreachable,
    beginning,
    body,
    charset,
    decoded,
    failures_translated,
    raise_for_refusal,
    raise_for_status,
    redirect_target,
)
from systemscripts.web.download import Arrival, Check, Download, Validators
from systemscripts.web.manners import Breaker, Manners, pause_before_retry
from systemscripts.web.pace import Pacer

if TYPE_CHECKING:
    import requests
    from protego import Protego
    from requests import Response

log = logging.getLogger(__name__)

__all__ = [
    "BadAnswer",
    "BadStatus",
    "Download",
    "FetchError",
    "ForbiddenByRobots",
    "Page",
    "Refused",
    "Unreachable",
    "Validators",
    "WebSession",
    "fetch_url",
]

PAGE_LIMIT = 10 << 20  # bytes
FILE_LIMIT = 200 << 20  # bytes
ROBOTS_LIMIT = 1 << 20  # bytes; the rest is not read (RFC 9309, 2.5, asks for at least half of this)
MOST_REDIRECTS = 5

# What may go better a moment later; the other statuses from 400 up stay (RFC 9110, 15.5 and 15.6; RFC 6585, 4).
PASSING_STATUSES = (408, 425, 429, 500, 502, 503, 504)

_Result = TypeVar("_Result")


class _NothingNew(Exception):
    """Raised to leave without making the file."""


@dataclass(frozen=True)
class Page:
    """A page with status 200; `url` is where it was found after redirects."""

    url: str
    status: int
    text: str


class WebSession:
    """Requests to web sites at the pace of a single polite visitor."""

    def __init__(self, manners: Manners | None = None, pacer: Pacer | None = None) -> None:
        from systemscripts.web.deadline import Session

        self._manners = manners or Manners.from_settings()
        self._pacer = pacer or Pacer(self._manners.interval)
        self._routes: dict[str, dict[str, Any]] = {}
        self._breaker = Breaker(self._manners.refusals_allowed)
        self._robots: dict[str, Protego] = {}
        self._robots_lock = threading.Lock()
        self._http = Session()
        # Proxies and certificates are read from the environment once for each host; .netrc is never read.
        self._http.trust_env = False
        self._http.headers.update(
            {"User-Agent": self._manners.user_agent, "Accept-Language": "en", "Accept-Encoding": ENCODING}
        )

    def get(self, url: str, is_known: Callable[[Page], bool] = lambda _page: False) -> Page:
        """Return the page; raises a FetchError, or TemporaryFailure if the host failed too often in a row.

        A page for which `is_known` is true never counts as a refusal.
        """
        self._require_permission(url)
        return self._repeat(url, lambda: self._get_once(url, is_known))

    def download(
        self,
        url: str,
        target: Path,
        check: Check | None = None,
        kept: Validators | None = None,
        limit: int = FILE_LIMIT,
    ) -> Download | None:
        """Fetch a file to `target`, whole or not at all; a cut download continues where it was cut.

        Returns None, and makes no file, if the site says that the version with the validators `kept`
        is still current. Raises as `get` does.
        """
        self._require_permission(url)
        with contextlib.suppress(_NothingNew), directory_management.new_file(target, replaces=False) as stream:
            arrival = Arrival(stream, kept, limit, check)
            self._repeat(url, lambda: self._download_once(url, arrival))
            if arrival.is_kept:
                raise _NothingNew
        return None if arrival.is_kept else arrival.done(url, target)

    # ---- one request, and again ----

    def _repeat(self, url: str, once: Callable[[], _Result]) -> _Result:
        """Retry until it works, until it fails for good, or until the retries are used up."""
        host = _host(url)
        self._breaker.check(host)
        for attempt in range(self._manners.retries + 1):
            try:
                result = once()
            except FetchError as failure:
                last = failure
                is_tried_again = failure.again and attempt < self._manners.retries
                pause = pause_before_retry(self._manners.interval, attempt, failure.wait)
                # A pause that the site asks for holds for its next address too.
                if is_tried_again or failure.wait is not None:
                    self._pacer.hold(host, pause)
                if isinstance(failure, Refused | Unreachable):
                    self._breaker.failed(host, str(failure))
                if not is_tried_again:
                    break
                log.info("%s; retry in %.0f s", failure, pause, extra={"step": "fetch"})
            else:
                self._breaker.worked(host)
                return result
        if not isinstance(last, Refused | Unreachable):
            self._breaker.worked(host)
        raise last

    def _get_once(self, url: str, is_known: Callable[[Page], bool]) -> Page:
        with self._open(url) as response:
            text = decoded(b"".join(body(response, PAGE_LIMIT)), charset(response))
            page = Page(url=response.url, status=response.status_code, text=text)
        if not is_known(page):
            raise_for_refusal(page.url, text)
        return page

    def _download_once(self, url: str, arrival: Arrival) -> None:
        with self._open(url, arrival.headers()) as response:
            arrival.take(response)

    # ---- one answer ----

    @contextlib.contextmanager
    def _open(
        self, url: str, headers: dict[str, str] | None = None, asks_permission: bool = True
    ) -> "Iterator[Response]":
        """Yield the successful answer to a request, after redirects within the host; its body is not read yet."""
        from systemscripts.web.deadline import whole_in_time

        for _ in range(MOST_REDIRECTS + 1):
            self._pacer.wait(_host(url))
            with whole_in_time(url), self._ask(url, headers) as response:
                self._pacer.answered(_host(url))
                if not response.is_redirect:
                    raise_for_status(response)
                    yield response
                    return
                url = redirect_target(url, response.headers["Location"])
            if asks_permission:
                self._require_permission(url)
        raise BadAnswer(f"{url}: more than {MOST_REDIRECTS} redirects")

    def _ask(self, url: str, headers: dict[str, str] | None) -> "Response":
        import requests

        host = _host(url)
        with failures_translated(url):
            # The proxies and certificates for the host, from the environment; this machine needs no proxy.
            if host not in self._routes:
                with requests.Session() as asking:
                    route = asking.merge_environment_settings(url, {}, True, None, None)
                is_this_machine = host in ("localhost", "127.0.0.1", "::1")
                self._routes[host] = {**route, "proxies": {}} if is_this_machine else dict(route)
            return self._http.get(
                url, headers=headers, timeout=self._manners.timeout, allow_redirects=False, **self._routes[host]
            )

    # ---- robots.txt ----

    def _require_permission(self, url: str) -> None:
        try:
            parts = urlsplit(url)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadAnswer(f"{url!r} is not a web address")
        if not self._manners.obey_robots or parts.path == "/robots.txt":
            return
        if not self._rules(url).can_fetch(url, self._manners.user_agent):
            raise ForbiddenByRobots(
                f"{url}: robots.txt of {parts.hostname} forbids it; "
                "if the site's owner has allowed it, set ETL_OBEY_ROBOTS=no"
            )

    def _rules(self, url: str) -> "Protego":
        from protego import Protego

        site = urlsplit(url).netloc
        with self._robots_lock:
            if site not in self._robots:
                rules = Protego.parse(self._robots_text(urljoin(url, "/robots.txt")))
                if delay := rules.crawl_delay(self._manners.user_agent):
                    self._pacer.widen(_host(url), delay)
                self._robots[site] = rules
            return self._robots[site]

    def _robots_text(self, url: str) -> str:
        """Return the site's rules, "" if it has none; no answer at all is a failure (RFC 9309, 2.3.1).

        Rules at another host do not count, because a redirect never leaves the host.
        """
        try:
            return self._repeat(url, lambda: self._robots_once(url))
        except (BadStatus, BadAnswer):
            return ""
        except Refused as refusal:
            if refusal.status == 403:
                return ""
            raise

    def _robots_once(self, url: str) -> str:
        # The rules themselves may always be fetched, also after a redirect.
        with self._open(url, asks_permission=False) as response:
            return decoded(beginning(response, ROBOTS_LIMIT), charset(response))


def fetch_url(
    session: "requests.Session",
    url: str,
    retries: int = 3,
    initial_delay: float = 1.0,
    headers: dict[str, str] | None = None,
    log_file: str | os.PathLike[str] | None = None,
    **_more: object,
) -> "Response | None":
    """Return the successful answer to a GET request of a session of the `requests` library, None if there is none.

    Jobs from older installations know it by this name. A passing failure is tried again `retries` times in all; the
    pause before that doubles each time, from `initial_delay` seconds. Failures are logged, as log_message does, also to
    `log_file`. A WebSession is more polite: it paces its requests and obeys robots.txt.
    """
    import requests

    told = {"step": "fetch", "log_file": log_file}
    for attempt in range(max(retries, 1)):
        if attempt:
            time.sleep(initial_delay * 2 ** (attempt - 1))
        try:
            response = session.get(url, headers=headers, timeout=settings.request_timeout())
            response.raise_for_status()
        except requests.HTTPError as refusal:
            log.warning("%s, attempt %d of %d", refusal, attempt + 1, retries, extra=told)
            if refusal.response.status_code not in PASSING_STATUSES:
                return None
        except requests.RequestException as failure:
            log.warning("%s: %s, attempt %d of %d", url, failure, attempt + 1, retries, extra=told)
        else:
            return response
    return None


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""
