"""What a refusal means, and who has to do what: the codes of Microsoft Entra (AADSTS…) and of the mail servers.

https://learn.microsoft.com/en-us/entra/identity-platform/reference-error-codes
"""

import re
from typing import Any, NamedTuple

from systemscripts import settings
from systemscripts.mail.composing import MailError, MailUnavailable
from systemscripts.plain_text import as_words


class RightRefused(MailError):
    """The right is not there, or is refused for good; the message says what to type."""


class RightUnavailable(MailUnavailable):
    """The right cannot be renewed for now. `pause` is how many seconds the provider wants to be left alone."""

    def __init__(self, message: str, pause: float | None = None) -> None:
        super().__init__(message)
        self.pause = pause


class TokenRefused(Exception):
    """A server does not take the token; the message has its words."""


class Meaning(NamedTuple):
    """The meaning of a code, and its cure."""

    what: str
    cure: str


_CODE = re.compile(r"AADSTS(\d{4,7})")
_ADMIN = "the tenant's administrator"

MEANINGS = {
    "65001": Meaning(
        "nobody has allowed this program the access",
        f"{_ADMIN} opens Entra, Enterprise applications, this program, Permissions, and grants admin consent",
    ),
    "65004": Meaning("the person did not allow the access", "start again, and choose Accept"),
    "90094": Meaning("only an administrator may allow this program", f"{_ADMIN} grants admin consent"),
    "50020": Meaning(
        "the account is not of this tenant",
        "set ETL_MICROSOFT_TENANT to the tenant of the mailbox, or log in with an account of the tenant",
    ),
    "50034": Meaning("there is no such account in the tenant", "check the address, and ETL_MICROSOFT_TENANT"),
    "50053": Meaning(
        "the account is locked after too many wrong logins, or its address is blocked",
        f"wait an hour; {_ADMIN} sees the reason in the sign-in logs",
    ),
    "50057": Meaning("the account is disabled", f"{_ADMIN} enables it, or another account is used"),
    "50076": Meaning("the tenant wants a second factor", "grant the access again, with the second factor"),
    "50078": Meaning("the second factor is too long ago", "grant the access again, with the second factor"),
    "50079": Meaning("the account must register a second factor first", "log in to office.com once, then start again"),
    "50126": Meaning("name or password are wrong", "start again, and log in with the right ones"),
    "50158": Meaning("the tenant wants another check at the login", "grant the access again, and pass that check"),
    "50173": Meaning("the access was taken away: the password was changed, or sessions were ended", "grant the access again"),
    "53000": Meaning("the tenant allows only its managed devices", f"{_ADMIN} excludes this program from that policy"),
    "53003": Meaning(
        "a Conditional Access policy forbids this login",
        f"{_ADMIN} looks at the sign-in log and excludes this account or program from the policy; "
        "if it only blocks the device code flow, start again without --device",
    ),
    "500113": Meaning(
        "the program's registration has no redirect address",
        "in its registration: Authentication, Add a platform, Mobile and desktop applications, http://localhost",
    ),
    "50011": Meaning(
        "the registration has another redirect address",
        "in its registration: Authentication, Add a platform, Mobile and desktop applications, http://localhost",
    ),
    "530032": Meaning(
        "a security policy of the tenant blocks the account", f"{_ADMIN} looks at the account's risk in the sign-in log"
    ),
    "530034": Meaning("a security policy of the tenant blocks the login", f"{_ADMIN} looks at the sign-in log"),
    "70008": Meaning("the right has ended, or was not used for 90 days", "grant the access again"),
    "700082": Meaning("the right was not used for 90 days", "grant the access again"),
    "70011": Meaning(
        "the program asks for a right that does not exist there",
        "in its registration: API permissions, add the ones that docs/mailboxes.md names",
    ),
    "70043": Meaning(
        "the tenant's policy for the length of sessions has ended the right",
        f"{_ADMIN} excludes this account from the sign-in frequency; then grant the access again",
    ),
    "70016": Meaning("the code was not entered yet", "enter it in the browser"),
    "70020": Meaning("the code was not entered in time", "start again"),
    "700016": Meaning(
        "the tenant does not know this program", "check ETL_MICROSOFT_CLIENT_ID and ETL_MICROSOFT_TENANT"
    ),
    "7000215": Meaning(
        "the client secret is wrong",
        "ETL_MICROSOFT_CLIENT_SECRET must be the secret's Value, not its Secret ID; if it is lost, make a new one",
    ),
    "7000218": Meaning(
        "the registration is for programs with a secret",
        "in its registration: Authentication, Allow public client flows, Yes",
    ),
    "7000222": Meaning(
        "the client secret has ended",
        "in its registration: Certificates & secrets, New client secret; write it into ETL_MICROSOFT_CLIENT_SECRET",
    ),
    "700027": Meaning(
        "the certificate is not the registered one, or has ended",
        "in its registration: Certificates & secrets, upload the certificate that is in ETL_MICROSOFT_CERTIFICATE",
    ),
    "90002": Meaning("there is no such tenant", "correct ETL_MICROSOFT_TENANT"),
    "90072": Meaning(
        "the account is a guest that this tenant does not know", "log in with an account of the tenant of the mailbox"
    ),
}  # fmt: skip

# What the mail servers say, by a piece of their words.
SERVERS = {
    "5.7.139": Meaning(
        "SMTP AUTH is switched off for the tenant or the mailbox",
        f"{_ADMIN}: Set-CASMailbox -Identity ADDRESS -SmtpClientAuthenticationDisabled $false; a security default "
        "that forbids it needs `graph` in place of SMTP",
    ),
    "5.7.60": Meaning(
        "the account may not send as this address", f"{_ADMIN} gives it the right Send As for the mailbox"
    ),
    "5.2.252": Meaning(
        "the account may not send as this address", f"{_ADMIN} gives it the right Send As for the mailbox"
    ),
    "authenticated but not connected": Meaning(
        "the account has no access to this mailbox",
        f"{_ADMIN} gives it Full Access to the mailbox, or to the program's service principal: Add-MailboxPermission",
    ),
    "authenticate failed": Meaning(
        "IMAP is switched off for the mailbox, or the token is not for it",
        f"{_ADMIN}: Set-CASMailbox -Identity ADDRESS -ImapEnabled $true; a program that logs in for itself also needs "
        "New-ServicePrincipal and Add-MailboxPermission",
    ),
    "5.7.3": Meaning(
        "the server does not take the token for this mailbox",
        f"{_ADMIN} allows SMTP AUTH for it (Set-CASMailbox), and the permission SMTP.Send for this program",
    ),
    "erroraccessdenied": Meaning(
        "the right does not reach this mailbox",
        "grant the access again, for the mailbox of another with --shared; "
        f"{_ADMIN} gives Full Access and Send As, or an application access policy",
    ),
    "mailboxnotenabledforrestapi": Meaning(
        "the mailbox is not at Exchange Online, or has no licence", f"{_ADMIN} gives it a licence"
    ),
}  # fmt: skip


def explained(words: str, account: str = "") -> str:
    """Return the words of a refusal on one line; a known code is followed by its meaning and its cure."""
    line = first_line(words)
    meaning = _meaning(words)
    if meaning is None:
        return line
    code = _CODE.search(words)
    told = code[0] if code else line
    cure = meaning.cure.replace("ADDRESS", account) if account else meaning.cure
    return f"{told}: {meaning.what}; {cure}"


def refusal_in(answer: dict[str, Any]) -> str:
    """Return the words of a refusal, "" for an answer that is none; raises RightUnavailable for one that passes."""
    if "error" not in answer:
        return ""
    told = explained(f"{answer['error']}: {answer.get('error_description') or ''}".rstrip(": "))
    if answer["error"] in ("temporarily_unavailable", "server_error", "slow_down"):
        raise RightUnavailable(f"access to mail cannot be renewed for now ({told}); try again later")
    return told


def _meaning(words: str) -> Meaning | None:
    for code in _CODE.findall(words):
        if code in MEANINGS:
            return MEANINGS[code]
    lower = words.lower()
    return next((meaning for piece, meaning in SERVERS.items() if piece in lower), None)


def first_line(words: str) -> str:
    """Return the first line, without secrets, and without the trace ids that Microsoft adds."""
    line = next(iter(words.strip().splitlines()), "")
    return settings.mask(as_words(re.split(r"\s*Trace ID:", line)[0]))[:300]
