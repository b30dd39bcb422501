"""Build mails so that no text from a table can add a header, a recipient or a part."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address, Group
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid

from systemscripts import settings
from systemscripts.errors import JobError, TemporaryFailure
from systemscripts.plain_text import CONTROLS, TURNS, on_its_lines

# The limit of providers such as Gmail for the encoded mail, in which attachments are a third larger.
MOST_BYTES = 25_000_000

_CONTROLS = re.compile(f"[{CONTROLS}{TURNS}]")

_COMMAS_OUTSIDE_QUOTES = re.compile(r',(?=(?:[^"]*"[^"]*")*[^"]*$)')
_NAME_AND_ADDRESS = re.compile(r'(?:"(?P<quoted>[^"\\]*)"|(?P<name>[^"<>@,;:\\]*?))\s*<(?P<address>[^<>]*)>')
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_LOCAL_PART = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


class MailError(JobError):
    """A mail cannot be built from its parts, or cannot be sent with the present settings."""


class MailUnavailable(TemporaryFailure):
    """The server does not take the mail for now.

    `waiting` are the recipients who do not have it yet, `refused` those who will never get it, each with
    the server's words. A recipient who is in neither has it.
    """

    def __init__(self, message: str, waiting: Iterable[str] = (), refused: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.waiting = tuple(waiting)
        self.refused = dict(refused or {})


class OutcomeUnknown(MailError):
    """The server had the whole mail but gave no result, so it must not be sent again automatically.

    `unknown` are the recipients who may have it; `waiting` and `refused` are as in MailUnavailable.
    """

    def __init__(
        self, message: str, unknown: Iterable[str], waiting: Iterable[str], refused: Mapping[str, str]
    ) -> None:
        super().__init__(message)
        self.unknown = tuple(unknown)
        self.waiting = tuple(waiting)
        self.refused = dict(refused)


@dataclass(frozen=True)
class Attachment:
    """A file in a mail; `media_type` as in text/csv."""

    name: str
    content: bytes
    media_type: str


@dataclass(frozen=True)
class Image:
    """A PNG picture within the HTML, which refers to it as cid:CID; `alt` describes it."""

    cid: str
    content: bytes
    alt: str


@dataclass(frozen=True)
class Mail:
    """The content of a mail: the same in text and in HTML, and the files."""

    subject: str
    text: str
    html: str
    attachments: tuple[Attachment, ...] = ()
    images: tuple[Image, ...] = ()


def addresses(text: str) -> tuple[Address, ...]:
    """Return the addresses of a comma separated list, each once, as `me@here.com` or `My Name <me@here.com>`.

    Raises MailError that names an invalid one (allowed is RFC 5321's plain form, ASCII before the @).
    """
    _refuse_controls("the list of addresses", text)
    found: dict[str, Address] = {}
    for entry in filter(None, map(str.strip, _COMMAS_OUTSIDE_QUOTES.split(text))):
        address = _address(entry)
        found.setdefault(address.addr_spec.lower(), address)
    return tuple(found.values())


def _address(entry: str) -> Address:
    named = _NAME_AND_ADDRESS.fullmatch(entry)
    name, bare = ((named["quoted"] or named["name"] or ""), named["address"].strip()) if named else ("", entry)
    local, _, domain = bare.rpartition("@")
    try:
        domain = domain.encode("idna").decode()
    except UnicodeError:
        domain = ""
    if not _LOCAL_PART.fullmatch(local) or not _DOMAIN.fullmatch(domain) or len(local) > 64 or len(bare) > 254:
        raise MailError(f"{entry!r} is not a mail address; separate several with commas")
    return Address(name.strip(), local, domain)


def sender() -> Address:
    """Return the address that mail is sent from; raises MailError if ETL_EMAIL is not exactly one address."""
    try:
        found = addresses(settings.email_address())
    except MailError as problem:
        raise MailError(f"ETL_EMAIL: {problem}") from None
    if len(found) != 1:
        there = f"holds {len(found)} addresses" if found else "is not set"
        raise MailError(f"ETL_EMAIL {there}; it must be the one address that mail is sent from")
    return found[0]


def compose(mail: Mail, sender: Address, recipients: tuple[Address, ...], when: datetime) -> EmailMessage:
    """Return the mail as one message (RFC 5322 with CRLF): text and HTML as alternatives, then the files.

    Without recipients, its To says so and contains no address. Raises MailError for a line break or
    another control character in the subject or a file name, and for a message above MOST_BYTES.
    """
    message = _headed(mail.subject, sender, recipients, when)
    message.set_content(mail.text, cte="quoted-printable")
    message.add_alternative(mail.html, subtype="html", cte="quoted-printable")
    *_, html_part = message.iter_parts()
    for image in mail.images:
        html_part.add_related(image.content, "image", "png", cid=f"<{image.cid}>", disposition="inline")
    for attachment in mail.attachments:
        _refuse_controls("the name of an attachment", attachment.name)
        main_type, _, subtype = attachment.media_type.partition("/")
        message.add_attachment(attachment.content, main_type, subtype, filename=attachment.name)
    size = len(message.as_bytes())
    if size > MOST_BYTES:
        raise MailError(
            f"the mail would have {size:,} bytes, but mail servers take at most {MOST_BYTES:,}; send fewer rows or columns"
        )
    return message


def text_mail(subject: str, text: str, to: str) -> EmailMessage:
    """Return a message of plain text from ETL_EMAIL to a comma separated list of addresses.

    It is for alerts, whose words are untrusted: control characters and those that turn the writing become
    blanks in the subject, and are written out in the text. Raises MailError only for the addresses.
    """
    recipients = addresses(to)
    if not recipients:
        raise MailError(f"a mail has no recipient: {subject!r}")
    # Lone surrogates can come from file names on Linux.
    subject = subject.encode("utf-8", "replace").decode("utf-8")
    message = _headed(_CONTROLS.sub(" ", subject).strip(), sender(), recipients, settings.now())
    message.set_content(on_its_lines(text), cte="quoted-printable")
    return message


def _headed(subject: str, sender: Address, recipients: tuple[Address, ...], when: datetime) -> EmailMessage:
    _refuse_controls("the subject", subject)
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = recipients or Group("no recipient set")
    message["Subject"] = subject
    message["Date"] = format_datetime(when)
    message["Message-ID"] = make_msgid(domain=sender.domain)
    # With this header (RFC 3834) out-of-office programs do not answer.
    message["Auto-Submitted"] = "auto-generated"
    return message


def _refuse_controls(what: str, text: str) -> None:
    if _CONTROLS.search(text):
        raise MailError(
            f"{what} has a line break, a control character or one that turns the direction of writing: {text!r}"
        )
