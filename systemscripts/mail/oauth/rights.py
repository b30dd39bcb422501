"""A right to a mailbox: the file that keeps it, its renewal by one process at a time, and its use at a login.

The file has mode 600, in a directory of mode 700. A lock beside it is held from reading until the renewed right is on
disk. A new refresh token is written before the former one is gone, so a killed process leaves a right that works.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from systemscripts import directory_management, settings
from systemscripts.mail.composing import MailError
from systemscripts.mail.oauth import microsoft, refusals, standard
from systemscripts.mail.oauth.consents import Begun
from systemscripts.mail.oauth.providers import Provider, provider
from systemscripts.mail.oauth.refusals import RightRefused, RightUnavailable, TokenRefused, refusal_in

T = TypeVar("T")

EARLY_S = 300.0  # a token is renewed so many seconds before its end, for clocks that differ
LONGEST_S = 31_622_400.0  # a year; no token lasts longer


@dataclass(frozen=True)
class Right:
    """A right as its file keeps it; times are ISO texts, or seconds since 1970 where they are only compared."""

    provider: str
    account: str
    access_token: str = ""
    obtained_at: float = 0.0
    expires_at: float = 0.0
    refresh_token: str = ""
    scopes: tuple[str, ...] = ()
    granted_at: str = ""
    granted_by: str = ""
    ends_at: str = ""
    warned_on: str = ""

    def is_current(self, now: float) -> bool:
        """Return whether the access token can be used; not if the clock was set back since it was obtained."""
        early = min(EARLY_S, (self.expires_at - self.obtained_at) / 2)
        return bool(self.access_token) and self.obtained_at - EARLY_S <= now < self.expires_at - early


# What this process was told: a refusal, by a server or by the provider (""), is final for the run, and nobody is
# asked before the end of a pause.
_refused: dict[tuple[str, str, str], str] = {}
_not_before: dict[tuple[str, str], tuple[float, str]] = {}


def access_token(name: str, account: str, refused: str = "") -> str:
    """Return a token of the provider for the mailbox, renewed if it must be; never the one that was `refused`.

    Raises RightRefused if a person must grant access again, and RightUnavailable if the provider does not answer.
    """
    key = name, account
    _stop_if_refused(name, account)
    if right := _usable(name, account, refused):
        return right.access_token
    until, told = _not_before.get(key, (0.0, ""))
    if time.monotonic() < until:
        raise RightUnavailable(told)
    who = provider(name)
    with _locked(name, account):
        # Another process may have renewed it while this one waited.
        right = _usable(name, account, refused)
        if right is None:
            try:
                right = _renewed(who, account)
            except RightUnavailable as failure:
                _not_before[key] = time.monotonic() + (failure.pause or 0.0), str(failure)
                raise
            except RightRefused as refusal:
                _refused[name, account, ""] = str(refusal)
                raise
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
    return begun


def how_to_grant(name: str, account: str) -> str:
    script = settings.project_dir() / "onboarding" / "sh" / "mailbox_consent.sh"
    user = directory_management.other_user_of_the_jobs()
    return f"type: {f'sudo -H -u {user} ' if user else ''}bash {script} {account} --provider {name}"


def file_of(name: str, account: str) -> Path:
    return settings.oauth_dir() / "rights" / f"{name}_{account.lower()}.json"


def read(name: str, account: str) -> Right:
    """Return the right; raises RightRefused if there is none that can be read."""
    file = file_of(name, account)
    if not file.is_file():
        raise RightRefused(
            f"access to the mail of {account} was not granted yet ({file} is missing); {how_to_grant(name, account)}"
        )
    right = parsed(settings.secret_file("the right to a mailbox", file))
    if right is None:
        raise RightRefused(f"{file} is damaged: it is not a right to a mailbox; {how_to_grant(name, account)}")
    for secret in (right.access_token, right.refresh_token):
        settings.conceal(secret)
    return right


def parsed(text: str) -> Right | None:
    """Return the right in a file's text, None if it is none."""
    try:
        right = Right(**json.loads(text))
        right = dataclasses.replace(right, scopes=tuple(right.scopes))
        is_right = right.is_current(0.0) in (True, False) and all(
            isinstance(value, str) and value.isprintable()
            for value in (right.provider, right.account, right.access_token, right.refresh_token, right.granted_by)
        )
    except (ValueError, TypeError, RecursionError):
        return None
    return right if is_right else None


def keep(right: Right) -> None:
    """Write the right's file; the caller holds its lock."""
    file = file_of(right.provider, right.account)
    for left in file.parent.glob(f".{file.name}.*.part"):  # of a killed process
        left.unlink(missing_ok=True)
    directory_management.keep_private(file, json.dumps(dataclasses.asdict(right), indent=1))


def change(name: str, account: str, **values: Any) -> None:
    """Change fields of the right in its file."""
    with _locked(name, account):
        keep(dataclasses.replace(read(name, account), **values))


def grant(right: Right) -> None:
    """Keep a right that a person has just granted, in place of a former one."""
    with _locked(right.provider, right.account):
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
    right = read(name, account)
    return right if right.is_current(time.time()) and right.access_token != refused else None


def _renewed(who: Provider, account: str) -> Right:
    """Renew the right, and keep it; the caller holds the lock."""
    if who.is_app:
        right = Right(who.name, account)
        answer = microsoft.for_itself(who)
    else:
        right = read(who.name, account)
        renew = microsoft.renew if who.authority else standard.renew
        answer = renew(who, right.refresh_token, right.scopes)
    if refusal := refusal_in(answer):
        told = f"{who.name} no longer gives access to the mail of {account} ({refusal})"
        raise RightRefused(told if who.is_app else f"{told}; {how_to_grant(who.name, account)}")
    right = with_answer(right, answer)
    keep(right)
    return right


def _seconds(value: Any) -> float | None:
    """Return a duration in an answer; some providers send it as text."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if not isinstance(value, bool) and 1 <= number <= LONGEST_S else None


@contextlib.contextmanager
def _locked(name: str, account: str) -> Iterator[None]:
    """Hold the lock of a right's file; it ends with the process."""
    lock = file_of(name, account).with_suffix(".lock")
    lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        directory_management.hand_over(lock)
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
