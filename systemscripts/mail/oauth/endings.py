"""What will end a right: that it is not used, its own date, or the date of a program's secret or certificate."""

import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import NamedTuple

from systemscripts import directory_management, settings
from systemscripts.errors import JobError
from systemscripts.mail.oauth import kept_rights
from systemscripts.mail.oauth.kept_rights import Right
from systemscripts.mail.oauth.providers import Provider, provider

AHEAD = timedelta(days=30)  # what a person of another department has to renew
AHEAD_OF_IDLE = timedelta(days=14)
AT_LAST = timedelta(days=2)  # then it is told a second time


class Ending(NamedTuple):
    """What ends when, in words; `cure` says what to do before."""

    key: str
    when: datetime
    told: str
    cure: str


def endings(now: datetime, at_least: timedelta = timedelta()) -> Iterator[Ending]:
    """Yield what ends soon, or has ended: of each right of this user, and of the program's own logins.

    Each kind has its own time ahead; with `at_least` none has less than that.
    """
    for file in sorted((settings.oauth_dir() / "rights").glob("*.json")):
        # A file that cannot be used is told of where it is used.
        with contextlib.suppress(JobError):
            right = kept_rights.found_in(file)
            if right is not None and (ending := of_right(right, now, at_least)):
                yield ending
    seen: set[Path | str] = set()
    for name in _names():
        with contextlib.suppress(JobError):
            who = provider(name)
            identity = who.certificate or who.client_secret
            if who.is_app and identity not in seen:
                seen.add(identity)
                if (ending := of_program(who)) and ending.when - now <= max(AHEAD, at_least):
                    yield ending


def of_right(right: Right, now: datetime, at_least: timedelta = timedelta()) -> Ending | None:
    """Return what ends a right soon."""
    how = kept_rights.how_to_grant(right.provider, right.account)
    if right.ends_at:
        ends = datetime.fromisoformat(right.ends_at).astimezone()
        if ends - now <= max(AT_LAST, at_least):
            told = f"the access to {right.account} by {right.provider} ends {ends:%Y-%m-%d %H:%M}"
            return Ending(f"{right.provider} {right.account}", ends, told, how)
    with contextlib.suppress(JobError):
        idle = provider(right.provider).idle
        used = datetime.fromtimestamp(right.obtained_at, UTC).astimezone()
        if right.refresh_token and right.obtained_at and idle and used + idle - now <= max(AHEAD_OF_IDLE, at_least):
            told = (
                f"the access to {right.account} by {right.provider} was last used {used:%Y-%m-%d}; "
                f"it ends {used + idle:%Y-%m-%d}, {idle.days} days later"
            )
            file = kept_rights.file_of(right.provider, right.account)
            cure = f"use it, or after that day {how}; if it is not needed, delete {file}"
            return Ending(f"{right.provider} {right.account}", used + idle, told, cure)
    return None


def of_program(who: Provider) -> Ending | None:
    """Return when the secret or the certificate ends with which a program logs in for itself; None if nobody knows."""
    if who.certificate:
        from cryptography import x509

        text = settings.secret_file("ETL_MICROSOFT_CERTIFICATE", who.certificate)
        try:
            when = x509.load_pem_x509_certificate(text.encode()).not_valid_after_utc.astimezone()
        except ValueError as error:
            told = f"{who.certificate} has no certificate that can be read ({error})"
            raise JobError(f"{told}; it must hold the private key and the certificate, as PEM") from None
        cure = "upload a new one in the program's registration, then replace the file"
        return Ending(str(who.certificate), when, f"the certificate {who.certificate} ends {when:%Y-%m-%d}", cure)
    day = settings.microsoft_client_secret_ends()
    if day is None:
        return None
    cure = "make a new one in the program's registration, and set ETL_MICROSOFT_CLIENT_SECRET and its _ENDS"
    when = datetime.combine(day, time(), UTC).astimezone()
    return Ending("secret", when, f"the secret of this program at Microsoft ends {day}", cure)


def untold(now: datetime) -> list[Ending]:
    """Return the endings that the owner must still be told: once when one comes near, and once at last."""
    told = _told()
    return [ending for ending in endings(now) if told.get(ending.key) != _stage(ending, now)]


def note_told(tellings: list[Ending], now: datetime) -> None:
    """Remember that the owner was told of these."""
    stages = {**_told(), **{ending.key: _stage(ending, now) for ending in tellings}}
    directory_management.keep_private(_memory(), json.dumps(stages, indent=1))


def _stage(ending: Ending, now: datetime) -> str:
    return f"{ending.when:%Y-%m-%d}{', at last' if ending.when - now <= AT_LAST else ''}"


def _memory() -> Path:
    return settings.oauth_dir() / "rights" / ".told"


def _told() -> dict[str, str]:
    with contextlib.suppress(OSError, ValueError):
        return dict(json.loads(_memory().read_text(encoding="utf-8")))
    return {}


def _names() -> list[str]:
    described = [file.stem for file in sorted(settings.oauth_dir().glob("*.json"))]
    return ["microsoft", *described] if settings.microsoft_client_id() else described
