"""Checks of the database: the connection of the jobs, versions for the backup, the clock, and the last backup."""

import contextlib
import getpass
import os
import pwd
import re
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from systemscripts import db_config, job_catalog, settings
from systemscripts.cloud import remotes
from systemscripts.doctor import Check, Finding, failed, good, warning
from systemscripts.errors import JobError
from systemscripts.importing import private_folder
from systemscripts.importing.files import TAKEN
from systemscripts.local_zone import NamelessZone, machine_zone
from systemscripts.places import CloudPlace, place_of

CLOCK_TOLERANCE = timedelta(seconds=5)
BACKUP_AGE = timedelta(hours=36)
DRILL_AGE = timedelta(days=10)
TAKEN_AGE = timedelta(days=1)
_STAMP = "[0-9]" * 8 + "T" + "[0-9]" * 6
_STAMP_FORMAT = "%Y%m%dT%H%M%S"
LAST_DRILL = """
    SELECT maintenancetime, details FROM dba.tmaintenancelog
    WHERE operation = 'RESTORE DRILL' AND maintenancetime <= now() + interval '1 day' ORDER BY 1 DESC LIMIT 1
"""
DRILL_IS_SCHEDULED = "SELECT FROM dba.tscheduler WHERE scriptpath LIKE '%restore_drill.sh' AND datastatusid = 1"


def reached() -> Iterator[Finding]:
    for role in (db_config.JOB_ROLE, db_config.REPORT_ROLE):
        with db_config.session(role, patience=0) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT current_setting('server_version'), current_user, rolsuper FROM pg_roles WHERE rolname = current_user"
            )
            ((version, user, is_superuser),) = cursor.fetchall()
        where = (
            "the server of PGHOST or of PostgreSQL's other variables"
            if settings.names_a_server()
            else "the embedded server"
        )
        if is_superuser:
            yield failed("database", f"{user} is a superuser", "let jobs log in as etl_user, reports as etl_report")
        else:
            yield good("database", f"{where}, PostgreSQL {version}, as {user}")
    with db_config.session(patience=0) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW server_encoding")
        ((encoding,),) = cursor.fetchall()
    if encoding != "UTF8":
        cure = "back it up, make one in UTF8 (sql_setupscripts.sh does), and bring the tables over"
        yield failed("database", f"its encoding is {encoding}: not every text can be kept", cure)


def logins() -> Iterator[Finding]:
    """Check that this user cannot log in as a role that may change the jobs' configuration."""
    if not settings.names_a_server() or settings.postgres_variable("PGUSER") or os.geteuid() == 0:
        return
    let_in = []
    for role in (db_config.ADMINISTRATOR_ROLE, db_config.OWNER_ROLE):
        with contextlib.suppress(JobError), db_config.session(role, patience=0):
            let_in.append(role)
    if let_in and settings.cron_user() == getpass.getuser():
        cure = "look in pg_hba.conf for a rule above those of install_dependencies.sh, such as trust"
        yield failed("logins", f"the jobs' user can log in as {' and as '.join(let_in)}", cure)
    elif not let_in:
        yield good("logins", "this user can log in only as the jobs' roles")


def files_left_behind() -> Iterator[Finding]:
    """Check that no file is left in the folder for files being loaded: its import may be off, or its archive unreachable."""
    with db_config.session(patience=0) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT source_directory FROM dba.timportconfig ORDER BY 1")
        taken = [Path(source, TAKEN) for (source,) in cursor.fetchall()]
    for directory in taken:
        if wrong := private_folder.trouble(directory, _jobs_user()):
            yield failed("files", f"{wrong.told}: its import stops", wrong.cure)
        can_look = directory.is_dir() and os.access(directory, os.R_OK | os.X_OK)
        left = [path for path in directory.iterdir() if not path.name.startswith(".")] if can_look else []
        old = [path.name for path in left if time.time() - path.lstat().st_ctime > TAKEN_AGE.total_seconds()]
        if old:
            told = f"{directory} has held {len(old)} files for more than a day, such as {min(old)}"
            yield warning("files", told, "run the import of these files, and read its messages")


def _jobs_user() -> int:
    """Return the number of the user that cron starts the jobs as; this one's where there is no such user."""
    try:
        return pwd.getpwnam(settings.cron_user()).pw_uid
    except KeyError:
        return os.geteuid()


def programs() -> Iterator[Finding]:
    """Compare pg_dump with the server, because an older pg_dump refuses to dump."""
    with db_config.session(patience=0) as connection:
        program, server = (
            db_config.dump_program("pg_dump", connection.server_version),
            connection.server_version // 10_000,
        )
    printed = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"(\d+)(?:\.\d+)?", printed)
    if found is None or int(found[1]) < server:
        cure = f"apt-get install postgresql-client-{server}, and set ETL_PG_BINDIR=/usr/lib/postgresql/{server}/bin"
        yield failed(
            "pg_dump", f"{printed.strip() or 'it does not run'}; the server is {server}: no backup can be made", cure
        )
    elif db_config.lacks_tls():
        cure = f"apt-get install postgresql-client-{server}, or a later one"
        yield failed("pg_dump", "the server wants TLS, and the programs that come along have none", cure)
    else:
        yield good("pg_dump", f"{printed.strip()}, server {server}")


def clocks() -> Iterator[Finding]:
    with db_config.session(patience=0) as connection, connection.cursor() as cursor:
        before = datetime.now(UTC)
        cursor.execute("SELECT clock_timestamp(), current_setting('TimeZone')")
        ((theirs, zone),) = cursor.fetchall()
    behind = theirs - before
    if abs(behind) > CLOCK_TOLERANCE:
        shown = timedelta(seconds=round(abs(behind).total_seconds()))
        which = "behind" if behind > timedelta() else "ahead of"
        yield failed(
            "clock", f"this machine's clock is {shown} {which} the database's", "sudo timedatectl set-ntp true, on both"
        )
    else:
        yield good("clock", "this machine and the database agree")
    yield _reports_zone(zone)


def _reports_zone(databases: str) -> Finding:
    try:
        ours = machine_zone()
    except NamelessZone as error:
        return failed(
            "time zone", f"no report can be made: {error}", "timedatectl set-timezone Europe/Berlin, or yours"
        )
    if ours == databases:
        return good("time zone", f"the reports' and the database's are {ours}")
    return good(
        "time zone",
        f"reports show times and make dates in this machine's, {ours}; psql.sh in the database's, {databases}",
    )


def backups() -> Iterator[Finding]:
    directory = settings.backup_dir()
    if directory.is_dir() and not os.access(directory, os.R_OK | os.X_OK):
        yield warning("backup", f"{directory} is not visible to this user", "run doctor.py as the jobs' user")
        return
    # The names come from this machine's clock; an hour may come twice in a day.
    now = settings.now().replace(tzinfo=None)
    made = backups_made(directory)
    future = sorted(folder for folder, moment in made.items() if moment > now + timedelta(days=1))
    if future:
        told = f"{future[0]} is from the future by this clock; it never counts as the newest, and is never deleted"
        yield failed(
            "backup",
            told,
            "find out which clock was wrong; delete the folder, or rename it to the day when it was made",
        )
    newest = max((folder for folder in made if folder not in future), default=None)
    cure = f"make one: {job_catalog.typed('daily_backup.sh')}; then see in etl jobs when it is due"
    if newest is None:
        yield failed("backup", f"there is none in {directory}", cure)
        return
    age = max(now - made[newest], timedelta())
    told = f"{newest}, {age.total_seconds() / 3600:.0f} hours old"
    yield good("backup", told) if age < BACKUP_AGE else failed("backup", told, cure)
    with db_config.session(patience=0) as connection, connection.cursor() as cursor:
        cursor.execute(LAST_DRILL)
        last = cursor.fetchone()
        cursor.execute(DRILL_IS_SCHEDULED)
        is_scheduled = cursor.fetchone() is not None
    cure = f"{job_catalog.typed('restore_drill.sh')}{'' if is_scheduled else ', and schedule it weekly'}"
    if last is None or datetime.now(UTC) - last[0] > DRILL_AGE:
        yield warning("restore drill", "no restore of a backup was tested lately", cure)
    elif "equal" not in last[1]:
        yield failed("restore drill", last[1], cure)
    else:
        yield good("restore drill", f"{last[0].astimezone():%Y-%m-%d}: {last[1]}")


def copies() -> Iterator[Finding]:
    """Check that the backups have their copies elsewhere, and that the remote of copies in a cloud can be used."""
    to = settings.backup_copy_to()
    directory = settings.backup_dir()
    # backups() tells of a directory that is not visible.
    if not to or not os.access(directory, os.R_OK | os.X_OK):
        return
    place = place_of(to)
    if isinstance(place, CloudPlace):
        try:
            remotes.check_file(place.remote)
        except JobError as problem:
            yield failed("backup copy", f"{problem}", f"or correct ETL_BACKUP_COPY_TO, which is {to}")
            return
    not_copied = directory / "not_copied"
    names = not_copied.read_text().split() if not_copied.is_file() else []
    if names:
        told = f"{len(names)} backups have no copy at {to}, the first is {names[0]}"
        yield failed("backup copy", told, f"make one, which copies them too: {job_catalog.typed('daily_backup.sh')}")
    else:
        yield good("backup copy", f"no backup waits for its copy at {to}")


def backups_made(directory: Path) -> dict[Path, datetime]:
    """Return the whole backups in the directory, with the time in their names, which has no zone."""
    found = [(folder, _made_at(folder)) for folder in directory.glob(_STAMP) if (folder / "SHA256SUMS").is_file()]
    return {folder: moment for folder, moment in found if moment is not None}


def _made_at(folder: Path) -> datetime | None:
    try:
        return datetime.strptime(folder.name, _STAMP_FORMAT)  # noqa: DTZ007 — by this machine's clock
    except ValueError:
        return None


CHECKS: dict[str, Check] = {
    "database": reached,
    "logins": logins,
    "files": files_left_behind,
    "pg_dump": programs,
    "clock": clocks,
    "backup": backups,
    "backup copy": copies,
}
