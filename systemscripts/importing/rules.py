"""The rules of dba.timportcolumn as SQL expressions, which PostgreSQL evaluates on a staging table.

A rule reads a text column of the staging table. `text` is what the checks see, `passes` whether it
can be loaded, `fault` the reason why not, `value` what goes into the target table. Casts stand inside
CASE after the checks that make them safe, because PostgreSQL evaluates CASE in order.
"""

import re
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

import psycopg2
from psycopg2.extensions import connection as Connection
from psycopg2.sql import SQL, Composable, Literal

from systemscripts.importing.config import ConfigurationError, ImportConfig
from systemscripts.importing.header import normalised

_TYPES = {"text": "text", "integer": "bigint", "numeric": "numeric", "date": "date", "boolean": "boolean"}
_BLANKS = " \t\r\n\v\f\u00a0"
_INTEGER = "^[+-]?[0-9]+$"
_NUMERIC = "^[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]{1,3})?$"
# This form is read correctly with every DateStyle.
_READ_BY_POSTGRES = ("yyyy-MM-dd", "yyyyMMdd")
# PostgreSQL's numeric can hold longer numbers, but they are surely mistakes.
_LONGEST_NUMBER = 1_000
_TRUE, _FALSE = ["true", "t", "yes", "y", "1"], ["false", "f", "no", "n", "0"]


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
        return SQL("CASE WHEN {text} = ANY ({words}::text[]) THEN NULL ELSE {text} END").format(
            text=text, words=Literal(words)
        )

    def value(self, text: Composable) -> Composable:
        """Return the checked text as a value of the column's type."""
        if self.data_type == "date" and self._date_format not in _READ_BY_POSTGRES:
            return SQL("make_date({}, {}, {})").format(*map(SQL("{}::integer").format, self._date_parts(text)))
        if self.data_type == "boolean":
            return SQL("lower({}) = ANY ({}::text[])").format(text, Literal(_TRUE))
        return SQL("{}::" + self.sql_type).format(text) if self.data_type != "text" else text

    def value_of_stored(self, column: Composable) -> Composable:
        """Return the value of a text in the table, which was loaded before the rule or converted by it."""
        text = SQL("({})").format(self.text(column))
        if self.data_type != "date":
            return self.value(text)
        return SQL("CASE WHEN {text} ~ {form} THEN {text}::date ELSE {value} END").format(
            text=text, form=Literal("^[0-9]{4}-[0-9]{2}-[0-9]{2}$"), value=self.value(text)
        )

    def passes(self, text: Composable) -> Composable:
        """Return the condition under which the text can be loaded."""
        whether = [SQL("WHEN NOT ({}) THEN false").format(check) for check, _ in self._checks(text)]
        return SQL("CASE WHEN {} IS NULL THEN {} {} ELSE true END").format(
            text, SQL("false" if self.is_required else "true"), SQL(" ").join(whether)
        )

    def fault(self, text: Composable) -> Composable:
        """Return the reason why the text cannot be loaded, NULL where it can."""
        missing = Literal("it is empty, and a value is required") if self.is_required else SQL("NULL")
        reasons = [SQL("WHEN NOT ({}) THEN {}").format(check, Literal(why)) for check, why in self._checks(text)]
        return SQL("CASE WHEN {} IS NULL THEN {} {} END").format(text, missing, SQL(" ").join(reasons))

    def _checks(self, text: Composable) -> list[tuple[Composable, str]]:
        """Return pairs (condition, what is wrong if it is false), in the order of evaluation."""
        checks: list[tuple[Composable, str]] = []
        if self.pattern is not None:
            expression = Literal(f"^(?:{self.pattern})$")
            checks.append((SQL("{} ~ {}").format(text, expression), f"it does not match {self.pattern}"))
        if self.data_type == "integer":
            whole = SQL(
                "CASE WHEN length({0}) > 30 OR NOT {0} ~ {1} THEN false WHEN length({0}) < 19 THEN true"
                " ELSE {0}::numeric BETWEEN -9223372036854775808 AND 9223372036854775807 END"
            )
            checks.append((whole.format(text, Literal(_INTEGER)), "it is not a whole number"))
        elif self.data_type == "numeric":
            sized = SQL("length({0}) <= {1} AND {0} ~ {2}").format(text, Literal(_LONGEST_NUMBER), Literal(_NUMERIC))
            checks.append((sized, "it is not a number"))
        elif self.data_type == "date":
            checks.append((self._is_date(text), f"it is not a date of the form {self._date_format}"))
        elif self.data_type == "boolean":
            known = SQL("lower({}) = ANY ({}::text[])").format(text, Literal(_TRUE + _FALSE))
            checks.append((known, "it is neither true nor false"))
        for limit, operator, words in ((self.minimum, ">=", "less than"), (self.maximum, "<=", "more than")):
            if limit is not None:
                compared = SQL("{} " + operator + " {}::" + self.sql_type).format(self.value(text), Literal(limit))
                checks.append((compared, f"it is {words} {limit}"))
        return checks

    @property
    def _date_format(self) -> str:
        return self.dateformat or "yyyy-MM-dd"

    def _date_parts(self, text: Composable) -> list[Composable]:
        """Return year, month and day as texts; each part has a fixed place in the text."""
        places = [(self._date_format.index(part) + 1, len(part)) for part in ("yyyy", "MM", "dd")]
        return [SQL("substr({}, {}, {})").format(text, Literal(place), Literal(length)) for place, length in places]

    def _is_date(self, text: Composable) -> Composable:
        """Return whether the day exists; only days 29 to 31 need the calendar."""
        form = re.sub("[yMd]", "0", self._date_format)
        year, month, day = self._date_parts(text)
        # Measured: a regular expression takes three times as long as translating the digits.
        return SQL(
            "CASE WHEN translate({text}, '123456789', '000000000') <> {form} THEN false"
            " WHEN {year} = '0000' OR {month} NOT BETWEEN '01' AND '12' OR {day} NOT BETWEEN '01' AND '31' THEN false"
            " WHEN {day} <= '28' THEN true ELSE {day}::integer <="
            " date_part('day', make_date({year}::integer, {month}::integer, 1) + interval '1 month' - interval '1 day') END"
        ).format(text=text, form=Literal(form), year=year, month=month, day=day)


def load_rules(connection: Connection, config: ImportConfig) -> dict[str, ColumnRule]:
    """Return the configuration's rules by the column's name.

    Raises ConfigurationError for a rule that cannot be right.
    """
    names = ColumnRule._fields
    with connection, connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join(names)} FROM dba.timportcolumn WHERE config_id = %s ORDER BY importcolumnid",  # noqa: S608
            (config.config_id,),
        )
        rules = [
            ColumnRule(**{**dict(zip(names, row, strict=True)), "null_words": tuple(row[5])})
            for row in cursor.fetchall()
        ]
        for rule in rules:
            if rule.pattern is not None:
                _check_pattern(cursor, config, rule)
            _check_rule(config, rule)
    return {normalised(rule.column_name): rule for rule in rules}


def _is_limit(limit: str, data_type: str) -> bool:
    if data_type == "integer":
        return re.fullmatch("[+-]?[0-9]{1,18}", limit) is not None
    return limit.isascii() and Decimal(limit).is_finite()


def _check_pattern(cursor: "object", config: ImportConfig, rule: ColumnRule) -> None:
    try:
        cursor.execute("SELECT '' ~ %s", (f"^(?:{rule.pattern})$",))  # type: ignore[attr-defined]
    except psycopg2.DataError as error:
        told = str(error).splitlines()[0]
        raise ConfigurationError(
            f"import {config.config_name}: the pattern of column {rule.column_name!r} cannot be used: {told}"
        ) from None


def _check_rule(config: ImportConfig, rule: ColumnRule) -> None:
    where = f"import {config.config_name}: column {rule.column_name!r}"
    if rule.dateformat is not None and sorted(re.findall("yyyy|MM|dd", rule.dateformat)) != ["MM", "dd", "yyyy"]:
        raise ConfigurationError(f"{where}: the dateformat {rule.dateformat!r} must have yyyy, MM and dd, each once")
    if rule.dateformat is not None and re.search("[0-9]|[yMd]", re.sub("yyyy|MM|dd", "", rule.dateformat)):
        raise ConfigurationError(
            f"{where}: the dateformat {rule.dateformat!r} may have no digits and no more of y, M and d"
        )
    for limit in (rule.minimum, rule.maximum):
        try:
            if limit is not None and rule.data_type == "date":
                date.fromisoformat(limit)
            elif limit is not None and not _is_limit(limit, rule.data_type):
                raise ValueError(limit)
        except (ValueError, InvalidOperation):
            raise ConfigurationError(f"{where}: the limit {limit!r} is no {rule.data_type}") from None
