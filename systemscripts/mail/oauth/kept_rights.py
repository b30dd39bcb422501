"""The file that keeps a right to a mailbox, and its lock.

The file has mode 600, in a directory of mode 700. A lock beside it is held from reading until the renewed right is on
disk. The disk's room for the new file is taken before a provider is asked, because some providers end the former right
with their answer.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from systemscripts import directory_management, settings
from systemscripts.errors import DISK_TROUBLE
from systemscripts.mail.composing import MailError
from systemscripts.mail.oauth.refusals import RightRefused, RightUnavailable
from systemscripts.user_utils import current_user

EARLY_S = 300.0  # a token is renewed so many seconds before its end, for clocks that differ
ROOM_BYTES = 64 << 10  # of a file; the longest tokens have some thousand bytes


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

    def is_current(self, now: float) -> bool:
        """Return whether the access token can be used; not if the clock was set back since it was obtained."""
        early = min(EARLY_S, (self.expires_at - self.obtained_at) / 2)
        return bool(self.access_token) and self.obtained_at - EARLY_S <= now < self.expires_at - early


def file_of(name: str, account: str) -> Path:
    if "/" in account or not account.isprintable():
        raise MailError(f"{account!r} is not the address of a mailbox")
    return settings.oauth_dir() / "rights" / f"{name}_{account.lower()}.json"


def how_to_grant(name: str, account: str) -> str:
    script = settings.project_dir() / "onboarding" / "sh" / "mailbox_consent.sh"
    user = directory_management.other_user_of_the_jobs()
    return f"type: {f'sudo -H -u {user} ' if user else ''}bash {script} {shlex.quote(account)} --provider {name}"


def read(name: str, account: str) -> Right:
    """Return the right; raises RightRefused if there is none that can be used."""
    file = file_of(name, account)
    if not file.is_file():
        raise RightRefused(
            f"access to the mail of {account} was not granted yet ({file} is missing); {how_to_grant(name, account)}"
        )
    right = found_in(file)
    if right is None:
        raise RightRefused(f"{file} is damaged: it is not a right to a mailbox; {how_to_grant(name, account)}")
    # Its refresh token must not be shown to another provider.
    if (right.provider, right.account.lower()) != (name, account.lower()):
        raise RightRefused(
            f"{file} is a right to the mail of {right.account} by {right.provider}; {how_to_grant(name, account)}"
        )
    for secret in (right.access_token, right.refresh_token):
        settings.conceal(secret)
    return right


def found_in(file: Path) -> Right | None:
    """Return the right in a file, None if there is none; raises SettingError for a file that cannot be trusted."""
    try:
        return parsed(settings.secret_file("the right to a mailbox", file)) if file.is_file() else None
    except settings.NotText:
        return None


def parsed(text: str) -> Right | None:
    """Return the right in a text, None if it is none. Fields that are not known are left out."""
    fields = {field.name for field in dataclasses.fields(Right)}
    try:
        right = Right(**{name: value for name, value in json.loads(text).items() if name in fields})
        right = dataclasses.replace(right, scopes=tuple(right.scopes))
        for moment in (right.obtained_at, right.expires_at):
            datetime.fromtimestamp(moment, UTC)
        if right.ends_at:
            datetime.fromisoformat(right.ends_at)
    except (ValueError, TypeError, AttributeError, OverflowError, OSError, RecursionError):
        return None
    words = (right.provider, right.account, right.access_token, right.refresh_token, right.granted_at, right.granted_by)
    is_right = all(isinstance(word, str) and word.isprintable() for word in (*words, *right.scopes))
    return right if is_right else None


def keep(right: Right) -> None:
    """Write the right's file; the caller holds its lock."""
    with keeping(right.provider, right.account) as write:
        write(right)


@contextlib.contextmanager
def keeping(name: str, account: str) -> Iterator[Callable[[Right], None]]:
    """Yield what writes the right's file, for which the disk has room; the caller holds the lock.

    Raises RightUnavailable if the disk has none.
    """
    file = file_of(name, account)
    with contextlib.ExitStack() as stack:
        with _on_disk(file):
            for left in file.parent.glob(f".{file.name}.*.part"):  # of a killed process
                left.unlink(missing_ok=True)
            write = stack.enter_context(directory_management.private_file(file, ROOM_BYTES))

        def write_right(right: Right) -> None:
            with _on_disk(file):
                write(json.dumps(dataclasses.asdict(right), indent=1))

        yield write_right


def require_room(name: str, account: str) -> None:
    """Raise what `locked` and `keeping` raise, before a person is asked."""
    with locked(name, account), keeping(name, account):
        pass


@contextlib.contextmanager
def _on_disk(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _unwritable(file, error) from None


def _unwritable(file: Path, error: OSError) -> RightUnavailable:
    return RightUnavailable(
        f"{file} cannot be written ({error.strerror}), so access to mail is not renewed; "
        "see that its disk has room, then try again"
    )


@contextlib.contextmanager
def locked(name: str, account: str) -> Iterator[None]:
    """Hold the lock of a right's file; it ends with the process."""
    lock = file_of(name, account).with_suffix(".lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        if error.errno in DISK_TROUBLE:
            raise _unwritable(lock, error) from None
        owner = directory_management.other_user_of_the_jobs() or current_user()
        raise MailError(
            f"{lock} cannot be opened ({error.strerror}); it must be a plain file of {owner}'s, in a directory of {owner}'s; "
            f"type: sudo rm -f {shlex.quote(str(lock))}; sudo chown -R {owner} {shlex.quote(str(lock.parent))}"
        ) from None
    try:
        directory_management.hand_over(lock)
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
