"""Checks of the machine: modes of secret files, secrets in the checkout, free disk space, cron's file, sudo rights."""

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

from systemscripts import directory_management, job_catalog, settings
from systemscripts.cron import cron_file, environment, slots
from systemscripts.doctor import Check, Finding, failed, good, warning
from systemscripts.schedule import timetable
from systemscripts.user_utils import current_user

LEAST_FREE = 0.1  # of a disk
_NAMED = 5  # of many similar findings
_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/]{20}|AGE-SECRET-KEY-1[A-Z0-9]{20}")
# A secret stands near the beginning of a file.
_HEAD_BYTES = 4096
_DATA = {"venv", ".git", "pgdata", "logs", "archive", "file_watcher", "backups", "demo", "node_modules", "__pycache__"}


def user() -> Iterator[Finding]:
    """Say first if this is not the user whose rights count."""
    if theirs := directory_management.other_user_of_the_jobs():
        told = (
            f"this is {current_user()}, but the jobs run as {theirs}: what is right for one may be wrong for the other"
        )
        yield warning("user", told, job_catalog.typed("doctor.py", user=theirs))


def modes() -> Iterator[Finding]:
    """Check that others can neither read secrets nor write programs that jobs run."""
    directory = settings.user_config_dir()
    secret = [directory, *directory.rglob("*")] if directory.is_dir() else []
    open_ones = [
        path for path in secret if path.name != "known_hosts" and path.stat().st_mode & 0o077 and path != directory
    ]
    for path in open_ones:
        yield failed("modes", f"{path} can be read by others", f"chmod go= '{path}'")
    loose = list(_open_programs(settings.project_dir()))
    for path in loose[:_NAMED]:
        yield failed(
            "modes",
            f"{path} can be written by others than its owner, but root and the jobs run its contents",
            "sudo bash onboarding/sh/configure_etl_user.sh",
        )
    for path in (settings.logs_dir(), settings.archive_dir(), settings.file_watcher_dir()):
        if not os.access(path, os.W_OK | os.X_OK):
            yield failed("modes", f"{path} cannot be written by this user", "bash onboarding/sh/configure_etl_user.sh")
    if not open_ones and not loose:
        yield good("modes", "only the owner can read secrets; nobody else can write what jobs run")


def _open_programs(project: Path) -> Iterator[Path]:
    """Yield files of the checkout and venv that everybody may write, or that this user may write but does not own."""
    is_mine = project.stat().st_uid == os.geteuid()
    for folder, folders, files in os.walk(project, onerror=None):
        folders[:] = [name for name in folders if name not in _DATA - {"venv", ".git", "__pycache__"}]
        for path in (Path(folder), *(Path(folder, name) for name in files)):
            status = path.lstat()
            if not stat.S_ISLNK(status.st_mode) and (
                status.st_mode & stat.S_IWOTH or (not is_mine and os.geteuid() != 0 and os.access(path, os.W_OK))
            ):
                yield path


def secrets_in_the_tree() -> Iterator[Finding]:
    """Look for private keys and tokens among the files of the checkout."""
    found = []
    for folder, folders, files in os.walk(settings.project_dir()):
        folders[:] = [name for name in folders if name not in _DATA]
        for name in files:
            path = Path(folder, name)
            if path.is_symlink() or not path.is_file() or not os.access(path, os.R_OK):
                continue
            with path.open("rb") as stream:
                head = stream.read(_HEAD_BYTES)
            named = name in ("secrets.env", "token.json", ".pgpass") or name.startswith("gmail_token")
            if named or _PRIVATE_KEY.search(head) or (b'"refresh_token"' in head and name.endswith(".json")):
                found.append(path)
    for path in found:
        yield failed(
            "secrets",
            f"{path} looks like a secret in the checkout",
            f"move it to {settings.user_config_dir()}, and replace the secret by a new one",
        )
    if not found:
        yield good("secrets", "none in the checkout")


def disks() -> Iterator[Finding]:
    """Check the free space where data goes; one line per disk."""
    seen = set()
    for path in (settings.etl_home(), settings.logs_dir(), settings.archive_dir(), settings.backup_dir()):
        there = next(parent for parent in (path, *path.parents) if parent.exists())
        if there.stat().st_dev in seen:
            continue
        seen.add(there.stat().st_dev)
        usage = shutil.disk_usage(there)
        told = f"{there}: {usage.free / 1e9:,.1f} GB of {usage.total / 1e9:,.1f} GB are free"
        if usage.free < LEAST_FREE * usage.total:
            yield failed("disk", told, "delete what is old: weekly_cleanup_logs.sh --dry-run; see dba.vtablegrowth")
        else:
            yield good("disk", told)


def cron() -> Iterator[Finding]:
    """Check that cron's file is what the tables say, and which time zone cron uses."""
    yield good("time zone", f"cron uses {slots.cron_zone()}")
    file = settings.cron_file()
    cure = cron_file.command_for_root()
    text = cron_file.render(timetable.active_jobs(), settings.cron_user())
    if not file.exists():
        if by_others := timetable.begun_elsewhere(settings.now(), slots.cron_zone()):
            yield good("cron", f"{file} is not there, and something else starts the jobs: {by_others}")
            return
        yield failed("cron", f"{file} is not there: nothing is scheduled", cure)
    elif told := cron_file.drift(text, file):
        yield failed("cron", told, cron_file.command_to_adopt("--dry-run") if cron_file.is_foreign(file) else cure)
    else:
        yield good("cron", f"{file} is what the tables say")
    if not any(_is_cron(process) for process in Path("/proc").glob("[0-9]*")):
        yield failed("cron", "no cron daemon runs", "sudo systemctl enable --now cron")


def terminal() -> Iterator[Finding]:
    """Check that the jobs have by cron the settings that they have from this terminal."""
    found = [warning("settings", setting.told, setting.cure) for setting in environment.only_here()]
    yield from found or [good("settings", "a job that cron starts has the same as one from here")]


def _is_cron(process: Path) -> bool:
    try:
        return (process / "comm").read_text().strip() in ("cron", "crond")
    except OSError:
        return False


def sudo() -> Iterator[Finding]:
    """Check that the jobs' user may run by sudo only the exact commands that the set-up gives it."""
    program = shutil.which("sudo")
    if program is None or os.geteuid() == 0:
        yield good("sudo", "not installed" if program is None else "this is root; run doctor.py as the jobs' user")
        return
    listed = subprocess.run(
        [program, "-n", "-l"], capture_output=True, text=True, check=False, env=settings.child_environment(LC_ALL="C")
    )
    if "password is required" in listed.stderr:
        yield warning(
            "sudo",
            "sudo asks for a password before it lists the rights of this user",
            "type sudo -l, and check that it lists no rights",
        )
        return
    granted = re.findall(r"^\s+(\([^)]*\)\s+.+)$", listed.stdout, re.MULTILINE)
    more = [rule for rule in granted if not _is_exact(rule)]
    if not more:
        yield good("sudo", "; ".join(granted) or "nothing")
    elif settings.cron_user() == current_user():
        yield failed(
            "sudo",
            f"the jobs' user, and so each job, may do more than its exact commands: {'; '.join(more)}",
            "sudo bash onboarding/sh/configure_etl_user.sh",
        )
    else:
        yield warning(
            "sudo",
            f"this user may run as another one: {'; '.join(more)}",
            f"run doctor.py as the jobs' user, {settings.cron_user()}; its rights count",
        )


def _is_exact(rule: str) -> bool:
    """Return whether a rule, as `sudo -l` prints it, is one of those that the set-up scripts write for the jobs' user."""
    folder = re.escape(str(settings.cron_file_program().parent))
    write = rf'\(root\) NOPASSWD: {folder}/write_cron_file ""'
    release = rf"\((?!root\))[a-z_][a-z0-9_-]*\) NOPASSWD: {folder}/sftp_release /[A-Za-z0-9_./-]+/incoming"
    return re.fullmatch(f"{write}|{release}", rule.strip()) is not None


CHECKS: dict[str, Check] = {
    "user": user,
    "modes": modes,
    "secrets": secrets_in_the_tree,
    "disk": disks,
    "settings": terminal,
    "cron": cron,
    "sudo": sudo,
}
