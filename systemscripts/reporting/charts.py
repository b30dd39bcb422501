"""Draw a query's result as a picture for a mail.

The first column holds the labels of the x axis; each other column is a series of numbers or nulls. A
line is drawn to the scale of its dates or numbers; bars stand side by side in the order of their rows.
The table must have rows; for an empty one the caller writes a text instead.
"""

import io
import math
from decimal import Decimal
from typing import Any

import matplotlib
import numpy as np
from matplotlib import dates, style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.ticker import MaxNLocator
from PIL import Image

from systemscripts.reporting.chart_data import (
    ChartData,
    chart_data,
    is_datetime,
    label_texts,
    number_texts,
    title_of,
)
from systemscripts.reporting.model import Chart, Table

# Pixels in the mail; the picture has twice as many each way. A telephone of 390 pixels shows it at three quarters.
DISPLAY = (480, 300)
# Okabe and Ito's colours (https://jfly.uni-koeln.de/color/), with indigo and brown in place of black and of yellow,
# which is too pale on white. Any two differ by at least 16 (CIE 1976), also for the colour-blind (Machado 2009).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#332288", "#661100")
GREY = "#52606d"

_MOST_LABELS, _MOST_SLANTED = 10, 16
_LABEL_WIDTH, _LABEL_GAP, _AXIS_WIDTH, _TITLE_WIDTH = 130, 10, 415, 455  # pixels of the display
_LEGEND_MARK = 48
# Of 100 pixels an inch: 11 pixels on a telephone, 15 elsewhere.
POINTS = 10.5

_UNKNOWN_GLYPH = "\N{WHITE VERTICAL RECTANGLE}"
_STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": POINTS,
    "text.color": "#1f2933",
    "text.parse_math": False,
    "axes.axisbelow": True,
    "axes.edgecolor": "#9aa5b1",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "grid.color": "#e4e7eb",
    "grid.linewidth": 0.7,
    "xtick.color": "#9aa5b1",
    "xtick.labelcolor": GREY,
    "ytick.labelcolor": GREY,
    "ytick.major.size": 0,
}


class Font:
    """DejaVu Sans in one size and weight: its characters and their widths."""

    def __init__(self, points: float = POINTS, weight: str = "") -> None:
        name = f"DejaVuSans{weight and '-'}{weight}.ttf"
        self._font = FT2Font(f"{matplotlib.get_data_path()}/fonts/ttf/{name}")
        self._font.set_size(points, 100)

    def width(self, text: str) -> float:
        """Return the width of the longest line in pixels of the display."""
        widths = []
        for line in text.split("\n"):
            self._font.set_text(line)
            widths.append(self._font.get_width_height()[0] / 64)
        return max(widths)

    def cut(self, text: str, width: float) -> str:
        """Return the text with boxes for missing characters; cut it with an ellipsis if it is too wide."""
        known = "".join(c if c == "\n" or self._font.get_char_index(ord(c)) else _UNKNOWN_GLYPH for c in text[:200])
        if self.width(known) <= width:
            return known
        length = next(end for end in range(len(known) - 1, -1, -1) if self.width(f"{known[:end]}…") <= width)
        return f"{known[:length].rstrip()}…"


def set_y_axis(axes: Axes, extent: tuple[float, float], data: ChartData) -> None:
    """Let the axis begin and end at a grid line, and at zero if zero is near."""
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
    axes.set_yticks(ticks, number_texts(ticks, data.writing))
    if ticks[0] < 0 < ticks[-1]:
        axes.axhline(0, color="#9aa5b1", linewidth=0.8)
        axes.spines["bottom"].set_visible(False)
    if not cells:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", va="center", color=GREY)


def set_x_axis(axes: Axes, places: list[float], data: ChartData) -> None:
    if data.has_scale and places[0] < places[-1]:
        places, labels = _scale(data.labels)
        axes.set_xticks(places, label_texts(labels, labels, data.writing))
        return
    font = Font()
    texts = [font.cut(text, _LABEL_WIDTH) for text in label_texts(data.labels, data.labels, data.writing)]
    widest = max(map(font.width, texts)) + _LABEL_GAP
    step = math.ceil(len(texts) / min(_MOST_LABELS, _AXIS_WIDTH // widest))
    if step > 1 and len(texts) <= _MOST_SLANTED and isinstance(data.labels[0], str):
        axes.set_xticks(places, texts, rotation=45, ha="right", rotation_mode="anchor")
    else:
        shown = label_texts(data.labels, data.labels[::step], data.writing)
        axes.set_xticks(places[::step], [font.cut(text, _LABEL_WIDTH) for text in shown])


def _scale(labels: list[Any]) -> tuple[list[float], list[Any]]:
    """Return round places between the first and the last label, which must differ, and their dates or numbers."""
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


def set_title_and_legend(figure: Figure, axes: Axes, chart: Chart, data: ChartData) -> None:
    title = Font(12, "Bold").cut(title_of(chart), _TITLE_WIDTH)
    figure.suptitle(title, x=0.012, ha="left", fontsize=12, fontweight="bold")
    if len(data.names) == 1:
        return
    font = Font()
    names = [font.cut(name, _TITLE_WIDTH / 2 - _LEGEND_MARK) for name in data.names]
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


def chart_png(chart: Chart, table: Table) -> bytes:
    """Return the chart of a table with one row or more as a PNG, the same bytes for the same table.

    Characters that DejaVu Sans does not have are shown as boxes. Raises ReportError unless the table has
    a column of labels, one to eight series of finite numbers, and at most 2,000 rows.
    """
    data = chart_data(chart, table)
    with style.context(_STYLE, after_reset=True):
        figure = Figure(figsize=(DISPLAY[0] / 100, DISPLAY[1] / 100), dpi=200, layout="constrained")
        axes = figure.subplots()
        places = places_of(data)
        extent = draw_lines(axes, places, data) if chart.kind == "line" else draw_bars(axes, chart.kind, data)
        set_y_axis(axes, extent, data)
        set_x_axis(axes, places, data)
        set_title_and_legend(figure, axes, chart, data)
        canvas: Any = FigureCanvasAgg(figure)
        canvas.draw()
    drawn = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba())
    picture = io.BytesIO()
    # A palette makes the file a third as large; a median cut keeps the colours of large areas.
    drawn.convert("RGB").quantize(128, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(picture, "PNG")
    return picture.getvalue()


def places_of(data: ChartData) -> list[float]:
    """Return the place of each row on the x axis."""
    if not data.has_scale:
        return list(map(float, range(len(data.labels))))
    if not is_datetime(data.labels[0]):
        return list(map(float, data.labels))
    return list(map(float, dates.date2num(data.labels)))  # type: ignore[no-untyped-call]


def draw_lines(axes: Axes, places: list[float], data: ChartData) -> tuple[float, float]:
    """Draw each series, with dots for few or isolated points; return the minimum and the maximum."""
    for cells, colour in zip(data.series, COLOURS, strict=False):
        heights = [math.nan if cell is None else float(cell) for cell in cells]
        around = [None, *cells, None]
        alone = [i for i, cell in enumerate(cells) if cell is not None and around[i : i + 3 : 2] == [None, None]]
        dots = list(range(len(cells))) if len(cells) <= 16 else alone
        [line] = axes.plot(places, heights, color=colour, linewidth=1.6, clip_on=False)
        if dots:
            line.set(marker="o", markersize=3.5, markevery=dots)
    margin = (places[-1] - places[0]) * 0.02 or 1
    axes.set_xlim(places[0] - margin, places[-1] + margin)
    numbers = [float(cell) for cells in data.series for cell in cells if cell is not None]
    return min(numbers, default=0.0), max(numbers, default=0.0)


def draw_bars(axes: Axes, kind: str, data: ChartData) -> tuple[float, float]:
    """Draw the bars, side by side or stacked up and down from zero; return their range, which includes zero."""
    heights = np.array([[float(cell or 0) for cell in cells] for cells in data.series])
    bottoms = np.zeros_like(heights)
    shifts, width = [0.0] * len(heights), 0.72
    if kind == "stacked":
        for part in (heights.clip(min=0), heights.clip(max=0)):
            bottoms += np.where(part, part.cumsum(axis=0) - part, 0)
    else:
        width = 0.8 / len(heights)
        shifts = [(number - (len(heights) - 1) / 2) * width for number in range(len(heights))]
    tops = bottoms + heights
    for bottom, top, colour, shift in zip(bottoms, tops, COLOURS, shifts, strict=False):
        left = np.arange(len(top)) + shift - width / 2
        right = left + width
        corners: Any = np.array([(left, bottom), (left, top), (right, top), (right, bottom)]).transpose(2, 0, 1)
        # One collection of bars, because 16,000 single bars would take seconds.
        axes.add_collection(PolyCollection(corners, facecolors=colour))
    room = max(0.5, (5 - heights.shape[1]) / 2)  # a single bar must not fill the whole width
    axes.set_xlim(-room, heights.shape[1] - 1 + room)
    return float(tops.min(initial=0)), float(tops.max(initial=0))
