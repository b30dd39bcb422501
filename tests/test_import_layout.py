"""How the text of a file is laid out: signs, comments, header row and footer, as the configuration says; doubt is asked."""

from pathlib import Path

import psycopg2.errors
import pytest
from conftest import Installation
from test_generic_import import add_import, drop_file, loaded, run
from test_import_headers import add_workbook_import, drop_workbook

from systemscripts.importing.config import ConfigurationError
from systemscripts.importing.dialect import Dialect

LAYOUTS = {
    "a quote of its own": (
        {"quote_character": "'"}, "name,text\nann,'a,b'\nbob,say \"x\"\n", [("ann", "a,b"), ("bob", 'say "x"')],
    ),
    "quotes that mean nothing": (
        {"quote_character": "none"}, 'name,size\nframe,5" x 7"\n"x,y\n', [("frame", '5" x 7"'), ('"x', "y")],
    ),
    "an escape within quotes": (
        {"escape_character": "\\"}, 'name,text\nann,"say \\"x\\", please"\nbob,a\\,b\n',
        [("ann", 'say "x", please'), ("bob", "a,b")],
    ),
    "an escape without quotes": (
        {"quote_character": "none", "escape_character": "\\"}, "name,text\nann,a\\,b\n", [("ann", "a,b")],
    ),
    "blanks after a delimiter": (
        {"skip_initial_blanks": True}, 'name, text\nann, "b, c"\n', [("ann", "b, c")],
    ),
    "a delimiter that is rare": (
        {"field_delimiter": "^"}, "name^text\nann^a,b\n", [("ann", "a,b")],
    ),
    "comments": (
        {"comment_prefix": "#"}, '# made today\nname,text\n# one, two\nann,"a\n# no comment\nb"\n#\nbob,x\n',
        [("ann", "a\n# no comment\nb"), ("bob", "x")],
    ),
    "blank rows": (
        {"skip_blank_rows": True}, "name,text\n,\nann,a\n , \nbob,\n", [("ann", "a"), ("bob", None)],
    ),
    "a delimiter at each line's end": (
        {"trailing_delimiter": True}, "name,text\nann,a,\nbob,b\n", [("ann", "a"), ("bob", "b")],
    ),
    "no header row": (
        {"headings": ["name", "text"]}, "ann,a\nbob,b\n", [("ann", "a"), ("bob", "b")],
    ),
    "a header row with one heading less": (
        {"headings": ["number", "name", "text"], "header_row": 1}, "name,text\n1,ann,a\n2,bob,b\n", [("ann", "a"), ("bob", "b")],
    ),
    "headings over two rows": (
        {"headings": ["name", "text"], "header_row": 2}, "person,free\n(full),(any)\nann,a\n", [("ann", "a")],
    ),
    "a header row known by its headings": (
        {"header_columns": ["Text", "name"]}, "as of today,\nmade by,\n\nname,text\nann,a\n", [("ann", "a")],
    ),
    "a footer of one row": (
        {"footer_rows": 1}, "name,text\nann,a\nbob,b\nTotal,2\n\n", [("ann", "a"), ("bob", "b")],
    ),
    "a footer of other columns": (
        {"footer_pattern": "^Total"}, 'name,text\nann,"Total\nof a"\nTotal: 1\nprinted by me, today, here\n', [("ann", "Total\nof a")],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("columns", "content", "rows"), LAYOUTS.values(), ids=LAYOUTS)
def test_a_file_is_read_as_its_import_says(
    etl: Installation, columns: dict[str, object], content: str, rows: list[tuple[str, ...]]
) -> None:
    add_import(etl, **columns)
    drop_file(etl, content)
    (outcome,) = run(dry_run=True).files
    assert (outcome.status, outcome.rows) == ("Would load", len(rows)), outcome.detail

    assert run().counts() == {"Loaded": 1}
    assert loaded(etl, "name, size" if "size" in content else "name, text") == rows


@pytest.mark.parametrize("newline", ["\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1252", "utf-16", "utf-32"])
def test_a_file_without_header_row_is_whole_in_every_encoding(etl: Installation, encoding: str, newline: str) -> None:
    add_import(etl, headings=["name", "text"], encoding="cp1252" if encoding == "cp1252" else None)
    drop_file(etl, newline.join(["Zoë,é", "bob,b", ""]).encode(encoding))
    assert run().counts() == {"Loaded": 1}
    assert loaded(etl, "name, text") == [("Zoë", "é"), ("bob", "b")]


def test_what_stands_above_and_below_the_data_is_kept_and_said(etl: Installation) -> None:
    add_import(etl, header_columns=["name"], footer_pattern="^Total", comment_prefix="#")
    drop_file(etl, "List of clients,\n#x\nname,text\nann,a\nTotal,1\nmade by,me\n")
    (outcome,) = run().files
    assert "the header row: 'List of clients'" in outcome.detail
    assert "the footer: 'Total,1 / made by,me'" in outcome.detail
    assert etl.query("SELECT above_header, below_data FROM dba.timportfile") == [
        ("List of clients", "Total,1\nmade by,me")
    ]


def test_a_subtotal_in_the_middle_is_no_footer(etl: Installation) -> None:
    add_import(etl, footer_pattern="^Total")
    drop_file(etl, "name,qty\nann,1\nTotal,1\nbob,2\nTotal,2\n")
    (outcome,) = run().files
    assert "line 3 fits footer_pattern, but line 4 below it looks like data: 'bob,2'" in outcome.detail
    drop_file(etl, "name,qty\nann,1\nTotal,1\nTotal of all,1\nprinted,\n")
    assert run().counts() == {"Loaded": 1}


def test_a_footer_that_begins_in_the_data_refuses_the_file(etl: Installation) -> None:
    add_import(etl, footer_pattern="^b")
    drop_file(etl, "name,text\n" + "ann,a\nbob,b\n" * 80)
    (outcome,) = run().files
    assert outcome.status == "Failed"
    assert "line 3 fits footer_pattern, but more than 99 rows follow it: 'bob,b'" in outcome.detail


def test_a_file_that_is_shorter_than_its_footer_has_no_rows(etl: Installation) -> None:
    add_import(etl, footer_rows=3)
    drop_file(etl, "name,text\nTotal,1\n")
    assert run().counts() == {"Empty": 1}


def test_lines_are_counted_with_comments_and_titles(etl: Installation) -> None:
    add_import(etl, comment_prefix="#", reject_limit_percent=60)
    drop_file(etl, "#a\nname,text\n#b\nann,a\n\n#c\nbad\nbob,b\n")
    assert run().counts() == {"Loaded": 1}
    assert etl.query("SELECT line_number, original FROM dba.timportreject") == [(7, "bad")]


def test_what_is_of_a_csv_is_not_asked_of_a_sheet(etl: Installation) -> None:
    of_csv = {"quote_character": "none", "field_delimiter": ";", "encoding": "cp1252", "comment_prefix": "#"}
    add_workbook_import(etl, **of_csv, header_columns=["text"], footer_rows=1, skip_blank_rows=True)
    rows: list[list[object]] = [["as of", "today"], ["name", "text"], ["#1", 'a "b"; é'], [None, None], ["Total", 1]]
    drop_workbook(etl, clients=rows)
    assert run().counts() == {"Loaded": 1}
    assert loaded(etl, "name, text") == [("#1", 'a "b"; é')]


DOUBTS = {
    # What people have sent, and the words that must lead to the setting.
    "Report of May,,\n,,\nname,city,age\nann,rome,3\n": (
        "row 1 seems to be a title",
        "'Report of May'",
        "set header_row",
    ),
    "12,2026-11-01,NaN\n13,2026-11-02,4.5\n": ("row 1 seems to be data", "'12', '2026-11-01', 'NaN'", "into headings"),
    "Report\nname,city,age\nann,rome,3\n": ("line 2", "'name,city,age'", "'Report' is a title, set header_row"),
    "a,b,c\n1,4,7,\n": ("line 2", "'1,4,7,'", "set trailing_delimiter"),
    "name,age\n1,ann,3\n2,bob,4\n": ("line 2", "'1,ann,3'", "into headings"),
    'qty,price,item,note\n1,$78.07"Table, round",x\n': ("line 2", "a delimiter may be missing", "$78.07"),
    'name,text\nann, "b,c"\n': ("line 2", "it has 3 fields"),
    ",,\n, ,\n": ("none of its rows has a text",),
}


@pytest.mark.parametrize("content", DOUBTS)
def test_what_is_doubtful_is_asked_with_the_setting_that_decides_it(etl: Installation, content: str) -> None:
    add_import(etl)
    drop_file(etl, content)
    (outcome,) = run().files
    assert outcome.status == "Failed"
    for words in DOUBTS[content]:
        assert words in outcome.detail
    assert outcome.refused_to is not None
    assert Path(outcome.refused_to).read_text() == content


@pytest.mark.parametrize(
    "content",
    ['name,size\npipe,5" pipe\n', 'name,text\nann,This "quoted" word\n', "2019,2020,region\n1,2,x\n", ",,\nname,city,age\nann,rome,3\n"],
)  # fmt: skip
def test_what_is_odd_and_not_doubtful_is_loaded(etl: Installation, content: str) -> None:
    add_import(etl)
    drop_file(etl, content)
    assert run().counts() == {"Loaded": 1}


@pytest.mark.parametrize("content", ["12,13\n1,2\n", "a,,\n1,2,3\n"])
def test_a_header_row_that_a_person_named_is_one(etl: Installation, content: str) -> None:
    add_import(etl, header_row=1)
    drop_file(etl, content)
    assert run().counts() == {"Loaded": 1}


def test_a_file_that_lost_its_header_row_does_not_widen_the_table(etl: Installation) -> None:
    add_import(etl)
    drop_file(etl, "name,city,age\nann,rome,3\n")
    run()
    drop_file(etl, "bob,oslo,4\ncid,bern,5\n", "clients_20260303.csv")
    (outcome,) = run().files
    assert outcome.status == "Failed"
    assert 'none of its headings is a column of public.tclients: "bob", "oslo", "4"' in outcome.detail
    assert etl.value("SELECT count(*) FROM dba.tdataset WHERE isactive") == 1
    assert loaded(etl, "name, city, age") == [("ann", "rome", "3")]


def test_a_list_with_other_headings_is_loaded_where_a_person_named_the_header_row(etl: Installation) -> None:
    add_import(etl, header_row=1)
    drop_file(etl, "name,city\nann,rome\n")
    run()
    drop_file(etl, "company,ticker\nAcme,AC\n", "clients_20260303.csv")
    assert run().counts() == {"Loaded": 1}


@pytest.mark.parametrize(
    ("text", "fields", "otherwise"),
    [('1,a"b, c",x', 4, True), ('a"b"c,x', 2, False), ('a"b,x', 2, False), ('"a,b",x', 2, False), ('a""b,x', 2, False)],
)
def test_a_quote_within_a_field_is_doubtful_where_it_changes_the_fields(
    text: str, fields: int, otherwise: bool
) -> None:
    assert Dialect(",").reads_quotes_otherwise(text, fields) is otherwise


@pytest.mark.parametrize("spoilt", ['7,"name 7,x', '7,"na"me 7",x', '7,na"me, 7,x', '"7,name,x'])
def test_a_line_whose_quote_has_no_partner_is_one_bad_line_under_a_limit(etl: Installation, spoilt: str) -> None:
    add_import(etl, reject_limit_percent=10)
    lines = [f'{number},"name, {number}",x' for number in range(1, 41)]
    lines[6] = spoilt
    drop_file(etl, "\n".join(["id,name,what", *lines]))
    assert run().counts() == {"Loaded": 1}
    kept = [str(number) for number in range(1, 41) if number != 7]
    assert [row for row in loaded(etl, "id, name") if row[0] in kept] == [
        (number, f"name, {number}") for number in kept
    ]
    assert etl.value("SELECT min(line_number) FROM dba.timportreject") == 8


def test_the_lines_of_a_long_text_are_no_records(etl: Installation) -> None:
    add_import(etl, reject_limit_percent=90)
    drop_file(etl, 'id,name,what\n1,"a text\nof lines, not\nof records, no\n2,b,x\n')
    (outcome,) = run().files
    assert outcome.status == "Failed"
    assert etl.value("SELECT to_regclass('public.tclients')") is None


WRONG = [
    ({"field_delimiter": "a"}, "field_delimiter"), ({"quote_character": "''"}, "quote_character"),
    ({"escape_character": '"'}, "escape_character"), ({"comment_prefix": " "}, "comment_prefix"),
    ({"headings": []}, "headings"), ({"header_columns": ["a"], "header_row": 2}, "header_row_is_found_in_one_way"),
    ({"footer_rows": 2, "footer_pattern": "x"}, "footer"), ({"footer_rows": 0}, "footer"),
]  # fmt: skip


@pytest.mark.parametrize(("columns", "rule"), WRONG)
def test_a_layout_that_cannot_be_is_refused_when_it_is_written(
    etl: Installation, columns: dict[str, object], rule: str
) -> None:
    with pytest.raises(psycopg2.errors.CheckViolation) as refusal:
        add_import(etl, **columns)
    assert rule in str(refusal.value.diag.constraint_name)


def test_a_footer_pattern_that_cannot_be_used_leaves_the_file_in_place(etl: Installation) -> None:
    add_import(etl, footer_pattern="(")
    path = drop_file(etl, "name,text\nann,a\n")
    with pytest.raises(ConfigurationError, match="footer_pattern '\\(' is no regular expression"):
        run()
    assert path.exists()
