"""Check the table of a chart and make its texts: titles, labels, and a description in words."""

import math
import unicodedata
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any

from systemscripts.reporting.model import Chart, ReportError, Table
from systemscripts.reporting.values import is_number, local_time, readable_numbers, readable_text
from systemscripts.reporting.writing import PLAIN, Writing

KINDS = ("line", "bar", "stacked")
MOST_ROWS = 2_000
MOST_SERIES = 8

_ALT_LENGTH = 300  # characters

_LARGEST = 1e300  # beyond this, the sum of a stack or the step of an axis is too large for a double


def title_of(chart: Chart) -> str:
    return line_of(chart.title) or chart.name


def line_of(text: str) -> str:
    """Return the text on one line, without control and formatting characters."""
    return "".join(c for c in " ".join(text.split()) if unicodedata.category(c) not in ("Cc", "Cf", "Cs"))


def short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"


def label_texts(labels: list[Any], shown: list[Any], writing: Writing = PLAIN) -> list[str]:
    """Return the texts of some labels, with as much detail as all of the labels need.

    The year of a date, or the day of a time, is on a second line if it differs from the label before.
    matplotlib's ConciseDateFormatter leaves the first year out, and writes only the last date in full.
    """
    if all(map(is_number, labels)):
        return readable_numbers("", shown, writing)
    if not all(map(is_datetime, labels)):
        return [line_of(readable_text(label, writing)) for label in shown]
    if any(moment.time() != time() for moment in labels):
        fine, coarse = writing.time_form, writing.full_day_form
    elif len(labels) == 1 or any(moment.day != 1 for moment in labels):
        fine, coarse = writing.day_form, "%Y"
    else:
        fine, coarse = ("%b", "%Y") if any(moment.month != 1 for moment in labels) else ("%Y", "")
    texts, before = [], ""
    for moment in shown:
        line = writing.moment(moment, coarse)
        texts.append(writing.moment(moment, fine) + (f"\n{line if line != before else ' '}" if coarse else ""))
        before = line
    return texts


def is_datetime(value: object) -> bool:
    return isinstance(value, datetime)


def number_texts(ticks: list[float], writing: Writing = PLAIN) -> list[str]:
    """Return plain numbers with the same decimals. matplotlib's EngFormatter writes 0.05 as 50m."""
    step = ticks[1] - ticks[0]
    if max(map(abs, ticks)) >= 1e15 or step < 1e-6:
        return [writing.number(f"{tick:.4g}") for tick in ticks]
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    return [writing.number(f"{tick:,.{places}f}").replace("-", "\N{MINUS SIGN}") for tick in ticks]


@dataclass(frozen=True)
class ChartData:
    """A chart's table: whether the labels have a scale, and the numbers (or None) of each series by rows."""

    labels: list[Any]
    names: tuple[str, ...]
    series: list[list[Any]]
    has_scale: bool
    writing: Writing


def chart_data(chart: Chart, table: Table) -> ChartData:
    count = len(table.columns) - 1
    if count < 1:
        raise ReportError(
            f"chart {chart.name} needs a column of labels and at least one column of numbers; its query has {count + 1}"
        )
    if count > MOST_SERIES:
        raise ReportError(f"chart {chart.name} has {count} series; more than {MOST_SERIES} cannot be told apart")
    if len(table.rows) > MOST_ROWS:
        raise ReportError(
            f"chart {chart.name} has {len(table.rows):,} rows, and {MOST_ROWS:,} can be drawn; group them in its query"
        )
    rows: list[tuple[Any, ...]] = [(_moment(row[0]), *row[1:]) for row in table.rows]
    has_scale = chart.kind == "line" and any(
        all(is_kind(row[0]) for row in rows) for is_kind in (_is_drawable, is_datetime)
    )
    if has_scale:
        rows.sort(key=lambda row: row[0])
    labels, *series = map(list, zip(*rows, strict=True))
    names = tuple(map(line_of, table.columns[1:]))
    for name, cells in zip(names, series, strict=True):
        for number, cell in enumerate(cells, start=1):
            if cell is not None and not _is_drawable(cell):
                raise ReportError(
                    f'chart {chart.name}: column "{short(name)}" holds {short(str(cell))!r} in row {number}, '
                    "and only finite numbers can be drawn"
                )
    return ChartData(labels, names, series, has_scale, chart.writing)


def _is_drawable(value: object) -> bool:
    return is_number(value) and abs(float(value)) <= _LARGEST  # type: ignore[arg-type]


def _moment(value: object) -> object:
    """Return a date as its midnight and a time stamp in the machine's time, so that both can be compared."""
    if isinstance(value, datetime):
        return local_time(value)
    return datetime.combine(value, time()) if isinstance(value, date) else value


def alt_text(chart: Chart, table: Table) -> str:
    """Return a description of a chart for the alt attribute of its image: about 300 characters, not escaped.

    The table must have at least one row. Raises ReportError as `chart_png` does.
    """
    data = chart_data(chart, table)
    ends = label_texts(data.labels, [data.labels[0], data.labels[-1]], chart.writing)
    first, last = (short(line_of(text)) for text in ends)
    extent = f"at {first}" if len(data.labels) == 1 else f"with {len(data.labels):,} entries from {first} to {last}"
    text = f"{short(title_of(chart))}: {chart.kind} chart {extent}."
    for number, (name, cells) in enumerate(zip(data.names, data.series, strict=True)):
        numbers = [cell for cell in cells if cell is not None]
        summary = "no values"
        if numbers:
            values = readable_numbers("", [numbers[0], numbers[-1], min(numbers), max(numbers)], chart.writing)
            summary = "first {}, last {}, least {}, most {}".format(*values)
        sentence = f" {short(name)}: {summary}."
        if len(text) + len(sentence) > _ALT_LENGTH:
            return f"{text} And {len(data.names) - number} more series."
        text += sentence
    return text
