"""Check that the clock can be trusted before anything is deleted because of its age.

The shell jobs that delete run it as a command: python -m systemscripts.clock. It exits with 75 and one sentence
if the clock cannot be trusted.
"""

import sys
from datetime import timedelta
from typing import TYPE_CHECKING

from systemscripts import db_config, settings
from systemscripts.errors import JobError, TemporaryFailure
from systemscripts.plain_text import say

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

# The rows of runs show past times of the clock. A long weekend may have no runs; after a leap a person has some days to see it.
LONGEST_PAUSE = timedelta(days=4)
DISTRUST = timedelta(days=7)

# The runs are taken in the order in which they were written, not by their times: a wrong clock of some days ago has left
# runs in what is the future by a right one, and the next leap would seem to follow them.
_LEAP = """
    WITH moment AS (
        SELECT greatest(now(), %(now)s) AS now
    ), edge AS (
        SELECT jobrunid FROM dba.tjobrun, moment WHERE started_at < moment.now - %(distrust)s ORDER BY jobrunid DESC LIMIT 1
    ), run AS (
        SELECT jobrunid, started_at FROM dba.tjobrun, moment
        WHERE jobrunid >= coalesce((SELECT jobrunid FROM edge), 0) AND started_at <= moment.now
        UNION ALL
        SELECT NULL, moment.now FROM moment
    )
    SELECT before, started_at FROM (
        SELECT lag(started_at) OVER (ORDER BY jobrunid NULLS LAST) AS before, started_at FROM run
    ) AS pause
    WHERE started_at - before > %(longest)s ORDER BY started_at DESC LIMIT 1
"""


def require_steady(connection: "Connection") -> None:
    """Raise TemporaryFailure if this machine's or the database's clock leapt within the last days."""
    values = {"now": settings.now(), "distrust": DISTRUST, "longest": LONGEST_PAUSE}
    with connection.cursor() as cursor:
        cursor.execute(_LEAP, values)
        leap = cursor.fetchone()
    if leap is not None:
        before, after = (f"{moment.astimezone():%Y-%m-%d %H:%M}" for moment in leap)
        raise TemporaryFailure(
            f"one run was at {before} and the next at {after}: the clock may be wrong, so nothing is deleted for its age "
            f"until {leap[1].astimezone() + DISTRUST:%Y-%m-%d}; if no job ran in between, you need do nothing"
        )


def main() -> int:
    try:
        with db_config.session() as connection:
            require_steady(connection)
    except JobError as doubt:
        say(str(doubt), to=sys.stderr)
        return 75 if isinstance(doubt, TemporaryFailure) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
