"""How numbers, sizes, times and names stand on the page."""

import math
import re
from collections.abc import Sequence
from datetime import timedelta

from systemscripts import settings
from systemscripts.plain_text import on_its_lines, on_one_line

LONGEST = 160
_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def number(count: int, word: str) -> str:
    """Return a count with its word in the singular or plural.

    >>> number(1, "list"), number(1200, "list")
    ('1 list', '1,200 lists')
    """
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts names as a person does.

    >>> sorted(["Feed 10", "Feed 2"], key=natural)
    ['Feed 2', 'Feed 10']
    """
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]{1,9})", name.lower())]


def line(text: object, longest: int = LONGEST) -> str:
    """Return untrusted text on one visible line, without secrets, at most so long.

    >>> line(" "), line("long", 3), line(None)
    ('(blank)', 'lo…', '')
    """
    if text is None or text == "":
        return ""
    told = on_one_line(settings.mask(str(text))[: longest + 1]).replace("\\t", " ")
    if not told.strip():
        return "(blank)"
    return told if len(told) <= longest else f"{told[: longest - 1]}…"


def tail(text: str | None, lines: int, longest: int) -> str:
    """Return the last lines of what a job printed, each cut to a length."""
    last = on_its_lines(settings.mask(text or "")).rstrip().split("\n")[-lines:]
    return "\n".join(part if len(part) <= longest else f"{part[: longest - 1]}…" for part in last)


def size(count: float | None) -> str:
    """Return a number of bytes in words.

    >>> size(999), size(1_234_567), size(None)
    ('999 bytes', '1.2 MB', '')
    """
    if count is None:
        return ""
    unit = 0
    while abs(count) >= 999.5 and unit < len(_UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.0f} bytes" if unit == 0 else f"{count:,.1f} {_UNITS[unit]}"


def span(took: timedelta | None) -> str:
    """Return how long something took.

    >>> span(timedelta(seconds=0.2)), span(timedelta(seconds=75)), span(timedelta(hours=3))
    ('0.2 s', '1 min 15 s', '3 h 0 min')
    """
    if took is None:
        return ""
    seconds = max(took.total_seconds(), 0.0)
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes else f"{rest} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


def polyline(values: Sequence[float | None], width: float = 100, height: float = 20) -> str:
    """Return a path of SVG through the values, with gaps where there is none; "" if there is none at all.

    >>> polyline([1, 2, None, 1])
    'M0 20L33.33 0M100 20'
    """
    present = [value for value in values if value is not None and math.isfinite(value)]
    if not present:
        return ""
    least, most = min(present), max(present)
    path, pen = [], "M"
    for place, value in enumerate(values):
        if value is None or not math.isfinite(value):
            pen = "M"
            continue
        across = width * place / (len(values) - 1) if len(values) > 1 else width
        up = height * (1 - (value - least) / (most - least)) if most > least else height / 2
        path.append(f"{pen}{across:.4g} {up:.3g}")
        pen = "L"
    return "".join(path)
