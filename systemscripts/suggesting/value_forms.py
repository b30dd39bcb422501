"""Tell what the values of a column could be: whole numbers, numbers, dates, truth; with the values that speak against it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date

# Codes of many digits, or with zeros in front, are texts: as numbers they would change.
LONGEST_NUMBER = 15
NULL_WORDS = {"na", "n/a", "nan", "null", "none", "-", "--", ".", "?", "#n/a", "nil", "\\n"}
_MOST_NULL_WORDS = 2

_NUMBERS = {
    "integer": (re.compile(r"[+-]?(0|[1-9]\d*)"), "", ""),
    "numeric": (re.compile(r"[+-]?(0|[1-9]\d*)(\.\d+)?"), ".", ""),
    "numeric 1,234.5": (re.compile(r"[+-]?(0|[1-9]\d{0,2}(,\d{3})*)(\.\d+)?"), ".", ","),
    "numeric 1234,5": (re.compile(r"[+-]?(0|[1-9]\d*)(,\d+)?"), ",", ""),
    "numeric 1.234,5": (re.compile(r"[+-]?(0|[1-9]\d{0,2}(\.\d{3})*)(,\d+)?"), ",", "."),
    "numeric 1'234.5": (re.compile(r"[+-]?(0|[1-9]\d{0,2}('\d{3})*)(\.\d+)?"), ".", "'"),
    "numeric 1 234,5": (re.compile(r"[+-]?(0|[1-9]\d{0,2}([ \u00a0\u202f]\d{3})*)(,\d+)?"), ",", " "),
}
_DATES = {
    "yyyy-MM-dd": (r"(?P<y>\d{4})-(?P<m>\d{2})-(?P<d>\d{2})"), "yyyy/MM/dd": (r"(?P<y>\d{4})/(?P<m>\d{2})/(?P<d>\d{2})"),
    "yyyyMMdd": (r"(?P<y>(?:19|20)\d{2})(?P<m>\d{2})(?P<d>\d{2})"), "dd.MM.yyyy": (r"(?P<d>\d{2})\.(?P<m>\d{2})\.(?P<y>\d{4})"),
    "dd/MM/yyyy": (r"(?P<d>\d{2})/(?P<m>\d{2})/(?P<y>\d{4})"), "MM/dd/yyyy": (r"(?P<m>\d{2})/(?P<d>\d{2})/(?P<y>\d{4})"),
    "dd-MM-yyyy": (r"(?P<d>\d{2})-(?P<m>\d{2})-(?P<y>\d{4})"), "MM-dd-yyyy": (r"(?P<m>\d{2})-(?P<d>\d{2})-(?P<y>\d{4})"),
}  # fmt: skip
_DATE_FORMS = {name: re.compile(form) for name, form in _DATES.items()}
WORDS = (("true", "false"), ("t", "f"), ("yes", "no"), ("y", "n"), ("ja", "nein"), ("j", "n"), ("wahr", "falsch"),
         ("oui", "non"), ("vrai", "faux"), ("sí", "no"), ("si", "no"))  # fmt: skip

_LOOSE_VALUE = re.compile(
    r"[-+(]?\s*[€$£]?\s*\d[\d.,' \u00a0\u202f]*(e[+-]?\d+)?\s*[)%€$£]?"
    r"|\d{1,4}[-./]\d{1,2}[-./]\d{1,4}([ T][\d:.]+\S*)?|\d{1,2}:\d{2}(:\d{2})?", re.IGNORECASE
)  # fmt: skip


def is_value(text: str) -> bool:
    """Return whether the text is a number, a date or a time, in whatever way it is written."""
    return _LOOSE_VALUE.fullmatch(text.strip()) is not None


def _fits_date(name: str, text: str) -> bool:
    found = _DATE_FORMS[name].fullmatch(text)
    if not found:
        return False
    try:
        return 1900 <= date(int(found["y"]), int(found["m"]), int(found["d"])).year <= 2100
    except ValueError:
        return False


def _fits(form: str, text: str) -> bool:
    if form in _DATE_FORMS:
        return _fits_date(form, text)
    return _NUMBERS[form][0].fullmatch(text) is not None and sum(map(str.isdigit, text)) <= LONGEST_NUMBER


@dataclass
class ColumnForms:
    """What is known of one column: its values so far, and which forms all of them have."""

    name: str
    filled: int = 0
    empty: int = 0
    examples: list[str] = field(default_factory=list)
    # The first value that speaks against each form, with its line.
    against: dict[str, tuple[int, str]] = field(default_factory=dict)
    fits: dict[str, int] = field(default_factory=lambda: dict.fromkeys([*_NUMBERS, *_DATE_FORMS], 0))
    words: set[str] = field(default_factory=set)
    null_words: set[str] = field(default_factory=set)

    def add(self, text: str, line: int) -> None:
        """Take one value into account."""
        if not text:
            self.empty += 1
            return
        value = text.strip()
        self.filled += 1
        if len(self.examples) < 3 and text not in self.examples:
            self.examples.append(text)
        if len(self.words) <= _MOST_NULL_WORDS + 3:
            self.words.add(value.lower())
        if value.lower() in NULL_WORDS and len(self.null_words) <= _MOST_NULL_WORDS:
            self.null_words.add(value)
            return
        for form in self.fits:
            if form not in self.against:
                if _fits(form, value):
                    self.fits[form] += 1
                else:
                    self.against[form] = (line, text)

    def offer(self) -> tuple[dict[str, object], str]:
        """Return the columns of dba.timportcolumn that the values allow, {} for text, and the reason in words."""
        if self.filled == 0:
            return {}, "all values are empty"
        if pair := next((pair for pair in WORDS if self.words <= set(pair)), None):
            words: dict[str, object] = {} if pair in WORDS[:4] else {"true_words": [pair[0]], "false_words": [pair[1]]}
            return words | {"data_type": "boolean"}, f"{self.filled} values, all {' or '.join(sorted(self.words))}"
        if len(self.null_words) > _MOST_NULL_WORDS:
            return {}, f"several words for a missing value: {', '.join(sorted(self.null_words))}"
        left = [form for form in self.fits if form not in self.against and self.fits[form]]
        offer, why = self._date_or_number(
            [form for form in left if form in _DATE_FORMS], [form for form in left if form in _NUMBERS]
        )
        if offer and self.null_words:
            offer["null_words"] = sorted(self.null_words)
        return offer, why

    def _date_or_number(self, dates: list[str], numbers: list[str]) -> tuple[dict[str, object], str]:
        if dates == ["yyyyMMdd"] and self.fits["yyyyMMdd"] < 2:
            dates = []  # any number of eight digits
        if len(dates) == 1:
            return {"data_type": "date", "dateformat": dates[0]}, f"{self.fits[dates[0]]} values, all {dates[0]}"
        if dates:
            return {}, f"dates, but {' or '.join(dates)}? set dateformat"
        if numbers:
            offer = self._number(numbers)
            return offer, f"{self.fits[numbers[0]]} values" + (
                f", all like {self.examples[0]!r}"
                if offer
                else f"; is the sign in {self.examples[0]!r} for decimals or thousands?"
            )
        return {}, self._why_text()

    def _number(self, forms: list[str]) -> dict[str, object]:
        if "integer" in forms:
            return {"data_type": "integer"}
        decimals = {_NUMBERS[form][1] for form in forms}
        if len(decimals) > 1:
            return {}
        form = forms[0]
        chosen: dict[str, object] = {"data_type": "numeric"}
        _, decimal_sign, thousands_sign = _NUMBERS[form]
        if decimal_sign != ".":
            chosen["decimal_sign"] = decimal_sign
        if thousands_sign:
            chosen["thousands_sign"] = thousands_sign
        return chosen

    def _why_text(self) -> str:
        most = max(self.fits, key=lambda form: self.fits[form])
        if self.fits[most] and most in self.against:
            line, value = self.against[most]
            return f"line {line} has {value[:40]!r}"
        return f"such as {self.examples[0][:40]!r}"


def forms_of(names: list[str], records: Iterable[tuple[int, list[str]]]) -> list[ColumnForms]:
    """Look at the values of all records, each with its line; records with another number of fields are passed over."""
    columns = [ColumnForms(name) for name in names]
    for line, fields in records:
        if len(fields) == len(columns):
            for column, text in zip(columns, fields, strict=True):
                column.add(text, line)
    return columns
