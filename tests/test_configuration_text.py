"""The text of a configuration file: what is written is read back to the sign, and hostile YAML is refused with its place."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from systemscripts.configuration import values, writing, yaml_tree
from systemscripts.configuration.yaml_tree import Node

SIGNS = " \n\t#:-'\"\\|>&*!%@`{}[],?~=<yno0129.e\r\x85\u00a0\u061c\u200f\u2028\u202e\ufeff\U0001f600"
TEXTS = st.text(st.one_of(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), st.sampled_from(SIGNS)))
STRUCTURES = st.recursive(
    st.one_of(TEXTS, st.none(), st.booleans(), st.integers()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)
TRAPS = [
    "", " ", "yes", "No", "null", "~", "1e3", "007", "0x1F", "1_000", "12:30", ".5", "2026-01-01", "2026-01-01 00:00:00",
    "<<", "=", "- a", "a: b", "a #b", "*/15 * * * *", "0 5 * * 1-5", "'", '"', "it's", "a\r\nb\r\n", "a\n", "a\n\n", "\n",
    "\n\na", " a\n b", "\ta\n\tb", "a \nb", "SELECT 1\n\nFROM x\n", "--- a\n...\n", "# a\nb", "x" * 2000, "a\u202eb\nc",
]  # fmt: skip


def meant(node: Node) -> Any:
    """Return the texts of a tree."""
    if node.entries is not None:
        return {name.text: meant(value) for name, value in node.entries}
    return node.text if node.items is None else [meant(item) for item in node.items]


def lines(content: dict[str, Any]) -> str:
    return "".join(f"{line}\n" for name, value in content.items() for line in writing._named(name, value, 0))


def agrees(content: dict[str, Any]) -> None:
    written = lines(content)
    tree, faults = yaml_tree.read(written.encode())
    assert (faults, tree and meant(tree)) == ([], content), written
    assert yaml.safe_load(written) == content, written  # so do the readers of others


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(TEXTS, st.recursive(TEXTS, st.lists, max_leaves=4), min_size=1, max_size=3))
def test_any_text_comes_back_to_the_sign(content: dict[str, Any]) -> None:
    agrees(content)


def test_what_looks_like_something_else_comes_back_as_a_text() -> None:
    agrees({f"value {number}": text for number, text in enumerate(TRAPS)})
    agrees({text: {text: [text, [text]]} for text in TRAPS})


@settings(max_examples=300, deadline=None)
@given(STRUCTURES)
def test_any_json_comes_back_as_the_same_json(value: Any) -> None:
    tree, faults = yaml_tree.read(
        lines({"v": writing._marked(json.loads(json.dumps(value), parse_int=writing.Plain))}).encode()
    )
    assert not faults
    assert tree is not None
    assert tree.entries is not None
    assert json.loads(values.json_of(tree.entries[0][1])) == value


def test_a_number_keeps_each_of_its_digits() -> None:
    text = "[1.10, 12345678901234567890.123456789, -0.0, 1E+400]"
    value = writing._marked(json.loads(text, parse_int=writing.Plain, parse_float=writing.Plain))
    tree, _ = yaml_tree.read(lines({"v": value}).encode())
    assert tree is not None
    assert tree.entries is not None
    assert values.json_of(tree.entries[0][1]) == text


def test_several_lines_stay_lines_for_a_comparison() -> None:
    assert lines({"query": "SELECT 1\n  FROM x\n"}) == "query: |\n  SELECT 1\n    FROM x\n"
    assert lines({"query": "a \nb"}) == 'query: "\\\n  a \\n\\\n  b"\n'
    assert lines({"query": "a\n\u202eb"}) == 'query: "\\\n  a\\n\\\n  \\u202eb"\n'


BILLION = "a: &a [x, x]\n" + "".join(
    f"{name}: &{name} [*{former}, *{former}]\n" for former, name in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE = {
    "a tag": (b"a: !!python/object/apply:os.system [ls]", (1, 4), "the tag tag:yaml.org,2002:python/object/apply:os.system is refused"),
    "a tag of its own": (b"a:\n  - !x 1", (2, 5), "the tag !x is refused"),
    "an anchor": (b"a: &b 1", (1, 4), "the anchor &b is refused"),
    "an alias": (b"a: 1\nb: *a", (2, 4), "the alias *a is refused"),
    "a billion laughs": (BILLION.encode(), (1, 4), "the anchor &a is refused"),
    "a name twice": (b"a: 1\nb: 2\na: 3", (3, 1), "'a' stands here a second time; the first is in line 1"),
    "a name that is a list": (b"[a]: 1", (1, 1), "a name must be a text; here is a list"),
    "too many bytes": (b"#" * (yaml_tree.LARGEST + 1), (1, 1), "the file has more than 10,000,000 bytes"),
    "deep": (b"a: " + b"[" * 900, (1, 53), "this is nested more than 50 deep"),
    "very deep": (b"[" * 1_000_000, (1, 1001), "this is no YAML: exceeded maximum nesting depth"),
    "deep by lines": ("".join(f"{' ' * level}a:\n" for level in range(60)).encode(), (50, 50), "this is nested more than 50"),
    "two documents": (b"a: 1\n---\nb: 2", (2, 1), "a second document begins here"),
    "a directive": (b"%TAG ! tag:x,2026:\n---\na: 1", (1, 1), "a directive such as"),
    "a byte order mark": (b"\xef\xbb\xbfa: 1", (1, 1), "the file begins with a byte order mark"),
    "UTF-16": ("a: 1".encode("utf-16"), (1, 1), "the file begins with a byte order mark"),
    "UTF-16 without a mark": ("a: 1".encode("utf-16-le"), (1, 2), "the character '\\x00' cannot be seen"),
    "another encoding": ("a: x\nb: Köln".encode("cp1252"), (2, 5), "the byte 0xF6 is no UTF-8"),
    "a tab": (b"a:\n\tb: 1", (2, 1), "a tab stands where blanks must"),
    "a NUL": (b'a: "x\\0"', (1, 4), "a text has the character NUL"),
    "an escape sequence": (b"a: \x1b[31m", (1, 4), "the character '\\x1b' cannot be seen"),
    "a mark that turns the writing": ("a: 1\nb: x\u202ey".encode(), (2, 5), 'write it in double quotes as "\\u202e"'),
    "a line end of its own": (b"a: 1\rb: 2", (1, 5), "the character '\\r' cannot be seen"),
    "an open quote": (b'a: "x\nb: 2', (2, 5), "this is no YAML: found unexpected end of stream while scanning a quoted scalar"),
    "two values": (b"a: b: c", (1, 5), "this is no YAML: mapping values are not allowed in this context"),
    "nothing": (b"# only a remark\n", (1, 1), "the file has no configuration"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "place", "told"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_yaml_is_refused_with_its_place(data: bytes, place: tuple[int, int], told: str) -> None:
    _, faults = yaml_tree.read(data)
    assert faults[0].place == place, faults
    assert told in faults[0].told
    assert len(faults) <= yaml_tree.MOST_FAULTS


def test_all_that_is_refused_is_told_at_once() -> None:
    _, faults = yaml_tree.read(b"a: &x 1\nb: *x\nc: !y 2\na: 3\n")
    assert [fault.place.line for fault in faults] == [1, 2, 3, 4]


def test_lines_of_windows_are_lines() -> None:
    tree, faults = yaml_tree.read(b"a: |\r\n  x\r\n  y\r\nb: 1\r\n")
    assert not faults
    assert tree is not None
    assert meant(tree) == {"a": "x\ny\n", "b": "1"}
