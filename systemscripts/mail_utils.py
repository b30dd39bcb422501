"""Mails built such that no text from a table can add a header, a recipient or a part."""

import re
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address, Group
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid

from systemscripts.errors import JobError

# What providers take, Gmail among them, as it travels: attachments are a third larger there.
MOST_BYTES = 25_000_000

# Every character that some program takes for the end of a line, and the other controls.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")

_COMMAS_OUTSIDE_QUOTES = re.compile(r',(?=(?:[^"]*"[^"]*")*[^"]*$)')
_NAME_AND_ADDRESS = re.compile(r'(?:"(?P<quoted>[^"\\]*)"|(?P<name>[^"<>@,;:\\]*?))\s*<(?P<address>[^<>]*)>')
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_LOCAL_PART = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


class MailError(JobError):
    """A mail cannot be built from what was given."""


@dataclass(frozen=True)
class Attachment:
    """A file in a mail; `media_type` as in text/csv."""

    name: str
    content: bytes
    media_type: str


@dataclass(frozen=True)
class Mail:
    """What a reader sees: the same in text and in HTML, and the files."""

    subject: str
    text: str
    html: str
    attachments: tuple[Attachment, ...] = ()


def addresses(text: str) -> tuple[Address, ...]:
    """Return the addresses of a comma separated list, each once, as `me@here.com` or `My Name <me@here.com>`.

    Raises MailError naming the one that is none (RFC 5321's plain form, ASCII before the @).
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
        raise MailError(f"{entry!r} is no mail address; several are separated by commas")
    return Address(name.strip(), local, domain)


def compose(mail: Mail, sender: Address, recipients: tuple[Address, ...], when: datetime) -> EmailMessage:
    """Return the mail as one message (RFC 5322 with CRLF): text and HTML as alternatives, then the files.

    Without recipients its To says so and addresses nobody. Raises MailError for a line break or
    another control character in the subject or a file name, and for a message above MOST_BYTES.
    """
    _refuse_controls("the subject", mail.subject)
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = recipients or Group("no recipient set")
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(when)
    message["Message-ID"] = make_msgid(domain=sender.domain)
    # RFC 3834: out-of-office programs do not answer it.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.text, cte="quoted-printable")
    message.add_alternative(mail.html, subtype="html", cte="quoted-printable")
    for attachment in mail.attachments:
        _refuse_controls("the name of an attachment", attachment.name)
        main_type, _, subtype = attachment.media_type.partition("/")
        message.add_attachment(attachment.content, main_type, subtype, filename=attachment.name)
    size = len(message.as_bytes())
    if size > MOST_BYTES:
        raise MailError(
            f"the mail would have {size:,} bytes, and mail servers take {MOST_BYTES:,}; send fewer rows or columns"
        )
    return message


def _refuse_controls(what: str, text: str) -> None:
    if _CONTROLS.search(text):
        raise MailError(f"{what} has a line break or control character: {text!r}")
