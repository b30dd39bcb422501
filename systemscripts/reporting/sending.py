"""Send reports: make each mail and its files, hand them to the mail server and the folder, and note each result."""

import contextlib
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from systemscripts import db_config
from systemscripts.cron.slots import cron_zone
from systemscripts.errors import JobError, TemporaryFailure, WrongCall
from systemscripts.mail import composing
from systemscripts.mail.composing import MailError
from systemscripts.mail.smtp import Mailer
from systemscripts.reporting import folders
from systemscripts.reporting.deliveries import Busy, Deliveries, ask_first, open_ones
from systemscripts.reporting.freshness import lacking, states_of
from systemscripts.reporting.handing_over import hand_over
from systemscripts.reporting.model import Edition, Report
from systemscripts.reporting.queries import ReportQueries
from systemscripts.reporting.readers import chosen, mail_readers, readers, require_reader
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


class _Slot(NamedTuple):
    """A planned time of a report, with its rows in the ledger and the way into its folders."""

    report: Report
    time: datetime
    deliveries: Deliveries
    folder: folders.FolderDelivery


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
            require_reader(report, editions, self._again)
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
                    recipients = ", ".join(deliveries.lost)
                    text = f"{report.label}: an earlier job died while {recipients} got it: {ask_first(report)}"
                    log.error("%s", text, extra={"step": "send"})
                    failures.append(Failure(text, is_temporary=False))
                folder = folders.FolderDelivery(report, deliveries, partial(self._opener, self._connection))
                of_slot = _Slot(report, slot, deliveries, folder)
                unfinished, told = self._finished(of_slot, editions)
                failures += told
                for edition in editions:
                    failures += self._send_edition(of_slot, edition, unfinished)
                return failures
        except WrongCall:
            raise
        except JobError as error:
            if self._only_postponed and isinstance(error, Busy):
                log.info("%s", error, extra={"step": "send"})
                return []
            return [Failure(str(error), isinstance(error, TemporaryFailure))]

    def _finished(self, slot: _Slot, editions: list[Edition]) -> tuple[set[tuple[int, str]], list[Failure]]:
        """Finish what an earlier run did not; return the editions and folders that still wait, and the failures.

        What only waits is not put into a folder that is none of the report's any more.
        """
        left, failures = set(), []
        known = {(edition.id, folders.reader_of(edition.deliver_to).lower()) for edition in editions}
        unfinished = [
            found
            for found in slot.deliveries.unfinished
            if found.died or (found.edition, found.recipient.lower()) in known
        ]
        slot.folder.forget_others(unfinished)
        for found in unfinished:
            try:
                if names := slot.folder.finish(found):
                    text, where = "%s: an earlier run did not end; put into %s: %s", folders.folder_of(found.recipient)
                    log.info(text, slot.report.label, where, ", ".join(names), extra={"step": "send"})
            except JobError as error:
                left.add((found.edition, found.recipient.lower()))
                failures.append(_failure(slot.report, error))
        return left, failures

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

    def _send_edition(self, slot: _Slot, edition: Edition, unfinished: set[tuple[int, str]]) -> list[Failure]:
        """Send the edition to those who have not got it, by mail and into its folder; return the failures of both."""
        try:
            todo = self._todo(slot, edition, unfinished)
            draft = self._decided(slot, edition, todo) if todo else None
        except JobError as error:
            return [_failure(slot.report, error)]
        failures = []
        if draft is not None:
            by_mail = [who for who in todo if folders.folder_of(who) is None]
            for deliver, who in ((self._put_files, set(todo) - set(by_mail)), (self._mail, by_mail)):
                try:
                    if who:
                        deliver(slot, edition, draft, list(who))
                except JobError as error:
                    failures.append(_failure(slot.report, error))
        return failures

    def _todo(self, slot: _Slot, edition: Edition, unfinished: set[tuple[int, str]]) -> dict[str, str]:
        """Return the readers who must get it now, with the status of each; a row is made for each of them."""
        wanted, label = readers(edition), slot.report.label
        if not wanted:
            raise MailError("it has no recipient: set toheader or deliver_to, or ETL_ALERT_EMAIL")
        states = slot.deliveries.open(edition, wanted)
        todo = [who for who in open_ones(states, self._again) if (edition.id, who.lower()) not in unfinished]
        if unknown := [who for who, status in states.items() if status == "Unknown" and who not in todo]:
            text = "%s: it is unknown whether %s got it: %s"
            log.warning(text, label, ", ".join(unknown), ask_first(slot.report), extra={"step": "send"})
        if not todo:
            counts = ", ".join(f"{count} {status}" for status, count in Counter(states.values()).items())
            log.info("%s: nobody is left to send it to: %s", label, counts, extra={"step": "send"})
        elif self._again is not None:
            slot.deliveries.open_again(edition, todo)
        return {who: states[who] for who in todo}

    def _decided(self, slot: _Slot, edition: Edition, todo: dict[str, str]) -> Draft | None:
        """Return the report with its data, None if it waits or is skipped, which is then noted for all in `todo`."""
        report, note = slot.report, partial(slot.deliveries.note, edition, todo)
        try:
            # What has been decided is not waited for once more, only because a person sends it again.
            waits = self._again is None or all(status in ("Open", "Postponed") for status in todo.values())
            draft = self._draft(report, edition, slot.time, judges=True, waits=waits)
        except Postponed as reason:
            note("Postponed", str(reason))
            require_somebody_who_looks(self._connection, reason.until)
            log.info("%s: %s", report.label, reason, extra={"step": "send"})
            return None
        except Stale as reason:
            note("Skipped", str(reason))
            raise
        except JobError as reason:
            note("Failed", str(reason))
            raise
        if draft.row_count < report.min_rows:
            too_few = f"it has {draft.row_count} rows, and min_rows is {report.min_rows}"
            note("Skipped", too_few)
            log.info("%s: skipped: %s", report.label, too_few, extra={"step": "send"})
            return None
        return draft

    def _put_files(self, slot: _Slot, edition: Edition, draft: Draft, todo: list[str]) -> None:
        """Put the files into the folder, the only one in `todo`."""
        label, where = slot.report.label, edition.deliver_to
        try:
            files = files_of(slot.report, draft)
        except JobError as reason:
            slot.deliveries.note(edition, todo, "Failed", str(reason))
            raise
        if not files:
            slot.deliveries.note(edition, todo, "Skipped", "no file has a row, and none has attach_empty")
            log.info("%s: nothing to put into %s: no file has a row", label, where, extra={"step": "send"})
            return
        names = slot.folder.put(slot.deliveries.delivery_of(edition, todo[0]), where, files, draft.subject)
        log.info("%s: put into %s: %s", label, where, ", ".join(names), extra={"step": "send"})

    def _mail(self, slot: _Slot, edition: Edition, draft: Draft, todo: list[str]) -> None:
        deliveries = slot.deliveries
        try:
            mail = mail_of(slot.report, draft)
            message = composing.compose(mail, composing.sender(), mail_readers(edition), self._now)
        except JobError as reason:
            deliveries.note(edition, todo, "Failed", str(reason))
            raise
        deliveries.count(edition, todo)
        note = partial(deliveries.note, edition, subject=draft.subject)
        hand_over(self._mailer, message, todo, note)
        log.info("%s: sent to %s", slot.report.label, ", ".join(todo), extra={"step": "send"})

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
