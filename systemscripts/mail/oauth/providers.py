"""Who gives rights to mailboxes: Microsoft and Google by what stands here, any other by a file NAME.json.

The file lies in ETL_OAUTH_DIR. Its fields are those of Provider, the endpoints named as in RFC 8414; `like` names one
of the providers here, whose fields it takes over. Microsoft's sovereign clouds are described in this way.
"""

import dataclasses
import json
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from systemscripts import settings
from systemscripts.mail import gmail_login
from systemscripts.mail.composing import MailError

NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")


@dataclass(frozen=True)
class Provider:
    """Who gives rights. Microsoft's endpoints are found by `authority`; other providers name their own."""

    name: str
    authority: str = ""
    authorization_endpoint: str = ""
    device_authorization_endpoint: str = ""
    token_endpoint: str = ""
    scopes: tuple[str, ...] = ()
    shared_scopes: tuple[str, ...] = ()  # for the mailboxes of others, in addition
    app_scope: str = ""  # for a program that logs in for itself
    client_id: str = ""
    client_secret: str = ""
    certificate: Path | None = None
    imap_server: str = ""
    smtp_server: str = ""
    api: str = ""  # Microsoft Graph
    idle_days: int = 0  # after so many days without use a right ends; 0: it does not
    more: tuple[tuple[str, str], ...] = ()  # what else stands in the address that a person opens

    @property
    def is_app(self) -> bool:
        """Return whether the program logs in for itself, so that no person grants anything."""
        return bool(self.app_scope and (self.certificate or self.client_secret))

    @property
    def idle(self) -> timedelta | None:
        return timedelta(days=self.idle_days) if self.idle_days else None


_MICROSOFT = Provider(
    "microsoft",
    scopes=("https://outlook.office.com/IMAP.AccessAsUser.All", "https://outlook.office.com/SMTP.Send"),
    app_scope="https://outlook.office365.com/.default",
    imap_server="outlook.office365.com",
    smtp_server="smtp.office365.com:587",
    idle_days=90,
)
_GRAPH = Provider(
    "graph",
    scopes=("https://graph.microsoft.com/Mail.ReadWrite", "https://graph.microsoft.com/Mail.Send"),
    shared_scopes=(
        "https://graph.microsoft.com/Mail.ReadWrite.Shared", "https://graph.microsoft.com/Mail.Send.Shared",
    ),
    app_scope="https://graph.microsoft.com/.default",
    api="https://graph.microsoft.com/v1.0",
    idle_days=90,
)  # fmt: skip
_GOOGLE = Provider(
    "google",
    scopes=("https://mail.google.com/",),
    authorization_endpoint="https://accounts.google.com/o/oauth2/auth",
    token_endpoint="https://oauth2.googleapis.com/token",  # noqa: S106 — an address
    imap_server="imap.gmail.com",
    smtp_server="smtp.gmail.com:465",
    idle_days=180,
    more=(("access_type", "offline"), ("prompt", "consent")),
)
BUILT_IN = {provider.name: provider for provider in (_MICROSOFT, _GRAPH, _GOOGLE)}

_LISTS = ("scopes", "shared_scopes")
_ADDRESSES = ("authority", "authorization_endpoint", "device_authorization_endpoint", "token_endpoint", "api")


def provider(name: str) -> Provider:
    """Return the provider of that name, with this program's identity; raises MailError, which says what is missing."""
    file = settings.oauth_dir() / f"{name}.json"
    if not NAME.fullmatch(name) or not (name in BUILT_IN or file.exists()):
        raise MailError(f"there is no provider {name!r}: the names are {', '.join(BUILT_IN)}, or describe it in {file}")
    described = _described(file) if file.exists() else {}
    base = BUILT_IN.get(str(described.pop("like", name)), Provider(name))
    made = dataclasses.replace(base, **{"name": name, **_identity(base, described), **described})
    settings.conceal(made.client_secret)
    if not made.client_id:
        raise MailError(f"{_missing_identity(base, file)} (docs/mailboxes.md)")
    if not made.authority and not made.token_endpoint:
        raise MailError(f"{file} has no `token_endpoint`: the address where a right is renewed")
    if made.is_app and made.authority.endswith(("/organizations", "/common")):
        raise MailError(
            "a program that logs in with a secret or a certificate must name its tenant: set ETL_MICROSOFT_TENANT"
        )
    return made


def provider_of(auth: str) -> str:
    """Return the provider's name in ETL_SMTP_AUTH or dba.tinboxconfig.auth, "" for a password.

    >>> provider_of("oauth:google")
    'google'
    """
    if auth == "oauth:graph":
        raise MailError(
            "oauth:graph is no login at a server: write graph for Microsoft Graph (without imap_server), or oauth:microsoft "
            "for IMAP and SMTP"
        )
    return "" if auth == "password" else auth.removeprefix("oauth:")


def require_own_server(name: str, server: str, setting: Literal["imap_server", "SMTP_HOST"]) -> None:
    """Raise MailError for a server that is not the provider's: with the token it would get the mailbox."""
    who = provider(name)
    own = (who.imap_server if setting == "imap_server" else who.smtp_server).partition(":")[0]
    if own and server.partition(":")[0].lower() != own.lower():
        raise MailError(
            f"{setting} is {server!r}, but a token of {name} is shown to {own} only; correct {setting}, or name the server in "
            f"a provider's file of its own (docs/mailboxes.md, Another provider)"
        )


def _identity(base: Provider, described: dict[str, Any]) -> dict[str, Any]:
    """Return how this program names itself to a provider that is built in."""
    if base.name in ("microsoft", "graph"):
        return {
            "authority": f"https://login.microsoftonline.com/{settings.microsoft_tenant()}",
            "client_id": settings.microsoft_client_id(),
            "client_secret": settings.microsoft_client_secret(),
            "certificate": settings.microsoft_certificate(),
        }
    if base.name == "google" and "client_id" not in described and settings.gmail_credentials_file().exists():
        try:
            client = gmail_login.client_configuration()["installed"]
        except gmail_login.GmailLoginError as problem:
            raise MailError(str(problem)) from None
        return {"client_id": str(client["client_id"]), "client_secret": str(client["client_secret"])}
    return {}


def _missing_identity(base: Provider, file: Path) -> str:
    if base.name in ("microsoft", "graph"):
        return (
            "ETL_MICROSOFT_CLIENT_ID is not set: register this program in Microsoft Entra, and write its Application "
            f"(client) ID into {settings.user_config_dir() / 'secrets.env'}"
        )
    if base.name == "google":
        return f"{settings.gmail_credentials_file()} is not there: it is the OAuth client from Google's console"
    return f"{file} has no `client_id`"


def _described(file: Path) -> dict[str, Any]:
    """Return the fields in a provider's file; raises MailError for one that cannot be."""
    fields = {field.name for field in dataclasses.fields(Provider)} - {"name", "more"} | {"like"}
    try:
        found = json.loads(settings.secret_file("the description of a provider", file))
        values = dict(found)
    except (ValueError, TypeError, RecursionError):
        raise MailError(f"{file} is not a JSON object with the fields of a provider") from None
    for name, value in values.items():
        if name not in fields:
            raise MailError(f"{file} has {name!r}; the fields are {', '.join(sorted(fields))}")
        is_right = (
            isinstance(value, list) and all(isinstance(one, str) for one in value) if name in _LISTS
            else isinstance(value, int) if name == "idle_days"
            else isinstance(value, str) and value.isprintable()
        )  # fmt: skip
        if not is_right:
            raise MailError(f"{file}: {name} is {settings.mask(repr(value))}, which cannot be")
        if name in _ADDRESSES:
            settings.secure_address(f"{name} in {file}", value)
    lists = {name: tuple(values[name]) for name in _LISTS if name in values}
    paths = {"certificate": Path(values["certificate"])} if "certificate" in values else {}
    return {**values, **lists, **paths}
