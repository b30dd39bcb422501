"""Convert a database value to text: exact for files, readable for people."""

import math
import re
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache

from systemscripts import settings
from systemscripts.reporting.model import ListText
from systemscripts.reporting.writing import PLAIN, Writing

MOST_PLACES = 6  # the most decimal places that a person sees
_GROUP_FROM = 10_000  # smaller numbers, such as years, get no grouping

# An item of an array as PostgreSQL writes it between commas, quoted if it would be ambiguous. Between boxes it
# writes semicolons.
_ITEM = re.compile(r'"(?:[^"\\]|\\.)*"|[^",;{}\\]+', re.DOTALL)


def exact_text(value: object) -> str:
    """Return the text of a value in a CSV file; null is empty.

    Numbers have no grouping; floats are the shortest text that reads back. Dates are yyyy-MM-dd. Time
    stamps add HH:MM:SS[.ffffff] in the machine's zone, with the offset in an hour that comes twice. All
    other values are PostgreSQL's own text.
    """
    if isinstance(value, datetime):
        return f"{local_time(value)}{offset_if_twice(value)}"
    if isinstance(value, float):
        return repr(value).removesuffix(".0") if math.isfinite(value) else str(Decimal(value))
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, Decimal) and value.is_finite():
        return f"{value:f}"
    return "" if value is None else str(value)


def readable_text(value: object, writing: Writing = PLAIN) -> str:
    """Return the text of a value in a mail, except numbers, which depend on their whole column."""
    if isinstance(value, datetime):
        return (
            f"{writing.moment(local_time(value), f'{writing.date_form} {writing.time_form}')}{offset_if_twice(value)}"
        )
    if isinstance(value, date | time) and writing is not PLAIN:
        return writing.moment(value, writing.date_form if isinstance(value, date) else writing.time_form)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, time):
        return value.isoformat("minutes")
    if isinstance(value, ListText):
        # A nested array, or one with its own bounds, stays unchanged.
        items = _ITEM.findall(value[1:-1])
        return ", ".join(items) if items and value == "{" + ",".join(items) + "}" else str(value)
    return "" if value is None else str(value)


def is_number(value: object) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def readable_numbers(heading: str, values: list[object], writing: Writing = PLAIN) -> list[str]:
    """Return a column of numbers (or nulls) with the same number of decimal places, at most six.

    Thousands are grouped if one number reaches 10,000, unless the heading ends in "id": such a number
    is a name, not a quantity.
    """
    numbers = {row: Decimal(str(value)) for row, value in enumerate(values) if value is not None}
    finite = [number for number in numbers.values() if number.is_finite()]
    places = max((_places(number) for number in finite), default=0)
    largest = max((abs(number) for number in finite), default=Decimal(0))
    grouping = "," if largest >= _GROUP_FROM and not heading.lower().endswith("id") else ""
    return [
        writing.number(_readable_number(numbers[row], places, grouping)) if row in numbers else ""
        for row in range(len(values))
    ]


def local_time(value: datetime) -> datetime:
    """Return the time in the machine's zone, but without the zone, as reports show it."""
    if value.tzinfo is None:
        return value
    try:
        return value.astimezone().replace(tzinfo=None)
    except OverflowError:  # beside the first day of the year 1, or the last one of 9999
        return value.replace(tzinfo=None)


def offset_if_twice(value: datetime) -> str:
    """Return the offset, such as +02:00, if the local time comes twice because the clock is put back; else ""."""
    if value.tzinfo is None:
        return ""
    try:
        local = value.astimezone()
        if not _has_clock_change(settings.time_zone(), local.date()):
            return ""
        first, second = (local.replace(tzinfo=None, fold=fold).astimezone().utcoffset() for fold in (0, 1))
    except (OverflowError, ValueError):  # beside the first day of the year 1, or the last one of 9999
        return ""
    return "" if first == second else local.isoformat()[-6:]


@lru_cache(maxsize=10_000)
def _has_clock_change(_zone: str | None, day: date) -> bool:
    """Return whether the clock changes on that day in the machine's zone; this is a quick test for most days."""
    midnight = datetime.combine(day, time())
    next_one = (midnight + timedelta(days=1)).replace(fold=1)
    return midnight.astimezone().utcoffset() != next_one.astimezone().utcoffset()


def _places(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or exponent >= 0:
        return 0
    if -exponent <= MOST_PLACES:
        return -exponent
    shown = f"{number:.{MOST_PLACES}f}".rstrip("0")
    return len(shown.partition(".")[2])


def _readable_number(number: Decimal, places: int, grouping: str) -> str:
    if not number.is_finite():
        return str(number)
    if number and abs(number) < Decimal(1).scaleb(-MOST_PLACES):
        return f"{number:.3g}"
    return f"{number:{grouping}.{places}f}"
