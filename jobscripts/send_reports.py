"""Send the reports of dba.treportmanager, each once to each reader and into each folder, or preview one.

Reads   dba.treportmanager, dba.treportrecipient; the queries run as etl_report, which can only read
Writes  dba.treportdelivery: a row a recipient, and one more for each --again; the files into the folder of deliver_to;
        with --preview a file: .eml is the whole mail, .html its body
Run by  the schedule, a line a report

Each recipient gets a report once for each planned time, whoever starts the job. Started again, the job sends
it only to those who have not got it yet. If a report fails, nobody gets it, and a mail to ETL_ALERT_EMAIL says
why. The other reports are still sent. The job then exits with 1, or with 75 if a later start may help.

Examples:
  etl report 1 --preview /tmp/report.html     see it in a browser
  etl report 1 --to me@example.com            get it as the client would, and nobody else
  etl report 1                                send it to those who have not got it
  etl report 1 --again b@example.com          send it to this reader even if sent before; without address, to all
  etl run send_reports.py --postponed         those that wait for their datasets: send them, or let them wait on
  etl report 1 --preview x.html --edition 7   the version of row 7 of dba.treportrecipient
  etl run send_reports.py                     all active reports
"""

import argparse
import logging
import os
from datetime import datetime
from email.headerregistry import Address
from pathlib import Path

from systemscripts import db_config, directory_management, log_utils, settings
from systemscripts.cron.slots import cron_zone, slot_at
from systemscripts.errors import TemporaryFailure, WrongCall
from systemscripts.exchange import outgoing
from systemscripts.job_runner import run_job
from systemscripts.mail import composing
from systemscripts.mail.composing import MailError
from systemscripts.reporting import owner
from systemscripts.reporting.deliveries import ALL, postponed_reports
from systemscripts.reporting.freshness import lacking, states_of
from systemscripts.reporting.images import with_pictures_inside
from systemscripts.reporting.model import Report
from systemscripts.reporting.queries import ReportQueries
from systemscripts.reporting.readers import chosen, mail_readers
from systemscripts.reporting.render import mail_of, make_draft
from systemscripts.reporting.required_datasets import (
    NobodyLooks,
    day_of,
    plan,
    require_somebody_who_looks,
    unknown_types,
    waits_until,
)
from systemscripts.reporting.rows import active_reports, editions_of, load_report, report_id_of
from systemscripts.reporting.sending import Sending
from systemscripts.user_utils import current_user

log = logging.getLogger(__name__)

PREVIEW_KINDS = (".eml", ".html")
NO_SENDER = Address("no sender set", "nobody", "localhost")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("report", nargs="?", help="reportid or reportname of a row of dba.treportmanager")
    action = parser.add_mutually_exclusive_group()
    action.add_argument(
        "--preview", type=Path, metavar="FILE", help="write the mail to FILE.eml or its body to FILE.html"
    )
    action.add_argument("--to", metavar="ADDRESS", help="send it to this address only; nothing is recorded")
    action.add_argument(
        "--again", nargs="?", const=ALL, type=str.lower, metavar="ADDRESS",
        help="send it to this reader (a folder is folder:NAME), or to all, even if it was sent before",
    )  # fmt: skip
    action.add_argument(
        "--postponed", action="store_true",
        help="look again at all reports that wait for their datasets (wait_until); the schedule does this",
    )  # fmt: skip
    parser.add_argument(
        "--edition", type=int, metavar="N", help="which client's version to take with --preview and --to"
    )


def check_call(args: argparse.Namespace) -> None:
    if args.report is None and (args.preview or args.to or args.again):
        raise WrongCall(
            "--preview, --to and --again need one report: give its name or number, as in send_reports.py 1 --again"
        )
    if args.report is not None and args.postponed:
        raise WrongCall(f"--postponed is for all reports that wait; for this one type: etl report {args.report}")
    try:
        composing.addresses(args.to or "")
    except MailError as error:
        raise WrongCall(f"--to {args.to}: {error}") from None
    if args.preview is None:
        return
    if args.preview.suffix.lower() not in PREVIEW_KINDS:
        raise WrongCall(f"--preview {args.preview}: the name must end in {' or '.join(PREVIEW_KINDS)}")
    if not args.preview.parent.is_dir():
        raise WrongCall(f"--preview {args.preview}: there is no directory {args.preview.parent}")
    if not os.access(args.preview.parent, os.W_OK | os.X_OK):
        raise WrongCall(f"--preview {args.preview}: {current_user()} cannot write in {args.preview.parent}")


def preview(report_id: int, target: Path, number: int | None) -> None:
    """Write the mail as its readers would get it; takes the first edition unless `number` names one."""
    now = settings.now()
    with db_config.session() as connection:
        report = load_report(connection, report_id)
        edition, others = chosen(editions_of(connection, report), report, number)
        for told in unknown_types(connection, report.required_datasets):
            log.warning("%s: %s", report.label, told, extra={"step": "preview"})
        slot, zone = slot_of(report, now), cron_zone()
        until = waits_until(report, slot, zone)
        if until is not None:
            try:
                require_somebody_who_looks(connection, until)
            except NobodyLooks as told:
                log.warning("%s: %s", report.label, told, extra={"step": "preview"})
    with db_config.session(db_config.REPORT_ROLE) as connection:
        queries = ReportQueries(connection, edition.parameters)
        states = states_of(queries, report, day_of(report, slot, now, zone))
        draft = make_draft(report, edition, queries, now, states, is_partial=report.when_late == "partial")
    mail = mail_of(report, draft)
    if states:
        planned = f"planned for {slot.astimezone(zone):%Y-%m-%d %H:%M}"
        found = "; ".join(f"{state.name} is there" if state.is_there else state.sentence for state in states)
        does = plan(report, until if until and now < until else None) if lacking(states) else "it is sent"
        log.info("%s: %s: %s: %s", report.label, planned, does, found, extra={"step": "preview"})
    try:
        sender = (*composing.addresses(settings.email_address()), NO_SENDER)[0]
        message = composing.compose(mail, sender, mail_readers(edition), now)
    except MailError as error:
        raise MailError(f"{report.label}: {error}") from error
    html = with_pictures_inside(mail.html, mail.images)
    with directory_management.new_file(target) as stream:
        stream.write(message.as_bytes() if target.suffix.lower() == ".eml" else html.encode())
    recipients = "nobody yet (toheader is empty)" if "no recipient set" in message["To"] else message["To"]
    if edition.deliver_to:
        files = ", ".join(f"{made.name} ({len(made.content):,} bytes)" for made in mail.attachments) or "no file"
        text = "%s: into the folder %s it would put %s; by mail for %s"
        log.info(text, report.label, edition.deliver_to, files, recipients, extra={"step": "preview"})
    text = "%s: written to %s; for %s; attachments: %d; other editions: %d"
    log.info(text, report.label, target, recipients, len(mail.attachments), others, extra={"step": "preview"})


def slot_of(report: Report, now: datetime) -> datetime:
    """Return the report's own slot: a task that also sends this report has other slots."""
    moment = settings.scheduled_at() or now
    slot = slot_at(report.frequency, moment)
    return slot.time if slot else moment


def send(report_ids: list[int], args: argparse.Namespace) -> int:
    """Send the reports and tell the owner what could not be sent; return how many could not be."""
    now = settings.now()

    with Sending(now, lambda report: slot_of(report, now), args.again, args.postponed, outgoing.opened) as sending:
        if args.to is not None:
            sending.send_copy(report_ids[0], args.to, args.edition)
            return 0
        failures = [failure for report_id in report_ids for failure in sending.send(report_id)]
    if not failures:
        return 0
    told = owner.tell([str(failure) for failure in failures])
    if all(failure.is_temporary for failure in failures):
        how = "with --again, as now" if args.again else "nobody gets it twice"
        raise TemporaryFailure(f"{failures[-1]}; start it again later, {how} ({told})")
    log.error("not sent as meant: %d, the last: %s (%s)", len(failures), failures[-1], told, extra={"step": "end"})
    return len(failures)


def process_reports(report: int | str | None = None) -> int:
    """Send the report with this id or name, or all; jobs from older installations import this."""
    log_utils.ensure_logging()
    return main(
        argparse.Namespace(
            report=report and str(report), preview=None, to=None, again=None, edition=None, postponed=False
        )
    )


def main(args: argparse.Namespace) -> int:
    """Return the number of reports, or editions of one, that did not reach all of their recipients."""
    check_call(args)
    with db_config.session() as connection:
        one = None if args.report is None else [report_id_of(connection, args.report)]
        everything = postponed_reports(connection, settings.now()) if args.postponed else active_reports(connection)
        report_ids = one or everything
    if args.preview is None:
        return send(report_ids, args)
    preview(report_ids[0], args.preview, args.edition)
    return 0


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=add_arguments)
