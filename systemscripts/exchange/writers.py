"""Which files of a client's folder are still open for writing: asked of the client's own user, by the one command sudo allows."""

import grp
import json
import subprocess

from systemscripts import settings
from systemscripts.errors import JobError

# setup_sftp.sh gives each client a user and a group of this beginning, and its folder to that group.
CLIENTS_GROUP = "sftp_"
ANSWER_SECONDS = 60


def being_written(folder: str, gid: int) -> set[str]:
    """Let the job read what the client has hidden from it, and return the names of what the client still writes.

    Both only the owner of a file can do. A folder that was not made by setup_sftp.sh has only the
    time for which its files must have been left alone. Raises JobError where no answer can be had.
    """
    group = _group_name(gid)
    if not group.startswith(CLIENTS_GROUP):
        return set()
    command = ["sudo", "-n", "-u", group, "--", str(settings.sftp_release_program()), folder]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=ANSWER_SECONDS, cwd="/")
        return set(json.loads(told.stdout))
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        reason = " ".join(str(getattr(error, "stderr", "") or error).split())
        raise JobError(
            f"it cannot be told which files in {folder} are complete, so none was taken ({reason});"
            f" run as root: setup_sftp.sh add {group.removeprefix(CLIENTS_GROUP)} --key FILE"
        ) from None


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return ""
