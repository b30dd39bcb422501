"""What a consent that was begun looks like, for every provider."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

# The browser is sent to this machine, where nothing listens: no program uses port 1. A person pastes the address.
# Microsoft compares it with the registered http://localhost; it leaves out the port, but a / at the end is a difference.
REDIRECT_URI = "http://localhost:1"


@dataclass(frozen=True)
class Begun:
    """A consent that waits for a person: the address to open, and the `code` to type there.

    `finish` takes what the browser came back with, and returns the provider's answer. A `refusal` is the
    answer of a provider that does not begin at all.
    """

    address: str
    code: str = ""
    state: str = ""
    finish: Callable[[dict[str, str]], dict[str, Any]] = lambda _values: {}
    refusal: dict[str, Any] = field(default_factory=dict)


def seconds_in(answer: dict[str, Any], name: str, usual: float, most: float) -> float:
    """Return a duration in an answer, `usual` if there is none that can be, and never more than `most`.

    >>> seconds_in({"interval": "7"}, "interval", 5, 60), seconds_in({"interval": -1}, "interval", 5, 60)
    (7.0, 5)
    """
    try:
        number = float(answer[name])
    except (KeyError, TypeError, ValueError, OverflowError):
        return usual
    return min(number, most) if number >= 0 else usual
