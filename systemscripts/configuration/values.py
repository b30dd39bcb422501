"""Values between the file and the database: the forms that they have, and secrets that must not be among them."""

import re
from typing import Any

from systemscripts import settings
from systemscripts.configuration.catalogue import Column, Kind
from systemscripts.configuration.yaml_tree import DEEPEST, Node

_WHOLE = re.compile(r"[-+]?\d+")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|NaN|-?Infinity")
_JSON_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_DEPTH_OF_A_VALUE = 6  # of the file: a section, a row, its part, a row of that, and two for the value itself
_JSON_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")
# The limits keep the time in proportion to the length of the text.
_PASSWORD_IN_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]{0,30}://[^\s/:@?#'\"]{0,200}:[^\s/@'\"]{1,200}@")


def secret_in(text: str | None) -> str:
    """Return what kind of secret the text has, "" if it has none."""
    if text and _PASSWORD_IN_ADDRESS.search(text):
        return "an address with a password in it"
    return "a secret of this machine's settings" if text and settings.mask(text) != text else ""


class WrongForm(Exception):
    """A value is not of the form that its column needs; the text says which form that is."""

    def __init__(self, node: Node, wanted: str) -> None:
        super().__init__(wanted)
        self.node = node


def is_too_deep(column: Column, text: str | None) -> bool:
    """Return whether a value is nested so deep that no file with it could be read again."""
    if text is None or column.kind not in (Kind.LIST, Kind.JSON):
        return False
    depth = deepest = 0
    for sign in _JSON_TEXT.sub("", text):
        depth += (sign in "[{") - (sign in "]}")
        deepest = max(deepest, depth)
    return deepest > DEEPEST - _DEPTH_OF_A_VALUE


def text_of(column: Column, node: Node) -> str | None:
    """Return the value's text, of lists and structures as JSON; raises WrongForm."""
    import json

    if node.is_null:
        return None
    if column.kind is Kind.LIST:
        if node.items is None:
            raise WrongForm(node, "a list such as [one, two]")
        return json.dumps(_list_of(node), ensure_ascii=False)
    if column.kind is Kind.JSON:
        return json_of(node)
    if node.text is None:
        raise WrongForm(node, column.kind.value)
    is_right = {
        Kind.TRUTH: node.is_plain and node.text.lower() in ("true", "false"),
        Kind.WHOLE: node.is_plain and _WHOLE.fullmatch(node.text),
        Kind.NUMBER: node.is_plain and _NUMBER.fullmatch(node.text),
    }.get(column.kind, True)
    if not is_right:
        raise WrongForm(node, column.kind.value)
    return node.text.lower() if column.kind is Kind.TRUTH else node.text


def _list_of(node: Node) -> list[Any]:
    found: list[Any] = []
    for item in node.items or []:
        if item.entries is not None:
            raise WrongForm(item, "a text")
        found.append(_list_of(item) if item.items is not None else None if item.is_null else item.text)
    return found


def json_of(node: Node) -> str:
    """Return JSON whose numbers have each digit that the file has."""
    import json

    if node.entries is not None:
        members = [f"{json.dumps(name.text, ensure_ascii=False)}: {json_of(value)}" for name, value in node.entries]
        return f"{{{', '.join(members)}}}"
    if node.items is not None:
        return f"[{', '.join(map(json_of, node.items))}]"
    if node.is_null:
        return "null"
    text = node.text or ""
    if node.is_plain and (text in ("true", "false") or _JSON_NUMBER.fullmatch(text)):
        return text
    return json.dumps(text, ensure_ascii=False)


def array_literal(text: str) -> str:
    """Return PostgreSQL's text of an array for the JSON of one."""
    import json

    return _array(json.loads(text, parse_int=str, parse_float=str))


def _array(value: Any) -> str:
    if isinstance(value, list):
        return f"{{{','.join(map(_array, value))}}}"
    if value is None:
        return "NULL"
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
