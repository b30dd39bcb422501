"""Checks of mail: the login at the mail server, the address for alerts, and the access to the mailboxes."""

from collections.abc import Iterator

from systemscripts import db_config, job_catalog, settings
from systemscripts.doctor import Check, Finding, failed, good, warning
from systemscripts.errors import JobError
from systemscripts.inbox import open_mailbox
from systemscripts.inbox.rules import Place
from systemscripts.mail import composing, gmail_login, graph, smtp_connection
from systemscripts.mail.oauth import endings, kept_rights, rights
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
    sender, is_graph = settings.email_address(), settings.smtp_auth() == graph.NAME
    try:
        if is_graph:
            rights.access_token(graph.NAME, composing.sender().addr_spec)
        else:
            with smtp_connection.connection(composing.sender().addr_spec):
                pass
    except (JobError, PutOff) as problem:
        yield failed("mail", str(problem), f"then: {job_catalog.typed('testemail.py')}")
    else:
        where = "Microsoft Graph" if is_graph else smtp_connection.server_name()
        yield good("mail", f"{where} takes the login of {sender}")
    if not settings.alert_email():
        yield failed(
            "alerts", "ETL_ALERT_EMAIL is not set: nobody gets mail about failures", "set it in the secrets file"
        )
    try:
        settings.quiet_hours()
    except settings.SettingError as problem:
        yield failed("alerts", str(problem), "correct it in site.env; until then there are no quiet hours")
    try:
        settings.page_url()
    except settings.SettingError as problem:
        yield failed("alerts", str(problem), "correct it in site.env; until then no mail links to the status page")
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
            "SELECT DISTINCT lower(gmail_account) FROM dba.tinboxconfig WHERE is_active AND imap_server IS NULL AND auth = 'password'"
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


def granted() -> Iterator[Finding]:
    """Log in with each right to a mailbox that a row names, and say what ends soon."""
    with db_config.session(patience=0) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT ON (1, 2, 3) lower(gmail_account), imap_server, auth, folder FROM dba.tinboxconfig "
            "WHERE is_active AND auth <> 'password' ORDER BY 1, 2, 3"
        )
        places = [Place(account, server, (folder,), auth) for account, server, auth, folder in cursor.fetchall()]
    for place in places:
        try:
            with open_mailbox(place) as mailbox:
                mailbox.waiting(())
                yield good("rights", f"{place.account} can be read ({place.auth})")
        except JobError as problem:
            how = kept_rights.how_to_grant(place.auth.removeprefix("oauth:"), place.account)
            told, _, cure = str(problem).rpartition("; ")
            yield failed("rights", told, cure) if how in cure else failed("rights", str(problem), how)
    for ending in endings.endings(settings.now()):
        yield warning("rights", ending.told, ending.cure)
    if settings.microsoft_client_secret() and settings.microsoft_client_secret_ends() is None:
        yield warning(
            "rights",
            "ETL_MICROSOFT_CLIENT_SECRET_ENDS is not set, so nobody is told before the program's secret ends",
            "set it to the day that the program's registration shows (Certificates & secrets)",
        )


CHECKS: dict[str, Check] = {"mail": smtp, "gmail": mailboxes, "rights": granted}
