"""The table of a chart, checked: labels, and series of numbers or nulls."""

from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any

from systemscripts.reporting.chart_texts import is_datetime, line_of, short
from systemscripts.reporting.model import Chart, ReportError, Table
from systemscripts.reporting.values import is_number, local_time

MOST_ROWS = 2_000
MOST_SERIES = 8

_LARGEST = 1e300  # further out the sum of a stack or the step of an axis is no double any more


@dataclass(frozen=True)
class ChartData:
    """A chart's table: whether the labels have a scale, and the numbers (or None) of each series by rows."""

    labels: list[Any]
    names: tuple[str, ...]
    series: list[list[Any]]
    has_scale: bool


def chart_data(chart: Chart, table: Table) -> ChartData:
    count = len(table.columns) - 1
    if count < 1:
        raise ReportError(
            f"chart {chart.name} needs a column of labels and one of numbers or more; its query has {count + 1}"
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
        _check_numbers(chart, name, cells)
    return ChartData(labels, names, series, has_scale)


def _check_numbers(chart: Chart, name: str, cells: list[Any]) -> None:
    for number, cell in enumerate(cells, start=1):
        if cell is not None and not _is_drawable(cell):
            raise ReportError(
                f'chart {chart.name}: column "{short(name)}" holds {short(str(cell))!r} in row {number}, '
                "and only finite numbers can be drawn"
            )


def _is_drawable(value: object) -> bool:
    return is_number(value) and abs(float(value)) <= _LARGEST  # type: ignore[arg-type]


def _moment(value: object) -> object:
    """Return a date as its midnight and a time stamp as the machine's time, so that the two can be compared."""
    if isinstance(value, datetime):
        return local_time(value)
    return datetime.combine(value, time()) if isinstance(value, date) else value
