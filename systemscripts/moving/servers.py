"""The two servers of a move, by libpq's variables, and programs that work at one of them.

A process has one environment, so what is done at a server is done by a child process with that server's variables.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from systemscripts import settings
from systemscripts.db_config import BACKUP_ROLE, DATABASE, JOB_ROLE, REPORT_ROLE
from systemscripts.errors import EXIT_FAILED, JobError, TemporaryFailure, WrongCall
from systemscripts.plain_text import say

# What names the server in site.env, in the order in which it is written there.
SITE_VARIABLES = ("PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGSERVICE", "PGSSLMODE", "PGSSLROOTCERT")
# Only for the move: the administrator there, and the file with his password.
MOVE_VARIABLES = ("PGUSER", "PGPASSFILE")
_ACCEPTED = ("PGHOST", "PGPORT", "PGDATABASE", "PGSSLMODE", "PGSSLROOTCERT", *MOVE_VARIABLES)
# The jobs log in as these; a person logs in as etl_owner.
JOBS_ROLES = (JOB_ROLE, REPORT_ROLE, BACKUP_ROLE)
# What the servers have set for their everyday work does not end a comparison that takes minutes.
_PATIENT = "-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0"
_AT_SERVER = (sys.executable, "-P", "-m", "systemscripts.moving.at_server")


class Server(NamedTuple):
    """A database: its variables in site.env (none for the embedded server), and those only for the move."""

    site: dict[str, str]
    administrator: dict[str, str] = {}  # noqa: RUF012 — never changed

    @property
    def database(self) -> str:
        return self.site.get("PGDATABASE") or DATABASE

    @property
    def is_embedded(self) -> bool:
        return not self.site

    def __str__(self) -> str:
        if self.is_embedded:
            return f"{self.database} on the embedded server"
        where = self.site.get("PGSERVICE") or self.site.get("PGHOST") or self.site.get("PGHOSTADDR") or "this machine"
        return f"{self.database} on {where}{':' + self.site['PGPORT'] if self.site.get('PGPORT') else ''}"

    def environment(self, passwords: str = "", **more: str) -> dict[str, str]:
        """Return the environment of a program that works there; `passwords` is the file with the passwords."""
        # A name of an administrator alone would name another server than the embedded one.
        chosen = {} if self.is_embedded else {**self.site, **self.administrator, **more}
        chosen.setdefault("PGOPTIONS", _PATIENT)
        if passwords:
            chosen["PGPASSFILE"] = passwords
        return settings.environment_at({name: value for name, value in chosen.items() if value})


def parse(words: list[str], allowed: Iterable[str] = _ACCEPTED) -> dict[str, str]:
    """Return the variables of NAME=VALUE words.

    Raises WrongCall for a name that is not one of these, above all for a password: others see the arguments of programs.
    """
    found: dict[str, str] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if name == "PGPASSWORD":
            raise WrongCall(
                "a password is no argument, because everybody here can read it; write it into a file of mode 600, with a "
                "line HOST:PORT:DATABASE:USER:PASSWORD, and name the file: PGPASSFILE=FILE"
            )
        if not sign or name not in allowed or not value.isprintable():
            raise WrongCall(f"'{word}' is not understood; it must be NAME=VALUE with one of {', '.join(allowed)}")
        found[name] = value
    return found


def target(words: list[str], database: str) -> Server:
    """Return the server of the arguments; unless they name a database, it is called as the former one."""
    named = parse(words)
    if not named.get("PGHOST"):
        raise WrongCall("the new server has no name; give PGHOST=db.example.com, or the directory of its socket")
    site = {name: named[name] for name in SITE_VARIABLES if named.get(name)}
    site = {name: site.get(name, database) for name in SITE_VARIABLES if name in {*site, "PGDATABASE"}}
    return Server(site, {name: named[name] for name in MOVE_VARIABLES if named.get(name)})


@contextlib.contextmanager
def passwords(jobs: Path, administrator: Path | None = None, at: Iterable[Server] = ()) -> Iterator[str]:
    """Yield a path to the lines of these password files, for programs that this process starts.

    The jobs' roles at the servers come first, with the passwords of the jobs' file: the administrator's may have a line
    for any user. It lies in memory: nothing of it is left on a disk, also when this process is killed.
    """
    text = "".join(_lines_for(jobs, server) for server in at) if administrator else ""
    text += (_lines_of(administrator) if administrator else "") + _lines_of(jobs)
    handle = os.memfd_create("passwords", os.MFD_CLOEXEC)
    try:
        os.fchmod(handle, 0o600)  # libpq refuses a file that others can read
        os.write(handle, text.encode())
        yield f"/proc/{os.getpid()}/fd/{handle}"
    finally:
        os.close(handle)


def _lines_for(file: Path, server: Server) -> str:
    """Return a line for each of the jobs' roles that the file has a password for."""
    host = server.site.get("PGHOST", "")
    hosts = (host, "localhost") if host.startswith("/") else (host,) if host else ()
    found = {role: password_of([file], server, role) for role in JOBS_ROLES}
    fields = [
        [name, server.site.get("PGPORT") or "5432", "*", role, word]
        for role, word in found.items()
        if word
        for name in hosts
    ]
    return "".join(
        ":".join(field.replace("\\", "\\\\").replace(":", "\\:") for field in line) + "\n" for line in fields
    )


def _lines_of(file: Path) -> str:
    if not file.is_file():  # nobody waits for a pipe that somebody has put there
        return ""
    content = settings.secret_file("PGPASSFILE", file)
    return f"{content}\n" if content else ""


def password_of(files: Iterable[Path], server: Server, role: str, *, is_named: bool = False) -> str:
    """Return the password of a role in these files, as libpq finds it; "" if there is none.

    With `is_named` a line for any user does not count: it may be the administrator's.
    """
    host = server.site.get("PGHOST", "")
    # libpq calls only its usual socket localhost.
    hosts = ("*", host, "localhost") if host.startswith("/") else ("*", host)
    wanted = (
        hosts,
        ("*", server.site.get("PGPORT") or "5432"),
        ("*", server.database),
        (role,) if is_named else ("*", role),
    )
    for file in files:
        for line in _lines_of(file).splitlines():
            fields = _fields(line)
            if len(fields) == 5 and all(have in want for have, want in zip(fields, wanted, strict=False)):
                settings.conceal(fields[4])
                return fields[4]
    return ""


def _fields(line: str) -> list[str]:
    r"""Return the fields of a line, in which a backslash stands before a colon or a backslash that is part of a field.

    >>> _fields(r"db:5432:*:etl_user:a\:b")
    ['db', '5432', '*', 'etl_user', 'a:b']
    """
    if line.startswith("#"):
        return []
    fields, is_escaped = [""], False
    for sign in line:
        if is_escaped or sign not in ":\\":
            fields[-1] += sign
            is_escaped = False
        elif sign == "\\":
            is_escaped = True
        elif len(fields) < 5:
            fields.append("")
        else:
            fields[-1] += sign
    return fields


def start(
    environment: dict[str, str], *arguments: str, output: IO[Any] | int = subprocess.PIPE
) -> "subprocess.Popen[str]":
    """Start a command of at_server there."""
    return subprocess.Popen(
        [*_AT_SERVER, *arguments],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
    )


def ask(environment: dict[str, str], *arguments: str, told: Any = None) -> Any:
    """Run a command of at_server there, which gets `told` as JSON, and return its answer."""
    process = start(environment, *arguments)
    answer, errors = process.communicate(json.dumps(told))
    settle(process, errors)
    return json.loads(answer) if answer else None


def settle(process: "subprocess.Popen[str]", errors: str) -> None:
    """Pass on what a command had to say; raise its last sentence if it failed."""
    lines = [line.removeprefix("at_server: ") for line in errors.splitlines() if line.strip()]
    last = lines.pop() if process.returncode != 0 and lines else ""
    if lines:
        say(*(f"  {line}" for line in lines), to=sys.stderr)
    if process.returncode == TemporaryFailure.exit_status:
        raise TemporaryFailure(last)
    if process.returncode != 0:
        raise JobError(last or f"a step was killed (status {process.returncode or EXIT_FAILED})")
