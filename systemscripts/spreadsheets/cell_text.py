"""The canonical text of a cell, one for all engines.

Whole numbers stand without `.0`, other numbers as the shortest text that reads back to the same
double; dates as yyyy-MM-dd, with a time yyyy-MM-dd HH:MM:SS[.ffffff]; less than one day is a time
of day HH:MM:SS[.ffffff], but on 1 January 1904 where the days are counted from there and the format
shows a date; a cell formatted as elapsed time ([h]:mm) is HH:MM:SS with hours beyond 24.
Times are rounded to the millisecond, which is as far as a double of that size can be trusted and
what spreadsheet programs show. A number with a date format that is not a date stays a number: negative,
beyond the year 9999, or day 60 of 1900, which never was.
"""

import datetime
import enum
import math
import re
from decimal import Decimal

TRUE_FALSE = ("FALSE", "TRUE")

DAY_MS = 86_400_000
# Whole numbers from here on are written with an exponent, as JavaScript does.
PLAIN_DIGITS_BELOW = 1e21
# Up to here a double holds every whole number exactly.
EXACT_INTEGERS = 2**53

_EPOCH = datetime.datetime(1899, 12, 30)  # noqa: DTZ001 - cells have no zone
_DAYS_FROM_1900_TO_1904 = 1462
_DAY_ZERO_1900 = (datetime.date(1899, 12, 31), datetime.date(1899, 12, 30))
_DAY_ZERO_1904 = (datetime.date(1904, 1, 1),)
# Day 60 of the 1900 system is 29 February 1900, which did not exist; later counts are one day ahead of the calendar.
_LEAP_DAY = 60
_END_MS = 2_958_466 * DAY_MS


class NumberKind(enum.Enum):
    """The kind of value that a number format shows."""

    NUMBER = 0
    DATE = 1
    DURATION = 2
    TIME = 3  # of day, without a date


def number_text(value: float) -> str:
    """Return the text of a double.

    >>> [number_text(value) for value in (3.0, -0.0, 0.1, 1e20, 1e-7)]
    ['3', '0', '0.1', '100000000000000000000', '1e-07']
    """
    value = float(value)
    if not value.is_integer() or abs(value) >= PLAIN_DIGITS_BELOW:
        return repr(value)
    if abs(value) < EXACT_INTEGERS:
        return str(int(value))
    return format(Decimal(repr(value)), "f").removesuffix(".0")


def serial_text(value: float, kind: NumberKind, date_1904: bool) -> str:
    """Return the text of a number in its format; `date_1904` is the workbook's date system."""
    if kind in (NumberKind.DATE, NumberKind.TIME):
        return date_text(value, date_1904, is_time=kind is NumberKind.TIME)
    if kind is NumberKind.DURATION:
        return duration_text(value)
    return number_text(value)


def date_text(serial: float, date_1904: bool, is_time: bool = False) -> str:
    """Return the text of a day count with a date format, or with a format for a time only (`is_time`).

    A number that is not a date is returned as a number.
    """
    if not serial >= 0 or (not date_1904 and _LEAP_DAY <= serial < _LEAP_DAY + 1):
        return number_text(serial)
    # Day 0 exists only in the 1904 system.
    if serial < 1 and (is_time or not date_1904):
        return _clock_text(round_half_up(serial * DAY_MS) % DAY_MS)
    days = serial + _DAYS_FROM_1900_TO_1904 if date_1904 else serial
    if days >= _END_MS / DAY_MS:
        return number_text(serial)
    milliseconds = round_half_up((days if days >= _LEAP_DAY else days + 1) * DAY_MS)
    if milliseconds >= _END_MS:
        return number_text(serial)
    return moment_text(_EPOCH + datetime.timedelta(milliseconds=milliseconds))


def duration_text(days: float) -> str:
    """Return an elapsed time as hours, minutes and seconds: 1.5 days are 36:00:00."""
    if not abs(days) < 1e9:
        return number_text(days)
    return timedelta_text(datetime.timedelta(milliseconds=math.copysign(round_half_up(abs(days) * DAY_MS), days)))


def moment_text(moment: datetime.datetime) -> str:
    """Return a date, followed by the time unless it is midnight."""
    return moment.isoformat(" ").removesuffix(" 00:00:00")


def timedelta_text(elapsed: datetime.timedelta) -> str:
    milliseconds = elapsed // datetime.timedelta(milliseconds=1)
    return "-" + _clock_text(-milliseconds) if milliseconds < 0 else _clock_text(milliseconds)


def iso_text(text: str, date_1904: bool = False, shows_date: bool = False) -> str:
    """Return the canonical text of an ISO 8601 date, time or both; raises ValueError.

    Strict OOXML and SpreadsheetML 2003 hold dates so; the latter writes a time of day on day zero
    of the workbook's date system, as 1899-12-31T… or 1904-01-01T…; where `shows_date` the latter is that day.
    """
    bare = text.strip().removesuffix("Z")
    if "T" not in bare and ":" in bare:
        return datetime.time.fromisoformat(bare).isoformat()
    moment = datetime.datetime.fromisoformat(bare)
    if moment.date() in (_DAY_ZERO_1904 if date_1904 else _DAY_ZERO_1900) and not (date_1904 and shows_date):
        return moment.time().isoformat()
    return moment_text(moment)


def round_half_up(value: float) -> int:
    return math.floor(value + 0.5)


def _clock_text(milliseconds: int) -> str:
    seconds, fraction = divmod(milliseconds, 1000)
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{text}.{fraction * 1000:06}" if fraction else text


# ---- number formats ------------------------------------------------------------------------

# ECMA-376 part 1, 18.8.30; 27 to 36 and 50 to 58 are dates in the East Asian editions.
_BUILTIN_DATES = {*range(14, 18), 22, *range(27, 37), *range(50, 59)}
_BUILTIN_TIMES = {*range(18, 22), 45, 47}
_BUILTIN_DURATIONS = {46}

_FORMAT_TOKEN = re.compile(
    r'\\.|_.|\*.|"[^"]*"?|(?P<elapsed>\[(?:h+|m+|s+)\])|\[[^\]]*\]?|(?P<end>;)|(?P<ampm>[aA].?)'
    r"|(?P<date>[dy]|m{3,})|(?P<time>[hs])|(?P<month_or_minute>m)|.",
    re.DOTALL | re.IGNORECASE,
)


def number_kind(format_id: int, code: str | None) -> NumberKind:
    """Return the kind of a number format; `code` is None for a format whose code is not in the file.

    The first section decides; quoted, escaped, filler and bracketed parts do not count.
    """
    if code is None:
        if format_id in _BUILTIN_DURATIONS:
            return NumberKind.DURATION
        if format_id in _BUILTIN_TIMES:
            return NumberKind.TIME
        return NumberKind.DATE if format_id in _BUILTIN_DATES else NumberKind.NUMBER
    seen: set[str] = set()
    for token in _FORMAT_TOKEN.finditer(code):
        name, text = token.lastgroup, token.group()
        if name == "end":
            break
        if name == "elapsed" and not seen:
            return NumberKind.DURATION
        if name in ("date", "time", "month_or_minute"):
            seen.add(name)
        elif name == "ampm" and text[1:] in tuple("pPmM/"):
            seen.add("time")
    if not seen:
        return NumberKind.NUMBER
    # An m beside hours or seconds means minutes; alone it means a month.
    return NumberKind.TIME if "time" in seen and "date" not in seen else NumberKind.DATE
