"""What a value of PostgreSQL becomes in a report: a number, truth value, date or time where Python has exactly that, else a text.

The driver's own types change some values without a word: a month becomes 30 days, of two equal keys of
a JSON object one is left, an array with bounds of its own loses them. The text that PostgreSQL writes
has all of it.
"""

from collections.abc import Callable
from datetime import date, datetime, time

from psycopg2 import extensions
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from systemscripts.reporting.model import ListText, MomentText

# Numbers of types that never change (src/include/catalog/pg_type.dat).
_DATE, _TIME, _TIMESTAMP, _TIMESTAMPTZ, _INTERVAL, _TIMETZ = 1082, 1083, 1114, 1184, 1186, 1266
# A type of category A is an array, or is written as one.
_ARRAYS = "SELECT array_agg(oid::int8)::text FROM pg_catalog.pg_type WHERE typcategory = 'A'"


def use_exact_types(connection: Connection) -> None:
    """Have the connection's queries give such values."""
    numbers = (extensions.INTEGER, extensions.LONGINTEGER, extensions.FLOAT, extensions.DECIMAL)
    kept = {kind for cast in (*numbers, extensions.BOOLEAN) for kind in cast.values}
    read: dict[Callable[[str], object], tuple[int, ...]] = {
        str: tuple(set(extensions.string_types) - kept),
        _moment(date.fromisoformat): (_DATE,),
        _moment(time.fromisoformat): (_TIME,),
        _moment(datetime.fromisoformat): (_TIMESTAMP, _TIMESTAMPTZ),
        MomentText: (_INTERVAL, _TIMETZ),
        ListText: _arrays(connection),
    }
    for reader, kinds in read.items():
        extensions.register_type(extensions.new_type(kinds, "REPORTED", _cast(reader)), connection)


def _arrays(connection: Connection) -> tuple[int, ...]:
    with connection.cursor() as cursor:
        cursor.execute(_ARRAYS)
        ((kinds,),) = cursor.fetchall()
    return tuple(map(int, kinds.strip("{}").split(",")))


def _cast(reader: Callable[[str], object]) -> Callable[[str | bytes | None, Cursor], object]:
    return lambda value, _cursor: reader(value) if isinstance(value, str) else None


def _moment(reader: Callable[[str], object]) -> Callable[[str], object]:
    """Return a reader that leaves what Python has not as it is: infinity, years before Christ or after 9999, 24:00."""

    def read(text: str) -> object:
        try:
            return MomentText(text) if text.startswith("24:") else reader(text)
        except ValueError:
            return MomentText(text)

    return read
