"""dba.timportcolumn: what is checked and changed in a column, as expressions that PostgreSQL evaluates on a staging table.

A rule reads a text column of the staging table. `value` is what goes into the target table,
`fault` is NULL or the reason why the text cannot. Casts stand behind the checks that make them
safe, inside CASE, which PostgreSQL evaluates in order.
"""

import re
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, NamedTuple

from systemscripts.importing.config import ConfigurationError, ImportConfig

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection
    from psycopg2.sql import Composable

_TYPES = {"text": "text", "integer": "bigint", "numeric": "numeric", "date": "date", "boolean": "boolean"}
_BLANKS = " \t\r\n\v\f\u00a0"
_INTEGER = "^[+-]?[0-9]{1,30}$"
_NUMERIC = "^[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]{1,3})?$"
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
        return self.target_name or self.column_name

    @property
    def sql_type(self) -> str:
        """Return the type that the target column is made with."""
        return _TYPES[self.data_type]

    def text(self, column: "Composable") -> "Composable":
        """Return the field as the checks see it: trimmed, empty text and the null words as NULL."""
        from psycopg2.sql import SQL, Literal

        text = SQL("btrim({}, {})").format(column, Literal(_BLANKS)) if self.is_trimmed else column
        words = ["", *self.null_words]
        return SQL("CASE WHEN {text} = ANY ({words}::text[]) THEN NULL ELSE {text} END").format(
            text=text, words=Literal(words)
        )

    def value(self, text: "Composable") -> "Composable":
        """Return the checked text as a value of the column's type."""
        from psycopg2.sql import SQL, Literal

        if self.data_type == "date":
            return SQL("make_date({}, {}, {})").format(*self._date_parts(text))
        if self.data_type == "boolean":
            return SQL("lower({}) = ANY ({}::text[])").format(text, Literal(_TRUE))
        return SQL("{}::" + self.sql_type).format(text) if self.data_type != "text" else text

    def fault(self, text: "Composable") -> "Composable":
        """Return the reason why the text cannot be loaded, NULL where it can."""
        from psycopg2.sql import SQL, Literal

        checks = [*self._checks(text)]
        cases = SQL(" ").join(SQL("WHEN NOT ({}) THEN {}").format(check, Literal(reason)) for check, reason in checks)
        missing = SQL("{}").format(Literal("it is empty, and a value is required")) if self.is_required else SQL("NULL")
        return SQL("CASE WHEN {text} IS NULL THEN {missing} {cases} END").format(
            text=text, missing=missing, cases=cases
        )

    def _checks(self, text: "Composable") -> "list[tuple[Composable, str]]":
        """Return (condition, what is wrong where it does not hold), in the order in which they may be evaluated."""
        from psycopg2.sql import SQL, Literal

        checks: list[tuple[Composable, str]] = []
        if self.pattern is not None:
            expression = Literal(f"^(?:{self.pattern})$")
            checks.append((SQL("{} ~ {}").format(text, expression), f"it does not match {self.pattern}"))
        if self.data_type == "integer":
            whole = SQL(
                "CASE WHEN {0} ~ {1} THEN {0}::numeric BETWEEN -9223372036854775808 AND 9223372036854775807 ELSE false END"
            )
            checks.append((whole.format(text, Literal(_INTEGER)), "it is no whole number"))
        elif self.data_type == "numeric":
            checks.append((SQL("{} ~ {}").format(text, Literal(_NUMERIC)), "it is no number"))
        elif self.data_type == "date":
            checks.append((self._is_date(text), f"it is no date of the form {self._date_format}"))
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

    def _date_parts(self, text: "Composable") -> "list[Composable]":
        """Return year, month and day as integers; each part has its fixed place in the text."""
        from psycopg2.sql import SQL, Literal

        places = [(self._date_format.index(part) + 1, len(part)) for part in ("yyyy", "MM", "dd")]
        return [
            SQL("substr({}, {}, {})::integer").format(text, Literal(place), Literal(length)) for place, length in places
        ]

    def _is_date(self, text: "Composable") -> "Composable":
        from psycopg2.sql import SQL, Literal

        digits = re.sub("yyyy|MM|dd", lambda part: f"[0-9]{{{len(part[0])}}}", re.escape(self._date_format))
        year, month, day = self._date_parts(text)
        return SQL(
            "CASE WHEN NOT {text} ~ {digits} THEN false"
            " WHEN {year} < 1 OR NOT {month} BETWEEN 1 AND 12 OR {day} < 1 THEN false"
            " ELSE {day} <= date_part('day', make_date({year}, {month}, 1) + interval '1 month' - interval '1 day') END"
        ).format(text=text, digits=Literal(f"^{digits}$"), year=year, month=month, day=day)


def load_rules(connection: "Connection", config: ImportConfig) -> dict[str, ColumnRule]:
    """Return the configuration's rules by the column's name.

    Raises ConfigurationError for one that cannot be meant.
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
    return {rule.column_name: rule for rule in rules}


def _check_pattern(cursor: "object", config: ImportConfig, rule: ColumnRule) -> None:
    import psycopg2

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
    for limit in (rule.minimum, rule.maximum):
        try:
            if limit is not None and rule.data_type == "date":
                date.fromisoformat(limit)
            elif limit is not None:
                Decimal(limit)
        except (ValueError, InvalidOperation):
            raise ConfigurationError(f"{where}: the limit {limit!r} is no {rule.data_type}") from None
