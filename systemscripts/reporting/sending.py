"""Send reports: make each mail and its files, hand them to the mail server and the folder, and note each result."""

import contextlib
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from functools import partial
from typing import TYPE_CHECKING

from systemscripts import db_config, settings
from systemscripts.cron.slots import cron_zone
from systemscripts.errors import JobError, TemporaryFailure, WrongCall
from systemscripts.mail import composing
from systemscripts.mail.composing import MailError, MailUnavailable, OutcomeUnknown
from systemscripts.mail.smtp import Mailer
from systemscripts.reporting import folders
from systemscripts.reporting.deliveries import ALL, Busy, Deliveries, open_ones
from systemscripts.reporting.freshness import lacking, states_of
from systemscripts.reporting.model import Edition, Report
from systemscripts.reporting.queries import ReportQueries
from systemscripts.reporting.render import Draft, files_of, mail_of, make_draft
from systemscripts.reporting.required_datasets import (
    Postponed,
    Stale,
    day_of,
    plan,
    require_somebody_who_looks,
    stale,
    waits_until,
)
from systemscripts.reporting.rows import editions_of, load_report

if TYPE_CHECKING:
    from email.message import EmailMessage

    from psycopg2.extensions import connection as Connection

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """A report, or one edition, that did not reach all of its recipients; if it `is_temporary`, a later start may help."""

    reason: str
    is_temporary: bool

    def __str__(self) -> str:
        return self.reason


def _failure(report: Report, error: JobError) -> Failure:
    """Log what went wrong, with the report's name, and return it."""
    told = str(error) if str(error).startswith(report.label) else f"{report.label}: {error}"
    log.error("%s", told, extra={"step": "send"})
    return Failure(told, isinstance(error, TemporaryFailure))


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


class Sending:
    """One run of send_reports.py; `slot_of` returns a report's planned time, `again` names who gets it in any case.

    `opener` opens the folder that deliver_to names, on a connection. With `only_postponed` a report that another run sends is
    left to that run.
    """

    def __init__(
        self,
        now: datetime,
        slot_of: Callable[[Report], datetime],
        again: str | None,
        only_postponed: bool,
        opener: "Callable[[Connection, str], contextlib.AbstractContextManager[folders.Outgoing]]",
    ) -> None:
        self._now = now
        self._slot_of = slot_of
        self._again = again
        self._only_postponed = only_postponed
        self._opener = opener
        self._zone = cron_zone()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Sending":
        self._connection = self._stack.enter_context(db_config.session())
        self._reading = self._stack.enter_context(db_config.session(db_config.REPORT_ROLE))
        self._mailer = self._stack.enter_context(Mailer())
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def send(self, report_id: int) -> list[Failure]:
        """Send all editions of a report to those who have not got it; return the failures."""
        try:
            report = load_report(self._connection, report_id)
            editions = editions_of(self._connection, report)
            if not report.is_on:
                log.info("%s: skipped, it is off (datastatusid is not 1)", report.label, extra={"step": "start"})
                return []
            self._require_reader(report, editions)
            # A session of its own, because the lock lasts as long as the session.
            with db_config.session() as connection:
                slot = self._slot_of(report)
                deliveries = Deliveries(connection, report, slot)
                failures = []
                if deliveries.overtaken:
                    recipients = ", ".join(deliveries.overtaken)
                    text = f"{report.label}: its next planned time came before its datasets: {recipients} did not get the one before"
                    log.error("%s", text, extra={"step": "send"})
                    failures.append(Failure(text, is_temporary=False))
                if deliveries.lost:
                    what_to_do = "ask whether it arrived; if not, send it with --again ADDRESS"
                    recipients = ", ".join(deliveries.lost)
                    text = f"{report.label}: an earlier job died while {recipients} got it: {what_to_do}"
                    log.error("%s", text, extra={"step": "send"})
                    failures.append(Failure(text, is_temporary=False))
                folder = folders.FolderDelivery(report, deliveries, partial(self._opener, self._connection))
                known = {(edition.id, folders.reader_of(edition.deliver_to).lower()) for edition in editions}
                unfinished, told = self._finished(report, folder, deliveries, known)
                failures += told
                for edition in editions:
                    failures += self._send_edition(report, edition, deliveries, folder, unfinished, slot)
                return failures
        except WrongCall:
            raise
        except JobError as error:
            if self._only_postponed and isinstance(error, Busy):
                log.info("%s", error, extra={"step": "send"})
                return []
            return [Failure(str(error), isinstance(error, TemporaryFailure))]

    def _finished(
        self,
        report: Report,
        folder: folders.FolderDelivery,
        deliveries: Deliveries,
        known: set[tuple[int, str]],
    ) -> tuple[set[tuple[int, str]], list[Failure]]:
        """Finish what an earlier run did not; return the editions and readers that still wait, and the failures.

        What only waits is not put into a folder that is not one of the report's any more: it is not `known`.
        """
        left, failures = set(), []
        unfinished = [
            found for found in deliveries.unfinished if found.died or (found.edition, found.recipient.lower()) in known
        ]
        folder.forget_others(unfinished)
        for found in unfinished:
            try:
                if names := folder.finish(found):
                    text = "%s: an earlier run did not end; put into %s: %s"
                    where = folders.folder_of(found.recipient)
                    log.info(text, report.label, where, ", ".join(names), extra={"step": "send"})
            except JobError as error:
                left.add((found.edition, found.recipient.lower()))
                failures.append(_failure(report, error))
        return left, failures

    def _require_reader(self, report: Report, editions: list[Edition]) -> None:
        """Raise WrongCall if the address or folder of --again is not a reader of the report."""
        if self._again in (None, ALL):
            return
        known = [reader for edition in editions for reader in readers(edition)]
        if self._again not in map(str.lower, known):
            raise WrongCall(
                f"--again {self._again}: no reader of {report.label}; they are {', '.join(known) or 'none'}"
            )

    def send_copy(self, report_id: int, to: str, number: int | None) -> None:
        """Send an edition (default: the first one) to one address, as its readers would get it, and note nothing."""
        report = load_report(self._connection, report_id)
        edition, others = chosen(editions_of(self._connection, report), report, number)
        draft = self._draft(report, edition, self._slot_of(report))
        message = composing.compose(mail_of(report, draft), composing.sender(), composing.addresses(to), self._now)
        refused = self._mailer.send(message, [address.addr_spec for address in composing.addresses(to)])
        if refused:
            raise MailError(f"{report.label}: {refused}")
        log.info("%s: sent to %s only; other editions: %d", report.label, to, others, extra={"step": "send"})

    def _send_edition(
        self,
        report: Report,
        edition: Edition,
        deliveries: Deliveries,
        folder: folders.FolderDelivery,
        unfinished: set[tuple[int, str]],
        slot: datetime,
    ) -> list[Failure]:
        """Send the edition to those who have not got it, by mail and into its folder; return the failures of both."""
        try:
            todo = self._todo(report, edition, deliveries, unfinished)
            draft = self._decided(report, edition, deliveries, todo, slot) if todo else None
        except JobError as error:
            return [_failure(report, error)]
        if draft is None:
            return []
        failures = []
        by_mail = [who for who in todo if folders.folder_of(who) is None]
        try:
            self._put_files(report, edition, deliveries, folder, draft, [who for who in todo if who not in by_mail])
        except JobError as error:
            failures.append(_failure(report, error))
        try:
            self._mail(report, edition, deliveries, draft, by_mail)
        except JobError as error:
            failures.append(_failure(report, error))
        return failures

    def _todo(
        self, report: Report, edition: Edition, deliveries: Deliveries, unfinished: set[tuple[int, str]]
    ) -> dict[str, str]:
        """Return the readers who must get it now, with the status of each; a row is made for each of them."""
        wanted = readers(edition)
        if not wanted:
            raise MailError("it has no recipient: set toheader or deliver_to, or ETL_ALERT_EMAIL")
        states = deliveries.open(edition, wanted)
        todo = [who for who in open_ones(states, self._again) if (edition.id, who.lower()) not in unfinished]
        if unknown := [who for who, status in states.items() if status == "Unknown" and who not in todo]:
            text = "%s: it is unknown whether %s got it: ask; if not, send it with --again ADDRESS"
            log.warning(text, report.label, ", ".join(unknown), extra={"step": "send"})
        if not todo:
            counts = ", ".join(f"{count} {status}" for status, count in Counter(states.values()).items())
            log.info("%s: nobody is left to send it to: %s", report.label, counts, extra={"step": "send"})
        elif self._again is not None:
            deliveries.open_again(edition, todo)
        return {who: states[who] for who in todo}

    def _decided(
        self, report: Report, edition: Edition, deliveries: Deliveries, todo: dict[str, str], slot: datetime
    ) -> Draft | None:
        """Return the report with its data, None if it waits or is skipped, which is then noted for all in `todo`."""
        try:
            # What has been decided is not waited for once more, only because a person sends it again.
            waits = self._again is None or all(status in ("Open", "Postponed") for status in todo.values())
            draft = self._draft(report, edition, slot, judges=True, waits=waits)
        except Postponed as reason:
            deliveries.note(edition, todo, "Postponed", str(reason))
            require_somebody_who_looks(self._connection, reason.until)
            log.info("%s: %s", report.label, reason, extra={"step": "send"})
            return None
        except Stale as reason:
            deliveries.note(edition, todo, "Skipped", str(reason))
            raise
        except JobError as reason:
            deliveries.note(edition, todo, "Failed", str(reason))
            raise
        if draft.row_count < report.min_rows:
            too_few = f"it has {draft.row_count} rows, and min_rows is {report.min_rows}"
            deliveries.note(edition, todo, "Skipped", too_few)
            log.info("%s: skipped: %s", report.label, too_few, extra={"step": "send"})
            return None
        return draft

    def _put_files(
        self,
        report: Report,
        edition: Edition,
        deliveries: Deliveries,
        folder: folders.FolderDelivery,
        draft: Draft,
        todo: list[str],
    ) -> None:
        """Put the files into the folder, if it is still to do."""
        for reader in todo:
            try:
                files = files_of(report, draft)
            except JobError as reason:
                deliveries.note(edition, todo, "Failed", str(reason))
                raise
            if not files:
                deliveries.note(edition, todo, "Skipped", "no file has a row, and attach_empty is not set")
                log.info("%s: nothing to put into %s: no file has a row", report.label, edition.deliver_to)
                return
            delivery = deliveries.delivery_of(edition, reader)
            names = folder.put(delivery, edition.deliver_to, files, draft.subject)
            text = "%s: put into %s: %s"
            log.info(text, report.label, edition.deliver_to, ", ".join(names), extra={"step": "send"})

    def _mail(self, report: Report, edition: Edition, deliveries: Deliveries, draft: Draft, todo: list[str]) -> None:
        """Mail it to these readers, if there are any."""
        if not todo:
            return
        try:
            message = composing.compose(mail_of(report, draft), composing.sender(), mail_readers(edition), self._now)
        except JobError as reason:
            deliveries.note(edition, todo, "Failed", str(reason))
            raise
        deliveries.count(edition, todo)
        self._hand_over(message, todo, lambda who, state, why: deliveries.note(edition, who, state, why, draft.subject))
        log.info("%s: sent to %s", report.label, ", ".join(todo), extra={"step": "send"})

    def _draft(
        self, report: Report, edition: Edition, slot: datetime, judges: bool = False, waits: bool = False
    ) -> Draft:
        """Return the edition with the data of this moment.

        With `judges` raises Postponed, if it `waits`, or Stale while a required dataset is not there. It is judged by
        what the queries see, so that a dataset that comes meanwhile is either in both or in neither.
        """
        queries = ReportQueries(self._reading, edition.parameters)
        states = states_of(queries, report, day_of(report, slot, self._now, self._zone))
        missing = lacking(states)
        if judges and missing:
            until = waits_until(report, slot, self._zone)
            is_early = until is not None and self._now < until
            if until is not None and is_early and waits:
                raise Postponed(f"{plan(report, until)}: {missing[0].sentence}", until)
            if is_early or report.when_late == "skip":
                raise stale(self._connection, report, missing, None if is_early else until)
            told = "; ".join(state.sentence for state in missing)
            log.warning("%s: %s: %s", report.label, plan(report, None), told, extra={"step": "send"})
        return make_draft(report, edition, queries, self._now, states, report.when_late == "partial")

    def _hand_over(
        self, message: "EmailMessage", todo: list[str], note: Callable[[list[str], str, str | None], None]
    ) -> None:
        """Send the mail and note the result for each recipient; raises for those who have not got it."""
        left: dict[str, tuple[str, str]] = {}
        failure: MailError | MailUnavailable | None = None
        try:
            refused = self._mailer.send(message, todo, lambda who: note(who, "Sending", None))
            left = {who: ("Refused", words) for who, words in refused.items()}
            if left:
                words = "; ".join(f"{who}: {answer}" for who, answer in refused.items())
                failure = MailError(f"the mail server refused it for {words}")
        except (OutcomeUnknown, MailUnavailable) as error:
            failure = error
            unknown = error.unknown if isinstance(error, OutcomeUnknown) else ()
            left = {who: ("Refused", words) for who, words in error.refused.items()}
            left |= dict.fromkeys(error.waiting, ("Waiting", str(error))) | dict.fromkeys(
                unknown, ("Unknown", str(error))
            )
        except MailError as error:
            failure, left = error, dict.fromkeys(todo, ("Waiting", str(error)))
        for who, (status, why) in left.items():
            note([who], status, why)
        note([who for who in todo if who not in left], "Sent", None)
        if failure is not None:
            raise failure
