"""The command behind mailbox_consent.sh: a person with a browser on any computer grants access to a mailbox.

The person types a short code at the provider's address (--device), or pastes the address at which the browser ends.
Then the logins by IMAP and SMTP are tried. A program that logs in for itself needs no person; it is only tried.
"""

import argparse
import contextlib
import re
import smtplib
import ssl
from collections.abc import Callable
from enum import Enum
from typing import NoReturn
from urllib.parse import parse_qs, urlsplit

from systemscripts import job_catalog, settings
from systemscripts.command_line import run_command
from systemscripts.errors import EXIT_FAILED, EXIT_TEMPORARY, JobError, TemporaryFailure, WrongCall
from systemscripts.inbox import open_mailbox
from systemscripts.inbox.rules import Place
from systemscripts.mail import smtp_connection
from systemscripts.mail.composing import MailError, MailUnavailable
from systemscripts.mail.oauth import kept_rights, refusals, rights
from systemscripts.mail.oauth.kept_rights import Right
from systemscripts.mail.oauth.providers import Provider, provider
from systemscripts.mail.oauth.refusals import RightRefused
from systemscripts.mail.smtp_connection import Server
from systemscripts.plain_text import as_words, say

WITH_CODE = """
1. Open this address in a browser, on any computer:

{address}

2. Type this code, and log in as {account}, or as a person who may use that mailbox:

{code}

3. Allow the requested access. This command waits for it.
"""
IN_BROWSER = """
1. Open this address in a browser, on any computer, logged in as {account}, or as a person who may use that mailbox:

{address}

2. Allow the requested access.
3. The browser then says that it cannot open a page at localhost. This is expected. Copy the whole
   address from its address bar, paste it here, and press Enter.
"""


class Outcome(Enum):
    """What became of the logins: one works, none was possible for now, or all were refused."""

    WORKS = "works"
    UNTRIED = "untried"
    REFUSED = "refused"


STATUSES = {Outcome.WORKS: 0, Outcome.UNTRIED: EXIT_TEMPORARY, Outcome.REFUSED: EXIT_FAILED}


class Parser(argparse.ArgumentParser):
    """Ends a wrong call as the other scripts do."""

    def error(self, message: str) -> NoReturn:
        raise WrongCall(f"{message}; see --help")


def main(arguments: list[str]) -> int:
    parser = Parser(prog="mailbox_consent.sh", add_help=False)
    parser.add_argument("account")
    parser.add_argument("--provider", default="microsoft")
    parser.add_argument("--device", action="store_true")
    parser.add_argument("--shared", action="store_true")
    parser.add_argument("--dry-run", action="store_true")
    args = parser.parse_args(arguments)
    account = args.account.lower()
    if not re.fullmatch(r"[^@\s/\"<>,]+@[^@\s/\"<>,]+", account):
        raise MailError(f"{args.account!r} is not a mail address")
    who = provider(args.provider)
    scopes = who.scopes + (who.shared_scopes if args.shared else ())
    if args.dry_run:
        asked = f"log in for itself, with {who.app_scope}" if who.is_app else f"ask a person for {', '.join(scopes)}"
        say(f"would {asked}, and keep the right in {kept_rights.file_of(who.name, account)}")
        return 0
    if who.is_app:
        return STATUSES[tried(who, account)]
    file = kept_rights.file_of(who.name, account)
    former = kept_rights.found_in(file)
    kept_rights.require_room(who.name, account)
    right = asked_for(who, account, scopes, args.device)
    outcome = Outcome.REFUSED
    try:
        rights.grant(right)
        if right.granted_by.lower() not in ("", account):
            say(f"{right.granted_by} has granted the access; it is used for the mailbox {account}.")
        outcome = tried(who, account)
    finally:
        # Also where a person stops the command.
        if outcome is Outcome.REFUSED:
            take_back(who, account, former)
    if outcome is Outcome.REFUSED:
        say("Nothing was changed: no login works with this right.")
    else:
        later = ", although no login could be tried" if outcome is Outcome.UNTRIED else ""
        say(f"The right is kept in {file}{later}.")
    return STATUSES[outcome]


def take_back(who: Provider, account: str, former: Right | None) -> None:
    # What lay there for another mailbox, or of another provider, was no right that worked.
    if former is not None and (former.provider, former.account.lower()) == (who.name, account):
        rights.grant(former)
    else:
        kept_rights.file_of(who.name, account).unlink(missing_ok=True)


def asked_for(who: Provider, account: str, scopes: tuple[str, ...], with_code: bool) -> Right:
    """Let a person grant access, and return the right."""
    begun = rights.begin(who, account, scopes, with_code)
    words = WITH_CODE if with_code else IN_BROWSER
    say(*words.format(address=begun.address, code=begun.code, account=account).split("\n"))
    values = {} if with_code else pasted(input("address: "), begun.state)
    answer = begun.finish(values)
    if refusal := refusals.refusal_in(answer):
        raise RightRefused(f"{who.name} does not grant access: {refusal}")
    claims = answer.get("id_token_claims")
    by = as_words(str(claims.get("preferred_username") or ""))[:200] if isinstance(claims, dict) else ""
    new = Right(who.name, account, scopes=scopes, granted_at=settings.now().isoformat(), granted_by=by)
    right = rights.with_answer(new, answer)
    if not right.refresh_token:
        raise RightRefused(f"{who.name} granted access only for a short time, without a refresh token; start again")
    return right


def pasted(address: str, state: str) -> dict[str, str]:
    """Return the values in the browser's address; raises RightRefused if it is not the answer to our request."""
    values: dict[str, str] = {}
    with contextlib.suppress(ValueError):
        values = {name: found[0] for name, found in parse_qs(urlsplit(address.strip()).query).items()}
    if refusal := refusals.refusal_in(values):
        raise RightRefused(f"access was not granted: {refusal}")
    if not values.get("code"):
        raise RightRefused("this is not the right address: it must begin with http://localhost:1/ and contain code=")
    if values.get("state") != state:
        raise RightRefused("this address belongs to another attempt; start again and use the newest link")
    return values


# ---- what the right is good for ------------------------------------------------------------


def tried(who: Provider, account: str) -> Outcome:
    """Try the logins that the provider has, say how each went, and return the best outcome."""
    found = []
    if who.imap_server:
        place = Place(account, who.imap_server, ("INBOX",), f"oauth:{who.name}")
        next_step = f"in its row of dba.tinboxconfig: imap_server = '{who.imap_server}', auth = 'oauth:{who.name}'"
        found.append(_works(f"IMAP at {who.imap_server}", next_step, lambda: _open(place)))
    if who.smtp_server:
        next_step = f"ETL_EMAIL={account}, ETL_SMTP_AUTH=oauth:{who.name}, SMTP_HOST and SMTP_PORT of this server"
        found.append(_works(f"SMTP at {who.smtp_server}", next_step, lambda: _greet(who, account)))
    if who.api:
        next_step = "in its row of dba.tinboxconfig: auth = 'graph'; for mail that goes out: ETL_SMTP_AUTH=graph"
        found.append(_works("Microsoft Graph", next_step, lambda: _open(Place(account, None, ("INBOX",), "graph"))))
    if not found:
        say(f"No server of {who.name} is known, so nothing was tried.")
    elif Outcome.WORKS in found:
        say(f"Then: {job_catalog.typed('process_inbox.py', '--dry-run')}")
    return next((outcome for outcome in Outcome if outcome in found), Outcome.WORKS)


def _works(what: str, next_step: str, login: Callable[[], None]) -> Outcome:
    try:
        login()
    except TemporaryFailure as problem:
        say(f"{what} cannot be tried for now: {problem}")
        return Outcome.UNTRIED
    except JobError as problem:
        say(f"{what} does not work: {problem}")
        return Outcome.REFUSED
    say(f"{what} works; {next_step}")
    return Outcome.WORKS


def _open(place: Place) -> None:
    with open_mailbox(place) as mailbox:
        mailbox.waiting(())


def _greet(who: Provider, account: str) -> None:
    host, _, port = who.smtp_server.partition(":")
    where = Server(host, int(port or 587), "ssl" if port == "465" else "starttls")
    try:
        smtp_connection.with_token(who.name, account, where).close()
    except (OSError, ValueError) as error:  # those of smtplib and ssl are among them
        passes = isinstance(error, OSError) and not isinstance(error, smtplib.SMTPResponseException | ssl.SSLError)
        told = f"no login is possible ({smtp_connection.said(str(error))})"
        raise (MailUnavailable(told) if passes else MailError(told)) from None


def unless_left(arguments: list[str]) -> int:
    """Run `main`; a person may stop it with Ctrl-C or Ctrl-D."""
    try:
        return main(arguments)
    except (KeyboardInterrupt, EOFError):
        raise JobError("nothing was changed") from None


if __name__ == "__main__":
    run_command("mailbox_consent.sh", unless_left)
