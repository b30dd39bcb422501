"""Measure what a dataset brought, keep it in dba.tdatasetprofile, and read what the earlier ones of its label brought."""

import json
from collections.abc import Callable
from datetime import date
from typing import NamedTuple

from psycopg2.extensions import cursor as Cursor
from psycopg2.sql import SQL, Composable, Identifier, Literal

from systemscripts import prepared
from systemscripts.importing.config import ConfigurationError, ImportConfig
from systemscripts.importing.usual import Judgement, Past, Profile, judge

# Cells are counted in so many of the first rows, so that a large file takes hardly longer.
COUNTED_ROWS = 100_000
# To look for words takes ten times as long as to count, so it is done for columns that have one in so many of the first rows.
TRIED_ROWS = 1_000
# A cell that has only blanks around one of these words, in any case, says nothing. The table keeps it as it came.
_EMPTY_WORDS = ["", "-", "--", "n/a", "#n/a", "na", "nan", "null", "(null)", "none", "nil", r"\n"]
_BLANKS = " \t\r\n\f\v\u00a0\u2007\u202f\u200b\u3000\ufeff"
# How such a cell may begin, as numbers; 0 is that of a cell without a character.
_FIRST_SIGNS = sorted(
    {0, *(ord(sign) for word in _EMPTY_WORDS for sign in (word[:1] + word[:1].upper())), *map(ord, _BLANKS)}
)


def _filled(name: str) -> Composable:
    return SQL("count({})").format(Identifier(name))


def _saying_something(name: str) -> Composable:
    # The first character is looked at before, because most cells begin as none of the words does.
    return SQL(
        "count(*) FILTER (WHERE CASE WHEN ascii({cell}) = ANY ({first}) THEN NOT lower(btrim({cell}, {blanks})) = ANY ({words}) "
        "ELSE {cell} IS NOT NULL END)"
    ).format(
        cell=SQL("{}::text").format(Identifier(name)),
        first=Literal(_FIRST_SIGNS),
        blanks=Literal(_BLANKS),
        words=Literal(_EMPTY_WORDS),
    )


def _different(name: str) -> Composable:
    return SQL("count(DISTINCT {}::text)").format(Identifier(name))


def measure(
    cursor: Cursor, config: ImportConfig, table: Composable, columns: list[str], datasetid: int | None, rows: int
) -> Profile:
    """Count the cells of the columns that say something, and the different values of the import's key_columns.

    `table` has the dataset's rows, or in a dry run (`datasetid` is None) those of the file alone. Raises ConfigurationError
    for a key column that the file does not fill.
    """
    keys = config.key_columns or []
    if wrong := [name for name in keys if name not in columns]:
        raise ConfigurationError(
            f"import {config.config_name}: key_columns names {wrong[0]!r}; the file has: {', '.join(columns)}"
        )
    source = _Source(table, tuple(columns), datasetid)
    doubtful = set(columns if rows <= TRIED_ROWS else _with_empty_words(cursor, source))
    asked = [(_saying_something if name in doubtful else _filled, name) for name in columns]
    asked += [(_different, name) for name in keys]
    counted, found = _counted(cursor, source, tuple(asked), COUNTED_ROWS)
    filled, distinct = found[: len(columns)], found[len(columns) :]
    return Profile(rows, counted, dict(zip(columns, filled, strict=True)), dict(zip(keys, distinct, strict=True)))


class _Source(NamedTuple):
    """The rows that are counted: those of a dataset, or, if `datasetid` is None, all of the table."""

    table: Composable
    columns: tuple[str, ...]
    datasetid: int | None


def _with_empty_words(cursor: Cursor, source: _Source) -> list[str]:
    """Return the columns that have blanks or words for nothing in their first rows."""
    columns = source.columns
    asked = tuple((form, name) for form in (_filled, _saying_something) for name in columns)
    _, found = _counted(cursor, source, asked, TRIED_ROWS)
    return [
        name
        for name, all_of_it, says in zip(columns, found[: len(columns)], found[len(columns) :], strict=True)
        if says < all_of_it
    ]


def _counted(
    cursor: Cursor, source: _Source, asked: tuple[tuple[Callable[[str], Composable], str], ...], most: int
) -> tuple[int, list[int]]:
    """Return how many rows were counted, at most so many, and the count of each form and column that is asked for."""
    of_one = source.datasetid is not None

    def statement() -> Composable:
        return SQL("SELECT count(*), ARRAY[{}] FROM (SELECT {} FROM {} {} LIMIT {}) AS first_rows").format(
            SQL(", ").join([form(name) for form, name in asked]),
            SQL(", ").join(map(Identifier, source.columns)),
            source.table,
            SQL("WHERE datasetid = $1" if of_one else ""),
            Literal(most),
        )

    if of_one:
        key = (str(source.table), source.columns, asked, most)
        prepared.execute(cursor, key, statement, "integer", (source.datasetid,))
    else:
        cursor.execute(statement())
    ((rows, found),) = cursor.fetchall()
    return rows, found


def compare(
    cursor: Cursor,
    config: ImportConfig,
    dataset: tuple[str, date],
    profile: Profile,
    tried: dict[date, Past] | None = None,
) -> Judgement:
    """Say what of a profile is not as usual for the label; `dataset` is its label and date.

    `tried` are the datasets of the files before it in a dry run; it is added if it would become active.
    """
    label, day = dataset
    cursor.execute("SELECT * FROM dba.f_earlier_datasets(%s, %s, %s)", (config.datasettype, label, day))
    past, is_month_end = {}, False
    for then, was_end, rows, counted, filled, distinct, sha256, usual_rows, released, warned, is_month_end in cursor:  # noqa: B007 — the last one is the same in each row
        past[then] = Past(then, was_end, Profile(rows, counted, filled, distinct, sha256), usual_rows, released, warned)
    past |= {then: one for then, one in (tried or {}).items() if then < day}
    judgement = judge(profile, day, is_month_end, [past[then] for then in sorted(past, reverse=True)])
    if tried is not None and not (judgement.unusual and config.when_unusual == "hold"):
        tried[day] = Past(day, is_month_end, profile, judgement.usual_rows, was_warned=bool(judgement.unusual))
    return judgement


def keep(cursor: Cursor, datasetid: int, profile: Profile, usual_rows: float | None) -> None:
    """Write the profile for the datasets to come."""
    cursor.execute(
        "INSERT INTO dba.tdatasetprofile (datasetid, row_count, counted_rows, filled, distinct_values, sha256, usual_rows)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s)",
        (datasetid, profile.rows, profile.counted, json.dumps(profile.filled), json.dumps(profile.distinct), profile.sha256, usual_rows),
    )  # fmt: skip
