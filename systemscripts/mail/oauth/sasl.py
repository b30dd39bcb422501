r"""The strings of a login with a token: OAUTHBEARER (RFC 7628) and XOAUTH2, which is older and has no standard.

XOAUTH2: https://developers.google.com/workspace/gmail/imap/xoauth2-protocol
"""

import base64
import contextlib
import json
from collections.abc import Collection
from typing import Literal

from systemscripts import settings
from systemscripts.plain_text import as_words

Mechanism = Literal["OAUTHBEARER", "XOAUTH2"]


def chosen(offered: Collection[str]) -> Mechanism | None:
    """Return the mechanism for a server that offers these; None if it takes no tokens."""
    names = {name.upper() for name in offered}
    return "OAUTHBEARER" if "OAUTHBEARER" in names else "XOAUTH2" if "XOAUTH2" in names else None


class Dialogue:
    """One login: `answer` gives what the client says, and `refusal` keeps what the server's challenge says.

    The user is the mailbox. The token may be a person's who has access to it.
    """

    def __init__(self, mechanism: Mechanism, user: str, token: str) -> None:
        self.mechanism = mechanism
        self.refusal = ""
        self._first = initial_response(mechanism, user, token)

    def answer(self, challenge: bytes | None) -> bytes:
        """Return the token, and to the challenge of a refusal what ends the dialogue."""
        if not challenge:
            return self._first
        self.refusal = challenge_words(challenge)
        return b"\x01" if self.mechanism == "OAUTHBEARER" else b""


def initial_response(mechanism: Mechanism, user: str, token: str) -> bytes:
    r"""Return the first message; both of its forms are concealed, as servers repeat it.

    >>> initial_response("XOAUTH2", "box@example.com", "abc")
    b'user=box@example.com\x01auth=Bearer abc\x01\x01'
    """
    if mechanism == "XOAUTH2":
        first = f"user={user}\x01auth=Bearer {token}\x01\x01"
    else:
        # The escapes of RFC 5801, 4.
        name = user.replace("=", "=3D").replace(",", "=2C")
        first = f"n,a={name},\x01auth=Bearer {token}\x01\x01"
    settings.conceal(token)
    settings.conceal(base64.b64encode(first.encode()).decode())
    return first.encode()


def challenge_words(challenge: bytes) -> str:
    """Return the words of a refusal, which is a JSON object (RFC 7628, 3.2.2), on one line.

    >>> challenge_words(b'{"status":"invalid_token","scope":"mail"}')
    'invalid_token, scope mail'
    """
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(challenge)
        if isinstance(found, dict):
            told = [str(found.get("status", ""))] + [f"{name} {found[name]}" for name in ("scope",) if found.get(name)]
            return settings.mask(as_words(", ".join(filter(None, told))))[:200]
    return settings.mask(as_words(challenge.decode("utf-8", "replace")))[:200]
