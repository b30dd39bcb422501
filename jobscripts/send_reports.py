"""Make a report of dba.treportmanager, and show it before anybody gets it.

Reads   dba.treportmanager; the report's queries run as etl_report, which can only read
Writes  the file after --preview: .eml is the whole mail, for a mail program; .html is its body, for a browser
Run by  a person; the schedule has a line for each report

In this version reports can be previewed, not sent.

Examples:
  send_reports.py 1 --preview /tmp/report.html
  send_reports.py 1 --preview /tmp/report.eml
"""

import argparse
import logging
from pathlib import Path

from systemscripts import db_config, directory_management, settings
from systemscripts.errors import WrongCall
from systemscripts.job_runner import run_job
from systemscripts.reporting.model import Report
from systemscripts.reporting.queries import ReportQueries
from systemscripts.reporting.render import make_mail, message_of
from systemscripts.reporting.rows import load_report

log = logging.getLogger(__name__)

PREVIEW_KINDS = (".eml", ".html")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("report", type=int, nargs="?", help="reportid of a row of dba.treportmanager")
    parser.add_argument(
        "--preview", type=Path, metavar="FILE", help="write the mail to FILE.eml or its body to FILE.html"
    )


def preview_target(args: argparse.Namespace) -> tuple[int, Path]:
    """Return which report goes to which file."""
    if args.preview is None:
        raise WrongCall("sending is not available yet in this version; use --preview FILE.eml or FILE.html")
    if args.report is None:
        raise WrongCall(
            "--preview writes one report to one file: name its id, as in send_reports.py 1 --preview FILE.html"
        )
    if args.preview.suffix.lower() not in PREVIEW_KINDS:
        raise WrongCall(f"--preview {args.preview}: the name must end in {' or '.join(PREVIEW_KINDS)}")
    if not args.preview.parent.is_dir():
        raise WrongCall(f"--preview {args.preview}: there is no directory {args.preview.parent}")
    return args.report, args.preview


def write_preview(report: Report, target: Path) -> None:
    """Write the mail as its readers would get it."""
    now = settings.now()
    with db_config.session(db_config.REPORT_ROLE) as connection:
        mail = make_mail(report, ReportQueries(connection), now)
    message = message_of(report, mail, now)
    with directory_management.new_file(target) as stream:
        stream.write(message.as_bytes() if target.suffix.lower() == ".eml" else mail.html.encode())
    recipients = "nobody yet (toheader is empty)" if "no recipient set" in message["To"] else message["To"]
    text = "%s: written to %s; for %s; attachments: %d"
    log.info(text, report.label, target, recipients, len(mail.attachments), extra={"step": "preview"})


def main(args: argparse.Namespace) -> int:
    """Return 0: a report that cannot be made ends the job with its reason."""
    report_id, target = preview_target(args)
    with db_config.session() as connection:
        report = load_report(connection, report_id)
    if not report.is_on:
        log.info("%s: skipped, it is off (datastatusid is not 1)", report.label, extra={"step": "preview"})
        return 0
    write_preview(report, target)
    return 0


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=add_arguments)
