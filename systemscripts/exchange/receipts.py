"""The receipts for the files of an SFTP folder: the result of each import in a few lines for the sender."""

from datetime import datetime
from typing import TYPE_CHECKING

from systemscripts.arrivals import outcomes
from systemscripts.arrivals.names import name_in_directory
from systemscripts.arrivals.outcomes import Told
from systemscripts.exchange.config import ExchangeConfig
from systemscripts.exchange.folder import Folder
from systemscripts.plain_text import on_one_line

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection


def put_receipts(connection: "Connection", config: ExchangeConfig, folder: Folder) -> list[str]:
    """Put a receipt for each file that an import has handled since, and return their names.

    If a run is killed in between, the next run finds the receipt by its unique name and only notes it.
    """
    if config.outgoing_path is None:
        return []
    names = []
    for file in outcomes.to_be_told(connection, config.origin):
        if file.words is None:
            continue
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT created_at FROM dba.treceivedfile WHERE receivedfileid = %s", (file.id,))
            ((received_at,),) = cursor.fetchall()
        folder.put_receipt(receipt_name(file), receipt_text(file, received_at).encode())
        outcomes.note_told(connection, [file])
        names.append(receipt_name(file))
    return names


def receipt_name(file: Told) -> str:
    """Return the name of the receipt: the file's name and the number of its row, so that it is unique.

    >>> receipt_name(Told(7, "../my list.csv", 3, "ab", None))
    'my_list.csv.7.receipt.txt'
    """
    return f"{name_in_directory(file.name)}.{file.id}.receipt.txt"


def receipt_text(file: Told, received_at: datetime) -> str:
    """Return the receipt: first the result of the file, then the facts by which its sender recognises it."""
    # A name may hold a line break, which could fake a second result.
    name = on_one_line(file.name)
    return (
        f"{name}: {file.words}\n\n"
        f"Received  {received_at.astimezone().isoformat(' ', 'seconds')}\n"
        f"Size      {file.size:,} bytes\n"
        f"SHA-256   {file.sha256}\n"
    )
