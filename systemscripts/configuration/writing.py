r"""Write the configuration as YAML: the same rows are the same bytes.

A text is plain only where every reader of YAML takes it for a text. What cannot be seen (a tab, a mark that turns the
writing, a blank at the end of a line) is written out in double quotes, so that no reviewer overlooks it. A text of
several lines keeps them, for a comparison line by line.
"""

import re
import textwrap
from collections.abc import Iterator
from typing import Any

from systemscripts.configuration.catalogue import Catalogue, Column, Kind, Shape
from systemscripts.configuration.rows import Row, Rows, State
from systemscripts.configuration.tables import PARTS, TOP
from systemscripts.plain_text import on_one_line

WIDTH = 100  # characters
SCHEMA_FILE = "configuration.schema.json"
_HEAD = f"""\
# yaml-language-server: $schema={SCHEMA_FILE}
#
# The configuration of the ETL system. Compare and apply it: etl config diff FILE, etl config apply FILE
# A value that is not here is the column's default. A section that is not here is left as it is in the database.
# A row is known by its name: one that is named otherwise is another row.
"""
# Words that a reader of YAML 1.1 takes for something else than a text.
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
_PLAIN = re.compile(r"(?!\d{4}-)(?:[^\W\d]|/|\d(?=[^ :]* ))(?:[\w ./@+()*%;'\"|=-]|:(?=\S)|,(?=\S)|,(?= \S))*")
_PLAIN_IN_LIST = re.compile(r"[^\W\d][\w ./@+()*%;-]*")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_LONGEST_NAME = 120  # characters; YAML allows 1024, with its escapes


class Plain(str):
    """A number, a truth or a null, which stands without quotes."""

    __slots__ = ()


def document(catalogue: Catalogue, state: State) -> str:
    """Return the whole file."""
    parts = [_HEAD]
    for section in TOP:
        shapes = [catalogue[section.path], *(catalogue[part.path] for part in PARTS[section.name])]
        lines = [line for shape in shapes for line in _comments(shape)]
        content: Any = _rows(catalogue, section.path, state[section.name])
        lines += _entry(f"{section.name}:", content, 0)
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def row_lines(catalogue: Catalogue, path: str, row: Row) -> list[str]:
    """Return the lines of one row, without its name."""
    content = _row(catalogue, path, row)
    return [line for name, value in content.items() for line in _entry(f"{name}:", value, 0)]


def value_lines(column: Column, value: str | None) -> list[str]:
    """Return the lines of one value, for a comparison."""
    return _entry("", node_of(column, value), -2)


def node_of(column: Column, value: str | None) -> Any:
    """Return what stands for a value: a text, Plain, a list or a dict."""
    import json

    if value is None:
        return Plain("null")
    if column.kind in (Kind.LIST, Kind.JSON):
        return _marked(json.loads(value, parse_int=Plain, parse_float=Plain))
    if column.kind is Kind.TRUTH:
        return Plain({"1": "true", "0": "false"}.get(value, value))
    return value if column.kind is Kind.TEXT else Plain(value)


def _marked(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _marked(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [_marked(item) for item in value]
    return value if isinstance(value, str) else Plain({None: "null", True: "true", False: "false"}[value])


def _comments(shape: Shape) -> Iterator[str]:
    yield "#"
    yield from _wrapped(f"{shape.section.path}: {shape.about}", "# ", "# ")
    for column in (*shape.keys.values(), *shape.columns.values()):
        if column.comment:
            yield from _wrapped(f"{column.name}: {column.comment}", "#   ", "#     ")


def _wrapped(text: str, first: str, others: str) -> list[str]:
    return textwrap.wrap(
        on_one_line(text), WIDTH, initial_indent=first, subsequent_indent=others, break_on_hyphens=False
    )


def _rows(catalogue: Catalogue, path: str, rows: Rows) -> Any:
    if catalogue[path].section.is_list:
        return [_row(catalogue, path, row) for row in rows.values()]
    return {row.name: _row(catalogue, path, row) for row in rows.values()}


def _row(catalogue: Catalogue, path: str, row: Row) -> dict[str, Any]:
    shape = catalogue[path]
    content = {
        name: node_of(column, row.values[name])
        for name, column in shape.columns.items()
        if column.must_be_given or row.values[name] != column.default
    }
    for part in PARTS.get(path, ()):
        if row.parts.get(part.name):
            content[part.name] = _rows(catalogue, part.path, row.parts[part.name])
    return content


def _entry(prefix: str, node: Any, indent: int) -> list[str]:
    """Return the lines of `prefix` (a name with a colon, or a dash) and what belongs to it."""
    margin, inner = " " * max(indent, 0), indent + 2
    beside = f"{margin}{prefix} " if prefix else ""
    if isinstance(node, Plain):
        return [beside + node]
    if isinstance(node, str):
        first, *others = _text_lines(node)
        return [beside + first, *(" " * inner + line if line else "" for line in others)]
    if not node:
        return [beside + ("{}" if isinstance(node, dict) else "[]")]
    if short := _on_one_line(node):
        return [beside + short]
    if isinstance(node, list):
        lines = [line for item in node for line in _entry("-", item, inner)]
    else:
        lines = [line for name, value in node.items() for line in _named(name, value, inner)]
    if prefix == "-":
        return [f"{margin}- {lines[0].lstrip()}", *lines[1:]]
    return [*([margin + prefix] if prefix else []), *lines]


def _named(name: str, node: Any, indent: int) -> list[str]:
    written = quoted(name)
    if len(written) <= _LONGEST_NAME:
        return _entry(f"{written}:", node, indent)
    return [f"{' ' * indent}? {written}", *_entry(":", node, indent)]


def _on_one_line(node: Any) -> str:
    """Return a short list of texts, or a row of one short value, on one line; "" if it is neither."""
    if isinstance(node, list) and all(isinstance(item, str) and "\n" not in item for item in node):
        text = f"[{', '.join(_in_list(item) for item in node)}]"
    elif isinstance(node, dict) and list(node) == ["holiday_name"]:
        text = f"{{holiday_name: {_in_list(node['holiday_name'])}}}"
    else:
        return ""
    return text if len(text) <= WIDTH - 20 else ""


def _in_list(text: str) -> str:
    is_plain = isinstance(text, Plain) or (_PLAIN_IN_LIST.fullmatch(text) and _is_surely_text(text))
    return text if is_plain else _in_quotes(text)


def quoted(text: str) -> str:
    """Return a text on one line, in quotes if it needs them."""
    return text if _PLAIN.fullmatch(text) and _is_surely_text(text) else _in_quotes(text)


def _is_surely_text(text: str) -> bool:
    return text.isprintable() and not text.endswith((" ", ":")) and text.lower() not in _WORDS


def _in_quotes(text: str) -> str:
    if text.isprintable() and ("'" not in text or '"' in text or "\\" in text):
        return "'" + text.replace("'", "''") + "'"
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(c) or (c if c.isprintable() else _by_number(c)) for c in text)


def _by_number(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _text_lines(text: str) -> list[str]:
    """Return a text as a scalar; the lines after the first are still to be indented."""
    lines = text.split("\n")
    if len(lines) == 1 or text == "\n":
        return [quoted(text)]
    ends_whole = lines[-1] == ""
    content = lines[:-1] if ends_whole else lines
    if _keeps_its_lines(content):
        indicator = "2" if content[0].startswith((" ", "\t")) else ""
        return [f"|{indicator}{'' if ends_whole else '-'}", *content]
    # In double quotes a line ends with a backslash, and a blank at its beginning follows one.
    broken = [_escaped(line) + "\\n\\" for line in lines[:-1]] + [_escaped(lines[-1]) + '"']
    if ends_whole:
        broken = [*broken[:-2], broken[-2].removesuffix("\\") + '"']
    return ['"\\', *(re.sub(r"^ ", "\\\\ ", line) for line in broken)]


def _keeps_its_lines(content: list[str]) -> bool:
    """Tell whether a block has each of these lines as it is, and shows all of it."""
    is_seen = all(line.replace("\t", "").isprintable() and line == line.rstrip(" \t") for line in content)
    return is_seen and bool(content[0]) and bool(content[-1])
