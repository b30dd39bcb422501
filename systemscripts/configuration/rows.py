"""The rows of the configuration's tables, with names in place of numbers."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from systemscripts.configuration.catalogue import Catalogue, Shape, identifier
from systemscripts.configuration.tables import PARTS, TOP
from systemscripts.configuration.yaml_tree import Place
from systemscripts.errors import JobError

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor

Key = tuple[str, ...]
Rows = dict[Key, "Row"]
State = dict[str, Rows]  # by the name of the section


@dataclass
class Row:
    """One row, of a table or of a file; its values are texts as Column.read_as makes them."""

    key: Key
    values: dict[str, str | None]
    row_id: str = ""  # in the table
    parts: State = field(default_factory=dict)
    place: Place | None = None  # in the file
    places: dict[str, Place] = field(default_factory=dict)  # those of its values

    @property
    def name(self) -> str:
        return self.key[0] if len(self.key) == 1 else ", ".join(filter(None, self.key[:-1]))


def read(cursor: "Cursor", catalogue: Catalogue) -> State:
    """Return all rows; raises JobError if two rows that others refer to have one name."""
    state: State = {}
    for section in TOP:
        by_parent = _read_table(cursor, catalogue[section.path])
        state[section.name] = rows = by_parent.get("", {})
        by_id = {row.row_id: row for row in rows.values()}
        for part in PARTS[section.name]:
            for parent, own in _read_table(cursor, catalogue[part.path]).items():
                by_id[parent].parts[part.name] = own
    return state


def keyed(shape: Shape, rows: Iterable[Row]) -> Rows:
    """Return the rows by their keys; rows of a list that are equal in it are numbered, and the others' names are unique."""
    found: Rows = {}
    for row in sorted(rows, key=_order):
        if shape.section.is_list:
            names = tuple(row.values[name] or "" for name in shape.section.key)
            row.key = (
                *names,
                str(next(number for number in range(1, len(found) + 2) if (*names, str(number)) not in found)),
            )
        elif row.key in found:
            raise JobError(
                f"{shape.section.table} has two rows with the name {row.name!r}, {shape.row_id} {found[row.key].row_id} and "
                f"{row.row_id}: the file refers to rows by their names, so rename one of them with etl sql --as etl_owner"
            )
        found[row.key] = row
    return found


def _read_table(cursor: "Cursor", shape: Shape) -> dict[str, Rows]:
    """Return the rows by the id of the row that they belong to, "" if to none."""
    section = shape.section
    parent = f"t.{identifier(section.parent)}::text" if section.parent else "''"
    texts = [f"t.{identifier(shape.row_id)}::text", parent, *(f"t.{identifier(name)}::text" for name in shape.keys)]
    texts += [column.read_as(f"t.{identifier(name)}") for name, column in shape.columns.items()]
    cursor.execute(f"SELECT {', '.join(texts)} FROM {section.table} AS t")  # noqa: S608 — names of the catalogue
    return _grouped(shape, cursor.fetchall())


def _grouped(shape: Shape, found: Iterable[tuple[str, ...]]) -> dict[str, Rows]:
    groups: dict[str, list[Row]] = {}
    for row_id, parent, *texts in found:
        key, values = tuple(texts[: len(shape.keys)]), texts[len(shape.keys) :]
        groups.setdefault(parent, []).append(Row(key, dict(zip(shape.columns, values, strict=True)), row_id))
    return {parent: keyed(shape, rows) for parent, rows in groups.items()}


def _order(row: Row) -> tuple[Key, list[tuple[str, str]]]:
    """Sort by names as code points, and rows of a list by their values: the server's collation must not matter."""
    return row.key, [(name, value or "") for name, value in row.values.items()]


def each(state: State) -> Iterator[tuple[str, Row]]:
    """Yield all rows with the path of their section."""
    for name, rows in state.items():
        for row in rows.values():
            yield name, row
            for part, own in row.parts.items():
                yield from ((f"{name}.{part}", sub) for sub in own.values())
