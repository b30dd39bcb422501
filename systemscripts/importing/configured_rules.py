"""Read the rules of dba.timportcolumn, and refuse those that cannot be meant."""

import re
from datetime import date, datetime
from decimal import Decimal, InvalidOperation

import psycopg2
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from systemscripts.importing.config import ConfigurationError, ImportConfig
from systemscripts.importing.date_forms import read_differently
from systemscripts.importing.header import normalised
from systemscripts.importing.rules import ColumnRule
from systemscripts.importing.table import reserved_names


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
            ColumnRule._make(tuple(value) if isinstance(value, list) else value for value in row)
            for row in cursor.fetchall()
        ]
        for rule in rules:
            _check_rule(cursor, config, rule)
    return {normalised(rule.column_name): rule for rule in rules}


def _is_limit(limit: str, data_type: str) -> bool:
    if data_type == "integer":
        return re.fullmatch("[+-]?[0-9]{1,18}", limit) is not None
    return limit.isascii() and Decimal(limit).is_finite()


def _check_rule(cursor: Cursor, config: ImportConfig, rule: ColumnRule) -> None:
    where = f"import {config.config_name}: column {rule.column_name!r}"
    try:
        if rule.pattern is not None:
            cursor.execute("SELECT '' ~ %s", (f"^(?:{rule.pattern})$",))
    except psycopg2.DataError as error:
        told = str(error).splitlines()[0]
        raise ConfigurationError(
            f"import {config.config_name}: the pattern of column {rule.column_name!r} cannot be used: {told}"
        ) from None
    if (rule.target_name or rule.value_source) and rule.target in reserved_names(config):
        raise ConfigurationError(f"{where}: {rule.target!r} is a column of the import itself; set another target_name")
    for form in rule.date_forms:
        if problem := form.problem():
            raise ConfigurationError(f"{where}: the dateformat {form.spelled!r} {problem}")
    if differing := read_differently(rule.date_forms):
        text, one, other = differing
        raise ConfigurationError(
            f"{where}: the dateformat {rule.dateformat!r} has two meanings: {text!r} is one day in the form {one}, and another "
            f"in the form {other}; leave out the form that the files do not use"
        )
    for limit in (rule.minimum, rule.maximum):
        try:
            if limit is not None and rule.data_type == "date":
                date.fromisoformat(limit)
            elif limit is not None and rule.data_type == "timestamp":
                datetime.fromisoformat(limit)
            elif limit is not None and not _is_limit(limit, rule.data_type):
                raise ValueError(limit)
        except (ValueError, InvalidOperation):
            raise ConfigurationError(f"{where}: the limit {limit!r} is no {rule.data_type}") from None
