"""A right to a mailbox: its renewal by one process at a time, and its use at a login.

A new refresh token is written before the former one is gone, so a killed process leaves a right that works.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from systemscripts import settings
from systemscripts.mail.composing import MailError
from systemscripts.mail.oauth import microsoft, refusals, standard
from systemscripts.mail.oauth.consents import Begun
from systemscripts.mail.oauth.kept_rights import Right, file_of, how_to_grant, keep, keeping, locked, read
from systemscripts.mail.oauth.providers import Provider, provider
from systemscripts.mail.oauth.refusals import RightRefused, RightUnavailable, TokenRefused, refusal_in
from systemscripts.plain_text import as_words

T = TypeVar("T")

LONGEST_S = 31_622_400.0  # a year; no token lasts longer
LONGEST_REST_S = 60.0


class _Rest(NamedTuple):
    """A provider that did not answer so many times in a row is not asked before `until`."""

    until: float
    told: str
    failures: int


# What this process was told: a refusal, by a server or by the provider (""), is final for the run, and nobody is
# asked before the end of a rest.
_refused: dict[tuple[str, str, str], str] = {}
_not_before: dict[tuple[str, str], _Rest] = {}


def access_token(name: str, account: str, refused: str = "") -> str:
    """Return a token of the provider for the mailbox, renewed if it must be; never the one that was `refused`.

    Raises RightRefused if a person must grant access again, and RightUnavailable if the provider does not answer.
    """
    key = name, account
    _stop_if_refused(name, account)
    if right := _usable(name, account, refused):
        return right.access_token
    rest = _not_before.get(key, _Rest(0.0, "", 0))
    if time.monotonic() < rest.until:
        raise RightUnavailable(rest.told)
    who = provider(name)
    with locked(name, account):
        # Another process may have renewed it while this one waited.
        right = _usable(name, account, refused)
        if right is None:
            try:
                right = _renewed(who, account)
            except RightUnavailable as failure:
                # One failure may be a moment's. A run with many mails must not wait for each of them.
                own_rest = min(2.0**rest.failures, LONGEST_REST_S) if rest.failures else 0.0
                until = time.monotonic() + max(failure.pause or 0.0, own_rest)
                _not_before[key] = _Rest(until, str(failure), rest.failures + 1)
                raise
            except RightRefused as refusal:
                _refused[name, account, ""] = str(refusal)
                raise
    _not_before.pop(key, None)
    return right.access_token


def log_in(name: str, account: str, server: str, attempt: Callable[[str], T]) -> T:
    """Call `attempt` with a token; if the server raises TokenRefused, call it once more with a new token.

    A second refusal is final for this run, so that no account is locked for many wrong logins.
    """
    _stop_if_refused(name, account, server)
    token = access_token(name, account)
    with contextlib.suppress(TokenRefused):
        return attempt(token)
    token = access_token(name, account, refused=token)
    try:
        return attempt(token)
    except TokenRefused as refusal:
        words = refusals.explained(str(refusal), account)
        told = f"{server} refuses the login of {account} ({words}); if that is right, {how_to_grant(name, account)}"
        _refused[name, account, server] = told
        raise RightRefused(told) from None


def begin(who: Provider, account: str, scopes: tuple[str, ...], with_code: bool) -> Begun:
    """Begin a consent: with a short code for any device, or in a browser whose last address a person pastes."""
    if not (who.authority or (who.device_authorization_endpoint if with_code else who.authorization_endpoint)):
        other, lacks = (
            ("without --device", "device_authorization_endpoint")
            if with_code
            else ("with --device", "authorization_endpoint")
        )
        raise MailError(f"{who.name} has no `{lacks}` in its file; start again {other}")
    ways: Any = microsoft if who.authority else standard
    begun: Begun = ways.begin_with_code(who, scopes) if with_code else ways.begin_in_browser(who, account, scopes)
    if refusal := refusal_in(begun.refusal):
        raise RightRefused(f"{who.name} refuses: {refusal}")
    # An address of several lines could hold instructions of its own.
    begun = dataclasses.replace(begun, address=as_words(begun.address), code=as_words(begun.code))
    if not begun.address or (with_code and not begun.code):
        raise RightUnavailable(f"{who.name} does not say which address to open, or which code to type; try again later")
    return begun


def grant(right: Right) -> None:
    """Keep a right that a person has just granted, in place of a former one."""
    with locked(right.provider, right.account):
        keep(right)
    for key in [key for key in _refused if key[:2] == (right.provider, right.account)]:
        del _refused[key]


def with_answer(right: Right, answer: dict[str, Any]) -> Right:
    """Return the right with what a provider's answer gives (RFC 6749, 5.1); raises RightUnavailable for nonsense."""
    token, refresh = answer.get("access_token"), answer.get("refresh_token") or right.refresh_token
    # A line break in a token would begin a header or a command.
    if (
        not all(isinstance(text, str) and text.isascii() and text.isprintable() for text in (token, refresh))
        or not token
    ):
        raise RightUnavailable(f"{right.provider} answers without a token that can be used; try again later")
    settings.conceal(str(token))
    settings.conceal(str(refresh))
    now = time.time()
    lasts = _seconds(answer.get("expires_in"))
    if lasts is None:
        raise RightUnavailable(
            f"{right.provider} gives a token with expires_in {str(answer.get('expires_in'))[:40]!r}, which cannot be; "
            "try again later"
        )
    ends = _seconds(answer.get("refresh_token_expires_in"))
    ends_at = datetime.fromtimestamp(now + ends, UTC).isoformat() if ends else right.ends_at
    return dataclasses.replace(
        right,
        access_token=str(token),
        obtained_at=now,
        expires_at=now + lasts,
        refresh_token=str(refresh),
        ends_at=ends_at,
    )


# ---- inside --------------------------------------------------------------------------------


def _stop_if_refused(name: str, account: str, server: str = "") -> None:
    if told := _refused.get((name, account, server)):
        raise RightRefused(told)


def _usable(name: str, account: str, refused: str) -> Right | None:
    """Return the right if its token is current, and another one than the refused."""
    if not file_of(name, account).exists():
        return None
    try:
        right = read(name, account)
    except RightRefused:
        # A program that logs in for itself needs nothing of the file, and writes it anew.
        if provider(name).is_app:
            return None
        raise
    return right if right.is_current(time.time()) and right.access_token != refused else None


def _renewed(who: Provider, account: str) -> Right:
    """Renew the right, and keep it; the caller holds the lock."""
    right = Right(who.name, account) if who.is_app else read(who.name, account)
    with keeping(who.name, account) as write:
        if who.is_app:
            answer = microsoft.for_itself(who)
        else:
            renew = microsoft.renew if who.authority else standard.renew
            answer = renew(who, right.refresh_token, right.scopes)
        if refusal := refusal_in(answer):
            told = f"{who.name} no longer gives access to the mail of {account} ({refusal})"
            raise RightRefused(told if who.is_app else f"{told}; {how_to_grant(who.name, account)}")
        right = with_answer(right, answer)
        write(right)
    return right


def _seconds(value: Any) -> float | None:
    """Return a duration in an answer; some providers send it as text."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if not isinstance(value, bool) and 1 <= number <= LONGEST_S else None
