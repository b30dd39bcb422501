"""Reports as Parquet: each column keeps the type of the database, whatever its rows hold; what cannot be held is refused."""

import importlib.util
import io
import json
from datetime import UTC, date, datetime, time
from decimal import Decimal

import pytest
from conftest import Installation
from needs import PYARROW, missing
from test_report_folders import folder_report, names, send, with_folder

from systemscripts import db_config
from systemscripts.reporting import attachments
from systemscripts.reporting.model import Query, ReportError
from systemscripts.reporting.queries import ReportQueries

if importlib.util.find_spec("pyarrow") is None:
    missing("pyarrow is not installed", PYARROW)

import pyarrow.parquet as pq

KINDS = """
    SELECT 1::smallint AS small, 2 AS whole, 9007199254740993 AS large, 1.1::real AS short, 0.1::float8 AS long, true AS truth,
           12345678901.25::numeric(38,2) AS money, 1.5::numeric AS some, date '2026-03-29' AS day, time '12:30:00.25' AS clock,
           timestamp '2026-03-29 02:30:00.000001' AS local, timestamptz '2026-10-25 00:30:00+00' AS moment,
           '007 ' AS text, '{"a": 1.10}'::json AS document, '{1,2}'::int[] AS list, interval '1 mon' AS span
"""
HELD = {
    "small": ("int16", 1), "whole": ("int32", 2), "large": ("int64", 9007199254740993), "short": ("float", pytest.approx(1.1)),
    "long": ("double", 0.1), "truth": ("bool", True), "money": ("decimal128(38, 2)", Decimal("12345678901.25")),
    "some": ("decimal128(38, 18)", Decimal("1.5")), "day": ("date32[day]", date(2026, 3, 29)),
    "clock": ("time64[us]", time(12, 30, 0, 250000)),
    "local": ("timestamp[us]", datetime(2026, 3, 29, 2, 30, 0, 1)),
    "moment": ("timestamp[us, tz=UTC]", datetime(2026, 10, 25, 0, 30, tzinfo=UTC)), "text": ("string", "007 "),
    "document": ("string", '{"a": 1.10}'), "list": ("string", "{1,2}"), "span": ("string", "1 mon"),
}  # fmt: skip


def made(query: str, most_rows: int = 200_000) -> bytes:
    with db_config.session(db_config.REPORT_ROLE) as connection:
        table = ReportQueries(connection).run(Query("x.parquet", query), most_rows)
    return attachments.attachment_of("x.parquet", table).content


def test_each_value_keeps_its_type_and_so_does_a_column_without_rows(etl: Installation) -> None:
    for query, rows in ((KINDS, 1), (f"{KINDS} WHERE false", 0)):
        read = pq.read_table(io.BytesIO(made(query)))
        assert {field.name: str(field.type) for field in read.schema} == {
            name: told for name, (told, _) in HELD.items()
        }
        assert read.num_rows == rows
    read = pq.read_table(io.BytesIO(made(KINDS)))
    assert read.to_pylist() == [{name: value for name, (_, value) in HELD.items()}]
    nulls = pq.read_table(io.BytesIO(made("SELECT NULL::int AS a, NULL::text AS b, NULL::numeric AS c")))
    assert nulls.to_pylist() == [{"a": None, "b": None, "c": None}]


def test_many_rows_are_groups_of_rows(etl: Installation) -> None:
    file = pq.ParquetFile(io.BytesIO(made("SELECT n, n::text AS t FROM generate_series(1, 120000) AS n")))
    assert [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)] == [
        50_000,
        50_000,
        20_000,
    ]
    assert file.read().column("n").to_pylist() == list(range(1, 120_001))


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (
            "SELECT 'infinity'::date AS day",
            r"column day cannot be written as date32\[day\] of Parquet: it has infinity; cast it",
        ),
        ("SELECT timestamp '0044-03-15 BC' AS day", "0044-03-15 00:00:00 BC"),
        ("SELECT 'NaN'::numeric AS n", "it has NaN; cast it in the query, such as n::numeric"),
        ("SELECT 1e30::numeric AS n", "column n cannot be written as decimal128"),
        ("SELECT 1e-30::numeric AS n", "column n cannot be written as decimal128"),
        ("SELECT 1 AS a, 2 AS a", "two columns are called a"),
    ],
)
def test_what_a_type_cannot_hold_is_refused_with_the_column(etl: Installation, query: str, words: str) -> None:
    with pytest.raises(ReportError, match=words):
        made(query)


def test_any_query_becomes_a_parquet_file_in_a_folder(etl: Installation) -> None:
    outgoing = with_folder(etl)
    files = [{"name": "moments_{timestamp}.parquet", "query": "SELECT n FROM public.tmoment"}]
    report = folder_report(etl, attachmentqueries=json.dumps(files))
    assert send(etl, report).returncode == 0
    (name,) = names(outgoing)
    assert pq.read_table(outgoing / name).to_pylist() == [{"n": 1}]


def test_without_its_package_one_sentence_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(
        ReportError, match=r"'x\.parquet' is a Parquet file, .* not installed; type: .*-r .*requirements-parquet\.txt"
    ):
        attachments.file_names((Query("x.parquet", "SELECT 1"),), {})
