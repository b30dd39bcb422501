"""Read one Parquet file in a separate process with limits, because its reader, pyarrow, gets untrusted bytes.

Called by `parquet` as `python -m systemscripts.importing.parquet_child REQUEST`: the file is standard input, the CSV goes
to the handle that the request names, and one JSON object on standard output has {"rows": …} or {"refused": why}.
"""

import csv
import errno
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pyarrow
import pyarrow.parquet
from pyarrow import types

from systemscripts.limited_child import limit_this_process

Texts = list[str | None]
Converter = Callable[[pyarrow.Array], Texts]

BATCH_RECORDS = 5_000

_DAMAGED = "it is damaged, or not of the usual kind: it cannot be read as a Parquet file; ask the sender for it again"


class Refused(Exception):
    """The file cannot be read; the message says why."""


def main() -> None:
    request = json.loads(sys.argv[1])
    limit_this_process(request["memory_mb"], request["seconds"], request["max_mb"] << 20)
    # The output of libraries must not get into the answer.
    answer, sys.stdout = sys.stdout, sys.stderr
    json.dump(answer_to(request), answer)
    answer.flush()
    os._exit(0)  # what a refused file has left in buffers must not be written


def answer_to(request: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"rows": _convert(request["output"])}
    except Refused as refusal:
        return {"refused": str(refusal)}
    except Exception as error:  # noqa: BLE001 — readers raise anything on damaged files
        if isinstance(error, MemoryError) or type(error).__name__ == "ArrowMemoryError":
            return {
                "refused": f"reading it takes more than {request['memory_mb']:,} MiB of memory (ETL_SPREADSHEET_MEMORY_MB)"
            }
        if isinstance(error, OSError) and error.errno == errno.EFBIG:
            return {
                "refused": f"unpacked it is more than {request['max_mb']:,} MiB; look at the file before you raise ETL_UNPACKED_MAX_MB"
            }
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            return {"unwritten": str(error)}
        return {"refused": _DAMAGED}


def _convert(handle: int) -> int:
    """Write the records as CSV to the handle, and return how many there are."""
    pyarrow.set_cpu_count(1)
    with open(0, "rb", closefd=False) as source:
        # Small buffers, so that the memory does not grow with the row groups.
        file = pyarrow.parquet.ParquetFile(
            source, buffer_size=1 << 20, pre_buffer=False, page_checksum_verification=True
        )
        schema = file.schema_arrow
        converters = [_converter_of(field) for field in schema]
        with open(handle, "w", encoding="utf-8", newline="", buffering=1 << 20, closefd=False) as output:
            writer = csv.writer(output, lineterminator="\n")
            writer.writerow(schema.names)
            rows = 0
            for batch in file.iter_batches(BATCH_RECORDS, use_threads=False):
                columns = [convert(column) for convert, column in zip(converters, batch.columns, strict=True)]
                writer.writerows(zip(*columns, strict=True))
                rows += batch.num_rows
    return rows


def _converter_of(field: pyarrow.Field) -> Converter:
    """Return what makes exact texts of a column's values, None of missing ones; raises Refused for a kind that has none."""
    kind, name = field.type, field.name
    if types.is_dictionary(kind):
        inner = _converter_of(pyarrow.field(name, kind.value_type))
        return lambda column: inner(column.dictionary_decode())
    if types.is_nested(kind):
        raise Refused(
            f"its column {name!r} holds lists or records ({kind}), and a table takes single values; ask for a flat file"
        )
    for are_of_kind, convert in _CONVERTERS:
        if any(is_of_kind(kind) for is_of_kind in are_of_kind):
            return partial(convert, name)
    raise Refused(f"its column {name!r} is of the kind {kind}, which has no usual text; ask for it as a text")


def _plain(_name: str, column: pyarrow.Array) -> Texts:
    return column.cast("string").to_pylist()  # type: ignore[no-any-return]


def _short_floats(name: str, column: pyarrow.Array) -> Texts:
    return _plain(name, column.cast(pyarrow.float32()))


def _decimals(_name: str, column: pyarrow.Array) -> Texts:
    return [None if value is None else f"{value:f}" for value in column.to_pylist()]


def _days(name: str, column: pyarrow.Array) -> Texts:
    return _plain(name, column.cast(pyarrow.date32()))


def _times(_name: str, column: pyarrow.Array) -> Texts:
    return [_moment(text, "") for text in column.cast("string").to_pylist()]


def _moments(_name: str, column: pyarrow.Array) -> Texts:
    zone = "" if column.type.tz is None else "Z"
    in_utc = column.cast(pyarrow.int64()).cast(pyarrow.timestamp(column.type.unit))  # as they are stored
    return [_moment(text, zone) for text in in_utc.cast("string").to_pylist()]


def _moment(text: str | None, zone: str) -> str | None:
    """Return a date with a time, or a time, without the zeros at the end of its fraction."""
    if text is None:
        return None
    return (text.rstrip("0").rstrip(".") if "." in text else text) + zone


def _bytes(name: str, column: pyarrow.Array) -> Texts:
    try:
        return [None if value is None else value.decode() for value in column.to_pylist()]
    except UnicodeDecodeError:
        raise Refused(f"its column {name!r} holds bytes that are no text; ask the sender to leave it out") from None


_CONVERTERS: tuple[
    tuple[tuple[Callable[[pyarrow.DataType], bool], ...], Callable[[str, pyarrow.Array], Texts]], ...
] = (
    ((types.is_decimal,), _decimals),
    ((types.is_timestamp,), _moments),
    ((types.is_time,), _times),
    ((types.is_date64,), _days),
    ((types.is_float16,), _short_floats),
    ((types.is_binary, types.is_large_binary, types.is_fixed_size_binary), _bytes),
    ((types.is_boolean, types.is_integer, types.is_floating, types.is_date32, types.is_null), _plain),
    ((types.is_string, types.is_large_string), _plain),
)


if __name__ == "__main__":
    main()
