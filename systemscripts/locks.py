"""The locks between runs: advisory locks of the database, by name.

A lock holds across machines. It ends with its session, also after a crash, so no lock is ever left behind.

    etl job JOB ARGUMENTS    one run of a job and its arguments at a time
    etl run UUID             the supervisor of this run lives
    etl place NUMBER         the server has connections for one more run
    etl file PATH            one run works on this file
    etl table NAME           one load changes this table's columns; ends with the transaction
    etl sftp PLACE           one run works on this exchange folder
    etl inbox PLACE          one run works on this mailbox's folder
    etl inbox answers        one run answers the senders of mail
    etl report NUMBER        one run sends this report
    etl letter               one run sends the weekly letter
    etl undo NUMBER          one run takes this dataset back
    etl move                 runs hold it together; while move_database.sh has it alone, no run begins

Reference: PostgreSQL's manual, 13.3.5.
"""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection
    from psycopg2.extensions import cursor as Cursor


def number_of(name: str) -> str:
    """Return the SQL expression for a lock's number; `name` is the SQL expression for its name."""
    return f"hashtextextended({name}, 0)"


def taken(connection: "Connection", name: str) -> bool:
    """Take the lock for the session and return True; return False at once if another session has it."""
    return _asked(connection, f"SELECT pg_try_advisory_lock({number_of('%s')})", name)


def taken_together(connection: "Connection", name: str) -> bool:
    """Take the lock for the session beside others that do the same; return False at once if a session has it alone, or waits to."""
    return _asked(connection, f"SELECT pg_try_advisory_lock_shared({number_of('%s')})", name)


def released(connection: "Connection", name: str) -> bool:
    """Release the lock; return False if the session did not have it."""
    return _asked(connection, f"SELECT pg_advisory_unlock({number_of('%s')})", name)


def wait_for(cursor: "Cursor", name: str) -> None:
    """Wait for the lock, then hold it until the end of the transaction."""
    cursor.execute(f"SELECT pg_advisory_xact_lock({number_of('%s')})", (name,))


def wait_in_session(cursor: "Cursor", name: str) -> None:
    """Wait for the lock, then hold it until the session ends."""
    cursor.execute(f"SELECT pg_advisory_lock({number_of('%s')})", (name,))


@contextlib.contextmanager
def held(connection: "Connection", name: str) -> Iterator[bool]:
    """Hold the lock during the block, across transactions; yield False if another session has it."""
    import psycopg2

    is_ours = taken(connection, name)
    try:
        yield is_ours
    finally:
        # A session that is gone has no locks, and its error is already on its way.
        with contextlib.suppress(psycopg2.OperationalError, psycopg2.InterfaceError):
            if is_ours:
                connection.rollback()
                released(connection, name)


def _asked(connection: "Connection", statement: str, name: str) -> bool:
    # In autocommit each statement is a transaction, so no BEGIN and COMMIT is needed.
    transaction = contextlib.nullcontext() if connection.autocommit else connection
    with transaction, connection.cursor() as cursor:
        cursor.execute(statement, (name,))
        (answer,) = cursor.fetchone() or (False,)
    return bool(answer)
