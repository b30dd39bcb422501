"""Spreadsheets to CSV: what each kind of file comes to, and that two engines write the same bytes."""

import argparse
import csv
import datetime
import io
import itertools
import json
import re
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from conftest import Installation
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
from spreadsheet_samples import (
    XML_2003,
    XML_2003_AS_CSV,
    number_cells,
    ole2_in_a_circle,
    ole2_named,
    ooxml,
    openpyxl_book,
    password_protected_xls,
    raw_biff2,
    saved,
    with_a_damaged_part,
    xlwt_book,
    xlwt_sheets,
)

from systemscripts import progress, xls_to_csv
from systemscripts.errors import WrongCall
from systemscripts.spreadsheets import archive, blocks
from systemscripts.spreadsheets.cell_text import (
    NumberKind,
    date_text,
    duration_text,
    iso_text,
    number_kind,
    number_text,
)
from systemscripts.spreadsheets.child import Conversion, report_of
from systemscripts.spreadsheets.csv_writer import write_rectangle
from systemscripts.spreadsheets.model import Limits
from systemscripts.xls_to_csv import Engine, UnreadableSpreadsheet, convert

pytestmark = pytest.mark.slow

LIMITS = Limits(memory_mb=1024, seconds=60, max_cells=1_000_000, max_mb=100)


def here(content: bytes, engine: Engine, sheet: str | int | None = None) -> tuple[dict[str, Any], str]:
    """Convert in this process, which is quicker than a child; return the report and the CSV."""
    output = io.BytesIO()
    with tempfile.NamedTemporaryFile() as source:
        source.write(content)
        source.flush()
        with open(source.name, "rb") as stream:
            report = report_of(Conversion(stream, output, sheet, engine, LIMITS), LIMITS)
    return report, output.getvalue().decode()


def column(content: bytes, engine: Engine = "auto") -> list[str]:
    """Return the texts of the first column."""
    report, text = here(content, engine)
    assert "refused" not in report, report
    return [row[0] for row in csv.reader(io.StringIO(text, newline=""))]


# ---- what each kind of file comes to -------------------------------------------------------

TEXT_ROWS = [["name", "size"], ["a", 1], ["b", 2.5]]
TEXT_CSV = "name,size\na,1\nb,2.5\n"
HTML = "<html><body><p>Report<table><tr><th>name<th>size<tr><td>a<td>1<tr><td>b<td>2.5</table></html>"


@pytest.mark.parametrize(
    ("content", "kind", "engine", "expected"),
    [
        pytest.param(xlwt_book(TEXT_ROWS), "BIFF8", "fast", TEXT_CSV, id="xls"),
        pytest.param(openpyxl_book(TEXT_ROWS), "OOXML", "fast", TEXT_CSV, id="xlsx"),
        pytest.param(raw_biff2(), "BIFF2", "reference", "ab,7,#N/A\n", id="Excel 2"),
        pytest.param(HTML.encode(), "HTML table", "reference", TEXT_CSV, id="html"),
        pytest.param(HTML.encode("utf-16"), "HTML table", "reference", TEXT_CSV, id="html in UTF-16"),
        pytest.param(XML_2003.encode(), "SpreadsheetML 2003", "reference", XML_2003_AS_CSV, id="xml 2003"),
        pytest.param(b"name;size\r\na;1,5\r\n", "CSV", "copy", "name;size\r\na;1,5\r\n", id="csv"),
        pytest.param(b"name\tsize\na\t1\n", "CSV", "copy", "name\tsize\na\t1\n", id="tsv"),
        pytest.param(b"Invalid Event ID", "text", "copy", "Invalid Event ID", id="words"),
        pytest.param(openpyxl_book([]), "OOXML", "fast", "", id="empty sheet"),
        pytest.param(xlwt_book([]), "BIFF8", "fast", "", id="empty xls sheet"),
    ],
)
def test_it_goes_by_the_bytes(content: bytes, kind: str, engine: str, expected: str) -> None:
    report, text = here(content, "auto")

    assert (report["kind"], report["engine"], text) == (kind, engine, expected)
    if engine != "copy":
        lines = list(csv.reader(io.StringIO(expected)))
        assert (report["rows"], report["columns"]) == (len(lines), len(lines[0]) if lines else 0)


def test_it_does_not_go_by_the_name(tmp_path: Path) -> None:
    done = convert(saved(tmp_path / "companies.xls", openpyxl_book(TEXT_ROWS)), tmp_path / "out.csv")

    assert (done.kind, done.engine, done.rows, done.columns) == ("OOXML", "fast", 3, 2)
    assert (tmp_path / "out.csv").read_text() == TEXT_CSV


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"", "it is empty", id="empty"),
        pytest.param(b" \r\n\t", "it is empty", id="blanks"),
        pytest.param(password_protected_xls(), "protected with a password", id="xls with a password"),
        pytest.param(ole2_named("EncryptedPackage"), "protected with a password", id="xlsx with a password"),
        pytest.param(ole2_named("WordDocument"), "a Word document", id="doc"),
        pytest.param(ole2_named("Contents"), "without a workbook", id="other OLE2"),
        pytest.param(xlwt_book(TEXT_ROWS)[:400], "cut off", id="cut in the header"),
        pytest.param(xlwt_book(TEXT_ROWS * 2000)[:-2000], "cut off", id="cut at the end"),
        pytest.param(xlwt_book(TEXT_ROWS * 2000)[:-512], "list of its streams is missing", id="cut before the list"),
        pytest.param(ole2_in_a_circle(), "in a circle", id="sectors in a circle"),
        pytest.param(openpyxl_book(TEXT_ROWS)[:-30], "damaged or cut off", id="xlsx cut at the end"),
        pytest.param(
            b"<html><title>Just a moment...</title><body>wait", "without a table: 'Just a moment...'", id="html page"
        ),
        pytest.param(b"<html><table></table>", "without a table", id="html with an empty table"),
        pytest.param(b"<?xml version='1.0'?><feed/>", "XML, but not", id="xml"),
        pytest.param(b"%PDF-1.7 ...", "a PDF", id="pdf"),
        pytest.param(b"ID;PWXL;N;E\nP;PGeneral\n", "SYLK", id="sylk"),
        pytest.param(b"TABLE\r\n0,1\r\n", "DIF", id="dif"),
        pytest.param(b"MIME-Version: 1.0\r\nContent-Type: multipart/related", "web archive", id="mhtml"),
        pytest.param(b"\x07\x00\x00\x01garbage\x00", "neither a known spreadsheet nor text", id="garbage"),
        pytest.param(
            ooxml('<row r="1"><c r="A1" t="zz"><v>x</v></c></row>'), "cell A1 cannot be read", id="unknown type"
        ),
    ],
)
def test_it_refuses_with_one_sentence(content: bytes, words: str) -> None:
    refusal = here(content, "auto")[0]["refused"]

    assert words in refusal
    assert "\n" not in refusal


def test_a_refusal_names_the_file_and_leaves_what_was_there(tmp_path: Path) -> None:
    source = saved(tmp_path / "companies.xls", b"%PDF-1.7 ...")
    (tmp_path / "out.csv").write_text("as before")

    with pytest.raises(UnreadableSpreadsheet, match=f"^{source}: .*a PDF"):
        convert(source, tmp_path / "out.csv")

    assert sorted(file.name for file in tmp_path.iterdir()) == ["companies.xls", "out.csv"]
    assert (tmp_path / "out.csv").read_text() == "as before"


def zip_of(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["content.xml", "mimetype"], ".ods"),
        (["xl/workbook.bin"], ".xlsb"),
        (["Index/Document.iwa"], "Numbers"),
        (["word/document.xml"], "Word"),
        (["ppt/presentation.xml"], "PowerPoint"),
        (["prices.csv"], "unpack it first"),
        ([f"{number}.xml" for number in range(10_001)], "10,001 entries"),
    ],
)
def test_it_says_what_a_zip_holds_instead_of_a_workbook(names: list[str], words: str) -> None:
    assert words in here(zip_of(*names), "auto")[0]["refused"]


def test_it_says_when_the_file_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        convert(tmp_path / "nothing.xls", tmp_path / "out.csv")
    assert list(tmp_path.iterdir()) == []


# ---- caps ----------------------------------------------------------------------------------


def test_a_formatted_cell_in_the_last_corner_costs_nothing() -> None:
    content = ooxml('<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576" s="0"/></row>')

    for engine in ("fast", "reference"):
        report, text = here(content, engine)
        assert (text, report["rows"], report["columns"]) == ("1\n", 1, 1)


def test_a_value_in_the_last_corner_is_refused_for_its_cells(tmp_path: Path) -> None:
    content = ooxml('<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>')

    with pytest.raises(UnreadableSpreadsheet, match=r"1,048,576 .*16,384 .*ETL_SPREADSHEET_MAX_CELLS"):
        convert(saved(tmp_path / "x.xlsx", content), tmp_path / "out.csv")


def test_a_value_in_the_last_corner_alone_is_refused_at_once(tmp_path: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    book.active["XFD1048576"] = 1
    book.save(tmp_path / "x.xlsx")
    for engine in ("fast", "auto", "reference"):
        with pytest.raises(UnreadableSpreadsheet, match="exceeds 50,000,000 cells"):
            convert(tmp_path / "x.xlsx", tmp_path / "out.csv", engine=engine)


def test_where_the_fast_engine_takes_its_process_down_the_reference_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 20 million cells in the fast engine's memory, two in the file.
    content = ooxml('<row r="1"><c r="A1"><v>1</v></c></row><row r="20000"><c r="ALL20000"><v>2</v></c></row>')
    monkeypatch.setenv("ETL_SPREADSHEET_MEMORY_MB", "256")
    source = saved(tmp_path / "x.xlsx", content)

    with pytest.raises(UnreadableSpreadsheet, match="broke down|MiB of memory"):
        convert(source, tmp_path / "out.csv", engine="fast")
    done = convert(source, tmp_path / "out.csv")

    assert (done.engine, done.rows, done.columns) == ("reference", 20_000, 1000)


def test_a_zip_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = ooxml("", more={"xl/worksheets/sheet2.xml": b" " * 50_000_000})

    assert "250 times its size" in here(bomb, "auto")[0]["refused"]


def test_what_unpacks_to_more_than_allowed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETL_SPREADSHEET_MAX_MB", "1")
    content = ooxml("", more={"xl/media/picture.png": bytes(2_000_000)})

    with pytest.raises(UnreadableSpreadsheet, match="ETL_SPREADSHEET_MAX_MB"):
        convert(saved(tmp_path / "x.xlsx", content), tmp_path / "out.csv")


def test_a_csv_larger_than_allowed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETL_SPREADSHEET_MAX_MB", "1")
    cells = "".join(f'<row r="{n}"><c r="A{n}" t="s"><v>0</v></c></row>' for n in range(1, 200))
    content = ooxml(cells, strings=f"<si><t>{'x' * 30_000}</t></si>")

    with pytest.raises(UnreadableSpreadsheet, match=r"CSV exceeds 1 MiB"):
        convert(saved(tmp_path / "x.xlsx", content), tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_a_reader_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xls_to_csv, "_limits", lambda: Limits(1024, 0, 1000, 100))

    with pytest.raises(UnreadableSpreadsheet, match="not read within 0 seconds"):
        convert(saved(tmp_path / "x.xls", xlwt_book(TEXT_ROWS)), tmp_path / "out.csv")


@pytest.mark.parametrize("engine", ["fast", "auto", "reference"])
def test_a_damaged_part_is_refused_whatever_the_engine(tmp_path: Path, engine: Engine) -> None:
    content = with_a_damaged_part(openpyxl_book(TEXT_ROWS), "xl/worksheets/sheet1.xml")

    with pytest.raises(UnreadableSpreadsheet, match="Bad CRC-32|it is damaged"):
        convert(saved(tmp_path / "x.xlsx", content), tmp_path / "out.csv", engine=engine)


def test_the_words_of_a_reader_that_gives_up_are_no_part_of_the_sentence() -> None:
    class GivesUp:
        def run(self) -> None:
            raise AssertionError

    told = report_of(GivesUp(), Limits(1024, 10, 1000, 100))
    assert told["refused"] == "it is damaged, or of a kind that is not read; open it with Excel, and save it as .xlsx"
    assert "AssertionError" in told["traceback"]


def test_entities_are_refused() -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa">]><worksheet/>'
    assert "entities" in here(ooxml("", more={"xl/worksheets/sheet2.xml": bomb}), "auto")[0]["refused"]
    workbook = XML_2003.replace("<Workbook", '<!DOCTYPE Workbook [<!ENTITY a "aaaa">]><Workbook', 1)
    assert "entities" in here(workbook.encode(), "auto")[0]["refused"]


EVIL = '<!DOCTYPE x [<!ENTITY x "EVIL">]>'


def as_utf_16(text: str) -> bytes:
    return text.replace("utf-8", "utf-16").encode("utf-16")


@pytest.mark.parametrize("encode", [str.encode, as_utf_16])
@pytest.mark.parametrize(
    "before",
    [
        "",
        "<!-- " + "x" * 1_400_000 + " -->",
        "<?x " + "y" * 70_000 + "?>\n",
        "<!-- <worksheet> -->",
        "<!--\u2d2d\u3e00 <a> -->",
        "<!---->" * 20_000,
        " " * ((1 << 20) - 44),
    ],
    ids=["at once", "comment", "instruction", "element in a comment", "signs in other bytes", "comments", "at a cut"],
)
def test_entities_are_refused_wherever_they_are_declared(before: str, encode: Callable[[str], bytes]) -> None:
    hostile = encode(f'<?xml version="1.0" encoding="utf-8"?>{before}{EVIL}<worksheet/>')
    content = ooxml("", more={"xl/worksheets/sheet1.xml": hostile})
    assert "declares XML entities" in here(content, "auto")[0]["refused"]


@pytest.mark.parametrize(
    "part",
    [
        *["[Content_Types].xml", "_rels/.rels", "xl/workbook.xml", "xl/_rels/workbook.xml.rels"],
        *["xl/styles.xml", "xl/sharedStrings.xml", "xl/worksheets/sheet1.xml", "xl/theme/theme1.xml", "xl/sheet.bin"],
    ],
)
def test_entities_are_refused_in_every_part(part: str) -> None:
    hostile = f"<!-- {'x' * 1_400_000} -->{EVIL}<x/>"
    content = ooxml(inline("<t>A</t>"), more={part: hostile.encode()})
    assert "declares XML entities" in here(content, "auto")[0]["refused"]


@pytest.mark.parametrize("engine", ["auto", "reference"])
def test_a_sheet_under_the_name_of_a_picture_may_declare_no_entities(engine: Engine) -> None:
    usual = ooxml("")
    with zipfile.ZipFile(io.BytesIO(usual)) as archive:
        relations = archive.read("xl/_rels/workbook.xml.rels").replace(b"worksheets/sheet1.xml", b"media/a.svg")
        sheet = archive.read("xl/worksheets/sheet1.xml").decode()
    hostile = EVIL + sheet.replace("<sheetData>", f"<sheetData>{inline('<t>A&x;B</t>')}")
    report, text = here(
        ooxml("", more={"xl/_rels/workbook.xml.rels": relations, "xl/media/a.svg": hostile.encode()}), engine
    )
    assert "refused" in report
    assert "EVIL" not in text


def test_a_picture_in_a_workbook_may_have_a_document_type() -> None:
    picture = b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "svg11.dtd"><svg/>'
    assert column(ooxml(inline("<t>A</t>"), more={"xl/media/image1.svg": picture})) == ["A"]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.floats(0.001, 0.999), st.sampled_from(["auto", "reference"]))
def test_an_xls_that_is_cut_anywhere_is_refused_or_read_whole(part: float, engine: Engine) -> None:
    report, text = here(CUT_SAMPLE[: int(len(CUT_SAMPLE) * part)], engine)

    assert "refused" in report or text == CUT_SAMPLE_CSV


CUT_SAMPLE = xlwt_book([[f"company {row}", row * 1.5, row] for row in range(800)])
CUT_SAMPLE_CSV = here(CUT_SAMPLE, "reference")[1]


# ---- the text of a cell --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0"), (-0.0, "0"), (1.0, "1"), (-7.0, "-7"), (0.1, "0.1"), (0.1 + 0.2, "0.30000000000000004"),
        (1e15, "1000000000000000"), (2.0**53, "9007199254740992"), (1.2345678901234567e19, "12345678901234567000"),
        (1e20, "100000000000000000000"), (1e21, "1e+21"), (1e-7, "1e-07"), (5e-324, "5e-324"),
        (-1.7976931348623157e308, "-1.7976931348623157e+308"),
    ],
)  # fmt: skip
def test_numbers_are_the_shortest_text_that_reads_back(number: float, text: str) -> None:
    assert number_text(number) == text
    assert float(text) == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_reads_back_to_the_same_double(number: float) -> None:
    text = number_text(number)
    assert float(text) == number
    assert not text.endswith(".0")


@pytest.mark.parametrize(
    ("serial", "date_1904", "text"),
    [
        (1, False, "1900-01-01"), (59, False, "1900-02-28"), (60, False, "60"), (60.5, False, "60.5"),
        (61, False, "1900-03-01"), (45000, False, "2023-03-15"), (45000.5, False, "2023-03-15 12:00:00"),
        (45000.123456789, False, "2023-03-15 02:57:46.667000"), (45000.9999999999, False, "2023-03-16"),
        (2958465, False, "9999-12-31"), (2958465.9999999999, False, "2958466"), (2958466, False, "2958466"),
        (-1, False, "-1"), (-0.5, False, "-0.5"), (0, False, "00:00:00"), (0.25, False, "06:00:00"),
        (0.999999999999, False, "00:00:00"), (1, True, "1904-01-02"), (45000, True, "2027-03-16"),
        (60, True, "1904-03-01"), (0.5, True, "1904-01-01 12:00:00"), (0, True, "1904-01-01"), (0.9999999999, True, "1904-01-02"),
        (2957003, True, "9999-12-31"), (2957004, True, "2957004"),
    ],
)  # fmt: skip
def test_dates_are_iso_in_both_date_systems(serial: float, date_1904: bool, text: str) -> None:
    assert date_text(serial, date_1904) == text


# Serial 0, and half a day, by the workbook's date system.
FIRST_DAY = [("yyyy-mm-dd", "1904-01-01", "1904-01-01 12:00:00"), ("h:mm", "00:00:00", "12:00:00")]


@pytest.mark.parametrize(("code", "midnight", "noon"), FIRST_DAY)
@pytest.mark.parametrize("engine", ["auto", "reference"])
def test_the_first_day_of_1904_is_a_day_where_it_is_shown_as_one(
    code: str, midnight: str, noon: str, engine: Engine
) -> None:
    xlsx = ooxml(number_cells([0.0, 0.5], style=1), styles=code, date_1904=True)
    xls = xlwt_book([[0.0], [0.5]], date_1904=True, number_format=code)
    assert column(xlsx, engine) == column(xls, engine) == [midnight, noon]
    assert column(ooxml(number_cells([0.0, 0.5], style=1), styles=code), engine) == ["00:00:00", "12:00:00"]


@pytest.mark.parametrize(
    ("days", "text"),
    [(0, "00:00:00"), (1.5, "36:00:00"), (0.0001, "00:00:08.640000"), (-0.25, "-06:00:00"), (45000, "1080000:00:00")],
)
def test_elapsed_times_count_hours_beyond_a_day(days: float, text: str) -> None:
    assert duration_text(days) == text


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("2024-02-29", "2024-02-29"), ("2024-02-29T00:00:00.000", "2024-02-29"), ("2024-02-29T01:02:03Z", "2024-02-29 01:02:03"),
        ("2024-02-29T01:02:03.5", "2024-02-29 01:02:03.500000"), ("03:04:05", "03:04:05"), ("1899-12-31T06:00:00", "06:00:00"),
    ],
)  # fmt: skip
def test_dates_that_are_written_out_get_the_same_form(written: str, text: str) -> None:
    assert iso_text(written) == text


def test_xml_2003_holds_times_of_day_on_day_zero_of_its_date_system() -> None:
    options = "<x:ExcelWorkbook><x:Date1904/></x:ExcelWorkbook>"
    times = XML_2003.replace("1899-12-31T06:30", "1904-01-01T06:30")
    assert "1904-01-01 06:30:00" in here(times.encode(), "auto")[1]
    counted_from_1904 = times.replace(" <Worksheet", f" {options}<Worksheet", 1)
    assert here(counted_from_1904.encode(), "auto")[1] == XML_2003_AS_CSV
    style = '<Styles><Style ss:ID="d"><NumberFormat ss:Format="Short Date"/></Style></Styles>'
    dated = counted_from_1904.replace(" <Worksheet", f" {style}<Worksheet", 1)
    dated = dated.replace('<Cell><Data ss:Type="DateTime">1904', '<Cell ss:StyleID="d"><Data ss:Type="DateTime">1904')
    assert ",1904-01-01 06:30:00," in here(dated.encode(), "auto")[1]


NUMBER, DATE, DURATION, TIME = NumberKind
FORMATS = [
    ("General", NUMBER), ("0", NUMBER), ("0.00E+00", NUMBER), ("#,##0_);[Red](#,##0)", NUMBER), ("@", NUMBER),
    ('0 "days"', NUMBER), (r"0\d", NUMBER), ("[Red]0", NUMBER), ("[$USD-409] #,##0", NUMBER), ("0*d", NUMBER),
    ("0_d", NUMBER), ('#,##0.0####" YMD"', NUMBER), ("0;yyyy", NUMBER), ("[>100][Magenta]General", NUMBER),
    ("yyyy-mm-dd", DATE), ("d/m", DATE), ("H:MM:SS;@", TIME), ("[$-409]d-mmm-yy", DATE), ('m"M"d"D";@', DATE),
    ("h:mm AM/PM", TIME), ("mmm-yy", DATE), ("*-yyyy", DATE), ("ss.000", TIME), ("[$-404]e\"y\"m", DATE),
    ("mm:ss.0", TIME), ("mm", DATE), ("mmmm h:mm", DATE), ("h:mm d", DATE), ('h"h" m"d"', TIME), ("AM/PM", TIME),
    ("[h]:mm", DURATION), ("[hh]:mm:ss", DURATION), ("[mm]:ss", DURATION), ("[s].00", DURATION), ("[Blue][h]:mm;[Red]0", DURATION),
    ("#14", DATE), ("#22", DATE), ("#18", TIME), ("#45", TIME), ("#46", DURATION), ("#47", TIME),
    ("#9", NUMBER), ("#37", NUMBER), ("#49", NUMBER),
    ("#27", DATE), ("#36", DATE), ("#50", DATE), ("#58", DATE),
]  # fmt: skip


@pytest.mark.parametrize(("code", "kind"), FORMATS)
def test_number_formats_say_what_is_a_date(code: str, kind: NumberKind) -> None:
    builtin = code[0] == "#" and code[1:].isdigit()
    assert (number_kind(int(code[1:]), None) if builtin else number_kind(164, code)) is kind


KIND_TEXTS = {
    NUMBER: "45000.25", DATE: "2023-03-15 06:00:00", DURATION: "1080006:00:00", TIME: "2023-03-15 06:00:00",
}  # fmt: skip


def test_both_engines_agree_on_every_number_format() -> None:
    codes = [code for code, _ in FORMATS]
    rows = "".join(f'<row r="{n}"><c r="A{n}" s="{n}"><v>45000.25</v></c></row>' for n in range(1, len(codes) + 1))
    expected = KIND_TEXTS
    content = ooxml(rows, styles="|".join(codes))

    assert column(content, "reference") == [expected[kind] for _, kind in FORMATS]
    for code, kind in FORMATS:
        one = ooxml('<row r="1"><c r="A1" s="1"><v>45000.25</v></c></row>', styles=code)
        assert column(one, "auto") == [expected[kind]], code


def test_both_engines_agree_on_every_number_format_of_xls() -> None:
    for code, kind in FORMATS:
        if code[0] != "#":
            content = xlwt_book([[45000.25]], number_format=code)
            expected = KIND_TEXTS[kind]
            assert column(content, "reference") == column(content, "auto") == [expected], code


# ---- traps: what a reader gets wrong -------------------------------------------------------


def inline(text: str) -> str:
    return f'<row r="1"><c r="A1" t="inlineStr"><is>{text}</is></c></row>'


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param('<row r="1"><c r="A1" t="e"><v>#N/A</v></c><c r="B1"><v>1</v></c></row>', "#N/A,1\n", id="error"),
        pytest.param('<row r="1"><c r="A1" t="e"><f>1/0</f><v>#DIV/0!</v></c></row>', "#DIV/0!\n", id="formula with error"),
        pytest.param('<row r="1"><c r="A1"><f>1+1</f><v>2</v></c></row>', "2\n", id="formula"),
        pytest.param('<row r="1"><c r="A1" t="str"><f>A2</f><v> x </v></c></row>', " x \n", id="text of a formula"),
        pytest.param('<row r="1"><c r="A1" t="b"><v>1</v></c><c r="B1" t="b"><v>0</v></c></row>', "TRUE,FALSE\n", id="booleans"),
        pytest.param(inline("<t> a </t>"), " a \n", id="blanks that calamine trims"),
        pytest.param(inline("<t>a&#10;</t>"), '"a\n"\n', id="a line break that calamine trims"),
        pytest.param(inline('<t xml:space="preserve"> a </t>'), " a \n", id="blanks"),
        pytest.param(inline("<t><![CDATA[a & b]]></t>"), "a & b\n", id="CDATA"),
        pytest.param(inline("<r><t>a</t></r><r><t>b</t></r><rPh sb='0' eb='1'><t>c</t></rPh>"), "ab\n", id="rich text"),
        pytest.param(inline("<t>a_x000D_&#10;b_x005F_x0041_</t>"), '"a\r\nb_x0041_"\n', id="escapes"),
        pytest.param('<row r="1"><c r="A1"><v>12345678901234567</v></c></row>', "12345678901234567\n", id="17 digits"),
        pytest.param('<row r="1"><c r="A1"><v>1E3</v></c><c r="B1"><v>1.50</v></c></row>', "1000,1.5\n", id="number forms"),
        pytest.param('<row r="1"><c r="A1" t="d"><v>2024-01-02T03:04:05Z</v></c></row>', "2024-01-02 03:04:05\n", id="ISO date"),
        pytest.param('<row><c><v>1</v></c></row><row><c/><c><v>2</v></c></row>', "1,\n,2\n", id="no coordinates"),
        pytest.param('<row r="2"><c r="B2"><v>1</v></c></row>', ",\n,1\n", id="begins at A1"),
        pytest.param(
            '<row r="1"><c r="A1"><v>1</v></c></row><row r="3"><c r="C3"><v>2</v></c></row><row r="9"><c r="H9" s="0"/></row>',
            "1,,\n,,\n,,2\n",
            id="ragged, then formatting only",
        ),
        pytest.param(f'<row r="1">{"<c><v>7</v></c>" * 300}</row>', ",".join("7" * 300) + "\n", id="wide"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "before", ["", '<dimension ref="A1"/>', '<dimension ref="A1:XFD1048576"/>', '<dimension ref="A1:B2"/>']
)
def test_a_sheet_reads_as_it_should_whatever_size_it_declares(before: str, rows: str, expected: str) -> None:
    content = ooxml(rows, before=before)

    assert here(content, "reference")[1] == expected
    assert here(content, "auto")[1] == expected
    report, text = here(content, "fast")
    assert text == expected or "the fast engine cannot" in report["refused"]


@pytest.mark.parametrize(
    "rows",
    [
        '<row r="2"><c r="A2"><v>1</v></c></row><row r="1"><c r="A1"><v>2</v></c></row>',
        '<row r="1"><c r="A1"><v>1</v></c></row><row r="1"><c r="B1"><v>2</v></c></row>',
        '<row r="1"><c r="A3"><v>1</v></c></row>',
        '<row r="1"><c r="A1"><v>abc</v></c></row>',
        '<row r="1"><c r="A1" t="b"><v>2</v></c></row>',
        '<row r="1"><c r="A1" t="s"><v>-1</v></c></row>',
        '<row r="1"><c r="A1" t="s"><v>5</v></c></row>',
    ],
)
@pytest.mark.parametrize("engine", ["reference", "auto"])
def test_what_would_have_to_be_guessed_is_refused(rows: str, engine: Engine) -> None:
    assert "it is damaged" in here(ooxml(rows), engine)[0]["refused"]


def test_rows_out_of_order_are_seen_wherever_a_chunk_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [f'<row r="{n}"><c r="A{n}"><v>{n}</v></c><c r="B{n}" s="0"><v>1</v></c></row>' for n in range(1, 40)]
    swapped = [*rows[:20], rows[21], rows[20], *rows[22:]]
    foreign = [row.replace('"B21"', '"B22"') for row in rows]
    for size in range(40, 400, 7):
        monkeypatch.setattr(archive, "CHUNK", size)
        assert fast_blocker(rows) == ""
        assert {fast_blocker(wrong) for wrong in (swapped, foreign, [*rows, rows[-1]])} == {"rows out of order"}


def fast_blocker(rows: list[str]) -> str:
    return archive.inspect(io.BytesIO(ooxml("".join(rows)))).fast_blocker


def test_parts_are_found_whatever_their_spelling() -> None:
    content = ooxml('<row r="1"><c r="A1" t="s"><v>0</v></c></row>', strings="<si><t>x</t></si>")
    spelt = rewritten(content, name=lambda name: name.replace("/", "\\").replace("sharedStrings", "SHAREDStrings"))
    assert here(spelt, "reference")[1] == "x\n"
    assert here(spelt, "auto")[1] == "x\n"


def test_negative_times_do_not_pose_as_times_of_day() -> None:
    content = ooxml(number_cells([0.5, -0.5], style=1), styles="h:mm")
    assert column(content) == ["12:00:00", "-0.5"]
    xls = xlwt_book([[0.5], [-0.5]], number_format="h:mm")
    assert column(xls) == ["12:00:00", "-0.5"]


def test_a_text_with_the_bytes_of_a_word_is_not_changed() -> None:
    texts = [
        "0042",
        " a ",
        "1.0",
        "TRUE",
        "NA",
        "null",
        "2024-01-02",
        "=1+1",
        "a,b",
        'a"b',
        "a\nb",
        "-5",
        "x005F_",
        "é漢😀",
    ]
    for content in (openpyxl_book([[text] for text in texts]), xlwt_book([[text] for text in texts])):
        assert column(content) == column(content, "reference") == texts
    assert column(xlwt_book([["a\r\nb"]])) == ["a\r\nb"]


def test_strict_ooxml_is_read_by_both() -> None:
    content = ooxml('<row r="1"><c r="A1" t="s"><v>0</v></c></row>', strings="<si><t>x</t></si>")
    strict = with_namespaces(content, "http://purl.oclc.org/ooxml/")

    assert column(strict, "fast") == column(strict, "reference") == ["x"]


OFFICE = "http://schemas.openxmlformats.org"


def with_namespaces(content: bytes, strict: str) -> bytes:
    def in_strict(text: str) -> str:
        text = text.replace(f"{OFFICE}/spreadsheetml/2006/main", f"{strict}spreadsheetml/main")
        return text.replace(f"{OFFICE}/officeDocument/2006/relationships", f"{strict}officeDocument/relationships")

    return rewritten(content, text=in_strict)


def rewritten(content: bytes, *, name: Callable[[str], str] = str, text: Callable[[str], str] = str) -> bytes:
    """Return the workbook with another name and text for each of its parts."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for part in old.namelist():
            new.writestr(name(part), text(old.read(part).decode()))
    return buffer.getvalue()


# ---- HTML ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        pytest.param("<table><tr><td>007<td>&nbsp;<td> a  b\n c </table>", "007,,a b c\n", id="blanks"),
        pytest.param("<table><tr><td>a<br>b<td><p>c</p><p>d</p></table>", '"a\nb","c\nd"\n', id="line breaks"),
        pytest.param("<table><tr><td colspan=2>a<td>b<tr><td>1<td>2<td>3</table>", "a,,b\n1,2,3\n", id="colspan"),
        pytest.param("<table><tr><td rowspan=2>a<td>b<tr><td>c</table>", "a,b\n,c\n", id="rowspan"),
        pytest.param(
            "<table><tr><td>a<script>x</script><span style='display:none'>h</span></table>", "a\n", id="hidden"
        ),
        pytest.param(
            "<table><tr><td>Title</table><table><tr><td>a<td>b<tr><td>1<td>2</table>",
            "a,b\n1,2\n",
            id="the larger table",
        ),
        pytest.param("<table><tr><td><table><tr><td>a<td>b</table></table>", "a,b\n", id="layout"),
        pytest.param("<table><tr><td>AT&amp;T &lt;x&gt; &#233;</table>", "AT&T <x> é\n", id="entities"),
        pytest.param("<table><tr><td>a\x01b</table>", "a\x01b\n", id="a control character"),
    ],
)
def test_html_tables_read_as_a_browser_shows_them(page: str, expected: str) -> None:
    report, text = here(page.encode(), "auto")
    assert (report["kind"], text) == ("HTML table", expected)


@pytest.mark.parametrize("around", [("", ""), ("<html><body>", "</body></html>")])
def test_a_list_cut_anywhere_is_refused(around: tuple[str, str]) -> None:
    """The half of a list would be loaded as all of it, its last cell with half a tag in it."""
    rows = "".join(f"<tr><td>company {n}</td><td>T{n}</td></tr>" for n in range(4))
    page = f"{around[0]}<table><tr><th>company</th><th>ticker</th></tr>{rows}</table>{around[1]}"
    _, whole = here(page.encode(), "auto")
    assert whole.count("\n") == 5

    for length in range(page.index("ticker"), len(page)):
        report, text = here(page[:length].encode(), "auto")
        assert (text, "cut off" in report.get("refused", "")) == ("", True)


def test_html_is_decoded_as_it_says() -> None:
    page = "<meta charset=windows-1252><table><tr><td>Müller €</table>"
    assert here(page.encode("cp1252"), "auto")[1] == "Müller €\n"
    assert here(page.replace("<meta charset=windows-1252>", "").encode("cp1252"), "auto")[1] == "Müller €\n"


# ---- which sheet ---------------------------------------------------------------------------

SHEETS = xlwt_sheets(Secret=(2, "very hidden"), Old=(1, "hidden"), Prices=(0, "visible"), Notes=(0, "second"))


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        (None, "visible"),
        ("Notes", "second"),
        ("notes", "second"),
        ("Old", "hidden"),
        (1, "very hidden"),
        ("4", "second"),
    ],
)
@pytest.mark.parametrize("engine", ["fast", "reference"])
def test_the_first_visible_sheet_unless_another_is_named(engine: Engine, wanted: str | int | None, text: str) -> None:
    assert here(SHEETS, engine, wanted)[1] == f"{text}\n"


@pytest.mark.parametrize("wanted", ["Nothing", 0, 5, "5", -1])
def test_a_sheet_that_is_not_there_is_refused_with_the_names_there_are(wanted: str | int) -> None:
    refusal = here(SHEETS, "auto", wanted)[0]["refused"]
    assert refusal == f"it has no sheet {wanted!r}; it has 'Secret' (hidden), 'Old' (hidden), 'Prices', 'Notes'"


def test_contents_lists_the_sheets(tmp_path: Path) -> None:
    found = xls_to_csv.contents(saved(tmp_path / "x.xls", SHEETS))

    assert found.kind == "BIFF8"
    assert [(sheet.name, sheet.visible) for sheet in found.sheets] == [
        ("Secret", False), ("Old", False), ("Prices", True), ("Notes", True),
    ]  # fmt: skip


# ---- both engines, any values --------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30).filter(
    lambda text: not ILLEGAL_CHARACTERS_RE.search(text) and not re.search("[\ufffe\uffff]", text)
)
MOMENTS = st.datetimes(datetime.datetime(1900, 3, 2), datetime.datetime(9999, 12, 31, 23, 59, 59)).map(
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    TEXTS,
    st.integers(-(2**53) + 1, 2**53 - 1),
    # 15 digits, as openpyxl's writer cuts the rest.
    st.floats(-1e300, 1e300).map(lambda number: float(f"{number:.15g}")),
    MOMENTS,
    st.dates(datetime.date(1904, 1, 2)),
    st.times().map(lambda time: time.replace(microsecond=0)),
)
ELAPSED = st.timedeltas(datetime.timedelta(0), datetime.timedelta(days=9000)).map(
    lambda elapsed: elapsed - elapsed % datetime.timedelta(seconds=1)
)


def grids(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[list[Any]]]:
    return st.lists(st.lists(values, max_size=4), max_size=6)


def plain(value: Any) -> str:
    """Return the text that section of the documentation promises for a value, by another way than the readers'."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, datetime.timedelta):
        minutes, seconds = divmod(int(value.total_seconds()), 60)
        return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"
    if isinstance(value, datetime.datetime):
        return str(value).removesuffix(" 00:00:00")
    return str(value)


def rectangle(rows: Sequence[Sequence[Any]]) -> list[list[str]]:
    texts = [[plain(value) if not isinstance(value, float) else number_text(value) for value in row] for row in rows]
    width = max((n + 1 for row in texts for n, text in enumerate(row) if text), default=0)
    while texts and not any(texts[-1]):
        texts.pop()
    return [[*row, *[""] * width][:width] for row in texts]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(grids(VALUES | ELAPSED), st.booleans())
def test_any_xlsx_reads_the_same_with_both_engines(rows: list[list[Any]], date_1904: bool) -> None:
    content = openpyxl_book(rows, date_1904)
    report, reference = here(content, "reference")
    fast_report, fast = here(content, "fast")

    assert "refused" not in report, report
    assert fast == reference or "the fast engine cannot" in fast_report["refused"]
    if not date_1904:
        # csv takes a lone carriage return within quotes as it is; openpyxl's writer leaves it to XML, which makes it \n.
        expected = [[text.replace("\r\n", "\n").replace("\r", "\n") for text in row] for row in rectangle(rows)]
        assert list(csv.reader(io.StringIO(reference, newline=""))) == expected


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(grids(VALUES), st.booleans())
def test_any_xls_reads_the_same_with_both_engines(rows: list[list[Any]], date_1904: bool) -> None:
    content = xlwt_book(rows, date_1904)
    report, reference = here(content, "reference")
    fast_report, fast = here(content, "fast")

    assert "refused" not in report, report
    assert fast == reference or "the fast engine cannot" in fast_report["refused"]


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.one_of(st.floats(0, 3e6), st.floats(-10, 100), st.integers(-5, 2958470).map(float)), min_size=1),
    st.sampled_from(["yyyy-mm-dd", "h:mm", "[h]:mm:ss", "General"]),
    st.booleans(),
)
def test_any_number_reads_the_same_with_both_engines_whatever_its_format(
    numbers: list[float], code: str, date_1904: bool
) -> None:
    content = ooxml(number_cells(numbers, style=1), styles=code, date_1904=date_1904)
    reference = here(content, "reference")[1]
    report, fast = here(content, "fast")

    assert reference
    assert fast == reference or "the fast engine cannot" in report["refused"]


# ---- blocks of rows ------------------------------------------------------------------------


def columns_of_one_type() -> st.SearchStrategy[list[list[Any]]]:
    """Columns of 12 cells: all of one type, which is read in bulk, but for a few that hold something else."""
    of_one_type = st.sampled_from([
        TEXTS, st.booleans(), MOMENTS, st.dates(datetime.date(1904, 1, 2)), st.times().map(lambda time: time.replace(microsecond=0)),
        st.integers(-(2**53) + 1, 2**53 - 1), st.floats(-1e17, 1e17).map(float.__round__).map(float),
        st.floats(-1e300, 1e300).map(lambda number: float(f"{number:.15g}")),
    ])  # fmt: skip
    column = of_one_type.flatmap(lambda kind: st.lists(kind, min_size=12, max_size=12))
    odd_cells = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 11), VALUES), max_size=3)

    def with_odd_cells(columns: list[list[Any]], odd: list[tuple[int, int, Any]]) -> list[list[Any]]:
        for column_number, row, value in odd:
            columns[column_number % len(columns)][row] = value
        return [list(row) for row in zip(*columns, strict=True)]

    return st.builds(with_odd_cells, st.lists(column, min_size=1, max_size=4), odd_cells)


@pytest.mark.parametrize("book", [openpyxl_book, xlwt_book])
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(columns_of_one_type(), st.sampled_from([1, 7, 8192]))
def test_columns_of_one_type_read_the_same_with_both_engines(
    book: Callable[[list[list[Any]]], bytes], rows: list[list[Any]], block_cells: int
) -> None:
    content = book(rows)
    with mock.patch.object(blocks, "BLOCK_CELLS", block_cells):
        report, reference = here(content, "reference")
        fast_report, fast = here(content, "fast")

    assert "refused" not in report, report
    assert fast == reference or "the fast engine cannot" in fast_report["refused"]


RAGGED_ROWS = st.lists(
    st.tuples(
        st.integers(1, 4), st.lists(st.sampled_from(["", "", "a", ",", '"', "\n", "\r", " é", '","']), max_size=5)
    ),
    max_size=8,
)


@settings(deadline=None, max_examples=300)
@given(RAGGED_ROWS, st.integers(0, 6), st.sampled_from([1, 4, 8192]))
def test_blocks_are_written_as_the_csv_module_writes_rows(
    steps: list[tuple[int, list[str]]], width: int, block_cells: int
) -> None:
    numbers = list(itertools.accumulate((step for step, _ in steps), initial=-1))[1:]
    rows = [(number, cells) for number, (_, cells) in zip(numbers, steps, strict=True)]
    read = blocks.in_blocks(lambda _workbook, _index: iter(rows))
    output = io.BytesIO()
    with mock.patch.object(blocks, "BLOCK_CELLS", block_cells):
        size = write_rectangle(lambda: read(None, 0), width, output, LIMITS)

    by_number = {number: cells for number, cells in rows if any(cells)}
    columns = max((place + 1 for cells in by_number.values() for place, cell in enumerate(cells) if cell), default=0)
    grid = [by_number.get(number, []) for number in range(max(by_number, default=-1) + 1)]
    expected = io.StringIO(newline="")
    csv.writer(expected, lineterminator="\n").writerows([*cells, *[""] * columns][:columns] for cells in grid)
    assert (output.getvalue().decode(), size.rows, size.columns) == (expected.getvalue(), len(grid), columns)


# ---- real files ----------------------------------------------------------------------------


@pytest.mark.begins_first
def test_every_real_file_is_converted_or_refused_with_one_sentence(corpus_dir: Path, tmp_path: Path) -> None:
    index = list(csv.DictReader((corpus_dir / "spreadsheets" / "INDEX.csv").open(encoding="utf-8", newline="")))
    files = [corpus_dir / entry["path"] for entry in index]
    for number, file in enumerate(files):
        (tmp_path / f"{number}.source").symlink_to(file)

    def outcome(number: int) -> tuple[Path, str]:
        source, target = tmp_path / f"{number}.source", tmp_path / f"{number}.csv"
        try:
            done = convert(source, target)
        except UnreadableSpreadsheet as refusal:
            assert not target.exists()
            return files[number], str(refusal)
        if done.engine == "fast":
            compare_with_reference(source, target)
        return files[number], done.kind

    with ThreadPoolExecutor(2) as pool:
        outcomes = dict(pool.map(outcome, range(len(files))))
    readable = {
        corpus_dir / entry["path"]
        for entry in index
        if "ok" in (entry["xlrd"], entry["openpyxl"]) and "bomb" not in entry["tags"]
    }
    assert [file for file in readable if ": " in outcomes[file]] == []
    assert all("\n" not in text and "Traceback" not in text for text in outcomes.values())


def compare_with_reference(source: Path, fast: Path) -> None:
    """The bytes must be the same wherever the reference reads the file at all.

    It reads in this process: a child would import it anew for each file, which takes longer than all of the reading.
    """
    output, limits = io.BytesIO(), xls_to_csv._limits()
    with source.open("rb") as stream:
        report = report_of(Conversion(stream, output, None, "reference", limits), limits)
    assert "refused" in report or fast.read_bytes() == output.getvalue(), source.readlink()


# ---- the command ---------------------------------------------------------------------------


def call(*words: object) -> int:
    parser = argparse.ArgumentParser()
    xls_to_csv.add_arguments(parser)
    return xls_to_csv.main(parser.parse_args([str(word) for word in words]))


def test_the_csv_appears_beside_the_file(tmp_path: Path) -> None:
    source = saved(tmp_path / "a.b.xls", SHEETS)

    assert call(source) == 0
    assert (tmp_path / "a.b.csv").read_text() == "visible\n"
    assert call(source, "--sheet", "2", "--output", tmp_path / "old.csv") == 0
    assert (tmp_path / "old.csv").read_text() == "hidden\n"


def test_what_fails_is_counted_and_the_rest_is_done(tmp_path: Path) -> None:
    files = [saved(tmp_path / "1.xls", b""), saved(tmp_path / "2.xls", SHEETS), saved(tmp_path / "3.xls", b"%PDF-")]

    assert call(*files) == 2
    assert [file.name for file in tmp_path.glob("*.csv")] == ["2.csv"]


def test_all_sheets_go_to_a_file_each_but_for_empty_ones(tmp_path: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    book.active.title = "a b"
    book.active["A1"] = 1
    book.create_sheet("a_b")["A1"] = 2
    book.create_sheet("empty")
    book.save(tmp_path / "x.xlsx")

    assert call(tmp_path / "x.xlsx", "--all-sheets") == 0
    assert {file.name: file.read_text() for file in tmp_path.glob("*.csv")} == {
        "x.1_a_b.csv": "1\n",
        "x.2_a_b.csv": "2\n",
    }


def test_sheets_are_listed_for_people_and_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = saved(tmp_path / "x.xls", SHEETS)

    call(source, "--list-sheets")
    assert capsys.readouterr().out.splitlines()[1:3] == [f"{source}\t2\tOld\thidden", f"{source}\t3\tPrices\tvisible"]
    call(source, "--list-sheets", "--json")
    assert json.loads(capsys.readouterr().out)["sheets"][2] == {"name": "Prices", "visible": True}
    call(source, "--json")
    record = json.loads(capsys.readouterr().out)
    assert (record["kind"], record["rows"], record["target"]) == ("BIFF8", 1, str(tmp_path / "x.csv"))


def test_a_file_is_never_replaced_by_its_own_csv(tmp_path: Path) -> None:
    source = saved(tmp_path / "x.csv", "a,b\n")

    with pytest.raises(WrongCall, match="--output"):
        call(source)
    with pytest.raises(WrongCall, match="no directory"):
        call(source, "--output", tmp_path / "nowhere" / "y.csv")
    with pytest.raises(WrongCall, match="one FILE"):
        call(source, source, "--output", tmp_path / "y.csv")


def test_through_the_door_it_is_a_command_like_any_job(etl: Installation, tmp_path: Path) -> None:
    good, bad = saved(tmp_path / "good.xls", SHEETS), saved(tmp_path / "bad.xls", b"%PDF-1.7")

    result = etl.door("xls_to_csv.py", str(good), str(bad), str(tmp_path / "none.xls"), "--json")

    assert result.returncode == 1
    assert json.loads(result.stdout)["target"] == str(tmp_path / "good.csv")
    assert "bad.xls: it is a PDF document" in result.stderr
    assert "none.xls: it cannot be opened: No such file or directory" in result.stderr
    assert "Traceback" not in result.stderr
    assert (tmp_path / "good.csv").read_text() == "visible\n"
    assert etl.query("SELECT job, status, exit_code FROM dba.tjobrun") == [("xls_to_csv.py", "Failed", 1)]


def test_a_person_at_a_terminal_sees_a_long_conversion_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ETL_TERMINAL", "1")
    monkeypatch.setattr(xls_to_csv, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(progress, "SHORT_SECONDS", 0.02)
    source = saved(tmp_path / "long.xls", "<table>" + "<tr><td>1</td><td>two</td></tr>" * 40_000 + "</table>")

    assert convert(source, tmp_path / "long.csv").rows == 40_000
    assert "long.xls: " in capsys.readouterr().err
