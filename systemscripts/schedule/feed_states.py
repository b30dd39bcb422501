"""The feeds for a person: what each promises, what came last, what is missing now, and which labels usually come."""

from collections import Counter
from datetime import datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, NamedTuple

from systemscripts.errors import WrongCall
from systemscripts.schedule import senders
from systemscripts.schedule.missing import listed
from systemscripts.schedule.promises import ANY, Arrivals, Calendar, Feed, Look, arrivals, feeds_of, lacking
from systemscripts.schedule.rows import short_time
from systemscripts.schedule.slots import Window
from systemscripts.schedule.timetable import ACTIVE

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor

_YEAR = timedelta(days=400)
_MINUTE = timedelta(minutes=1)
_LAST_FILES = """
    SELECT c.config_id, last.created_at FROM dba.timportconfig AS c
    JOIN LATERAL (SELECT f.created_at FROM dba.timportfile AS f WHERE f.config_id = c.config_id AND f.status IN ('Loaded', 'Empty')
                  ORDER BY f.importfileid DESC LIMIT 1) AS last ON true
    WHERE c.config_id = ANY (%s)
"""


class State(NamedTuple):
    """What is known of a feed at a time; `lack` is what did not come of what was due last, `is_missing` that it is told."""

    name: str
    import_name: str
    due_by: str
    labels: int | None
    last_due: datetime | None
    next_due: datetime | None
    last_file: datetime | None
    lack: list[str]
    is_missing: bool
    is_paused: bool
    word: str


def find(cursor: "Cursor", wanted: str) -> Feed:
    """Return the feed with this number or name, in any case; raises WrongCall if there is none, or several that differ in case."""
    feeds = feeds_of(cursor)
    fits = [feed for feed in feeds if wanted in (str(feed.id), feed.name)]
    fits = fits or [feed for feed in feeds if feed.name.casefold() == wanted.casefold()]
    if len(fits) == 1:
        return fits[0]
    trouble = f"{len(fits)} feeds could be {wanted!r}, give the number" if fits else f"no feed is {wanted!r}"
    there_are = ", ".join(f"{feed.id} {feed.name!r}" for feed in fits or feeds)
    raise WrongCall(f"{trouble}; there are: {there_are or 'none; copy onboarding/sql/samples/add_feed.sql'}")


def states(cursor: "Cursor", now: datetime, calendar: Calendar) -> list[State]:
    """Return the state of every feed."""
    feeds = feeds_of(cursor)
    cursor.execute(_LAST_FILES, ([feed.config_id for feed in feeds if feed.config_id is not None],))
    of_imports = dict(cursor.fetchall())
    last_files = [
        senders.last_arrival(cursor, feed.arrives_by, now) if feed.arrives_by else of_imports.get(feed.config_id)
        for feed in feeds
    ]
    looks = [calendar.look(feed, calendar.before(feed, now + timedelta(seconds=1))) for feed in feeds]
    return [
        _state(look, came, last_file, now, calendar)
        for look, came, last_file in zip(looks, arrivals(cursor, looks, now), last_files, strict=True)
    ]


def _state(look: Look, came: Arrivals, last_file: datetime | None, now: datetime, calendar: Calendar) -> State:
    feed, zone = look.feed, calendar.zone
    ahead = next(
        (due for days in (10, 40, 400) if (due := calendar.due(feed, Window(now, now + timedelta(days=days))))), []
    )
    next_due = ahead[0].astimezone(zone) if ahead else None
    was_due = feed.since < look.slot > now - _YEAR
    lack = lacking(feed.awaited, came) if was_due and feed.is_watched(now) else []
    missing = "no file" if lack == [ANY] else f"{listed(lack)} of {len(feed.awaited)}"
    is_missing = bool(lack) and now >= look.slot + feed.grace
    if feed.status != ACTIVE:
        word = _paused(feed, zone)
    elif not feed.has_active_ways:
        word = "its import is off" if feed.arrives_by is None else "its import or its rule is off"
    elif not feed.is_watched(now):
        word = f"snoozed until {short_time(feed.since.astimezone(zone))}"
    elif lack:
        word = f"missing: {missing}" if is_missing else f"late: {missing}"
    elif next_due is None:
        word = "not due within a year"
    else:
        held = [label for label, arrival in came.items() if arrival.is_held]
        word = f"arrived, held: {listed(held)}" if held and was_due else "arrived" if was_due else "not due yet"
    last_due = look.slot.astimezone(zone) if was_due else None
    labels = len(feed.labels) if feed.labels else None
    times = last_due, next_due, last_file.astimezone(zone) if last_file else None
    return State(
        feed.name, feed.config_name, feed.due_by, labels, *times, lack, is_missing, feed.status != ACTIVE, word
    )


def _paused(feed: Feed, zone: tzinfo) -> str:
    since = f" since {short_time(feed.paused_since.astimezone(zone))} by {feed.paused_by}" if feed.paused_since else ""
    return f"paused{since}{f': {feed.paused_reason}' if feed.paused_reason else ''}"


class Learned(NamedTuple):
    """The labels that came each time, those that came at times (with how often), and the first and last due time."""

    always: list[str]
    at_times: dict[str, int]
    first: datetime
    last: datetime


def learn(cursor: "Cursor", feed: Feed, times: int, now: datetime, calendar: Calendar) -> Learned:
    """Return which labels came at the last `times` due times at which anything came.

    Raises WrongCall if something came less often.
    """
    if feed.config_id is None:
        raise WrongCall(
            f"feed {feed.name}: what only arrives has no labels; set its config_id to the import that loads it"
        )
    counts: Counter[str] = Counter()
    found: list[datetime] = []
    for slot in reversed(calendar.due(feed, Window(now - _YEAR, now - feed.grace))[-3 * times :]):
        look = calendar.look(feed, slot)
        # Without a date, what came later belongs to the next time.
        (came,) = arrivals(cursor, [look], now if look.day else slot + feed.grace)
        if came and len(found) < times:
            found.append(slot.astimezone(calendar.zone))
            counts.update(came.keys())
    if len(found) < times:
        raise WrongCall(
            f"feed {feed.name}: something came at only {len(found)} of its last due times; "
            f"give a smaller --times than {times}, or look at etl imports {feed.config_name}"
        )
    at_times = {label: count for label, count in sorted(counts.items()) if count < times}
    return Learned(sorted(counts.keys() - at_times.keys()), at_times, found[-1], found[0])
