"""What a file would change in the tables: rows that are added, changed, deactivated or deleted.

A row that the file does not have is deleted only when nothing tells of it: no run, no loaded file, no mail, and no
row that stays. Else it is deactivated, because its history would lose its name.
"""

from collections.abc import Iterator
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from systemscripts.configuration.catalogue import Catalogue, Shape, identifier
from systemscripts.configuration.rows import Row, Rows, State
from systemscripts.configuration.tables import OF_THE_SYSTEM, PARTS, TOP

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor


class What(Enum):
    """What happens to a row."""

    ADD = "added"
    CHANGE = "changed"
    DEACTIVATE = "deactivated"
    DELETE = "deleted"


class Change(NamedTuple):
    """What happens to one row; `columns` has the names of those that change."""

    what: What
    path: str
    row: Row  # as the file wants it, or as the table has it where the file has none
    former: Row | None  # as the table has it
    parent: Row | None  # the row of the same kind as `row` that it belongs to
    columns: tuple[str, ...] = ()
    why: str = ""

    @property
    def name(self) -> str:
        return f"{self.parent.name} > {self.path.partition('.')[2]} > {self.row.name}" if self.parent else self.row.name


def plan(cursor: "Cursor", catalogue: Catalogue, present: State, wanted: State) -> list[Change]:
    """Return the changes, in the order in which they can be made."""
    made: list[Change] = []
    removed: list[Change] = []
    staying = _Staying(catalogue, present, wanted)
    for section in TOP:
        if section.name in wanted:
            made += _made(catalogue, section.path, present[section.name], wanted[section.name], None)
    # What a feed refers to can go when the feed has gone.
    for section in reversed(TOP):
        if section.name in wanted:
            own = _removed(cursor, catalogue, section.path, (present[section.name], wanted[section.name]), staying)
            removed += own
    return made + [_with_namesake(catalogue, change, made) for change in removed]


def _made(catalogue: Catalogue, path: str, present: Rows, wanted: Rows, parent: Row | None) -> Iterator[Change]:
    for key, row in wanted.items():
        former = present.get(key)
        if former is None:
            yield Change(What.ADD, path, row, None, parent)
        else:
            row.row_id = former.row_id
            columns = tuple(name for name in catalogue[path].columns if row.values[name] != former.values[name])
            if columns:
                yield Change(What.CHANGE, path, row, former, parent, columns)
        for part in PARTS.get(path, ()):
            there = former.parts.get(part.name, {}) if former else {}
            yield from _made(catalogue, part.path, there, row.parts.get(part.name, {}), row)


def _removed(
    cursor: "Cursor", catalogue: Catalogue, path: str, both: tuple[Rows, Rows], staying: "_Staying"
) -> Iterator[Change]:
    present, wanted = both
    shape = catalogue[path]
    for key, row in wanted.items():
        if (former := present.get(key)) is None:
            continue
        for part in PARTS.get(path, ()):
            own = former.parts.get(part.name, {}), row.parts.get(part.name, {})
            for change in _removed(cursor, catalogue, part.path, own, staying):
                yield change._replace(parent=former)
    absent = [row for key, row in present.items() if key not in wanted]
    reasons = _reasons_to_keep(cursor, shape, absent, staying)
    for row, why in zip(absent, reasons, strict=True):
        if not why:
            yield Change(What.DELETE, path, row, row, None)
        elif shape.section.off is not None:
            column, off = shape.section.off
            is_used = row.values[column] == "Active" if column == "datastatusid" else row.values[column] != off
            if is_used:
                yield Change(What.DEACTIVATE, path, row, row, None, (column,), why)


def _reasons_to_keep(cursor: "Cursor", shape: Shape, absent: list[Row], staying: "_Staying") -> list[str]:
    """Return for each row that the file does not have why it stays, "" if it can go."""
    reasons = [_history_of(cursor, shape, row) for row in absent]
    for row, why in zip(absent, reasons, strict=True):
        if why:
            staying.keep(shape.section.path, row)
    # A row that stays may refer to another of its table, which stays then, too.
    while found := [n for n, row in enumerate(absent) if not reasons[n] and staying.user_of(shape, row)]:
        for number in found:
            reasons[number] = f"{staying.user_of(shape, absent[number])} refers to it"
            staying.keep(shape.section.path, absent[number])
    return reasons


def _history_of(cursor: "Cursor", shape: Shape, row: Row) -> str:
    if row.name in OF_THE_SYSTEM.get(shape.section.path, ()):
        return "the set-up would add it again, in use"
    for table, condition in shape.told_by:
        told = f"SELECT FROM {shape.section.table} AS t JOIN {table} AS o ON {condition}"
        statement = f"{told} WHERE t.{identifier(shape.row_id)} = %s LIMIT 1"
        cursor.execute(statement, (row.row_id,))
        if cursor.fetchone() is not None:
            return f"{table} tells of it"
    return ""


class _Staying:
    """The rows that will be there, and which rows they refer to."""

    def __init__(self, catalogue: Catalogue, present: State, wanted: State) -> None:
        self.catalogue = catalogue
        self.users: dict[tuple[str, str], str] = {}
        for section in TOP:
            for row in wanted.get(section.name, present[section.name]).values():
                self.keep(section.path, row)

    def keep(self, path: str, row: Row) -> None:
        for column in self.catalogue[path].columns.values():
            name = row.values[column.name]
            if column.reference is not None and name is not None:
                self.users.setdefault((column.reference.table, name), f"{path} > {row.name}")

    def user_of(self, shape: Shape, row: Row) -> str:
        return self.users.get((shape.section.table, row.key[0]), "")


def _with_namesake(catalogue: Catalogue, change: Change, made: list[Change]) -> Change:
    """Return the change, which says so where a new row has the same values under another name."""
    for other in made:
        is_same = other.what is What.ADD and other.path == change.path and not catalogue[change.path].section.is_list
        if is_same and other.row.values == change.row.values:
            told = f"{other.row.name!r} is new with the same values: a row that is named otherwise is another row"
            return change._replace(why="; ".join(filter(None, (change.why, told))))
    return change
