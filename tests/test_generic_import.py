"""The import: exactly the fields of the file, all or nothing, once."""

import contextlib
import csv
import io
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from conftest import Installation, give_way
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from systemscripts import db_config
from systemscripts.errors import JobError, TemporaryFailure
from systemscripts.generic_import import ImportReport, run_import
from systemscripts.importing import load
from systemscripts.importing.config import load_config
from systemscripts.importing.files import TAKEN

TRICKY = [
    "007", "NA", "null", "NULL", "None", "nan", "1E5", "-0", "1.0", "12345678901234567890", " both sides ", "trailing  ",
    "\\.", "\\N", "\\", 'say "hi"', "a,b", "two\nlines", "two\r\nlines", "cr\rinside", "é€😀", "'", "`", "\t", "=1+1",
    "2,700 characters: " + "x" * 2_700, "\x7f\x01", "\u2028", "\ufeff",
]  # fmt: skip


def add_import(etl: Installation, name: str = "clients", **columns: Any) -> None:
    """Add a configuration for files `<name>_<yyyyMMdd>.csv` into public.t<name>."""
    values = {
        "config_name": name,
        "datasource": "MeetMax",
        "datasettype": "Metadata",
        "source_directory": str(etl.home / "file_watcher"),
        "archive_directory": str(etl.home / "archive"),
        "file_pattern": f"{name}_*.csv",
        "file_type": "CSV",
        "metadata_label_source": "static",
        "metadata_label_location": name,
        "dateconfig": "filename",
        "datelocation": "1",
        "dateformat": "yyyyMMdd",
        "delimiter": "_",
        "target_table": f"public.t{name}",
        "importstrategyid": 1,
        **columns,
    }
    names, marks = ", ".join(values), ", ".join(["%s"] * len(values))
    etl.query(f"INSERT INTO dba.timportconfig ({names}) VALUES ({marks})", *values.values())


def drop_file(etl: Installation, content: bytes | str, name: str = "clients_20260302.csv") -> Path:
    path = etl.home / "file_watcher" / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def run(name: str = "clients", **options: Any) -> ImportReport:
    with db_config.session() as connection:
        return run_import(connection, load_config(connection, name), **options)


def as_csv(rows: list[list[str]], **options: Any) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, **{"lineterminator": "\n", **options}).writerows(rows)
    return buffer.getvalue()


def loaded(etl: Installation, columns: str = "*", table: str = "public.tclients") -> list[tuple[Any, ...]]:
    return etl.query(f"SELECT {columns} FROM {table} ORDER BY {table.split('.t')[1].join(['t', 'id'])}")


def test_every_text_arrives_as_it_is(etl: Installation) -> None:
    add_import(etl)
    rows = [[text, f"{index}"] for index, text in enumerate(TRICKY)]
    drop_file(etl, as_csv([["text", "n"], *rows], quoting=csv.QUOTE_ALL))
    assert run().counts() == {"Loaded": 1}
    assert loaded(etl, "text, n") == [tuple(row) for row in rows]


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_an_empty_field_is_null_quoted_or_not_and_nothing_else_is(etl: Installation, quoting: int) -> None:
    add_import(etl)
    drop_file(etl, as_csv([["a", "b"], ["", " "], ["NULL", ""]], quoting=quoting))
    run()
    assert loaded(etl, "a, b") == [(None, " "), ("NULL", None)]


FIELD = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    TRICKY
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(1, 4).flatmap(
        lambda width: st.lists(st.lists(FIELD, min_size=width, max_size=width), min_size=1, max_size=8)
    ),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    lineterminator=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    bom=st.booleans(),
)
def test_the_table_holds_exactly_what_the_csv_module_reads(
    etl: Installation, rows: list[list[str]], delimiter: str, lineterminator: str, quoting: int, bom: bool
) -> None:
    text = as_csv(
        [[f"c{index}" for index in range(len(rows[0]))], *rows],
        delimiter=delimiter,
        lineterminator=lineterminator,
        quoting=quoting,
    )
    assert_same_as_csv_module(etl, ("\ufeff" if bom else "") + text, delimiter)


@pytest.mark.parametrize("bad", ["ragged", 'with a q"uote'], ids=["left out", "explained"])
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.lists(FIELD, min_size=2, max_size=2), min_size=1, max_size=8))
def test_the_ways_that_reject_bad_lines_are_as_exact(etl: Installation, rows: list[list[str]], bad: str) -> None:
    empty_everything(etl)
    add_import(etl, field_delimiter=",", reject_limit_percent=100)
    drop_file(etl, f"c0,c1\n{bad}\n" + as_csv(rows, quoting=csv.QUOTE_ALL) + "7,8,9\n")
    assert run().counts() == {"Loaded": 1}
    assert loaded(etl, "c0, c1") == [tuple(field or None for field in fields) for fields in rows]
    assert etl.query("SELECT original FROM dba.timportreject ORDER BY rejectid") == [(bad,), ("7,8,9",)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(["a", '",', "a", '"'])
@given(
    st.lists(st.sampled_from(['"', ",", "\n", "\r", "\r\n", "a", " ", "\\.", "\\", '""', ',"', '",', "é"]), max_size=25)
)
def test_any_bytes_load_as_the_csv_module_reads_them_or_not_at_all(etl: Installation, pieces: list[str]) -> None:
    assert_same_as_csv_module(etl, "c0,c1\n" + "".join(pieces), ",")


def empty_everything(etl: Installation) -> None:
    etl.query("DROP TABLE IF EXISTS public.tclients CASCADE")
    etl.query(
        "TRUNCATE dba.timportfile, dba.timportconfig, dba.timportdrift, dba.timportreject, dba.timportcolumn CASCADE"
    )


def assert_same_as_csv_module(etl: Installation, text: str, delimiter: str) -> None:
    """Import the text and compare the table with strict csv.

    Where csv refuses, or the rows are ragged, nothing may load. Where COPY reads otherwise, the import may ask.
    """
    empty_everything(etl)
    add_import(etl, field_delimiter=delimiter, importstrategyid=1)
    drop_file(etl, text)
    try:
        records = [
            fields
            for fields in csv.reader(
                io.StringIO(text.removeprefix("\ufeff"), newline=""), delimiter=delimiter, strict=True
            )
            if fields
        ]
    except csv.Error:
        records = []
    good = bool(records) and {len(fields) for fields in records} == {len(records[0])}
    report = run()
    counts, (outcome,) = report.counts(), report.files
    if not good:
        assert counts == {"Failed": 1}
        assert etl.value("SELECT to_regclass('public.tclients')") is None
        return
    header, *data = records
    if "a delimiter may be missing" in outcome.detail:
        assert read_by_copy(etl, text, delimiter, len(header)) != data
        assert etl.value("SELECT to_regclass('public.tclients')") is None
        return
    assert counts == ({"Loaded": 1} if data else {"Empty": 1})
    columns = ", ".join(f'"{name}"' for name in header)
    assert loaded(etl, columns) == [tuple(field or None for field in fields) for fields in data]


def read_by_copy(etl: Installation, text: str, delimiter: str, width: int) -> list[list[str]] | None:
    """Return the rows below the header as COPY reads them, None if it does not."""
    columns = [f"c{index}" for index in range(width)]
    with contextlib.closing(etl.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TEMPORARY TABLE read ({' text, '.join(columns)} text)")
        try:
            cursor.copy_expert(
                f"COPY read FROM STDIN (FORMAT csv, HEADER, DELIMITER '{delimiter}', NULL 'none', FORCE_NOT_NULL ({', '.join(columns)}))",
                io.BytesIO(text.encode()),
            )
        except psycopg2.Error:
            return None
        cursor.execute("SELECT * FROM read")
        return [list(row) for row in cursor.fetchall()]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a,b\n1,2\n3\n", "line 3: it has 1 field, and the header row has 2: '3'"),
        (b'a;b\n"1,5";2;3\n', "line 2: it has 3 fields, and the header row has 2: '\"1,5\";2;3'"),
        (b'a,b\n1,"2\n', "line 2: unexpected end of data"),
        (b"a,b\n1,x\0y\n", "line 2, column 'b': it holds a NUL byte"),
        (b"a,b\n\xc3\xa9,2\n" + b"1,2\n" * 300_000 + b"1,\x96\n", "line 300003, column 'b': byte 0x96 does not fit"),
        ("a,b\nné,ü\n".encode() + b"1,\x96\n", "line 3, column 'b': byte 0x96 does not fit"),
        (b"", "it has no header row: the file is empty"),
        (b"id;price,EUR\n1;2,50\n2;3,50\n", "its fields may be delimited by ',' or ';': set field_delimiter"),
        ("a,b\n1,2\n".encode("utf-16-le")[:-1], "line 2: its bytes do not fit utf-16-le"),
        (b"PK\x03\x04\xff\xfe" + b"\0" * 30, "its zip data cannot be unpacked"),
        (b"PK\x03\x04" + b"\xff" * 26 + b"[Content_Types].xml", "it is a spreadsheet, not delimited text"),
    ],
)
def test_what_cannot_be_right_is_set_aside_with_the_reason(etl: Installation, content: bytes, told: str) -> None:
    add_import(etl)
    drop_file(etl, content)
    report = run()
    assert report.counts() == {"Failed": 1}
    assert told in report.files[0].detail
    assert etl.value("SELECT count(*) FROM dba.tdataset") == 0
    assert etl.value("SELECT to_regclass('public.tclients')") is None
    failed = etl.home / "file_watcher/failed/clients"
    assert (failed / "clients_20260302.csv").read_bytes() == content
    assert told in (failed / "clients_20260302.csv.error.txt").read_text()
    (row,) = etl.query("SELECT status, error, archived_path FROM dba.timportfile")
    assert row[0] == "Failed"
    assert told in row[1]
    assert row[2] == str(failed / "clients_20260302.csv")


@pytest.mark.parametrize("name", ["clients_20261302.csv", "clients_2026030.csv", "clients_latest.csv"])
def test_a_date_that_cannot_be_read_fails_the_file(etl: Installation, name: str) -> None:
    add_import(etl)
    drop_file(etl, "a\n1\n", name)
    assert run().counts() == {"Failed": 1}
    assert etl.value("SELECT count(*) FROM dba.tdataset") == 0


@pytest.mark.parametrize("content", ["a,b\n", "a,b", "Invalid Event ID", "Invalid Event ID: 119243\n"])
def test_headings_only_and_a_vanished_event_are_empty_datasets(etl: Installation, content: str) -> None:
    add_import(etl)
    drop_file(etl, content)
    assert run().counts() == {"Empty": 1}
    (row,) = etl.query(
        "SELECT s.statusname, d.isactive FROM dba.tdataset d JOIN dba.tdatastatus s USING (datastatusid)"
    )
    assert row == ("Empty", False)


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        ("naam,bedrag\ncafé,€ 5\n".encode("cp1252"), "cp1252"),
        ("\ufeffnaam,bedrag\ncafé,€ 5\n".encode("utf-16-le"), "utf-16-le"),
        ("naam,bedrag\ncafé,€ 5\n".encode("utf-16-be"), "utf-16-be"),
        ("\ufeffnaam,bedrag\ncafé,€ 5\n".encode(), "utf-8"),
    ],
)
def test_the_encoding_is_detected_and_reported(etl: Installation, content: bytes, encoding: str) -> None:
    add_import(etl)
    drop_file(etl, content)
    run()
    assert loaded(etl, "naam, bedrag") == [("café", "€ 5")]
    assert etl.value("SELECT encoding FROM dba.timportfile") == encoding


HEADINGS = [
    (["Company Name", "Start-Date", " Ticker "], ["company_name", "start_date", "ticker"]),
    (["a", "A", "a"], ["a", "a.1", "a.2"]),
    (["", "b", "c", "d", ""], ["unnamed:_0", "b", "c", "d", "unnamed:_4"]),
    (["x" * 63, "y" * 64, "y" * 70], ["x" * 63, "y" * 63, "y" * 61 + ".1"]),
    (["é" * 40, "日本" * 20], ["é" * 31, "日本" * 10 + "日"]),
    (["datasetid", "tclientsid", "xmin"], ["datasetid.1", "tclientsid.1", "xmin.1"]),
    (['say "x"', "'; drop table y; --", "a;b", "%s", "\\"], ['say_"x"', "';_drop_table_y;___", "a;b", "%s", "\\"]),
    (["two\nlines", "select", "1"], ["two_lines", "select", "1"]),
]


@pytest.mark.parametrize(("headings", "columns"), HEADINGS)
def test_every_heading_becomes_a_column_of_its_own(etl: Installation, headings: list[str], columns: list[str]) -> None:
    add_import(etl)
    drop_file(etl, as_csv([headings, [f"value {number}" for number in range(len(headings))]]))
    assert run().counts() == {"Loaded": 1}
    names = etl.query(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'public.tclients'::regclass AND attnum > 2 ORDER BY attnum"
    )
    assert [name for (name,) in names] == columns
    chosen = ", ".join('"' + name.replace('"', '""') + '"' for name in columns)
    assert loaded(etl, chosen) == [tuple(f"value {number}" for number in range(len(headings)))]


@pytest.mark.parametrize("way", ["streamed", "with rules", "without bad lines", "explaining"])
def test_every_string_of_the_naughty_list_arrives_as_it_is(
    etl: Installation, corpus_dir: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    naughty = json.loads((corpus_dir / "hostile/blns.json").read_text("utf-8"))
    cells = json.loads((corpus_dir / "hostile/cells.json").read_text("utf-8"))
    texts = [text for text in [*naughty, *cells["dangerous"], *cells["must_survive"], *TRICKY] if "\0" not in text]
    add_import(
        etl, field_delimiter=",", reject_limit_percent=100 if way in ("without bad lines", "explaining") else None
    )
    if way == "with rules":
        rule = (
            "INSERT INTO dba.timportcolumn (config_id, column_name, data_type) SELECT max(config_id), '%s', 'integer'"
        )
        etl.query(f"{rule} FROM dba.timportconfig")
    ragged = {"without bad lines": "ragged\n", "explaining": 'with a q"uote\n'}.get(way, "")
    drop_file(
        etl, "%s,text\n" + ragged + as_csv([[str(n), text] for n, text in enumerate(texts)], quoting=csv.QUOTE_ALL)
    )
    assert run().counts() == {"Loaded": 1}
    assert loaded(etl, '"%s"::integer, text') == [(n, text or None) for n, text in enumerate(texts)]


def test_files_with_hostile_names_are_loaded_or_left_and_touch_nothing_else(
    etl: Installation, corpus_dir: Path
) -> None:
    names = json.loads((corpus_dir / "hostile/file_names.json").read_text("utf-8"))["names"]
    add_import(etl, file_pattern="*.csv", dateconfig="static", datelocation="2026-03-02", dateformat="yyyy-MM-dd")
    possible = [name for name in names if name not in ("", ".") and not set("/\0") & set(name)]
    for number, name in enumerate(possible):
        drop_file(etl, f"a\n{number}\n", name)
    fitting = [name for name in possible if name.endswith(".csv") and not name.startswith(".")]
    assert len(fitting) >= 15
    assert run().counts() == {"Loaded": len(fitting)}
    assert sorted(os.listdir(etl.home / "archive")) == sorted(fitting)
    assert {name for (name,) in etl.query("SELECT file_name FROM dba.timportfile")} == set(fitting)
    left = {path.name for path in (etl.home / "file_watcher").iterdir()}
    assert left == {"file_watcher_temp", ".taken", *(set(possible) - set(fitting))}


@pytest.mark.parametrize("name", ["../clients_20260302.csv", "/etc/passwd", "file_watcher_temp/clients_20260302.csv"])
def test_a_file_named_outside_of_the_directory_is_refused(etl: Installation, name: str) -> None:
    add_import(etl)
    elsewhere = etl.home / "clients_20260302.csv"
    elsewhere.write_text("a\n1\n")
    result = etl.door("run_import_job.py", "clients", "--file", name)
    assert result.returncode == 1
    assert "is not in" in result.stderr
    assert elsewhere.exists()


def test_a_large_file_shows_a_bar_at_a_terminal_and_none_under_cron(
    etl: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("systemscripts.progress.LARGE_FILE_BYTES", 10)
    add_import(etl, reject_limit_percent=100)
    for day, at_terminal in (("02", "1"), ("03", "0")):
        monkeypatch.setenv("ETL_TERMINAL", at_terminal)
        drop_file(etl, f"a,b\nragged\n{day},x\n", f"clients_202603{day}.csv")
        assert run().counts() == {"Loaded": 1}
        assert ("clients_202603" in capsys.readouterr().err) is (at_terminal == "1")
    assert loaded(etl, "a, b") == [("02", "x"), ("03", "x")]


def test_strategy_1_adds_columns_and_keeps_the_values_that_brought_them(etl: Installation) -> None:
    add_import(etl)
    drop_file(etl, "a\n1\n", "clients_20260302.csv")
    run()
    drop_file(etl, "b,a\nnew,2\n", "clients_20260303.csv")
    run()
    assert loaded(etl, "a, b") == [("1", None), ("2", "new")]
    assert etl.query("SELECT column_name, kind FROM dba.timportdrift") == [("b", "added")]
    assert etl.query("SELECT a, b FROM public.vclients ORDER BY a") == [("1", None), ("2", "new")]


def test_the_columns_of_a_file_are_compared_with_the_last_file_of_its_label(etl: Installation) -> None:
    add_import(etl, metadata_label_source="filename", metadata_label_location="2")
    drop_file(etl, "a,b\n1,x\n", "clients_20260302_bern_.csv")
    drop_file(etl, "a,c\n1,x\n", "clients_20260302_chur_.csv")
    drop_file(etl, "a,b\n2,x\n", "clients_20260303_bern_.csv")
    drop_file(etl, "a,b,c\n1,x,y\n", "clients_20260304_bern_.csv")
    assert run().counts() == {"Loaded": 4}
    drop_file(etl, "c\n1\n", "clients_20260303_chur_.csv")
    assert run().counts() == {"Loaded": 1}
    found = etl.query("SELECT left(file_name, 21), kind, column_name FROM dba.timportdrift ORDER BY driftid")
    assert found == [
        ("clients_20260302_chur", "added", "c"),
        ("clients_20260304_bern", "added", "c"),
        ("clients_20260303_chur", "missing", "a"),
    ]


def test_after_a_file_whose_columns_were_not_recorded_the_table_is_what_a_file_is_compared_with(
    etl: Installation,
) -> None:
    add_import(etl)
    drop_file(etl, "a,b\n1,x\n")
    run()
    etl.query("UPDATE dba.timportfile SET column_names = NULL")
    drop_file(etl, "a,c\n1,x\n", "clients_20260303.csv")
    run()
    assert set(etl.query("SELECT kind, column_name FROM dba.timportdrift")) == {("added", "c"), ("missing", "b")}


def test_an_ignored_column_is_named_once(etl: Installation) -> None:
    add_import(etl)
    drop_file(etl, "a,b\n1,x\n")
    run()
    etl.query("UPDATE dba.timportconfig SET importstrategyid = 2 WHERE config_name = 'clients'")
    for day in (3, 4):
        drop_file(etl, f"a,b,c\n{day},x,y\n", f"clients_2026030{day}.csv")
        run()
    assert etl.query("SELECT kind, column_name FROM dba.timportdrift") == [("ignored", "c")]


def test_strategy_2_ignores_new_columns_and_records_them(etl: Installation) -> None:
    add_import(etl)
    drop_file(etl, "a,b\n1,x\n")
    run()
    etl.query("UPDATE dba.timportconfig SET importstrategyid = 2 WHERE config_name = 'clients'")
    drop_file(etl, "c,a\nnew,2\n", "clients_20260303.csv")
    run()
    assert loaded(etl, "a, b") == [("1", "x"), ("2", None)]
    assert set(etl.query("SELECT column_name, kind FROM dba.timportdrift")) == {("c", "ignored"), ("b", "missing")}


def test_strategy_3_names_what_is_missing_and_changes_nothing(etl: Installation) -> None:
    add_import(etl)
    drop_file(etl, "a,b\n1,x\n")
    run()
    etl.query("UPDATE dba.timportconfig SET importstrategyid = 3 WHERE config_name = 'clients'")
    drop_file(etl, "a\n2\n", "clients_20260303.csv")
    report = run()
    assert 'it has no column "b", which public.tclients has; it has "a"' in report.files[0].detail
    assert loaded(etl, "a, b") == [("1", "x")]


def test_the_rows_above_the_headings_do_not_say_what_the_delimiter_is(etl: Installation) -> None:
    add_import(etl, header_row=4)
    drop_file(etl, "Sales, by branch\n\nas of 2 March, noon\nbranch;sales\nBonn;1,5\n")
    assert run().counts() == {"Loaded": 1}
    assert loaded(etl, "branch, sales") == [("Bonn", "1,5")]


def test_the_same_content_under_another_name_is_a_duplicate(etl: Installation) -> None:
    add_import(etl)
    drop_file(etl, "a\n1\n")
    run()
    drop_file(etl, "a\n1\n", "clients_20260303.csv")
    assert run().counts() == {"Duplicate": 1}
    assert loaded(etl, "a") == [("1",)]
    drop_file(etl, "a\n1\n", "clients_20260304.csv")
    assert run(force=True).counts() == {"Loaded": 1}


def test_a_daily_list_that_did_not_change_is_a_dataset_of_its_own(etl: Installation) -> None:
    add_import(etl, duplicate_scope="dataset")
    for name in ("clients_20260302.csv", "clients_20260303.csv", "clients_20260303.csv"):
        drop_file(etl, "a\n1\n", name)
        run()
    assert etl.query("SELECT status, dataset_key FROM dba.timportfile ORDER BY importfileid") == [
        ("Loaded", "clients|2026-03-02"), ("Loaded", "clients|2026-03-03"), ("Duplicate", "clients|2026-03-03"),
    ]  # fmt: skip
    assert {path.name for path in (etl.home / "archive").iterdir()} == {
        "clients_20260302.csv", "clients_20260303.csv", "clients_20260303.2.csv",
    }  # fmt: skip


def test_a_daily_list_that_another_one_replaced_comes_back(etl: Installation) -> None:
    add_import(etl, duplicate_scope="dataset", file_pattern=r"clients_\d+_\w+\.csv")
    for number, content in enumerate(("a\n1\n", "a\n2\n", "a\n2\n", "a\n1\n", "a\n1\n", "a\n2\n")):
        drop_file(etl, content, f"clients_20260302_{number}.csv")
        run()
    assert etl.query("SELECT status, comes_back_after FROM dba.timportfile ORDER BY importfileid") == [
        ("Loaded", None), ("Loaded", None), ("Duplicate", None), ("Loaded", 2), ("Duplicate", None), ("Loaded", 4),
    ]  # fmt: skip
    assert etl.query("SELECT a FROM public.vclients") == [("2",)]


def test_after_an_undo_content_is_compared_with_the_dataset_that_is_active(etl: Installation) -> None:
    add_import(etl, duplicate_scope="dataset", file_pattern=r"clients_\d+_\w+\.csv")

    def arrives(content: str, name: str) -> tuple[str, str]:
        drop_file(etl, content, f"clients_20260302_{name}.csv")
        (outcome,) = run().files
        return outcome.status, outcome.detail

    arrives("a\nright\n", "1")
    status, told = arrives("a\nwrong\n", "2")
    assert (status, re.findall(r"dataset (\d+)", told)) == ("Loaded", ["2", "1"])
    etl.query("UPDATE dba.tdataset SET isactive = true WHERE datasetid = 1")

    assert arrives("a\nright\n", "3") == (
        "Duplicate",
        "of dataset 1 (clients_20260302_1.csv), which is active; to load it again, copy it back and add --force",
    )
    status, told = arrives("a\nwrong\n", "4")
    assert status == "Duplicate"
    assert told.startswith("of dataset 2 (clients_20260302_2.csv), which is not active; ")
    assert "copy it back" in told
    assert etl.query("SELECT a FROM public.vclients") == [("right",)]
    status, told = arrives("a\nnew\n", "5")
    assert (status, re.findall(r"dataset (\d+)", told)) == ("Loaded", ["3", "1"])
    assert arrives("a\nwrong\n", "6")[0] == "Loaded"


def test_a_file_whose_headings_were_set_after_its_load_is_loaded_again_with_force(etl: Installation) -> None:
    add_import(etl, headings=["column_1", "column_2"])
    drop_file(etl, "1,2\n")
    assert run().counts() == {"Loaded": 1}
    etl.query("UPDATE dba.timportconfig SET headings = '{city,sales}' WHERE config_name = 'clients'")
    copy = (etl.home / "archive/clients_20260302.csv").read_text()
    drop_file(etl, copy)
    assert "copy it back and add --force" in run().files[0].detail
    drop_file(etl, copy)
    assert run(force=True).counts() == {"Loaded": 1}
    assert etl.query("SELECT city, sales FROM public.tclients JOIN dba.tdataset USING (datasetid) WHERE isactive") == [
        ("1", "2")
    ]


def test_an_archive_directory_that_vanished_is_told_and_a_new_one_is_not(
    etl: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    archive = etl.home / "elsewhere"
    add_import(etl, archive_directory=str(archive))
    drop_file(etl, "a\n1\n", "clients_20260302.csv")
    assert run().counts() == {"Loaded": 1}
    assert "is gone" not in caplog.text
    archive.rename(etl.home / "moved")
    for number in (3, 4):
        drop_file(etl, f"a\n{number}\n", f"clients_2026030{number}.csv")
    assert run().counts() == {"Loaded": 2}
    assert caplog.text.count(f"{archive} is gone, with the files that were archived there; it is made anew") == 1


def test_a_full_list_that_stayed_active_beside_an_empty_one_is_a_duplicate(etl: Installation) -> None:
    add_import(etl, duplicate_scope="dataset", file_pattern=r"clients_\d+_\w+\.csv")
    for name, content in (("1", "a\n1\n"), ("2", "a\n"), ("3", "a\n1\n")):
        drop_file(etl, content, f"clients_20260302_{name}.csv")
        run()
    assert etl.query("SELECT status FROM dba.timportfile ORDER BY 1") == [("Duplicate",), ("Empty",), ("Loaded",)]


def test_a_newer_file_for_the_same_day_takes_the_place_of_the_former(etl: Installation) -> None:
    add_import(etl, file_pattern=r"clients_\d+_\w+\.csv")
    for content, name in (("a\n1\n", "clients_20260302_am.csv"), ("a\n2\n", "clients_20260302_pm.csv")):
        drop_file(etl, content, name)
        run()
    assert loaded(etl, "a") == [("1",), ("2",)]
    assert etl.query("SELECT a FROM public.vclients") == [("2",)]
    assert etl.value("SELECT count(*) FROM dba.tdataset WHERE isactive") == 1


@pytest.mark.parametrize(
    "name", ["clients_20260302.csv.part", ".clients_20260302.csv", "xclients_20260302.csv", "clients_20260302.csvx"]
)
def test_unfinished_and_foreign_files_are_not_touched(etl: Installation, name: str) -> None:
    add_import(etl)
    path = drop_file(etl, "a\n1\n", name)
    assert run().files == []
    assert path.exists()


def test_links_and_directories_are_not_touched(etl: Installation, caplog: pytest.LogCaptureFixture) -> None:
    add_import(etl)
    secret = etl.home / "secret.csv"
    secret.write_text("a\n1\n")
    (etl.home / "file_watcher/clients_20260302.csv").symlink_to(secret)
    (etl.home / "file_watcher/clients_20260303.csv").mkdir()
    assert run().files == []
    assert "clients_20260302.csv is a link" in caplog.text


def test_a_file_that_is_named_must_be_whole_as_well(etl: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    add_import(etl, file_pattern=".*")
    drop_file(etl, "a\n1\n", "clients_20260302.csv.part")
    with pytest.raises(JobError, match="unfinished"):
        run(file=Path("clients_20260302.csv.part"))
    with pytest.raises(JobError, match="is not there"):
        run(file=Path("clients_20260303.csv"))
    monkeypatch.setenv("ETL_SETTLE_SECONDS", "60")
    drop_file(etl, "a\n1\n", "clients_20260304.csv")
    with pytest.raises(TemporaryFailure, match="is still being written"):
        run(file=Path("clients_20260304.csv"))


def test_excels_own_word_on_the_delimiter_is_taken(etl: Installation) -> None:
    add_import(etl)
    drop_file(etl, "sep=;\r\nname;price\r\nA;1,5\r\n")
    assert run().counts() == {"Loaded": 1}
    assert loaded(etl, "name, price") == [("A", "1,5")]


def test_a_column_that_is_too_short_and_that_a_view_uses_is_named_in_a_dry_run_too(etl: Installation) -> None:
    etl.query("CREATE TABLE public.tclients (tclientsid serial PRIMARY KEY, datasetid integer NOT NULL, a varchar(3))")
    etl.query("CREATE VIEW public.of_clients AS SELECT a FROM public.tclients")
    etl.query("ALTER TABLE public.tclients OWNER TO etl_user")
    add_import(etl)
    path = drop_file(etl, "a\nlonger\n")
    for options in ([], ["--dry-run"]):
        result = etl.door("run_import_job.py", "clients", *options)
        assert result.returncode == 1
        assert "public.tclients is too short" in result.stderr
        assert "Traceback" not in result.stderr
        assert path.exists()


def test_a_file_is_left_alone_while_it_is_written(etl: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETL_SETTLE_SECONDS", "60")
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    add_import(etl)
    written = drop_file(etl, "a\n1\n")
    assert run().files == []
    # Renamed into its place, or given another mode before the next line is written: nobody can tell.
    written.chmod(0o640)
    assert run().files == []
    changed = written.stat().st_ctime
    monkeypatch.setattr("systemscripts.importing.files.time.time", lambda: changed + 61)
    assert run().counts() == {"Loaded": 1}


def test_a_crash_between_commit_and_archive_is_finished_by_the_next_run(
    etl: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_import(etl)
    drop_file(etl, "a\n1\n")
    with monkeypatch.context() as patch:
        patch.setattr("systemscripts.importing.filing.archive", lambda *_: os._exit(9))
        assert in_child(run) == 9
    assert loaded(etl, "a") == [("1",)]
    assert run().counts() == {"Archived": 1}
    assert loaded(etl, "a") == [("1",)]
    assert etl.query("SELECT status FROM dba.timportfile") == [("Loaded",)]
    assert os.listdir(etl.home / "archive") == ["clients_20260302.csv"]


def test_a_crash_before_the_commit_leaves_the_former_dataset_active(
    etl: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_import(etl, file_pattern=r"clients_\d+_\w+\.csv")
    drop_file(etl, "a\n1\n", "clients_20260302_am.csv")
    run()
    drop_file(etl, "a\n2\n", "clients_20260302_pm.csv")
    with monkeypatch.context() as patch:
        patch.setattr("systemscripts.importing.ledger.write_file_row", lambda *_: os._exit(9))
        assert in_child(run) == 9
    assert etl.query("SELECT a FROM public.vclients") == [("1",)]
    assert run().counts() == {"Loaded": 1}
    assert etl.query("SELECT a FROM public.vclients") == [("2",)]


def in_child(work: Any) -> int:
    """Run the work in a forked process and return its exit status: os._exit is as sudden as kill -9."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            work()
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    wait_for_its_session()
    return status


def wait_for_its_session() -> None:
    """Return when the server has noticed that a killed importer is gone: until then its session holds the file's lock."""
    with contextlib.closing(psycopg2.connect(user="postgres")) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        left = 1
        while left:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'etl_user'"
            )
            ((left,),) = cursor.fetchall()


def test_the_job_ends_with_1_if_a_file_was_refused_and_loads_the_others(etl: Installation) -> None:
    add_import(etl)
    drop_file(etl, "a\n1\n2,3\n", "clients_20260302.csv")
    drop_file(etl, "a\n1\n", "clients_20260303.csv")
    result = etl.door("run_import_job.py", "clients")
    assert result.returncode == 1
    assert "clients_20260302.csv: Failed, line 3" in result.stderr
    assert re.search("clients: 1 (Failed|Loaded), 1 (Failed|Loaded)$", result.stderr, re.MULTILINE)


def test_a_table_of_the_older_installation_is_loaded_without_cutting_text(etl: Installation) -> None:
    etl.query("CREATE TABLE public.tclients (tclientsid serial PRIMARY KEY, datasetid integer NOT NULL, a varchar(3))")
    etl.query("ALTER TABLE public.tclients OWNER TO etl_user")
    add_import(etl)
    drop_file(etl, "a,b\nlonger than three,x\n")
    assert run().counts() == {"Loaded": 1}
    assert loaded(etl, "a, b") == [("longer than three", "x")]


def test_the_fast_way_is_taken_where_it_is_exact(etl: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> int:
        raise AssertionError("the careful way was taken")

    monkeypatch.setattr(load, "_load_rewritten", forbidden)
    add_import(etl)
    rows = [[f'"{number}", said\nshe', "x" * 50, "é"] for number in range(60_000)]
    drop_file(etl, as_csv([["a", "b", "c"], *rows]))
    assert run().counts() == {"Loaded": 1}
    assert loaded(etl, "a, b, c") == [tuple(row) for row in rows]


def test_a_server_that_goes_away_leaves_the_file_and_ends_with_75(etl: Installation) -> None:
    add_import(etl)
    path = drop_file(etl, "a\n1\n")
    etl.query("CREATE TABLE public.tclients (tclientsid serial PRIMARY KEY, datasetid integer NOT NULL, a text)")
    etl.query("ALTER TABLE public.tclients OWNER TO etl_user")
    with contextlib.closing(etl.connect()) as blocker:
        blocker.autocommit = False
        with blocker.cursor() as cursor:
            cursor.execute("LOCK TABLE public.tclients")
            job = subprocess.Popen(
                ["/bin/bash", str(etl.project / "jobscripts/run_python_etl_script.sh"), "run_import_job.py", "clients"],
                env=etl.environment(), stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            while not etl.query(
                "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            ):
                give_way()
            etl.query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            _, errors = job.communicate(timeout=60)
    assert job.returncode == 75
    assert "the database was lost" in errors
    assert path.exists()
    assert run().counts() == {"Loaded": 1}


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("dateformat", "dd.MM.yy", "the dateformat 'dd.MM.yy' must have yyyy, MM and dd"),
        ("encoding", "hex", "the configuration's encoding 'hex' is not known"),
        ("encoding", "klingon", "the configuration's encoding 'klingon' is not known"),
        ("file_pattern", r"clients_(\.csv", "is no regular expression"),
        ("file_pattern", "clients (daily)*.csv", "has two meanings: for a glob, write [(] for each ("),
        ("file_pattern", r"(\w|\w\w|\w\w\w)+[!?]", "takes more than 1 s on 'clients_20260302_and"),
        ("metadata_label_location", "(", "is no regular expression"),
        ("metadata_label_location", r"(\w|\w\w|\w\w\w)+[!?]", "takes more than 1 s on 'clients_20260302_and"),
        ("importstrategyid", 3, "there is no table public.tclients"),
    ],
)
def test_a_wrong_configuration_leaves_its_files_in_place(
    etl: Installation, column: str, value: object, told: str
) -> None:
    source = {"metadata_label_source": "filename"} if column == "metadata_label_location" else {}
    add_import(etl, **{column: value}, **source)
    path = drop_file(
        etl, "a\n1\n", "clients_20260302_and_a_long_name_beside.csv" if "\\w" in str(value) else "clients_20260302.csv"
    )
    result = etl.door("run_import_job.py", "clients")
    assert result.returncode == 1
    assert told in result.stderr
    assert "Traceback" not in result.stderr
    assert path.exists()


@pytest.mark.parametrize("heading", ["ctid", "xmin", "tableoid", "datasetid", "tclientsid"])
def test_a_heading_that_is_taken_gets_a_number(etl: Installation, heading: str) -> None:
    add_import(etl)
    drop_file(etl, f"{heading},b\n1,2\n")
    assert run().counts() == {"Loaded": 1}
    assert loaded(etl, f'"{heading}.1", b') == [("1", "2")]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("a\0x,b\n1,2\n", "its header row holds a NUL byte"),
        ("<!DOCTYPE html>\n<html><body>\nPlease, log in\n</body></html>\n", "it is a web page, not delimited text"),
        (
            ",".join(f"c{n}" for n in range(1_200)) + "\n" + ",".join(["x" * 40] * 1_200) + "\n",
            "PostgreSQL refuses it: row is too big",
        ),
    ],
)
def test_a_poisonous_file_does_not_keep_the_others_from_their_turn(etl: Installation, content: str, told: str) -> None:
    add_import(etl)
    bad = drop_file(etl, content, "clients_20260302.csv")
    os.utime(bad, (1_000_000_000,) * 2)
    drop_file(etl, "a\n1\n", "clients_20260303.csv")
    first, second = run().files
    assert (first.status, second.status) == ("Failed", "Loaded")
    assert told in first.detail


def test_words_that_only_begin_like_a_vanished_events_are_data(etl: Installation) -> None:
    add_import(etl)
    drop_file(etl, "Invalid Event ID,Reason\n119230,gone\n")
    assert run().counts() == {"Loaded": 1}


def test_a_file_from_the_future_is_taken(etl: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETL_SETTLE_SECONDS", "0.5")
    add_import(etl)
    path = drop_file(etl, "a\n1\n")
    os.utime(path, (4_000_000_000,) * 2)
    assert run().counts() == {"Loaded": 1}


def test_an_archive_that_is_not_there_leaves_the_file_for_the_next_run(etl: Installation) -> None:
    add_import(etl, archive_directory=str(etl.home / "mounted"))
    (etl.home / "mounted").symlink_to("/nonexistent/disk")
    path = drop_file(etl, "a\n1\n")
    assert etl.door("run_import_job.py", "clients").returncode == 75
    assert (path.parent / TAKEN / path.name).exists()
    (etl.home / "mounted").unlink()
    assert run().counts() == {"Archived": 1}
    assert loaded(etl, "a") == [("1",)]


@pytest.mark.parametrize("content", ["a\n1\n", "a,b\n1\n"])
def test_a_name_as_long_as_can_be_is_filed_away(etl: Installation, content: str) -> None:
    add_import(etl)
    name = "clients_20260302_" + "é" * 117 + ".csv"
    assert len(name.encode()) == 255
    for _ in range(2):
        drop_file(etl, content, name)
        run(force=True)
    folder = etl.home / ("archive" if content == "a\n1\n" else "file_watcher/failed/clients")
    kept = sorted(os.listdir(folder))
    assert name in kept
    assert len([other for other in kept if other.endswith(".2.csv")]) == 1
    assert len([other for other in kept if other.endswith(".txt")]) == (0 if content == "a\n1\n" else 2)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("Access Denied", "it is not a spreadsheet but a text that begins with 'Access Denied'"),
        ("error code: 1015\n", "it is not a spreadsheet but a text that begins with 'error code: 1015'"),
        ('{"error": "try again", "code": 7}', "it is JSON"),
        ('<table><tr><td>Name</td><td><input type="password"></td></tr></table>', "asks for a password"),
        ("<html><body><h1>Service unavailable</h1></body></html>", "an HTML page without a table"),
    ],
)
def test_what_a_site_says_in_place_of_a_spreadsheet_is_refused(etl: Installation, content: str, told: str) -> None:
    add_import(etl, file_type="XLS", file_pattern="clients_*.xls")
    drop_file(etl, content, "clients_20260302.xls")
    (outcome,) = run().files
    assert outcome.status == "Failed"
    assert told in outcome.detail
    assert etl.value("SELECT count(*) FROM dba.tdataset") == 0


def test_a_word_that_begins_with_t_keeps_it_in_its_view_and_a_view_that_is_there_keeps_its_name(
    etl: Installation,
) -> None:
    add_import(etl, "trades", target_table="public.trades")
    drop_file(etl, "a\n1\n", "trades_20260302.csv")
    assert run("trades").counts() == {"Loaded": 1}
    assert etl.query("SELECT a FROM public.vtrades") == [("1",)]
    etl.query("ALTER VIEW public.vtrades RENAME TO vrades")
    drop_file(etl, "a,b\n2,3\n", "trades_20260302.csv")
    assert run("trades").counts() == {"Loaded": 1}
    assert etl.query("SELECT a, b FROM public.vrades") == [("2", "3")]
    assert etl.value("SELECT to_regclass('public.vtrades')") is None
