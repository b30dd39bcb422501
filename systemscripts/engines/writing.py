"""Write the schedule for an engine into a directory, and say what is to be typed next."""

import logging
import re
import shlex
from pathlib import Path

from systemscripts import settings
from systemscripts.cron import cron_file, slots
from systemscripts.engines import folder, systemd
from systemscripts.engines.rows import MARK, PlannedJob, Rendered, planned_jobs
from systemscripts.engines.times import Nights

log = logging.getLogger(__name__)

TARGETS = ("cron", "systemd")
_CRON_FILE = re.compile("etl_jobs")


def write(target: str, directory: Path) -> int:
    """Write the files of all active rows; return the number of rows that the engine cannot have, each with its reason logged."""
    rows = planned_jobs()
    files, refused = _rendered(target, rows)
    ours, mark = (_CRON_FILE, cron_file.MARK) if target == "cron" else (systemd.OURS, MARK)
    changes = folder.put(directory, files, ours, mark)
    for problem in refused:
        log.error("%s", problem)
    counts = (len(changes.written), len(changes.removed), len(changes.unchanged))
    log.info(
        "%s: %d files written, %d removed, %d already right, for %d rows", directory, *counts, len(rows) - len(refused)
    )
    if changes.written or changes.removed:
        for told in _next_steps(target, directory, changes):
            log.info("%s", told)
    return len(refused)


def _rendered(target: str, rows: list[PlannedJob]) -> Rendered:
    if target == "cron":
        return Rendered({"etl_jobs": cron_file.render([row.job for row in rows], settings.cron_user())}, [])
    nights = Nights(slots.cron_zone(), settings.now())
    return systemd.units(rows, nights, settings.cron_user())


def _next_steps(target: str, directory: Path, changes: folder.Changes) -> list[str]:
    if target == "cron":
        return []
    steps = []
    if gone := [name for name in changes.removed if name.endswith(".timer")]:
        steps.append(f"stop what is gone: sudo systemctl stop {' '.join(gone)}")
    where = shlex.quote(str(directory))
    if directory != Path("/etc/systemd/system"):
        steps.append(f"copy the units: sudo cp {where}/etl-* /etc/systemd/system/")
    start = f"sudo systemctl daemon-reload && sudo systemctl enable {systemd.TARGET} && sudo systemctl restart {systemd.TARGET}"
    return [*steps, f"start the timers: {start}"]
