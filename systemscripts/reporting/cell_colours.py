"""The colour of a cell, by its text or by a comparison such as "<0"."""

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from systemscripts.reporting.values import is_number


@dataclass(frozen=True)
class Tint:
    """Colours whose contrast is above the 4.5 of WCAG 2 AA."""

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
        """Return a smaller one for what says more of the number: "=" before "<0" before "<10" before "!="."""
        return {"=": 0, "!=": 2}.get(self.sign, 1), abs(number - self.bound)


def comparison_of(condition: str) -> Comparison | None:
    """Return what is compared, or None where the condition is the text of a cell.

    Raises ValueError where it begins as a comparison, but no number follows.
    """
    match = _COMPARISON.fullmatch(condition)
    if match is None:
        return None
    if not _NUMBER.fullmatch(match[2]):
        raise ValueError("is a comparison without a number such as -1.5 after it")
    return Comparison(match[1], Decimal(match[2].strip()))


def colours_of(rules: Mapping[str, str], values: Sequence[object], texts: Sequence[str]) -> dict[int, str]:
    """Return the names of the colours of a column's cells, by row; `texts` are the cells as they are shown.

    The text counts before the comparisons, and of those the one with the nearest number: the order
    in which they were written is lost in a column of type jsonb.
    """
    compared = [(comparison, name) for text, name in rules.items() if (comparison := comparison_of(text))]
    by_text = {text: name for text, name in rules.items() if comparison_of(text) is None}
    colours = {}
    for row, (value, text) in enumerate(zip(values, texts, strict=True)):
        name = by_text.get(text) or (_colour_of_number(Decimal(str(value)), compared) if is_number(value) else None)
        if name is not None:
            colours[row] = name
    return colours


def _colour_of_number(number: Decimal, compared: list[tuple[Comparison, str]]) -> str | None:
    fitting = [(comparison, name) for comparison, name in compared if comparison.fits(number)]
    if not fitting:
        return None
    return min(fitting, key=lambda item: item[0].breadth(number))[1]
