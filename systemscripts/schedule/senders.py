"""From whom a feed must come, if its promise says so (arrives_by): an inbox rule, an SFTP client, or a sender of mail."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor

# A mail counts once, and a file of it only for the time at which it was saved.
_SEEN = """
    SELECT status, count(*), (array_agg(name ORDER BY arrived_at DESC))[1], (array_agg(reason ORDER BY arrived_at DESC))[1]
    FROM dba.varrival
    WHERE arrived_at > %(since)s AND arrived_at <= %(now)s AND status IN ('Duplicate', 'Failed', 'Waiting')
      AND (sha256 IS NULL OR sftp_client IS NOT NULL) AND dba.f_came_by(%(by)s, sender, inbox_rule, sftp_client)
    GROUP BY status ORDER BY status
"""
_LAST = """
    SELECT max(arrived_at) FROM dba.varrival
    WHERE arrived_at <= %(now)s AND status = 'Saved' AND dba.f_came_by(%(by)s, sender, inbox_rule, sftp_client)
"""
_ARRIVED = """
    SELECT look.number, max(v.arrived_at), min(v.arrived_at)
    FROM unnest(%(numbers)s::integer[], %(by)s::text[], %(since)s::timestamptz[], %(until)s::timestamptz[])
         AS look (number, arrives_by, since, until)
    JOIN dba.varrival AS v ON v.arrived_at > look.since AND v.arrived_at < look.until + interval '1 second'
    WHERE v.status = 'Saved' AND dba.f_came_by(look.arrives_by, v.sender, v.inbox_rule, v.sftp_client)
    GROUP BY look.number
"""
_SAID = {
    "Duplicate": "{count} of known content, the last {name!r}",
    "Failed": "{count} that could not be taken, the last {name!r}: {reason}",
    "Waiting": "{count} that waits for an import, the last {name!r}",
}


def awaited(arrives_by: str) -> str:
    """Return in words what must come, without an article."""
    kind, _, name = arrives_by.partition(":")
    return {
        "inbox": f"file by the inbox rule {name}",
        "sftp": f"file by the SFTP client {name}",
        "cloud": f"file from the cloud folder {name}",
    }.get(kind, f"mail of {name}")


def arrived(
    cursor: "Cursor", looks: Sequence[tuple[int, str, datetime, datetime]]
) -> list[tuple[int, datetime, datetime]]:
    """Return numbers, and when something came last and first, for looks: a number, an arrives_by, after when, until when."""
    if not looks:
        return []
    numbers, by, since, until = (list(column) for column in zip(*looks, strict=True))
    cursor.execute(_ARRIVED, {"numbers": numbers, "by": by, "since": since, "until": until})
    return cursor.fetchall()


def seen_instead(cursor: "Cursor", arrives_by: str, since: datetime, now: datetime) -> list[str]:
    """Return in words what came of them and was not put into a directory."""
    values: dict[str, Any] = {"by": arrives_by, "since": since, "now": now}
    cursor.execute(_SEEN, values)
    return [
        _SAID[status].format(count=count, name=name, reason=reason) for status, count, name, reason in cursor.fetchall()
    ]


def last_arrival(cursor: "Cursor", arrives_by: str, now: datetime) -> datetime | None:
    cursor.execute(_LAST, {"by": arrives_by, "now": now})
    ((when,),) = cursor.fetchall()
    return when  # type: ignore[no-any-return]
