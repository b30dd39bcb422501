"""The results of received files, in words for their senders."""

import re
from typing import TYPE_CHECKING, NamedTuple

from systemscripts import settings
from systemscripts.arrivals.ledger import Origin
from systemscripts.plain_text import as_words

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

LONGEST_REASON = 300  # characters

# Senders must not see our folders, so only the name at the end of a path stays.
_FOLDERS = re.compile(r"(?<![\w/])/(?:[^\s/'\"]+/)+")


class Told(NamedTuple):
    """A file whose sender was not told yet; `words` is None until an import has handled it."""

    id: int
    name: str
    size: int
    sha256: str
    words: str | None


def to_be_told(connection: "Connection", origin: Origin) -> list[Told]:
    """Return the files of the mail or the SFTP folder whose sender was not told the result yet."""
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT r.receivedfileid, r.name, r.file_size, r.sha256, r.status, v.import_status, v.row_count, v.error,"  # noqa: S608
            " r.created_at < now() - interval '1 day' FROM dba.treceivedfile AS r"
            " JOIN dba.vreceivedfile AS v USING (receivedfileid)"
            f" WHERE r.{origin.column} = %s AND r.told_at IS NULL ORDER BY r.receivedfileid",
            (origin.id,),
        )
        return [
            Told(number, name, size, sha256, words_for(*fate))
            for number, name, size, sha256, *fate in cursor.fetchall()
        ]


def note_told(connection: "Connection", files: list[Told]) -> None:
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "UPDATE dba.treceivedfile SET told_at = now() WHERE receivedfileid = ANY (%s)",
            ([file.id for file in files],),
        )


def words_for(
    status: str, import_status: str | None, rows: int | None, error: str | None, is_old: bool = False
) -> str | None:
    """Return the result of a file in words, None if it is still open; `is_old`: it came more than a day ago.

    >>> words_for("Saved", "Loaded", 1204, None)
    'loaded, 1,204 rows'
    """
    if status == "Duplicate" or import_status == "Duplicate":
        return "received before with the same content; nothing was added"
    if import_status in ("Loaded", "Unpacked"):
        return f"loaded, {rows or 0:,} rows"
    if import_status == "Empty":
        return "loaded; it has no rows"
    if import_status == "Failed":
        return f"rejected: {for_outsiders(error or 'for an unknown reason')}"
    return "received; it has not been loaded" if is_old else None


def for_outsiders(reason: str) -> str:
    """Return a reason as one line, without control characters, secrets, and the folders of this machine.

    >>> for_outsiders("/srv/in/a.csv: line 3 is short")
    'a.csv: line 3 is short'
    """
    line = as_words(_FOLDERS.sub("", settings.mask(reason)))
    return line if len(line) <= LONGEST_REASON else f"{line[: LONGEST_REASON - 1]}…"
