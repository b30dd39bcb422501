"""Parquet: each value arrives as its exact text, whatever its kind; what has no such text refuses the file."""

import datetime
import importlib.util
import io
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from conftest import Installation
from needs import PYARROW, missing
from test_generic_import import add_import, drop_file, loaded, run

from systemscripts.importing import parquet
from systemscripts.importing.config import ConfigurationError

if importlib.util.find_spec("pyarrow") is None:
    missing("pyarrow is not installed", PYARROW)

import pyarrow as pa
import pyarrow.parquet as pq

DAY, MOMENT = datetime.date(2026, 11, 27), datetime.datetime(2026, 11, 27, 9, 5, 3, 250000)
KINDS: dict[str, tuple[Any, list[Any], list[str | None]]] = {
    "texts": (pa.string(), ["007", "é\n\"x\", ", "", None, "NA"], ["007", "é\n\"x\", ", None, None, "NA"]),
    "long texts": (pa.large_string(), ["x" * 70_000], ["x" * 70_000]),
    "words that come often": (pa.dictionary(pa.int8(), pa.string()), ["a", "b", None, "a"], ["a", "b", None, "a"]),
    "texts that are not marked as such": (pa.binary(), ["é".encode(), None], ["é", None]),
    "whole numbers": (pa.int64(), [-(2**63), 0, None, 2**63 - 1], [str(-(2**63)), "0", None, str(2**63 - 1)]),
    "whole numbers without a sign": (pa.uint64(), [2**64 - 1], [str(2**64 - 1)]),
    "floats": (pa.float64(), [0.1, 1.0, 1 / 3, None], ["0.1", "1", "0.3333333333333333", None]),
    "short floats": (pa.float32(), [0.1, 16777216.0], ["0.1", "16777216"]),
    "decimals": (
        pa.decimal128(38, 10), [Decimal("1.1000000000"), Decimal("0E-10"), Decimal("1E-10"), None],
        ["1.1000000000", "0.0000000000", "0.0000000001", None],
    ),
    "decimals that are very long": (pa.decimal256(76, 2), [Decimal("9" * 60 + ".25")], ["9" * 60 + ".25"]),
    "truths": (pa.bool_(), [True, False, None], ["true", "false", None]),
    "days": (pa.date32(), [DAY, datetime.date(1, 1, 1), None], ["2026-11-27", "0001-01-01", None]),
    "days in milliseconds": (pa.date64(), [DAY], ["2026-11-27"]),
    "times": (pa.time64("us"), [MOMENT.time(), datetime.time(0)], ["09:05:03.25", "00:00:00"]),
    "moments": (pa.timestamp("us"), [MOMENT, MOMENT.replace(microsecond=0)], ["2026-11-27 09:05:03.25", "2026-11-27 09:05:03"]),
    "moments to the nanosecond": (pa.timestamp("ns"), [1_000_000_001], ["1970-01-01 00:00:01.000000001"]),
    "moments of a zone": (
        pa.timestamp("ms", tz="Europe/Berlin"), [MOMENT.replace(tzinfo=datetime.UTC), None], ["2026-11-27 09:05:03.25Z", None],
    ),
    "nothing": (pa.null(), [None, None], [None, None]),
}  # fmt: skip


def made(table: pa.Table, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(("kind", "values", "texts"), KINDS.values(), ids=KINDS)
def test_a_value_of_any_kind_is_its_exact_text(
    etl: Installation, kind: Any, values: list[Any], texts: list[Any]
) -> None:
    add_import(etl, file_type="PARQUET")
    numbers = list(range(len(values)))
    drop_file(etl, made(pa.table({"Start-Date": pa.array(values, kind), "n": numbers})))
    (outcome,) = run(dry_run=True).files
    assert (outcome.status, outcome.rows) == ("Would load", len(values)), outcome.detail
    assert "(PARQUET)" in outcome.detail
    assert run().counts() == {"Loaded": 1}
    assert loaded(etl, "start_date, n") == [(text, str(number)) for text, number in zip(texts, numbers, strict=True)]


def test_a_column_alone_keeps_its_empty_records(etl: Installation) -> None:
    add_import(etl, file_type="PARQUET")
    drop_file(etl, made(pa.table({"a": ["x", None, "y"]})))
    assert run().counts() == {"Loaded": 1}
    assert loaded(etl, "a") == [("x",), (None,), ("y",)]


def test_a_file_without_records_is_empty(etl: Installation) -> None:
    add_import(etl, file_type="PARQUET")
    drop_file(etl, made(pa.table({"a": pa.array([], pa.string())})))
    assert run().counts() == {"Empty": 1}


@pytest.mark.parametrize("kind", ["zstd", "snappy", "gzip", "brotli", "lz4", "none"])
def test_row_groups_and_ways_of_compression_do_not_matter(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"a": [f"text {number % 7}" for number in range(20_001)], "b": range(20_001)})
    path.write_bytes(made(table, compression=kind, row_group_size=3_000))
    with (tmp_path / "a.csv").open("wb") as output:
        parquet.convert(path, CONFIG, output)
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines == ["a,b", *(f"text {number % 7},{number}" for number in range(20_001))]


CONFIG: Any = type("Config", (), {"config_name": "clients"})()

REFUSED: dict[str, tuple[bytes, str]] = {
    "a list": (made(pa.table({"tags": [["a"]]})), "its column 'tags' holds lists or records (list<"),
    "a record": (made(pa.table({"who": [{"name": "a"}]})), "its column 'who' holds lists or records (struct<"),
    "a duration": (made(pa.table({"d": pa.array([1], pa.duration("s"))})), "its column 'd' is of the kind duration[s]"),
    "bytes": (made(pa.table({"b": [b"\xff\xfe"]})), "its column 'b' holds bytes that are no text"),
    "a file that is cut off": (made(pa.table({"a": range(1000)}))[:-30], "it cannot be read as a Parquet file"),
    "a bit that fell over": (
        made(pa.table({"a": ["the text of the first record"]}), write_page_checksum=True, compression="none").replace(
            b"the text", b"tha text"
        ),
        "it cannot be read as a Parquet file",
    ),
    "a text": (b"a,b\n1,2\n", "it is no Parquet file"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "told"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_exact_text_or_is_no_parquet_is_refused_in_one_sentence(
    etl: Installation, content: bytes, told: str
) -> None:
    add_import(etl, file_type="PARQUET")
    drop_file(etl, content)
    (outcome,) = run().files
    assert outcome.status == "Failed"
    assert told in outcome.detail


@pytest.mark.parametrize("file_type", ["CSV", "XLSX", "JSON"])
def test_under_another_file_type_the_right_one_is_told(etl: Installation, file_type: str) -> None:
    add_import(etl, file_type=file_type)
    drop_file(etl, made(pa.table({"a": [1]})))
    assert "it is a Parquet file; set file_type to PARQUET" in run().files[0].detail


def test_a_text_that_begins_with_the_same_letters_is_a_text(etl: Installation) -> None:
    add_import(etl)
    drop_file(etl, "PAR1,b\nx,1\n")
    assert run().counts() == {"Loaded": 1}


def test_a_small_file_of_endless_rows_is_stopped_by_the_limit(
    etl: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETL_UNPACKED_MAX_MB", "1")
    add_import(etl, file_type="PARQUET")
    drop_file(etl, made(pa.table({"a": pa.array(["x" * 100] * 100_000)})))
    assert "more than 1 MiB; look at the file before you raise ETL_UNPACKED_MAX_MB" in run().files[0].detail


def test_without_the_package_the_import_stops_with_the_command_that_installs_it(
    etl: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet.importlib.util, "find_spec", lambda _name: None)
    add_import(etl, file_type="PARQUET")
    path = drop_file(etl, made(pa.table({"a": [1]})))
    with pytest.raises(
        ConfigurationError, match=r"pyarrow, which is not installed; type: .* -r .*requirements-parquet\.txt$"
    ):
        run()
    assert path.exists()


def test_it_is_proposed_as_what_it_is(etl: Installation, tmp_path: Path) -> None:
    path = tmp_path / "sales_20261127.parquet"
    path.write_bytes(made(pa.table({"day": [DAY, DAY], "qty": [1, 2]})))
    told = etl.door("suggest_import.py", str(path), "--types")
    assert told.returncode == 0, told.stderr
    assert "p_file_type => 'PARQUET'" in told.stdout
    assert "date yyyy-MM-dd" in told.stdout
    assert "Would load, 2 rows" in told.stderr


@pytest.mark.slow
def test_the_memory_stays_flat_however_large_a_row_group_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETL_SPREADSHEET_MEMORY_MB", "400")
    path = tmp_path / "large.parquet"
    count = 500_000
    table = pa.table({name: [f"{name} {number * 7919 % count:030}" for number in range(count)] for name in "abcde"})
    pq.write_table(table, path, row_group_size=count, use_dictionary=False, compression="none")
    with (tmp_path / "large.csv").open("wb") as output:
        parquet.convert(path, CONFIG, output)
    assert (tmp_path / "large.csv").stat().st_size > 80_000_000
