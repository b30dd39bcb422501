"""Put one file on a server by rsync over ssh: it writes beside the name and renames, so that others see whole files only."""

import shlex
import subprocess

from systemscripts import settings
from systemscripts.errors import JobError, TemporaryFailure
from systemscripts.places import RsyncPlace
from systemscripts.plain_text import on_one_line

LONGEST_REASON = 300  # characters


def put(source: str, place: RsyncPlace) -> None:
    """Copy the file to the place; raises TemporaryFailure with what rsync or ssh said, JobError if there is no rsync."""
    limit = settings.sftp_timeout()
    # ssh reads a list of files, each in its own quotes; rsync parts the command at blanks, as a shell does.
    known = " ".join(f'"{file}"' for file in settings.sftp_known_hosts())
    shell = shlex.join(
        ["ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", f"ConnectTimeout={limit:.0f}",
         "-o", f"UserKnownHostsFile={known}"]
    )  # fmt: skip
    command = ["rsync", "--protect-args", "--times", f"--timeout={max(limit, 1):.0f}", "-e", shell]
    try:
        result = subprocess.run(
            [*command, "--", source, f"{place.login}:{place.path}"],
            capture_output=True, text=True, errors="replace", check=False, timeout=10 * limit, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except FileNotFoundError:
        raise JobError("rsync is not installed; type: sudo apt-get install rsync") from None
    except subprocess.TimeoutExpired:
        raise TemporaryFailure(f"rsync was not done after {10 * limit:g} s") from None
    if result.returncode:
        told = on_one_line(" ".join(result.stderr.split()))[:LONGEST_REASON]
        raise TemporaryFailure(f"rsync ended with {result.returncode}: {told or 'it said nothing'}")
