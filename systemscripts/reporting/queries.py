"""Run a report's queries read-only, and convert their values.

They run as etl_report in one READ ONLY, REPEATABLE READ transaction, so that a grid and the
attachment below it show the same moment. A value becomes a number, truth value, date or time if Python
can hold it exactly, else PostgreSQL's text. The driver's own types would silently change some values: a
month becomes 30 days, one of two equal keys of a JSON object is lost, and so are an array's own bounds.
"""

from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from typing import Any

import psycopg2
from psycopg2 import extensions
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from systemscripts.local_zone import machine_zone
from systemscripts.reporting.model import Kind, ListText, MomentText, Query, ReportError, Table

# Numbers of types that never change (src/include/catalog/pg_type.dat).
_DATE, _TIME, _TIMESTAMP, _TIMESTAMPTZ, _INTERVAL, _TIMETZ = 1082, 1083, 1114, 1184, 1186, 1266
# A type of category A is an array, or is written like one.
_ARRAYS = "SELECT array_agg(oid::int8)::text FROM pg_catalog.pg_type WHERE typcategory = 'A'"


def use_exact_types(connection: Connection) -> None:
    """Register the exact types for the connection's queries."""
    numbers = (extensions.INTEGER, extensions.LONGINTEGER, extensions.FLOAT, extensions.DECIMAL)
    with connection.cursor() as cursor:
        cursor.execute(_ARRAYS)
        ((arrays,),) = cursor.fetchall()
    kept = {kind for cast in (*numbers, extensions.BOOLEAN) for kind in cast.values}
    read: dict[Callable[[str], object], tuple[int, ...]] = {
        str: tuple(set(extensions.string_types) - kept),
        _moment(date.fromisoformat): (_DATE,),
        _moment(time.fromisoformat): (_TIME,),
        _moment(datetime.fromisoformat): (_TIMESTAMP, _TIMESTAMPTZ),
        MomentText: (_INTERVAL, _TIMETZ),
        ListText: tuple(map(int, arrays.strip("{}").split(","))),
    }
    for reader, kinds in read.items():
        extensions.register_type(extensions.new_type(kinds, "REPORTED", _cast(reader)), connection)


def _cast(reader: Callable[[str], object]) -> Callable[[str | bytes | None, Cursor], object]:
    return lambda value, _cursor: reader(value) if isinstance(value, str) else None


def _moment(reader: Callable[[str], object]) -> Callable[[str], object]:
    """Return a reader that keeps as text what Python cannot hold: infinity, years before 1 or after 9999, 24:00."""

    def read(text: str) -> object:
        try:
            return MomentText(text) if text.startswith("24:") else reader(text)
        except ValueError:
            return MomentText(text)

    return read


# The role has this limit, and the operator can change it there; this one is for a server that lost it.
_LIMIT_TIME = """
    SELECT set_config('statement_timeout', '5min', true) WHERE current_setting('statement_timeout') = '0'
"""

# A query then makes dates from times in the zone of the report's times and of the schedule.
# A server may be set to leave out some digits of a double.
_SET = "SELECT set_config('TimeZone', %s, true), set_config('extra_float_digits', '1', true)"

# psycopg2 would send several statements at once, even a COMMIT. plpgsql's OPEN takes only one statement
# that returns rows, and it gets the query as a value.
_OPEN = """
    DO $$
    DECLARE v_rows refcursor := 'report_rows';
    BEGIN
        OPEN v_rows NO SCROLL FOR EXECUTE current_setting('etl.report_query');
    END
    $$
"""


def _is_about_the_connection(error: psycopg2.Error) -> bool:
    return error.pgcode is None or error.pgcode.startswith(("08", "57P0"))


def _first_line(error: psycopg2.Error) -> str:
    return (error.diag.message_primary or str(error)).splitlines()[0]


class ReportQueries:
    """Run queries on a connection of etl_report that does nothing else.

    A query reads the parameter `client` as current_setting('report.client').
    """

    def __init__(self, connection: Connection, parameters: Mapping[str, str] | None = None) -> None:
        connection.rollback()
        use_exact_types(connection)
        connection.rollback()
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        self._connection = connection
        with connection.cursor() as cursor:
            cursor.execute(_LIMIT_TIME)
            zone = machine_zone()
            try:
                cursor.execute(_SET, (zone,))
            except psycopg2.errors.InvalidParameterValue:
                raise ReportError(
                    f"the database does not know {zone}, the time zone of this machine: "
                    "set TZ to a name of pg_timezone_names"
                ) from None
            for name, value in (parameters or {}).items():
                cursor.execute("SELECT set_config(%s, %s, true)", (f"report.{name}", value))

    def read(self, statement: str, values: Mapping[str, object]) -> list[tuple[Any, ...]]:
        """Return the rows of a statement of ours, as they are in the moment that all queries of the report see."""
        with self._connection.cursor() as cursor:
            try:
                cursor.execute(statement, values)
                return cursor.fetchall()
            except psycopg2.Error as error:
                if _is_about_the_connection(error):
                    raise
                raise ReportError(f"what the report needs cannot be looked up: {_first_line(error)}") from None

    def run(self, query: Query, most_rows: int) -> Table:
        """Return all rows of the query.

        Raises ReportError if PostgreSQL refuses the query (with PostgreSQL's first line), if it takes
        too long, or if it has more than `most_rows` rows. A lost connection raises psycopg2's
        OperationalError.
        """
        columns, kinds, rows = self._opened(query, most_rows)
        if not columns:
            raise ReportError(f"query {query.label} has no columns")
        if len(rows) > most_rows:
            raise ReportError(
                f"query {query.label} has more than {most_rows:,} rows, which is the limit there; add a LIMIT, or for a grid "
                "allow more by rows in emailbodyoptions"
            )
        return Table(columns, tuple(rows), kinds)

    def check(self, query: Query) -> None:
        """Raise ReportError if PostgreSQL refuses the query; no row of it is read."""
        self._opened(query, None)

    def _opened(
        self, query: Query, most_rows: int | None
    ) -> tuple[tuple[str, ...], tuple[Kind, ...], list[tuple[object, ...]]]:
        """Return the columns, their types and rows, one more row than the most; with None for it nothing is fetched."""
        columns: tuple[str, ...] = ()
        kinds: tuple[Kind, ...] = ()
        rows: list[tuple[object, ...]] = []
        with self._connection.cursor() as cursor:
            cursor.execute("SAVEPOINT before_query")
            try:
                cursor.execute("SELECT set_config('etl.report_query', %s, true)", (query.sql,))
                cursor.execute(_OPEN)
                if most_rows is not None:
                    cursor.execute("FETCH FORWARD %s FROM report_rows", (most_rows + 1,))
                    told = cursor.description or ()
                    columns, rows = tuple(column.name for column in told), cursor.fetchall()
                    kinds = tuple(Kind(column.type_code, column.precision, column.scale) for column in told)
            except psycopg2.Error as error:
                if _is_about_the_connection(error):
                    raise
                cursor.execute("ROLLBACK TO SAVEPOINT before_query")
                words = _first_line(error)
                # OPEN reports "42P11 … as cursor", which does not help the author of the query.
                reason = "it must be one single SELECT" if error.pgcode == "42P11" else words
                raise ReportError(f"query {query.label} failed: {reason}") from None
            # This also restores settings that the query changed, such as its time limit.
            cursor.execute("ROLLBACK TO SAVEPOINT before_query")
        return columns, kinds, rows
