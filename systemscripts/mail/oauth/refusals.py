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
# Microsoft is busy, or was asked too often by others; some of these come with an error that is final elsewhere.
_PASSING_CODES = ("50196", "90006", "90024", "90033")

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
    "50055": Meaning("the password has ended", "log in to office.com and choose a new one, then start again"),
    "50057": Meaning("the account is disabled", f"{_ADMIN} enables it, or another account is used"),
    "50072": Meaning("the account must register a second factor first", "log in to office.com once, then start again"),
    "50074": Meaning("the tenant wants a second factor", "grant the access again, with the second factor"),
    "50076": Meaning("the tenant wants a second factor", "grant the access again, with the second factor"),
    "50078": Meaning("the tenant wants a second factor", "grant the access again, with the second factor"),
    "50079": Meaning("the account must register a second factor first", "log in to office.com once, then start again"),
    "50105": Meaning(
        "the account is not assigned to this program",
        f"{_ADMIN} opens Entra, Enterprise applications, this program, Users and groups, and adds the account",
    ),
    "50126": Meaning("name or password are wrong", "start again, and log in with the right ones"),
    "50132": Meaning("the access was taken away: the password was changed, or sessions were ended", "grant the access again"),
    "50133": Meaning("the access was taken away: the password was changed, or sessions were ended", "grant the access again"),
    "50158": Meaning("the tenant wants another check at the login", "grant the access again, and pass that check"),
    "50173": Meaning("the access was taken away: the password was changed, or sessions were ended", "grant the access again"),
    "50194": Meaning(
        "the program is registered for one tenant, and none is named",
        "set ETL_MICROSOFT_TENANT to the Directory (tenant) ID of the registration",
    ),
    "54005": Meaning("the code in the address was used already", "start again, and paste the newest address once"),
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
    "530003": Meaning("the tenant allows only its managed devices", f"{_ADMIN} excludes this program from that policy"),
    "530034": Meaning("a security policy of the tenant blocks the login", f"{_ADMIN} looks at the sign-in log"),
    "70008": Meaning("the right was not used for 90 days, or has ended", "grant the access again"),
    "700082": Meaning("the right was not used for 90 days, or has ended", "grant the access again"),
    "70011": Meaning(
        "the program asks for a right that does not exist there",
        "in its registration: API permissions, add the ones that docs/mailboxes.md names",
    ),
    "70043": Meaning(
        "the tenant's policy for the length of sessions has ended the right",
        f"{_ADMIN} excludes this account from the sign-in frequency; then grant the access again",
    ),
    "650052": Meaning("the tenant has no Exchange Online", f"{_ADMIN} sees to its licence"),
    "650057": Meaning(
        "the program's registration lacks the right that is asked for",
        "in its registration: API permissions, add the ones that docs/mailboxes.md names",
    ),
    "70000": Meaning("the right is not one of this program at this tenant", "grant the access again"),
    "70016": Meaning("the code was not entered in time", "start again"),
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
    "7000112": Meaning(
        "this program is switched off in the tenant",
        f"{_ADMIN} opens Entra, Enterprise applications, this program, Properties, and enables sign-in",
    ),
    "700024": Meaning("the clock of this machine is wrong", "correct it: timedatectl set-ntp true"),
    "700025": Meaning(
        "the registration is for programs without a secret",
        "remove ETL_MICROSOFT_CLIENT_SECRET and ETL_MICROSOFT_CERTIFICATE, or in its registration: Authentication, "
        "Allow public client flows, No",
    ),
    "700027": Meaning(
        "the certificate is not the registered one, or has ended",
        "in its registration: Certificates & secrets, upload the certificate that is in ETL_MICROSOFT_CERTIFICATE",
    ),
    "90002": Meaning("there is no such tenant", "correct ETL_MICROSOFT_TENANT"),
    "90093": Meaning("only an administrator may allow this program", f"{_ADMIN} grants admin consent"),
    "900023": Meaning("there is no such tenant", "correct ETL_MICROSOFT_TENANT"),
    "90072": Meaning(
        "the account is a guest that this tenant does not know", "log in with an account of the tenant of the mailbox"
    ),
}  # fmt: skip

# What any provider says without a code of Microsoft's (RFC 6749, 4.1.2.1 and 5.2; RFC 8628, 3.5).
_STANDARD = {
    "access_denied": MEANINGS["65004"],
    "authorization_declined": MEANINGS["65004"],
    "authorization_pending": MEANINGS["70020"],
    "slow_down": MEANINGS["70020"],
    "expired_token": MEANINGS["70020"],
    "invalid_client": Meaning("the provider does not know this program, or its secret is wrong", "correct client_id and client_secret"),
    "unauthorized_client": Meaning("this program may not ask in this way", "see its registration at the provider"),
    "invalid_scope": Meaning("the program asks for a right that does not exist there", "correct scopes"),
    "redirect_uri_mismatch": Meaning("the registration has another redirect address", "make it one for desktop programs"),
}  # fmt: skip

# What the mail servers say, by a piece of their words.
SERVERS = {
    "5.7.30": Meaning(
        "the server takes no password any more",
        "set ETL_SMTP_AUTH=oauth:microsoft, and grant the access as docs/mailboxes.md says",
    ),
    "credentials were incorrect": Meaning(
        "the server does not take this password or token for the account",
        "check the address and the password; for Microsoft 365, which takes none from the end of 2026, see docs/mailboxes.md",
    ),
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
        f"{_ADMIN}: Set-CASMailbox -Identity ADDRESS -ImapEnabled $true, which takes up to an hour; "
        "a program that logs in for itself also needs New-ServicePrincipal and Add-MailboxPermission",
    ),
    "5.7.3": Meaning(
        "the server does not take this password or token for the mailbox",
        f"check the address and the password; with a token, {_ADMIN} allows SMTP AUTH for it (Set-CASMailbox), and the "
        "permission SMTP.Send for this program",
    ),
    "erroraccessdenied": Meaning(
        "the right does not reach this mailbox",
        "grant the access again, for the mailbox of another with --shared; "
        f"{_ADMIN} gives Full Access and Send As, or an application access policy",
    ),
    "errorsendasdenied": Meaning(
        "the account may not send as this address", f"{_ADMIN} gives it the right Send As for the mailbox"
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
    error = answer.get("error")
    if not isinstance(error, str) or not error:
        return ""
    words = f"{error}: {answer.get('error_description') or ''}".rstrip(": ")
    told = explained(words)
    if error in ("temporarily_unavailable", "server_error") or any(
        code in _PASSING_CODES for code in _CODE.findall(words)
    ):
        raise RightUnavailable(f"access to mail cannot be renewed for now ({told}); try again later")
    return told


def _meaning(words: str) -> Meaning | None:
    for code in _CODE.findall(words):
        if code in MEANINGS:
            return MEANINGS[code]
    for piece, meaning in SERVERS.items():
        # Not the beginning of another number.
        if re.search(rf"(?<![\w.]){re.escape(piece)}(?!\w)", words, re.IGNORECASE):
            return meaning
    return None if _CODE.search(words) else _STANDARD.get(words.partition(":")[0])


def first_line(words: str) -> str:
    """Return the first line, without secrets, and without the trace ids that Microsoft adds."""
    line = next(iter(words.strip().splitlines()), "")
    return settings.mask(as_words(re.split(r"\s*Trace ID:", line)[0]))[:300]
