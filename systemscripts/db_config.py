"""Connections to PostgreSQL for the jobs, and the command behind psql.sh, the set-up and the backups.

Without any of libpq's variables the jobs use the embedded server (embedded_postgres); with
PGHOST, PGPORT, PGDATABASE, PGUSER or PGSERVICE they use that one. libpq itself reads PGPASSFILE
and the rest. TLS is verified when the server is not on this machine.

Roles: etl_user for jobs and for looking at data, etl_report for report queries, etl_backup for the backup, etl_owner
for a person who changes the configuration; see onboarding/sql/create_roles.sql.
"""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Never

from systemscripts import embedded_postgres, settings
from systemscripts.command_line import run_command
from systemscripts.errors import TemporaryFailure, WrongCall
from systemscripts.plain_text import say

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

DATABASE = "feeds"
JOB_ROLE = "etl_user"
REPORT_ROLE = "etl_report"
OWNER_ROLE = "etl_owner"
BACKUP_ROLE = "etl_backup"
ADMINISTRATOR_ROLE = "postgres"

# Where Debian's packages have their programs, one directory for each major version.
SYSTEM_PROGRAMS = Path("/usr/lib/postgresql")
# What sslrootcert=system means here: the system's programs do not know that word before 16.
SYSTEM_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
_WORK_ON_FILES = ("pg_restore",)
_TLS_WANTED = ("require", "verify-ca", "verify-full")

CONNECT_TIMEOUT_S = 10
# The job fails if the server has no free connection, or is still starting, after these times.
PATIENCE_S = 3600.0
START_PATIENCE_S = 60.0
# The average pause between two attempts: it begins with the shortest and doubles each time.
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 8.0
# SQLSTATE 53300 and 57P03. libpq gives only the text, so a server whose lc_messages is not English is not waited for.
_FULL = ("too many clients", "too many connections", "remaining connection slots")
_STARTS = ("the database system is ", "server closed the connection unexpectedly")
# Jobs and reports use the search_path of the database. Roles with more rights must not use it: a job could have left
# a function or an operator in a schema there, and an exact match would win over PostgreSQL's own.
_FREE_TO_SEARCH = (JOB_ROLE, REPORT_ROLE)
# Their queries read catalogues and ledgers. The planner overestimates these, and compiling takes longer than reading:
# a set-up on Debian's server took 3.5 s instead of 1 s.
_PINNED = "-c search_path=pg_catalog,pg_temp -c jit=off"
# A dead peer is noticed after two minutes instead of the kernel's two hours: a server by us, and we by the server. Until the server
# has noticed, the session of a machine that lost its power keeps its locks, and no other machine can do that work.
IDLE_S, PROBE_S, PROBES = 60, 15, 4
_DEAD_MS = 1000 * (IDLE_S + PROBE_S * PROBES)
_KEEPALIVES = {
    "keepalives_idle": str(IDLE_S),
    "keepalives_interval": str(PROBE_S),
    "keepalives_count": str(PROBES),
    "tcp_user_timeout": str(_DEAD_MS),
}
_THEIR_KEEPALIVES = (
    f"-c tcp_keepalives_idle={IDLE_S} -c tcp_keepalives_interval={PROBE_S} -c tcp_keepalives_count={PROBES} "
    f"-c tcp_user_timeout={_DEAD_MS}"
)


# The same for psql's --dbname, without a name: that is in the environment, where these have no variables.
KEEPALIVES_OF_PSQL = " ".join(f"{name}={value}" for name, value in _KEEPALIVES.items())


class DatabaseUnavailable(TemporaryFailure):
    """The database cannot be reached; the same job may succeed later."""


class NoFreeConnection(DatabaseUnavailable):
    """The server runs, but has no free connection."""


def connection_parameters(role: str = JOB_ROLE) -> dict[str, str]:
    """Return libpq's keywords for a role, without those that libpq itself reads from the environment."""
    parameters = {"connect_timeout": str(CONNECT_TIMEOUT_S), "application_name": _application_name(), **_KEEPALIVES}
    if options := _session_options(role):
        parameters["options"] = options
    if not settings.names_a_server():
        return {
            **parameters,
            "host": str(embedded_postgres.socket_dir()),
            "port": "5432",
            "dbname": DATABASE,
            "user": role,
        }
    if not settings.postgres_variable("PGSERVICE"):
        if not settings.postgres_variable("PGDATABASE"):
            parameters["dbname"] = DATABASE
        if not settings.postgres_variable("PGUSER"):
            parameters["user"] = role
    if role == REPORT_ROLE:
        parameters["user"] = role
    return {**parameters, **_verified_tls()}


def connect(
    role: str = JOB_ROLE, database: str | None = None, patience: float = PATIENCE_S, *, exactly: bool = False
) -> "Connection":
    """Return a new connection for the role, starting the embedded server if that is what is used.

    `database` names another database of the same server. If the server has no free connection, connecting is
    retried for `patience` seconds; if the server is starting, for START_PATIENCE_S of them. With `exactly`
    the role is used even if PGUSER names another one.

    Raises DatabaseUnavailable with one sentence that says what was tried and what to do.
    """
    from systemscripts.driver import psycopg2

    chosen = {"dbname": database} if database is not None else {}
    if exactly:
        chosen["user"] = role
    dsn = psycopg2.extensions.make_dsn(**{**connection_parameters(role), **chosen})
    began = time.monotonic()
    for pause in pauses():
        try:
            return _connect_once(dsn)
        except psycopg2.OperationalError as error:
            told = " ".join(str(error).split()) or type(error).__name__
        is_full = _says(told, _FULL)
        limit = patience if is_full else min(patience, START_PATIENCE_S) if _says(told, _STARTS) else 0.0
        if time.monotonic() + pause > began + limit:
            raise _refused(told, is_full, limit)
        time.sleep(pause)
    raise AssertionError("there is always one more pause")


def pauses() -> Iterator[float]:
    """Yield how long to wait before each further attempt: longer each time, and at random so that waiters spread out."""
    mean = _SHORTEST_PAUSE_S
    while True:
        # os.urandom is used because importing random costs more than a connection.
        yield mean * (0.5 + os.urandom(1)[0] / 256)
        mean = min(2 * mean, _LONGEST_PAUSE_S)


@contextlib.contextmanager
def session(role: str = JOB_ROLE, patience: float = PATIENCE_S) -> "Iterator[Connection]":
    """Yield a connection that is closed at the end; what was not committed by then is rolled back."""
    connection = connect(role, patience=patience)
    try:
        yield connection
    finally:
        connection.close()


def program_environment(role: str) -> dict[str, str]:
    """Return the libpq variables with which psql or pg_dump reaches the configured database as a role."""
    chosen = {"PGOPTIONS": options} if (options := _session_options(role)) else {}
    if settings.names_a_server():
        chosen["PGDATABASE"] = settings.postgres_variable("PGDATABASE") or DATABASE
        if not settings.postgres_variable("PGSERVICE"):
            chosen["PGUSER"] = settings.postgres_variable("PGUSER") or role
        if tls := _verified_tls():
            is_of_system = tls["sslrootcert"] == "system" and SYSTEM_AUTHORITIES.exists()
            authorities = str(SYSTEM_AUTHORITIES) if is_of_system else tls["sslrootcert"]
            chosen.update(PGSSLMODE=tls["sslmode"], PGSSLROOTCERT=authorities)
        return chosen
    embedded_postgres.ensure_running()
    chosen.update(PGHOST=str(embedded_postgres.socket_dir()), PGPORT="5432", PGDATABASE=DATABASE, PGUSER=role)
    return chosen


def program(name: str) -> Path:
    """Return the path of psql, pg_dump and the like: from ETL_PG_BINDIR, or else from the embedded server (version 18).

    Those of the embedded server have no TLS. For a server that wants it they are the system's newest, if there are any.
    """
    if directory := settings.postgres_programs():
        return directory / name
    of_system = _newest_of_system(name) if _wants_tls() and name not in _WORK_ON_FILES else None
    return of_system or embedded_postgres.binary(name)


def lacks_tls() -> bool:
    """Return whether the server wants TLS, and the programs at hand have none."""
    return _wants_tls() and programs_lack_tls()


def programs_lack_tls() -> bool:
    """Return whether psql and the others are those that come along."""
    return program("psql") == embedded_postgres.binary("psql")


def dump_program(name: str, server_version: int) -> Path:
    """Return pg_dump or pg_dumpall for a server of this version, such as 150020.

    Without ETL_PG_BINDIR it takes the server's own programs, if Debian's packages have installed them. A newer
    pg_dump does not know what a later minor release of an older server keeps in its catalogue, and would write
    that into the dump.
    """
    own = SYSTEM_PROGRAMS / str(server_version // 10_000) / "bin" / name
    return own if own.exists() and not settings.postgres_programs() else program(name)


# ---- names that jobs from older installations import ----------------------------------------

DB_PARAMS: dict[str, str]
SQLALCHEMY_DATABASE_URL: str


def _older_parameters() -> dict[str, str]:
    """Return the arguments with which psycopg2.connect reaches the database, whose embedded server then runs.

    Those that libpq itself reads from the environment are there too, because older jobs look them up.
    """
    if not settings.names_a_server():
        embedded_postgres.ensure_running()
    variables = {"host": "PGHOST", "port": "PGPORT", "dbname": "PGDATABASE", "user": "PGUSER", "password": "PGPASSWORD"}
    known = {keyword: settings.postgres_variable(name) for keyword, name in variables.items()}
    # With a service file its values would no longer count.
    own = {} if settings.postgres_variable("PGSERVICE") else {key: value for key, value in known.items() if value}
    return {**own, **connection_parameters()}


def _older_url() -> str:
    """Return the same as an address for SQLAlchemy, whose usual driver for PostgreSQL is another since 2.1."""
    import urllib.parse

    return f"postgresql+psycopg2:///?{urllib.parse.urlencode(_older_parameters(), quote_via=urllib.parse.quote)}"


_OLDER_NAMES = {"DB_PARAMS": _older_parameters, "SQLALCHEMY_DATABASE_URL": _older_url}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> dict[str, str] | str:
        """Return the value, as the environment says when it is asked for (PEP 562)."""
        if name not in _OLDER_NAMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return _OLDER_NAMES[name]()


# ---- inside --------------------------------------------------------------------------------


def _session_options(role: str) -> str:
    """Return the options for the sessions of a role, after those in PGOPTIONS; "" if the role has none.

    A service file keeps its own options where the role needs none.
    """
    host = settings.postgres_variable("PGHOST") or settings.postgres_variable("PGHOSTADDR")
    is_by_tcp = bool(host) and not host.startswith(("/", "@")) and not settings.postgres_variable("PGSERVICE")
    ours = [_THEIR_KEEPALIVES] if is_by_tcp else []
    if role not in _FREE_TO_SEARCH:
        ours.append(_PINNED)
    return " ".join([settings.postgres_variable("PGOPTIONS"), *ours]).strip() if ours else ""


def _application_name() -> str:
    # PostgreSQL cuts it at 63 bytes.
    return f"etl {Path(sys.argv[0]).name}"[:63]


def _verified_tls() -> dict[str, str]:
    """Return the TLS keywords for a server on another machine, unless PGSSLMODE decides."""
    host = settings.postgres_variable("PGHOST") or settings.postgres_variable("PGHOSTADDR")
    local = not host or host.startswith(("/", "@", "127.")) or host in ("localhost", "::1")
    if local or settings.postgres_variable("PGSSLMODE") or settings.postgres_variable("PGSERVICE"):
        return {}
    return {"sslmode": "verify-full", "sslrootcert": settings.postgres_variable("PGSSLROOTCERT") or "system"}


def _wants_tls() -> bool:
    return settings.names_a_server() and bool(_verified_tls() or settings.postgres_variable("PGSSLMODE") in _TLS_WANTED)


def _newest_of_system(name: str) -> Path | None:
    found = [folder for folder in SYSTEM_PROGRAMS.glob("[0-9]*") if (folder / "bin" / name).exists()]
    newest = max(found, key=lambda folder: int(folder.name), default=None)
    return newest / "bin" / name if newest else None


def _connect_once(dsn: str) -> "Connection":
    import psycopg2

    try:
        return psycopg2.connect(dsn)
    except psycopg2.OperationalError as error:
        if settings.names_a_server() or _says(str(error), _FULL):
            raise
    embedded_postgres.ensure_running()
    return psycopg2.connect(dsn)


def _says(told: str, words: tuple[str, ...]) -> bool:
    return any(word in told for word in words)


def _refused(told: str, is_full: bool, waited: float) -> DatabaseUnavailable:
    advice = "check that the server runs and that PGHOST, PGPORT, PGUSER and PGPASSFILE are right"
    if is_full:
        advice = (
            f"it had no free connection for {waited / 60:g} minutes: look in pg_stat_activity who uses them, "
            "then raise max_connections, or start fewer jobs at once"
        )
    elif "does not exist" in told:
        advice = "set the database up first: bash onboarding/sh/sql_setupscripts.sh"
    kind = NoFreeConnection if is_full else DatabaseUnavailable
    return kind(f"the database cannot be used: {settings.mask(told)}; {advice}")


def _run_program(arguments: list[str]) -> Never:
    """Replace this process by one of PostgreSQL's programs, pointed at the configured database."""
    role = JOB_ROLE
    if arguments[:1] == ["--as"] and len(arguments) > 1:
        role, arguments = arguments[1], arguments[2:]
    if not arguments or "/" in arguments[0]:
        raise WrongCall(USAGE)
    file = program(arguments[0])
    if not file.exists():
        raise WrongCall(f"PostgreSQL has no program {arguments[0]!r} in {file.parent}")
    # The full path as its name: pg_dumpall looks for pg_dump beside itself.
    os.execve(file, [str(file), *arguments[1:]], settings.child_environment(**program_environment(role)))


def _embedded_server(command: str) -> int:
    """Start or stop the embedded server, or print its state."""
    if command == "start" and settings.names_a_server():
        raise WrongCall(
            "PGHOST or another PostgreSQL variable names a server (see site.env); unset it to use the embedded server"
        )
    if command == "start":
        embedded_postgres.ensure_running()
    stopped = command == "stop" and embedded_postgres.stop()
    state = "stopped" if stopped else "running" if embedded_postgres.is_running() else "not running"
    say(f"embedded PostgreSQL: {state} (data in {embedded_postgres.data_dir()})")
    return 1 if command == "status" and state != "running" else 0


USAGE = "usage: python -m systemscripts.db_config run [--as ROLE] PROGRAM [arguments] | start | stop | status"


def main(arguments: list[str]) -> int:
    """Run psql, pg_dump and the like against the configured database, or start and stop the embedded server."""
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if command == "run":
        _run_program(rest)
    if command not in ("start", "stop", "status") or rest:
        raise WrongCall(USAGE)
    return _embedded_server(command)


if __name__ == "__main__":
    run_command("db_config", main)
