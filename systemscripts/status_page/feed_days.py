"""What came of each feed on each of the last business days: a grid of cells."""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from systemscripts.errors import JobError
from systemscripts.schedule.missing import listed
from systemscripts.schedule.promises import ANY, Arrivals, Calendar, Feed, Look, arrivals, feeds_of, lacking
from systemscripts.schedule.slots import Window
from systemscripts.schedule.timetable import ACTIVE
from systemscripts.status_page.words import natural, number

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor

DAYS = 30  # business days
MOST_A_DAY = 24  # due times of a feed
# What can become of a feed on a day, the worst first; "" stands for a day on which it is not due.
MISSING, HELD, LATE, AWAITED, CAME, UNWATCHED = "missing", "held", "late", "not yet", "came", "not watched"
STATES = (MISSING, HELD, LATE, AWAITED, CAME, UNWATCHED)
_WRONG = (MISSING, HELD, LATE, AWAITED)

# By the hour, because the days begin in the machine's zone and not in the session's.
_IMPORTS = """
    SELECT c.config_id, c.config_name, f.hour, f.count FROM dba.timportconfig AS c
    LEFT JOIN (SELECT config_id, date_trunc('hour', created_at) AS hour, count(*) FROM dba.timportfile
               WHERE created_at >= %(since)s AND status IN ('Loaded', 'Empty') GROUP BY 1, 2) AS f USING (config_id)
    WHERE c.is_active = B'1' AND c.config_id <> ALL (%(of_feeds)s) ORDER BY c.config_name, c.config_id
"""
_REFUSED = """
    SELECT DISTINCT ON (config_id, date_trunc('hour', created_at)) config_id, created_at, file_name, error FROM dba.timportfile
    WHERE created_at >= %(since)s AND status = 'Failed'
    ORDER BY config_id, date_trunc('hour', created_at), importfileid DESC
"""
_DAY = timedelta(days=1)


class Cell(NamedTuple):
    """A feed on a day: the worst of what became of its due times, in words what of it is wrong, and how many lists are due and came."""

    state: str
    told: str = ""
    due: int = 0
    came: int = 0


class FeedRow(NamedTuple):
    """A feed, or (without `due_by`) an import of which nothing is awaited; one cell for each of the days."""

    name: str
    import_name: str
    due_by: str
    cells: list[Cell]


class DayTold(NamedTuple):
    """One day with the feeds that were not as promised, or days in a row of which one sentence says all, the newest first."""

    days: list[date]
    wrong: list[tuple[FeedRow, Cell]]
    told: str


def told(days: list[date], feeds: list[FeedRow]) -> list[DayTold]:
    """Return what there is to say of the days, the newest first; days without a fault that are alike are one."""
    found: list[DayTold] = []
    for place, day in reversed(list(enumerate(days))):
        cells = [(feed, feed.cells[place]) for feed in feeds]
        wrong = [(feed, cell) for feed, cell in cells if cell.state in _WRONG]
        due = sum(cell.due for _, cell in cells)
        is_unwatched = any(feed.due_by and cell.state for feed, cell in cells)
        sentence = (
            "all lists came in time" if due else "no due time was watched yet" if is_unwatched else "no list was due"
        )
        if wrong or not found or found[-1].wrong or found[-1].told != sentence:
            found.append(DayTold([day], wrong, sentence))
        else:
            found[-1].days.append(day)
    return found


def by_trouble(feeds: list[FeedRow]) -> list[FeedRow]:
    """Return the feeds, those first of which something was wrong on the newest days, then by name and its numbers."""

    def place(feed: FeedRow) -> tuple[int, list[tuple[int, str]]]:
        troubled = (age for age, cell in enumerate(reversed(feed.cells)) if cell.state in _WRONG)
        return next(troubled, len(feed.cells)), natural(feed.name or feed.import_name)

    return sorted(feeds, key=place)


def last_days(calendar: Calendar, now: datetime) -> list[date]:
    """Return the last business days and today, the oldest first."""
    today = now.astimezone(calendar.zone).date()
    days, day = [today], today
    for _ in range(6 * DAYS):  # a calendar in which each day is free has no end
        day -= _DAY
        if not calendar.is_free(day):
            days.append(day)
        if len(days) == DAYS:
            break
    return days[::-1]


def rows(cursor: "Cursor", calendar: Calendar, days: list[date], now: datetime) -> list[FeedRow]:
    """Return each feed with its cells, then each active import that has no feed."""
    feeds = feeds_of(cursor)
    found: dict[int, defaultdict[date, list[Cell]]] = {feed.id: defaultdict(list) for feed in feeds}
    start = datetime.combine(days[0], time(), calendar.zone)
    # A due time after the last day says until when a file is late for the one before it; a week of them is enough.
    last = min(now + _DAY, datetime.combine(days[-1], time(), calendar.zone) + timedelta(days=9))
    looks: list[tuple[Look, datetime]] = []
    for feed in feeds:
        try:
            slots = _fewer(calendar.due(feed, Window(start - timedelta(seconds=1), last)), calendar)
        except JobError:  # a time that cannot be
            continue
        ends = [_end(feed, slot, after) for slot, after in pairwise(slots)] + [
            _end(feed, slot, None) for slot in slots[-1:]
        ]
        looks += zip(_looks(feed, slots, calendar), ends, strict=True)
    today = now.astimezone(calendar.zone).date()
    refused = _refused(cursor, calendar, start)
    until = [now if look.day else min(now, end) for look, end in looks]  # a list of a date may come at any time
    for (look, _), came in zip(looks, arrivals(cursor, [look for look, _ in looks], now, until), strict=True):
        day = look.slot.astimezone(calendar.zone).date()
        if day <= today:
            cell = _cell(look, came, now, calendar)
            if cell.state == MISSING and (why := refused.get((look.feed.config_id, day))):
                cell = cell._replace(told=f"{cell.told}; refused: {why}")
            found[look.feed.id][day].append(cell)
    of_feeds = [
        FeedRow(feed.name, feed.config_name, feed.due_by, [_worst(found[feed.id][day]) for day in days])
        for feed in feeds
    ]
    return of_feeds + _without_promise(
        cursor, calendar, days, {feed.config_id for feed in feeds if feed.config_id is not None}
    )


def _refused(cursor: "Cursor", calendar: Calendar, since: datetime) -> dict[tuple[int | None, date], str]:
    """Return of each import and day the last file that was refused, and why."""
    cursor.execute(_REFUSED, {"since": since})
    return {
        (config_id, moment.astimezone(calendar.zone).date()): f"{name}: {error}"
        for config_id, moment, name, error in sorted(cursor.fetchall(), key=lambda row: row[1])
    }


def _fewer(slots: list[datetime], calendar: Calendar) -> list[datetime]:
    """Return the slots, of each day the last ones at most: a feed that is due each minute says no more by all of them."""
    of_days: defaultdict[date, deque[datetime]] = defaultdict(lambda: deque(maxlen=MOST_A_DAY))
    for slot in slots:
        of_days[slot.astimezone(calendar.zone).date()].append(slot)
    return [slot for some in of_days.values() for slot in some]


def _looks(feed: Feed, slots: list[datetime], calendar: Calendar) -> Iterator[Look]:
    """Yield what is looked for at each of the slots; without a date only the first one has to be asked what was due before."""
    for place, slot in enumerate(slots):
        yield calendar.look(feed, slot) if feed.for_date or not place else Look(feed, slot, None, slots[place - 1])


def _end(feed: Feed, slot: datetime, after: datetime | None) -> datetime:
    """Return until when a file without a date is late for a due time; then it is early for the next one."""
    return max(slot + feed.grace, slot + (after - slot) / 2 if after else slot + _DAY)


def _cell(look: Look, came: Arrivals, now: datetime, calendar: Calendar) -> Cell:
    feed, until = look.feed, look.slot + look.feed.grace
    lack = lacking(feed.awaited, came)
    due = len(feed.awaited)
    shown = f"{look.slot.astimezone(calendar.zone):%H:%M}"
    if not feed.since < look.slot or feed.status != ACTIVE:
        return Cell(UNWATCHED if lack else CAME, "" if lack else f"due {shown}")
    if lack:
        of_all = f" (missing: {len(lack)} of {due} lists)" if due > 1 else ""
        what = "no file" if lack[0] == ANY else f"{listed(lack)}{of_all}"
        state = AWAITED if now < until else MISSING
        return Cell(state, f"{what}, due {shown}", due, due - len(lack))
    awaited = {label: came[label] for label in (feed.labels or came)}
    if held := [label for label, arrival in awaited.items() if arrival.is_held]:
        return Cell(HELD, f"{listed(held)}, due {shown}", due, due)
    if late := [(label, arrival.first) for label, arrival in awaited.items() if arrival.first > until]:
        last = max(moment for _, moment in late).astimezone(calendar.zone)
        return Cell(LATE, f"{listed([label for label, _ in late])} at {last:%a %H:%M}, due {shown}", due, due)
    return Cell(CAME, f"due {shown}", due, due)


def _worst(cells: Iterable[Cell]) -> Cell:
    """Return one cell for all due times of a day."""
    found = sorted(cells, key=lambda cell: STATES.index(cell.state))
    if not found:
        return Cell("")
    told = "; ".join(cell.told for cell in found if cell.state == found[0].state)
    return Cell(found[0].state, told, sum(cell.due for cell in found), sum(cell.came for cell in found))


def _without_promise(cursor: "Cursor", calendar: Calendar, days: list[date], of_feeds: set[int]) -> list[FeedRow]:
    start = datetime.combine(days[0], time(), calendar.zone)
    cursor.execute(_IMPORTS, {"since": start, "of_feeds": list(of_feeds)})
    names: dict[int, str] = {}
    counts: defaultdict[int, Counter[date]] = defaultdict(Counter)
    for config_id, name, hour, count in cursor.fetchall():
        names[config_id] = name
        if hour is not None:
            counts[config_id][hour.astimezone(calendar.zone).date()] += count
    return [
        FeedRow(
            "",
            name,
            "",
            [Cell(CAME, number(counts[config][day], "file")) if counts[config][day] else Cell("") for day in days],
        )
        for config, name in names.items()
    ]
