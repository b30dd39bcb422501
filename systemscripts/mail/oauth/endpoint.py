"""The requests to a provider's endpoints: whole answers in time, few tries, and no secret in an error."""

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from systemscripts import settings
from systemscripts.mail.oauth.refusals import RightUnavailable

SILENCE_S = 20.0
WHOLE_IN_S = 30.0  # an answer is small, and the lock of the right is held until it is there
MOST_BYTES = 1 << 20


class Reply(NamedTuple):
    """An answer in the form that msal wants."""

    status_code: int
    headers: Mapping[str, str]
    text: str

    def raise_for_status(self) -> None:
        """Do nothing: what is worth raising is raised before."""


class Endpoint:
    """An HTTP client, also for msal. Each method raises RightUnavailable if there is no answer that can be read."""

    def __init__(self) -> None:
        from systemscripts.web.api import Api

        self._api = Api(min(SILENCE_S, settings.mailbox_timeout()), WHOLE_IN_S)
        self.last: dict[str, Any] = {}

    def post(self, url: str, params: Any = None, data: Any = None, headers: Any = None, **_more: Any) -> Reply:
        return self._ask("POST", url, params=params, data=data, headers=headers)

    def get(self, url: str, params: Any = None, headers: Any = None, **_more: Any) -> Reply:
        return self._ask("GET", url, params=params, headers=headers)

    def form(self, url: str, **values: str) -> dict[str, Any]:
        """Return the object with which the endpoint answers a form; values that are empty are left out."""
        self.post(url, data={name: value for name, value in values.items() if value})
        return self.last

    def close(self) -> None:
        self._api.close()

    def _ask(self, method: str, url: str, **request: Any) -> Reply:
        from systemscripts.web.answers import FetchError

        host = urlsplit(url).netloc
        try:
            answer = self._api.ask(method, url, limit=MOST_BYTES, **request)
        except FetchError as failure:
            raise RightUnavailable(
                f"{settings.mask(str(failure))}, so access to mail cannot be renewed for now; try again later",
                failure.wait,
            ) from None
        self.last = answer.json()
        error = self.last.get("error")
        is_refusal = 400 <= answer.status < 500 and isinstance(error, str) and error
        # Without this msal would log the text of the answer.
        if not self.last or not (answer.status == 200 or is_refusal):
            raise RightUnavailable(f"{host} gives an answer that cannot be understood (status {answer.status})")
        return Reply(answer.status, answer.headers, answer.text)
