"""A query's result as a picture for a mail, and as a sentence for those who see no pictures.

The first column are the labels of the x axis, each other one a series of numbers or nulls. A line is
drawn to the scale of its dates or numbers; bars stand side by side in the order of their rows. Nothing
here is for a table without rows: its caller says that there are none.
"""

import io
import logging
import math
import unicodedata
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from systemscripts.reporting.model import Chart, ReportError, Table
from systemscripts.reporting.values import is_number, local_time, readable_numbers, readable_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = ("line", "bar", "stacked")
DISPLAY = (640, 320)  # pixels in the mail; the picture has twice as many each way
MOST_ROWS = 2_000
# Okabe and Ito's (https://jfly.uni-koeln.de/color/), but an indigo and a brown for their black and their yellow,
# which is too pale on white. Any two are 16 or more apart (CIE 1976), for the colour-blind too (Machado 2009).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#332288", "#661100")

_LARGEST = 1e300  # further out the sum of a stack or the step of an axis is no double any more
_MOST_LABELS, _MOST_SLANTED = 10, 16
_LABEL_WIDTH, _LABEL_GAP, _AXIS_WIDTH, _TITLE_WIDTH = 105, 14, 560, 610  # pixels of the display
_LEGEND_MARK = 48
_ALT_LENGTH = 300
_UNKNOWN_GLYPH = "\N{WHITE VERTICAL RECTANGLE}"
_GREY = "#52606d"
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
    "xtick.labelcolor": _GREY,
    "ytick.labelcolor": _GREY,
    "ytick.major.size": 0,
}


@dataclass(frozen=True)
class _Data:
    """A chart's table: whether the labels have a scale, and the numbers (or None) of each series by rows."""

    labels: list[Any]
    names: tuple[str, ...]
    series: list[list[Any]]
    has_scale: bool


def chart_png(chart: Chart, table: Table) -> bytes:
    """Return the chart of a table with one row or more as a PNG, the same bytes for the same table.

    Characters that DejaVu Sans does not have are shown as boxes. Raises ReportError where the table is
    not a label and one to eight series of finite numbers, or has more than 2,000 rows.
    """
    data = _data(chart, table)
    # Where it may not write into the home directory it says so each time, to a log in which nobody can help it.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    with style.context(_STYLE, after_reset=True):
        figure = Figure(figsize=(DISPLAY[0] / 100, DISPLAY[1] / 100), dpi=200, layout="constrained")
        axes = figure.subplots()
        places = _places(data)
        extent = _draw_lines(axes, places, data) if chart.kind == "line" else _draw_bars(axes, chart.kind, data)
        _set_y_axis(axes, extent, data)
        _set_x_axis(axes, places, data)
        _set_title_and_legend(figure, axes, chart, data)
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
    data = _data(chart, table)
    first, last = map(_line_of, _label_texts(data.labels, [data.labels[0], data.labels[-1]]))
    extent = f"at {first}" if len(data.labels) == 1 else f"with {len(data.labels):,} entries from {first} to {last}"
    text = f"{_short(_title(chart))}: {chart.kind} chart {extent}."
    for number, (name, cells) in enumerate(zip(data.names, data.series, strict=True)):
        sentence = f" {_short(name)}: {_summary(cells)}."
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


# ---- the table -----------------------------------------------------------------------------


def _data(chart: Chart, table: Table) -> _Data:
    count = len(table.columns) - 1
    if count < 1:
        raise ReportError(
            f"chart {chart.name} needs a column of labels and one of numbers or more; its query has {count + 1}"
        )
    if count > len(COLOURS):
        raise ReportError(f"chart {chart.name} has {count} series; more than {len(COLOURS)} cannot be told apart")
    if len(table.rows) > MOST_ROWS:
        raise ReportError(
            f"chart {chart.name} has {len(table.rows):,} rows, and {MOST_ROWS:,} can be drawn; group them in its query"
        )
    rows: list[tuple[Any, ...]] = [(_moment(row[0]), *row[1:]) for row in table.rows]
    has_scale = chart.kind == "line" and any(
        all(is_kind(row[0]) for row in rows) for is_kind in (_is_drawable, _is_datetime)
    )
    if has_scale:
        rows.sort(key=lambda row: row[0])
    labels, *series = map(list, zip(*rows, strict=True))
    names = tuple(map(_line_of, table.columns[1:]))
    for name, cells in zip(names, series, strict=True):
        _check_numbers(chart, name, cells)
    return _Data(labels, names, series, has_scale)


def _check_numbers(chart: Chart, name: str, cells: list[Any]) -> None:
    for number, cell in enumerate(cells, start=1):
        if cell is not None and not _is_drawable(cell):
            raise ReportError(
                f'chart {chart.name}: column "{_short(name)}" holds {_short(str(cell))!r} in row {number}, '
                "and only finite numbers can be drawn"
            )


def _is_drawable(value: object) -> bool:
    return is_number(value) and abs(float(value)) <= _LARGEST  # type: ignore[arg-type]


def _is_datetime(value: object) -> bool:
    return isinstance(value, datetime)


def _moment(value: object) -> object:
    """Return a date as its midnight and a time stamp as the machine's time, so that the two can be compared."""
    if isinstance(value, datetime):
        return local_time(value)
    return datetime.combine(value, time()) if isinstance(value, date) else value


# ---- what is drawn -------------------------------------------------------------------------


def _places(data: _Data) -> list[float]:
    """Return where on the x axis each row is."""
    from matplotlib import dates

    if not data.has_scale:
        return list(map(float, range(len(data.labels))))
    if not _is_datetime(data.labels[0]):
        return list(map(float, data.labels))
    return list(map(float, dates.date2num(data.labels)))  # type: ignore[no-untyped-call]


def _draw_lines(axes: "Axes", places: list[float], data: _Data) -> tuple[float, float]:
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


def _draw_bars(axes: "Axes", kind: str, data: _Data) -> tuple[float, float]:
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


# ---- the axes ------------------------------------------------------------------------------


def _set_y_axis(axes: "Axes", extent: tuple[float, float], data: _Data) -> None:
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
    axes.set_yticks(ticks, _number_texts(ticks))
    if ticks[0] < 0 < ticks[-1]:
        axes.axhline(0, color="#9aa5b1", linewidth=0.8)
        axes.spines["bottom"].set_visible(False)
    if not cells:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", va="center", color=_GREY)


def _set_x_axis(axes: "Axes", places: list[float], data: _Data) -> None:
    if data.has_scale and places[0] < places[-1]:
        places, labels = _scale(data.labels)
        axes.set_xticks(places, _label_texts(labels, labels))
        return
    font = _Font()
    texts = [font.cut(text, _LABEL_WIDTH) for text in _label_texts(data.labels, data.labels)]
    widest = max(map(font.width, texts)) + _LABEL_GAP
    step = math.ceil(len(texts) / min(_MOST_LABELS, _AXIS_WIDTH // widest))
    if step > 1 and len(texts) <= _MOST_SLANTED and isinstance(data.labels[0], str):
        axes.set_xticks(places, texts, rotation=30, ha="right", rotation_mode="anchor")
    else:
        shown = _label_texts(data.labels, data.labels[::step])
        axes.set_xticks(places[::step], [font.cut(text, _LABEL_WIDTH) for text in shown])


def _scale(labels: list[Any]) -> tuple[list[float], list[Any]]:
    """Return round places between the first label and the last, which differ, and the dates or numbers that they are."""
    from matplotlib import dates
    from matplotlib.ticker import MaxNLocator

    first, last = labels[0], labels[-1]
    if not _is_datetime(first):
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


# ---- texts ---------------------------------------------------------------------------------


def _set_title_and_legend(figure: "Figure", axes: "Axes", chart: Chart, data: _Data) -> None:
    title = _Font(11, "Bold").cut(_title(chart), _TITLE_WIDTH)
    figure.suptitle(title, x=0.012, ha="left", fontsize=11, fontweight="bold")
    if len(data.names) == 1:
        return
    font = _Font()
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
        labelcolor=_GREY,
    )


def _title(chart: Chart) -> str:
    return _line_of(chart.title) or chart.name


def _line_of(text: str) -> str:
    """Return the text in one line, without its control and formatting characters."""
    return "".join(c for c in " ".join(text.split()) if unicodedata.category(c) not in ("Cc", "Cf", "Cs"))


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"


def _label_texts(labels: list[Any], shown: list[Any]) -> list[str]:
    """Return the texts of some of the labels, as finely as all of them need it.

    The year of a date, or the day of a time, is a second line where it is not that of the label before.
    """
    if all(map(is_number, labels)):
        return readable_numbers("", shown)
    if not all(map(_is_datetime, labels)):
        return [_line_of(readable_text(label)) for label in shown]
    fine, coarse = _date_formats(labels)
    texts, before = [], ""
    for moment in shown:
        line = moment.strftime(coarse).lstrip("0")
        texts.append(
            moment.strftime(fine).lstrip("0" if "%d" in fine else "")
            + (f"\n{line if line != before else ' '}" if coarse else "")
        )
        before = line
    return texts


def _date_formats(moments: list[datetime]) -> tuple[str, str]:
    if any(moment.time() != time() for moment in moments):
        return "%H:%M", "%d %b %Y"
    if len(moments) == 1 or any(moment.day != 1 for moment in moments):
        return "%d %b", "%Y"
    return ("%b", "%Y") if any(moment.month != 1 for moment in moments) else ("%Y", "")


def _number_texts(ticks: list[float]) -> list[str]:
    step = ticks[1] - ticks[0]
    if max(map(abs, ticks)) >= 1e15 or step < 1e-6:
        return [f"{tick:.4g}" for tick in ticks]
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{tick:,.{places}f}".replace("-", "\N{MINUS SIGN}") for tick in ticks]


class _Font:
    """DejaVu Sans in a size and weight: which characters it has, and how wide they are."""

    def __init__(self, points: float = 8, weight: str = "") -> None:
        import matplotlib
        from matplotlib.ft2font import FT2Font

        name = f"DejaVuSans{weight and '-'}{weight}.ttf"
        self._font = FT2Font(f"{matplotlib.get_data_path()}/fonts/ttf/{name}")
        self._font.set_size(points, 100)

    def width(self, text: str) -> float:
        """Return the pixels of the display that the longest line takes."""
        widths = []
        for line in text.split("\n"):
            self._font.set_text(line)
            widths.append(self._font.get_width_height()[0] / 64)
        return max(widths)

    def cut(self, text: str, width: float) -> str:
        """Return the text with boxes for what the font does not have, cut with an ellipsis where it is wider."""
        known = "".join(c if c == "\n" or self._font.get_char_index(ord(c)) else _UNKNOWN_GLYPH for c in text[:200])
        if self.width(known) <= width:
            return known
        length = next(end for end in range(len(known) - 1, -1, -1) if self.width(f"{known[:end]}…") <= width)
        return f"{known[:length].rstrip()}…"
