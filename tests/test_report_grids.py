"""How a grid is shown by its options: formats, totals, colours and the small drawings, in HTML and in text."""

import re
import time as clock
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fractions import Fraction

import pytest
from bs4 import BeautifulSoup, Tag
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from systemscripts.reporting.cell_formats import PALETTE, check_format, comparison_of
from systemscripts.reporting.columns import grid_options
from systemscripts.reporting.model import GridOptions, ListText, ReportError, Table
from systemscripts.reporting.render import GMAIL_CUTS_AT, page
from systemscripts.reporting.tables import html_table, text_table
from systemscripts.reporting.values import exact_text

EXAMPLE = {
    "grid1": {
        "formats": {"Price": ",.2f", "Share": ".1%", "Day": "%d %b %Y"},
        "totals": ["Rows"],
        "colours": {"Change": {"added": "green", "removed": "red"}, "Delta": {"<0": "red", ">=100": "green"}},
        "sparklines": ["Trend"],
    }
}
BLANK = Table(("Name", "n"), ())


def column(*cells: object, heading: str = "x") -> Table:
    return Table((heading,), tuple((array(cell) if isinstance(cell, list) else cell,) for cell in cells))


def array(items: Sequence[object]) -> ListText:
    return ListText("{" + ",".join("NULL" if item is None else exact_text(item) for item in items) + "}")


def html_cells(table: Table, options: GridOptions) -> list[list[str]]:
    page = BeautifulSoup(html_table(table, options), "html.parser")
    return [[cell.get_text("\n") for cell in row.find_all("td")] for row in page.find_all("tr")[1:]]


def tags(table: Table, options: GridOptions) -> list[Tag]:
    return BeautifulSoup(html_table(table, options), "html.parser").find_all("td")


def colours(cells: Sequence[object], rules: dict[str, str], **more: object) -> list[str | None]:
    """Return the names of the colours of a column's cells."""
    options = GridOptions(colours={"x": rules}, **more)  # type: ignore[arg-type]
    names = {tint.background: name for name, tint in PALETTE.items()}
    return [names.get(str(cell.get("bgcolor"))) for cell in tags(column(*cells), options)]


# ---- the column of the row -----------------------------------------------------------------


def test_options_are_read_by_grid() -> None:
    assert grid_options(EXAMPLE, ["grid1", "grid2"]) == {
        "grid1": GridOptions(
            formats={"Price": ",.2f", "Share": ".1%", "Day": "%d %b %Y"},
            totals=("Rows",),
            colours={"Change": {"added": "green", "removed": "red"}, "Delta": {"<0": "red", ">=100": "green"}},
            sparklines=("Trend",),
        )
    }


@pytest.mark.parametrize(
    ("value", "options"),
    [(None, {}), ({}, {}), ({"g": {}}, {"g": GridOptions()}), ({"g": {"rows": 5000}}, {"g": GridOptions(rows=5000)})],
)
def test_no_options_are_fine(value: object, options: object) -> None:
    assert grid_options(value, ["g"]) == options


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], r"^emailbodyoptions .*object .* \[\]$"),
        ("x", "emailbodyoptions .*object .* 'x'$"),
        (True, "emailbodyoptions .*object .* True$"),
        ({"grid9": {}}, "'grid9', .* emailbodyqueries .*: g, h$"),
        ({"g": None}, "^emailbodyoptions, g .*object .* None$"),
        ({"g": [1]}, r"emailbodyoptions, g .*object .* \[1\]$"),
        ({"g": {"format": {}}}, "'format'; .*formats, totals, colours, sparklines"),
        ({"g": {"formats": ["a"]}}, r"g, formats .*object .* \['a'\]$"),
        ({"g": {"formats": {"a": 2}}}, "g, formats.* column 'a' .*text .* 2$"),
        ({"g": {"formats": {"a": None}}}, "g, formats.* column 'a' .*text .* None$"),
        ({"g": {"totals": "Rows"}}, "g, totals .*list .* 'Rows'$"),
        ({"g": {"totals": {"Rows": 1}}}, "g, totals .*list .* {'Rows': 1}$"),
        ({"g": {"totals": [1]}}, r"g, totals .*list .* \[1\]$"),
        ({"g": {"totals": None}}, "g, totals .*list .* None$"),
        ({"g": {"sparklines": True}}, "g, sparklines .*list .* True$"),
        ({"g": {"colours": []}}, r"g, colours .*object .* \[\]$"),
        ({"g": {"colours": {"a": "red"}}}, "colours, column 'a' .*object .* 'red'$"),
        ({"g": {"colours": {"a": {"x": "pink"}}}}, "'x' .*'pink'; .*green, red, amber, blue, gr"),
        ({"g": {"colours": {"a": {"x": '"><script>'}}}}, "has the colour"),
        ({"g": {"colours": {"a": {"x": ["red"]}}}}, r"has the colour \['red'\]"),
    ],
)
def test_options_that_are_not_well_formed_are_refused(value: object, message: str) -> None:
    with pytest.raises(ReportError, match=message):
        grid_options(value, ["g", "h"])


@pytest.mark.parametrize(
    "condition", ["<", ">=", "<abc", "= ", "==5", "<>5", "<NaN", ">Infinity", "<1_000", "<1,5", "<1e9", "<٣", "<b>"]
)
def test_a_comparison_without_a_number_is_refused(condition: str) -> None:
    with pytest.raises(ReportError, match="comparison without a number"):
        grid_options({"g": {"colours": {"a": {condition: "red"}}}}, ["g"])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        (">1000000000", "above 30"),
        (".31f", "above 30"),
        ("0>31", "above 30"),
        (".١٠٠f", "above 30"),  # to format() this is a hundred
        ("0" * 70 + "9f", "72 characters"),
        ("9" * 5000, "5,000 characters"),
        ("q", "neither one for numbers"),
        ("{}", "neither"),
        ("c", "neither"),
        ("_.2f", "neither"),
        ("%Q", "neither"),
        ("%1000d", "above 30"),
        ("%10d", "neither"),
        ("%%", "neither"),
        ("%d\n%m", "control character"),
        ("%d\x00", "control character"),
        ("\ud800>5", "control character"),
        ("{0.__class__}", "neither"),
    ],
)
def test_a_format_that_python_refuses_or_that_eats_memory_is_refused(spec: str, message: str) -> None:
    with pytest.raises(ReportError, match=rf"^emailbodyoptions, g, formats: .* column 'a' .*{message}"):
        grid_options({"g": {"formats": {"a": spec}}}, ["g"])


@given(st.text(max_size=12) | st.text("<>=^+- #0123456789,_.%bcdeEfFgGnosxXzYmH", max_size=8))
def test_what_passes_the_check_writes_little_and_fails_only_as_a_value_that_does_not_fit(spec: str) -> None:
    try:
        options = grid_options({"g": {"formats": {"x": spec}}}, ["g"])["g"]
    except ReportError:
        return
    for value in (7, Decimal("-1234567.125"), 0.1, date(2026, 3, 1)):
        try:
            assert len(html_cells(column(value), options)[0][0]) < 150
        except ReportError as error:
            assert "column 'x'" in str(error)  # noqa: PT017


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["g", "formats", "totals", "colours", "sparklines", "<1"]), inner, max_size=3
            )
        ),
    )
)
def test_any_json_is_read_or_refused_in_one_line(value: object) -> None:
    try:
        grid_options(value, ["g"])
    except ReportError as error:
        assert "\n" not in str(error)  # noqa: PT017
        assert len(str(error)) < 500  # noqa: PT017


# ---- formats -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "spec", "shown"),
    [
        (Decimal("1234567.891"), ",.2f", "1,234,567.89"),
        (Decimal("0.1234"), ".1%", "12.3%"),
        (Decimal("0.125"), "%", "12.5%"),
        (1234567, ",", "1,234,567"),
        (1234567, "_d", "1_234_567"),
        (255, "x", "ff"),
        (12345678901234567, ",.2f", "12,345,678,901,234,567.00"),  # through a float it would end in 568
        (2.675, ".2f", "2.68"),
        (0.1 + 0.2, ".3f", "0.300"),
        (Decimal("NaN"), ",.2f", "NaN"),
        (5, "<>4", "<<<5"),
        (date(2026, 3, 1), "%d %b %Y", "01 Mar 2026"),
        (date(2026, 3, 1), "%-d.%-m.", "1.3."),
        (date(2026, 3, 1), "100%% of <%Y>", "100% of <2026>"),
        (datetime.fromisoformat("2026-03-01T17:05:00"), "%H:%M", "17:05"),
    ],
)
def test_a_value_is_shown_by_the_format_of_its_column(value: object, spec: str, shown: str) -> None:
    check_format(spec)
    options = GridOptions(formats={"x": spec})
    table = column(value, None)
    assert html_cells(table, options) == [[shown], [""]]
    assert text_table(table, options).splitlines()[2].strip() == shown


def test_a_format_is_escaped() -> None:
    html = html_table(column(date(2026, 3, 1)), GridOptions(formats={"x": "<script>%Y"}))
    assert "<td nowrap>&lt;script&gt;2026</td>" in html


def test_a_time_stamp_is_shown_in_the_zone_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        clock.tzset()
        cells = html_cells(column(datetime(2026, 3, 1, 23, 30, tzinfo=UTC)), GridOptions(formats={"x": "%d %H:%M"}))
    clock.tzset()
    assert cells == [["02 00:30"]]


@pytest.mark.parametrize(
    ("value", "spec"),
    [
        ("text", ",.2f"),
        (True, ",.2f"),
        (Decimal("1.5"), "d"),
        (1.5, "x"),
        (7, "%d %b"),
        (date(2026, 3, 1), ",.2f"),
        (date(2026, 3, 1), ".1%"),
        (time(5, 30), "%H:%M"),
        ([1, 2], ",.2f"),
    ],
)
@pytest.mark.parametrize("show", [html_table, text_table])
def test_a_format_that_a_value_does_not_fit_is_refused_with_both(show: object, value: object, spec: str) -> None:
    with pytest.raises(ReportError, match="^formats: column 'x' has '.+', .*format '.+'"):
        show(column(None, value), GridOptions(formats={"x": spec}))  # type: ignore[operator]


def test_formatted_numbers_still_stand_on_the_right() -> None:
    assert [cell.get("align") for cell in tags(column(1, 2), GridOptions(formats={"x": ".1f"}))] == ["right", "right"]


# ---- totals --------------------------------------------------------------------------------


def test_totals_are_a_last_row_in_both() -> None:
    table = Table(("Name", "n", "Price"), (("a", 1, Decimal("0.10")), ("b", None, Decimal("12000.2")), ("c", 2, None)))
    options = GridOptions(totals=("n", "Price"))
    assert html_cells(table, options) == [
        ["a", "1", "0.10"],
        ["b", "", "12,000.20"],
        ["c", "2", ""],
        ["Total", "3", "12,000.30"],
    ]
    assert text_table(table, options).splitlines() == [
        "Name   n      Price",
        "-----  -  ---------",
        "a      1       0.10",
        "b         12,000.20",
        "c      2",
        "-----  -  ---------",
        "Total  3  12,000.30",
    ]


def test_the_row_of_totals_is_bold_and_shaded_below_a_line() -> None:
    page = BeautifulSoup(html_table(column(1, 2), GridOptions(totals=("x",))), "html.parser")
    row = page.find_all("tr")[-1]
    assert row["bgcolor"]
    assert row.td.b.text == "3"
    assert "border-top" in row.td["style"]
    assert row.td["align"] == "right"


def test_a_total_has_the_format_of_its_column() -> None:
    options = GridOptions(formats={"x": ",.1f"}, totals=("x",))
    assert html_cells(column(1000, Decimal("0.5")), options)[-1] == ["1,000.5"]


def test_a_column_and_its_total_have_the_same_grouping() -> None:
    assert html_cells(column(6000, 6000), GridOptions(totals=("x",))) == [["6,000"], ["6,000"], ["12,000"]]


def test_the_word_total_stands_in_the_first_column_that_is_not_summed_up() -> None:
    table = Table(("n", "Day", "m"), ((1, date(2026, 3, 1), 2),))
    options = GridOptions(totals=("n",), formats={"Day": "%d %b"})
    assert html_cells(table, options) == [["1", "01 Mar", "2"], ["1", "Total", ""]]


def test_totals_of_a_table_wider_than_a_mail_are_a_last_block() -> None:
    table = Table(("Name", "Notes", "n"), (("a", "word " * 40, 5), ("b", "x", 6)))
    assert text_table(table, GridOptions(totals=("n",))).splitlines()[-5:] == [
        "n      6",
        "",
        "-" * 100,
        "Name   Total",
        "n      11",
    ]


@given(st.lists(st.decimals(allow_nan=False, allow_infinity=False, places=9) | st.none(), min_size=1, max_size=20))
def test_a_total_of_decimals_is_exact(numbers: list[Decimal | None]) -> None:
    present = [number for number in numbers if number is not None]
    shown = html_cells(column(*numbers), GridOptions(formats={"x": ".9f"}, totals=("x",)))[-1][0]
    assert shown == "" if not present else Fraction(shown) == sum(map(Fraction, present))


@given(st.lists(st.integers(-(10**60), 10**60), min_size=1, max_size=20))
def test_a_total_of_whole_numbers_is_a_whole_number(numbers: list[int]) -> None:
    assert html_cells(column(*numbers), GridOptions(formats={"x": "d"}, totals=("x",)))[-1] == [str(sum(numbers))]


@pytest.mark.parametrize(
    ("numbers", "total"),
    [
        ([0.1, 0.2], "0.3"),
        ([Decimal("1E+50"), Decimal("0.01")], "1" + "0" * 50 + ".01"),
        ([Decimal("1E+131000"), Decimal("1E-16000"), Decimal("-1E+131000")], "1E-16000"),
        ([Decimal("NaN"), Decimal(1)], "NaN"),
        ([Decimal("Infinity"), Decimal("-Infinity")], "NaN"),
        ([float("inf"), 1.0], "Infinity"),
    ],
)
def test_a_total_takes_any_number_of_postgresql(numbers: list[object], total: str) -> None:
    shown = html_cells(column(*numbers), GridOptions(totals=("x",)))[-1][0]
    assert Decimal(shown.replace(",", "")).compare_total(Decimal(total)) == 0 or shown.replace(",", "") == total


@pytest.mark.parametrize("cells", [("a", 1), (True, False), (date(2026, 3, 1),), ([1],)])
@pytest.mark.parametrize("show", [html_table, text_table])
def test_a_total_of_what_is_no_number_is_refused(show: object, cells: tuple[object, ...]) -> None:
    with pytest.raises(ReportError, match="^totals: column 'x' has '.+', .*not a number"):
        show(column(*cells), GridOptions(totals=("x",)))  # type: ignore[operator]


def test_a_total_of_nothing_but_null_is_empty() -> None:
    assert html_cells(Table(("a", "x"), (("b", None),)), GridOptions(totals=("x",))) == [["b", ""], ["Total", ""]]


# ---- colours -------------------------------------------------------------------------------


def test_a_cell_has_a_colour_by_its_text() -> None:
    rules = {"added": "green", "removed": "red"}
    assert colours(["added", "Added", "removed", None, "added "], rules) == ["green", None, "red", None, None]


def test_a_cell_has_a_colour_by_the_text_that_is_shown() -> None:
    assert colours([True, False], {"yes": "green"}) == ["green", None]
    assert colours([0.5, 0.25], {"50%": "blue"}, formats={"x": ".0%"}) == ["blue", None]


@pytest.mark.parametrize(
    ("condition", "coloured"),
    [
        ("<2", [True, False, False]),
        ("<=2", [True, True, False]),
        (">2", [False, False, True]),
        (">= 2.00", [False, True, True]),
        ("=2", [False, True, False]),
        ("!=+2", [True, False, True]),
    ],
)
@pytest.mark.parametrize("kind", [int, float, Decimal])
def test_a_number_has_a_colour_by_comparison(condition: str, coloured: list[bool], kind: type) -> None:
    found = colours([kind(1), kind(2), kind(3)], {condition: "amber"})
    assert [name == "amber" for name in found] == coloured


def test_comparisons_leave_alone_what_is_no_number() -> None:
    rules = {"!=7": "red", "<1": "blue"}
    assert colours([None, Decimal("NaN"), 7], rules) == [None, None, None]
    assert colours(["5", True, date(2026, 3, 1)], rules) == [None, None, None]
    assert colours([float("-inf")], rules) == ["blue"]


@pytest.mark.parametrize("turned", [False, True])
def test_of_several_comparisons_the_nearest_counts_in_whatever_order(turned: bool) -> None:
    rules = {"<0": "red", "<10": "amber", "!=99": "grey", "=-3": "blue", "-7": "green"}
    if turned:
        rules = dict(reversed(rules.items()))
    assert colours([-1, 5, 50, -3, -7, 99], rules) == ["red", "amber", "grey", "blue", "green", None]


def test_a_colour_is_an_attribute_and_a_style_and_zebra_rows_stay() -> None:
    page = BeautifulSoup(html_table(column("a", "b", "a"), GridOptions(colours={"x": {"a": "red"}})), "html.parser")
    rows = page.find_all("tr")[1:]
    assert [bool(row.get("bgcolor")) for row in rows] == [False, True, False]
    assert rows[0].td["bgcolor"] == PALETTE["red"].background
    assert rows[0].td["style"] == f"color:{PALETTE['red'].text}"
    assert rows[1].td.attrs == {}


def test_a_total_is_not_coloured() -> None:
    options = GridOptions(totals=("x",), colours={"x": {">0": "green"}})
    assert [cell.get("bgcolor") for cell in tags(column(1, 2), options)][-1] is None


def luminance(colour: str) -> float:
    """Return the relative luminance as WCAG 2 defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("name", ["green", "red", "amber", "blue", "grey"])
def test_the_text_of_a_coloured_cell_can_be_read(name: str) -> None:
    tint = PALETTE[name]
    assert (luminance(tint.background) + 0.05) / (luminance(tint.text) + 0.05) >= 4.5
    assert (luminance(tint.background) + 0.05) / (luminance("#0000ee") + 0.05) >= 4.5  # a link


@given(st.text(max_size=10))
def test_a_condition_is_a_comparison_a_text_or_refused(condition: str) -> None:
    try:
        comparison = comparison_of(condition)
    except ValueError:
        assert condition.startswith(("<", ">", "=", "!="))
    else:
        assert (comparison is not None) == condition.startswith(("<", ">", "=", "!="))


# ---- small drawings ------------------------------------------------------------------------


def drawing(drawn: list[tuple[Sequence[float | None], str]], table: Table) -> str:
    def draw(values: Sequence[float | None], alt: str) -> Markup:
        drawn.append((values, alt))
        return Markup('<img alt="{}">').format(alt)

    return html_table(table, GridOptions(sparklines=("x",)), draw)


def test_a_list_of_numbers_is_drawn() -> None:
    drawn: list[tuple[Sequence[float | None], str]] = []
    html = drawing(drawn, column([3, 5, 4], None, [Decimal("1.5"), None, 2.0], [], [None]))
    assert drawn == [((3.0, 5.0, 4.0), "3, 5, 4"), ((1.5, None, 2.0), "1.5, NULL, 2")]
    assert '<td><img alt="3, 5, 4"></td>' in html
    assert html.count("<td></td>") == 3


def test_what_draws_text_is_escaped() -> None:
    html = html_table(column([1]), GridOptions(sparklines=("x",)), lambda *_: "<b>")  # type: ignore[arg-type,return-value]
    assert "<td>&lt;b&gt;</td>" in html


def test_without_a_drawing_there_is_its_text() -> None:
    assert html_cells(column([3, 5], None), GridOptions(sparklines=("x",))) == [["3, 5"], [""]]


@pytest.mark.parametrize(
    ("numbers", "alt"),
    [
        ([3, *range(1, 10), *range(9, 1, -1), 4] * 2, "from 3 to 4, least 1, most 9"),
        ([0.1 + 0.2, 1e-9, 1 / 3, 2 / 3, 7.0], "from 0.3 to 7.0, least 1e-9, most 7.0"),
        ([None, *[12000.5] * 30, None], "from 12,000.5 to 12,000.5, least 12,000.5, most 12,000.5"),
        ([10**40, 10**40], "from 10,000,000,000,000,000,000,000,000,000,000,000,000,000…"),
    ],
)
def test_a_long_series_is_told_by_its_ends(numbers: list[object], alt: str) -> None:
    assert html_cells(column(numbers), GridOptions(sparklines=("x",))) == [[alt]]


@given(st.lists(st.none() | st.integers() | st.floats() | st.decimals(allow_nan=None), max_size=40))
def test_any_list_of_numbers_can_be_shown(numbers: list[object]) -> None:
    numbers = [item for item in numbers if not (isinstance(item, Decimal) and item.is_snan())]
    drawn: list[tuple[Sequence[float | None], str]] = []
    drawing(drawn, column(numbers))
    blocks = text_table(column(numbers), GridOptions(sparklines=("x",)))
    for values, alt in drawn:
        assert len(values) == len(numbers)
        assert len(alt) <= 60
    assert set(blocks) <= set("x-\n ▁▂▃▄▅▆▇█")


@pytest.mark.parametrize(
    ("numbers", "blocks"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8], "▁▂▃▄▅▆▇█"),
        ([-1, None, None, Decimal("0.5"), 1.0], "▁  ▆█"),
        ([None, 0, 10], " ▁█"),
        ([5, 5], "▄▄"),
        ([float("nan"), 1.0, float("inf"), 2.0], " ▁ █"),
        ([-1.7e308, 0.0, 1.7e308], "▁▅█"),
        ([5e-324, 0.0], "▄▄"),
    ],
)
def test_the_text_twin_has_blocks(numbers: list[object], blocks: str) -> None:
    table = Table(("x", "n"), ((array(numbers), 1), (None, 2)))
    lines = text_table(table, GridOptions(sparklines=("x",))).splitlines()
    assert lines[2] == f"{blocks.ljust(len(lines[1]) - 3)}  1"
    assert lines[3].strip() == "2"


def test_gaps_stay_gaps_in_a_table_wider_than_a_mail() -> None:
    table = Table(("x", "Notes"), ((array([1, None, None, 2]), "word " * 40),))
    assert text_table(table, GridOptions(sparklines=("x",))).splitlines()[0] == "x      ▁  █"


def test_a_list_of_json_is_drawn_as_an_array_is() -> None:
    assert html_cells(column("[1, null, 2.5]"), GridOptions(sparklines=("x",))) == [["1, NULL, 2.5"]]


@pytest.mark.parametrize(
    "cell", [5, "1,2", '{1,"2"}', "{t}", "{{1,2}}", '{"a": 1}', "[1, [2]]", "{1,,2}", "[0:1]={1,2}"]
)
@pytest.mark.parametrize("show", [html_table, text_table])
def test_what_is_no_list_of_numbers_cannot_be_drawn(show: object, cell: object) -> None:
    with pytest.raises(ReportError, match="^sparklines: column 'x' has '.+', .*no list"):
        show(column([1], cell), GridOptions(sparklines=("x",)))  # type: ignore[operator]


# ---- together ------------------------------------------------------------------------------


@pytest.mark.parametrize("table", [BLANK, Table(("Name", "n"), (("a", 1),))])
@pytest.mark.parametrize("show", [html_table, text_table])
@pytest.mark.parametrize(
    "options",
    [
        GridOptions(formats={"N": ",.2f"}),
        GridOptions(totals=("N",)),
        GridOptions(colours={"N": {"<0": "red"}}),
        GridOptions(sparklines=("N",)),
    ],
)
def test_a_column_that_is_not_there_is_refused_even_without_rows(
    show: object, table: Table, options: GridOptions
) -> None:
    with pytest.raises(ReportError, match="column 'N', .*: Name, n$"):
        show(table, options)  # type: ignore[operator]


def test_an_empty_grid_with_options_says_so() -> None:
    options = GridOptions(formats={"n": ".1f"}, totals=("n",), colours={"n": {"<0": "red"}}, sparklines=("Name",))
    assert html_table(BLANK, options) == html_table(BLANK)
    assert text_table(BLANK, options) == "(no rows)"


def test_options_apply_to_all_columns_of_a_name() -> None:
    table = Table(("x", "a", "x"), ((1, "b", 2), (3, "c", -4)))
    options = GridOptions(formats={"x": ".1f"}, totals=("x",), colours={"x": {"<0": "red"}})
    assert html_cells(table, options) == [["1.0", "b", "2.0"], ["3.0", "c", "-4.0"], ["4.0", "Total", "-2.0"]]
    assert [bool(cell.get("bgcolor")) for cell in tags(table, options)] == [False] * 5 + [True] + [False] * 3


def test_all_options_together() -> None:
    table = Table(
        ("Change", "Day", "Price", "Rows", "Trend"),
        (("added", date(2026, 3, 1), Decimal("1234.5"), 5, array([1, 3, 2])), ("<b>", None, None, -2, None)),
    )
    options = GridOptions(
        formats={"Price": ",.2f", "Day": "%d %b %Y"},
        totals=("Rows", "Price"),
        colours={"Change": {"added": "green"}, "Rows": {"<0": "red"}},
        sparklines=("Trend",),
    )
    assert html_cells(table, options) == [
        ["added", "01 Mar 2026", "1,234.50", "5", "1, 3, 2"],
        ["<b>", "", "", "-2", ""],
        ["Total", "", "1,234.50", "3", ""],
    ]
    assert text_table(table, options).splitlines() == [
        "Change  Day             Price  Rows  Trend",
        "------  -----------  --------  ----  -----",
        "added   01 Mar 2026  1,234.50     5  ▁█▅",
        "<b>                              -2",
        "------  -----------  --------  ----  -----",
        "Total                1,234.50     3",
    ]


def test_fifty_rows_of_twelve_coloured_columns_stay_below_what_gmail_cuts() -> None:
    headings = tuple(f"column {n}" for n in range(12))
    table = Table(headings, tuple((n, "some text", 1.5) * 4 for n in range(50)))
    options = GridOptions(
        formats={headings[0]: ",.2f"},
        totals=(headings[0], headings[2]),
        colours={heading: {">=0": "green", "some text": "red"} for heading in headings},
    )
    assert len(html_table(table, options).encode()) < GMAIL_CUTS_AT * 0.7


# ---- on a telephone ------------------------------------------------------------------------


def least_width(table: Table) -> int:
    """Return below how many pixels the table scrolls in its box: the columns' least widths, and their padding."""
    heads = BeautifulSoup(html_table(table), "html.parser").find_all("th")
    return sum(int(re.findall(r"min-width:(\d+)px", str(head["style"]))[0]) + 12 for head in heads)


@pytest.mark.parametrize(("heading", "is_whole"), [("Change of the day", True), ("x" * 17, True), ("x" * 18, False)])
def test_the_words_of_a_heading_stay_whole_unless_one_is_too_long(heading: str, is_whole: bool) -> None:
    head = BeautifulSoup(html_table(column(1, heading=heading)), "html.parser").th
    assert head is not None
    assert ("overflow-wrap:normal" in str(head["style"])) == is_whole


def test_a_long_word_of_the_body_does_not_widen_the_mail() -> None:
    body = BeautifulSoup(page("s", "<p>x</p>"), "html.parser").p
    assert body is not None
    assert "word-wrap:break-word" in str(body.find_parent("div"))


REMARK = "A long text that goes on and on, as remarks of people do"


def test_columns_of_text_are_narrow_enough_for_a_telephone_where_figures_leave_them_room() -> None:
    table = Table(("Nr", "Company", "Remark", "Amount"), ((1, "x" * 90, REMARK, Decimal("99999.99")),))
    assert 300 < least_width(table) <= 358  # 390 pixels without the margins of the page


def test_a_table_that_cannot_fit_a_telephone_keeps_its_columns_readable_and_scrolls() -> None:
    names = [f"Measure {number}" for number in range(12)]
    table = Table(("Company", "Remark", *names), (("x" * 90, REMARK, *[Decimal("1234.50")] * 12),))
    assert least_width(table) > 358
    box = BeautifulSoup(html_table(table), "html.parser").div
    assert box is not None
    assert "overflow-x:auto" in str(box["style"])
    assert [cell.has_attr("nowrap") for cell in tags(table, GridOptions())] == [False] * 2 + [True] * 12
