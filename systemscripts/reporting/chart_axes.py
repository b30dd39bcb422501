"""What stands around a chart: its axes with their labels, its title, its legend."""

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from systemscripts.reporting.chart_data import ChartData
from systemscripts.reporting.chart_texts import Font, is_datetime, label_texts, number_texts, title_of
from systemscripts.reporting.model import Chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GREY = "#52606d"

_MOST_LABELS, _MOST_SLANTED = 10, 16
_LABEL_WIDTH, _LABEL_GAP, _AXIS_WIDTH, _TITLE_WIDTH = 105, 14, 560, 610  # pixels of the display
_LEGEND_MARK = 48


def set_y_axis(axes: "Axes", extent: tuple[float, float], data: ChartData) -> None:
    """Let the axis begin and end with a line of the grid, at zero if that is not far away."""
    from matplotlib.ticker import MaxNLocator

    bottom, top = extent
    if bottom == top:
        bottom, top = min(bottom, 0.0), max(top, 0.0) or float(bottom == 0)
    if 0 < bottom <= top - bottom:
        bottom = 0.0
    if 0 < -top <= top - bottom:
        top = 0.0
    cells = [cell for cells in data.series for cell in cells if cell is not None]
    whole = all(cell == int(cell) for cell in cells)
    ticks = list(map(float, MaxNLocator(nbins=5, steps=[1, 2, 5, 10], integer=whole).tick_values(bottom, top)))
    axes.set_ylim(ticks[0], ticks[-1])
    axes.set_yticks(ticks, number_texts(ticks))
    if ticks[0] < 0 < ticks[-1]:
        axes.axhline(0, color="#9aa5b1", linewidth=0.8)
        axes.spines["bottom"].set_visible(False)
    if not cells:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", va="center", color=GREY)


def set_x_axis(axes: "Axes", places: list[float], data: ChartData) -> None:
    if data.has_scale and places[0] < places[-1]:
        places, labels = _scale(data.labels)
        axes.set_xticks(places, label_texts(labels, labels))
        return
    font = Font()
    texts = [font.cut(text, _LABEL_WIDTH) for text in label_texts(data.labels, data.labels)]
    widest = max(map(font.width, texts)) + _LABEL_GAP
    step = math.ceil(len(texts) / min(_MOST_LABELS, _AXIS_WIDTH // widest))
    if step > 1 and len(texts) <= _MOST_SLANTED and isinstance(data.labels[0], str):
        axes.set_xticks(places, texts, rotation=30, ha="right", rotation_mode="anchor")
    else:
        shown = label_texts(data.labels, data.labels[::step])
        axes.set_xticks(places[::step], [font.cut(text, _LABEL_WIDTH) for text in shown])


def _scale(labels: list[Any]) -> tuple[list[float], list[Any]]:
    """Return round places between the first label and the last, which differ, and the dates or numbers that they are."""
    from matplotlib import dates
    from matplotlib.ticker import MaxNLocator

    first, last = labels[0], labels[-1]
    if not is_datetime(first):
        ticks = [float(t) for t in MaxNLocator(nbins=8, steps=[1, 2, 5, 10]).tick_values(float(first), float(last))]
        ticks = [tick for tick in ticks if first <= tick <= last]
        return ticks, [Decimal(f"{tick:.12g}") for tick in ticks]
    untyped: Any = dates
    start, end = untyped.date2num([first, last])
    ticks = [
        tick
        for tick in untyped.AutoDateLocator(minticks=3, maxticks=8).tick_values(first, last)
        if start <= tick <= end
    ]
    return ticks, [moment.replace(tzinfo=None) for moment in untyped.num2date(ticks)]


def set_title_and_legend(figure: "Figure", axes: "Axes", chart: Chart, data: ChartData) -> None:
    title = Font(11, "Bold").cut(title_of(chart), _TITLE_WIDTH)
    figure.suptitle(title, x=0.012, ha="left", fontsize=11, fontweight="bold")
    if len(data.names) == 1:
        return
    font = Font()
    names = [font.cut(name, _TITLE_WIDTH / 3 - _LEGEND_MARK) for name in data.names]
    columns = int(_TITLE_WIDTH // (max(map(font.width, names)) + _LEGEND_MARK))
    figure.legend(
        list(axes.collections or axes.lines)[: len(names)],
        names,
        loc="outside lower left",
        ncols=min(columns, len(names)),
        frameon=False,
        borderpad=0,
        columnspacing=1.4,
        handlelength=1.4,
        handletextpad=0.5,
        labelcolor=GREY,
    )
