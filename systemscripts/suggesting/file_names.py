"""Find the pattern of the names of a feed's files, and where the date stands in them."""

import re
from datetime import datetime
from itertools import takewhile
from typing import Any, NamedTuple

from systemscripts.suggesting.finding import Certainty, Finding, shown

# The forms of dates in names, the longer before the shorter: for strptime, and for the import.
_FORMS = (
    (r"\d{8}T\d{6}", "%Y%m%dT%H%M%S", "yyyyMMddTHHmmss"), (r"\d{8}_\d{6}", "%Y%m%d_%H%M%S", "yyyyMMdd_HHmmss"),
    (r"\d{14}", "%Y%m%d%H%M%S", "yyyyMMddHHmmss"), (r"\d{4}-\d{2}-\d{2}", "%Y-%m-%d", "yyyy-MM-dd"),
    (r"\d{4}_\d{2}_\d{2}", "%Y_%m_%d", "yyyy_MM_dd"), (r"\d{4}\.\d{2}\.\d{2}", "%Y.%m.%d", "yyyy.MM.dd"),
    (r"\d{2}\.\d{2}\.\d{4}", "%d.%m.%Y", "dd.MM.yyyy"), (r"\d{2}-\d{2}-\d{4}", "%d-%m-%Y", "dd-MM-yyyy"),
    (r"\d{2}-\d{2}-\d{4}", "%m-%d-%Y", "MM-dd-yyyy"),
    (r"\d{8}", "%Y%m%d", "yyyyMMdd"), (r"\d{8}", "%d%m%Y", "ddMMyyyy"), (r"\d{8}", "%m%d%Y", "MMddyyyy"),
)  # fmt: skip
# Which of two comes first is a custom, so names that can be read in both ways are a question.
_OTHER_WAY = {"%d-%m-%Y": "%m-%d-%Y", "%d%m%Y": "%m%d%Y"}


class NamePattern(NamedTuple):
    """What the names have in common: the word before the date, and what was found."""

    word: str
    findings: list[Finding]


def pattern_of(names: list[str]) -> NamePattern:
    """Return the pattern that all the names fit: what is the same stays, what changes is a date or any text."""
    for form, parsed_with, date_format in _FORMS:
        expression = re.compile(rf"(?<!\d)({form})(?!\d)")
        found = [expression.search(name) for name in names]
        if all(match and _is_day(match[1], parsed_with) for match in found):
            dates = [match for match in found if match]
            before = _literal([match.string[: match.start()] for match in dates])
            after = _literal([match.string[match.end() :] for match in dates])
            pattern = f"^{before}{form}{after}$"
            settings: dict[str, Any] = {
                "file_pattern": pattern, "dateconfig": "filename", "dateformat": date_format,
                "datelocation": rf"(?<!\d)({form})(?!\d)",
            }  # fmt: skip
            texts = [match[1] for match in dates]
            other = _OTHER_WAY.get(parsed_with)
            is_clear = other is None or not all(_is_day(text, other) for text in texts)
            told = shown(texts) + ("" if is_clear else "; is the day or the month first? set dateformat")
            sure: Certainty = "sure" if is_clear else "cannot tell"
            day = Finding("date", f"in the name, as {date_format}", sure, told, settings)
            word = (
                _common_start([match.string[: match.start()] for match in dates]) or dates[0].string[dates[0].end() :]
            )
            return NamePattern(word, [_files(pattern, names), day])
    stem, ending = _common_start(names), _common_start([name[::-1] for name in names])[::-1]
    pattern = f"^{re.escape(stem)}.*{re.escape(ending)}$" if len(set(names)) > 1 else f"^{re.escape(names[0])}$"
    why = "no date in the name; the day of the import is taken, unless you set dateconfig"
    settings = {"file_pattern": pattern, "dateconfig": "static", "datelocation": "today"}
    return NamePattern(stem, [_files(pattern, names), Finding("date", "today", "cannot tell", why, settings)])


def _files(pattern: str, names: list[str]) -> Finding:
    certainty: Certainty = "likely" if len(set(names)) > 1 else "cannot tell"
    why = "it fits: " + shown(names) if certainty == "likely" else "from one name; give several files to make it surer"
    return Finding("file names", pattern, certainty, why, {})


def _is_day(text: str, parsed_with: str) -> bool:
    try:
        return 1990 <= datetime.strptime(text, parsed_with).year <= 2100  # noqa: DTZ007 — only the day counts
    except ValueError:
        return False


def _literal(parts: list[str]) -> str:
    """Return an expression for all the parts: what they have in common, and between that any digits or text."""
    if len(set(parts)) == 1:
        return re.escape(parts[0])
    # A number is not cut into a part that stays and one that changes.
    begin = _common_start(parts).rstrip("0123456789")
    end = _common_start([part[len(begin) :][::-1] for part in parts])[::-1].lstrip("0123456789")
    middles = [part[len(begin) : len(part) - len(end)] for part in parts]
    return re.escape(begin) + (r"\d+" if all(middle.isdigit() for middle in middles) else ".*") + re.escape(end)


def _common_start(texts: list[str]) -> str:
    return "".join(
        letters[0] for letters in takewhile(lambda letters: len(set(letters)) == 1, zip(*texts, strict=False))
    )
