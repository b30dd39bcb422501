"""The texts of a chart: titles, labels as fine as they are needed, and what fits into how many pixels."""

import math
import unicodedata
from datetime import datetime, time
from typing import Any

from systemscripts.reporting.model import Chart
from systemscripts.reporting.values import is_number, readable_numbers, readable_text

_UNKNOWN_GLYPH = "\N{WHITE VERTICAL RECTANGLE}"


def title_of(chart: Chart) -> str:
    return line_of(chart.title) or chart.name


def line_of(text: str) -> str:
    """Return the text in one line, without its control and formatting characters."""
    return "".join(c for c in " ".join(text.split()) if unicodedata.category(c) not in ("Cc", "Cf", "Cs"))


def short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"


def label_texts(labels: list[Any], shown: list[Any]) -> list[str]:
    """Return the texts of some of the labels, as finely as all of them need it.

    The year of a date, or the day of a time, is a second line where it is not that of the label before.
    """
    if all(map(is_number, labels)):
        return readable_numbers("", shown)
    if not all(map(is_datetime, labels)):
        return [line_of(readable_text(label)) for label in shown]
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


def is_datetime(value: object) -> bool:
    return isinstance(value, datetime)


def _date_formats(moments: list[datetime]) -> tuple[str, str]:
    if any(moment.time() != time() for moment in moments):
        return "%H:%M", "%d %b %Y"
    if len(moments) == 1 or any(moment.day != 1 for moment in moments):
        return "%d %b", "%Y"
    return ("%b", "%Y") if any(moment.month != 1 for moment in moments) else ("%Y", "")


def number_texts(ticks: list[float]) -> list[str]:
    step = ticks[1] - ticks[0]
    if max(map(abs, ticks)) >= 1e15 or step < 1e-6:
        return [f"{tick:.4g}" for tick in ticks]
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{tick:,.{places}f}".replace("-", "\N{MINUS SIGN}") for tick in ticks]


class Font:
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
