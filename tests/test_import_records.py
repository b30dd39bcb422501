"""JSON, XML and columns at fixed positions: each value arrives as it is written."""

import gzip
import tracemalloc
from pathlib import Path

import pytest
from conftest import Installation
from test_generic_import import add_import, drop_file, loaded, run

from systemscripts.importing import fixed_width, json_records, xml_records
from systemscripts.importing.config import ConfigurationError

JSON = {
    "lines": (None, '{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\n', [("1", "x"), ("2", "y")]),
    "an array": (None, '[{"a": 1, "b": "x"},\n {"a": 2, "b": "y"}]', [("1", "x"), ("2", "y")]),
    "values as they are written": (
        None, '{"a": 1.10, "b": "007"} {"a": 1E5, "b": true} {"a": -0, "b": null} {"a": 12345678901234567890123, "b": false}',
        [("1.10", "007"), ("1E5", "true"), ("-0", None), ("12345678901234567890123", "false")],
    ),
    "texts": (None, '{"a": "é\\u00e9\\n\\"\\ud83d\\ude00", "b": ""}', [('éé\n"😀', None)]),
    "nested values": (
        None, '{"a": [1.0, {"x":  2}], "b": {"y": null}}\n{"a": [], "b": {}}',
        [('[1.0, {"x":  2}]', '{"y": null}'), ("[]", "{}")],
    ),
    "names that come late": (
        None, '{"b": "x"}\n{"a": 2}\n{"c": 3, "a": 4}', [(None, "x"), ("2", None), ("4", None)],
    ),
    "records below a path": (
        "data/items", '{"ok": true, "data": {"n": 2, "items": [{"a": 1, "b": 2}], "next": [{}]}, "z": 1}', [("1", "2")],
    ),
    "one record with records in it": (".", '{"a": [{"x": 1}], "b": 2}', [('[{"x": 1}]', "2")]),
    "several records with records in them": (
        None, '{"a": [{"x": 1}], "b": 2}\n{"a": 1, "b": 2}', [('[{"x": 1}]', "2"), ("1", "2")],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("path", "content", "rows"), JSON.values(), ids=JSON)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_json_is_loaded_as_it_is_written(
    etl: Installation, path: str | None, content: str, rows: list[tuple[str, ...]], encoding: str
) -> None:
    add_import(etl, file_type="JSON", record_path=path)
    drop_file(etl, content.encode(encoding))
    (outcome,) = run(dry_run=True).files
    assert (outcome.status, outcome.rows) == ("Would load", len(rows)), outcome.detail
    assert "(JSON)" in outcome.detail
    assert run().counts() == {"Loaded": 1}
    assert loaded(etl, "a, b") == rows


@pytest.mark.parametrize("chunk", [1, 2, 7])
def test_json_is_read_alike_wherever_a_piece_of_it_ends(
    etl: Installation, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_records, "CHUNK", chunk)
    add_import(etl, file_type="JSON", record_path="d")
    nested = '[1.50, {"k":   "a ] } text of some length"}, -1E-5, null, true]'
    record = f'{{"a": "long \\u00e9\\n text of more than sixteen signs", "b": {nested},   "c": -1234567890.123450,"d":false}}'
    blanks = " " * 40 + "\n" * 20
    drop_file(etl, f'{{"x": {nested},{blanks}"d": [{record}{blanks},{blanks}{record}], "z": 12345678901234567890}}')
    assert run().counts() == {"Loaded": 1}
    assert (
        loaded(etl, "a, b, c, d")
        == [("long é\n text of more than sixteen signs", nested, "-1234567890.123450", "false")] * 2
    )


NOT_JSON = {
    "a cut": ('[{"a": 1},\n{"a": ', "it is cut off: its JSON has no end"),
    "a cut behind the records": ('{"data": [{"a": 1}]', "it is cut off"),
    "a cut within a text": ('{"a": "xyz', "it is cut off"),
    "a cut between two of an array": ('[{"a": 1},\n{"a": 2}', "it is cut off"),
    "a slip": ('{"a": 1}\n{"a": 2, b: 3, "c": "so many other things behind it"}', "line 2: it is no JSON: "),
    "a name that comes twice": ('{"a": 1, "a": 2}', "record 1: 'a' comes twice"),
    "numbers": ("[1, 2]", "record 1: it is no object but '1'"),
    "nothing": ("[]", "it has no records"),
    "an empty file": ("", "it has no records"),
    "an answer": ('{"n": 1, "items": [{"a": 1}]}', "its 'items' holds others; set record_path = 'items'"),
    "half a character": ('{"a": "\\ud800"}', "record 1: a text in it has half a character"),
    "many layers": ('{"a": ' + "[" * 100_000, "nested too deeply"),
    "another byte": (b'{"a": "\xff\xfe\xfa"}', "does not fit its encoding"),
    "a page": ("<html>" + "x" * 100, "line 1: it is no JSON"),
}


@pytest.mark.parametrize(("content", "words"), NOT_JSON.values(), ids=NOT_JSON)
def test_what_is_no_json_or_in_doubt_is_refused_with_what_to_do(
    etl: Installation, content: str | bytes, words: str
) -> None:
    add_import(etl, file_type="JSON", encoding="utf-8")
    drop_file(etl, content)
    (outcome,) = run().files
    assert outcome.status == "Failed"
    assert words in outcome.detail
    assert "\n" not in outcome.detail


def test_a_path_that_is_not_there_is_refused_with_what_is(etl: Installation) -> None:
    add_import(etl, file_type="JSON", record_path="data/rows")
    drop_file(etl, '{"data": {"items": [], "next": 1}}')
    assert "it has no 'rows', which record_path names; it has 'items', 'next'" in run().files[0].detail


XML = {
    "attributes and elements": (
        '<list><row id="1"><a>x</a></row><row id="2"><a> y </a></row></list>', '"@id", a', [("1", "x"), ("2", " y ")],
    ),
    "elements within": (
        "<list><row><at><city>Bern</city></at></row></list>", '"at/city"', [("Bern",)],
    ),
    "attributes of elements": (
        '<list><row><price unit="EUR">1.50</price></row></list>', '"price/@unit", price', [("EUR", "1.50")],
    ),
    "what one record lacks": (
        "<list><row><a/></row><row><a>&lt;&#233;&gt;</a><b>2</b></row></list>", "a, b", [(None, None), ("<é>", "2")],
    ),
    "namespaces and other parts": (
        '<?xml version="1.0"?><n:list xmlns:n="urn:x"><head><row>no</row></head><n:row><n:a>1</n:a></n:row></n:list>', "a", [("1",)],
    ),
    "texts alone": ("<list><row>1</row><row>2</row></list>", '"row"', [("1",), ("2",)]),
}  # fmt: skip


@pytest.mark.parametrize(("content", "columns", "rows"), XML.values(), ids=XML)
def test_xml_is_loaded_as_it_is_written(
    etl: Installation, content: str, columns: str, rows: list[tuple[str, ...]]
) -> None:
    add_import(etl, file_type="XML", record_path="list/row")
    drop_file(etl, content)
    assert run(dry_run=True).counts() == {"Would load": 1}
    assert run().counts() == {"Loaded": 1}
    assert loaded(etl, columns) == rows


NOT_XML = {
    "a cut": ("<list><row><a>1</a></row>", "it is no XML, or it is cut off"),
    "entities": ('<!DOCTYPE l [<!ENTITY x "y">]><list><row><a>&x;</a></row></list>', "made to harm"),
    "another path": (
        "<orders><order/></orders>",
        "no element list/row, which record_path names; it has orders, orders/order",
    ),
    "an element twice": ("<list><row><a>1</a><a>2</a></row></list>", "record 1: 'a' comes twice"),
    "text between": ("<list><row>so<a>1</a></row></list>", "text stands beside the elements within 'row': 'so'"),
    "nothing in it": ("<list><row/></list>", "it has no records"),
}


@pytest.mark.parametrize(("content", "words"), NOT_XML.values(), ids=NOT_XML)
def test_what_is_no_xml_or_in_doubt_is_refused(etl: Installation, content: str, words: str) -> None:
    add_import(etl, file_type="XML", record_path="list/row")
    drop_file(etl, content)
    (outcome,) = run().files
    assert outcome.status == "Failed"
    assert words in outcome.detail


FIXED = {
    "a header row": (
        {"column_positions": "1-6,7-10"}, "name  qty \nann     1\nbob    12\n", [("ann", "1"), ("bob", "12")],
    ),
    "no header row, and an open end": (
        {"column_positions": "1-6, 7-", "headings": ["name", "qty"]}, "ann   1, 2\r\nZoë   007\r\n\r\n", [("ann", "1, 2"), ("Zoë", "007")],
    ),
    "short lines, titles, comments and a footer": (
        {"column_positions": "1-6,7-10", "header_row": 2, "comment_prefix": "#", "footer_rows": 1},
        "as of today\nname  qty\n#x\nann\n      3\ntotal  99\n", [("ann", None), (None, "3")],
    ),

}  # fmt: skip


@pytest.mark.parametrize(("columns", "content", "rows"), FIXED.values(), ids=FIXED)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1252", "utf-16"])
def test_columns_at_fixed_positions_are_loaded(
    etl: Installation, columns: dict[str, object], content: str, rows: list[tuple[str, ...]], encoding: str
) -> None:
    add_import(etl, file_type="FIXED", **columns)
    drop_file(etl, content.encode(encoding))
    (outcome,) = run(dry_run=True).files
    assert (outcome.status, outcome.rows) == ("Would load", len(rows)), outcome.detail
    assert run().counts() == {"Loaded": 1}
    assert loaded(etl, "name, qty") == rows


def test_text_outside_of_the_columns_makes_a_line_bad_and_its_number_is_that_in_the_file(etl: Installation) -> None:
    add_import(etl, file_type="FIXED", column_positions="1-4,7-9", reject_limit_percent=70)
    drop_file(etl, "name  qty\n\nann   1\nbob xx2\nann   3  y\n")
    assert run().counts() == {"Loaded": 1}
    assert etl.query("SELECT line_number::int, original FROM dba.timportreject") == [(4, "bob,2,xx"), (5, "ann,3,y")]
    assert loaded(etl, "name, qty") == [("ann", "1")]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"file_type": "FIXED"}, "set column_positions"),
        ({"file_type": "FIXED", "column_positions": "1-5,5-8"}, "column_positions has '5-8'"),
        ({"file_type": "FIXED", "column_positions": "1-,5-8"}, "column_positions has '5-8'"),
        ({"file_type": "FIXED", "column_positions": "0-5"}, "column_positions has '0-5'"),
        ({"file_type": "XML"}, "set record_path"),
    ],
)
def test_an_import_that_does_not_say_where_its_records_are_stops_with_what_to_set(
    etl: Installation, columns: dict[str, object], words: str
) -> None:
    add_import(etl, **columns)
    file = drop_file(etl, "name qty\n")
    with pytest.raises(ConfigurationError, match=words):
        run()
    assert file.exists()


@pytest.mark.parametrize(
    ("content", "kind"),
    [('[{"a": 1}]', "set file_type to JSON"), ("<?xml version='1.0'?><a/>", "set file_type to XML")],
)
def test_a_csv_that_is_of_another_kind_says_which(etl: Installation, content: str, kind: str) -> None:
    add_import(etl)
    drop_file(etl, content)
    assert kind in run().files[0].detail


def test_other_kinds_may_be_compressed(etl: Installation) -> None:
    add_import(etl, file_type="JSON")
    drop_file(etl, gzip.compress(b'{"a": 1}\n'))
    assert run().counts() == {"Loaded": 1}


@pytest.mark.parametrize(
    ("convert", "columns", "begin", "record", "end"),
    [
        (json_records.convert, {"record_path": "d"}, '{"d": [{"a": 0}', ', {"a": %d, "b": [1]}', "]}"),
        (json_records.convert, {}, "", '{"a": %d, "b": "some text or other"}\n', ""),
        (xml_records.convert, {"record_path": "l/r"}, "<l><h>x</h>", "<r><a>%d</a></r><other>x</other>", "</l>"),
        (fixed_width.convert, {"column_positions": "1-8,9-30"}, "", "%8d and a text\n", ""),
    ],
)
def test_memory_stays_flat_as_files_grow(
    etl: Installation, tmp_path: Path, convert: object, columns: dict[str, object], begin: str, record: str, end: str
) -> None:
    from systemscripts import db_config
    from systemscripts.importing.config import load_config

    add_import(etl, **columns)
    with db_config.session() as connection:
        config = load_config(connection, "clients")
    file = tmp_path / "file"
    file.write_text(begin + "".join(record % number for number in range(20_000)) + end)
    with (tmp_path / "out.csv").open("w+b") as output:
        tracemalloc.start()
        convert(file, config, output)  # type: ignore[operator]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert output.seek(0, 2) > 100_000
    assert peak < 2_000_000


def test_a_sheet_with_other_delimiters_in_its_only_column_stays_one_column(etl: Installation) -> None:
    from test_import_headers import add_workbook_import, drop_workbook

    add_workbook_import(etl)
    drop_workbook(etl, Prices=[["a;b"], ["1;2"], ["3;4"]])
    assert run().counts() == {"Loaded": 1}
    assert loaded(etl, '"a;b"') == [("1;2",), ("3;4",)]
