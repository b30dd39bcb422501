"""Where the headings stand, and what becomes of titles above them; which sheet of a workbook is loaded."""

import io
from pathlib import Path

import openpyxl
import pytest
from conftest import Installation
from test_generic_import import add_import, drop_file, loaded, run

from systemscripts.importing.dialect import Dialect
from systemscripts.importing.header import NoHeader, find_header

Rows = list[list[object]]


def workbook(**sheets: Rows) -> bytes:
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def drop_workbook(etl: Installation, **sheets: Rows) -> Path:
    return drop_file(etl, workbook(**sheets), "clients_20260302.xlsx")


def add_workbook_import(etl: Installation, **columns: object) -> None:
    add_import(etl, file_pattern="clients_*.xlsx", file_type="XLSX", **columns)


@pytest.mark.parametrize(
    ("text", "headings", "above"),
    [
        ("a,b\n1,2\n", ["a", "b"], []),
        ("List of clients,,\n,,\nname,city,country\nAcme,Bern,CH\n", ["name", "city", "country"], ["List of clients"]),
        ("one\nanother\na,b,c\n1,2,3\n", ["a", "b", "c"], ["one", "another"]),
        # Where a title is not beyond doubt, the first row is the header.
        ("As of,2026-03-02,,\na,b,c,d\n1,2,3,4\n", ["As of", "2026-03-02", "", ""], []),
        ("name,ticker\nAcme,AC\nBeta,BT,1x1,room,9:00\nGamma,GM\n", ["name", "ticker"], []),
        ("name\nAcme\nBeta,x,y\nGamma\nDelta\n", ["name"], []),
        ("name\nAcme\nBeta,x,y\n", ["name"], []),
        ("title,,\na,b,c\n1,2,3,4\n", ["title", "", ""], []),
        # Few headings over many columns are no title.
        ("a,b,c,,,,,\n1,2,3,4,5,6,7,8\n", ["a", "b", "c", "", "", "", "", ""], []),
        ("a,b\n,\n1,2\n", ["a", "b"], []),
        ("title\na\n1\n", ["title"], []),
        (",,\n,,\na,b,c\n", ["a", "b", "c"], []),
    ],
)
def test_titles_are_told_from_headings(text: str, headings: list[str], above: list[str]) -> None:
    found = find_header(text, Dialect(","), may_have_titles=True)
    assert found.headings == headings
    assert [" ".join(filter(None, fields)) for fields in found.above] == above
    assert text[found.end :] == text.split(",".join(headings) + "\n", 1)[1]


def test_a_row_that_has_no_headings_is_named() -> None:
    for row in (2, 9):
        with pytest.raises(NoHeader, match=f"row {row}, which header_row"):
            find_header("a,b\n,\n1,2\n", Dialect(","), row)
    with pytest.raises(NoHeader, match="headings in row 1"):
        find_header("\na,b\n1,2\n", Dialect(","), 1)


def test_titles_of_a_sheet_are_left_out_and_reported(etl: Installation) -> None:
    add_workbook_import(etl)
    drop_workbook(etl, List=[["Clients, all"], [], ["Name", "City", "Code"], ["Acme", "Bern", "007"], ["NA", None, 7]])
    (outcome,) = run().files
    assert outcome.detail.endswith("above the header row: 'Clients, all'")
    assert loaded(etl, "name, city, code") == [("Acme", "Bern", "007"), ("NA", None, "7")]
    assert etl.value("SELECT above_header FROM dba.timportfile") == "Clients, all"
    assert "headings: 'Clients, all'" in etl.door("show_imports.py").stdout


@pytest.mark.parametrize("kind", ["CSV", "XLSX"])
def test_the_header_row_can_be_named(etl: Installation, kind: str) -> None:
    rows: Rows = [["not", "these", "ones"], ["a", "b", "c"], ["1", "2", "3"], ["x", "", "z"]]
    if kind == "CSV":
        add_import(etl, header_row=2, reject_limit_percent=50)
        drop_file(etl, "".join(",".join(map(str, row)) + "\n" for row in rows) + "ragged\n")
    else:
        add_workbook_import(etl, header_row=2)
        drop_workbook(etl, List=rows)
    assert run().counts() == {"Loaded": 1}
    assert loaded(etl, "a, b, c") == [("1", "2", "3"), ("x", None, "z")]
    assert etl.value("SELECT above_header FROM dba.timportfile") == "not these ones"
    if kind == "CSV":
        assert etl.query("SELECT line_number, original FROM dba.timportreject") == [(5, "ragged")]


def test_with_rules_the_line_that_is_named_counts_the_titles(etl: Installation) -> None:
    add_import(etl, header_row=3)
    etl.query(
        "INSERT INTO dba.timportcolumn (config_id, column_name, data_type) SELECT max(config_id), 'n', 'integer' FROM dba.timportconfig"
    )
    drop_file(etl, "title\n\nn,b\n1,x\nmany,y\n")
    assert run().files[0].detail == "line 5, column 'n': it is not a whole number: 'many'"


@pytest.mark.parametrize(
    ("sheet", "loads"), [(None, "first"), ("Prices", "second"), ("2", "second"), ("prices", "second")]
)
def test_the_configured_sheet_is_loaded(etl: Installation, sheet: str | None, loads: str) -> None:
    add_workbook_import(etl, sheet=sheet)
    drop_workbook(etl, Names=[["a"], ["first"]], Prices=[["a"], ["second"]])
    assert run().counts() == {"Loaded": 1}
    assert loaded(etl, "a") == [(loads,)]


def test_a_sheet_that_is_not_there_refuses_the_file_and_names_those_there_are(etl: Installation) -> None:
    add_workbook_import(etl, sheet="Prices")
    drop_workbook(etl, Names=[["a"], ["first"]])
    (outcome,) = run().files
    assert outcome.status == "Failed"
    assert "it has no sheet 'Prices'; it has 'Names'" in outcome.detail
