"""Tell the PostgreSQL errors that are the file's fault from those that are not."""

import contextlib
from collections.abc import Iterator

import psycopg2

from systemscripts.errors import JobError
from systemscripts.importing.config import ConfigurationError, ImportConfig

# Classes and codes of PostgreSQL's errors (manual, appendix A): 22 data, 23 a rule of the table, 54 a
# limit (a row too wide, too many columns), 42701 a column that exists already or is a system column.
_FILES_FAULT = ("22", "23", "54", "42701")
_TOO_LONG = "22001"


# Errors that every file would get: a table that is not ours (42501, 42809), a view in the way (0A000, 42P16), a type
# that differs from the rules (42804), no such schema (3F000).
_CONFIGURATIONS_FAULT = ("0A000", "3F000", "42501", "42804", "42809", "42P16")


@contextlib.contextmanager
def refusals_of_postgres(config: ImportConfig) -> Iterator[None]:
    """Turn an error of this file into a JobError, and an error that all files would get into a ConfigurationError.

    Every other error passes unchanged.
    """
    try:
        yield
    except psycopg2.Error as error:
        if error.pgcode == _TOO_LONG:
            raise ConfigurationError(
                f"import {config.config_name}: a column of {config.target_table} is too short for the file "
                f"({'; '.join([str(error.diag.message_primary), *(error.diag.context or '').splitlines()[:1]])}), and a view "
                "uses it; drop the view, run the import again, which takes the limit off, then make the view again"
            ) from None
        if (error.pgcode or "").startswith(_FILES_FAULT):
            raise JobError(f"PostgreSQL refuses it: {error.diag.message_primary}") from None
        if error.pgcode in _CONFIGURATIONS_FAULT:
            told = " ".join(filter(None, (error.diag.message_primary, error.diag.message_detail)))
            raise ConfigurationError(
                f"import {config.config_name}: {config.target_table} cannot take its files: {told}"
            ) from None
        raise
