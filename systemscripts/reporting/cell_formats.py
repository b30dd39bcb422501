"""A value as text by a format that somebody wrote into a row: Python's for numbers, strftime's for dates."""

import re
from datetime import date, datetime
from decimal import Decimal

from systemscripts.reporting.values import is_number, local_time

LONGEST_FORMAT = 60
MOST_PLACES = 30  # of a width or a precision: ">1000000000" would take a gigabyte a cell

# What strftime does with other letters depends on the machine.
_DATE_FORMAT = re.compile(r"(?:[^%]|%-?[aAbBcdfGHIjmMpSuUVwWxXyYZz]|%%)*")
_DIRECTIVE = re.compile(r"%-?[a-zA-Z]")
_UNFIT_FOR_MAIL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")
_FOR_WHOLE_NUMBERS = tuple("bdoxX_")


def check_format(spec: str) -> None:
    """Raise ValueError, with a sentence without its subject, where no number and no date can be shown so."""
    if not spec.strip():
        raise ValueError("is empty")
    if len(spec) > LONGEST_FORMAT:
        raise ValueError(f"has {len(spec):,} characters; {LONGEST_FORMAT} are allowed")
    if _UNFIT_FOR_MAIL.search(spec):
        raise ValueError("has a line break or another control character")
    if _is_for_dates(spec):
        return
    # \d is any script's digit, and so it is to format().
    if any(int(digits) > MOST_PLACES for digits in re.findall(r"\d+", spec)):
        raise ValueError(f"has a width or a precision above {MOST_PLACES}")
    try:
        _number_text(1, spec)
    except ValueError:
        raise ValueError("is neither one for numbers such as ,.2f or .1% nor one for dates such as %d %b %Y") from None


def formatted(value: object, spec: str) -> str:
    """Return the text of a number, a date or a time stamp (in the machine's zone); null stays empty.

    Raises ValueError where the format is not for such a value.
    """
    if value is None:
        return ""
    if isinstance(value, int | float | Decimal) and is_number(value):
        try:
            return _number_text(value, spec)
        except ArithmeticError as error:
            raise ValueError(str(error)) from None
    if isinstance(value, date) and _is_for_dates(spec):
        return (local_time(value) if isinstance(value, datetime) else value).strftime(spec)
    raise ValueError(f"{spec} is not for such a value")


def _is_for_dates(spec: str) -> bool:
    return bool(_DATE_FORMAT.fullmatch(spec) and _DIRECTIVE.search(spec.replace("%%", "")))


def _number_text(number: float | Decimal, spec: str) -> str:
    """Return the number by the format; as a decimal, for int and float would be rounded to binary places first."""
    if isinstance(number, int) and spec.endswith(_FOR_WHOLE_NUMBERS):
        return format(number, spec)
    return format(Decimal(str(number)), spec)
