"""A query's result as a picture for a mail, and as a sentence for those who see no pictures.

The first column are the labels of the x axis, each other one a series of numbers or nulls. A line is
drawn to the scale of its dates or numbers; bars stand side by side in the order of their rows. Nothing
here is for a table without rows: its caller says that there are none.
"""

import io
import logging
import math
from typing import TYPE_CHECKING, Any

from systemscripts.reporting.chart_axes import GREY, set_title_and_legend, set_x_axis, set_y_axis
from systemscripts.reporting.chart_data import ChartData, chart_data
from systemscripts.reporting.chart_texts import is_datetime, label_texts, line_of, short, title_of
from systemscripts.reporting.model import Chart, Table
from systemscripts.reporting.values import readable_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KINDS = ("line", "bar", "stacked")
DISPLAY = (640, 320)  # pixels in the mail; the picture has twice as many each way
# Okabe and Ito's (https://jfly.uni-koeln.de/color/), but an indigo and a brown for their black and their yellow,
# which is too pale on white. Any two are 16 or more apart (CIE 1976), for the colour-blind too (Machado 2009).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#332288", "#661100")

_ALT_LENGTH = 300
_STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 8,  # points, of 100 pixels an inch
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


def chart_png(chart: Chart, table: Table) -> bytes:
    """Return the chart of a table with one row or more as a PNG, the same bytes for the same table.

    Characters that DejaVu Sans does not have are shown as boxes. Raises ReportError where the table is
    not a label and one to eight series of finite numbers, or has more than 2,000 rows.
    """
    data = chart_data(chart, table)
    # Where it may not write into the home directory it says so each time, to a log in which nobody can help it.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

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
    # A palette makes it a third as large; a median cut keeps the colours of large areas as they are.
    drawn.convert("RGB").quantize(128, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(picture, "PNG")
    return picture.getvalue()


def alt_text(chart: Chart, table: Table) -> str:
    """Return what a chart shows, for the alt attribute of its image: some 300 characters, not escaped.

    The table has a row or more. Raises ReportError as `chart_png` does.
    """
    data = chart_data(chart, table)
    first, last = (short(line_of(text)) for text in label_texts(data.labels, [data.labels[0], data.labels[-1]]))
    extent = f"at {first}" if len(data.labels) == 1 else f"with {len(data.labels):,} entries from {first} to {last}"
    text = f"{short(title_of(chart))}: {chart.kind} chart {extent}."
    for number, (name, cells) in enumerate(zip(data.names, data.series, strict=True)):
        sentence = f" {short(name)}: {_summary(cells)}."
        if len(text) + len(sentence) > _ALT_LENGTH:
            return f"{text} And {len(data.names) - number} more series."
        text += sentence
    return text


def _summary(cells: list[Any]) -> str:
    numbers = [cell for cell in cells if cell is not None]
    if not numbers:
        return "no values"
    values = readable_numbers("", [numbers[0], numbers[-1], min(numbers), max(numbers)])
    return "first {}, last {}, least {}, most {}".format(*values)


def places_of(data: ChartData) -> list[float]:
    """Return where on the x axis each row is."""
    from matplotlib import dates

    if not data.has_scale:
        return list(map(float, range(len(data.labels))))
    if not is_datetime(data.labels[0]):
        return list(map(float, data.labels))
    return list(map(float, dates.date2num(data.labels)))  # type: ignore[no-untyped-call]


def draw_lines(axes: "Axes", places: list[float], data: ChartData) -> tuple[float, float]:
    """Draw each series, with a dot where there are few or where nulls leave a point alone; return the least and most."""
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


def draw_bars(axes: "Axes", kind: str, data: ChartData) -> tuple[float, float]:
    """Draw the bars, side by side or from zero up and down in a stack; return how far they reach, zero included."""
    import numpy as np
    from matplotlib.collections import PolyCollection

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
        # One collection: 16,000 single bars would take seconds.
        axes.add_collection(PolyCollection(corners, facecolors=colour))
    room = max(0.5, (5 - heights.shape[1]) / 2)  # a single bar is no wall
    axes.set_xlim(-room, heights.shape[1] - 1 + room)
    return float(tops.min(initial=0)), float(tops.max(initial=0))
