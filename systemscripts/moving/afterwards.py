"""What follows a switch of the server: which runs could not begin meanwhile, and what the doctor says."""

import json
import shlex
import subprocess
from datetime import datetime
from typing import Any

from systemscripts import settings, whole_files
from systemscripts.log_sinks import spool
from systemscripts.plain_text import say

AT_MOST = 10
LONGEST = 1 << 20  # bytes of a file, which belongs to the jobs' user


def tell_missed(began: datetime) -> None:
    """Name the runs that were refused since the fence was raised; their rows wait in the spool, for the next run to load them."""
    runs = [
        run
        for run in _spooled()
        if (run.get("started_at") or "") and datetime.fromisoformat(run["started_at"]) >= began
    ]
    for run in runs[:AT_MOST]:
        slot = run.get("scheduled_at")
        due = f", due {datetime.fromisoformat(slot).astimezone():%Y-%m-%d %H:%M}" if slot else ""
        words = shlex.join([run["job"], *run["arguments"]])
        say(f"could not begin meanwhile: {words}{due}; to run it now, type: etl run {words}")
    if len(runs) > AT_MOST:
        say(f"and {len(runs) - AT_MOST} more; etl runs lists them")


def _spooled() -> list[dict[str, Any]]:
    found = []
    try:
        for file in sorted(spool.spool_dir().glob("*.jsonl")):
            with open(whole_files.open_plain(file), "rb") as stream:
                lines = [json.loads(line) for line in stream.read(LONGEST).splitlines()]
            found += [line["run"] for line in lines if "run" in line]
    except (whole_files.NotPlain, OSError, ValueError, KeyError, TypeError):
        pass  # another run loads them at this moment, or a file is damaged, which that run will say
    return found


def run_doctor() -> None:
    """Let the doctor look, as cron would start it: by site.env alone."""
    say("the doctor looks:")
    door = settings.project_dir() / "jobscripts" / "run_python_etl_script.sh"
    result = subprocess.run(["/bin/bash", str(door), "doctor.py"], env=settings.environment_at({}), check=False)
    if result.returncode != 0:
        say("the doctor has found something (above); the switch is done all the same")
