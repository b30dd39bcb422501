"""The locks by which runs keep out of each other's way: advisory locks of the database, by name.

They hold across machines and end with their session, however that ends, so none is ever left behind.

    etl job JOB ARGUMENTS    one run of a job and its arguments at a time
    etl run UUID             the supervisor of this run lives
    etl place NUMBER         the server has connections for one more run
    etl file PATH            one run is at this file
    etl table NAME           one load changes this table's columns; ends with the transaction
    etl sftp PLACE           one run is at this exchange folder
    etl inbox PLACE          one run is at this mailbox's folder
    etl inbox answers        one run answers the senders of mail
    etl report NUMBER        one run sends this report

Reference: PostgreSQL's manual, 13.3.5.
"""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection
    from psycopg2.extensions import cursor as Cursor


def number_of(name: str) -> str:
    """Return the SQL for the number of a lock whose name is this SQL."""
    return f"hashtextextended({name}, 0)"


def taken(connection: "Connection", name: str) -> bool:
    """Take the lock for the session and return True, or False at once where another session has it."""
    return _asked(connection, f"SELECT pg_try_advisory_lock({number_of('%s')})", name)


def released(connection: "Connection", name: str) -> bool:
    """Give the lock back; return False where the session did not have it."""
    return _asked(connection, f"SELECT pg_advisory_unlock({number_of('%s')})", name)


def wait_for(cursor: "Cursor", name: str) -> None:
    """Take the lock until the end of the transaction, as soon as nobody else has it."""
    cursor.execute(f"SELECT pg_advisory_xact_lock({number_of('%s')})", (name,))


@contextlib.contextmanager
def held(connection: "Connection", name: str) -> Iterator[bool]:
    """Hold the lock while the block works, whatever transactions begin and end meanwhile; yield False where another has it."""
    import psycopg2

    is_ours = taken(connection, name)
    try:
        yield is_ours
    finally:
        # A session that is gone has no locks, and its error is being told already.
        with contextlib.suppress(psycopg2.OperationalError, psycopg2.InterfaceError):
            if is_ours:
                connection.rollback()
                released(connection, name)


def _asked(connection: "Connection", statement: str, name: str) -> bool:
    # A session whose statements are transactions of their own needs no BEGIN and COMMIT around this one.
    transaction = contextlib.nullcontext() if connection.autocommit else connection
    with transaction, connection.cursor() as cursor:
        cursor.execute(statement, (name,))
        (answer,) = cursor.fetchone() or (False,)
    return bool(answer)
