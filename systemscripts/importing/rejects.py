"""The rejected lines of a load; they are kept on disk until the file's row is written, to save memory."""

import csv
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from systemscripts.errors import JobError
from systemscripts.log_sinks.entries import storable

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor

CHUNK_BYTES = 1 << 20
LONGEST_SHOWN = 60  # characters of a value in a message


class TooManyRejects(JobError):
    """More lines are bad than the configuration allows."""


class Reject(NamedTuple):
    """One bad record: its last line in the file, the wrong field's heading (None: the whole record), reason and text.

    `value` is what stood there, shown in a message; "" if the reason says enough. `cure` is what a person can do.
    """

    line: int
    column: str | None
    reason: str
    text: str
    value: str = ""
    cure: str = ""

    def __str__(self) -> str:
        column = f", column {self.column!r}" if self.column is not None else ""
        cut = self.value[:LONGEST_SHOWN]
        shown = f": {cut!r}{'…' if cut != self.value else ''}" if cut else ""
        cure = f"; {self.cure}" if self.cure else ""
        return f"line {self.line}{column}: {self.reason}{shown}{cure}"


class Rejects:
    """All bad records of one file."""

    def __init__(self) -> None:
        self.count = 0
        self.lines = 0
        self.first: Reject | None = None
        import tempfile

        self._file = tempfile.SpooledTemporaryFile(max_size=CHUNK_BYTES, mode="w+", encoding="utf-8", newline="")  # noqa: SIM115

    def __enter__(self) -> "Rejects":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, reject: Reject) -> None:
        """Keep a reject; characters that PostgreSQL's text cannot hold are written out."""
        values = (reject.line, reject.column or "", reject.reason, reject.text)
        csv.writer(self._file, lineterminator="\n").writerow([storable(str(value)) for value in values])
        self.first = self.first or reject
        self.count += 1
        self.lines += reject.text.count("\n") + 1

    def clear(self) -> None:
        """Forget all of them, because the file is read once more."""
        self._file.seek(0)
        self._file.truncate()
        self.count, self.lines, self.first = 0, 0, None

    def check_limit(self, loaded: int, limit_percent: float) -> None:
        """Raise TooManyRejects if more than the allowed percentage of lines is bad."""
        # A misplaced quote may turn many lines into one record, so lines are counted, not records.
        total = loaded + self.lines
        if total and 100 * self.lines > limit_percent * total:
            raise TooManyRejects(
                f"{self.lines} of {total} lines are bad, more than the {limit_percent:g} percent allowed; the first: {self.first}"
            )

    def write(self, cursor: "Cursor", importfileid: int) -> None:
        """Add them to dba.timportreject, in the cursor's open transaction."""
        if not self.count:
            return
        self._file.seek(0)
        lines = _Lines([str(importfileid), *fields] for fields in csv.reader(self._file))
        cursor.copy_expert(
            "COPY dba.timportreject (importfileid, line_number, column_name, reason, original) FROM STDIN"
            " WITH (FORMAT csv, FORCE_NULL (column_name), FORCE_NOT_NULL (reason, original))",
            lines,  # type: ignore[arg-type]  # psycopg2 only reads from it
        )


class _Lines:
    """Rows as a file of CSV for COPY."""

    def __init__(self, rows: Iterator[list[str]]) -> None:
        self._rows = rows

    def read(self, _size: int = -1) -> bytes:
        buffer = io.StringIO()
        writer = csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\n")
        for row in self._rows:
            writer.writerow(row)
            if buffer.tell() >= CHUNK_BYTES:
                break
        return buffer.getvalue().encode()
