"""What is proposed for files that people send: it loads them exactly, and says how sure it is."""

import datetime
import gzip
import io
import json
import re
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import pyzipper
from conftest import Installation
from hypothesis import given
from hypothesis import strategies as st
from msoffcrypto.format.ooxml import OOXMLFile

from systemscripts import db_config
from systemscripts.suggesting import contents
from systemscripts.suggesting.file_names import pattern_of
from systemscripts.suggesting.layout import footer_of
from systemscripts.suggesting.value_forms import forms_of

Suggest = Any


@pytest.fixture
def suggest(etl: Installation, tmp_path: Path) -> Suggest:
    """Write a file, propose its import, make it, load the file, and return the rows of its table."""

    def run(name: str, content: str | bytes, *options: str, **variables: str) -> list[tuple[Any, ...]]:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        told = etl.door("suggest_import.py", str(path), "--name", "feed", "--apply", *options, **variables)
        assert told.returncode == 0, told.stdout + told.stderr
        path.rename(etl.home / "file_watcher" / "feed" / name)
        done = etl.door("run_import_job.py", "feed", **variables)
        assert done.returncode == 0, done.stderr
        columns = etl.query(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'public.tfeed'::regclass AND attnum > 2 ORDER BY attnum"
        )
        chosen = ", ".join(f'"{column}"' for (column,) in columns)
        return [
            tuple(column for (column,) in columns),
            *etl.query(f"SELECT {chosen} FROM public.tfeed ORDER BY tfeedid"),
        ]

    return run


def workbook(**sheets: list[list[object]]) -> bytes:
    book, buffer = openpyxl.Workbook(), io.BytesIO()
    book.remove(book.worksheets[0])
    sheets = sheets or {"Sheet": [["A report of today"]], "Data": [["name", "qty"], ["ann", 1], ["bob", 2]]}
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(buffer)
    return buffer.getvalue()


FEEDS: dict[str, tuple[str, str | bytes, list[tuple[str, ...]]]] = {
    "titles, signs and words of a German": (
        "umsatz_20261127.csv",
        "Umsätze\nStand 27.11.2026\nFiliale;Umsatz;offen\nKöln;1.234,56;ja\nBonn;-2,50;nein\nUlm;3.000,00;ja\n".encode("cp1252"),
        [("filiale", "umsatz", "offen"), ("Köln", "1.234,56", "ja"), ("Bonn", "-2,50", "nein"), ("Ulm", "3.000,00", "ja")],
    ),
    "a footer of totals": (
        "list_2026-11-27.csv", "item,qty\nx,1\ny,2\nz,3\nTotal,6\n", [("item", "qty"), ("x", "1"), ("y", "2"), ("z", "3")],
    ),
    "a second sheet": ("book_20261127.xlsx", workbook(), [("name", "qty"), ("ann", "1"), ("bob", "2")]),
    "fixed width": (
        "f_20261127.txt", "code  name        amount\n0001  ann a          100\n0002  bob b         1200\n0003  cid c            7\n",
        [("code", "name", "amount"), ("0001", "ann a", "100"), ("0002", "bob b", "1200"), ("0003", "cid c", "7")],
    ),
    "fixed width without a header row": (
        "g_20261127.txt", "0001  ann a          100\n0002  bobby         1200\n0003  cid c            7\n0004  dan d           12\n",
        [("column_1", "column_2", "column_3"), ("0001", "ann a", "100"), ("0002", "bobby", "1200"), ("0003", "cid c", "7"),
         ("0004", "dan d", "12")],
    ),
    "JSON Lines": (
        "l_20261127.jsonl", '{"id": 1, "price": 0.10}\n{"id": 2, "price": 2.50}\n', [("id", "price"), ("1", "0.10"), ("2", "2.50")],
    ),
    "XML": (
        "o_20261127.xml", "<orders><order id='1'><n>a</n></order><order id='2'><n>b</n></order></orders>",
        [("@id", "n"), ("1", "a"), ("2", "b")],
    ),
    "no header row": ("n_20261127.csv", "1,2.5\n2,3.5\n3,4.5\n",
                      [("column_1", "column_2"), ("1", "2.5"), ("2", "3.5"), ("3", "4.5")]),
    "companies called Total, and titles above row names": ("t_20261127.csv", "Prices of today\nname,qty\n" + "".join(
        f"r{number},Total {number},{number}\n" for number in range(1, 40)),
        [("row_name", "name", "qty"), *((f"r{number}", f"Total {number}", str(number)) for number in range(1, 40))]),
    "quotes within texts": ("q_20261127.csv", 'name;size;n\nframe;5" x 7";1\npipe;5";2\nrod;3;3\n',
                            [("name", "size", "n"), ("frame", '5" x 7"', "1"), ("pipe", '5"', "2"), ("rod", "3", "3")]),
    "comments": ("c_20261127.csv", "# by me\nname,qty\nann,1\n# later\nbob,2\ncid,3\n",
                 [("name", "qty"), ("ann", "1"), ("bob", "2"), ("cid", "3")]),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "rows"), FEEDS.values(), ids=FEEDS)
def test_what_is_proposed_loads_the_file_exactly(
    suggest: Suggest, name: str, content: str | bytes, rows: list[tuple[str, ...]]
) -> None:
    assert suggest(name, content) == rows


@pytest.mark.parametrize(
    ("content", "positions"),
    [
        ("name    code\nann     x\nbob     yyy\ncid     z\n", "1-8,9-"),
        ("name    amount\nann         10\nrobert   12000\ncid          7\n", "1-6,9-"),
        ("       10    7\n     1200   99\n        3  100\n        4   10\n", "6-9,10-"),
    ],
    ids=["words", "a number that could grow to the left", "two numbers"],
)
def test_blanks_between_columns_belong_to_the_values_that_grow_into_them(content: str, positions: str) -> None:
    found = contents._fixed_width(content)
    assert found is not None
    assert found.settings["column_positions"] == positions


def test_a_longer_amount_of_another_day_is_not_cut_in_two(etl: Installation, suggest: Suggest) -> None:
    suggest(
        "f_20261127.txt",
        "code  name        amount\n0001  ann a          100\n0002  bob b         1200\n0003  cid              1\n",
    )
    (etl.home / "file_watcher/feed/f_20261128.txt").write_text(
        "code  name        amount\n0001  ann a 123456789012\n0002  bob b         1200\n"
    )
    done = etl.door("run_import_job.py", "feed")
    assert done.returncode == 1
    assert "line 2" in done.stderr


def test_with_types_the_table_has_them(suggest: Suggest) -> None:
    content = "Filiale;Umsatz;Tag;offen;Nr\nKöln;1.234,56;27.11.2026;ja;0012\nBonn;-2,50;28.11.2026;nein;0007\n"
    day = datetime.date(2026, 11, 27)
    assert suggest("umsatz_20261127.csv", content, "--types")[1] == ("Köln", Decimal("1234.56"), day, True, "0012")


def test_an_archive_with_one_password_is_a_dataset_a_member(
    etl: Installation, suggest: Suggest, tmp_path: Path
) -> None:
    path = tmp_path / "made.zip"
    with pyzipper.AESZipFile(path, "w", encryption=pyzipper.WZ_AES) as archive:
        archive.setpassword(b"geheimes Wort")
        for member in "abc":
            archive.writestr(f"{member}.csv", f"id,name\n1,{member}\n")
    rows = suggest(
        "three_20261127.zip", path.read_bytes(), "--password", "ACME", ETL_FILE_PASSWORD_ACME="geheimes Wort"
    )
    assert rows == [("id", "name"), ("1", "a"), ("1", "b"), ("1", "c")]
    assert etl.value("SELECT count(DISTINCT label) FROM dba.tdataset WHERE isactive") == 3


def test_a_workbook_with_a_password_is_read_with_it(suggest: Suggest) -> None:
    buffer = io.BytesIO()
    OOXMLFile(io.BytesIO(workbook())).encrypt("geheimes Wort", buffer)
    rows = suggest(
        "book_20261127.xlsx", buffer.getvalue(), "--password", "ACME", ETL_FILE_PASSWORD_ACME="geheimes Wort"
    )
    assert rows == [("name", "qty"), ("ann", "1"), ("bob", "2")]


MANY: list[list[object]] = [["nr", "code", "price"], *([number, f"c{number}", 1.5] for number in range(60))]
COVERS: dict[str, list[list[object]]] = {
    "nothing": [],
    "a title": [["Prices of today"]],
    "a title and a day": [["Prices of today"], ["as of", None, "27.11.2026"]],
    "names and values": [["client", "Acme"], ["as of", "27.11.2026"], ["made by", "Ann"]],
    "a long note": [[f"line {number}"] for number in range(200)],
}


@pytest.mark.parametrize("cover", COVERS.values(), ids=COVERS)
def test_the_sheet_that_looks_like_a_table_is_taken_and_not_its_cover(
    etl: Installation, tmp_path: Path, cover: list[list[object]]
) -> None:
    found = findings(etl, tmp_path, "book_20261127.xlsx", workbook(Cover=cover, Data=MANY, Notes=[["x"]]))
    assert found["sheet"]["found"] == "Data"
    assert found["sheet"]["certainty"] == "likely"


def findings(etl: Installation, folder: Path, name: str, content: bytes, *options: str) -> dict[str, dict[str, str]]:
    (folder / name).write_bytes(content)
    told = etl.door("suggest_import.py", str(folder / name), "--json", *options)
    assert told.returncode == 0, told.stderr
    return {finding["what"]: finding for finding in json.loads(told.stdout)["findings"]}


def test_of_several_tables_the_first_is_taken_as_a_question_and_sheet_answers_it(
    etl: Installation, tmp_path: Path
) -> None:
    book = workbook(Cover=[["x"]], North=MANY, South=MANY[:30])
    found = findings(etl, tmp_path, "book_20261127.xlsx", book)["sheet"]
    assert (found["found"], found["certainty"]) == ("North", "cannot tell")
    assert "'North' (61 rows), 'South' (30 rows) look like tables; set sheet, or give --sheet NAME" in found["evidence"]
    for wanted in ("South", "3", "S*"):
        found = findings(etl, tmp_path, "book_20261127.xlsx", book, "--sheet", wanted)["sheet"]
        assert (found["found"], found["certainty"], found["settings"]) == ("South", "sure", {"sheet": wanted})
    for name, content, told in (("book_20261127.xlsx", book, "it has no sheet 'West'; it has 'Cover', 'North', 'South'"),
                                ("list_20261127.csv", b"a,b\nx,1\n", "it is no workbook; leave --sheet out")):  # fmt: skip
        (tmp_path / name).write_bytes(content)
        wrong = etl.door("suggest_import.py", str(tmp_path / name), "--sheet", "West")
        assert wrong.returncode == 1
        assert told in wrong.stderr


def test_the_kind_of_a_workbook_is_the_real_one_behind_a_password_too(etl: Installation, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    OOXMLFile(io.BytesIO(workbook())).encrypt("geheimes Wort", buffer)
    path = tmp_path / "book_20261127.xlsx"
    path.write_bytes(buffer.getvalue())
    told = etl.door("suggest_import.py", str(path), "--password", "ACME", ETL_FILE_PASSWORD_ACME="geheimes Wort")
    assert "p_file_type => 'XLSX'" in told.stdout


@pytest.mark.parametrize("name", ["20261127.csv", "2026-11-27.csv.gz", "_20261127_.csv"])
def test_where_the_names_have_no_word_a_name_is_asked_for(etl: Installation, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress(b"a,b\nx,1\n") if name.endswith("gz") else b"a,b\nx,1\n")
    told = etl.door("suggest_import.py", str(tmp_path / name))
    assert told.returncode == 64
    assert f"the name {name} has no word to call an import by; add --name" in told.stderr
    named = etl.door("suggest_import.py", str(tmp_path / name), "--name", "Branch_Sales")
    assert "p_config_name => 'Branch_Sales'" in named.stdout


def test_the_ending_of_a_compressed_file_is_no_part_of_the_name(etl: Installation, tmp_path: Path) -> None:
    (tmp_path / "prices.csv.gz").write_bytes(gzip.compress(b"a,b\nx,1\n"))
    assert "p_config_name => 'prices'" in etl.door("suggest_import.py", str(tmp_path / "prices.csv.gz")).stdout


def test_the_sql_alone_says_what_makes_the_directories(etl: Installation, tmp_path: Path) -> None:
    path = tmp_path / "sales_20261127.csv"
    path.write_text("a,b\nx,1\n")
    told = etl.door("suggest_import.py", str(path), "--name", "Branch Sales").stdout
    (command,) = re.findall("^-- The directories are made by --apply, or by: (.*)$", told, re.MULTILINE)
    subprocess.run(["bash", "-c", command], check=True)
    assert (etl.home / "file_watcher/Branch Sales").is_dir()
    assert (etl.home / "archive/import_Branch Sales").is_dir()


def test_the_dry_run_of_a_table_that_is_there_uses_the_proposed_rules(
    etl: Installation, suggest: Suggest, tmp_path: Path
) -> None:
    suggest("s_20261127.csv", "name;amount\nann;1.234,50\nbob;2,00\n", "--types")
    path = tmp_path / "s_20261128.csv"
    path.write_text("name;amount\nann;9.234,50\nbob;2,00\n")
    typed = etl.door("suggest_import.py", str(path), "--name", "feed", "--types")
    assert typed.returncode == 0, typed.stderr
    assert "Would load, 2 rows" in typed.stderr
    assert "would read amount '9.234,50' as 9234.50" in typed.stderr
    assert "there is an import feed already" in typed.stderr
    plain = etl.door("suggest_import.py", str(path), "--name", "feed")
    assert plain.returncode == 1
    assert "tried no types, and public.tfeed is there already and may have some; add --types" in plain.stderr


def test_each_file_is_tried(etl: Installation, tmp_path: Path) -> None:
    for name, content in (("s_20261126.csv", "a,b\n1,2,3\n"), ("s_20261127.csv", "a,b\n1,2\n")):
        (tmp_path / name).write_text(content)
    done = etl.door("suggest_import.py", str(tmp_path / "s_20261126.csv"), str(tmp_path / "s_20261127.csv"))
    assert done.returncode == 1
    assert "s_20261126.csv: Failed" in done.stderr


def test_bad_lines_are_a_question_with_its_setting(suggest: Suggest, etl: Installation) -> None:
    lines = [f"{number},name {number},x\n" for number in range(1, 101)]
    lines[6], lines[29] = '7,"name 7,x\n', '30,"na"me 30,x\n'
    assert len(suggest("q_20261127.csv", "id,name,what\n" + "".join(lines))) == 1 + 98
    assert etl.query("SELECT line_number FROM dba.timportreject ORDER BY 1") == [(8,), (31,)]


def test_nothing_is_made_without_apply_and_a_name_that_is_taken_is_refused(etl: Installation, tmp_path: Path) -> None:
    path = tmp_path / "sales_20261127.csv"
    path.write_text("a,b\nx,1\n")
    told = etl.door("suggest_import.py", str(path), "--json")
    found = json.loads(told.stdout)
    assert found["dry_run"][0]["rows"] == 1
    assert found["columns"] == {"a": {}, "b": {"data_type": "integer"}}
    assert etl.value("SELECT count(*) FROM dba.timportconfig WHERE config_name = 'sales'") == 0
    assert etl.door("suggest_import.py", str(path), "--apply").returncode == 0
    for name in ("sales", "SALES", "sales!"):  # the last two are other names with the same table
        again = etl.door("suggest_import.py", str(path), "--apply", "--name", name)
        assert again.returncode == 1
        assert "there is an import sales already, and it loads into public.tsales" in again.stderr
    assert path.exists()


@pytest.mark.parametrize(
    ("content", "told"), [("", "it has no row with a text"), ("<html><p>log in</p></html>", "web page")]
)  # fmt: skip
def test_a_file_that_is_no_feed_is_said_in_one_sentence(
    etl: Installation, tmp_path: Path, content: str, told: str
) -> None:
    path = tmp_path / "x_20261127.csv"
    path.write_text(content)
    done = etl.door("suggest_import.py", str(path))
    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_no_text_of_a_file_becomes_sql(etl: Installation, tmp_path: Path) -> None:
    path = tmp_path / "o'x; DROP TABLE dba.tdataset_20261127.csv"
    path.write_text("na'me,b'); DROP TABLE dba.tdataset; --\nann,1\n")
    done: subprocess.CompletedProcess[str] = etl.door("suggest_import.py", str(path), "--types", "--apply")
    assert done.returncode == 0, done.stderr
    with db_config.session() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM dba.tdataset")


NAMES = [
    (["sales_20261126.csv", "sales_20261127.csv"], r"^sales_\d{8}\.csv$", "yyyyMMdd"),
    (["20261126T050000_MeetMax_119243.xls", "20261127T051500_MeetMax_119250.xls"], r"^\d{8}T\d{6}_MeetMax_\d+\.xls$", "yyyyMMddTHHmmss"),
    (["Report (daily) 27.11.2026.csv"], r"^Report\ \(daily\)\ \d{2}\.\d{2}\.\d{4}\.csv$", "dd.MM.yyyy"),
    (["a 2026-11-26 ZRH.csv", "a 2026-11-27 MUC.csv"], r"^a\ \d{4}-\d{2}-\d{2}\ .*\.csv$", "yyyy-MM-dd"),
    (["a_25-06-2026.csv"], r"^a_\d{2}-\d{2}-\d{4}\.csv$", "dd-MM-yyyy"),
    (["a_06-25-2026.csv"], r"^a_\d{2}-\d{2}-\d{4}\.csv$", "MM-dd-yyyy"),
    (["prices.csv"], r"^prices\.csv$", None),
    (["99999999.csv"], r"^99999999\.csv$", None),
]  # fmt: skip


@pytest.mark.parametrize(("names", "pattern", "form"), NAMES)
def test_what_stays_in_the_names_is_literal_and_what_changes_is_a_date_or_a_text(
    names: list[str], pattern: str, form: str | None
) -> None:
    settings = {name: value for finding in pattern_of(names).findings for name, value in finding.settings.items()}
    assert settings["file_pattern"] == pattern
    assert settings.get("dateformat") == form


def test_a_date_in_a_name_that_can_be_read_in_two_ways_is_a_question() -> None:
    certainties = [
        pattern_of([name]).findings[1].certainty for name in ("a_05-06-2026.csv", "a_25-06-2026.csv", "05062026.csv")
    ]
    assert certainties == ["cannot tell", "sure", "cannot tell"]


FOOTERS = [
    # The last rows, the words of other rows, and what is no data.
    ([["x", "1"], ["Total", "6"]], (), {"footer_pattern": r'(?i)^\W*total[\s:."]*(,|$)'}),
    ([["x", "1", "2"], ["Source: me"]], (), {"footer_pattern": r"(?i)^\W*source\b"}),
    ([["Total Gas", "1"], ["Total Energies", "6"]], ("total",), None),
    ([["Total Gas", "1"], ["Total:", "6"]], ("total",), {"footer_rows": 1}),
    ([["a", "1", "x"], ["b", "", ""]], (), {"footer_rows": 1}),
    ([["a", "", ""], ["c", "1", "x"], ["b", "", ""]], (), None),
    ([["a", "1", "x"], ["made today"], ["by me"]], (), {"footer_rows": 2}),
    ([["a", "1", "x"], ["", "", ""]], (), None),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "words", "settings"), FOOTERS)
def test_only_what_is_no_row_of_the_table_is_a_footer(
    rows: list[list[str]], words: tuple[str, ...], settings: dict[str, object] | None
) -> None:
    found = footer_of(rows, len(rows[0]), words)
    assert (found[0].settings if found else None) == settings


OFFERS = [
    (["1", "22", "-3"], {"data_type": "integer"}), (["007", "12"], {}), (["1234567890123456"], {}),
    (["1.5", "2"], {"data_type": "numeric"}), (["1.234,5", "2,5"], {"data_type": "numeric", "decimal_sign": ",", "thousands_sign": "."}),
    (["1,234", "5,678"], {}), (["03/04/2026"], {}), (["03/14/2026", "01/02/2026"], {"data_type": "date", "dateformat": "MM/dd/yyyy"}),
    (["1", "N/A", "2"], {"data_type": "integer", "null_words": ["N/A"]}),
    (["ja", "Nein"], {"data_type": "boolean", "true_words": ["ja"], "false_words": ["nein"]}),
    (["", ""], {}), (["2026-02-30"], {}),
]  # fmt: skip


@pytest.mark.parametrize(("values", "offer"), OFFERS)
def test_a_type_is_offered_only_where_every_value_has_it(values: list[str], offer: dict[str, object]) -> None:
    (column,) = forms_of(["x"], [(line, [value]) for line, value in enumerate(values, 2)])
    assert column.offer()[0] == offer


@given(st.lists(st.text(max_size=12), max_size=20))
def test_no_value_makes_the_offer_fail(values: list[str]) -> None:
    (column,) = forms_of(["x"], [(line, [value]) for line, value in enumerate(values, 2)])
    assert isinstance(column.offer()[1], str)
