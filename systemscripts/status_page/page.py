"""The page itself: one HTML file with all that it needs, built from what the database and this machine say."""

import base64
from collections.abc import Mapping
from datetime import datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import Environment, StrictUndefined

from systemscripts import db_config, job_catalog, settings
from systemscripts.schedule.promises import Calendar
from systemscripts.status_page import feed_days, history, timeline, to_do, words
from systemscripts.status_page.feed_days import FeedRow
from systemscripts.status_page.timeline import Line
from systemscripts.status_page.to_do import ToDo
from systemscripts.status_page.words import number

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

# A page that is older says so by itself: two builds did not come.
STALE_MINUTES = 40
MOST_ALIKE = 4  # things of one kind; more of them are folded
GOOD, LOOK, BAD = "good", "look", "bad"
_TEMPLATE = Path(__file__).with_name("page.html")
_SCRIPT = Path(__file__).with_name("page.js")
_STYLE = Path(__file__).with_name("page.css")


class Verdict(NamedTuple):
    """The sentence at the top, and whether all is well (good), something waits (look), or something failed (bad)."""

    state: str
    sentence: str


def build(now: datetime, zone: tzinfo) -> str:
    """Return the page as HTML."""
    with db_config.session() as connection:
        return render(contents(connection, now, zone))


def contents(connection: "Connection", now: datetime, zone: tzinfo) -> dict[str, Any]:
    """Return all that the page shows."""
    with connection, connection.cursor() as cursor:
        calendar = Calendar(cursor, now, zone)
        days = feed_days.last_days(calendar, now)
        feeds = feed_days.rows(cursor, calendar, days, now)
        today = sorted(timeline.of_today(cursor, now, zone), key=lambda line: not line.is_wrong)
        shown = {
            "days": days,
            "feeds": feeds,
            "today": today,
            "runs": history.failed_runs(cursor, now),
            "files": history.refused_files(cursor, now),
            "datasets": history.datasets(cursor, now),
            "database": history.database(cursor, now),
            "slow": history.slow_jobs(cursor, now),
        }
    things = to_do.things(connection, now, zone)
    return {
        **shown,
        "things": things,
        "backups": history.last_backups(),
        "verdict": verdict(today, feeds, things),
        "now": now.astimezone(zone),
        "zone": zone,
        "host": settings.host_name(),
        "version": (job_catalog.code_version() or "unknown")[:12],
    }


def verdict(lines: list[Line], feeds: list[FeedRow], things: list[ToDo]) -> Verdict:
    begun = [line for line in lines if line.is_begun]
    wrong = [line for line in begun if line.is_wrong]
    if not lines:
        jobs = "Nothing is scheduled"
    elif not begun:
        jobs = "No job was due yet today"
    elif wrong:
        jobs = f"{len(begun) - len(wrong)} of {number(len(begun), 'job')} ran well"
    else:
        jobs = "The one job that was due ran" if len(begun) == 1 else f"All {len(begun)} jobs that were due ran"
    cells = [feed.cells[-1] for feed in feeds if feed.due_by]
    due, came = sum(cell.due for cell in cells), sum(cell.came for cell in cells)
    lists = f"{came:,} of {number(due, 'list')} came" if due else ""
    waits = f"{number(len(things), 'thing')} {'waits' if len(things) == 1 else 'wait'} for you"
    sentence = ", ".join(part for part in (jobs, lists, waits if things else "nothing waits for you") if part)
    is_bad = bool(wrong) or any(thing.is_bad for thing in things) or any(c.state == feed_days.MISSING for c in cells)
    return Verdict(BAD if is_bad else LOOK if things or not lines else GOOD, f"{sentence}.")


def render(shown: Mapping[str, Any]) -> str:
    import hashlib

    # Names, reasons and lines of files are hostile: all of them are escaped, and the page runs no script but its own.
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(
        day=lambda day, form: f"{day:{form}}",
        line=words.line,
        size=words.size,
        span=words.span,
        number=number,
        polyline=words.polyline,
        tail=words.tail,
    )
    script, style = _SCRIPT.read_text(), _STYLE.read_text()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    zone = shown["zone"]

    def local(moment: datetime | None, form: str = "%a %d %b %H:%M") -> str:
        return f"{moment.astimezone(zone):{form}}" if moment else ""

    return environment.from_string(_TEMPLATE.read_text()).render(
        **shown,
        local=local,
        script=script,
        style=style,
        digest=digest,
        stale_minutes=STALE_MINUTES,
        most_alike=MOST_ALIKE,
        states=timeline.STATES,
        feed_states=feed_days.STATES,
    )
