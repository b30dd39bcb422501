"""Who gets a report: the readers of an edition by mail, and its folder."""

from email.headerregistry import Address

from systemscripts import settings
from systemscripts.errors import WrongCall
from systemscripts.mail import composing
from systemscripts.reporting import folders
from systemscripts.reporting.deliveries import ALL
from systemscripts.reporting.model import Edition, Report


def chosen(editions: list[Edition], report: Report, number: int | None) -> tuple[Edition, int]:
    """Return the edition with that number, or the first one, and the number of others; raises WrongCall."""
    own = Edition(0, report.recipients, deliver_to=report.deliver_to)
    found = [edition for edition in editions or [own] if number in (None, edition.id)]
    if not found:
        there_are = ", ".join(f"{edition.id} ({edition.recipients or edition.deliver_to})" for edition in editions)
        raise WrongCall(f"{report.label} has no active edition {number}; it has {there_are or 'none'}")
    return found[0], max(len(editions) - 1, 0)


def mail_readers(edition: Edition) -> tuple[Address, ...]:
    """Return who gets the edition by mail: its own readers; the owner if it has neither readers nor a folder."""
    return composing.addresses(edition.recipients or ("" if edition.deliver_to else settings.alert_email()))


def readers(edition: Edition) -> list[str]:
    """Return all who get the edition, as they stand in the ledger."""
    by_mail = [address.addr_spec for address in mail_readers(edition)]
    return [*by_mail, folders.reader_of(edition.deliver_to)] if edition.deliver_to else by_mail


def require_reader(report: Report, editions: list[Edition], again: str | None) -> None:
    """Raise WrongCall if the address or folder of --again is not a reader of the report."""
    if again in (None, ALL):
        return
    known = [reader for edition in editions for reader in readers(edition)]
    if again not in map(str.lower, known):
        raise WrongCall(f"--again {again}: no reader of {report.label}; they are {', '.join(known) or 'none'}")
