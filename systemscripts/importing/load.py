"""Load the file's records into the table with COPY.

The fast way streams the file's own bytes (guarded_file); where bad lines may be rejected, without these (sieved_file).
If COPY would read the bytes differently, or refuses them, the careful way reads the file with Python's csv module in
strict mode. It loads exactly those fields, or says which line is wrong and why. With rules for columns the records go
through a staging table, where PostgreSQL checks and converts them.
"""

from typing import Any, NamedTuple

import psycopg2
import psycopg2.errors
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor
from psycopg2.sql import Composable

from systemscripts.errors import JobError
from systemscripts.importing.careful import BadLine, RewrittenRecords
from systemscripts.importing.columns import ColumnPlan
from systemscripts.importing.config import ImportConfig
from systemscripts.importing.guarded_file import CHUNK_BYTES, GuardedFile
from systemscripts.importing.rejects import Rejects
from systemscripts.importing.sieved_file import SievedFile
from systemscripts.importing.source import TextSource
from systemscripts.importing.transformed import Shown, TransformedRecords

# The staging table's own column. It has a blank in its name, which no column from a heading has.
RECORD_NUMBER = "record number"


class Loaded(NamedTuple):
    """The result of a load: the number of records, the file's SHA-256 if the load computed it, and the DDL that was run.

    `readings` are examples of how the rules read texts, in a dry run. `told` is what a transform did, as the end of a
    sentence, `shown` its first changes. `plan` is what became of the file's columns; None if it had none.
    """

    rows: int
    sha256: str | None = None
    statements: tuple[str, ...] = ()
    readings: tuple[str, ...] = ()
    told: str = ""
    shown: tuple[Shown, ...] = ()
    plan: ColumnPlan | None = None


class Incoming(NamedTuple):
    """What is loaded: the file, where its bad records go (None: the first one ends the load), and what a transform makes of it."""

    source: TextSource
    rejects: Rejects | None
    transformed: TransformedRecords | None = None


class Destination(NamedTuple):
    """A table and the columns for a file's fields, in the fields' order."""

    table: Composable
    columns: list[str]
    numbered: bool = False

    def copy(self, cursor: Cursor, stream: Any, form: Composable, with_number: bool = False) -> int:
        """Copy the stream into the table and return the number of records that PostgreSQL took.

        `form` are the options of COPY that say how the stream is written.
        """
        names = sql.SQL(", ").join(map(sql.Identifier, self.columns))
        number = sql.SQL("{}, ").format(sql.Identifier(RECORD_NUMBER)) if with_number else sql.SQL("")
        statement = sql.SQL("COPY {} ({}{}) FROM STDIN WITH (NULL '', {})").format(self.table, number, names, form)
        cursor.copy_expert(statement, stream, size=CHUNK_BYTES)
        return int(cursor.rowcount)


def target_of(config: ImportConfig, plan: ColumnPlan) -> Destination:
    """Return the configuration's own table as the destination."""
    return Destination(sql.Identifier(config.schema, config.table), plan.loaded)


def load_records(cursor: Cursor, incoming: Incoming, plan: ColumnPlan, destination: Destination) -> Loaded:
    """Copy every record to its destination, in the cursor's open transaction.

    Raises BadLine if there are no rejects; the caller must then roll back.
    """
    source, rejects, transformed = incoming
    if transformed:
        return Loaded(_load_rewritten(cursor, transformed.stream(plan, destination.numbered), destination))
    as_they_are = source.server_encoding is not None and None not in plan.targets and len(plan.targets) > 1
    if as_they_are:
        form = sql.SQL("FORMAT csv, DELIMITER {}, FORCE_NULL ({}), ENCODING {}").format(
            sql.Literal(source.dialect.delimiter),
            sql.SQL(", ").join(map(sql.Identifier, destination.columns)),
            sql.Literal(source.server_encoding),
        )
        cursor.execute("SAVEPOINT before_copy")
        # In a staging table a record's number must be that of the file, which COPY does not know where records are left out.
        is_sieved = rejects is not None and not destination.numbered and source.newline == b"\n"
        with SievedFile(source, rejects) if rejects and is_sieved else GuardedFile(source) as stream:
            try:
                rows = destination.copy(cursor, stream, form)
                if rows == stream.records:
                    return Loaded(rows, stream.sha256.hexdigest())
            except psycopg2.DataError:
                pass
            except psycopg2.errors.QueryCanceled:
                if not stream.needs_care:
                    raise
        cursor.execute("ROLLBACK TO SAVEPOINT before_copy")
        if rejects:
            rejects.clear()
    return Loaded(_load_rewritten(cursor, RewrittenRecords(source, plan, rejects, destination.numbered), destination))


def _load_rewritten(cursor: Cursor, stream: RewrittenRecords | TransformedRecords, destination: Destination) -> int:
    """Copy exactly the fields that the stream has read, checked and written again."""
    try:
        rows = destination.copy(
            cursor, stream, sql.SQL("FORMAT text, ENCODING 'UTF8'"), with_number=destination.numbered
        )
    except psycopg2.Error as error:
        # COPY reports an error of the stream as its own error, but only the stream knows the line.
        if stream.fault is not None:
            raise stream.fault from None
        is_too_long = isinstance(error, psycopg2.errors.StringDataRightTruncation)  # the table's fault, see refusals.py
        if isinstance(error, psycopg2.DataError) and not is_too_long:  # a column of another type than text
            context = (error.diag.context or "").splitlines()[:1]
            raise BadLine("; ".join([error.diag.message_primary or str(error), *context])) from None
        raise
    if rows != stream.records:
        raise JobError(f"{stream.records} records were sent, and PostgreSQL says that it took {rows}")
    return rows
