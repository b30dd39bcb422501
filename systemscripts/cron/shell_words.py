"""Divide a command of a crontab into simple commands and their words, as a shell does, without running anything.

Only what has one plain meaning is understood: words, quotes, variables that the crontab sets, `&&`, `;` and output
to files. Anything else, such as a pipe or $(…), raises CannotTell.

Reference: POSIX.1-2024, Shell Command Language, 2.2 (quoting), 2.3 (tokens), 2.7 (redirection).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""[ \t]*(?:
    (?P<output>(?:[0-9]*|&)>[>&|]?)
    |(?P<operator>&&|\|\||[;|&()<])
    |(?P<word>(?:[^\s;|&()<>'"\\]|'[^']*'|"(?:[^"\\]|\\.)*"|\\.)+)
    )""",
    re.VERBOSE,
)
_PART = re.compile(r"""'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)|([^'"\\]+)""")
_IN_QUOTES = re.compile(r"\\([$`\"\\])|\$(?:\{(\w+)\}|(\w+))|([$`])")
_BARE = re.compile(r"()\$(?:\{(\w+)\}|(\w+))|([$`*?\[\]{}]|^[~#])")
# The value of a variable outside of quotes is divided into words; one of these characters is not.
_ONE_WORD = re.compile(r"[\w./:@%+,-]*")


class CannotTell(ValueError):
    """The command has a part whose meaning is not plain; the message names it."""


@dataclass
class Simple:
    """One command of a line: what joins it to the one before, its words, and where its output goes."""

    joined_by: str
    words: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)


def simple_commands(command: str, variables: Mapping[str, str]) -> list[Simple]:
    """Return the simple commands of the line, in order; raises CannotTell."""
    found, goes_to_file, position, command = [Simple("")], False, 0, command.strip()
    while position < len(command):
        token = _TOKEN.match(command, position)
        if token is None:
            raise CannotTell(f"its quotes are not closed: {command[position:]!r}")
        position = token.end()
        if token["word"] is not None:
            word = _unquoted(token["word"], variables)
            (found[-1].outputs if goes_to_file else found[-1].words).append(word)
        elif goes_to_file:
            raise CannotTell(f"no file follows the > before {token[0].strip()!r}")
        elif token["operator"] in ("&&", ";"):
            found.append(Simple(token["operator"]))
        elif token["operator"]:
            raise CannotTell(f"it has {token['operator']!r}, and a row is one job")
        goes_to_file = token["output"] is not None
    if goes_to_file:
        raise CannotTell("no file follows its last >")
    return [simple for simple in found if simple.words or simple.outputs]


def _unquoted(word: str, variables: Mapping[str, str]) -> str:
    """Return what a shell makes of a word."""

    def replaced(found: re.Match[str], in_quotes: bool) -> str:
        literal, braced, plain, special = found.groups()
        if literal:
            return literal
        name = braced or plain
        value = variables.get(name) if name else None
        if value is None or not (in_quotes or _ONE_WORD.fullmatch(value)):
            raise CannotTell(f"the shell would put something else in place of {special or found[0]!r}")
        return value

    parts = []
    for single, double, escaped, bare in _PART.findall(word):
        if double:
            parts.append(_IN_QUOTES.sub(lambda found: replaced(found, in_quotes=True), double))
        else:
            parts.append(single + escaped + _BARE.sub(lambda found: replaced(found, in_quotes=False), bare))
    return "".join(parts)
