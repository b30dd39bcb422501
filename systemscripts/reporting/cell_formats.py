"""The look of a cell as a report's row sets it: a format for a number or date, a colour by text or by comparison."""

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from systemscripts.reporting.values import is_number, local_time
from systemscripts.reporting.writing import PLAIN, Writing

LONGEST_FORMAT = 60
MOST_PLACES = 30  # the limit of a width or a precision: ">1000000000" would take a gigabyte per cell

# Only these letters: strftime's result for others depends on the machine.
_DATE_FORMAT = re.compile(r"(?:[^%]|%-?[aAbBcdfGHIjmMpSuUVwWxXyYZz]|%%)*")
_DIRECTIVE = re.compile(r"%-?[a-zA-Z]")
_UNFIT_FOR_MAIL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")
_FOR_WHOLE_NUMBERS = tuple("bdoxX_")


def check_format(spec: str) -> None:
    """Raise ValueError if the format fits no number and no date; the message has no subject."""
    if not spec.strip():
        raise ValueError("is empty")
    if len(spec) > LONGEST_FORMAT:
        raise ValueError(f"has {len(spec):,} characters; {LONGEST_FORMAT} are allowed")
    if _UNFIT_FOR_MAIL.search(spec):
        raise ValueError("has a line break or another control character")
    if _is_for_dates(spec):
        return
    # \d matches the digits of every script, and format() accepts them too.
    if any(int(digits) > MOST_PLACES for digits in re.findall(r"\d+", spec)):
        raise ValueError(f"has a width or a precision above {MOST_PLACES}")
    try:
        _number_text(1, spec)
    except ValueError:
        raise ValueError("is neither one for numbers such as ,.2f or .1% nor one for dates such as %d %b %Y") from None


def formatted(value: object, spec: str, writing: Writing = PLAIN) -> str:
    """Return the text of a number, a date or a time stamp (in the machine's zone); null stays empty.

    Raises ValueError if the format does not fit the value.
    """
    if value is None:
        return ""
    if isinstance(value, int | float | Decimal) and is_number(value):
        try:
            return writing.number(_number_text(value, spec))
        except ArithmeticError as error:
            raise ValueError(str(error)) from None
    if isinstance(value, date) and _is_for_dates(spec):
        return writing.moment(local_time(value) if isinstance(value, datetime) else value, spec)
    raise ValueError(f"{spec} is not for such a value")


def _is_for_dates(spec: str) -> bool:
    return bool(_DATE_FORMAT.fullmatch(spec) and _DIRECTIVE.search(spec.replace("%%", "")))


def _number_text(number: float | Decimal, spec: str) -> str:
    """Return the formatted number. It is a decimal first, because int and float would be rounded to binary places."""
    if isinstance(number, int) and spec.endswith(_FOR_WHOLE_NUMBERS):
        return format(number, spec)
    return format(Decimal(str(number)), spec)


@dataclass(frozen=True)
class Tint:
    """Colours with a contrast above 4.5, as WCAG 2 AA demands."""

    background: str
    text: str


PALETTE = {
    "green": Tint("#d5f0dc", "#14532d"),
    "red": Tint("#fbdcdc", "#7f1d1d"),
    "amber": Tint("#fdeec4", "#663c00"),
    "blue": Tint("#d9e8fb", "#1e3a7b"),
    "grey": Tint("#e2e5e9", "#374151"),
}

_COMPARISONS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "!=": operator.ne,
}
_COMPARISON = re.compile(r"(<=|>=|!=|<|>|=)\s*(.*)", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)\s*", re.ASCII)


@dataclass(frozen=True)
class Comparison:
    """A comparison with `bound`, which is finite."""

    sign: str
    bound: Decimal

    def fits(self, number: Decimal) -> bool:
        return not number.is_nan() and bool(_COMPARISONS[self.sign](number, self.bound))

    def breadth(self, number: Decimal) -> tuple[int, Decimal]:
        """Return a sort key; a comparison that says more comes first: "=" before "<0" before "<10" before "!="."""
        return {"=": 0, "!=": 2}.get(self.sign, 1), abs(number - self.bound)


def comparison_of(condition: str) -> Comparison | None:
    """Return the comparison, or None if the condition is the text of a cell.

    Raises ValueError if it begins like a comparison but no number follows.
    """
    match = _COMPARISON.fullmatch(condition)
    if match is None:
        return None
    if not _NUMBER.fullmatch(match[2]):
        raise ValueError("is a comparison without a number such as -1.5 after it")
    return Comparison(match[1], Decimal(match[2].strip()))


def colours_of(rules: Mapping[str, str], values: Sequence[object], texts: Sequence[str]) -> dict[int, str]:
    """Return the names of the colours of a column's cells, by row; `texts` are the cells as they are shown.

    A text counts before the comparisons; among comparisons the one with the nearest number counts. The
    order in which they were written cannot count, because a column of type jsonb loses it.
    """
    compared = [(comparison, name) for text, name in rules.items() if (comparison := comparison_of(text))]
    by_text = {text: name for text, name in rules.items() if comparison_of(text) is None}
    colours = {}
    for row, (value, text) in enumerate(zip(values, texts, strict=True)):
        name = by_text.get(text)
        if not name and is_number(value):
            number = Decimal(str(value))
            fitting = [(comparison, colour) for comparison, colour in compared if comparison.fits(number)]
            name = min(fitting, key=lambda item: item[0].breadth(number))[1] if fitting else None
        if name is not None:
            colours[row] = name
    return colours
