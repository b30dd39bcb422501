"""Save the attachments of wanted mail where the imports find them.

The rows of dba.tinboxconfig say which mail is wanted.

Reads   dba.tinboxconfig; the mailboxes, through Gmail's API, Microsoft Graph or by IMAP
Writes  the attachments into each row's local_repository_path, the mails as they came into archive/inbox/,
        dba.tinboxmessage and dba.treceivedfile; a label on each mail that was taken or failed
Run by  the schedule, or receive_and_import.sh

Mail that matches no row is left as it is: it gets no label and stays unread. If the job is killed, the next run
continues: each file is saved once, and each mail is labelled once. A mail that cannot be taken gets the row's
error_label; remove that label to have it tried again. Access to a Gmail mailbox is granted once, with
onboarding/sh/gmail_api.sh; to one without a password, with onboarding/sh/mailbox_consent.sh.

Examples:
  etl run process_inbox.py --dry-run      say which mails and files would be taken, and change nothing
  etl run process_inbox.py --answers      take no mail; only answer senders whose files have been imported since
  etl run process_inbox.py --json         print the result of each mail
"""

import argparse
import json
import logging
from typing import TYPE_CHECKING

from systemscripts import db_config, settings
from systemscripts.errors import JobError, TemporaryFailure, WrongCall
from systemscripts.inbox import open_mailbox
from systemscripts.inbox.answers import send_answers
from systemscripts.inbox.rules import InboxRule, Place, RuleError, by_place, load_rules
from systemscripts.inbox.taking import MailOutcome, take_mail
from systemscripts.job_runner import run_job
from systemscripts.mail import composing, gmail_login, smtp
from systemscripts.plain_text import say

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be taken; save, label and answer nothing"
    )
    parser.add_argument("--answers", action="store_true", help="take no mail, only send the answers that are due")
    parser.add_argument("--json", action="store_true", help="print the result of each mail as JSON on standard output")


def usable(rules: list[InboxRule]) -> tuple[list[InboxRule], list[JobError]]:
    """Return the rules that can be used, and what is wrong with the others."""
    good: list[InboxRule] = []
    problems: list[JobError] = []
    for rule in rules:
        try:
            rule.check()
            good.append(rule)
        except RuleError as problem:
            problems.append(problem)
    return good, problems


def visit(
    connection: "Connection", place: Place, rules: list[InboxRule], dry_run: bool, outcomes: list[MailOutcome]
) -> None:
    """Take the mail of one folder; the result of each is added to `outcomes` at once."""
    with open_mailbox(place) as mailbox:
        if place.imap_server is None and place.auth == "password" and not dry_run:
            warn_of_expiry(place.account)
        for outcome in take_mail(connection, mailbox, place, rules, dry_run):
            level = logging.ERROR if outcome.is_failure else logging.INFO
            text = "%s: %s, %s%s"
            names = f": {', '.join(map(repr, outcome.files))}" if outcome.files else ""
            log.log(level, text, outcome.mail, outcome.status, outcome.detail, names, extra={"step": "mail"})
            outcomes.append(outcome)


def warn_of_expiry(account: str) -> None:
    """Warn the owner once a day that access to the mailbox will soon end."""
    warning = gmail_login.expiry_warning(account)
    if warning is None:
        return
    log.warning("%s", warning, extra={"step": "login"})
    if not settings.alert_email():
        return
    subject = f"[ETL {settings.host_name()}] the right to read {account} is about to end"
    try:
        message = composing.text_mail(subject, warning + "\n", settings.alert_email())
        smtp.send(message, [address.addr_spec for address in composing.addresses(settings.alert_email())])
    except JobError as problem:
        log.warning("this could not be mailed: %s", problem, extra={"step": "login"})


def take_all(connection: "Connection", dry_run: bool) -> tuple[list[MailOutcome], list[JobError]]:
    """Visit every mailbox folder; a failure in one does not stop the others."""
    rules, problems = usable(load_rules(connection))
    outcomes: list[MailOutcome] = []
    if not rules and not problems:
        log.info(
            "no row of dba.tinboxconfig is active; copy onboarding/sql/samples/add_inbox.sql", extra={"step": "end"}
        )
    for place, its_rules in by_place(rules).items():
        try:
            visit(connection, place, its_rules, dry_run, outcomes)
        except JobError as problem:
            problems.append(problem)
    return outcomes, problems


def main(args: argparse.Namespace) -> int:
    """Return the number of mails and mailboxes that failed."""
    if args.dry_run and args.answers:
        raise WrongCall("--answers sends mail, and --dry-run sends none: choose one of them")
    outcomes: list[MailOutcome] = []
    problems: list[JobError] = []
    unanswered = 0
    with db_config.session() as connection:
        if not args.answers:
            outcomes, problems = take_all(connection, args.dry_run)
        if not args.dry_run:
            try:
                unanswered = send_answers(connection)
            except JobError as problem:
                problems.append(problem)
    if args.json:
        say(json.dumps({"mails": [outcome._asdict() for outcome in outcomes]}))
    failures = sum(outcome.is_failure for outcome in outcomes) + unanswered
    for trouble in problems[:-1]:
        log.error("%s", trouble, extra={"step": "end"})
    if problems and (failures or not all(isinstance(trouble, TemporaryFailure) for trouble in problems)):
        raise JobError(str(problems[-1]))
    if problems:
        raise problems[-1]
    return failures


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=add_arguments)
