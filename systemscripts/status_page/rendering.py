"""From contents to one HTML file that needs nothing else; its templates, style and script lie beside this module."""

import base64
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from systemscripts import job_catalog, settings
from systemscripts.status_page import feed_days, history, timeline, words

# A page that is older says so by itself: two builds did not come.
STALE_MINUTES = 40
MOST_ALIKE = 4  # things of one kind; more of them are folded
MOST_MILD = 2  # the same, of what has not failed
MOST_THINGS = 50  # of one kind
MOST_UNFOLDED = 12  # rows of a list that a phone shows at once; the others are folded
DAYS_UNFOLDED = 5
MOST_UNFILTERED = 10  # rows of a table that are read without a search
_HERE = Path(__file__).parent


def render(template: str, shown: Mapping[str, Any]) -> str:
    """Return the page; `shown` has what the template names, and the time (`now`) and zone (`zone`) of the page."""
    import hashlib

    # Names, reasons and lines of files are hostile: all of them are escaped, and the page runs no script but its own.
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        day=lambda day, form: f"{day:{form}}",
        line=words.line,
        size=words.size,
        span=words.span,
        number=words.number,
        polyline=words.polyline,
        tail=words.tail,
    )
    script, zone = (_HERE / "page.js").read_text(), shown["zone"]

    def local(moment: datetime | None, form: str = "%a %d %b %H:%M") -> str:
        return f"{moment.astimezone(zone):{form}}" if moment else ""

    return environment.get_template(template).render(
        **shown,
        local=local,
        page_command=job_catalog.typed("build_status_page.py", "NAME"),
        zip=zip,
        host=settings.host_name(),
        version=(job_catalog.code_version() or "unknown")[:12],
        script=script,
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style=(_HERE / "page.css").read_text(),
        stale_minutes=STALE_MINUTES,
        most_alike=MOST_ALIKE,
        most_mild=MOST_MILD,
        most_things=MOST_THINGS,
        most_unfolded=MOST_UNFOLDED,
        days_unfolded=DAYS_UNFOLDED,
        most_unfiltered=MOST_UNFILTERED,
        most_runs=history.MOST_RUNS,
        most_files=history.MOST_FILES,
        states=timeline.STATES,
        feed_states=feed_days.STATES,
    )
