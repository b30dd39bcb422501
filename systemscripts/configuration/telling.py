"""Changes of the configuration in words, as a review reads them, and for a program."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from systemscripts.configuration import writing
from systemscripts.configuration.catalogue import Catalogue, Kind
from systemscripts.configuration.comparing import Change, What
from systemscripts.configuration.tables import TOP

SIGNS = {What.ADD: "+", What.CHANGE: "~", What.DEACTIVATE: "o", What.DELETE: "-"}


class Line(NamedTuple):
    """A line of the review: its sign (+ - ~ o or none), and the text."""

    sign: str
    text: str


def review(catalogue: Catalogue, changes: list[Change]) -> Iterator[Line]:
    """Yield the lines: each section, each row, and below it what changes from what to what."""
    section = ""
    order = [top.name for top in TOP]
    for change in sorted(changes, key=lambda change: order.index(change.path.partition(".")[0])):
        top = change.path.partition(".")[0]
        if top != section:
            section = top
            yield Line("", section)
        yield Line(SIGNS[change.what], f"  {change.name}: {_said(change)}")
        if change.what is What.ADD:
            yield from (Line("+", f"      {line}") for line in _added(catalogue, change))
        elif change.what is What.CHANGE:
            for name in change.columns:
                yield from _changed(catalogue, change, name)


def _said(change: Change) -> str:
    word = change.what.value
    if change.what is What.DEACTIVATE:
        return f"is not in the file; {word} and not deleted, because {change.why}"
    if change.what is What.DELETE:
        return f"is not in the file; {word}, because nothing tells of it{'; ' + change.why if change.why else ''}"
    return word


def _added(catalogue: Catalogue, change: Change) -> list[str]:
    # Its parts have lines of their own.
    alone = change.row.__class__(change.row.key, change.row.values)
    return writing.row_lines(catalogue, change.path, alone)


def _changed(catalogue: Catalogue, change: Change, name: str) -> Iterator[Line]:
    assert change.former is not None
    import difflib

    column = catalogue[change.path].columns[name]
    before, after = (writing.value_lines(column, values[name]) for values in (change.former.values, change.row.values))
    if len(before) == len(after) == 1:
        yield Line("~", f"      {name}: {before[0].strip()} → {after[0].strip()}")
        return
    yield Line("~", f"      {name}:")
    for line in difflib.unified_diff(before, after, lineterm="", n=1):
        if not line.startswith(("---", "+++", "@@")):
            yield Line(line[0].strip(), f"        {line[1:]}")


def summary(changes: list[Change]) -> str:
    """Return the numbers, such as `2 added, 1 changed`; "" if there are no changes."""
    counts = ((sum(change.what is what for change in changes), what.value) for what in What)
    return ", ".join(f"{count} {word}" for count, word in counts if count)


def as_json(catalogue: Catalogue, changes: list[Change]) -> list[dict[str, Any]]:
    """Return the changes for a program; values are texts as the tables have them."""
    found = []
    for change in changes:
        columns = {
            name: {
                "from": _plain(catalogue, change, name, before=True),
                "to": _plain(catalogue, change, name, before=False),
            }
            for name in (change.columns if change.what is not What.ADD else catalogue[change.path].columns)
        }
        found.append(
            {
                "section": change.path,
                "row": change.row.name,
                "of": change.parent.name if change.parent else None,
                "change": change.what.value,
                "columns": columns,
                "because": change.why or None,
                "line": change.row.place.line if change.row.place else None,
            }
        )
    return found


def _plain(catalogue: Catalogue, change: Change, name: str, *, before: bool) -> Any:
    import json

    if change.what is What.DEACTIVATE:
        off = catalogue[change.path].section.off
        assert off is not None
        return change.row.values[name] if before else off[1]
    row = change.former if before else change.row
    text = row.values[name] if row else None
    is_structure = catalogue[change.path].columns[name].kind in (Kind.LIST, Kind.JSON)
    return json.loads(text) if is_structure and text is not None else text
