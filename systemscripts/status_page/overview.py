"""The page of everything: what ran and came today, the last 30 days, and what waits for a person."""

from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any, NamedTuple

from systemscripts import settings
from systemscripts.schedule.promises import Calendar
from systemscripts.status_page import feed_days, history, timeline, to_do
from systemscripts.status_page.feed_days import FeedRow
from systemscripts.status_page.timeline import Line
from systemscripts.status_page.to_do import ToDo
from systemscripts.status_page.words import number

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

TEMPLATE = "overview.html"
GOOD, LOOK, BAD = "good", "look", "bad"


class Verdict(NamedTuple):
    """The sentence at the top, and whether all is well (good), something waits (look), or something failed (bad)."""

    state: str
    sentence: str


def contents(connection: "Connection", now: datetime, zone: tzinfo) -> dict[str, Any]:
    """Return all that the page shows."""
    with connection, connection.cursor() as cursor:
        calendar = Calendar(cursor, now, zone)
        days = feed_days.last_days(calendar, now)
        feeds = feed_days.by_trouble(feed_days.rows(cursor, calendar, days, now))
        today = sorted(timeline.of_today(cursor, now, zone), key=lambda line: not line.is_wrong)
        shown: dict[str, Any] = {
            "days": days,
            "feeds": feeds,
            "told": feed_days.told(days, feeds),
            "today": today,
            "runs": history.failed_runs(cursor, now),
            "files": history.refused_files(cursor, now),
            "datasets": history.datasets(cursor, now),
            "database": history.database(cursor, now),
            "slow": history.slow_jobs(cursor, now),
            "drill": history.last_drill(cursor),
        }
    things = to_do.things(connection, shown["files"], now, zone)
    return {
        **shown,
        "things": to_do.by_kind(things),
        "how_many": len(things),
        # The run of an incident may be older than what the page shows.
        "anchors": {"files", *(f"run-{run['run_uuid']}" for run in shown["runs"])},
        "backups": history.last_backups(),
        "backup_dir": settings.backup_dir(),
        "verdict": verdict(today, feeds, things),
        "now": now.astimezone(zone),
        "zone": zone,
    }


def verdict(lines: list[Line], feeds: list[FeedRow], things: list[ToDo]) -> Verdict:
    begun = [line for line in lines if line.is_begun]
    wrong = [line for line in begun if line.is_wrong]
    if not lines:
        jobs = "Nothing is scheduled"
    elif not begun:
        jobs = "No job was due yet today"
    elif wrong and len(begun) == 1:
        jobs = "The one job due so far did not run well"
    elif wrong:
        jobs = f"{len(begun) - len(wrong)} of the {number(len(begun), 'job')} due so far ran well"
    else:
        jobs = "The one job that was due ran" if len(begun) == 1 else f"All {len(begun)} jobs due so far ran"
    cells = [feed.cells[-1] for feed in feeds if feed.due_by]
    due, came = sum(cell.due for cell in cells), sum(cell.came for cell in cells)
    held = sum(cell.came for cell in cells if cell.state == feed_days.HELD)
    lists = f"{came:,} of {number(due, 'list')} came{f' ({held:,} held)' if held else ''}" if due else ""
    waits = f"{number(len(things), 'thing')} {'waits' if len(things) == 1 else 'wait'} for you"
    sentence = ", ".join(part for part in (jobs, lists, waits if things else "nothing waits for you") if part)
    is_bad = bool(wrong) or any(thing.is_bad for thing in things) or any(c.state == feed_days.MISSING for c in cells)
    return Verdict(BAD if is_bad else LOOK if things or not lines else GOOD, f"{sentence}.")
