"""From rows to mail, without a database: tables, templates, files, addresses, messages."""

import csv
import email
import email.policy
import io
import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from email.headerregistry import Address
from pathlib import Path

import openpyxl
import pytest
import python_calamine
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st

from systemscripts.mail import composing
from systemscripts.mail.composing import Attachment, Mail, MailError
from systemscripts.reporting import csv_file, render, template, template_child, values
from systemscripts.reporting.attachments import file_names
from systemscripts.reporting.csv_file import csv_bytes, inert
from systemscripts.reporting.images import with_pictures_inside
from systemscripts.reporting.model import Chart, GridOptions, ListText, MomentText, Query, Report, ReportError, Table
from systemscripts.reporting.rows import report_of
from systemscripts.reporting.tables import html_table, text_table
from systemscripts.reporting.template import BodyTemplate, Shown, fill_line
from systemscripts.reporting.text_twin import text_of
from systemscripts.reporting.xlsx_file import LONGEST_TEXT, xlsx_bytes

MORNING = datetime.fromisoformat("2026-03-02T05:00:07")  # without a zone, as a timestamp of PostgreSQL
NOW = datetime(2026, 3, 2, 11, 20, 5, tzinfo=UTC)
SENDER = Address("", "etl", "example.com")
READER = (Address("", "reader", "example.com"),)

SALES = Table(
    ("Company", "Amount", "Since"),
    (("A & B <script>", Decimal("1234567.5"), date(2026, 3, 1)), ("=1+1", Decimal("-3.25"), None)),
)
EMPTY = Table(("a",), ())
AMOUNTS = Table(("Company", "Amount"), (("A", 3), ("B", Decimal("-1.5"))))


def one_column(*cells: object, heading: str = "x") -> Table:
    return Table((heading,), tuple((cell,) for cell in cells))


VALUES = {"timestamp": "2026-03-02 11:20"}


def body_of(source: str, **tables: Table) -> str:
    shown = {name: Shown(len(table.rows), html_table(table), "") for name, table in tables.items()}
    return BodyTemplate(source, tuple(tables)).render(shown, {}, VALUES)[0]


def cells_of(html: str) -> list[list[str]]:
    page = BeautifulSoup(html, "html.parser")
    return [[cell.get_text("\n") for cell in row.find_all(["th", "td"])] for row in page.find_all("tr")]


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill templates here, which is quicker than in a child."""

    def ask(request: object) -> object:
        answer = template_child.answer(json.loads(json.dumps(request)))
        if "refused" in answer:
            raise ReportError(answer["refused"])
        return answer

    monkeypatch.setattr(template, "ask", ask)


@contextmanager
def machine_in(monkeypatch: pytest.MonkeyPatch, zone: str) -> Iterator[None]:
    import time as clock

    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone)
        clock.tzset()
        yield
    clock.tzset()


# ---- values --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "exact", "readable"),
    [
        (None, "", ""),
        ("007 ", "007 ", "007 "),
        (True, "TRUE", "yes"),
        (date(2026, 3, 2), "2026-03-02", "2026-03-02"),
        (MORNING, "2026-03-02 05:00:07", "2026-03-02 05:00"),
        (time(5, 0, 7), "05:00:07", "05:00"),
        (Decimal("1E+3"), "1000", "1E+3"),
        (0.1, "0.1", "0.1"),
        (MomentText("1 mon -01:00:00"), "1 mon -01:00:00", "1 mon -01:00:00"),
        (ListText('{a,"b,c",NULL,"NULL",""}'), '{a,"b,c",NULL,"NULL",""}', 'a, "b,c", NULL, "NULL", ""'),
        (ListText("{{1,2},{3,4}}"), "{{1,2},{3,4}}", "{{1,2},{3,4}}"),
        (ListText("[0:1]={1,2}"), "[0:1]={1,2}", "[0:1]={1,2}"),
        (ListText("{}"), "{}", "{}"),
        (ListText("1 2"), "1 2", "1 2"),  # int2vector
    ],
)
def test_a_value_has_an_exact_and_a_readable_text(value: object, exact: str, readable: str) -> None:
    assert values.exact_text(value) == exact
    assert values.readable_text(value) == readable


def test_times_are_shown_in_the_zone_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with machine_in(monkeypatch, "Europe/Berlin"):
        assert values.readable_text(NOW) == "2026-03-02 12:20"
        assert values.exact_text(NOW) == "2026-03-02 12:20:05"


@pytest.mark.parametrize(
    ("moment", "readable"),
    [
        ("2026-10-25T00:59:59", "2026-10-25 02:59+02:00"),
        ("2026-10-25T01:00:00", "2026-10-25 02:00+01:00"),
        ("2026-10-24T23:59:00", "2026-10-25 01:59"),
        ("2026-10-25T02:00:00", "2026-10-25 03:00"),
        ("2026-03-29T01:00:00", "2026-03-29 03:00"),
    ],
)
def test_a_time_that_comes_twice_says_which_it_is(monkeypatch: pytest.MonkeyPatch, moment: str, readable: str) -> None:
    value = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    with machine_in(monkeypatch, "Europe/Berlin"):
        assert values.readable_text(value) == readable
        assert values.exact_text(value) == f"{readable[:16]}:{moment[-2:]}{readable[16:]}"
        cell = read_sheet(one_column(value))["A2"]
        assert isinstance(cell.value, str) is (len(readable) > 16)


@pytest.mark.parametrize(
    ("zone", "moment", "readable"),
    [
        # The clock is put back at midnight, into the day before.
        ("America/Sao_Paulo", "2019-02-17T01:30:00", "2019-02-16 23:30-02:00"),
        ("America/Sao_Paulo", "2019-02-17T02:30:00", "2019-02-16 23:30-03:00"),
        ("America/Sao_Paulo", "2019-02-17T03:30:00", "2019-02-17 00:30"),
        # To midnight, and by half an hour.
        ("America/Havana", "2020-11-01T05:30:00", "2020-11-01 00:30-05:00"),
        ("Australia/Lord_Howe", "2026-04-04T15:10:00", "2026-04-05 01:40+10:30"),
        ("Etc/UTC", "2026-10-25T01:30:00", "2026-10-25 01:30"),
    ],
)
def test_clocks_that_are_put_back_elsewhere(
    monkeypatch: pytest.MonkeyPatch, zone: str, moment: str, readable: str
) -> None:
    with machine_in(monkeypatch, zone):
        assert values.readable_text(datetime.fromisoformat(moment).replace(tzinfo=UTC)) == readable


def test_infinity_which_python_cannot_move_to_another_zone_is_shown_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with machine_in(monkeypatch, "Europe/Berlin"):
        assert values.readable_text(datetime.max.replace(tzinfo=UTC)) == "9999-12-31 23:59"


@pytest.mark.parametrize(
    ("heading", "numbers", "shown"),
    [
        ("rows", [1, 20, 3000], ["1", "20", "3000"]),
        ("rows", [9, 1204332, None], ["9", "1,204,332", ""]),
        ("reportid", [1204332], ["1204332"]),
        ("price", [Decimal("1.5"), Decimal("-12345.25")], ["1.50", "-12,345.25"]),
        ("average", [1 / 3, 2.0], ["0.333333", "2.000000"]),
        ("float", [0.1 + 0.2, 1.0], ["0.3", "1.0"]),
        ("tiny", [1e-9, 0.0], ["1e-9", "0.0"]),
        ("odd", [float("nan"), Decimal("Infinity")], ["NaN", "Infinity"]),
        ("huge", [1e22], ["10,000,000,000,000,000,000,000"]),
    ],
)
def test_numbers_of_a_column_have_the_same_number_of_places(
    heading: str, numbers: list[object], shown: list[str]
) -> None:
    assert values.readable_numbers(heading, numbers) == shown


# ---- the table in the mail -----------------------------------------------------------------


def test_a_grid_becomes_an_escaped_table() -> None:
    html = html_table(SALES)
    assert cells_of(html) == [
        ["Company", "Amount", "Since"],
        ["A & B <script>", "1,234,567.50", "2026-03-01"],
        ["=1+1", "-3.25", ""],
    ]
    assert "<script>" not in html


def test_numbers_stand_on_the_right_and_every_second_row_is_shaded() -> None:
    page = BeautifulSoup(html_table(SALES), "html.parser")
    first, second = page.find_all("tr")[1:]
    assert [cell.get("align") for cell in first.find_all("td")] == [None, "right", None]
    assert (first.get("bgcolor"), bool(second.get("bgcolor"))) == (None, True)
    assert page.find("style") is None


def test_a_column_of_numbers_with_a_word_in_it_is_text() -> None:
    page = BeautifulSoup(html_table(one_column(20000, "none")), "html.parser")
    assert [(cell.text, cell.get("align")) for cell in page.find_all("td")] == [("20000", None), ("none", None)]


def test_an_address_of_the_web_becomes_a_link_and_nothing_else_does() -> None:
    page = BeautifulSoup(
        html_table(one_column('https://x.test/?a=1&b="2', "https://x.test/?a=1&b=2", "javascript:alert(1)")),
        "html.parser",
    )
    assert [link["href"] for link in page.find_all("a")] == ["https://x.test/?a=1&b=2"]


def test_lines_of_a_cell_stay_lines() -> None:
    assert "<td>a<br>&lt;b&gt;</td>" in html_table(one_column("a\r\n<b>"))


@pytest.mark.parametrize("show", [html_table, text_table])
def test_an_empty_grid_says_so(show: object) -> None:
    assert "no rows" in show(EMPTY)  # type: ignore[operator]


def test_fifty_rows_of_twelve_columns_stay_far_below_what_gmail_cuts() -> None:
    table = Table(tuple(f"column {n}" for n in range(12)), tuple((n, "some text", 1.5) * 4 for n in range(50)))
    assert len(html_table(table)) * 3 < render.GMAIL_CUTS_AT


def test_the_text_table_is_aligned_by_what_is_seen() -> None:
    table = Table(("Name", "n"), (("東京", 5), ("Zoë", 12345), ("e\u0301t", None)))
    assert text_table(table).splitlines() == [
        "Name       n",
        "----  ------",
        "東京       5",
        "Zoë   12,345",
        "e\u0301t",
    ]


def test_a_table_wider_than_a_mail_is_written_as_blocks() -> None:
    wide = Table(tuple(f"heading number {n} " + "of many words " * 4 for n in range(12)), (("v",) * 12, (None,) * 12))
    lines = text_table(wide).splitlines()
    assert max(map(len, lines)) <= 100
    assert lines.count("") == 1
    assert lines[0].endswith("  v")


# ---- the template --------------------------------------------------------------------------


def test_placeholders_of_both_kinds_are_filled() -> None:
    html = body_of("<p>{timestamp} {{ grid1 | length }}</p>{{grid1}}", grid1=SALES)
    assert html.startswith("<p>2026-03-02 11:20 2</p><div")
    assert len(cells_of(html)) == 3


def test_an_empty_grid_can_be_left_out_by_the_template() -> None:
    assert body_of("{% if grid1 %}{{grid1}}{% else %}nothing{% endif %}", grid1=EMPTY) == "nothing"


def test_what_is_in_the_data_is_not_taken_for_a_placeholder() -> None:
    html = body_of("{{grid1}}", grid1=one_column("{{ grid2 }} {timestamp} {% if %}"))
    assert cells_of(html)[1] == ["{{ grid2 }} {timestamp} {% if %}"]


@pytest.mark.parametrize("style", ["p{color:red} td { margin: 0 }", "@media print{#a{color:#fff}}"])
def test_braces_of_a_style_sheet_are_left_alone(style: str) -> None:
    assert body_of(f"<style>{style}</style>{{# a comment #}}").startswith(f"<style>{style}</style>")
    assert "comment" not in body_of(f"<style>{style}</style>{{# a comment #}}")


def test_a_word_in_single_braces_stays_and_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    assert body_of("{client} of {timestamp}") == "{client} of 2026-03-02 11:20"
    assert "emailbodytemplate has {client}, which is shown as it is; the placeholders are {timestamp}" in caplog.text


@pytest.mark.parametrize("name", ["grid-1", "1", "my grid", "2nd"])
def test_a_grid_may_have_any_name(name: str) -> None:
    template = BodyTemplate(f"{{{{ {name} }}}} and {{{{grid1}}}}", ("grid1", name))
    assert set(template.used) == {"grid1", name}
    html, _ = template.render({"grid1": Shown(1, "A", "A"), name: Shown(1, "B", "B")}, {}, VALUES)
    assert html == "B and A"


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("{{grid3}} {{grid1}}", r"\{\{grid3\}\}.*grid1, grid2"),
        ("{{chart:sales}}", r"\{\{chart:sales\}\}, but the queries of emailbodycharts are: none"),
        ("{{chart:sales", "line 1"),
        (
            "{{grid-1}}",
            r"\{\{grid-1\}\}, but the queries of emailbodyqueries are: grid1, grid2; add the query, or take it out",
        ),
        ("{{1}}", r"\{\{1\}\}, but the queries"),
        ("x\n{{grid1", "line 2"),
        ("{grid1}", r"\{grid1\}.*double braces"),
        ("{{ range(9) }}", r"\{\{range\}\}"),
        ("{{ grid1.rows }}", "rows"),
        ("{{ grid1.__class__ }}", "__class__"),
        ("{{ grid1._table }}", "_table"),
        ("{% include 'x' %}", "loader"),
        ("{{ 1 / 0 }}", "division"),
        ("{{ 'x' * 10000000000 }}", r"operator \* is not allowed in a template"),
        ("{{ 'x' | center(10000000000) }}", "center"),
    ],
)
def test_it_refuses_a_template_with_a_placeholder_that_nothing_fills(source: str, named: str) -> None:
    with pytest.raises(ReportError, match=named):
        body_of(source, grid1=SALES, grid2=EMPTY)


@pytest.mark.parametrize("text", ["{grid1}", "{{grid1}}", "{{ when }}"])
def test_an_unknown_placeholder_in_a_subject_stays_and_is_warned_of(
    text: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert fill_line("subjectheader", f"Changes {text}", VALUES) == f"Changes {text}"
    assert f"subjectheader has {text}, which is shown as it is" in caplog.text


def test_the_text_twin_says_the_same() -> None:
    body = BodyTemplate("<h2>Sales &amp; more</h2><p>As of\n  {timestamp}.<br>Go</p>{{grid1}}", ("grid1",))
    assert render.Draft("", body, VALUES, {"grid1": SALES}).mail().text.splitlines() == [
        "Sales & more",
        "",
        "As of 2026-03-02 11:20.",
        "Go",
        "",
        "Company               Amount  Since",
        "--------------  ------------  ----------",
        "A & B <script>  1,234,567.50  2026-03-01",
        "=1+1                   -3.25",
    ]


def test_the_text_twin_has_lists_and_links_and_no_styles() -> None:
    html = (
        '<style>p{}</style><ul><li>a <b>b</b></li><li><a href="https://x.test/">x</a></li></ul>'
        '<a href="https://y.test">https://y.test</a>'
    )
    assert text_of(html) == "- a b\n- x (https://x.test/)\n\nhttps://y.test\n"


def test_the_text_twin_has_the_exact_text_however_deep_it_lies() -> None:
    deep = 300
    assert text_of("<div>" * deep + "<pre>R&amp;amp;D &amp;lt;x&gt;</pre>" + "</div>" * deep) == "R&amp;D &lt;x>\n"


# ---- CSV -----------------------------------------------------------------------------------


def hostile_cells(corpus_dir: Path, kind: str) -> list[str]:
    return json.loads((corpus_dir / "hostile" / "cells.json").read_text("utf-8"))[kind]


def test_harmless_cells_stay_as_they_are(corpus_dir: Path) -> None:
    cells = hostile_cells(corpus_dir, "must_survive")
    assert [inert(cell) for cell in cells] == cells


def test_dangerous_cells_are_no_formulas_whatever_the_delimiter(corpus_dir: Path) -> None:
    harmless = hostile_cells(corpus_dir, "must_survive")
    for cell in hostile_cells(corpus_dir, "dangerous"):
        if cell not in harmless:
            assert not re.search(r"(^|[;\t\r\n\"]|%0A)\s*[=+@＋＠-]", inert(cell)), cell


@pytest.mark.parametrize(
    "cell",
    [
        *["-1,234.50", "-5", "+5", "-.5", "-1.234,50", "-1'234.50", "-5 %", "-$1,000.00", "-1e-5", "-1 234,5", "- 5"],
        *["+49 30 901820", "+44 (0)20 7946-0958", "-", "", "a-b", "x=1", "me@here.com", "Smith, John", "a\n-5\n-6"],
    ],
)
def test_numbers_and_phone_numbers_are_not_touched(cell: str) -> None:
    assert inert(cell) == cell


@pytest.mark.parametrize(
    ("cell", "made"),
    [
        ("=1+1", "'=1+1"),
        ("  =1+1", "  '=1+1"),
        ("\ufeff@SUM(1)", "\ufeff'@SUM(1)"),
        ("-2+3+cmd|' /C calc'!A0", "'-2+3+cmd|' /C calc'!A0"),
        ("-5|x!A0", "'-5|x!A0"),
        ("-5;=x", "'-5;'=x"),
        ("a;b;=x", "a;b;'=x"),
        ("+1-800-555-0100", "'+1-800-555-0100"),
    ],
)
def test_an_apostrophe_stands_where_a_formula_would_begin(cell: str, made: str) -> None:
    assert inert(cell) == made


@given(st.text(alphabet=st.sampled_from("=+-@;\t\r\n\"' ,1aA(|!%0\u00a0"), max_size=20))
def test_only_apostrophes_are_added_and_twice_is_as_once(cell: str) -> None:
    made = inert(cell)
    assert made.replace("'", "") == cell.replace("'", "")
    assert inert(made) == made


def test_a_csv_file_is_what_excel_reads_as_utf8() -> None:
    content = csv_bytes(Table(("n", "=text"), ((-5, 'a "b", c'), (Decimal("-1234.50"), "x\r\ny"), (None, "Zoë"))))
    assert content == '\ufeffn,\'=text\r\n-5,"a ""b"", c"\r\n-1234.50,"x\r\ny"\r\n,Zoë\r\n'.encode()


@given(st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.integers()), min_size=1, max_size=5))
def test_a_csv_file_reads_back_as_it_was_written(rows: list[tuple[str, int]]) -> None:
    text = csv_bytes(Table(("a", "b"), tuple(rows))).decode("utf-8-sig")
    read = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert read[1:] == [[csv_file.inert(a), str(b)] for a, b in rows]


# ---- XLSX ----------------------------------------------------------------------------------


def read_sheet(table: Table) -> openpyxl.worksheet.worksheet.Worksheet:
    return openpyxl.load_workbook(io.BytesIO(xlsx_bytes(table, "Sales/2026"))).active


@pytest.mark.parametrize(
    ("value", "read", "number_format"),
    [
        (5, 5, "General"),
        (0.1 + 0.2, 0.1 + 0.2, "General"),
        (Decimal("-12.50"), -12.5, "#,##0.00"),
        (Decimal("1.123"), 1.123, "General"),
        (True, True, "General"),
        (None, None, "General"),
        (date(2026, 3, 2), datetime.fromisoformat("2026-03-02"), "yyyy-mm-dd"),
        (MORNING, MORNING, "yyyy-mm-dd hh:mm:ss"),
        (time(5, 30), time(5, 30), "hh:mm:ss"),
        (MomentText("30:00:00"), timedelta(hours=30), "[h]:mm:ss"),
        (MomentText("9999:59:59"), timedelta(hours=9999, minutes=59, seconds=59), "[h]:mm:ss"),
        (MomentText("10000:00:00"), "10000:00:00", "General"),
        (MomentText("00:00:00.5"), "00:00:00.5", "General"),
        (MomentText("1 day 02:00:00"), "1 day 02:00:00", "General"),
        (MomentText("1 mon"), "1 mon", "General"),
        (MomentText("-01:00:00"), "-01:00:00", "General"),
        (MomentText("0044-03-15 BC"), "0044-03-15 BC", "General"),
        ("=1+1", "=1+1", "General"),
        ("#N/A", "#N/A", "General"),
        ("007 ", "007 ", "General"),
        ("", None, "General"),
        (12345678901234567, "12345678901234567", "General"),
        (float("nan"), "NaN", "General"),
        (date(1850, 1, 1), "1850-01-01", "General"),
    ],
)
def test_a_workbook_has_typed_cells(value: object, read: object, number_format: str) -> None:
    cell = read_sheet(one_column(value, "end"))["A2"]
    assert (cell.value, cell.number_format) == (read, number_format)
    assert cell.data_type != "f"


def test_the_heading_is_frozen_and_has_a_filter() -> None:
    sheet = read_sheet(Table(("=name", "Some heading"), (("x", 1), ("y" * 80, 2))))
    assert (sheet.title, sheet.freeze_panes, sheet.auto_filter.ref) == ("Sales_2026", "A2", "A1:B3")
    assert [(cell.value, cell.data_type, cell.font.b) for cell in sheet[1]] == [
        ("=name", "s", True),
        ("Some heading", "s", True),
    ]
    assert sheet.column_dimensions["A"].width == 61
    assert sheet.column_dimensions["B"].width == 11


def test_every_hostile_text_is_in_the_workbook_as_it_was(corpus_dir: Path) -> None:
    cells = hostile_cells(corpus_dir, "dangerous") + hostile_cells(corpus_dir, "must_survive")
    table = Table(("n", "x"), tuple(enumerate(cells)))
    workbook = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(xlsx_bytes(table, "x")))
    assert [row[1] for row in workbook.get_sheet_by_index(0).to_python()[1:]] == cells


def test_a_workbook_has_no_formula_in_it(corpus_dir: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(xlsx_bytes(one_column(*hostile_cells(corpus_dir, "dangerous")), "x"))) as book:
        assert b"<f>" not in book.read("xl/worksheets/sheet1.xml")


def test_it_refuses_a_text_that_a_cell_cannot_hold() -> None:
    with pytest.raises(ReportError, match="column notes has a text of 32,768 characters"):
        xlsx_bytes(one_column("x" * (LONGEST_TEXT + 1), heading="notes"), "x")


# ---- names of attachments ------------------------------------------------------------------


def test_file_names_have_the_time_and_no_path() -> None:
    queries = (Query("x_{timestamp}.csv", ""), Query("../../etc/a b.XLSX", ""))
    assert file_names(queries, {"timestamp": "20260302T112005"}) == ["x_20260302T112005.csv", ".._.._etc_a_b.XLSX"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["x.pdf"], "must end in .csv or .xlsx"),
        (["x"], "must end in"),
        (["a b.csv", "A_b.csv"], "two attachments"),
    ],
)
def test_it_refuses_a_file_name_that_cannot_be(names: list[str], message: str) -> None:
    with pytest.raises(ReportError, match=message):
        file_names(tuple(Query(name, "") for name in names), VALUES)


# ---- addresses and messages ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("a@x.com", ["a@x.com"]),
        (" a@x.com ,, b.c+d@mail.x.co.uk, A@X.com", ["a@x.com", "b.c+d@mail.x.co.uk"]),
        ("Jane Doe <jane@x.com>", ["Jane Doe <jane@x.com>"]),
        ('"Doe, Jane" <jane@x.com>, b@x.com', ['"Doe, Jane" <jane@x.com>', "b@x.com"]),
        ("me@bücher.example", ["me@xn--bcher-kva.example"]),
    ],
)
def test_addresses_are_read_each_once(text: str, found: list[str]) -> None:
    assert [str(address) for address in composing.addresses(text)] == found


@pytest.mark.parametrize(
    "text",
    [
        *["a", "a@", "@x.com", "a@x..com", "a b@x.com", "a@x.com;b@x.com", "a@x.com b@x.com", "<a@x.com", "a@b@x.com"],
        *[
            "a..b@x.com",
            "a@x.com\nBcc: b@x.com",
            "a@x.com\x00",
            "a@-x.com",
            "ä@x.com",
            '"a" b <a@x.com>',
            "a@" + "x" * 64,
        ],
    ],
)
def test_it_refuses_what_is_no_address(text: str) -> None:
    with pytest.raises(MailError):
        composing.addresses(text)


@pytest.mark.parametrize("end_of_line", ["\n", "\r", "\r\n", "\x0b", "\x85", "\u2028", "\0"])
def test_it_refuses_a_line_break_in_a_subject_or_file_name(end_of_line: str) -> None:
    with pytest.raises(MailError, match="line break"):
        composing.compose(Mail(f"a{end_of_line}Bcc: x@y.com", "", ""), SENDER, READER, NOW)
    files = (Attachment(f"a{end_of_line}.csv", b"", "text/csv"),)
    with pytest.raises(MailError, match="line break"):
        composing.compose(Mail("a", "", "", files), SENDER, READER, NOW)


def test_it_refuses_a_mail_that_servers_would_not_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composing, "MOST_BYTES", 1_000)
    with pytest.raises(MailError, match="at most 1,000"):
        composing.compose(Mail("a", "x" * 1_000, ""), SENDER, READER, NOW)


def sales_draft(source: str = "<h2>Süd</h2>{{grid1}}") -> render.Draft:
    files = {"x.csv": SALES, "x.xlsx": SALES, "none.csv": EMPTY}
    body = BodyTemplate(source, ("grid1",), ("sales",))
    chart = Chart("sales", "", "bar", "Sales <b>")
    return render.Draft("Sales – März", body, VALUES, {"grid1": SALES}, charts={chart: AMOUNTS}, files=files)


def sales_mail(source: str = "<h2>Süd</h2>{{grid1}}") -> Mail:
    return sales_draft(source).mail()


def test_a_message_has_text_html_and_files() -> None:
    mail = sales_mail()
    sender, *readers = composing.addresses("Reports <etl@example.com>, a@x.com, Zoë <z@x.com>")
    content = composing.compose(mail, sender, tuple(readers), NOW).as_bytes()
    assert content.count(b"\n") == content.count(b"\r\n")
    assert max(map(len, content.split(b"\r\n"))) < 100
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert (message["From"], message["To"]) == ("Reports <etl@example.com>", "a@x.com, Zoë <z@x.com>")
    assert message["Subject"] == "Sales – März"
    assert message["Date"].datetime == NOW
    assert [part.get_content_type() for part in message.walk()] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "text/csv",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ]
    assert [part.get_filename() for part in message.iter_attachments()] == ["x.csv", "x.xlsx"]
    assert message.get_body(("html",)).get_content().replace("\r\n", "\n") == mail.html
    assert "A & B <script>  1,234,567.50" in message.get_body(("plain",)).get_content()


def test_a_file_without_rows_is_named_instead_of_sent() -> None:
    mail = sales_mail()
    assert "Not attached, because it has no rows: none.csv" in mail.text
    assert "Not attached, because it has no rows: none.csv" in mail.html


def test_a_file_without_rows_is_sent_with_its_headings_if_that_is_wanted() -> None:
    draft = replace(sales_draft(), attached_empty=frozenset({"none.csv"}))
    mail = draft.mail()
    assert "Not attached" not in mail.html
    (file,) = [attachment for attachment in mail.attachments if attachment.name == "none.csv"]
    assert file.content.decode("utf-8-sig").splitlines() == [",".join(EMPTY.columns)]


def test_charts_are_pictures_within_the_mail() -> None:
    mail = sales_mail("{{grid1}}{{ chart:sales }}")
    content = composing.compose(mail, SENDER, READER, NOW).as_bytes()
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert [part.get_content_type() for part in message.walk()][:6] == [
        "multipart/mixed", "multipart/alternative", "text/plain", "multipart/related", "text/html", "image/png",
    ]  # fmt: skip
    (picture,) = [part for part in message.walk() if part.get_content_type() == "image/png"]
    assert picture.get_content().startswith(b"\x89PNG")
    assert picture["Content-ID"] == f"<{mail.images[0].cid}>"
    assert picture.get_content_disposition() == "inline"
    assert f'src="cid:{mail.images[0].cid}" alt="Sales &lt;b&gt;: bar chart' in mail.html
    assert "[Sales <b>: bar chart" in mail.text
    assert "cid:" not in with_pictures_inside(mail.html, mail.images)
    # An address of the web would be fetched when the mail is read.
    assert not re.search(r'src="(?!cid:)', mail.html)


def test_a_chart_without_rows_says_so() -> None:
    body = BodyTemplate("{{chart:sales}}", (), ("sales",))
    chart = Chart("sales", "", "bar", "Sales")
    mail = render.Draft("", body, VALUES, {}, charts={chart: Table(("a", "b"), ())}).mail()
    assert "Sales: no rows" in mail.html
    assert "Sales: no rows" in mail.text


def test_a_template_that_is_a_page_stays_one() -> None:
    assert render.page("s", "<!DOCTYPE html><HTML><body>x</body></HTML>").count("<body") == 1
    assert "<title>a &lt;b&gt;</title>" in render.page("a <b>", "x")


# ---- rows ----------------------------------------------------------------------------------

NO_MORE = (None, None, "@daily", 0, None, None, "skip", None, None)


def test_a_row_becomes_a_report() -> None:
    files = [{"name": "x.csv", "query": "SELECT 2"}]
    charts = {"sales": {"query": "SELECT 3", "kind": "bar"}}
    options = {"grid1": {"totals": ["n"]}}
    more = (charts, options, "0 5 * * *", 1, ["MeetMaxEvents"], time(9, 30), "partial", "de", "acme")
    row = (7, "Sales", 1, "S", None, "{{grid1}}", {"grid1": "SELECT 1"}, True, files, *more)
    assert report_of(row) == Report(
        7, "Sales", True, "S", "", "{{grid1}}", (Query("grid1", "SELECT 1"),), (Query("x.csv", "SELECT 2"),),
        (Chart("sales", "SELECT 3", "bar", ""),), {"grid1": GridOptions(totals=("n",))}, "0 5 * * *", 1, ("MeetMaxEvents",),
        time(9, 30), "partial", "de", "acme",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("charts", "said"),
    [
        ({"a b": {"query": ""}}, "emailbodycharts must be an object"),
        ({"a": {"query": 7}}, "emailbodycharts must be an object"),
        ({"a": {"query": "", "colour": "red"}}, "chart a has colour; it may have query, kind and title"),
        ({"a": {"query": "", "kind": "pie"}}, "chart a has the kind 'pie'"),
    ],
)
def test_it_refuses_a_chart_that_is_none(charts: object, said: str) -> None:
    with pytest.raises(ReportError, match=said):
        report_of((7, "Sales", 1, "S", "", "", None, False, None, charts, *NO_MORE[1:]))


def test_without_hasattachment_its_queries_are_left_alone() -> None:
    assert (
        report_of((7, "Sales", 2, "S", "", "", None, False, [{"name": "x", "query": ""}], *NO_MORE)).attachments == ()
    )


@pytest.mark.parametrize("files", [None, [], {}, [{"name": "x.csv"}], ["x.csv"]])
def test_it_refuses_a_report_that_says_it_has_attachments_and_names_none(files: object) -> None:
    with pytest.raises(ReportError, match=r"report 7 \(Sales\): hasattachment is set"):
        report_of((7, "Sales", 1, "S", "", "", None, True, files, *NO_MORE))
