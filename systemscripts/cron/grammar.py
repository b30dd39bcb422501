"""The time part of a crontab line, as Debian's cron reads it.

The grammar is that of Debian's cron 3.0pl1 (entry.c): five fields divided by blanks or tabs, or
one of the words in `WORDS`, or @reboot. Like cron it accepts dates that never come (50-10,
30 February; see `CronExpression.has_times`). It also ignores the rest of a field after a complete
value (`6#3` means `6`; see `CronExpression.ignored`). It is stricter in one point: it refuses a number
of ten digits or more, which would overflow in cron.

@reboot is accepted, because it is right for some jobs, but it has no times.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from systemscripts.errors import JobError

REBOOT = "@reboot"
# Each word with the fields that cron sets for it. Unlike month names, the words must be in lower case.
WORDS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST_MONTH = {month: 29 if month == 2 else 30 if month in (4, 6, 9, 11) else 31 for month in range(1, 13)}

_NUMBER = "[0-9A-Za-z]*"
_RANGE = re.compile(rf"(?:(?P<star>\*)|(?P<first>{_NUMBER})(?:-(?P<last>{_NUMBER}))?)(?:/(?P<step>{_NUMBER}))?")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class CronExpressionError(JobError):
    """Cron would refuse the expression; the message names the field, its value and what is allowed."""


@dataclass(frozen=True)
class Kind:
    """The allowed values of one of the five fields."""

    name: str
    low: int
    high: int
    names: Sequence[str] = ()

    def allowed(self) -> str:
        return f"{self.low}-{self.high}" + (f" or {self.names[0]}-{self.names[-1]}" if self.names else "")


KINDS = (
    Kind("minute", 0, 59),
    Kind("hour", 0, 23),
    Kind("day of the month", 1, 31),
    Kind("month", 1, 12, _MONTHS),
    Kind("day of the week", 0, 7, _WEEKDAYS),
)


@dataclass(frozen=True)
class Field:
    """The values of one field; `star` says that it begins with *, for which cron has special rules."""

    values: frozenset[int]
    star: bool
    ignored: str


NOTHING = Field(frozenset(), star=False, ignored="")


@dataclass(frozen=True)
class CronExpression:
    """A parsed expression. The fields of @reboot are empty."""

    minute: Field
    hour: Field
    day: Field
    month: Field
    weekday: Field
    at_reboot: bool = False

    @property
    def ignored(self) -> tuple[str, ...]:
        """The text that cron silently ignores, such as the `#3` of `6#3`."""
        return tuple(field.ignored for field in self.fields() if field.ignored)

    @property
    def both_days_must_match(self) -> bool:
        """Whether day of month AND day of week must match; OR applies only if neither begins with *."""
        return self.day.star or self.weekday.star

    def has_times(self) -> bool:
        """Return whether the calendar has any date on which this runs."""
        if not (self.minute.values and self.hour.values and self.month.values):
            return False
        last_day = max(_LONGEST_MONTH[month] for month in self.month.values)
        date_exists = any(day <= last_day for day in self.day.values)
        if self.both_days_must_match:
            return date_exists and bool(self.weekday.values)
        return date_exists or bool(self.weekday.values)

    def fields(self) -> tuple[Field, ...]:
        return self.minute, self.hour, self.day, self.month, self.weekday


@lru_cache(maxsize=4096)
def parse(text: str) -> CronExpression:
    """Return the parsed expression; raises CronExpressionError with one sentence if cron would refuse it."""
    if bad := _CONTROL.search(text):
        raise CronExpressionError(f"{text!r} is no cron expression: it holds the control character {bad[0]!r}")
    words = split_words(text)
    try:
        if words == [REBOOT]:
            return CronExpression(NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, at_reboot=True)
        minute, hour, day, month, weekday = map(_parse_field, KINDS, _five_fields(words))
        return CronExpression(minute, hour, day, month, weekday)
    except ValueError as error:
        raise CronExpressionError(f"{text!r} is no cron expression: {error}") from None


def split_words(text: str) -> list[str]:
    """Split the expression at the blanks that cron accepts; str.split would accept more characters."""
    return [word for word in re.split("[ \t]+", text) if word]


def _five_fields(words: list[str]) -> list[str]:
    if not words:
        raise ValueError("it is empty; for a job every day at five write 0 5 * * *")
    if words[0].startswith("#"):
        raise ValueError("it begins with #, so cron takes it for a comment")
    if words[0].startswith("@"):
        if len(words) > 1 or words[0] not in WORDS:
            raise ValueError(f"after @ cron knows only these words, in lower case: {', '.join([*WORDS, REBOOT])}")
        return WORDS[words[0]].split()
    if "=" in words[0]:
        raise ValueError(f"cron takes {words[0]!r} for the setting of a variable")
    if len(words) != 5:
        raise ValueError(f"it has {len(words)} fields; it needs five: {', '.join(kind.name for kind in KINDS)}")
    return words


def _parse_field(kind: Kind, text: str) -> Field:
    values: set[int] = set()
    position = 0
    try:
        while True:
            match = _RANGE.match(text, position)
            assert match is not None, "every part of it may be empty"
            values.update(_range_values(kind, match))
            position = match.end()
            if text[position : position + 1] != ",":
                return Field(frozenset(values), text.startswith("*"), text[position:])
            position += 1
    except ValueError as error:
        raise ValueError(f"the {kind.name} is {text!r}, and {error}") from None


def _range_values(kind: Kind, match: re.Match[str]) -> range:
    """Return the values of one part of a list; as in cron, a backward range is empty."""
    low, high, step = kind.low, kind.high, 1
    if match["star"] is None:
        low = high = _number(kind, match["first"])
        if match["last"] is not None:
            high = _number(kind, match["last"])
        elif match["step"] is not None:
            raise ValueError(
                f"a step follows only * or a range, as in {match['first']}-{kind.high}/{match['step'] or 1}"
            )
    if match["step"] is not None:
        step = _plain_number(match["step"])
        if step < 1:
            raise ValueError(f"the step after / is {match['step']!r}; it must be a number from 1 up")
    return range(low, high + 1, step)


def _number(kind: Kind, text: str) -> int:
    if text.lower() in kind.names:
        return kind.names.index(text.lower()) + kind.low
    number = _plain_number(text)
    if not kind.low <= number <= kind.high:
        found = f"{text!r} is not allowed" if text else "a value is missing"
        raise ValueError(f"{found}; allowed are {kind.allowed()}, lists, ranges and steps of them, and *")
    return number


def _plain_number(text: str) -> int:
    """Return the number, or -1 if it is not a number or is too long for cron."""
    return int(text) if text.isdigit() and len(text.lstrip("0")) < 10 else -1
