"""The machines that have lately run something, and the rows of the schedule that run on none of them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from systemscripts import patterns
from systemscripts.cron.cron_file import ScheduledJob

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor

LATELY = timedelta(days=7)


def seen_lately(cursor: "Cursor", now: datetime) -> list[str]:
    """Return the names of the machines that began a run within the last days."""
    cursor.execute(
        "SELECT DISTINCT host FROM dba.tjobrun WHERE started_at > %s AND host IS NOT NULL ORDER BY host",
        (now - LATELY,),
    )
    return [host for (host,) in cursor.fetchall()]


def on_none(job: ScheduledJob, hosts: Sequence[str]) -> str:
    """Return a sentence if the row runs on none of these machines, "" if it does, or if its pattern cannot be used."""
    try:
        if not job.host_pattern or any(patterns.runs_on(job.host_pattern, host) for host in hosts):
            return ""
    except patterns.BadPattern:  # `cron_line` says so
        return ""
    told = f"its host_pattern {job.host_pattern!r} fits no machine that ran anything in the last {LATELY.days} days"
    return f"{told} ({', '.join(hosts) or 'none did'})"
