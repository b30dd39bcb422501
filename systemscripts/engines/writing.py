"""Write the schedule for an engine into a directory, and say what is to be typed next."""

import logging
import re
import shlex
from pathlib import Path

from systemscripts import settings
from systemscripts.cron import cron_file, slots
from systemscripts.engines import airflow, folder, kubernetes, systemd
from systemscripts.engines.rows import MARK, PlannedJob, Rendered, planned_jobs
from systemscripts.engines.times import Nights

log = logging.getLogger(__name__)

TARGETS = ("cron", "systemd", "kubernetes", "airflow")
# For each engine the names of its files, and what stands in each of them.
_OURS = {
    "cron": (re.compile("etl_jobs"), cron_file.MARK),
    "systemd": (systemd.OURS, MARK),
    "kubernetes": (kubernetes.OURS, MARK),
    "airflow": (airflow.OURS, MARK),
}


def write(target: str, directory: Path) -> int:
    """Write the files of all active rows; return the number of rows that the engine cannot have, each with its reason logged."""
    rows = planned_jobs()
    files, refused = _rendered(target, rows)
    ours, mark = _OURS[target]
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
    zone = slots.cron_zone()
    nights = Nights(zone, settings.now())
    if target == "kubernetes":
        return kubernetes.manifests(rows, nights, zone)
    if target == "airflow":
        return airflow.dags(rows, nights, zone)
    return systemd.units(rows, nights, settings.cron_user())


def _next_steps(target: str, directory: Path, changes: folder.Changes) -> list[str]:
    where = shlex.quote(str(directory))
    if target == "cron":
        return []
    if target == "airflow":
        return [f"see the DAGs: airflow dags list; {where} must be the folder for DAGs of Airflow, or in it"]
    if target == "kubernetes":
        steps = [f"start them: kubectl apply -k {where}"]
        if gone := [name.removesuffix(".json") for name in changes.removed if name.endswith(".json")]:
            steps.append(f"take away what is gone: kubectl delete cronjob {' '.join(gone)}")
        return steps
    steps = []
    if gone := [name for name in changes.removed if name.endswith(".timer")]:
        steps.append(f"stop what is gone: sudo systemctl stop {' '.join(gone)}")
    if directory != Path("/etc/systemd/system"):
        steps.append(f"copy the units: sudo cp {where}/etl-* /etc/systemd/system/")
    start = f"sudo systemctl daemon-reload && sudo systemctl enable {systemd.TARGET} && sudo systemctl restart {systemd.TARGET}"
    return [*steps, f"start the timers: {start}"]
