"""Write single rows, and tell what the database refuses with the place of its value."""

from typing import TYPE_CHECKING

from systemscripts.configuration.catalogue import Catalogue, Column, Kind, Shape, identifier
from systemscripts.configuration.comparing import Change, What
from systemscripts.configuration.rows import Row
from systemscripts.configuration.values import array_literal
from systemscripts.configuration.yaml_tree import BEGINNING, Fault, Place

if TYPE_CHECKING:
    import psycopg2
    from psycopg2.extensions import cursor as Cursor


def refusals() -> "tuple[type[psycopg2.Error], ...]":
    """Return the errors with which the database says that a row must not be as it is."""
    import psycopg2

    return psycopg2.IntegrityError, psycopg2.DataError, psycopg2.InternalError


class Writer:
    """Writes the changes; one by one, it keeps what the database refuses and goes on."""

    def __init__(self, cursor: "Cursor", catalogue: Catalogue, *, one_by_one: bool) -> None:
        self.cursor, self.catalogue, self.one_by_one = cursor, catalogue, one_by_one
        self.faults: list[Fault] = []
        self.refused: set[tuple[str, str]] = set()  # table and name of rows that are not there
        self.later: list[tuple[Change, Column]] = []

    def write(self, changes: list[Change]) -> None:
        self.loosen(changes)
        for change in changes:
            self.make(change)
        self.make_references()

    def loosen(self, changes: list[Change]) -> None:
        """Let rows that go refer to no row of their own table, so that they can go in any order."""
        for change in changes:
            shape = self.catalogue[change.path]
            own = [
                name
                for name, column in shape.columns.items()
                if column.reference and column.reference.table == shape.section.table and change.row.values[name]
            ]
            if own and change.what is What.DELETE:
                self.cursor.execute(*self._update(shape, dict.fromkeys(own), change.row.row_id))

    def make(self, change: Change) -> None:
        shape, row = self.catalogue[change.path], change.row
        if change.parent is not None and not change.parent.row_id:
            return  # its parent was refused
        if change.what is What.DELETE:
            statement, values = self._delete(shape, row)
        elif change.what is What.DEACTIVATE:
            statement, values = self._update(shape, {change.columns[0]: _off(shape)}, row.row_id)
        else:
            names = change.columns if change.former else [n for n in shape.columns if n in row.places]
            values_of = {name: row.values[name] for name in names}
            if any(self._is_refused(shape.columns[name], text) for name, text in values_of.items()):
                self.refused.add((shape.section.table, row.key[0]))
                return
            for name in list(values_of):
                reference = shape.columns[name].reference
                if reference is not None and reference.table == shape.section.table:
                    self.later.append((change, shape.columns[name]))
                    values_of[name] = None
            if change.former:
                statement, values = self._update(shape, values_of, row.row_id)
            else:
                statement, values = self._insert(shape, change, values_of)
        self._execute(statement, values, change)

    def make_references(self) -> None:
        """Let rows refer to rows of their own table, which are all there by now."""
        for change, column in self.later:
            shape, row = self.catalogue[change.path], change.row
            text = row.values[column.name]
            if row.row_id and text is not None and not self._is_refused(column, text):
                self._execute(*self._update(shape, {column.name: text}, row.row_id), change)

    def _is_refused(self, column: Column, text: str | None) -> bool:
        return column.reference is not None and (column.reference.table, text) in self.refused

    def _insert(self, shape: Shape, change: Change, values: dict[str, str | None]) -> tuple[str, list[str | None]]:
        section, row = shape.section, change.row
        columns = {
            name: (_expression(shape.columns[name]), _raw(shape.columns[name], text)) for name, text in values.items()
        }
        columns |= {name: (f"%s::{column.type}", row.key[0]) for name, column in shape.keys.items()}
        if change.parent is not None:
            columns[section.parent] = ("%s", change.parent.row_id)
        names, marks = ", ".join(map(identifier, columns)), ", ".join(mark for mark, _ in columns.values())
        given = f"({names}) VALUES ({marks})" if columns else "DEFAULT VALUES"
        statement = f"INSERT INTO {section.table} {given} RETURNING {identifier(shape.row_id)}::text"
        return statement, [value for _, value in columns.values()]

    def _update(self, shape: Shape, values: dict[str, str | None], row_id: str) -> tuple[str, list[str | None]]:
        settings = [f"{identifier(name)} = {_expression(shape.columns[name])}" for name in values]
        statement = f"UPDATE {shape.section.table} SET {', '.join(settings)} WHERE {identifier(shape.row_id)} = %s"  # noqa: S608
        return statement, [*(_raw(shape.columns[name], text) for name, text in values.items()), row_id]

    def _delete(self, shape: Shape, row: Row) -> tuple[str, list[str | None]]:
        for part, own in row.parts.items():
            inner = self.catalogue[f"{shape.section.path}.{part}"]
            for sub in own.values():
                self.cursor.execute(*self._delete(inner, sub))
        return f"DELETE FROM {shape.section.table} WHERE {identifier(shape.row_id)} = %s", [row.row_id]  # noqa: S608

    def _execute(self, statement: str, values: list[str | None], change: Change) -> None:
        if self.one_by_one:
            self.cursor.execute("SAVEPOINT row")
        try:
            self.cursor.execute(statement, values)
            if statement.startswith("INSERT"):
                ((change.row.row_id,),) = self.cursor.fetchall()
        except refusals() as error:
            if not self.one_by_one:
                raise
            self.cursor.execute("ROLLBACK TO row")
            self.faults.append(Fault(self._place(change, error), f"{change.path} > {change.name}: {_told(error)}"))
            if change.what is What.ADD:
                self.refused.add((self.catalogue[change.path].section.table, change.row.key[0]))

    def _place(self, change: Change, error: "psycopg2.Error") -> Place:
        """Return the place of the value that the database is about, or else of the row."""
        names = [error.diag.column_name]
        if error.diag.constraint_name:
            self.cursor.execute(
                "SELECT a.attname FROM pg_constraint AS k JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)"
                " WHERE k.conrelid = to_regclass(%s) AND k.conname = %s ORDER BY a.attnum",
                (self.catalogue[change.path].section.table, error.diag.constraint_name),
            )
            names += [name for (name,) in self.cursor.fetchall()]
        places = [change.row.places[name] for name in names if name in change.row.places]
        return next(iter(places), change.row.place or BEGINNING)


def _off(shape: Shape) -> str:
    assert shape.section.off is not None
    return shape.section.off[1]


def _expression(column: Column) -> str:
    if column.reference is None:
        return f"%s::{column.type}"
    table, key, name = column.reference
    return f"(SELECT r.{identifier(key)} FROM {table} AS r WHERE r.{name} = %s)"  # noqa: S608 — names of the catalogue


def _raw(column: Column, text: str | None) -> str | None:
    return array_literal(text) if text is not None and column.kind is Kind.LIST else text


def _told(error: "psycopg2.Error") -> str:
    return " ".join((error.diag.message_primary or str(error)).split())
