"""A log entry as CSV and as a row of dba.tlogentry."""

import csv
import io
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

# The table's columns in the CSV's order; the names are those of dba.tlogentry.
COLUMNS = (
    "timestamp",
    "run_uuid",
    "processtype",
    "stepcounter",
    "username",
    "stepruntime",
    "totalruntime",
    "level",
    "message",
)
CSV_HEADER = ",".join(COLUMNS) + "\n"


def storable(text: str) -> str:
    """Return the text without characters that PostgreSQL cannot hold: NUL, and surrogates of undecodable file names."""
    text = text.replace("\0", "\\x00")
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


class Entry(NamedTuple):
    """One row of dba.tlogentry: times in seconds, the timestamp in ISO 8601 with offset."""

    timestamp: str
    run_uuid: str
    processtype: str
    stepcounter: str
    username: str
    stepruntime: float
    totalruntime: float
    level: str
    message: str


def copy_entries(connection: "Connection", entries: list[Entry]) -> None:
    """Add the entries to dba.tlogentry within the connection's open transaction."""
    lines = io.StringIO("".join(map(csv_line, entries)))
    columns = ", ".join(f'"{name}"' for name in COLUMNS)
    with connection.cursor() as cursor:
        cursor.copy_expert(f"COPY dba.tlogentry ({columns}) FROM STDIN WITH (FORMAT csv)", lines)


def csv_line(entry: Entry) -> str:
    """Return the entry as one CSV record; texts are always quoted, so that `\\.` and empty texts stay unchanged."""
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n").writerow(entry)
    return buffer.getvalue()
