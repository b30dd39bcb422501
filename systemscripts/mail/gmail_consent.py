"""The command behind gmail_api.sh: a person with a browser on any computer grants access to a mailbox.

Google sends the browser to an address of the person's own computer, where nothing listens. The
browser's address bar then holds the answer, and the person pastes it here. RFC 8252 and 7636 (PKCE).
"""

import argparse
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from systemscripts import job_catalog, settings
from systemscripts.command_line import run_command
from systemscripts.errors import JobError
from systemscripts.mail import gmail_login
from systemscripts.mail.gmail_login import SCOPE, GmailLoginError
from systemscripts.plain_text import say

# No program uses port 1.
REDIRECT_URI = "http://localhost:1/"

STEPS = """
1. Open this address in a browser, on any computer, logged in as {account}:

{url}

2. Allow the requested access. If Google says that it has not verified the program, continue: it is your own.
3. The browser then says that it cannot open a page at localhost. This is expected. Copy the whole
   address from its address bar, paste it here, and press Enter.
"""


def answer_in(address: str, state: str) -> str:
    """Return the code in the browser's address; raises GmailLoginError if it is not the answer to our request."""
    try:
        values = parse_qs(urlsplit(address.strip()).query)
    except ValueError:
        values = {}
    if "error" in values:
        raise GmailLoginError(f"Google says {values['error'][0]!r}: access was not granted")
    if not values.get("code"):
        raise GmailLoginError("this is not the right address: it must begin with http://localhost:1/ and contain code=")
    if values.get("state") != [state]:
        raise GmailLoginError("this address belongs to another attempt; start again and use the newest link")
    return values["code"][0]


def ask(account: str) -> dict[str, Any]:
    """Let a person grant access, and return the token file's values."""
    from google_auth_oauthlib.flow import Flow

    flow = Flow.from_client_config(gmail_login.client_configuration(), [SCOPE], redirect_uri=REDIRECT_URI)
    url, state = flow.authorization_url(access_type="offline", prompt="consent", login_hint=account)
    say(*STEPS.format(account=account, url=url).split("\n"))
    code = answer_in(input("address: "), state)
    try:
        token = flow.fetch_token(code=code, include_client_id=True)
    # oauthlib raises its own errors, and a Warning if the person did not allow everything.
    except (Exception, Warning) as error:  # noqa: BLE001
        raise GmailLoginError(f"Google does not grant access: {settings.mask(str(error))}; start again") from None
    values = json.loads(flow.credentials.to_json())
    if not values.get("refresh_token"):
        raise GmailLoginError("Google granted access for only one hour; start again")
    seconds = token.get("refresh_token_expires_in")  # not there if Google did not say
    ends = (datetime.now(UTC) + timedelta(seconds=int(str(seconds)))).isoformat() if seconds else None
    return {**values, "granted_at": settings.now().isoformat(), "refresh_token_expires_at": ends, "warned_on": None}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="gmail_api.sh", add_help=False)
    parser.add_argument("account")
    parser.add_argument("--dry-run", action="store_true")
    args = parser.parse_args(arguments)
    account = args.account.lower()
    if not re.fullmatch(r"[^@\s/\"<>,]+@[^@\s/\"<>,]+", account):
        raise GmailLoginError(f"{args.account!r} is not a mail address")
    file = settings.gmail_token_file(account)
    gmail_login.client_configuration()
    if args.dry_run:
        say(f"would ask for access to read and label the mail of {account}, and keep it in {file}")
        return 0
    former = file.read_bytes() if file.exists() else None
    gmail_login.keep_token(account, ask(account))
    try:
        gmail_login.prove(account)
    except JobError:
        if former is None:
            file.unlink()
        else:
            gmail_login.keep_token(account, json.loads(former))
        raise
    say(
        f"The access to the mail of {account} is in {file}. Try it: {job_catalog.typed('process_inbox.py', '--dry-run')}"
    )
    return 0


def unless_left(arguments: list[str]) -> int:
    """Run `main`; a person may stop it with Ctrl-C or Ctrl-D."""
    try:
        return main(arguments)
    except (KeyboardInterrupt, EOFError):
        raise JobError("nothing was changed") from None


if __name__ == "__main__":
    run_command("gmail_api.sh", unless_left)
