"""How a column writes its numbers, and their reading in SQL.

A number is read only if its whole text has the form: `1.23` is no number where the point stands before thousands.
"""

import re
from typing import NamedTuple

from psycopg2.sql import SQL, Composable, Literal

# Each thousands_sign with the characters that count as this sign. `indian` is a comma in groups as in 12,34,567.
_THOUSANDS = {".": ".", ",": ",", "'": "'\u2019", " ": " \u00a0\u2009\u202f", "indian": ","}
_GROUPED = "[1-9][0-9]{{0,2}}(?:[{0}][0-9]{{3}})+"
_GROUPED_INDIAN = "[1-9][0-9]?(?:[{0}][0-9]{{2}})*[{0}][0-9]{{3}}"
_BLANK = "[ \u00a0\u2009\u202f]?"
# PostgreSQL's numeric can hold longer numbers, but they are surely mistakes.
_LONGEST = {"numeric": 1_000, "integer": 100}
_FAULTS = {"numeric": "it is not a number", "integer": "it is not a whole number"}


class NumberForm(NamedTuple):
    """How numbers are written; the fields are the settings of the same names in dba.timportcolumn."""

    data_type: str
    decimal_sign: str | None = None
    thousands_sign: str | None = None
    negative_form: str | None = None
    unit_words: tuple[str, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Return whether no setting is used: such a text is a number for PostgreSQL too."""
        return not any(self[1:])

    def is_written(self, text: Composable) -> Composable:
        """Return the condition that the text is a number of this form; a whole number must fit bigint."""
        if self.data_type == "numeric":
            return SQL("length({0}) <= {1} AND {2} ~ {3}").format(
                text, Literal(_LONGEST["numeric"]), self._bare(text), Literal(self._expression)
            )
        # A number of less than 19 digits fits; its other signs are not worth counting.
        return SQL(
            "CASE WHEN length({0}) > {1} OR NOT {2} ~ {3} THEN false WHEN length({0}) < 19 THEN true"
            " ELSE {4}::numeric BETWEEN -9223372036854775808 AND 9223372036854775807 END"
        ).format(text, Literal(_LONGEST["integer"]), self._bare(text), Literal(self._expression), self.plain(text))

    def plain(self, text: Composable) -> Composable:
        """Return a text of this form as PostgreSQL writes numbers."""
        if self.is_plain:
            return text
        signed = text = self._bare(text)
        if self.negative_form == "after":
            signed = SQL("CASE WHEN right({0}, 1) = '-' THEN '-' || left({0}, -1) ELSE {0} END").format(text)
        elif self.negative_form == "parentheses":
            signed = SQL("CASE WHEN left({0}, 1) = '(' THEN '-' || btrim({0}, '()') ELSE {0} END").format(text)
        return SQL("translate({}, {}, {})").format(
            signed, Literal(self._decimal + self._thousands), Literal("." if self._decimal else "")
        )

    def fault(self, text: Composable) -> Composable:
        """Return the reason why a text has not this form."""
        fault = _FAULTS[self.data_type]
        if self.is_plain:
            settings = "thousands_sign, negative_form and unit_words say how it is written"
            told = f"{fault}; {settings}" if self.data_type == "integer" else f"{fault}; decimal_sign, {settings}"
            return SQL("CASE WHEN {} ~ '[0-9]' THEN {} ELSE {} END").format(text, Literal(told), Literal(fault))
        form = {column: value for column, value in zip(self._fields[1:], self[1:], strict=True) if value}
        told = ", ".join(
            f"{column} {value!r}" if isinstance(value, str) else f"{column} {list(value)}"
            for column, value in form.items()
        )
        if not self.thousands_sign:
            return Literal(f"{fault} with {told}")
        groups = "groups of three digits" if self.thousands_sign != "indian" else "groups as in 12,34,567"
        return SQL("CASE WHEN {} ~ {} THEN {} ELSE {} END").format(
            self._bare(text),
            Literal(f"^[-+(]?[0-9{self._decimal}{self._thousands}]*[{self._thousands}][0-9{self._decimal}]*[-)]?$"),
            Literal(f"{fault} with {told}: the thousands signs do not make {groups}"),
            Literal(f"{fault} with {told}"),
        )

    @property
    def _decimal(self) -> str:
        return "" if self.data_type == "integer" else self.decimal_sign or "."

    @property
    def _thousands(self) -> str:
        return _THOUSANDS[self.thousands_sign] if self.thousands_sign else ""

    @property
    def _expression(self) -> str:
        whole = "[0-9]+"
        if self.thousands_sign:
            # The first group begins with 1 to 9: 0.123 is 123 for nobody.
            grouped = _GROUPED_INDIAN if self.thousands_sign == "indian" else _GROUPED
            whole = f"(?:{whole}|{grouped.format(self._thousands)})"
        number = whole
        if self.data_type == "numeric":
            number = f"(?:{whole}(?:[{self._decimal}][0-9]*)?|[{self._decimal}][0-9]+)(?:[eE][+-]?[0-9]{{1,3}})?"
        negative = {"after": f"|{number}-", "parentheses": f"|[(]{number}[)]"}.get(self.negative_form or "", "")
        return f"^(?:[+-]?{number}{negative})$"

    def _bare(self, text: Composable) -> Composable:
        """Return the text without one unit word at its beginning or end; a sign may stand on either side of it."""
        if not self.unit_words:
            return text
        words = "|".join(map(re.escape, self.unit_words))
        expression = rf"^([-+(]?)(?:{words}){_BLANK}|{_BLANK}(?:{words})([-)]?)$"
        return SQL(r"regexp_replace({}, {}, '\1\2')").format(text, Literal(expression))
