"""Send one query's result by mail, to test the database, the mail server and the login.

Reads   the query's result, as etl_report, which can only read
Writes  a mail to one address; with --dry-run it prints the mail's source and sends nothing
Run by  a person, after SMTP_HOST, ETL_EMAIL and ETL_EMAIL_PASSWORD were set or changed

Examples:
  etl run testemail.py
  etl run testemail.py --to me@example.com
  etl run testemail.py --to me@example.com --query "SELECT * FROM public.vmeetmaxevent LIMIT 20"
  etl run testemail.py --dry-run
"""

import argparse
import logging
from datetime import datetime
from email.headerregistry import Address

from systemscripts import db_config, settings
from systemscripts.errors import WrongCall
from systemscripts.job_runner import run_job
from systemscripts.mail import composing, smtp
from systemscripts.mail.composing import Mail, MailError
from systemscripts.plain_text import say
from systemscripts.reporting.model import GridOptions, Query, ReportError
from systemscripts.reporting.queries import ReportQueries
from systemscripts.reporting.render import Draft
from systemscripts.reporting.template import TIMESTAMP, BodyTemplate
from systemscripts.reporting.values import readable_text

log = logging.getLogger(__name__)

HARMLESS_QUERY = """
    SELECT current_database() AS database, current_user AS role, now() AS time,
           current_setting('server_version') AS postgresql_version
"""

BODY = "<p>Mail from {timestamp} arrives. This is what the query gave:</p>{{result}}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", metavar="ADDRESS", help="who gets it (default: ETL_ALERT_EMAIL, or else ETL_EMAIL)")
    parser.add_argument(
        "--query", metavar="SQL", default=HARMLESS_QUERY, help="one SELECT (default: the server's name)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the message instead of sending it")


def recipients_of(args: argparse.Namespace) -> tuple[Address, ...]:
    """Return who gets the mail; raises WrongCall if there is nobody."""
    try:
        recipients = composing.addresses(settings.alert_email() if args.to is None else args.to)
    except MailError as error:
        raise WrongCall(f"the mail cannot be addressed: {error}") from None
    if not recipients:
        raise WrongCall("the mail has no recipient: use --to ADDRESS, or set ETL_ALERT_EMAIL or ETL_EMAIL")
    return recipients


def make_test_mail(sql: str, now: datetime) -> Mail:
    """Return the mail with the query's result; the query runs like a report's query."""
    with db_config.session(db_config.REPORT_ROLE) as connection:
        try:
            table = ReportQueries(connection).run(Query("result", sql), GridOptions.rows)
        except ReportError as error:
            raise ReportError(f"{error}; nothing was sent, change what follows --query") from None
    subject = f"Test mail from {settings.host_name()}"
    return Draft(subject, BodyTemplate(BODY, ("result",)), {TIMESTAMP: readable_text(now)}, {"result": table}).mail()


def main(args: argparse.Namespace) -> int:
    """Return the number of recipients that the mail server refused."""
    recipients, sender, now = recipients_of(args), composing.sender(), settings.now()
    message = composing.compose(make_test_mail(args.query, now), sender, recipients, now)
    if args.dry_run:
        say(*message.as_bytes().decode("ascii").split("\r\n"))
        return 0
    bare = [address.addr_spec for address in recipients]
    refused = smtp.send(message, bare)
    for recipient, words in refused.items():
        log.error("%s is refused by the mail server: %s; check the address", recipient, words)
    if taken := [recipient for recipient in bare if recipient not in refused]:
        server = (
            "Microsoft Graph" if settings.smtp_auth() == "graph" else f"{settings.smtp_host()}:{settings.smtp_port()}"
        )
        log.info("sent to %s by %s; look into the mailbox, and its spam folder", ", ".join(taken), server)
    return len(refused)


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=add_arguments)
