"""Tells the owner of the reports what their readers did not get, and why; the readers are told nothing."""

import logging
from collections.abc import Sequence

from systemscripts import settings
from systemscripts.errors import JobError
from systemscripts.mail import composing

log = logging.getLogger(__name__)

# In the reason of the run, so that the watch on the schedule does not tell it a second time.
WAS_TOLD = "the owner has been told"


def tell(reasons: Sequence[str]) -> str:
    """Send one mail about all that went wrong; return WAS_TOLD, or why the owner could not be told.

    Where the mail server is the trouble, the watch on the schedule tells it when that is back.
    """
    to = settings.alert_email()
    if not to:
        return "nobody was told: ETL_ALERT_EMAIL is not set"
    subject = f"[ETL {settings.host_name()}] {len(reasons)} report{'s' if len(reasons) > 1 else ''} not sent as meant"
    text = "\n\n".join(["These reports did not get to all of their readers, who have been told nothing:", *reasons])
    advice = (
        "Set right what is wrong and start send_reports.py with the report's number: nobody gets a report twice. "
        "Who was refused, or may have it or not, gets it with --again ADDRESS only."
    )
    from systemscripts.mail import smtp

    try:
        message = composing.text_mail(subject, settings.mask(f"{text}\n\n{advice}\n"), to)
        refused = smtp.send(message, [address.addr_spec for address in composing.addresses(to)])
    except JobError as error:
        return f"the owner could not be told: {error}"
    return "the mail server refused the mail to the owner" if refused else WAS_TOLD
