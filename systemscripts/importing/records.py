"""Write records that name their own fields (JSON, XML) as CSV, whose headings are all names that come in the file."""

import csv
import io
from collections.abc import Callable, Iterator
from typing import IO

from systemscripts.errors import JobError
from systemscripts.importing.columns import MOST_COLUMNS

Records = Iterator[dict[str, str]]


def write_csv(read: Callable[[], Records], output: IO[bytes]) -> None:
    """Write the records, with the names in the order in which they first come; what a record lacks is empty.

    If a name comes later than with the first record, the records are read once more, which needs no memory.
    Raises JobError if there is no record.
    """
    names: dict[str, None] = {}
    if _write(read(), names, output):
        _write(read(), names, output)
    output.flush()
    if not names:
        raise JobError("it has no records, so nobody can say what its columns are")


def _write(records: Records, names: dict[str, None], output: IO[bytes]) -> bool:
    """Write the records and add their names; return whether one came too late, so that all must be written again."""
    output.seek(0)
    output.truncate()
    text = io.TextIOWrapper(output, encoding="utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n")
    known, is_late = dict(names), False
    try:
        for number, record in enumerate(records, 1):
            if record.keys() - names.keys():
                names.update(dict.fromkeys(record))
                if len(names) > MOST_COLUMNS:
                    raise JobError(f"record {number}: it has {len(names)} columns by now; a table takes {MOST_COLUMNS}")
                is_late = number > 1
            if number == 1:
                known = dict(names)
                writer.writerow(known)
            if not is_late:
                writer.writerow([record.get(name, "") for name in known])
    except UnicodeEncodeError:
        raise JobError(f"record {number}: a text in it has half a character, which no table can hold") from None
    finally:
        text.detach()
    return is_late
