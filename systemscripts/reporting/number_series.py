"""A cell that is a list of numbers: the points that are drawn, and what says the same without a drawing."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from systemscripts.reporting.values import readable_numbers

LONGEST_ALT = 60
_BLOCKS = "▁▂▃▄▅▆▇█"
_FLAT = "▄"

_LIST = re.compile(r"\{(.*)\}|\[(.*)\]")  # of an array, of JSON
_NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|infinity)", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Series:
    """Points in their order, with None for a gap; one of them at least is a number, and all numbers are finite."""

    points: tuple[float | None, ...]
    alt: str

    @property
    def blocks(self) -> str:
        """Return the points as Unicode blocks from the least to the most, a blank for a gap."""
        present = [point for point in self.points if point is not None]
        least = min(present)
        # Halved, for the span of the largest numbers is beyond a float.
        span = max(present) / 2 - least / 2
        return "".join(" " if point is None else _block(point / 2 - least / 2, span) for point in self.points)


def series_of(value: object) -> Series | None:
    """Return the series of a cell, None where it is null or has no number to draw; what is not finite is a gap.

    The cell is the text of an array, or of a JSON array. Raises ValueError where it is no list of numbers and nulls.
    """
    if value is None:
        return None
    items = _numbers(str(value))
    points = tuple(None if item is None else _finite(float(item)) for item in items)
    if all(point is None for point in points):
        return None
    return Series(points, _alt(items, points))


def _numbers(text: str) -> list[Decimal | None]:
    found = _LIST.fullmatch(text)
    inner = (found[1] or found[2] or "").strip() if found else ""
    words = [word.strip() for word in inner.split(",")] if inner else []
    if not found or not all(word.lower() == "null" or _NUMBER.fullmatch(word) for word in words):
        raise ValueError("is no list of numbers")
    return [None if word.lower() == "null" else Decimal(word) for word in words]


def _block(height: float, span: float) -> str:
    return _BLOCKS[round(height / span * (len(_BLOCKS) - 1))] if span else _FLAT


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _alt(items: list[Decimal | None], points: Sequence[float | None]) -> str:
    text = ", ".join("NULL" if item is None else str(item) for item in items)
    if len(text) <= LONGEST_ALT:
        return text
    # As the database has them, for a whole number is told without a point.
    present = [(point, item) for point, item in zip(points, items, strict=True) if point is not None]
    ordered = sorted(present, key=lambda pair: pair[0])
    ends = [item for _, item in (present[0], present[-1], ordered[0], ordered[-1])]
    text = "from {} to {}, least {}, most {}".format(*readable_numbers("", list(ends)))
    return text if len(text) <= LONGEST_ALT else f"{text[: LONGEST_ALT - 1]}…"
