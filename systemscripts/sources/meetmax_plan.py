"""The events of a scan: a range, the ranges of dba.tmeetmaxrange, or the known events and those above them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from systemscripts.errors import JobError

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

# A site that calls every number an event must not keep a scan going for ever.
MOST_NEW_IDS = 20_000

RANGES = "SELECT first_event_id, last_event_id FROM dba.tmeetmaxrange WHERE is_active = B'1' ORDER BY 1, 2"

# The events that existed by their last clear answer.
KNOWN = """
    WITH scan AS (
        SELECT d.datasetid, d.datasetdate
        FROM dba.tdataset AS d
        JOIN dba.tdatasettype AS t USING (datasettypeid)
        WHERE t.typename = 'MeetMaxURL' AND d.isactive
    ), answer AS (
        SELECT DISTINCT ON (c.eventid) c.eventid, c.title, c.ifexists, c.isdownloadable
        FROM public.tmeetmaxurlcheck AS c
        JOIN scan USING (datasetid)
        WHERE (c.ifexists = '1' OR c.invalideventid = 'True')
          AND c.eventid IN (SELECT eventid FROM public.tmeetmaxurlcheck WHERE ifexists = '1')
        ORDER BY c.eventid, scan.datasetdate DESC, scan.datasetid DESC
    )
    SELECT eventid, coalesce(title, ''), isdownloadable = '1' FROM answer WHERE ifexists = '1' AND eventid ~ '^[0-9]{1,9}$'
"""


class KnownEvent(NamedTuple):
    """An event that existed at its last clear answer, and whether its list could be downloaded then."""

    title: str
    has_list: bool


@dataclass(frozen=True)
class Plan:
    """The events of a scan, `ids` in ascending order. Each plan has its own `name` for its journal.

    `window` is how many numbers above the highest existing event are asked, 0 for none. If one of them
    exists, the window moves up.
    """

    name: str
    ids: Sequence[int]
    window: int = 0

    def event_ids(self, highest_found: int) -> Sequence[int]:
        """Return the numbers to ask, in ascending order, if this is the highest existing event."""
        if not self.window:
            return self.ids
        top = self.ids[-1]
        return [*self.ids, *range(top + 1, min(max(top, highest_found) + self.window, top + MOST_NEW_IDS) + 1)]


def of_range(first: int, last: int) -> Plan:
    return Plan(f"{first}_{last}", range(first, last + 1))


def of_table(connection: "Connection") -> Plan:
    """Return the plan of a full scan; raises JobError if no range is active."""
    with connection, connection.cursor() as cursor:
        cursor.execute(RANGES)
        ids = {event_id for first, last in cursor.fetchall() for event_id in range(first, last + 1)}
    if not ids:
        raise JobError(
            "no range of event ids is active; add one: "
            "INSERT INTO dba.tmeetmaxrange (first_event_id, last_event_id) VALUES (70841, 140000)"
        )
    return Plan("all", sorted(ids))


def around_known(known: Collection[int], window: int) -> Plan:
    """Return the plan of a scan of these events (at least one) and the window above them."""
    return Plan("around_known", sorted(known), window)


def known_events(connection: "Connection") -> dict[int, KnownEvent]:
    """Return the events that existed at their last clear answer, in the order of their ids."""
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('public.tmeetmaxurlcheck') IS NOT NULL")
        if cursor.fetchone() != (True,):
            return {}
        cursor.execute(KNOWN)
        return {int(event_id): KnownEvent(title, bool(has_list)) for event_id, title, has_list in cursor.fetchall()}
