"""Make and install the file in /etc/cron.d for the jobs of the schedule.

Cron drops the whole file for one bad line, so `render` also writes all rows or none. A row is
data: its arguments reach the job unchanged, and neither the shell nor cron interprets them.
"""

import difflib
import errno
import os
import pwd
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from systemscripts import patterns, settings
from systemscripts.cron import environment
from systemscripts.cron.grammar import parse, split_words
from systemscripts.directory_management import new_file
from systemscripts.errors import JobError
from systemscripts.job_catalog import DOOR, find_script

TASK_TABLE = "dba.tscheduler"
REPORT_TABLE = "dba.treportmanager"
ROOMS = ("jobscripts", "systemscripts")

# The first words of a file that this program wrote; cron_file_writer.py has them too.
MARK = "# The schedule of Client ETL Workflow. "
HEADER = f"""\
{MARK}Do not edit: update_cron_jobs.py writes this file anew
# from the active rows of {TASK_TABLE} and {REPORT_TABLE}.
SHELL=/bin/bash
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
MAILTO=""
"""
MODE = 0o644  # cron refuses a file that its group or others can write
LONGEST_COMMAND = 998  # bytes; MAX_COMMAND in cron.h

CRON_FOLDER = Path("/etc/cron.d")
# They say where the log is, to which each line of the file writes.
IN_EACH_LINE = ("ETL_HOME", "ETL_LOGS_DIR")
# Settings that the administrator's command must contain if they differ from the defaults.
_ROOT_NEEDS = (
    *IN_EACH_LINE,
    "ETL_CRON_FILE",
    "ETL_CRON_USER",
    "PGHOST",
    "PGPORT",
    "PGDATABASE",
    "PGSERVICE",
)
_UNPRINTABLE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True)
class ScheduledJob:
    """An active row of the schedule: a task, or a report to send."""

    table: str
    row_id: int
    name: str
    frequency: str
    script: str
    arguments: str = ""
    host_pattern: str = ""

    def __str__(self) -> str:
        return f"{self.table} {self.row_id} {self.name!r}"

    @property
    def where(self) -> str:
        """On which machines it runs, "" if on any."""
        return f"only on hosts that fit {self.host_pattern!r}" if self.host_pattern else ""

    @property
    def described(self) -> str:
        """The row, and where it runs."""
        return f"{self}  ({self.where})" if self.where else str(self)


def door() -> Path:
    """Return the script that every line calls."""
    return settings.project_dir() / "jobscripts" / DOOR


def render(jobs: Iterable[ScheduledJob], user: str) -> str:
    """Return the text of the cron file.

    Raises one JobError that names every row that cannot be written, and the user if this machine has
    no such user.
    """
    blocks, problems = [HEADER], []
    if not _is_user(user):
        problems.append(
            f"there is no user {user!r} on this machine; create it, or name another: {command_for_root(ETL_CRON_USER='NAME')}"
        )
    for job in jobs:
        try:
            blocks.append(f"# {_one_line(job.name, 'its name')}\n{cron_line(job, user)}\n")
        except JobError as problem:
            problems.append(f"{job}: {problem}; to pause it until that is corrected, type: {command_to_pause(job)}")
    if problems:
        raise JobError(f"no cron file can be made of this schedule: {'; '.join(problems)}")
    return "\n".join(blocks)


def cron_line(job: ScheduledJob, user: str) -> str:
    """Return the line for one job, without line break; raises JobError if cron, the shell or the door would misread it.

    Every machine has every line, so that the file is the same on all. Whether the row runs on a machine, the door decides.
    """
    parse(job.frequency)
    patterns.runs_on(job.host_pattern, settings.host_name())
    words = ["/bin/bash", str(door()), "--due", *door_arguments(job)]
    log_file = quote(str(settings.logs_dir() / "etl_cron.log"))
    command = f"{' '.join(map(quote, words))} >> {log_file} 2>&1"
    if (length := len(command.encode())) > LONGEST_COMMAND:
        raise JobError(f"its command has {length} bytes; cron takes {LONGEST_COMMAND}")
    return f"{' '.join(split_words(job.frequency))} {user} {command}"


def door_arguments(job: ScheduledJob) -> list[str]:
    """Return the arguments for the door: the row of the schedule, the script, its arguments."""
    try:
        arguments = shlex.split(_one_line(job.arguments, "scriptargs"))
    except ValueError as error:
        raise JobError(f"scriptargs is {job.arguments!r}: {error}") from None
    script = _one_line(job.script, "scriptpath")
    if Path(script).name == DOOR:
        if not arguments:
            raise JobError(f"scriptpath is {DOOR}, and no script follows in scriptargs")
        script, *arguments = arguments
    row = "--task" if job.table == TASK_TABLE else "--report"
    return [row, str(job.row_id), _script_name(script), *arguments]


def quote(word: str) -> str:
    r"""Return the word quoted, so that first cron and then the shell read it back unchanged.

    Cron turns `\%` into `%` and, depending on its version, `\\` into `\`; an unescaped `%` ends the
    command. So no backslash may stand before another backslash or before a `%` of the word.
    """
    special = {"%": "\\%", "\\": "'\\'"}
    parts = [special.get(part) or shlex.quote(part) for part in re.split(r"([%\\])", word) if part]
    return "".join(parts) or "''"


def differences(text: str, path: Path) -> str:
    """Return a unified diff from the existing file to `text`, "" if they are equal."""
    lines = difflib.unified_diff(
        _installed(path).splitlines(keepends=True), text.splitlines(keepends=True), str(path), "the schedule's tables"
    )
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def drift(text: str, path: Path) -> str:
    """Return how the existing file differs from what `install` would write, "" if it is right."""
    if not path.exists():
        return f"{path} does not exist"
    if is_foreign(path):
        return f"{path} was not written by update_cron_jobs.py, so it is not overwritten"
    if _installed(path) != text:
        return f"{path} differs from the tables"
    state = path.stat()
    if state.st_mode & 0o777 != MODE:
        return f"{path} has mode {state.st_mode & 0o777:o}; it must be {MODE:o}"
    if os.geteuid() == 0 and state.st_uid != 0:
        return f"{path} does not belong to root"
    return ""


def install(text: str, path: Path) -> bool:
    """Put the text in place, whole or not at all; return False if it was there already.

    Raises JobError, with the command to type, if the directory cannot be written, or if somebody else wrote
    the file that is there.
    """
    if not re.fullmatch("[A-Za-z0-9_-]+", path.name):
        raise JobError(f"cron ignores a file named {path.name!r}; use letters, digits, _ and - in ETL_CRON_FILE")
    if not (told := drift(text, path)):
        return False
    if is_foreign(path):
        raise JobError(f"{told}; to take its lines over into the schedule, type: {command_to_adopt()}")
    replace(text, path)
    return True


def replace(text: str, path: Path) -> None:
    """Put the text in place of whatever is there, whole or not at all."""
    try:
        # The temporary name contains a dot, so cron ignores it while it is half written.
        with new_file(path) as stream:
            os.fchmod(stream.fileno(), MODE)
            if os.geteuid() == 0:
                os.fchown(stream.fileno(), 0, 0)
            stream.write(text.encode())
    except FileNotFoundError:
        raise JobError(f"there is no directory {path.parent}; install cron, or set ETL_CRON_FILE") from None
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM) and settings.cron_file_program().exists():
            _install_by_sudo(text, path)
            return
        what_to_do = f"; type: {command_for_root()}" if error.errno in (errno.EACCES, errno.EPERM) else ""
        raise JobError(f"{path} cannot be written ({error.strerror}){what_to_do}") from None


def _install_by_sudo(text: str, path: Path) -> None:
    """Write the file by the one program that this user may start as root."""
    import subprocess

    command = ["sudo", "-n", "--", str(settings.cron_file_program())]
    result = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if result.returncode != 0 or _installed(path) != text:
        told = " ".join(result.stderr.split()) or f"it did not write {path} but another file"
        raise JobError(f"{path} cannot be written by {shlex.join(command)}: {told}; type: {command_for_root()}")


def command_for_root(**more: str) -> str:
    """Return the command for an administrator to write the file; sudo passes only the settings that stand in it.

    What site.env says is read by every user, so it is not repeated. A place that only this terminal has is no place for
    the lines that cron runs.
    """
    known = environment.by_cron()
    if settings.cron_file().parent == CRON_FOLDER:
        known |= {name: settings.text(name) for name in IN_EACH_LINE}
    values = {name: value for name in _ROOT_NEEDS if (value := settings.text(name)) != known.get(name, "")} | more
    given = [f"{name}={value}" for name, value in values.items() if value]
    return shlex.join(["sudo", *given, "bash", str(door()), "update_cron_jobs.py"])


def command_to_pause(job: ScheduledJob) -> str:
    """Return the command that takes a row out of the schedule."""
    return typed("pause", str(job.row_id) if job.table == TASK_TABLE else f"report:{job.row_id}")


def command_to_adopt(*words: str) -> str:
    """Return the command that makes rows of a hand-written file."""
    return typed("cron", "adopt", *words)


def typed(*words: str) -> str:
    """Return a call of the command `etl`, with its path where it is not on the PATH."""
    command = ["etl"] if settings.has_short_command() else ["bash", str(door().with_name("etl"))]
    return shlex.join([*command, *words])


def is_foreign(path: Path) -> bool:
    """Return whether a file is there that update_cron_jobs.py did not write."""
    return path.exists() and not _installed(path).startswith(MARK)


def _installed(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="backslashreplace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise JobError(f"{path} cannot be read: {error.strerror}") from None


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except (KeyError, ValueError):
        return False
    return True


def _one_line(value: str, column: str) -> str:
    if bad := _UNPRINTABLE.search(value):
        raise JobError(f"{column} holds the control character {bad[0]!r}")
    return value


def _script_name(script: str) -> str:
    """Return the script's name; of a path from an older place of the installation only the last two parts count."""
    path = Path(script)
    if path.parent != Path() and path.parent.name not in ROOMS:
        raise JobError(f"the script {script!r} is neither in jobscripts/ nor in systemscripts/")
    try:
        return find_script(path.name).name
    except JobError:
        raise JobError(f"there is no script {path.name!r} in jobscripts/ or systemscripts/") from None
