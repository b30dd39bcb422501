"""Statements that a run repeats for each file: the server plans them once for the session.

Reference: PostgreSQL's manual, PREPARE. What was prepared stays when the transaction is rolled back.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection
    from psycopg2.extensions import cursor as Cursor
    from psycopg2.sql import Composable

_names: "WeakKeyDictionary[Connection, dict[Hashable, str]]" = WeakKeyDictionary()


def execute(
    cursor: "Cursor", key: Hashable, statement: "Callable[[], str | Composable]", types: str, values: Sequence[object]
) -> None:
    """Execute the statement of this key, which has $1, $2 … for the values; `types` are their types, with commas between them."""
    from psycopg2.sql import SQL, Composable, Identifier, Placeholder

    names = _names.setdefault(cursor.connection, {})
    if key not in names:
        name, text = f"etl_{len(names) + 1}", statement()
        whole = text if isinstance(text, Composable) else SQL(text)
        cursor.execute(SQL("PREPARE {} ({}) AS {}").format(Identifier(name), SQL(types), whole))
        names[key] = (
            SQL("EXECUTE {} ({})")
            .format(Identifier(name), SQL(", ").join([Placeholder()] * len(values)))
            .as_string(cursor)
        )
    cursor.execute(names[key], values)
