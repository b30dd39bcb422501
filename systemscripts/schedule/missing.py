"""The watch on the feeds: it compares what dba.tfeed promises with what was loaded, and keeps the incidents.

A feed has at most one open incident. It begins with a due time at which something was missing. While
nothing else is missing it continues, without a mail. When other labels are missing too, another one
takes its place, which is told. It ends when what was missing is there, or at the next due time at
which nothing is missing. A feed that is paused or snoozed, or whose import is off, has no incidents.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING

from systemscripts.schedule import incidents, senders
from systemscripts.schedule.incident_mail import local_time
from systemscripts.schedule.incidents import Incident
from systemscripts.schedule.promises import ANY, Arrivals, Calendar, Look, arrivals, feeds_of, lacking
from systemscripts.schedule.slots import GRACE, Window

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor

KIND = "missing"
MOST_NAMED = 2

# Returns the files that wait for an import with this number.
WaitingFiles = Callable[[int], Sequence[str]]

_NOT_LOADED = """
    SELECT status, count(*), (array_agg(file_name ORDER BY importfileid DESC))[1],
           (array_agg(error ORDER BY importfileid DESC))[1]
    FROM dba.timportfile
    WHERE config_id = %(config)s AND created_at > %(since)s AND created_at <= %(now)s AND status IN ('Failed', 'Duplicate', 'Undone')
    GROUP BY status ORDER BY status DESC
"""
_OTHERS = """
    SELECT d.label, d.datasetdate, count(*) OVER () FROM dba.timportfile AS f JOIN dba.tdataset AS d USING (datasetid)
    WHERE f.config_id = %(config)s AND f.created_at > %(since)s AND f.created_at <= %(now)s AND f.status IN ('Loaded', 'Empty')
      AND (d.label <> ALL (%(labels)s::text[]) OR d.datasetdate <> %(day)s)
    ORDER BY f.importfileid DESC LIMIT 1
"""
# What took the place of an incident is told with all that is missing.
_REPLACED = """
    UPDATE dba.tincident SET closed_at = %(now)s, told_at = coalesce(told_at, %(now)s), recovery_told_at = %(now)s
    WHERE incidentid = %(id)s
"""
_LAST = """
    SELECT f.created_at, d.label, d.datasetdate FROM dba.timportfile AS f JOIN dba.tdataset AS d USING (datasetid)
    WHERE f.config_id = %(config)s AND f.created_at <= %(now)s AND f.status IN ('Loaded', 'Empty')
    ORDER BY f.importfileid DESC LIMIT 1
"""
_SAID = {
    "Failed": "{count} refused, the last {name}: {error}",
    "Duplicate": "{count} of known content, the last {name}: this was loaded before",
    "Undone": "{count} taken back, the last {name}: {error}",
}


class FeedWatch:
    """One check of all feeds."""

    def __init__(self, cursor: "Cursor", checked_until: datetime, now: datetime, zone: tzinfo) -> None:
        self._cursor = cursor
        self._now = now
        self._former_check = checked_until + GRACE
        self._calendar = Calendar(cursor, now, zone)
        self.feeds = [feed for feed in feeds_of(cursor) if feed.is_watched(now)]

    def check(self, latest: incidents.Latest, waiting: WaitingFiles) -> None:
        """Write the incidents that begin, continue or end."""
        looks: dict[tuple[int, datetime], Look] = {}
        for feed in self.feeds:
            due = self._calendar.due(
                feed, Window(max(self._former_check - feed.grace, feed.since), self._now - feed.grace)
            )
            known = latest.get((KIND, *feed.key))
            again = [known.last_slot] if known is not None and known.is_open else []
            looks |= {(feed.id, slot): self._calendar.look(feed, slot) for slot in again + due}
        came = dict(zip(looks, arrivals(self._cursor, list(looks.values()), self._now), strict=True))
        for feed in self.feeds:
            known = latest.get((KIND, *feed.key))
            for (feedid, slot), look in looks.items():
                if feedid == feed.id:
                    known = self._judge(look, came[feedid, slot], known, waiting)

    def _judge(self, look: Look, came: Arrivals, known: Incident | None, waiting: WaitingFiles) -> Incident | None:
        """Bring the feed's latest incident up to what came for one due time, and return it."""
        slot, lack = look.slot, lacking(look.feed.awaited, came)
        is_open, told = known is not None and known.is_open, set(known.labels or ()) if known else set()
        if known is not None and slot <= known.last_slot:
            if not is_open or slot < known.last_slot:
                return known
            lack = [label for label in lack if label in told]
            if set(lack) == told:
                return known
            change: Incident | None = known
        elif not lack:
            change = known if is_open else None
        elif known is not None and is_open and set(lack) <= told:
            change = replace(known, last_slot=slot, occurrences=known.occurrences + 1)
        else:
            if known is not None and is_open:
                self._cursor.execute(_REPLACED, {"now": self._now, "id": known.id})
            change = Incident(KIND, *look.feed.key, look.feed.name, slot, slot, 1, "", None)
        if change is None:
            return known
        if lack:
            config = look.feed.config_id
            detail = self._told(look, lack, came, [] if config is None else waiting(config))
            return incidents.write(self._cursor, replace(change, labels=lack, detail=detail), self._now)
        when = max((came[label].time for label in came if label in told or ANY in told), default=None)
        end = f"all of it came; the last was loaded {self._local(when)}" if when else "it is not awaited any more"
        if slot > change.last_slot:
            end = f"it did not come, but all that was due by {self._local(slot)} did"
        return incidents.write(self._cursor, replace(change, is_open=False, detail=end), self._now)

    def _told(self, look: Look, lack: Sequence[str], came: Arrivals, waiting: Sequence[str]) -> str:
        """Return what is missing, and what was seen instead."""
        feed, of_day = look.feed, f" for {look.day}" if look.day else ""
        by = feed.arrives_by
        what = listed(lack) if lack[0] != ANY else f"no {senders.awaited(by)}" if by else "no file"
        since = self._calendar.before(feed, look.slot)
        values = {
            "config": feed.config_id,
            "since": since,
            "now": self._now,
            "labels": feed.labels,
            "day": look.day,
        }
        seen = []
        self._cursor.execute(_NOT_LOADED, values)
        for status, count, name, error in self._cursor.fetchall():
            seen.append(_SAID[status].format(count=count, name=name, error=error))
        if by:
            seen += senders.seen_instead(self._cursor, by, since, self._now)
        self._cursor.execute(_LAST, values)
        newest = self._cursor.fetchone()
        if feed.labels or look.day:
            self._cursor.execute(_OTHERS, values)
            for label, day, count in self._cursor.fetchall():
                which = "" if newest and (label, day) == newest[1:] else f", the last {label} for {day}"
                seen.append(f"{count} not awaited{which}")
        if waiting:
            seen.append(f"{len(waiting)} waiting to be loaded, such as {waiting[0]}")
        if held := [label for label, arrival in came.items() if arrival.is_held]:
            seen.append(f"held until a person decides: {listed(held)}")
        last = "nothing was ever loaded"
        if newest:
            time, label, day = newest
            last = f"the last one was {label} for {day}, loaded {self._local(time)}"
        if by:
            arrived = senders.last_arrival(self._cursor, by, self._now)
            last = f"the last one came {self._local(arrived)}" if arrived else "nothing ever came from there"
        of_all = f" (missing: {len(lack)} of {len(feed.awaited)} lists)" if len(feed.awaited) > 1 else ""
        told = f"{what}{of_day} did not come{of_all}" if lack[0] != ANY else f"{what}{of_day} came"
        return f"{told}; seen since {self._local(since)}: {'; '.join(seen) or 'nothing'}; {last}"

    def _local(self, moment: datetime) -> str:
        return local_time(moment, self._calendar.zone)


def listed(labels: Sequence[str]) -> str:
    """Return the first labels, and how many more there are."""
    more = f" and {len(labels) - MOST_NAMED} more" if len(labels) > MOST_NAMED else ""
    return ", ".join(labels[:MOST_NAMED]) + more
