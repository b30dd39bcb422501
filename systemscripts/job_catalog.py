"""The list of jobs: the scripts in jobscripts/ and the commands in systemscripts/."""

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
# The verbs of jobscripts/etl that stand for one job.
_VERBS = {
    "check_schedule.py": "check",
    "daily_backup.sh": "backup",
    "doctor.py": "doctor",
    "run_import_job.py": "import",
    "send_reports.py": "report",
    "show_imports.py": "imports",
}
# Waits at the gate, as job_runner does for a Python job, then runs the script in its place.
_BASH_GATE = (
    'read -r -u "$ETL_GATE_FD" ETL_SCHEDULED_AT && export ETL_SCHEDULED_AT && '
    'eval "exec $ETL_GATE_FD<&-" && unset ETL_GATE_FD && exec /bin/bash "$@"'
)

# The last lines of a module that is also a command.
_RUNS_AS_JOB = "\n    run_job(main"
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
        inside = wanted.parent == Path() or wanted.resolve().parent == room.resolve()
        if inside and script.is_file() and _is_job(script):
            return script
        if inside and script.is_file() and script.suffix == ".py" and room.name == "jobscripts":
            raise WrongCall(f"{script} is not a job: it does not end with a line that has {_RUNS_AS_JOB}")
    import difflib

    alike = difflib.get_close_matches(wanted.name, [script.name for script in jobs()], n=1)
    meant = f"did you mean {alike[0]}? " if alike else ""
    raise WrongCall(f"there is no job {name!r}; {meant}Without arguments {DOOR} lists the jobs")


def jobs() -> list[Path]:
    """Return every script that can be run, by name."""
    scripts = [path for room in rooms() for path in room.iterdir() if path.is_file() and _is_job(path)]
    return sorted(scripts, key=lambda path: path.name)


def works_without_database(script: Path) -> bool:
    """Return whether the job can work while the database is down, because it reports that."""
    return _WORKS_WITHOUT_DATABASE in script.read_text(encoding="utf-8")


def _is_job(script: Path) -> bool:
    """Return whether the file is a job, and not the door or a module of systemscripts without a command."""
    if script.suffix == ".py":
        return _RUNS_AS_JOB in script.read_text(encoding="utf-8")
    if script.suffix != ".sh" or script.name == DOOR:
        return False
    return not script.read_text(encoding="utf-8", errors="replace").startswith(_IS_SOURCED)


def listing() -> list[str]:
    """Return a line a job: its name and the first sentence of its documentation."""
    width = max(len(path.name) for path in jobs())
    return [f"{path.name:<{width}}  {documentation(path).splitlines()[0]}" for path in jobs()]


def documentation(script: Path) -> str:
    """Return a Python script's docstring, or a shell script's header comment."""
    source = script.read_text(encoding="utf-8")
    if script.suffix == ".py":
        import ast

        return ast.get_docstring(ast.parse(source)) or "(no documentation)"
    header: list[str] = []
    for line in source.splitlines()[1:]:
        if not line.startswith("#"):
            break
        header.append(line[2:])
    return "\n".join(header).strip() or "(no documentation)"


def show_help(script: Path, arguments: list[str]) -> int:
    """Print the help of the script, or of the sub-command that the arguments name; return the exit status."""
    if script.suffix == ".sh":
        say(*documentation(script).split("\n"))
        return 0
    return subprocess.run([sys.executable, "-P", str(script), *arguments], check=False).returncode


def command(script: Path, arguments: list[str]) -> list[str]:
    """Return the arguments that run the script after its gate is opened (see child_process).

    -P keeps the script's own folder off Python's path.
    """
    if script.suffix == ".sh":
        return ["/bin/bash", "-c", _BASH_GATE, "bash", str(script), *arguments]
    return [sys.executable, "-P", str(script), *arguments]


def typed(script: str, *arguments: str) -> str:
    """Return what a person types to run a job: the short command if `etl` is on the PATH."""
    if settings.has_short_command():
        verb = [_VERBS[script]] if script in _VERBS else ["run", script]
        return shlex.join(["etl", *verb, *arguments])
    return shlex.join(["bash", f"{settings.project_dir()}/jobscripts/{DOOR}", script, *arguments])


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
