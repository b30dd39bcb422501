r"""Make text from any source safe for a terminal, a log line or a page.

A file name, a mail or a row may hold escape sequences, line breaks, and characters that turn the
direction of writing. They are written out (`\x1b`, `\n`, `\u202e`): a person sees them, and no
program obeys them. Everything that this project prints goes through `say`.
"""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TextIO

from systemscripts import settings

# Ranges of a regular expression: control characters, other line ends, and characters that turn the writing.
CONTROLS = "\x00-\x1f\x7f-\x9f\u2028\u2029"
TURNS = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"

_LINE_END = re.compile("\r\n?")
_STEERS = re.compile(f"(?![\t\n])[{CONTROLS}{TURNS}\ud800-\udfff]")


def on_one_line(text: str) -> str:
    r"""Return the text on one line: all unprintable characters except tabs are written out.

    >>> on_one_line("a\nb")
    'a\\nb'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\t" else ascii(c)[1:-1] for c in text)


def on_its_lines(text: str) -> str:
    r"""Return a text of many lines, for a mail or a page, with its control and direction characters written out.

    Line breaks and tabs stay, and so do the invisible characters that some languages are written with.

    >>> on_its_lines("gpj.\u202efdp\r\n")
    'gpj.\\u202efdp\n'
    """
    return _STEERS.sub(lambda found: ascii(found[0])[1:-1], _LINE_END.sub("\n", text))


def as_words(text: str) -> str:
    r"""Return the text as one line of words: unprintable characters become blanks.

    >>> as_words("Re:\r\n  your\x07 list")
    'Re: your list'
    """
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def say(*lines: str, to: TextIO | None = None, mark: str = "") -> None:
    """Print each text on its own line, without secrets; `mark` is printed unchanged before the first one."""
    told = "\n".join(on_one_line(settings.mask(line)) for line in lines)
    print(mark + told, file=to or sys.stdout, flush=True)


def say_table(columns: Mapping[str, int], lines: Iterable[Sequence[str]]) -> None:
    """Print a heading and lines, each text cut to its column's width in characters.

    The last text of each line is a note, which is printed in full below it.
    """
    for *cells, note in [[*columns, ""], *lines]:
        plain = [on_one_line(text.expandtabs(4)) for text in (*cells, *note.splitlines())]
        sized = zip(plain, columns.values(), strict=False)
        texts = [f"{text:<{width}}" if len(text) <= width else text[: width - 1] + "…" for text, width in sized]
        say("  ".join(texts).rstrip(), *(f"    {text}" for text in plain[len(columns) :]))
