"""Mail the owner which reports did not reach their readers, and why; the readers get no mail about it."""

import logging
from collections.abc import Sequence

from systemscripts import settings
from systemscripts.errors import JobError
from systemscripts.mail import composing

log = logging.getLogger(__name__)

# This stands in the run's reason, so that the watch on the schedule does not mail it again.
WAS_TOLD = "the owner has been told"


def tell(reasons: Sequence[str]) -> str:
    """Send one mail about all failures; return WAS_TOLD, or why the owner could not be told.

    If the mail server is down, the watch on the schedule sends the mail when it is back.
    """
    to = settings.alert_email()
    if not to:
        return "nobody was told: ETL_ALERT_EMAIL is not set"
    subject = f"[ETL {settings.host_name()}] {len(reasons)} report{'s' if len(reasons) > 1 else ''} not sent as meant"
    text = "\n\n".join(["These reports did not reach all of their readers. The readers were not told.", *reasons])
    advice = (
        "Correct the cause, then start send_reports.py with the report's number: nobody gets a report twice. "
        "Readers who were refused, or who may have it, get it only with --again ADDRESS."
    )
    from systemscripts.mail import smtp

    try:
        message = composing.text_mail(subject, settings.mask(f"{text}\n\n{advice}\n"), to)
        refused = smtp.send(message, [address.addr_spec for address in composing.addresses(to)])
    except JobError as error:
        return f"the owner could not be told: {error}"
    return "the mail server refused the mail to the owner" if refused else WAS_TOLD
