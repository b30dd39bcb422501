"""Show a cell with a list of numbers as a word-sized drawing, and as text that says the same."""

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from systemscripts.reporting.values import readable_numbers

LONGEST_ALT = 60
_BLOCKS = "▁▂▃▄▅▆▇█"
_FLAT = "▄"

_LIST = re.compile(r"\{(.*)\}|\[(.*)\]")  # of an array, of JSON
_NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|infinity)", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Series:
    """Points in order, with None for a gap; at least one is a number, and all numbers are finite."""

    points: tuple[float | None, ...]
    alt: str

    @property
    def blocks(self) -> str:
        """Return the points as Unicode blocks from the least to the most, a blank for a gap."""
        present = [point for point in self.points if point is not None]
        least = min(present)
        # Halved, because the span of the largest numbers is too large for a float.
        span = max(present) / 2 - least / 2
        top = len(_BLOCKS) - 1
        return "".join(
            " " if point is None else _BLOCKS[round((point / 2 - least / 2) / span * top)] if span else _FLAT
            for point in self.points
        )


def series_of(value: object) -> Series | None:
    """Return the series of a cell, None if it is null or has no number to draw; an infinite value is a gap.

    The cell is the text of an array, or of a JSON array. Raises ValueError if it is not a list of numbers and nulls.
    """
    if value is None:
        return None
    found = _LIST.fullmatch(str(value))
    inner = (found[1] or found[2] or "").strip() if found else ""
    words = [word.strip() for word in inner.split(",")] if inner else []
    if not found or not all(word.lower() == "null" or _NUMBER.fullmatch(word) for word in words):
        raise ValueError("is no list of numbers")
    items = [None if word.lower() == "null" else Decimal(word) for word in words]
    points = tuple(None if item is None or not math.isfinite(float(item)) else float(item) for item in items)
    if all(point is None for point in points):
        return None
    return Series(points, _alt(items, points))


def _alt(items: list[Decimal | None], points: Sequence[float | None]) -> str:
    text = ", ".join("NULL" if item is None else str(item) for item in items)
    if len(text) <= LONGEST_ALT:
        return text
    # The values as in the database, so that a whole number is written without a point.
    present = [(point, item) for point, item in zip(points, items, strict=True) if point is not None]
    ordered = sorted(present, key=lambda pair: pair[0])
    ends = [item for _, item in (present[0], present[-1], ordered[0], ordered[-1])]
    text = "from {} to {}, least {}, most {}".format(*readable_numbers("", list(ends)))
    return text if len(text) <= LONGEST_ALT else f"{text[: LONGEST_ALT - 1]}…"


DISPLAY = (100, 20)  # pixels in the mail; the picture has twice as many each way

_COLOUR = (0, 114, 178)
_SMOOTHING = 3  # Pillow draws hard edges; shrinking the picture makes them smooth
_SCALE = 2 * _SMOOTHING
_WIDTH, _HEIGHT = DISPLAY[0] * _SCALE, DISPLAY[1] * _SCALE
_LINE, _DOT = round(1.4 * _SCALE), 2.4 * _SCALE  # width, radius
_MARGIN = 3 * _SCALE
_LINE_SHADE, _DOT_SHADE = 190, 255
_SHADES = 8

Point = tuple[float, float]


def sparkline_png(values: Sequence[float | None]) -> bytes:
    """Return a PNG with a line through the values and a dot on the last one, on a transparent ground.

    A value that is None or infinite leaves a gap. Equal values make a level line; no values make an empty drawing.
    """
    from PIL import Image, ImageDraw

    canvas = Image.new("L", (_WIDTH, _HEIGHT), 0)
    draw = ImageDraw.Draw(canvas)
    pieces = _pieces(values)
    for piece in pieces:
        if len(piece) == 1:
            draw.circle(piece[0], _LINE, fill=_LINE_SHADE)
        draw.line(piece, fill=_LINE_SHADE, width=_LINE, joint="curve")
    if pieces:
        draw.circle(pieces[-1][-1], _DOT, fill=_DOT_SHADE)
    drawing = canvas.reduce(_SMOOTHING).point([shade * (_SHADES - 1) // 255 for shade in range(256)])
    drawing.putpalette(_COLOUR * _SHADES)
    stream = io.BytesIO()
    opacities = bytes(shade * 255 // (_SHADES - 1) for shade in range(_SHADES))
    drawing.save(stream, "PNG", bits=4, transparency=opacities)
    return stream.getvalue()


def _pieces(values: Sequence[float | None]) -> list[list[Point]]:
    """Return the points on the canvas, in a list for each run of values without a gap."""
    numbers = [math.nan if value is None else float(value) for value in values]
    finite = [number for number in numbers if math.isfinite(number)]
    least, most = min(finite, default=0.0), max(finite, default=0.0)
    span = most / 2 - least / 2  # halved, because the range of doubles is too large for a double
    pieces: list[list[Point]] = [[]]
    for index, number in enumerate(numbers):
        if math.isfinite(number):
            across = index / (len(numbers) - 1) if len(numbers) > 1 else 1.0
            up = (number / 2 - least / 2) / span if span else 0.5
            pieces[-1].append((_within(across, _WIDTH), _within(1 - up, _HEIGHT)))
        elif pieces[-1]:
            pieces.append([])
    return [piece for piece in pieces if piece]


def _within(part: float, length: int) -> float:
    return _MARGIN + part * (length - 2 * _MARGIN)
