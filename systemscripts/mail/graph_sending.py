"""Send mail through Microsoft Graph, with the same promises as by SMTP: afterwards it is known who has the mail.

Graph has no envelope: who gets the mail stands in its To. So the mail that is handed over names exactly those who are
to get it now. https://learn.microsoft.com/en-us/graph/api/user-sendmail
"""

import base64
import copy
import logging
from collections.abc import Callable, Sequence
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY

from systemscripts.mail import composing
from systemscripts.mail.composing import MailError, MailUnavailable, OutcomeUnknown
from systemscripts.mail.graph import Graph, GraphRefusal
from systemscripts.web import api
from systemscripts.web.answers import FetchError
from systemscripts.web.api import Answer, NotConnected
from systemscripts.web.manners import retry_after

log = logging.getLogger(__name__)

MOST_BYTES = 4_000_000  # of a request
# The statuses with which Graph says that it did nothing yet; after another failure of its own it may have sent the mail.
_NOT_YET = (429, 503)
_ACCEPTED = 202  # a page of a proxy has another one


def send(
    message: EmailMessage, recipients: Sequence[str], about_to_send: Callable[[list[str]], None]
) -> dict[str, str]:
    """Hand the mail over for each recipient; return those that Graph refused, each with its words.

    Raises as smtp.Mailer.send does.
    """
    graph = Graph(composing.sender().addr_spec)
    refused: dict[str, str] = {}
    done = 0
    # One mail for all; if one of the addresses is refused, nobody got it, and each gets a mail of their own.
    groups = [list(recipients)]
    try:
        while groups:
            group = groups.pop(0)
            waiting = [*group, *(who for others in groups for who in others)]
            try:
                _hand_over(graph, message, group, about_to_send)
                done += len(group)
            except GraphRefusal as refusal:
                if refusal.code == "ErrorInvalidRecipients" and len(group) > 1:
                    groups = [[who] for who in group]
                elif refusal.code == "ErrorInvalidRecipients":
                    refused[group[0]] = str(refusal)
                elif done:
                    raise MailUnavailable(f"Microsoft Graph refuses the mail ({refusal})", waiting, refused) from None
                else:
                    raise MailError(f"Microsoft Graph refuses the mail ({refusal})") from None
            except _Lost as lost:
                raise OutcomeUnknown(
                    f"Microsoft Graph had the whole mail but did not confirm it ({lost}); {', '.join(group)} may have it, "
                    "so ask before you send it again",
                    *(group, waiting[len(group) :], refused),
                ) from None
            except MailUnavailable as failure:
                raise MailUnavailable(str(failure), waiting, refused) from None
    finally:
        graph.close()
    return refused


class _Lost(Exception):
    """The mail was handed over, and no answer says what became of it."""


def _hand_over(
    graph: Graph, message: EmailMessage, group: list[str], about_to_send: Callable[[list[str]], None]
) -> None:
    """Send one mail to this group; it is tried again as long as Graph says that it has not begun."""
    named = copy.copy(message)
    del named["To"]
    named["To"] = [address for who in group for address in composing.addresses(who)]
    content = base64.b64encode(named.as_bytes(policy=SMTP_POLICY.clone(cte_type="7bit")))
    if len(content) > MOST_BYTES:
        raise MailError(
            f"the mail would have {len(content):,} bytes, but Microsoft Graph takes at most {MOST_BYTES:,}; "
            "send fewer rows, or send by SMTP"
        )
    for pause in (*api.PAUSES, None):
        about_to_send(group)
        try:
            answer = graph.once("POST", "/sendMail", data=content, headers={"Content-Type": "text/plain"})
        except NotConnected as failure:
            raise MailUnavailable(f"Microsoft Graph cannot be reached ({failure}); try again later") from None
        except FetchError as failure:
            raise _Lost(str(failure)) from None
        if answer.status == _ACCEPTED:
            return
        if answer.status not in _NOT_YET:
            raise _Lost(f"status {answer.status}")
        seconds = _pause(answer, pause)
        if seconds is None:
            break
        log.info("Microsoft Graph puts the mail off; next try in %.0f s", seconds, extra={"step": "mail"})
        api.wait(seconds)
    raise MailUnavailable(f"Microsoft Graph puts the mail off (status {answer.status}); send it again later")


def _pause(answer: Answer, pause: float | None) -> float | None:
    """Return how long to wait for the next try, None if there is none."""
    asked_for = retry_after(answer.headers.get("Retry-After"))
    if pause is None or (asked_for is not None and asked_for > api.LONGEST_PAUSE):
        return None
    return pause if asked_for is None else asked_for
