"""Microsoft Graph for one mailbox: each request with a token, and its refusals as exceptions.

https://learn.microsoft.com/en-us/graph/errors
"""

from typing import Any
from urllib.parse import quote

from systemscripts import settings
from systemscripts.mail.oauth import refusals, rights
from systemscripts.mail.oauth.providers import provider
from systemscripts.mail.oauth.refusals import TokenRefused
from systemscripts.web.api import Answer, Api

NAME = "graph"


class GraphRefusal(Exception):
    """An answer that is a refusal: its status, its code, and the words with their cure."""

    def __init__(self, status: int, code: str, words: str) -> None:
        super().__init__(words)
        self.status = status
        self.code = code


class Graph:
    """Requests about one mailbox. Each raises RightRefused, RightUnavailable, GraphRefusal, or Unreachable of web.answers."""

    def __init__(self, account: str) -> None:
        self._account = account
        self._root = provider(NAME).api
        self._api = Api(settings.mailbox_timeout())

    def close(self) -> None:
        self._api.close()

    def ask(self, method: str, path: str, **request: Any) -> Answer:
        """Return the answer to a request that may be repeated."""
        return self._with_token(self._api.ask, method, path, request)

    def once(self, method: str, path: str, **request: Any) -> Answer:
        """Return the answer to a request that must not be repeated; it may say that it passes (Answer.is_passing)."""
        return self._with_token(self._api.once, method, path, request)

    def is_here(self, url: str) -> bool:
        """Return whether an address in an answer may get our token."""
        return url.startswith(f"{self._root}/")

    def _with_token(self, ask: Any, method: str, path: str, request: dict[str, Any]) -> Answer:
        url = path if self.is_here(path) else f"{self._root}/users/{quote(self._account)}{path}"
        headers = {"Prefer": 'IdType="ImmutableId"', "Accept-Encoding": "identity", **request.pop("headers", {})}

        def attempt(token: str) -> Answer:
            answer: Answer = ask(method, url, headers={**headers, "Authorization": f"Bearer {token}"}, **request)
            if answer.status == 401:
                raise TokenRefused(_words(answer)[1])
            return answer

        answer = rights.log_in(NAME, self._account, "Microsoft Graph", attempt)
        if answer.status >= 300 and not answer.is_passing:
            code, words = _words(answer)
            raise GraphRefusal(answer.status, code, refusals.explained(words, self._account))
        return answer


def _words(answer: Answer) -> tuple[str, str]:
    """Return the code and the words of a refusal."""
    told = answer.json().get("error")
    if not isinstance(told, dict):
        return "", f"status {answer.status}"
    return str(told.get("code", "")), f"{told.get('code', '')}: {told.get('message', '')}"
