"""Gmail's API: the access to a mailbox, its renewal without a browser, and the client.

gmail_api.sh gets the access once, from a person with a browser, and keeps it in a token file of mode
600. This module only uses and renews it, because a job under cron cannot ask a person.
"""

import contextlib
import functools
import json
import logging
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from systemscripts import directory_management, settings
from systemscripts.errors import JobError, TemporaryFailure

log = logging.getLogger(__name__)

# The smallest right that can read and label mail: it can neither delete mail for good nor change settings.
SCOPE = "https://www.googleapis.com/auth/gmail.modify"

# An OAuth client in testing gets tokens for seven days.
WARNING_AHEAD = timedelta(days=2)

_RENEWAL_S = 20.0  # of silence


class GmailLoginError(JobError):
    """Google refuses access to the mailbox; the message says what to type."""


class GmailUnavailable(TemporaryFailure):
    """Google cannot be reached for now, or gets too many requests."""


def gmail_client(account: str) -> Any:
    """Return a client of Gmail's API (googleapiclient's Resource) that is logged in.

    Raises GmailLoginError if a person must grant access again, GmailUnavailable if Google cannot be reached.
    """
    import google_auth_httplib2
    import httplib2
    from googleapiclient.discovery import build

    http = google_auth_httplib2.AuthorizedHttp(
        _credentials(account), http=httplib2.Http(timeout=settings.mailbox_timeout())
    )
    endpoint = settings.gmail_api_endpoint()
    options = {"client_options": {"api_endpoint": endpoint}} if endpoint else {}
    return build("gmail", "v1", http=http, cache_discovery=False, **options)


@contextlib.contextmanager
def explained(account: str) -> Any:
    """Turn the libraries' exceptions in the block into our two errors; an HttpError passes unchanged."""
    from google.auth.exceptions import GoogleAuthError, RefreshError

    try:
        yield
    except RefreshError as error:
        if getattr(error, "retryable", False):
            told = f"Google does not renew the login of {account} for now: {_one_line(error)}"
            raise GmailUnavailable(told) from None
        raise GmailLoginError(
            f"Google no longer accepts the login of {account} ({_one_line(error)}); on a computer with a browser at "
            f"hand, {how_to_log_in(account)}"
        ) from None
    except GoogleAuthError as error:
        raise GmailUnavailable(f"Google cannot be reached for the login of {account}: {_one_line(error)}") from None


def prove(account: str) -> None:
    """Use the access to the mailbox once; raises GmailLoginError if it is for another mailbox or too small."""
    from googleapiclient.errors import HttpError

    with explained(account):
        try:
            gmail_client(account).users().labels().list(userId=account).execute()
        except HttpError as error:
            raise GmailLoginError(
                f"Google refuses access to the mail of {account} ({error.status_code} {error.reason}): in the "
                "browser choose exactly that mailbox, and allow the requested access"
            ) from None


def expires_soon(account: str) -> datetime | None:
    """Return when the access to the mailbox ends, None if that is far away or Google did not say."""
    try:
        ends = datetime.fromisoformat(_read_token(account).get("refresh_token_expires_at") or "").astimezone()
    except ValueError:
        return None
    return ends if ends - settings.now() <= WARNING_AHEAD else None


def expiry_warning(account: str) -> str | None:
    """Return a warning, once a day, if the access will soon end; else None."""
    ends, token, today = expires_soon(account), _read_token(account), settings.now().date().isoformat()
    if ends is None or token.get("warned_on") == today:
        return None
    keep_token(account, {**token, "warned_on": today})
    return (
        f"the access to the mail of {account} ends {ends:%A %Y-%m-%d %H:%M %Z}; before that, "
        f"{how_to_log_in(account)} (it lasts if the OAuth client is published in Google's console, not in testing)"
    )


def how_to_log_in(account: str) -> str:
    script = settings.project_dir() / "onboarding" / "sh" / "gmail_api.sh"
    user = directory_management.other_user_of_the_jobs()
    return f"type: {f'sudo -H -u {user} ' if user else ''}bash {script} {shlex.quote(account)}"


def client_configuration() -> dict[str, Any]:
    """Return the OAuth client of the credentials file; raises GmailLoginError if the file is missing or not filled in."""
    file = settings.gmail_credentials_file()
    how = (
        "make an OAuth client of the type Desktop app in Google's console (APIs and services, Credentials), with the "
        f"Gmail API switched on, and download it as {file}; type: chmod 600 {shlex.quote(str(file))}"
    )
    if not file.exists():
        raise GmailLoginError(f"{file} is not there: {how}")
    try:
        configuration = json.loads(settings.secret_file("the OAuth client", file))
        client = configuration["installed"]
        settings.conceal(client["client_secret"])
        is_template = client["client_id"].startswith("YOUR_")
        if not all(str(client[name]).strip() for name in ("client_id", "client_secret", "auth_uri", "token_uri")):
            raise ValueError("a value is empty")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise GmailLoginError(f"{file} is not an OAuth client of the type Desktop app: {how}") from None
    if is_template:
        raise GmailLoginError(f"{file} is still the template: {how}")
    return {"installed": client}


def keep_token(account: str, values: dict[str, Any]) -> Path:
    """Write the token file of a mailbox, readable only for its owner, and return its path."""
    file = settings.gmail_token_file(account)
    directory_management.keep_private(file, json.dumps(values, indent=1))
    return file


# ---- inside --------------------------------------------------------------------------------


def _credentials(account: str) -> Any:
    from google.auth.transport.requests import Request
    from google.oauth2.credentials import Credentials

    token = _read_token(account)
    try:
        expiry = (
            datetime.fromisoformat(token["expiry"]).astimezone(UTC).replace(tzinfo=None)
        )  # in the form that the library needs
        values = {name: str(token[name]) for name in ("refresh_token", "client_id", "client_secret", "token_uri")}
        credentials: Any = Credentials(token.get("token"), expiry=expiry, scopes=[SCOPE], **values)  # type: ignore[no-untyped-call]
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise GmailLoginError(
            f"{settings.gmail_token_file(account)} is not a Gmail token ({error!r}); {how_to_log_in(account)}"
        ) from None
    for name in ("token", "refresh_token", "client_secret"):
        settings.conceal(str(token.get(name) or ""))
    if not credentials.valid:
        with explained(account):
            credentials.refresh(functools.partial(Request(), timeout=_RENEWAL_S))
        settings.conceal(credentials.token)
        # For the next run; if it cannot be kept, the next run renews it again.
        with contextlib.suppress(OSError):
            keep_token(account, {**token, **json.loads(credentials.to_json())})
    return credentials


def _read_token(account: str) -> dict[str, Any]:
    file = settings.gmail_token_file(account)
    if not file.is_file():
        raise GmailLoginError(
            f"access to the mail of {account} was not granted yet ({file} is missing); {how_to_log_in(account)}"
        )
    try:
        token = json.loads(settings.secret_file("the token of Gmail's", file))
    except (ValueError, RecursionError):
        token = None
    # A line break in a token would break a header.
    if not isinstance(token, dict) or not all(str(value).isprintable() for value in token.values()):
        raise GmailLoginError(f"{file} is damaged: it is not a JSON object of plain texts; {how_to_log_in(account)}")
    return token


def _one_line(error: Exception) -> str:
    """Return only the library's message; its other arguments hold the whole answer."""
    told = str(error.args[0]) if error.args else type(error).__name__
    return settings.mask(" ".join(told.split()))[:300]
