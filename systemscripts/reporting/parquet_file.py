"""Write a query's result as Parquet: each column has the type that it has in the database, whatever its rows hold today."""

import io
from datetime import date, datetime, time
from decimal import Decimal

import pyarrow
import pyarrow.parquet

from systemscripts.reporting.model import Kind, ReportError, Table
from systemscripts.reporting.values import exact_text

# Numbers of types that never change (src/include/catalog/pg_type.dat).
_NUMERIC = 1700
_TYPES = {
    16: (pyarrow.bool_(), bool),
    21: (pyarrow.int16(), int),
    23: (pyarrow.int32(), int),
    20: (pyarrow.int64(), int),
    700: (pyarrow.float32(), float),
    701: (pyarrow.float64(), float),
    1082: (pyarrow.date32(), date),
    1083: (pyarrow.time64("us"), time),
    1114: (pyarrow.timestamp("us"), datetime),
    1184: (pyarrow.timestamp("us", "UTC"), datetime),
}
# A numeric without digits of its own: the file must have the same type tomorrow, when other values come.
_MOST_DIGITS, _USUAL_PLACES = 38, 18
_ROWS_OF_A_GROUP = 50_000


def parquet_bytes(table: Table) -> bytes:
    """Return the table as a Parquet file; a type that Parquet does not have is a text, as PostgreSQL writes it.

    Raises ReportError that names the column for a value that its type cannot hold in Parquet, and for two equal names.
    """
    if twice := {name for name in table.columns if table.columns.count(name) > 1}:
        raise ReportError(
            f"two columns are called {min(twice)}, and a Parquet file needs a name for each: write AS in the query"
        )
    kinds = table.kinds or (Kind(0),) * len(table.columns)
    types = [_type_of(kind) for kind in kinds]
    schema = pyarrow.schema(list(zip(table.columns, types, strict=True)))
    stream = io.BytesIO()
    with pyarrow.parquet.ParquetWriter(stream, schema, compression="snappy") as writer:
        for begin in range(0, len(table.rows), _ROWS_OF_A_GROUP):
            rows = table.rows[begin : begin + _ROWS_OF_A_GROUP]
            columns = [
                _array(name, kind, type_, [row[place] for row in rows])
                for place, (name, kind, type_) in enumerate(zip(table.columns, kinds, types, strict=True))
            ]
            writer.write_table(pyarrow.Table.from_arrays(columns, schema=schema))
    return stream.getvalue()


def _type_of(kind: Kind) -> pyarrow.DataType:
    if kind.oid != _NUMERIC:
        return _TYPES.get(kind.oid, (pyarrow.string(), str))[0]
    if kind.precision is None or kind.precision > _MOST_DIGITS or not 0 <= (kind.scale or 0) <= kind.precision:
        return pyarrow.decimal128(_MOST_DIGITS, _USUAL_PLACES)
    return pyarrow.decimal128(kind.precision, kind.scale or 0)


def _array(name: str, kind: Kind, type_: pyarrow.DataType, values: list[object]) -> pyarrow.Array:
    fits = Decimal if kind.oid == _NUMERIC else _TYPES.get(kind.oid, (None, str))[1]
    if fits is str:
        return pyarrow.array([None if value is None else exact_text(value) for value in values], type_)
    held = [_held(name, type_, value, fits) for value in values]
    try:
        return pyarrow.array(held, type_)
    except (pyarrow.ArrowException, OverflowError, ValueError) as error:
        raise _refused(name, type_, str(error)) from None


def _held(name: str, type_: pyarrow.DataType, value: object, fits: type) -> object:
    if value is None or (isinstance(value, fits) and not isinstance(value, Decimal)):
        return value
    if isinstance(value, Decimal) and value.is_finite():
        return value
    raise _refused(name, type_, f"it has {exact_text(value)}")


def _refused(name: str, type_: pyarrow.DataType, why: str) -> ReportError:
    return ReportError(
        f"column {name} cannot be written as {type_} of Parquet: {why}; cast it in the query, such as {name}::numeric(20,4) "
        "for a number or ::text for anything"
    )
