"""The settings that a job has when cron starts it, and those that only this terminal has.

Cron starts a job with an almost empty environment; env.sh then reads secrets.env and site.env. What somebody has set in
a terminal alone is not among that: what was tried by hand works, and under cron the job works elsewhere.
"""

import os
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from systemscripts import settings
from systemscripts.user_utils import home_directory

_SETTING = re.compile("(ETL|SMTP|MEETMAX|GMAIL)_[A-Z0-9_]+|PG[A-Z0-9_]+")
SESSIONS = Path("/etc/environment")
# They belong to one run, or say where the settings are.
_OTHER = {
    "ETL_RUN_UUID", "ETL_SCHEDULED_AT", "ETL_GATE_FD", "ETL_TERMINAL", "ETL_PRINTS_TO_TERMINAL", "ETL_CLOCK",
    "ETL_PROJECT", "ETL_SITE_FILE", "ETL_SECRETS_FILE",
}  # fmt: skip


class OnlyHere(NamedTuple):
    """A setting that only this terminal has, and what to type."""

    name: str
    told: str
    cure: str


def by_cron(**more: str) -> dict[str, str]:
    """Return the environment of a job that cron starts, as far as this user may read it; {} if env.sh refuses a file."""
    program = ["/bin/bash", "-c", 'source "$0" && exec env -0', str(settings.project_dir() / "env.sh")]
    bare = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": home_directory()}
    found = subprocess.run(program, env={**bare, **_of_all_sessions(), **more}, capture_output=True, check=False)
    entries = os.fsdecode(found.stdout).split("\0")[:-1] if found.returncode == 0 else []
    return {name: value for name, _, value in (entry.partition("=") for entry in entries)}


def _of_all_sessions() -> dict[str, str]:
    """Return our settings in the file that PAM reads for each session, cron's too (pam_env(8))."""
    try:
        lines = SESSIONS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    pairs = [line.strip().removeprefix("export ").partition("=") for line in lines]
    return {name: value.strip("\"'") for name, _, value in pairs if _SETTING.fullmatch(name)}


def only_here() -> list[OnlyHere]:
    """Return the settings of this terminal that differ from those of a job that cron starts."""
    theirs = by_cron()
    ours = {
        name: value
        for name, value in settings.child_environment().items()
        if theirs and _SETTING.fullmatch(name) and name not in _OTHER and value != theirs.get(name, "")
    }
    if "ETL_HOME" in ours:  # the directories below it follow it
        follow = by_cron(ETL_HOME=ours["ETL_HOME"])
        ours = {name: value for name, value in ours.items() if name == "ETL_HOME" or value != follow.get(name)}
    return [_only_here(name, value, theirs.get(name, "")) for name, value in sorted(ours.items())]


def _only_here(name: str, value: str, theirs: str) -> OnlyHere:
    if settings.is_secret(name, value):
        home = os.path.expanduser(f"~{settings.cron_user()}")  # noqa: PTH111 — leaves the name of a user who is not there
        file = f"{home}/.config/client_etl_workflow/secrets.env"
        return OnlyHere(
            name,
            f"{name} is set in this terminal only, and no job that cron starts has this value",
            f"write a line {name}=… into {file} (mode 600), or type: unset {name}",
        )
    return OnlyHere(
        name,
        f"{name}={value} is set in this terminal only; a job that cron starts has {theirs or 'no such setting'}",
        f"write {name}={value} into {settings.site_file()}, or type: unset {name}",
    )
