"""How a column writes its dates and times: forms such as `dd.MM.yyyy | d.M.yy`, and their reading in SQL."""

import re
from collections.abc import Iterator
from datetime import datetime
from itertools import permutations, product
from typing import NamedTuple

from psycopg2.sql import SQL, Composable, Literal

# English only: names in the machine's language would make one file mean two things.
_MONTHS = ("January", "February", "March", "April", "May", "June",
           "July", "August", "September", "October", "November", "December")  # fmt: skip
_SHORT_MONTHS = tuple(month[:3] for month in _MONTHS)

# The unit of each part, and a regular expression that PostgreSQL and Python read alike.
_PARTS = {
    "yyyy": ("year", "[0-9]{4}"),
    "yy": ("year", "[0-9]{2}"),
    "MMMM": ("month", "|".join(_MONTHS)),
    "MMM": ("month", "|".join(_SHORT_MONTHS)),
    "MM": ("month", "0[1-9]|1[0-2]"),
    "M": ("month", "0?[1-9]|1[0-2]"),
    "dd": ("day", "0[1-9]|[12][0-9]|3[01]"),
    "d": ("day", "0?[1-9]|[12][0-9]|3[01]"),
    "HH": ("hour", "[01][0-9]|2[0-3]"),
    "H": ("hour", "[01]?[0-9]|2[0-3]"),
    "h": ("hour", "0?[1-9]|1[0-2]"),
    "a": ("half", "am|pm"),
    "mm": ("minute", "[0-5][0-9]"),
    "ss": ("second", "[0-5][0-9]"),
    "S": ("fraction", "[0-9]{1,6}"),
}
# Each letter of these stands for one digit, so that they have a fixed place in the text.
_FIXED = {"yyyy", "yy", "MM", "dd", "HH", "mm", "ss"}
_TOKENS = {"date": "yyyy|yy|MMMM|MMM|MM|M|dd|d", "timestamp": "|".join(_PARTS)}
_LETTERS = {"date": "yMd", "timestamp": "yMdHhmsSa"}
_ISO = {"date": "yyyy-MM-dd", "timestamp": "yyyy-MM-dd HH:mm:ss"}
# PostgreSQL reads these correctly with every DateStyle.
_READ_BY_POSTGRES = ("yyyy-MM-dd", "yyyyMMdd", "yyyy-MM-dd HH:mm:ss", "yyyy-MM-ddTHH:mm:ss")
# Enough of them to find a text that two forms read differently; May is a long and a short name.
_MOMENTS = [
    datetime(year, month, day, hour, 2, 3, 400_000)  # noqa: DTZ001 — these texts have no zone
    for year, month, day, hour in product((2012, 2001, 2003, 2010, 1910), (1, 5, 10, 12), (1, 3, 10, 12, 20), (1, 13))
]


class DateForm(NamedTuple):
    """One form; `pieces` are literals and parts in turn, as in `("", "dd", ".", "MM", ".", "yyyy", "")`."""

    spelled: str
    data_type: str
    pieces: tuple[str, ...]
    year_pivot: int | None

    def problem(self) -> str | None:
        """Return what is wrong with the form, None if nothing is."""
        parts, literals, letters = self._parts, "".join(self.pieces[::2]), _LETTERS[self.data_type]
        units = [_PARTS[part][0] for part in parts]
        neighbours = list(zip(parts, self.pieces[2:-1:2], parts[1:], strict=False))
        problems = {
            "must have yyyy or yy, MM or M or MMM or MMMM, and dd or d, and no part twice": (
                len(set(units)) < len(units) or not {"year", "month", "day"} <= set(units)
            ),
            f"may have no digits and no more of {', '.join(letters[:-1])} and {letters[-1]}": (
                re.search(f"[0-9{letters}]", literals)
            ),
            "must have h and a (am or pm) together, and S (the digits of a fraction) after ss and a sign": (
                ("h" in parts) != ("a" in parts) or ("S" in parts and not re.search(r"ss\WS", self.spelled))
            ),
            "must have a sign between two parts, unless all parts have a fixed number of digits": (
                not self._is_fixed
                and any(not (between or (one in _FIXED and other == "a")) for one, between, other in neighbours)
            ),
            "may have no letters besides its parts where MMM, MMMM or a is one of them": (
                self._has_words and re.search("[a-zA-Z]", literals)
            ),
            "has years of two digits: set year_pivot; with 50, 00 to 50 are 2000 to 2050, and 51 to 99 are 1951 to 1999": (
                "yy" in parts and self.year_pivot is None
            ),
        }
        return next((told for told, is_so in problems.items() if is_so), None)

    def fits(self, text: Composable) -> Composable:
        """Return the condition that the text looks like this form; `exists` then says whether there is such a day."""
        if self._is_counted:
            # Measured: a regular expression takes three times as long as translating the digits.
            shape = "".join("0" * len(piece) if place % 2 else piece for place, piece in enumerate(self.pieces))
            return SQL("translate({}, '123456789', '000000000') = {}").format(text, Literal(shape))
        return SQL("{} ~ {}").format(text, Literal(self._expression))

    def exists(self, text: Composable) -> Composable:
        """Return whether a text that fits names a day; only days 29 to 31 need the calendar."""
        year, month, day = (self._part(text, unit) for unit in ("year", "month", "day"))
        wrong = SQL("{} = '0000'").format(year)
        if self._is_counted:
            wrong = SQL("{} OR {} NOT BETWEEN '01' AND '12' OR {} NOT BETWEEN '01' AND '31'").format(wrong, month, day)
        return SQL(
            "CASE WHEN {wrong} THEN false WHEN {early} THEN true ELSE {day}::integer <="
            " date_part('day', make_date({year}, {month}, 1) + interval '1 month' - interval '1 day') END"
        ).format(
            wrong=wrong,
            early=SQL("{} <= '28'" if "dd" in self._parts else "{}::integer <= 28").format(day),
            day=day,
            year=self._number(text, "year"),
            month=self._number(text, "month"),
        )

    def is_read(self, text: Composable) -> Composable:
        """Return the condition that the text fits, for where `value` is computed with it: that fails for a day that does not exist."""
        if self.spelled == _ISO[self.data_type]:
            # Measured: to write the value and compare it takes half the time of `fits`. `infinity` has another length.
            shape = re.sub("[a-zA-Z]", "_", self.spelled)
            return SQL("{text} LIKE {shape} AND {text}::{type}::text = {text}").format(
                text=text, shape=Literal(shape), type=SQL(self.data_type)
            )
        return self.fits(text)

    def value(self, text: Composable) -> Composable:
        """Return a text that fits as a value."""
        if self.spelled in _READ_BY_POSTGRES:
            return SQL("{}::" + self.data_type).format(text)
        units = ("year", "month", "day", *(("hour", "minute", "second") if self.data_type == "timestamp" else ()))
        function = SQL("make_date({})" if self.data_type == "date" else "make_timestamp({})")
        return function.format(SQL(", ").join(self._number(text, unit) for unit in units))

    def texts(self) -> Iterator[str]:
        """Yield texts of this form, with and without zeros where both are read."""
        for moment in _MOMENTS:
            written = {
                "yyyy": [f"{moment:%Y}"], "yy": [f"{moment:%y}"], "MM": [f"{moment:%m}"], "dd": [f"{moment:%d}"],
                "M": [f"{moment.month}", f"{moment:%m}"], "d": [f"{moment.day}", f"{moment:%d}"],
                "MMM": [_SHORT_MONTHS[moment.month - 1]], "MMMM": [_MONTHS[moment.month - 1]],
                "HH": [f"{moment:%H}"], "H": [f"{moment.hour}", f"{moment:%H}"], "h": [f"{moment.hour % 12}"],
                "a": ["pm" if moment.hour > 11 else "am"], "mm": ["02"], "ss": ["03"], "S": ["4"],
            }  # fmt: skip
            pieces = [written[piece] if place % 2 else [piece] for place, piece in enumerate(self.pieces)]
            yield from map("".join, product(*pieces))

    def said_by(self, text: str) -> dict[str, str] | None:
        """Return the units in the text, without leading zeros; None if it has another form."""
        found = re.fullmatch(self._expression, text)
        values = found.groups() if found else ()
        return {_PARTS[part][0]: value.lstrip("0") for part, value in zip(self._parts, values, strict=False)} or None

    @property
    def _parts(self) -> tuple[str, ...]:
        return self.pieces[1::2]

    @property
    def _is_fixed(self) -> bool:
        return set(self._parts) <= _FIXED

    @property
    def _has_words(self) -> bool:
        return not {"MMM", "MMMM", "a"}.isdisjoint(self._parts)

    @property
    def _is_counted(self) -> bool:
        """Return whether a text is checked by its number of digits and literals."""
        return self._is_fixed and self.data_type == "date"

    @property
    def _expression(self) -> str:
        groups = [f"({_PARTS[piece][1]})" if place % 2 else re.escape(piece) for place, piece in enumerate(self.pieces)]
        return ("(?i)" if self._has_words else "") + f"^{''.join(groups)}$"

    def _part(self, text: Composable, unit: str) -> Composable:
        """Return the part of a text that fits, as a text."""
        index = [_PARTS[part][0] for part in self._parts].index(unit)
        if self._is_fixed:
            place = len("".join(self.pieces[: 2 * index + 1])) + 1
            return SQL("substr({}, {}, {})").format(text, Literal(place), Literal(len(self._parts[index])))
        # Measured: regexp_match takes fifteen times as long as splitting at the literals, which stand in no part.
        signs = "".join(self.pieces[::2])
        before = len("".join(self.pieces[: 2 * index + 1 : 2]))
        found = SQL("split_part(translate({}, {}, {}), {}, {})").format(
            text, Literal(signs), Literal(signs[0] * len(signs)), Literal(signs[0]), Literal(before + 1)
        )
        if unit == "half":
            return SQL("right({}, 2)").format(found)
        is_before_half = self._parts[index + 1 : index + 2] == ("a",)
        return SQL("left({}, {})").format(found, Literal(len(self._parts[index]))) if is_before_half else found

    def _number(self, text: Composable, unit: str) -> Composable:
        """Return the value of a unit in a text that fits, 0 if the form has no such unit."""
        part = next((part for part in self._parts if _PARTS[part][0] == unit), None)
        if part is None:
            return SQL("0")
        found = self._part(text, unit)
        if part == "yy":
            century = SQL("CASE WHEN {}::integer <= {} THEN 2000 ELSE 1900 END").format(found, Literal(self.year_pivot))
            return SQL("({} + {}::integer)").format(century, found)
        if part in ("MMM", "MMMM"):
            return SQL("(position(lower(left({}, 3)) IN {}) + 2) / 3").format(
                found, Literal("".join(_SHORT_MONTHS).lower())
            )
        if part == "h":
            afternoon = SQL("CASE WHEN lower({}) = 'pm' THEN 12 ELSE 0 END").format(self._part(text, "half"))
            return SQL("({}::integer % 12 + {})").format(found, afternoon)
        if part == "ss" and "S" in self._parts:
            return SQL("({} || '.' || {})::double precision").format(found, self._part(text, "fraction"))
        return SQL("{}::integer").format(found)


def date_forms(data_type: str, dateformat: str | None, year_pivot: int | None = None) -> list[DateForm]:
    """Return the forms that a dateformat names, in their order; `problem` of each may say that it cannot be used."""
    spellings = re.split(r" *\| *", dateformat or _ISO[data_type])
    tokens = f"({_TOKENS[data_type]})"
    return [DateForm(spelled, data_type, tuple(re.split(tokens, spelled)), year_pivot) for spelled in spellings]


def read_differently(forms: list[DateForm]) -> tuple[str, str, str] | None:
    """Return a text and the spellings of two forms that read it differently; None if there is none."""
    for one, other in permutations(forms, 2):
        for text in one.texts():
            if (said := other.said_by(text)) and said != one.said_by(text):
                return text, one.spelled, other.spelled
    return None
