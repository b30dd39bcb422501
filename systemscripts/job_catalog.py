"""The list of jobs: the scripts in jobscripts/ and the commands in systemscripts/.

Every Python script in jobscripts/ is a job. One that ends with `run_job(main, …)` waits for its turn by itself; any
other, such as a script from an older installation, is run by job_runner once its turn has come.
"""

import contextlib
import os
import shlex
import subprocess
import sys
from pathlib import Path

from systemscripts import directory_management, settings
from systemscripts.errors import WrongCall
from systemscripts.plain_text import say

# The door itself is not a job.
DOOR = "run_python_etl_script.sh"
# Names from older installations, and the jobs that do the same.
_OTHER_NAMES = {
    "generic_import.py": "run_import_job.py",
    "gmail_inbox_processor.py": "process_inbox.py",
    "pg_backup_all.sh": "daily_backup.sh",
}
# The verbs of jobscripts/etl that stand for one job.
_VERBS = {
    "build_status_page.py": "page",
    "check_schedule.py": "check",
    "config.py": "config",
    "daily_backup.sh": "backup",
    "doctor.py": "doctor",
    "feeds.py": "feeds",
    "release_dataset.py": "release",
    "retry_files.py": "retry",
    "run_import_job.py": "import",
    "send_reports.py": "report",
    "send_weekly_letter.py": "week",
    "show_imports.py": "imports",
    "show_log.py": "log",
    "undo_dataset.py": "undo",
}
# They take, make or move files, which only the jobs' user can go on with.
_FOR_THE_JOBS_USER = {
    "daily_backup.sh", "meetmax_url_check.py", "meetmax_url_download.py", "process_inbox.py", "receive_and_import.sh",
    "restore_drill.sh", "retry_files.py", "run_download_and_import.sh", "run_import_job.py", "sftp_exchange.py",
}  # fmt: skip
# They send mail, by settings that only the jobs' user may read.
_SEND_MAIL = {"send_reports.py", "send_weekly_letter.py", "testemail.py"}
# The PATH of sudo, of cron, and of whoever has typed nothing yet.
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Waits at the gate, as job_runner does for a Python job, then runs the script in its place.
_BASH_GATE = (
    'read -r -u "$ETL_GATE_FD" ETL_SCHEDULED_AT && export ETL_SCHEDULED_AT && '
    'eval "exec $ETL_GATE_FD<&-" && unset ETL_GATE_FD && exec /bin/bash "$@"'
)

# The lines of a script that waits at the gate by itself. Both count: an older script may have a run_job of its own.
_RUNS_AS_JOB = ("from systemscripts.job_runner import run_job\n", "\n    run_job(main")
# The first words of a file of shell functions, which other scripts source.
_IS_SOURCED = "# shellcheck shell="
# A line in jobs that can work while the database is down.
_WORKS_WITHOUT_DATABASE = "\nWORKS_WITHOUT_DATABASE = True"


def rooms() -> tuple[Path, Path]:
    """Return the directories that are searched for scripts, in this order."""
    return settings.project_dir() / "jobscripts", settings.project_dir() / "systemscripts"


def find_script(name: str) -> Path:
    """Return the script of that name; a path is accepted too, if it leads into one of the rooms.

    Raises WrongCall if there is none.
    """
    wanted = Path(name)
    if len(os.fsencode(wanted.name)) > directory_management.LONGEST_NAME_BYTES:
        raise WrongCall(f"there is no job {name[:80]!r}…: the name is too long for a file")
    for room in rooms():
        script = room / wanted.name
        # The script may be a link that leads out of the room, and a link elsewhere may lead into it.
        inside = wanted.parent == Path() or room.resolve() in (wanted.parent.resolve(), wanted.resolve().parent)
        if inside and script.is_file() and _is_job(script):
            return script
    if wanted.name in _OTHER_NAMES:
        return find_script(_OTHER_NAMES[wanted.name])
    import difflib

    alike = difflib.get_close_matches(wanted.name, [script.name for script in jobs()], n=1)
    meant = f"did you mean {alike[0]}? To list the jobs" if alike else "to list the jobs"
    raise WrongCall(f"there is no job {name!r}; {meant}, type: bash {rooms()[0] / DOOR}")


def jobs() -> list[Path]:
    """Return every script that can be run, by name."""
    scripts = [path for room in rooms() for path in room.iterdir() if path.is_file() and _is_job(path)]
    return sorted(scripts, key=lambda path: path.name)


def works_without_database(script: Path) -> bool:
    """Return whether the job can work while the database is down, because it reports that."""
    return _WORKS_WITHOUT_DATABASE in _text(script)


def refuse_other_users(script: Path, arguments: list[str]) -> None:
    """Raise WrongCall if the job would leave files that the jobs' user cannot go on with, or needs settings of that user.

    With --dry-run or --preview a job only looks.
    """
    is_theirs = script.name in _FOR_THE_JOBS_USER or (script.name in _SEND_MAIL and not settings.email_address())
    only_looks = any(word.startswith(("--dry-run", "--preview")) for word in arguments)
    user = directory_management.other_user_of_the_jobs() if is_theirs and not only_looks else ""
    if user:
        raise WrongCall(f"this is for the jobs' user; type: {typed(script.name, *arguments, user=user)}")


def _is_job(script: Path) -> bool:
    """Return whether the file is a job, and not the door or a module of systemscripts without a command."""
    if script.suffix == ".py":
        return _enters_by_frame(script) or (script.parent == rooms()[0] and script.name != "__init__.py")
    if script.suffix != ".sh" or script.name == DOOR:
        return False
    return not _text(script).startswith(_IS_SOURCED)


def _enters_by_frame(script: Path) -> bool:
    """Return whether the Python script ends with run_job, which waits at the gate and knows --help."""
    text = _text(script)
    return all(line in text for line in _RUNS_AS_JOB)


def _text(script: Path) -> str:
    """Return the script's text, "" if this user may not read it: one such file must not take the list from the others."""
    try:
        return script.read_text(encoding="utf-8", errors="replace")
    except PermissionError:
        return ""


def listing() -> list[str]:
    """Return a line a job: its name and the first sentence of its documentation."""
    width = max(len(path.name) for path in jobs())
    return [f"{path.name:<{width}}  {documentation(path).splitlines()[0]}" for path in jobs()]


def documentation(script: Path) -> str:
    """Return a Python script's docstring, or a shell script's header comment."""
    return _documentation(script) or "(no documentation)"


def _documentation(script: Path) -> str:
    if script.suffix == ".py":
        return _docstring(script) or ""
    header: list[str] = []
    for line in _text(script).splitlines()[1:]:
        if not line.startswith("#"):
            break
        header.append(line[2:])
    return "\n".join(header).strip()


def _docstring(script: Path) -> str | None:
    import ast

    # From the bytes, because a script may name another encoding in its first lines.
    with contextlib.suppress(PermissionError, SyntaxError, ValueError):
        return ast.get_docstring(ast.parse(script.read_bytes()))
    return None


def _without_documentation(script: Path) -> str:
    what = "docstring" if script.suffix == ".py" else "comment at its head"
    return (
        f"{script} has no {what}, so it does not say what it does.\n"
        f"It was not started. To run it, type: {typed(script.name)}\n"
        f"Its last run: {typed('show_log.py', script.name)}"
    )


def show_help(script: Path, arguments: list[str]) -> int:
    """Print the help of the script, or of the sub-command that the arguments name; return the exit status.

    A script that does not end with run_job is not started for it: it may not know --help, and do its work.
    """
    if not _enters_by_frame(script):
        say(*(_documentation(script) or _without_documentation(script)).split("\n"))
        return 0
    return subprocess.run([sys.executable, "-P", str(script), *arguments], check=False).returncode


def command(script: Path, arguments: list[str]) -> list[str]:
    """Return the arguments that run the script after its gate is opened (see child_process).

    -P keeps the script's own folder off Python's path.
    """
    if script.suffix == ".sh":
        return ["/bin/bash", "-c", _BASH_GATE, "bash", str(script), *arguments]
    if not _enters_by_frame(script):
        return [sys.executable, "-P", "-m", "systemscripts.job_runner", str(script), *arguments]
    return [sys.executable, "-P", str(script), *arguments]


def typed(script: str, *arguments: str, user: str = "") -> str:
    """Return what a person types to run a job, as a user by sudo: the short command if `etl` is on the PATH."""
    sudo = ["sudo", "-H", "-u", user] if user else []
    if settings.has_short_command(SYSTEM_PATH if user else ""):
        verb = [_VERBS[script]] if script in _VERBS else ["run", script]
        if (script, *arguments)[:2] == ("jobs.py", "run"):  # a word of etl as well
            verb = []
        return shlex.join([*sudo, "etl", *verb, *arguments])
    return shlex.join([*sudo, "bash", f"{settings.project_dir()}/jobscripts/{DOOR}", script, *arguments])


def code_version() -> str | None:
    """Return the checkout's commit, None outside of git. It reads git's files, as starting git is as slow as a small job."""
    git = settings.project_dir() / ".git"
    try:
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head or None
        reference = head.removeprefix("ref: ")
        if (git / reference).is_file():
            return (git / reference).read_text().strip()
        packed = (git / "packed-refs").read_text().splitlines()
        return next((line.split()[0] for line in packed if line.endswith(f" {reference}")), None)
    except OSError:
        return None
