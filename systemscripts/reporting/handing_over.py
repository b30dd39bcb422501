"""Hand a report's mail to the mail server, and note what came of it for each reader."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from systemscripts.mail.composing import MailError, MailUnavailable, OutcomeUnknown
from systemscripts.mail.smtp import Mailer

if TYPE_CHECKING:
    from email.message import EmailMessage


def hand_over(
    mailer: Mailer, message: "EmailMessage", todo: list[str], note: Callable[[list[str], str, str | None], None]
) -> None:
    """Send the mail and note the result for each recipient; raises for those who have not got it."""
    left: dict[str, tuple[str, str]] = {}
    failure: MailError | MailUnavailable | None = None
    try:
        refused = mailer.send(message, todo, lambda who: note(who, "Sending", None))
        left = {who: ("Refused", words) for who, words in refused.items()}
        if left:
            words = "; ".join(f"{who}: {answer}" for who, answer in refused.items())
            failure = MailError(f"the mail server refused it for {words}")
    except (OutcomeUnknown, MailUnavailable) as error:
        failure = error
        unknown = error.unknown if isinstance(error, OutcomeUnknown) else ()
        left = {who: ("Refused", words) for who, words in error.refused.items()}
        left |= dict.fromkeys(error.waiting, ("Waiting", str(error))) | dict.fromkeys(unknown, ("Unknown", str(error)))
    except MailError as error:
        failure, left = error, dict.fromkeys(todo, ("Waiting", str(error)))
    for who, (status, why) in left.items():
        note([who], status, why)
    note([who for who in todo if who not in left], "Sent", None)
    if failure is not None:
        raise failure
