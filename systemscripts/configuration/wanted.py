"""From the tree of a file to the rows that it wants; every fault is kept with its place.

Only the form is checked here, with what the catalogue says. What a type takes PostgreSQL says itself: all values of
one type are cast at once, and a value that it refuses is found among them.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from systemscripts.configuration import rows
from systemscripts.configuration.catalogue import ONE_BIT, Catalogue, Column, Kind, Shape
from systemscripts.configuration.rows import Row, Rows, State
from systemscripts.configuration.tables import FIXED, PARTS, TOP, Section
from systemscripts.configuration.values import WrongForm, array_literal, secret_in, text_of
from systemscripts.configuration.yaml_tree import MOST_FAULTS, Fault, Node, Place, TooMuchError

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor


def read(cursor: "Cursor", catalogue: Catalogue, root: Node) -> tuple[State, list[Fault]]:
    """Return the rows of the file, those that could be read, and all its faults."""
    reader = _Reader(cursor, catalogue)
    try:
        return reader.sections(root), reader.faults
    except TooMuchError:
        return {}, reader.faults


class _Reader:
    """Reads one file."""

    def __init__(self, cursor: "Cursor", catalogue: Catalogue) -> None:
        self.cursor, self.catalogue = cursor, catalogue
        self.faults: list[Fault] = []
        self.to_cast: dict[Column, list[tuple[Row, str, str]]] = {}

    def fault(self, place: Place, told: str) -> None:
        self.faults.append(Fault(place, told))
        if len(self.faults) >= MOST_FAULTS:
            raise TooMuchError

    # ---- the form ----

    def sections(self, root: Node) -> State:
        found: dict[str, list[Row]] = {}
        known = [section.name for section in TOP]
        for name, node in self.named(root, "the file", "sections such as imports"):
            if name.text not in known:
                self.fault(name.place, f"there is no section {name.text!r}{_nearest(name.text, known)}")
            elif node.is_null:
                self.fault(
                    node.place,
                    f"{name.text} is empty: write {{}} if it has no rows, or leave it out to leave it as it is",
                )
            else:
                found[name.text] = self.rows_of(name.text, node, name.text)
        self.cast()
        return {name: self.keyed(self.catalogue[name], own) for name, own in found.items()}

    def named(self, node: Node, where: str, what: str) -> list[tuple[Node, Node]]:
        if node.entries is None:
            self.fault(node.place, f"{where} must have {what}; here is {node.kind}")
        return [(name, value) for name, value in node.entries or [] if name.text is not None]

    def rows_of(self, path: str, node: Node, where: str) -> list[Row]:
        section = self.catalogue[path].section
        if section.is_list:
            if node.items is None and node.entries != []:
                self.fault(node.place, f"{where} must be a list of rows, each with a dash; here is {node.kind}")
            numbered = enumerate(node.items or [], 1)
            return [self.row(path, (), item, item.place, f"{where} > {number}") for number, item in numbered]
        if node.items == []:
            return []
        named = self.named(node, where, "names with rows")
        return [self.row(path, (str(name.text),), value, name.place, f"{where} > {name.text}") for name, value in named]

    def row(self, path: str, key: rows.Key, node: Node, place: Place, where: str) -> Row:
        shape = self.catalogue[path]
        row = Row(key, {name: column.default for name, column in shape.columns.items()}, place=place)
        parts = {part.name: part for part in PARTS.get(path, ())}
        entries = [] if node.is_null else self.named(node, where, "columns with values")
        for key_name, column in shape.keys.items():
            row.places[key_name] = place
            if told := secret_in(row.name):
                self.fault(place, f"{where}: its name has {told}")
            if not column.is_plain_text:
                self.to_cast.setdefault(column, []).append((row, key_name, where))
        for name, value in entries:
            text = str(name.text)
            if text in shape.columns:
                self.value(row, shape.columns[text], value, f"{where} > {text}")
            elif text in parts:
                own = self.rows_of(parts[text].path, value, f"{where} > {text}")
                row.parts[text] = {(str(number),): sub for number, sub in enumerate(own)}
            else:
                kept = " (the database keeps it)" if text in shape.keys or text == shape.row_id else ""
                nearest = _nearest(text, [*shape.columns, *parts])
                self.fault(name.place, f"{where}: {shape.section.table} has no column {text!r} to set{kept}{nearest}")
        given = {name.text for name, _ in entries}
        is_row = node.is_null or node.entries is not None
        if is_row and (
            missing := [must for must, column in shape.columns.items() if column.must_be_given and must not in given]
        ):
            self.fault(place, f"{where}: {', '.join(missing)} must be given")
        return row

    def value(self, row: Row, column: Column, node: Node, where: str) -> None:
        row.places[column.name] = node.place
        try:
            text = text_of(column, node)
        except WrongForm as wrong:
            self.fault(wrong.node.place, f"{where} must be {wrong}; here is {wrong.node.kind}")
            return
        if text is None and not column.may_be_null:
            self.fault(node.place, f"{where} must not be null")
        if told := secret_in(text):
            self.fault(node.place, f"{where} has {told}: it belongs into secrets.env, and never into a row")
        row.values[column.name] = text
        if text is not None and not column.is_plain_text:
            self.to_cast.setdefault(column, []).append((row, column.name, where))

    # ---- what the database makes of a value ----

    def cast(self) -> None:
        """Put in place of each value the text that the table would have."""
        for column, uses in self.to_cast.items():
            texts = [self.raw(column, row, name) for row, name, _ in uses]
            cast = f"(u.v::{column.type})"
            if column.type == ONE_BIT:
                cast = f"(CASE u.v WHEN 'true' THEN '1' WHEN 'false' THEN '0' ELSE u.v END::{column.type})"
            statement = (
                f"SELECT {column.read_as(cast)} FROM unnest(%s::text[]) WITH ORDINALITY AS u (v, n) ORDER BY u.n"  # noqa: S608 — names of the catalogue
            )
            made, _ = self.asked(statement, texts)
            for number, (row, name, where) in enumerate(uses):
                if made is None:
                    one, told = self.asked(statement, [texts[number]])
                    if one is None:
                        self.fault(row.places[name], f"{where}: {told}")
                        continue
                    self.put(row, name, one[0])
                else:
                    self.put(row, name, made[number])

    def raw(self, column: Column, row: Row, name: str) -> str:
        text = row.values[name] if name in row.values else row.key[0]
        return array_literal(text or "") if column.kind is Kind.LIST else text or ""

    def put(self, row: Row, name: str, text: str) -> None:
        if name in row.values:
            row.values[name] = text
        else:
            row.key = (text,)

    def asked(self, statement: str, texts: list[str]) -> tuple[list[str] | None, str]:
        """Return the answers, or None and why the database refused."""
        import psycopg2

        self.cursor.execute("SAVEPOINT value")
        try:
            self.cursor.execute(statement, (texts,))
        except psycopg2.Error as error:
            self.cursor.execute("ROLLBACK TO value")
            return None, error.diag.message_primary or type(error).__name__
        answers = [text for (text,) in self.cursor.fetchall()]
        self.cursor.execute("RELEASE value")
        return answers, ""

    def keyed(self, shape: Shape, found: Iterable[Row]) -> Rows:
        unique: dict[rows.Key, Row] = {}
        own = list(found)
        for row in own:
            for name, parts in row.parts.items():
                row.parts[name] = self.keyed(self.catalogue[f"{shape.section.path}.{name}"], parts.values())
            if not shape.section.is_list and row.key in unique and row.place:
                self.fault(row.place, f"{row.name!r} stands here a second time")
            unique[row.key] = row
        return rows.keyed(shape, own if shape.section.is_list else unique.values())


# ---- references ----------------------------------------------------------------------------


def unknown_names(
    cursor: "Cursor", catalogue: Catalogue, wanted: State, present: State, governed: set[str]
) -> list[Fault]:
    """Return the references of the governed sections to rows that will not be there."""
    known: dict[str, set[str]] = {}
    for table, name_column in FIXED.items():
        cursor.execute(f"SELECT {name_column} FROM {table}")  # noqa: S608 — our own names
        known[table] = {name for (name,) in cursor.fetchall()}
    by_table = {section.table: section for section in TOP if not section.is_list}
    for table, section in by_table.items():
        there = wanted if section.name in governed else present
        known[table] = {row.key[0] for row in there[section.name].values()}
    faults = []
    for path, row in rows.each({name: wanted[name] for name in wanted if name in governed}):
        for column in catalogue[path].columns.values():
            name = row.values[column.name]
            if column.reference is None or name is None or name in known[column.reference.table]:
                continue
            table = column.reference.table
            what = by_table[table].name if table in by_table else table
            where = _where(by_table.get(table), governed)
            place = row.places.get(column.name) or row.place
            assert place is not None
            told = f"{column.name} is {name!r}, and {where} no such row in {what}{_nearest(name, sorted(known[table]))}"
            faults.append(Fault(place, f"{path} > {row.name} > {told}"))
    return faults


def _where(section: Section | None, governed: set[str]) -> str:
    return "the file has" if section is not None and section.name in governed else "the database has"


def _nearest(name: str | None, known: Iterable[str]) -> str:
    import difflib

    words = list(known)
    if near := difflib.get_close_matches(name or "", words, n=1):
        return f"; did you mean {near[0]!r}?"
    return f"; there are: {', '.join(words[:30])}" if words else "; there is none"
