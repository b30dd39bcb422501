"""What PostgreSQL says that is the file's own fault, told from what is not."""

import contextlib
from collections.abc import Iterator

from systemscripts.errors import JobError

# Classes and codes of PostgreSQL's errors (manual, appendix A): 22 data, 23 a rule of the table, 54 a
# limit (a row too wide, too many columns), 42701 a column that is there already or is the system's own.
_FILES_FAULT = ("22", "23", "54", "42701")


@contextlib.contextmanager
def refusals_of_postgres() -> Iterator[None]:
    """Turn an error that another file would not meet into a JobError; every other one passes as it is."""
    import psycopg2

    try:
        yield
    except psycopg2.Error as error:
        if (error.pgcode or "").startswith(_FILES_FAULT):
            raise JobError(f"PostgreSQL refuses it: {error.diag.message_primary}") from None
        raise
