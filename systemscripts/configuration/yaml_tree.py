"""Read the text of a configuration file into a tree whose every part knows its line and column.

YAML is a large language, and most of what makes it dangerous is refused here: tags, anchors and aliases, several
documents, names that stand twice. What a value means is not guessed from its look: its column says whether `yes` is a
text or a truth. The parser is libyaml's, by its events, so that nothing is built before it is checked.

Reference: YAML 1.1, https://yaml.org/spec/1.1/
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from yaml.cyaml import CParser
    from yaml.error import MarkedYAMLError
    from yaml.events import Event

LARGEST = 10_000_000  # bytes
DEEPEST = 50
MOST_FAULTS = 200
_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
# What YAML forbids, what it reads as a line break, and what turns the direction of writing before the eyes of a reviewer.
_UNSEEN = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\u061b\u061d-\u200d\u2010-\u2027\u202f-\u2065\u206a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
    "|\r(?!\n)"
)
_NULLS = ("", "~", "null", "Null", "NULL")


class Place(NamedTuple):
    """A line and a column of the file, both from 1."""

    line: int
    column: int


BEGINNING = Place(1, 1)


class Fault(NamedTuple):
    """What is wrong with the file, and where."""

    place: Place
    told: str


@dataclass
class Node:
    """A part of the file: a scalar with its text, names with values, or a list."""

    place: Place
    text: str | None = None
    is_plain: bool = False  # without quotes, on one line or several
    entries: "list[tuple[Node, Node]] | None" = None
    items: "list[Node] | None" = None
    names: dict[str, Place] = field(default_factory=dict)

    @property
    def is_null(self) -> bool:
        return self.is_plain and self.text in _NULLS

    @property
    def kind(self) -> str:
        if self.entries is not None:
            return "names with values"
        if self.items is not None:
            return "a list"
        return "nothing" if self.is_null else f"{'' if self.is_plain else 'the text '}{(self.text or '')[:60]!r}"


def read(data: bytes) -> tuple[Node | None, list[Fault]]:
    """Return the tree and all faults of the text; the tree is None if the text cannot be read to its end."""
    if len(data) > LARGEST:
        told = f"the file has more than {LARGEST:,} bytes: this is no configuration"
        return None, [Fault(BEGINNING, told)]
    if data.startswith(_MARKS):
        return None, [Fault(BEGINNING, "the file begins with a byte order mark; save it as UTF-8 without one")]
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        read_so_far = data[: error.start].decode(errors="replace")
        told = f"the byte 0x{data[error.start]:02X} is no UTF-8; save the file as UTF-8"
        return None, [Fault(_place_in(read_so_far, len(read_so_far)), told)]
    if found := _UNSEEN.search(text):
        told = f'the character {found[0]!a} cannot be seen; write it in double quotes as "{ascii(found[0])[1:-1]}"'
        return None, [Fault(_place_in(text, found.start()), told)]
    return _Reader(text).read()


def _place_in(text: str, offset: int) -> Place:
    line = text.count("\n", 0, offset)
    return Place(line + 1, offset - (text.rfind("\n", 0, offset) + 1) + 1)


class _Reader:
    """Builds the tree of one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.faults: list[Fault] = []

    def read(self) -> tuple[Node | None, list[Fault]]:
        from yaml.error import MarkedYAMLError

        try:
            root = self._document()
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = Place(mark.line + 1, mark.column + 1) if mark else BEGINNING
            self.faults.append(Fault(place, self._explained(place, error)))
            return None, self.faults
        except TooMuchError:
            return None, self.faults
        return root, self.faults

    def _explained(self, place: Place, error: "MarkedYAMLError") -> str:
        line = self.text.split("\n")[place.line - 1]
        if "\t" in line[: place.column]:
            return "a tab stands where blanks must: YAML is indented with blanks"
        told = " ".join(filter(None, (error.problem, error.context)))
        return f"this is no YAML: {told}"

    def _document(self) -> Node | None:
        from yaml import events
        from yaml.cyaml import CParser

        following = _following(CParser(self.text))
        root: Node | None = None
        documents = 0
        while not isinstance(event := next(following), events.StreamEndEvent):
            if isinstance(event, events.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._stop(event, "a second document begins here; a configuration is one")
                if event.version or event.tags:
                    self._fault(event, "a directive such as %YAML or %TAG is not used here")
                root = self._node(following, next(following), 1)
        if root is None:
            self.faults.append(Fault(BEGINNING, "the file has no configuration"))
        return root

    def _node(self, following: "Iterator[Event]", event: "Event", depth: int) -> Node:
        from yaml import events

        node = Node(Place(event.start_mark.line + 1, event.start_mark.column + 1))
        if depth > DEEPEST:
            self._stop(event, f"this is nested more than {DEEPEST} deep")
        if isinstance(event, events.AliasEvent):
            self._fault(event, f"the alias *{event.anchor} is refused: write the value out")
            node.text = ""
            return node
        if event.anchor is not None:
            self._fault(event, f"the anchor &{event.anchor} is refused: write the value out where it is needed")
        if event.tag is not None:
            self._fault(event, f"the tag {event.tag} is refused: the column says what a value is")
        if isinstance(event, events.ScalarEvent):
            node.text, node.is_plain = event.value, not event.style
            if "\0" in event.value:
                self._fault(event, "a text has the character NUL, which the database cannot keep")
        elif isinstance(event, events.SequenceStartEvent):
            node.items = []
            while not isinstance(event := next(following), events.SequenceEndEvent):
                node.items.append(self._node(following, event, depth + 1))
        else:
            node.entries = []
            while not isinstance(event := next(following), events.MappingEndEvent):
                name = self._node(following, event, depth + 1)
                value = self._node(following, next(following), depth + 1)
                self._add(node, name, value)
        return node

    def _add(self, node: Node, name: Node, value: Node) -> None:
        if name.text is None:
            self.faults.append(Fault(name.place, f"a name must be a text; here is {name.kind}"))
        elif first := node.names.get(name.text):
            self.faults.append(
                Fault(name.place, f"{name.text!r} stands here a second time; the first is in line {first.line}")
            )
        else:
            node.names[name.text] = name.place
            assert node.entries is not None
            node.entries.append((name, value))

    def _fault(self, event: "Event", told: str) -> None:
        place = Place(event.start_mark.line + 1, event.start_mark.column + 1)
        self.faults.append(Fault(place, told))
        if len(self.faults) >= MOST_FAULTS:
            raise TooMuchError

    def _stop(self, event: "Event", told: str) -> None:
        self._fault(event, told)
        raise TooMuchError


class TooMuchError(Exception):
    """Reading on would say nothing new."""


def _following(parser: "CParser") -> "Iterator[Event]":
    while True:
        yield parser.get_event()
