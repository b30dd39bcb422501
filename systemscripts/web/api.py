"""Requests to an API: each answer is whole and in time, and "not now" is asked again, seldom and after a pause."""

import contextlib
import logging
import time
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from systemscripts.web.answers import Unreachable, body, cause, failures_translated
from systemscripts.web.manners import retry_after

log = logging.getLogger(__name__)

MOST_BYTES = 256 << 20
# What may go better a moment later (RFC 9110, 15.5 and 15.6; RFC 6585, 4).
PASSING_STATUSES = (408, 425, 429, 500, 502, 503, 504)
PAUSES = (1.0, 4.0)  # seconds before the second and the third try
LONGEST_PAUSE = 30.0  # seconds; who asks for a longer one is left alone by this run

wait = time.sleep


class NotConnected(Unreachable):
    """There was no connection, so the request was not sent."""


class Answer(NamedTuple):
    """An answer with any status."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def is_passing(self) -> bool:
        return self.status in PASSING_STATUSES

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", "replace")

    def json(self) -> dict[str, Any]:
        """Return the object in the answer, {} if there is none."""
        import json

        with contextlib.suppress(ValueError, RecursionError):
            found = json.loads(self.content)
            return found if isinstance(found, dict) else {}
        return {}


class Api:
    """A client; `timeout` is how many seconds a server may be silent, `whole_in` how many an answer may take."""

    def __init__(self, timeout: float, whole_in: float = 0.0) -> None:
        from systemscripts.web.deadline import Session

        self._timeout = timeout
        self._whole_in = whole_in or 10 * timeout
        self._http = Session()
        # Proxies and certificates come from the environment, logins never do (.netrc).
        self._http.trust_env = False

    def close(self) -> None:
        self._http.close()

    def once(self, method: str, url: str, limit: int = MOST_BYTES, **request: Any) -> Answer:
        """Return the answer to one request; raises Unreachable if there is none, NotConnected if nothing was sent."""
        import requests
        from urllib3.exceptions import NewConnectionError

        from systemscripts.web.deadline import whole_in_time

        place = "{0.scheme}://{0.netloc}{0.path}".format(urlsplit(url))
        with requests.Session() as asking:
            route: dict[str, Any] = dict(asking.merge_environment_settings(url, {}, True, None, None))
        if urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1"):
            route["proxies"] = {}
        with whole_in_time(place, self._whole_in), failures_translated(place):
            try:
                response = self._http.request(
                    method, url, timeout=self._timeout, allow_redirects=False, **{**route, "stream": True}, **request
                )
            except (requests.exceptions.ConnectTimeout, requests.exceptions.SSLError) as error:
                raise NotConnected(f"{place}: no connection: {cause(error)}", again=True) from None
            except requests.exceptions.ConnectionError as error:
                if error.args and isinstance(getattr(error.args[0], "reason", None), NewConnectionError):
                    raise NotConnected(f"{place}: no connection: {cause(error)}", again=True) from None
                raise
            with response:
                return Answer(response.status_code, response.headers, b"".join(body(response, limit)))
        raise AssertionError("whole_in_time raises")

    def ask(self, method: str, url: str, **request: Any) -> Answer:
        """Return the answer to a request that may be repeated; raises Unreachable, which says how long to wait."""
        for pause in (*PAUSES, None):
            asked_for = None
            try:
                answer = self.once(method, url, **request)
                if not answer.is_passing:
                    return answer
                asked_for = retry_after(answer.headers.get("Retry-After"))
                trouble = Unreachable(f"{urlsplit(url).netloc} answers {answer.status}", answer.status, wait=asked_for)
            except Unreachable as failure:
                trouble = failure
            if pause is None or (asked_for is not None and asked_for > LONGEST_PAUSE):
                break
            wait(pause if asked_for is None else asked_for)
            log.info("%s; it is asked again", trouble)
        raise trouble
