"""Checks of mail: the login at the mail server, the address for alerts, and the access to the mailboxes."""

from collections.abc import Iterator

from systemscripts import db_config, job_catalog, settings
from systemscripts.doctor import Check, Finding, failed, good, warning
from systemscripts.errors import JobError
from systemscripts.mail import composing, gmail_login, smtp_connection
from systemscripts.mail.smtp_connection import PutOff


def smtp() -> Iterator[Finding]:
    """Log in as for a mail, but send none."""
    if not settings.email_address():
        yield failed(
            "mail",
            "ETL_EMAIL is not set: neither reports nor alerts go out",
            "set the SMTP settings (docs/administration.md, Mail)",
        )
        return
    try:
        with smtp_connection.connection(composing.sender().addr_spec):
            pass
    except (JobError, PutOff) as problem:
        yield failed("mail", str(problem), f"then: {job_catalog.typed('testemail.py')}")
    else:
        yield good("mail", f"{smtp_connection.server_name()} takes the login of {settings.email_address()}")
    if not settings.alert_email():
        yield failed(
            "alerts", "ETL_ALERT_EMAIL is not set: nobody gets mail about failures", "set it in the secrets file"
        )
    if not settings.ping_url():
        yield warning(
            "alerts",
            "ETL_PING_URL is not set: nobody notices a dead machine",
            "set it to the URL of a monitoring service that expects a call every 15 minutes",
        )


def mailboxes() -> Iterator[Finding]:
    """Use the access to each Gmail mailbox that a row names."""
    with db_config.session(patience=0) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT lower(gmail_account) FROM dba.tinboxconfig WHERE is_active AND imap_server IS NULL"
        )
        accounts = [account for (account,) in cursor.fetchall()]
    for account in accounts:
        try:
            gmail_login.prove(account)
        except JobError as problem:
            how = gmail_login.how_to_log_in(account)
            told, _, cure = str(problem).rpartition("; ")
            yield failed("gmail", told, cure) if how in cure else failed("gmail", str(problem), how)
            continue
        ends = gmail_login.expires_soon(account)
        if ends:
            yield warning(
                "gmail", f"the access to {account} ends {ends:%Y-%m-%d %H:%M}", gmail_login.how_to_log_in(account)
            )
        else:
            yield good("gmail", f"{account} can be read")


CHECKS: dict[str, Check] = {"mail": smtp, "gmail": mailboxes}
