"""A database value as text: exact for files, readable for people."""

import json
from datetime import date, datetime, time, timedelta
from decimal import Decimal

MOST_PLACES = 6  # decimal places that a person is shown
_GROUP_FROM = 10_000  # years and the like stay as they are


def exact_text(value: object) -> str:
    """Return the text of a value in a CSV file; what is null is empty.

    Numbers are written without grouping or exponent games (floats as the shortest text that reads
    back), dates as yyyy-MM-dd, times of day added as HH:MM:SS[.ffffff] in the machine's zone.
    """
    if isinstance(value, datetime):
        return str(local_time(value))
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, Decimal) and value.is_finite():
        return f"{value:f}"
    return _other_text(value)


def readable_text(value: object) -> str:
    """Return the text of a value in a mail, numbers apart: those look at their whole column."""
    if isinstance(value, datetime):
        return f"{local_time(value):%Y-%m-%d %H:%M}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, time):
        return value.isoformat("minutes")
    return _other_text(value)


def is_number(value: object) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def readable_numbers(heading: str, values: list[object]) -> list[str]:
    """Return a column of numbers (or nulls) with the same number of decimal places, at most six.

    Thousands are grouped where one of them reaches 10,000, unless the heading ends in "id": such
    a number is a name, not a quantity.
    """
    numbers = {row: Decimal(str(value)) for row, value in enumerate(values) if value is not None}
    finite = [number for number in numbers.values() if number.is_finite()]
    places = max((_places(number) for number in finite), default=0)
    largest = max((abs(number) for number in finite), default=Decimal(0))
    grouping = "," if largest >= _GROUP_FROM and not heading.lower().endswith("id") else ""
    return [_readable_number(numbers[row], places, grouping) if row in numbers else "" for row in range(len(values))]


def local_time(value: datetime) -> datetime:
    """Return the time in the machine's zone, without the zone: what reports are dated in."""
    if value.tzinfo is None:
        return value
    try:
        return value.astimezone().replace(tzinfo=None)
    except OverflowError:  # PostgreSQL's infinity comes as the last moment of the year 9999
        return value.replace(tzinfo=None)


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


def _other_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, list) and not any(isinstance(item, list | dict) for item in value):
        return ", ".join(exact_text(item) for item in value)
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, timedelta):
        # Python would write an hour less than nothing as "-1 day, 23:00:00".
        return f"-{-value}" if value < timedelta(0) else str(value)
    if isinstance(value, memoryview | bytes):
        return f"\\x{bytes(value).hex()}"
    return str(value)


def is_moment(value: object) -> bool:
    """Return whether the value is a date, a time or a duration."""
    return isinstance(value, date | time | timedelta)
