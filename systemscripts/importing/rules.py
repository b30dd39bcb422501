"""The rules of dba.timportcolumn as SQL expressions, which PostgreSQL evaluates on a staging table.

A rule reads a text column of the staging table. `text` is what the checks see, `passes` whether it
can be loaded, `fault` the reason why not, `value` what goes into the target table. Casts stand inside
CASE after the checks that make them safe, because PostgreSQL evaluates CASE in order.
"""

from typing import NamedTuple

from psycopg2.sql import SQL, Composable, Literal

from systemscripts.importing.date_forms import DateForm, date_forms, read_differently
from systemscripts.importing.header import normalised
from systemscripts.importing.number_forms import NumberForm

_TYPES = {
    "text": "text",
    "integer": "bigint",
    "numeric": "numeric",
    "date": "date",
    "timestamp": "timestamp",
    "boolean": "boolean",
}
_BLANKS = " \t\r\n\v\f\u00a0"
_TRUE, _FALSE = ("true", "t", "yes", "y", "1"), ("false", "f", "no", "n", "0")


class ColumnRule(NamedTuple):
    """One row of dba.timportcolumn; the fields are named after the table's columns."""

    column_name: str
    target_name: str | None = None
    data_type: str = "text"
    dateformat: str | None = None
    is_trimmed: bool = False
    null_words: tuple[str, ...] = ()
    is_required: bool = False
    pattern: str | None = None
    minimum: str | None = None
    maximum: str | None = None
    decimal_sign: str | None = None
    thousands_sign: str | None = None
    negative_form: str | None = None
    unit_words: tuple[str, ...] = ()
    true_words: tuple[str, ...] | None = None
    false_words: tuple[str, ...] | None = None
    year_pivot: int | None = None
    value_source: str | None = None
    value_pattern: str | None = None

    @property
    def target(self) -> str:
        return self.target_name or normalised(self.column_name)

    @property
    def sql_type(self) -> str:
        """Return the type that the target column is made with."""
        return _TYPES[self.data_type]

    def text(self, column: Composable) -> Composable:
        """Return the field as the checks see it: trimmed, empty text and the null words as NULL."""
        text = SQL("btrim({}, {})").format(column, Literal(_BLANKS)) if self.is_trimmed else column
        words = ["", *self.null_words]
        if "" in self._true_words + self._false_words:
            # An empty field is NULL in the staging table, and has a meaning here.
            text, words = SQL("coalesce({}, '')").format(text), list(self.null_words)
        return SQL("CASE WHEN {text} = ANY ({words}::text[]) THEN NULL ELSE {text} END").format(
            text=text, words=Literal(words)
        )

    def value(self, text: Composable) -> Composable:
        """Return the checked text as a value of the column's type."""
        if forms := self.date_forms:
            *first, last = [(form.fits(text), form.value(text)) for form in forms]
            whens = [SQL("WHEN {} THEN {}").format(*form) for form in first]
            return SQL("CASE {} ELSE {} END").format(SQL(" ").join(whens), last[1]) if whens else last[1]
        if self.data_type == "boolean":
            return SQL("lower({}) = ANY ({}::text[])").format(text, Literal(self._true_words))
        if self.data_type in ("integer", "numeric"):
            return SQL("{}::" + self.sql_type).format(self._number_form.plain(text))
        return text

    def value_of_stored(self, column: Composable) -> Composable:
        """Return the value of a text in the table, which was loaded before the rule or converted by it."""
        text = SQL("({})").format(self.text(column))
        if not self.date_forms or self.keeps_text:
            return self.value(text)
        return SQL("CASE WHEN {text} ~ {form} THEN {text}::" + self.sql_type + " ELSE {value} END").format(
            text=text, form=Literal("^[0-9]{4}-[0-9]{2}-[0-9]{2}( |$)"), value=self.value(text)
        )

    @property
    def keeps_text(self) -> bool:
        """Return whether a column that is still text must keep the file's text.

        A converted value, stored as text, could be read as another one by this rule: `1.234` is 1234 with a point
        before thousands.
        """
        if self.date_forms:
            return read_differently([*self.date_forms, *date_forms(self.data_type, None)]) is not None
        return self.decimal_sign == "," or self.thousands_sign == "." or self.true_words is not None

    def passes(self, text: Composable, is_read: bool = False) -> Composable:
        """Return the condition under which the text can be loaded.

        With `is_read` the statement computes `value` as well, which may fail for a text that cannot be loaded.
        """
        whether = [SQL("WHEN NOT ({}) THEN false").format(check) for check, _ in self._checks(text, is_read)]
        return SQL("CASE WHEN {} IS NULL THEN {} {} ELSE true END").format(
            text, SQL("false" if self.is_required else "true"), SQL(" ").join(whether)
        )

    def fault(self, text: Composable) -> Composable:
        """Return the reason why the text cannot be loaded, NULL where it can."""
        missing = Literal("it is empty, and a value is required") if self.is_required else SQL("NULL")
        reasons = [SQL("WHEN NOT ({}) THEN {}").format(check, why) for check, why in self._checks(text)]
        return SQL("CASE WHEN {} IS NULL THEN {} {} END").format(text, missing, SQL(" ").join(reasons))

    def _checks(self, text: Composable, is_read: bool = False) -> list[tuple[Composable, Composable]]:
        """Return pairs (condition, what is wrong if it is false), in the order of evaluation."""
        checks: list[tuple[Composable, Composable]] = []
        if self.pattern is not None:
            expression = Literal(f"^(?:{self.pattern})$")
            checks.append((SQL("{} ~ {}").format(text, expression), Literal(f"it does not match {self.pattern}")))
        if self.data_type in ("integer", "numeric"):
            checks.append((self._number_form.is_written(text), self._number_form.fault(text)))
        elif forms := self.date_forms:
            told = "of one of the forms" if len(forms) > 1 else "of the form"
            why = f"it is not a {self.data_type} {told} {' | '.join(form.spelled for form in forms)}"
            if is_read:
                check = SQL(" OR ").join(form.is_read(text) for form in forms)
            else:
                # The text is a day of the first form that it fits.
                whens = [SQL("WHEN {} THEN {}").format(form.fits(text), form.exists(text)) for form in forms]
                check = SQL("CASE {} ELSE false END").format(SQL(" ").join(whens))
            checks.append((check, Literal(why)))
        elif self.data_type == "boolean":
            known = SQL("lower({}) = ANY ({}::text[])").format(text, Literal(self._true_words + self._false_words))
            checks.append(
                (known, Literal("it is neither true nor false; true_words and false_words say which words are"))
            )
        for limit, operator, words in ((self.minimum, ">=", "less than"), (self.maximum, "<=", "more than")):
            if limit is not None:
                compared = SQL("{} " + operator + " {}::" + self.sql_type).format(self.value(text), Literal(limit))
                checks.append((compared, Literal(f"it is {words} {limit}")))
        return checks

    @property
    def date_forms(self) -> list[DateForm]:
        """Return the forms of a column of dates or times, an empty list for every other column."""
        is_dated = self.data_type in ("date", "timestamp")
        return date_forms(self.data_type, self.dateformat, self.year_pivot) if is_dated else []

    @property
    def _number_form(self) -> NumberForm:
        return NumberForm(self.data_type, self.decimal_sign, self.thousands_sign, self.negative_form, self.unit_words)

    @property
    def _true_words(self) -> list[str]:
        return [word.lower() for word in self.true_words or _TRUE]

    @property
    def _false_words(self) -> list[str]:
        return [word.lower() for word in self.false_words or _FALSE]
