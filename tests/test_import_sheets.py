"""Which sheets of a workbook are loaded: named, by a pattern, all of them; a cover page is never taken for the data."""

import pytest
from conftest import Installation
from test_generic_import import loaded, run
from test_import_headers import Rows, add_workbook_import, drop_workbook

DATA: Rows = [["name", "price"], ["ann", "1"], ["bob", "2"]]


@pytest.mark.parametrize("sheet", ["Prices *", "[P]rices*", "*2026"])
def test_a_sheet_is_found_by_a_pattern(etl: Installation, sheet: str) -> None:
    add_workbook_import(etl, sheet=sheet)
    drop_workbook(etl, **{"Cover": [["hello"]], "Prices 2026": DATA})
    (outcome,) = run(dry_run=True).files
    assert "OOXML, sheet 'Prices 2026' (1 of 2, the others: 'Cover')" in outcome.detail
    assert run().counts() == {"Loaded": 1}
    assert loaded(etl, "name, price") == [("ann", "1"), ("bob", "2")]


def test_a_pattern_that_fits_several_sheets_or_none_is_refused_with_their_names(etl: Installation) -> None:
    add_workbook_import(etl, sheet="Prices *")
    drop_workbook(etl, **{"Prices 1": DATA, "Prices 2": DATA})
    assert "'Prices 1', 'Prices 2' fit sheet 'Prices *'" in run().files[0].detail
    drop_workbook(etl, List=DATA)
    assert "none of its sheets fits sheet 'Prices *'; it has 'List'" in run().files[0].detail


COVERS: dict[str, Rows] = {
    "a blank sheet": [],
    "a title": [["Prices of the week"]],
    "a cover of one column": [["Prices of the week"], ["made by", None], ["ann"], ["2026"]],
    "headings alone": [["name", "price"]],
}


@pytest.mark.parametrize("cover", COVERS.values(), ids=COVERS)
def test_a_first_sheet_without_data_is_asked_for_where_others_have_some(etl: Installation, cover: Rows) -> None:
    add_workbook_import(etl)
    drop_workbook(etl, Cover=cover, Prices=DATA, Notes=[])
    (outcome,) = run().files
    assert outcome.status == "Failed"
    assert "its first sheet 'Cover' has " in outcome.detail
    assert "there is data in 'Prices'; set sheet" in outcome.detail
    assert etl.value("SELECT count(*) FROM dba.tdataset") == 0


MANY: Rows = [["nr", "code"], *([f"{number}", "x"] for number in range(60))]
KEYS: Rows = [["client", "Acme"], ["as of", "27.11."], ["made by", "Ann"]]


def test_a_short_first_sheet_beside_a_long_one_makes_no_table_before_a_person_has_decided(etl: Installation) -> None:
    add_workbook_import(etl)
    drop_workbook(etl, Cover=KEYS, Data=MANY)
    (outcome,) = run().files
    assert outcome.status == "Failed"
    assert "its first sheet 'Cover' has 3 rows only, and there are many more in 'Data'; set sheet" in outcome.detail
    assert etl.value("SELECT to_regclass('public.tclients')") is None
    etl.query("UPDATE dba.timportconfig SET sheet = '1' WHERE config_name = 'clients'")
    drop_workbook(etl, Cover=KEYS, Data=MANY)
    assert run().counts() == {"Loaded": 1}


def test_a_short_day_of_a_feed_that_is_known_is_loaded(etl: Installation) -> None:
    add_workbook_import(etl)
    drop_workbook(etl, List=MANY, Other=MANY)
    assert run().counts() == {"Loaded": 1}
    drop_workbook(etl, List=[["nr", "code"], ["1", "y"]], Other=MANY)
    assert run().counts() == {"Loaded": 1}


def test_where_the_header_row_of_the_first_sheet_is_in_doubt_both_cures_are_told(etl: Installation) -> None:
    add_workbook_import(etl)
    drop_workbook(etl, Cover=[["2026", "1"], ["2027", "2"]], Prices=DATA)
    (outcome,) = run().files
    assert "row 1 seems to be data" in outcome.detail
    assert "header_row" in outcome.detail
    assert "or set sheet, if the data is in 'Prices'" in outcome.detail


def test_a_first_sheet_that_is_named_is_taken_as_it_is(etl: Installation) -> None:
    add_workbook_import(etl, sheet="1")
    drop_workbook(etl, Cover=[["name", "price"]], Prices=DATA)
    assert run().counts() == {"Empty": 1}


@pytest.mark.parametrize("others", [{}, {"Notes": [["a note"]]}, {"Notes": []}])
def test_a_first_sheet_of_one_column_is_loaded_where_no_other_holds_more(
    etl: Installation, others: dict[str, Rows]
) -> None:
    add_workbook_import(etl)
    drop_workbook(etl, Names=[["name"], ["ann"], ["bob"]], **others)
    assert run().counts() == {"Loaded": 1}


def test_all_sheets_are_loaded_with_their_names_in_a_column(etl: Installation) -> None:
    add_workbook_import(etl, sheet_column="branch", footer_pattern="^Total")
    north: Rows = [["Prices of", None, None], [], ["name", "price", "unit"], ["ann", "1", "kg"], ["Total", "1", ""]]
    drop_workbook(etl, North=north, South=[["Name", "Price", "unit"], ["bob", "2\n3", "t"]], Empty=[])
    (outcome,) = run(dry_run=True).files
    assert outcome.status == "Would load"
    assert "OOXML, sheets 'North', 'South', left out as empty: 'Empty'" in outcome.detail
    assert run().counts() == {"Loaded": 1}
    assert loaded(etl, "name, price, unit, branch") == [("ann", "1", "kg", "North"), ("bob", "2\n3", "t", "South")]
    assert etl.query("SELECT above_header, below_data FROM dba.timportfile") == [
        ("North: Prices of", "North: Total,1,")
    ]


def test_only_the_sheets_that_fit_are_loaded(etl: Installation) -> None:
    add_workbook_import(etl, sheet_column="sheet", sheet="20*")
    drop_workbook(etl, **{"Cover": [["x"]], "2025": DATA, "2026": DATA})
    assert run().counts() == {"Loaded": 1}
    assert loaded(etl, "name, sheet") == [("ann", "2025"), ("bob", "2025"), ("ann", "2026"), ("bob", "2026")]


@pytest.mark.parametrize(
    ("sheets", "words"),
    [
        ({"A": DATA, "B": [["name", "city"], ["x", "y"]]}, "'A' and 'B' have different headings: 'name', 'price', and 'name', 'city'"),
        ({"A": [["name", "Branch"], ["x", "y"]]}, "has a column 'branch' already"),
        ({"A": [], "B": []}, "none of its sheets has a row: 'A', 'B'"),
    ],
)  # fmt: skip
def test_sheets_that_do_not_belong_together_are_refused(etl: Installation, sheets: dict[str, Rows], words: str) -> None:
    add_workbook_import(etl, sheet_column="branch")
    drop_workbook(etl, **sheets)
    (outcome,) = run().files
    assert outcome.status == "Failed"
    assert words in outcome.detail
