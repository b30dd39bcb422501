"""Load a CSV file with a Python library: one of the tools that import_csv.py compares with. Runs in the tools' own venv.

load_with.py dlt     FILE SOCKET_DIR TABLE
load_with.py duckdb  FILE SOCKET_DIR TABLE
load_with.py pandas  FILE SOCKET_DIR TABLE
load_with.py pyarrow FILE SOCKET_DIR TABLE
"""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from pyarrow import RecordBatch, RecordBatchReader


def load_with_pandas(file: str, socket_dir: str, table: str) -> None:
    import pandas
    import sqlalchemy

    frame = pandas.read_csv(file, dtype=str, keep_default_na=False)
    schema, name = table.split(".")
    frame.to_sql(
        name,
        sqlalchemy.create_engine(f"postgresql+psycopg2://postgres@/feeds?host={socket_dir}"),
        schema=schema,
        index=False,
        chunksize=10_000,
    )


def load_with_dlt(file: str, socket_dir: str, table: str) -> None:
    """By the way that is fastest: arrow tables in, CSV files to COPY out."""
    import dlt

    schema, name = table.split(".")

    @dlt.resource(name=name, write_disposition="append")
    def batches() -> "Iterator[RecordBatch]":
        yield from read_with_pyarrow(file)

    # It asks for a password, which the server does not.
    url = f"postgresql://postgres:none@{quote(socket_dir, safe='')}:5432/feeds"
    pipeline = dlt.pipeline("bench", destination=dlt.destinations.postgres(url), dataset_name=schema)
    pipeline.run(batches(), loader_file_format="csv").raise_on_failed_jobs()


def load_with_pyarrow(file: str, socket_dir: str, table: str) -> None:
    ingest(read_with_pyarrow(file), socket_dir, table)


def load_with_duckdb(file: str, socket_dir: str, table: str) -> None:
    import duckdb

    found = duckdb.connect().from_csv_auto(file, header=True, all_varchar=True)
    ingest(found.fetch_arrow_reader(100_000), socket_dir, table)


def read_with_pyarrow(file: str) -> "RecordBatchReader":
    from pyarrow import csv, string

    with open(file, encoding="utf-8") as stream:
        header = stream.readline().strip().split(",")
    as_text = csv.ConvertOptions(column_types=dict.fromkeys(header, string()))
    with_breaks = csv.ParseOptions(newlines_in_values=True)
    return csv.open_csv(file, parse_options=with_breaks, convert_options=as_text)


def ingest(batches: "RecordBatchReader", socket_dir: str, table: str) -> None:
    """Load Arrow's batches by ADBC, which sends them by a binary COPY."""
    from adbc_driver_postgresql import dbapi

    schema, name = table.split(".")
    with dbapi.connect(f"postgresql://postgres@/feeds?host={socket_dir}") as connection, connection.cursor() as cursor:
        cursor.adbc_ingest(name, batches, mode="create", db_schema_name=schema)
        connection.commit()


if __name__ == "__main__":
    tool, *arguments = sys.argv[1:]
    by_name = {
        "dlt": load_with_dlt, "duckdb": load_with_duckdb, "pandas": load_with_pandas, "pyarrow": load_with_pyarrow,
    }  # fmt: skip
    by_name[tool](*arguments)
