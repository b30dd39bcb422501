"""A few numbers as a drawing of the size of a word, for the cell of a grid."""

import io
import math
from collections.abc import Sequence

DISPLAY = (100, 20)  # pixels in the mail; the picture has twice as many each way

_COLOUR = (0, 114, 178)
_SMOOTHING = 3  # Pillow draws hard edges: they get their greys by being made smaller
_SCALE = 2 * _SMOOTHING
_WIDTH, _HEIGHT = DISPLAY[0] * _SCALE, DISPLAY[1] * _SCALE
_LINE, _DOT = round(1.4 * _SCALE), 2.4 * _SCALE  # width, radius
_MARGIN = 3 * _SCALE
_LINE_SHADE, _DOT_SHADE = 190, 255
_SHADES = 8

Point = tuple[float, float]


def sparkline_png(values: Sequence[float | None]) -> bytes:
    """Return a line through the values on a transparent ground as a PNG, a dot on the last of them.

    What is None or not finite leaves a gap. Equal values make a level line, none at all an empty drawing.
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
    span = most / 2 - least / 2  # halves, for the range of doubles is wider than a double
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
