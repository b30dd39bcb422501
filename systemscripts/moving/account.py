"""All that is in a database, as texts that can be compared between two servers, also of different versions.

The rows of a table are their number and a sum over the content of every row, which the server reckons without keeping
them (backups.dump). The text of a definition is the server's own.
"""

import contextlib
from typing import TYPE_CHECKING, Any

from psycopg2 import sql

from systemscripts import db_config
from systemscripts.backups import dump
from systemscripts.db_config import ADMINISTRATOR_ROLE
from systemscripts.moving import catalogue
from systemscripts.moving.looking import ADMINISTRATORS, OUR_ROLES

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

# Whoever administers the server, in the place of his name: the role of initdb, and the one that does the move.
ADMINISTRATOR = "(administrator)"
_PIECE = 1 << 20
_FOR_READING = 0x40000
_PINNED = (
    "SET search_path = pg_catalog, pg_temp; SET TimeZone = 'UTC'; SET IntervalStyle = 'postgres'; SET DateStyle = 'ISO'"
)

Account = dict[str, dict[str, str]]


def take(told: dict[str, Any]) -> Account:
    """Return what is in the database: for each section names and texts; `told` has the names of the roles that matter."""
    roles = sorted({*told["roles"], *OUR_ROLES})
    with contextlib.closing(db_config.connect(ADMINISTRATOR_ROLE, patience=0)) as connection:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        sums = dump.database_sums(connection, ADMINISTRATOR_ROLE)
        connection.rollback()
        with connection.cursor() as cursor:
            cursor.execute(_PINNED)
        administrators = {name for (name,) in _rows(connection, ADMINISTRATORS)}

        def who(name: str) -> str:
            return ADMINISTRATOR if name in administrators else name

        found: Account = {"table": {sum_.table: f"{sum_.rows} {sum_.content}" for sum_ in sums}}
        found["owner"] = {name: who(owner) for name, owner in _of_catalogue(connection, catalogue.OWNED)}
        for section, query in catalogue.SECTIONS.items():
            found[section] = dict(_of_catalogue(connection, query))
        found["sequence"] = {name: f"{text} {_position(connection, name)}" for name, text in found["sequence"].items()}
        found["grant"] = {
            f"{privilege} on {name} to {who(grantee)}": "with grant option" if may_grant else "granted"
            for name, grantee, privilege, may_grant in _of_catalogue(connection, catalogue.GRANTS)
        }
        found["setting"] = {
            f"{setting.partition('=')[0]} of {whose}": setting.partition("=")[2]
            for whose, setting in _rows(connection, catalogue.SETTINGS, roles)
        }
        found["role"] = dict(_rows(connection, catalogue.ROLES, roles))
        found["membership"] = {
            f"{member} in {role}": "yes"
            for member, role in _rows(connection, catalogue.MEMBERSHIPS, roles)
            if member not in administrators
        }
        found["large object"] = {
            str(oid): _large_sum(connection, oid) for (oid,) in _rows(connection, catalogue.LARGE_OBJECTS)
        }
        return found


def _position(connection: "Connection", sequence: str) -> str:
    """Return where a sequence stands; its name is quoted."""
    ((last, is_called),) = _rows(connection, sql.SQL("SELECT last_value, is_called FROM {}").format(sql.SQL(sequence)))
    return f"at {last} {'used' if is_called else 'not used yet'}"


def _large_sum(connection: "Connection", oid: int) -> str:
    """Return the size of a large object and a sum over its pieces."""
    ((size,),) = _rows(connection, "SELECT lo_lseek64(lo_open(%s, %s), 0, 2)", oid, _FOR_READING)
    with connection.cursor() as cursor:
        cursor.execute(catalogue.LARGE_SUM, {"oid": oid, "piece": _PIECE, "size": size})
        ((sum_,),) = cursor.fetchall()
    return f"{size} bytes, {sum_}"


def _of_catalogue(connection: "Connection", query: str) -> list[tuple[Any, ...]]:
    return _rows(connection, f"{catalogue.BEGINNING} {query}")


def _rows(connection: "Connection", query: str | sql.Composed, *values: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, values or None)
        return cursor.fetchall()
