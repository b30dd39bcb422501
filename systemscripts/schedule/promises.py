"""The promises of feeds, the rows of dba.tfeed: what must be loaded by when.

A feed is due at the times of its cron expression. What is due on a day that is no business day is
due on the next one, at the same time, so that a list of the first of the month is not forgotten.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, NamedTuple

from systemscripts.cron.cron_file import ScheduledJob
from systemscripts.schedule import senders
from systemscripts.schedule.slots import Window
from systemscripts.schedule.timetable import ACTIVE, expected_slots

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor

FEED_TABLE = "dba.tfeed"
# In place of a label where any label will do.
ANY = ""
_DAY = timedelta(days=1)
# A file may come so long before it is due for its date, and the time before a due time is looked for as far back.
_EARLY = timedelta(days=14)
_LOOK_BACK = (timedelta(days=10), timedelta(days=40), timedelta(days=400))

_FEEDS = """
    SELECT f.feedid, f.feedname, f.due_by::text, f.config_id, coalesce(c.config_name, ''), coalesce(c.datasource, ''), f.labels,
           f.business_days_only,
           f.grace_minutes * interval '1 minute', f.for_date, f.active_since, f.snoozed_until, f.datastatusid,
           coalesce(c.is_active = B'1', true) AND coalesce(i.is_active, true) AND coalesce(s.is_active, true),
           f.paused_since, coalesce(f.paused_by, ''), coalesce(f.paused_reason, ''), f.arrives_by
    FROM dba.tfeed AS f
    LEFT JOIN dba.timportconfig AS c USING (config_id)
    LEFT JOIN dba.tinboxconfig AS i ON f.arrives_by = 'inbox:' || i.config_name
    LEFT JOIN dba.texchangeconfig AS s
        ON f.arrives_by = CASE s.kind WHEN 'rclone' THEN 'cloud:' ELSE 'sftp:' END || s.config_name
    ORDER BY f.feedname, f.feedid
"""
_FREE_DAYS = "SELECT fulldate FROM dba.tcalendardays WHERE NOT isbusday AND fulldate BETWEEN %s AND %s"
_ARRIVED = """
    SELECT look.number, d.label, max(f.created_at), bool_or(s.statusname = 'Held'), min(f.created_at)
    FROM unnest(%(numbers)s::integer[], %(configs)s::integer[], %(days)s::date[], %(since)s::timestamptz[], %(until)s::timestamptz[],
                %(by)s::text[]) AS look (number, config_id, day, since, until, arrives_by)
    CROSS JOIN LATERAL (
        SELECT f.datasetid, f.created_at, f.sha256, f.source_path, f.archive_id FROM dba.timportfile AS f
        WHERE f.config_id = look.config_id AND f.created_at > look.since
          AND f.created_at < look.until + interval '1 second'  -- the time of a check is cut to the second
          AND f.status IN ('Loaded', 'Empty')
        OFFSET 0  -- for each look by its index, and not all files of the time for all looks
    ) AS f
    JOIN dba.tdataset AS d USING (datasetid)
    JOIN dba.tdatastatus AS s USING (datastatusid)
    WHERE (look.day IS NULL OR d.datasetdate = look.day)
      AND (look.arrives_by IS NULL OR EXISTS (
          SELECT FROM dba.varrival AS v
          WHERE v.sha256 = coalesce((SELECT a.sha256 FROM dba.timportfile AS a WHERE a.importfileid = f.archive_id), f.sha256)
            AND v.saved_path = f.source_path AND v.arrived_at <= f.created_at
            AND dba.f_came_by(look.arrives_by, v.sender, v.inbox_rule, v.sftp_client)))
    GROUP BY look.number, d.label
"""


@dataclass(frozen=True)
class Feed:
    """A row of dba.tfeed, with its import's name and source ("" without an import), and whether import and rule are active."""

    id: int
    name: str
    due_by: str
    config_id: int | None
    config_name: str
    source: str
    labels: Sequence[str] | None
    business_days_only: bool
    grace: timedelta
    for_date: str | None
    active_since: datetime
    snoozed_until: datetime | None
    status: int
    has_active_ways: bool
    paused_since: datetime | None
    paused_by: str
    paused_reason: str
    arrives_by: str | None

    @property
    def key(self) -> tuple[str, int]:
        return FEED_TABLE, self.id

    @property
    def job(self) -> ScheduledJob:
        return ScheduledJob(FEED_TABLE, self.id, self.name, self.due_by, "")

    @property
    def awaited(self) -> Sequence[str]:
        return self.labels or (ANY,)

    @property
    def since(self) -> datetime:
        """Return the time up to which nothing counts as missing."""
        return max(self.active_since, self.snoozed_until or self.active_since)

    def is_watched(self, now: datetime) -> bool:
        return self.status == ACTIVE and self.has_active_ways and self.since <= now


class Look(NamedTuple):
    """A time at which a feed is due: whose files are looked for, of which date, and loaded after when."""

    feed: Feed
    slot: datetime
    day: date | None
    since: datetime


class Arrival(NamedTuple):
    """What came of a label: when the last and the first of it was loaded, and whether a person must release it."""

    time: datetime
    is_held: bool
    first: datetime


Arrivals = dict[str, Arrival]  # by label


class Calendar:
    """The days without business around a time, and the zone in which days begin."""

    def __init__(self, cursor: "Cursor", now: datetime, zone: tzinfo) -> None:
        self.zone = zone
        cursor.execute(_FREE_DAYS, (now.date() - _LOOK_BACK[-1], now.date() + _LOOK_BACK[-1]))
        self._free = {day for (day,) in cursor.fetchall()}

    def due(self, feed: Feed, window: Window) -> list[datetime]:
        """Return when the feed is due after the window's start and up to its end, in UTC and in order."""
        if window.end <= window.start:
            return []
        start = window.start
        if feed.business_days_only:
            day = start.astimezone(self.zone).date()
            while day in self._free or day - _DAY in self._free:
                day -= _DAY
            start = min(start, datetime.combine(day, time(), self.zone) - timedelta(minutes=1))
        planned = expected_slots(feed.job, start, window.end, self.zone)
        moved = {self._moved(feed, slot.time).astimezone(UTC) for slot in planned}
        return sorted(moment for moment in moved if window.start < moment <= window.end)

    def is_free(self, day: date) -> bool:
        return day in self._free

    def _moved(self, feed: Feed, moment: datetime) -> datetime:
        day = moment.date()
        if not feed.business_days_only or day not in self._free:
            return moment
        while day in self._free:
            day += _DAY
        return datetime.combine(day, moment.time(), self.zone)

    def before(self, feed: Feed, slot: datetime) -> datetime:
        """Return when the feed was due before; if that is more than a year ago, a year ago."""
        for long in _LOOK_BACK:
            if found := self.due(feed, Window(slot - long, slot - timedelta(seconds=1))):
                return found[-1]
        return slot - _LOOK_BACK[-1]

    def look(self, feed: Feed, slot: datetime) -> Look:
        if feed.for_date is None:
            return Look(feed, slot, None, self.before(feed, slot))
        day = slot.astimezone(self.zone).date()
        if feed.for_date == "previous business day":
            day -= _DAY
            while day in self._free:
                day -= _DAY
        return Look(feed, slot, day, slot - _EARLY)


def feeds_of(cursor: "Cursor") -> list[Feed]:
    cursor.execute(_FEEDS)
    return [Feed(*row) for row in cursor.fetchall()]


def arrivals(
    cursor: "Cursor", looks: Sequence[Look], now: datetime, until: Sequence[datetime] | None = None
) -> list[Arrivals]:
    """Return what came for each of the looks; a file that was refused, taken back or known already did not come.

    `until` has for each look the time up to which a file counts (now).
    """
    until = until or [now] * len(looks)
    found: list[Arrivals] = [{} for _ in looks]
    loaded = [(number, look) for number, look in enumerate(looks) if look.feed.config_id is not None]
    if loaded:
        values: dict[str, Any] = {
            "numbers": [number for number, _ in loaded],
            "configs": [look.feed.config_id for _, look in loaded],
            "days": [look.day for _, look in loaded],
            "since": [look.since for _, look in loaded],
            "until": [until[number] for number, _ in loaded],
            "by": [look.feed.arrives_by for _, look in loaded],
        }
        cursor.execute(_ARRIVED, values)
        for number, label, moment, is_held, first in cursor.fetchall():
            found[number][label] = Arrival(moment, is_held, first)
    put_down = [
        (number, look.feed.arrives_by, look.since, until[number])
        for number, look in enumerate(looks)
        if look.feed.config_id is None and look.feed.arrives_by
    ]
    for number, moment, first in senders.arrived(cursor, put_down):
        found[number][ANY] = Arrival(moment, False, first)
    return found


def lacking(awaited: Sequence[str], came: Arrivals) -> list[str]:
    """Return which of the awaited labels did not come."""
    return [label for label in awaited if (label not in came if label != ANY else not came)]
