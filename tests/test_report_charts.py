"""Charts and sparklines: what is in the pictures, and what refuses to become one."""

import io
import logging
import warnings
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from conftest import Installation
from PIL import Image, ImageColor

from systemscripts.reporting import sparklines
from systemscripts.reporting.chart_data import KINDS, alt_text, label_texts, number_texts
from systemscripts.reporting.charts import COLOURS, Font, chart_png
from systemscripts.reporting.model import Chart, MomentText, ReportError, Table
from systemscripts.reporting.sparklines import sparkline_png

pytestmark = pytest.mark.slow

DAYS = [date(2025, 12, 1) + timedelta(days) for days in range(60)]
FONT = Font()


def chart(kind: str = "line", title: str = "Orders per day") -> Chart:
    return Chart("orders", "SELECT", kind, title)


def table(labels: list, *series: list) -> Table:
    names = tuple(f"series {number}" for number in range(1, len(series) + 1))
    return Table(("label", *names), tuple(zip(labels, *series, strict=True)))


def picture(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGB")


def colours(png: bytes) -> dict[tuple[int, int, int], int]:
    """Return how many pixels there are of each colour."""
    return {colour: count for count, colour in picture(png).getcolors(1 << 20)}


def pixels(png: bytes, colour: str) -> int:
    return colours(png).get(ImageColor.getrgb(colour), 0)


def rows_of(png: bytes, colour: str) -> list[int]:
    """Return the heights, from the top, at which there are pixels of that colour."""
    image, wanted = picture(png), ImageColor.getrgb(colour)
    return [y for y in range(image.height) if any(image.getpixel((x, y)) == wanted for x in range(image.width))]


# ---- what is drawn -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_chart_is_a_small_white_png_of_twice_its_display_size_with_each_series_in_its_colour(kind: str) -> None:
    png = chart_png(chart(kind), table(DAYS, list(range(60)), [Decimal(60 - n) for n in range(60)]))
    assert picture(png).size == (960, 600)
    assert picture(png).getpixel((0, 0)) == (255, 255, 255)
    assert len(png) < 60_000
    assert pixels(png, COLOURS[0]) > 500
    assert pixels(png, COLOURS[1]) > 500
    assert not pixels(png, COLOURS[2])


@pytest.mark.parametrize("kind", KINDS)
def test_eight_series_have_eight_colours(kind: str) -> None:
    png = chart_png(chart(kind), table(DAYS[:10], *[[number + 10] * 10 for number in range(8)]))
    assert all(pixels(png, colour) > 100 for colour in COLOURS)


def test_the_same_table_makes_the_same_bytes() -> None:
    shown = table(DAYS, [n * 1.7 for n in range(60)])
    assert chart_png(chart(), shown) == chart_png(chart(), shown)


def test_rows_on_a_scale_may_come_in_any_order() -> None:
    values = list(range(60))
    assert chart_png(chart(), table(DAYS[::-1], values[::-1])) == chart_png(chart(), table(DAYS, values))


def test_a_null_is_a_gap_in_a_line_and_a_point_alone_is_a_dot() -> None:
    whole = chart_png(chart(), table(DAYS, [5] * 60))
    gaps = chart_png(chart(), table(DAYS, [5] * 20 + [None] * 20 + [5] * 20))
    alone = chart_png(chart(), table(DAYS, [None] * 30 + [5] + [None] * 29))
    assert 0.5 < pixels(gaps, COLOURS[0]) / pixels(whole, COLOURS[0]) < 0.8
    assert 20 < pixels(alone, COLOURS[0]) < 200


def test_negative_parts_of_a_stack_go_down_from_zero() -> None:
    png = chart_png(chart("stacked"), table(["a"], [5], [-5], [5]))
    up, down, above = (rows_of(png, colour)[: -60 or None] for colour in COLOURS[:3])
    assert above[-1] <= up[0] + 1 < down[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("values", [[7], [0], [-3], [None], [Decimal("1e299")], [1e-9]])
def test_one_point_is_drawn_as_well(kind: str, values: list) -> None:
    png = chart_png(chart(kind), table([DAYS[0]], values))
    assert len(colours(png)) > 5
    assert bool(pixels(png, COLOURS[0])) == (values[0] is not None and (values[0] != 0 or kind == "line"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [None, 0, Decimal("-1.10")])
def test_values_that_are_all_the_same_are_drawn(kind: str, value: object) -> None:
    assert len(colours(chart_png(chart(kind), table(DAYS, [value] * 60)))) > 5


@pytest.mark.parametrize(
    "labels",
    [
        ["a", None, "c"],
        [1, 2.5, Decimal(7)],
        [2024, 2025, 2026],
        [date.min, date(2026, 1, 1), date.max],
        [datetime(2026, 3, 2, 5, tzinfo=UTC), datetime(2026, 3, 2, 6, tzinfo=UTC), date(2026, 3, 3)],
        [datetime(2026, 3, 2, 5), datetime(2026, 3, 2, 5, 0, 1), datetime(2026, 3, 2, 5, 0, 2)],
        [MomentText("01:00:00"), MomentText("1 day"), MomentText("1 mon")],
        ["", "\0", "x" * 5_000],
        [float("nan"), 1.0, 2.0],
        [True, False, None],
    ],
)
@pytest.mark.parametrize("kind", ["line", "bar"])
def test_labels_may_be_of_any_type(kind: str, labels: list) -> None:
    assert pixels(chart_png(chart(kind), table(labels, [1, 5, 3])), COLOURS[0])


@pytest.mark.parametrize(
    "text",
    [
        "$x$",
        "$\\frac{1}{",
        "\\frac{1}{2}",
        "東京 🎉",
        "a\r\nb\x00\x1b[0m\u202e",
        "_hidden",
        "{x} %s",
        "مرحبا",
        "x" * 1000,
        "",
    ],
)
def test_hostile_texts_are_drawn_as_they_stand_and_nothing_is_said(text: str, caplog: pytest.LogCaptureFixture) -> None:
    shown = Table((text, text, f"{text}2"), ((text, 1, 2), (text, 2, 3)))
    with warnings.catch_warnings(), caplog.at_level(logging.INFO):
        warnings.simplefilter("error")
        png = chart_png(chart("bar", text), shown)
        assert alt_text(chart("bar", text), shown).isprintable()
    assert pixels(png, COLOURS[1])
    assert not caplog.records


def test_dollar_signs_are_no_formulas() -> None:
    assert chart_png(chart(title="$x$"), table([1], [1])) != chart_png(chart(title="x"), table([1], [1]))


def test_a_text_is_cut_to_its_width_with_boxes_for_what_the_font_lacks() -> None:
    assert FONT.cut("Alpha", 100) == "Alpha"
    assert FONT.cut("東 a", 100) == "▯ a"
    cut = FONT.cut("Vereinigte Hagelversicherung", 100)
    assert cut.endswith("…")
    assert FONT.width(cut) <= 100


@pytest.mark.parametrize(
    ("labels", "texts"),
    [
        ([datetime(2024, 1, 1), datetime(2025, 1, 1)], ["2024", "2025"]),
        ([datetime(2025, 12, 1), datetime(2026, 1, 1), datetime(2026, 2, 1)], ["Dec\n2025", "Jan\n2026", "Feb\n "]),
        ([datetime(2025, 12, 31), datetime(2026, 1, 5)], ["31 Dec\n2025", "5 Jan\n2026"]),
        ([datetime(2026, 1, 5, 9, 30), datetime(2026, 1, 5, 10)], ["09:30\n5 Jan 2026", "10:00\n "]),
        ([2024, 2025], ["2024", "2025"]),
        (["a\nb", None], ["a b", ""]),
    ],
)
def test_labels_are_as_fine_as_they_need_to_be(labels: list, texts: list[str]) -> None:
    assert label_texts(labels, labels) == texts


def test_numbers_of_the_axis_have_thousands_separators_and_the_same_decimals() -> None:
    assert number_texts([-1000.0, 0.0, 1000.0]) == ["−1,000", "0", "1,000"]
    assert number_texts([0.0, 0.05, 0.1]) == ["0.00", "0.05", "0.10"]


# ---- what is refused -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "message"),
    [
        (Table(("d",), ((1,),)), ".*column.*column.* 1$"),
        (table([1], *[[1]] * 9), ".* 9 series.* 8 "),
        (table(list(range(2001)), [1] * 2001), ".*2,001 rows.*2,000 "),
        (table([1, 2], [1, "abc"]), "column \"series 1\" holds 'abc' in row 2"),
        (table([1], [True]), "holds 'True'"),
        (table([1], [float("inf")]), "holds 'inf'"),
        (table([1], [Decimal("NaN")]), "holds 'NaN'"),
        (table([1], [Decimal("1e400")]), r"holds '1E\+400'"),
    ],
)
@pytest.mark.parametrize("function", [chart_png, alt_text])
def test_a_table_that_cannot_be_drawn_is_refused_with_what_is_wrong(function, shown: Table, message: str) -> None:
    with pytest.raises(ReportError, match=f"^chart orders.*{message}"):
        function(chart(), shown)


# ---- the sentence --------------------------------------------------------------------------


def test_the_sentence_names_the_period_and_each_series_with_its_range() -> None:
    shown = table(DAYS, [n % 7 for n in range(60)], [None] * 60)
    assert alt_text(chart(), shown) == (
        "Orders per day: line chart with 60 entries from 1 Dec 2025 to 29 Jan 2026. "
        "series 1: first 0, last 3, least 0, most 6. series 2: no values."
    )


def test_the_sentence_stays_short() -> None:
    text = alt_text(chart(title="t" * 500), table(["x" * 500] * 60, *[[12345.67] * 60] * 8))
    assert len(text) <= 325
    assert text.endswith(" more series.")


def test_a_chart_without_a_title_is_called_by_its_name() -> None:
    assert alt_text(chart(title=""), table(["x"], [1])).startswith("orders: line chart at x.")


# ---- sparklines ----------------------------------------------------------------------------


def opaque(png: bytes) -> list[tuple[int, int]]:
    image = Image.open(io.BytesIO(png)).convert("RGBA")
    assert image.size == (2 * sparklines.DISPLAY[0], 2 * sparklines.DISPLAY[1])
    return [(x, y) for x in range(image.width) for y in range(image.height) if image.getpixel((x, y))[3] > 100]


def test_a_sparkline_rises_from_left_to_right_and_ends_in_a_dot() -> None:
    png = sparkline_png([1, 2, 3])
    points = opaque(png)
    assert len(png) < 1_000
    assert min(points)[1] > 30
    assert max(points)[1] < 10
    assert len([x for x, _ in points if x > 188]) > 2 * len([x for x, _ in points if x < 18])


def test_equal_values_are_a_level_line() -> None:
    heights = [y for x, y in opaque(sparkline_png([4, 4, 4])) if x < 180]
    assert set(heights) <= {18, 19, 20, 21}


def test_what_is_no_number_is_a_gap() -> None:
    for gap in (None, float("nan"), float("inf")):
        across = {x for x, _ in opaque(sparkline_png([1, 2, gap, 2, 1]))}
        assert {20, 40, 160} < across
        assert 100 not in across


@pytest.mark.parametrize("values", [[], [None], [None, float("nan")]])
def test_no_values_are_an_empty_drawing(values: list) -> None:
    assert opaque(sparkline_png(values)) == []


@pytest.mark.parametrize("values", [[5], [None, 5], [-1e308, 1e308], [0.0, 5e-324], list(range(1000))])
def test_extremes_are_drawn(values: list) -> None:
    assert opaque(sparkline_png(values))


def test_the_same_values_make_the_same_sparkline() -> None:
    assert sparkline_png([1, 2.5, None, 4]) == sparkline_png([1, 2.5, None, 4])


# ---- where it runs -------------------------------------------------------------------------


JOB = '''"""Draw a chart."""

from systemscripts.job_runner import run_job
from systemscripts.plain_text import say
from systemscripts.reporting.charts import chart_png
from systemscripts.reporting.model import Chart, Table


def main(_):
    say(str(len(chart_png(Chart("c", "", "line", "t"), Table(("a", "b"), ((1, 2),))))))
    return 0


if __name__ == "__main__":
    run_job(main, doc=__doc__)
'''


def test_a_home_that_cannot_be_written_is_not_mentioned(project_copy: Installation, tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    (project_copy.project / "jobscripts/draw.py").write_text(JOB)
    run = project_copy.door("draw.py", HOME=str(tmp_path / "a file"))
    assert run.stderr == ""
    assert int(run.stdout) > 1_000
