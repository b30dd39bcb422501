"""Read a hand-written file of /etc/cron.d, line by line, as Debian's cron reads it (crontab(5), entry.c, env.c)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from systemscripts.cron.grammar import CronExpressionError, parse

_SETTING = re.compile(r"[ \t]*(?:\"([^\"]*)\"|'([^']*)'|([^ \t=\"']+))[ \t]*=[ \t]*(.*?)[ \t]*")
_ENTRY = re.compile(r"[ \t]*(@[^ \t]*|(?:[^ \t]+[ \t]+){4}[^ \t]+)[ \t]+([^ \t]+)[ \t]+(.*)")
# Cron gives what follows an unescaped % to the command as its standard input.
_COMMAND = re.compile(r"((?:\\%|[^%])*)(%.*)?")
# Half a pair of surrogates stands for a byte that is not UTF-8.
_UNPRINTABLE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LONGEST_NAME = 100


@dataclass(frozen=True)
class Entry:
    """A line with a job; `comment` is the line of comment right above it, or "" if there is none."""

    number: int
    frequency: str
    user: str
    command: str
    comment: str


@dataclass(frozen=True)
class Setting:
    """A line that sets a variable for the lines below it. Its value may be a secret, so it is never shown."""

    number: int
    name: str
    value: str


@dataclass(frozen=True)
class Unread:
    """A line that cannot be read, and why."""

    number: int
    reason: str


Line = Entry | Setting | Unread


def read(content: bytes) -> list[Line]:
    """Return the lines that are neither blank nor a comment, in their order."""
    return list(_lines(content.decode("utf-8", "surrogateescape").split("\n")))


def _lines(texts: list[str]) -> Iterator[Line]:
    comment = ""
    for number, text in enumerate(texts, 1):
        bare = text.strip(" \t\r")
        if not bare or bare.startswith("#"):
            comment = _name_in(bare.lstrip("#"))
            continue
        yield _line(number, text, comment)
        comment = ""


def _line(number: int, text: str, comment: str) -> Line:
    if bad := _UNPRINTABLE.search(text):
        windows = " (Windows ends its lines with it)" if bad[0] == "\r" else ""
        return Unread(number, f"it holds the character {bad[0]!r}, which no row can have{windows}")
    if found := _SETTING.fullmatch(text):
        return Setting(number, found[1] or found[2] or found[3] or "", _without_quotes(found[4]))
    if not (found := _ENTRY.fullmatch(text)):
        return Unread(number, "it is not a time, a user and a command")
    frequency, user, rest = found.groups()
    try:
        parse(frequency)
    except CronExpressionError as error:
        return Unread(number, f"{error}; cron ignores a file with such a line")
    parts = _COMMAND.fullmatch(rest)
    assert parts is not None, "every text has this form"
    if parts[2]:
        return Unread(
            number, "it has a % without \\ before it: what follows is the input of the command, and a job has none"
        )
    return Entry(number, " ".join(frequency.split()), user, parts[1].replace("\\%", "%"), comment)


def _without_quotes(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value


def _name_in(comment: str) -> str:
    """Return a comment as a name; "" for a rule, and for a job that was switched off by making it a comment."""
    words = " ".join("".join(c if c.isprintable() else " " for c in comment).split()).strip("-=#* ")
    return (
        "" if _ENTRY.fullmatch(words) and not isinstance(_line(0, words, ""), Unread) else words[:_LONGEST_NAME].strip()
    )
