"""After a failed run: the status page is built anew, so that it shows the failure at once.

The schedule says whether there is a page: by an active row with the job that builds it.
"""

import subprocess
import sys
from typing import TYPE_CHECKING

from systemscripts import log_utils, settings
from systemscripts.runs.policy import ACTIVE

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

PAGE_JOB = "build_status_page.py"
LONGEST_BUILD_S = 120

# A page of which a build has not ended may lack this failure; the next build has it. Many jobs may fail in one minute.
_PAGE = """
    SELECT schedulerid FROM dba.tscheduler
    WHERE scriptpath ~ %(name)s AND datastatusid = %(active)s AND coalesce(scriptargs, '') = ''
      AND NOT EXISTS (SELECT FROM dba.tjobrun WHERE job = %(job)s AND ended_at IS NULL)
    ORDER BY schedulerid LIMIT 1
"""


def page_of_schedule(connection: "Connection") -> int | None:
    """Return the row of the schedule that builds the page; None if there is none, or if it is being built."""
    with connection.cursor() as cursor:
        cursor.execute(_PAGE, {"name": f"(^|/){PAGE_JOB}$".replace(".", r"\."), "active": ACTIVE, "job": PAGE_JOB})
        row = cursor.fetchone()
    return row[0] if row else None


def build_page(schedulerid: int, run_uuid: str) -> None:
    """Build the page as a run of its own; its failure is its own row, and changes nothing here."""
    command = [sys.executable, "-P", "-m", "systemscripts.runs.door", "--task", str(schedulerid), PAGE_JOB]
    environment = settings.child_environment(ETL_RUN_UUID=run_uuid, ETL_SCHEDULED_AT="")
    nothing = subprocess.DEVNULL
    try:
        subprocess.run(
            command,
            env=environment,
            stdin=nothing,
            stdout=nothing,
            stderr=nothing,
            timeout=LONGEST_BUILD_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        log_utils.complain(f"the status page was not built after this failure: {problem}")
