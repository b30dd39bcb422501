"""Rights by the standards: RFC 6749 (renewal, code), RFC 7636 (PKCE) and RFC 8628 (a code for another device).

A right is renewed by one form, so no library is needed for it; Microsoft's ways are in microsoft.py.
"""

import base64
import hashlib
import secrets
import time
from typing import Any
from urllib.parse import urlencode

from systemscripts.mail.oauth.consents import REDIRECT_URI, Begun, seconds_in
from systemscripts.mail.oauth.endpoint import Endpoint
from systemscripts.mail.oauth.providers import Provider

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
SLOWER_S = 5  # RFC 8628, 3.5

wait = time.sleep


def renew(who: Provider, refresh_token: str, _scopes: tuple[str, ...]) -> dict[str, Any]:
    """Return the provider's answer to a refresh token."""
    return _asked(who, who.token_endpoint, grant_type="refresh_token", refresh_token=refresh_token)


def begin_in_browser(who: Provider, account: str, scopes: tuple[str, ...]) -> Begun:
    """Return the address that a person opens, and how the browser's answer becomes a right."""
    state, verifier = secrets.token_urlsafe(24), secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    asked = {
        "response_type": "code", "client_id": who.client_id, "redirect_uri": REDIRECT_URI, "scope": " ".join(scopes),
        "state": state, "code_challenge": challenge, "code_challenge_method": "S256", "login_hint": account, **dict(who.more),
    }  # fmt: skip
    sign = "&" if "?" in who.authorization_endpoint else "?"

    def finish(values: dict[str, str]) -> dict[str, Any]:
        code = {"code": values.get("code", ""), "redirect_uri": REDIRECT_URI, "code_verifier": verifier}
        return _asked(who, who.token_endpoint, grant_type="authorization_code", **code)

    return Begun(f"{who.authorization_endpoint}{sign}{urlencode(asked)}", state=state, finish=finish)


def begin_with_code(who: Provider, scopes: tuple[str, ...]) -> Begun:
    """Return the short code and the address where a person types it; `finish` waits until that is done."""
    told = _asked(who, who.device_authorization_endpoint, scope=" ".join(scopes))
    if "device_code" not in told:
        return Begun("", refusal=told)
    until = time.monotonic() + seconds_in(told, "expires_in", 900, most=3600)

    def finish(_values: dict[str, str]) -> dict[str, Any]:
        interval = seconds_in(told, "interval", 5, most=60)
        while True:
            wait(interval)
            answer = _asked(who, who.token_endpoint, grant_type=DEVICE_GRANT, device_code=str(told["device_code"]))
            if answer.get("error") not in ("authorization_pending", "slow_down") or time.monotonic() > until:
                return answer
            interval += SLOWER_S if answer["error"] == "slow_down" else 0

    address, code = (str(told.get(name) or "") for name in ("verification_uri", "user_code"))
    return Begun(address, code=code, finish=finish)


def _asked(who: Provider, address: str, **values: str) -> dict[str, Any]:
    endpoint = Endpoint()
    try:
        return endpoint.form(address, client_id=who.client_id, client_secret=who.client_secret, **values)
    finally:
        endpoint.close()
