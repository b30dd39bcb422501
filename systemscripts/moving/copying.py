"""The dump of the former database, and its restore into the new one, where no administrator runs what jobs have left."""

import contextlib
import re
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from systemscripts import db_config
from systemscripts.backups import restore_plan
from systemscripts.backups.restore_plan import Step
from systemscripts.db_config import ADMINISTRATOR_ROLE
from systemscripts.errors import JobError, TemporaryFailure
from systemscripts.moving import site_file
from systemscripts.moving.servers import Server
from systemscripts.plain_text import on_one_line, say

# Since 17 there is the right MAINTAIN, and a setting with which dumps begin.
MAINTAIN_SINCE = 170_000
_TIMEOUT = b"SET transaction_timeout = 0;"
_GRANT = re.compile(rb"^((?:ALTER DEFAULT PRIVILEGES [^;]*? )?(?:GRANT|REVOKE) (?:GRANT OPTION FOR )?)([A-Z,]+)( ON )")
_RIGHTS = ("ACL ", "DEFAULT ACL ")
# They come after the rights, as pg_restore has it.
_LAST = ("EVENT TRIGGER ", "COMMENT - EVENT TRIGGER ", "MATERIALIZED VIEW DATA ")
_TOLD = re.compile(r"^psql:<stdin>:\d+: ")
_OF_EVENTS = re.compile(r"EVENT TRIGGER |COMMENT \S+ EVENT TRIGGER ")


class Part(NamedTuple):
    """Entries of the dump that one role restores together."""

    role: str
    entries: list[str]
    are_rights: bool


def dump(program: str, former: Server, passwords: str, file: Path) -> None:
    """Dump the database, as the role of the backup; raises JobError with what to do if the disk is full."""
    environment = former.environment(passwords, PGUSER="")
    command = [sys.executable, "-P", "-m", "systemscripts.moving.dumping", program, str(file)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode == 0:
        return
    told = _last_line(result.stderr)
    if "No space left" in result.stderr or "could not write" in result.stderr:
        raise JobError(
            f"the dump does not fit on the disk of {file.parent} ({told}); free some space, or name a directory on another "
            "disk: TMPDIR=/mnt/disk bash onboarding/sh/move_database.sh …"
        )
    raise JobError(f"the dump failed, as the nightly backup would, which is made by the same role: {told}")


def restore(
    file: Path, to: Server, passwords: str, *, version: int, is_superuser: bool, roles: list[dict[str, Any]]
) -> None:
    """Restore the dump into the empty database; raises JobError with the statement that the new server refuses."""
    listing = subprocess.run(
        [db_config.program("pg_restore"), "--list", "--verbose", file], capture_output=True, text=True, check=False
    )
    if listing.returncode != 0:
        raise JobError(f"the dump cannot be read: {_last_line(listing.stderr)}")
    lines = listing.stdout.splitlines()
    if not is_superuser:
        lines = list(_without_event_triggers(lines))
    steps, left_out, foreign = restore_plan.plan(lines, roles)
    if left_out:
        raise JobError(
            f"{len(left_out)} objects need something that belongs to the jobs, and an administrator must not run that: "
            f"{on_one_line('; '.join(left_out[:5]))}; drop them or give them to another owner, then start the move again"
        )
    if foreign:
        raise JobError(
            f"{len(foreign)} objects need code of a role that may do less than an administrator, who must not run that: "
            f"{on_one_line('; '.join(foreign[:5]))}; give the functions that they call to another owner, if you trust them: "
            "ALTER FUNCTION … OWNER TO etl_owner, then start the move again"
        )
    told = dict(line.partition("; ")[::2] for line in lines if not line.startswith(";"))
    for number, part in enumerate(_parts(steps, told, splits=version < MAINTAIN_SINCE)):
        chosen = file.with_name(f"{number:04}.list")
        chosen.write_text("".join(f"{entry};\n" for entry in part.entries))
        _restore_part(file, chosen, part, to, passwords, version)


def _without_event_triggers(lines: Iterable[str]) -> Iterator[str]:
    """Leave out what only a superuser can make; the set-up leaves it out there too."""
    for line in lines:
        entry = line.partition("; ")[2].split(" ", 2)[-1]
        if not _OF_EVENTS.match(entry):
            yield line


def _parts(steps: list[Step], told: dict[str, str], *, splits: bool) -> Iterator[Part]:
    """Yield the steps; for a server that does not know all rights, with the rights apart, whose statements are then changed."""
    for step in steps:
        if not splits:
            yield Part(step.role, step.entries, False)
            continue
        kinds = {entry: told[entry].split(" ", 2)[-1] for entry in step.entries}
        rights = [entry for entry in step.entries if kinds[entry].startswith(_RIGHTS)]
        last = [entry for entry in step.entries if kinds[entry].startswith(_LAST)]
        first = [entry for entry in step.entries if entry not in {*rights, *last}]
        yield from (Part(step.role, entries, entries is rights) for entries in (first, rights, last) if entries)


def _restore_part(file: Path, chosen: Path, part: Part, to: Server, passwords: str, version: int) -> None:
    read = [str(db_config.program("pg_restore")), f"--use-list={chosen}", "--file=-", str(file)]
    write = [
        *(sys.executable, "-P", "-m", "systemscripts.db_config", "run", "--as", part.role, "psql"),
        *("-X", "-q", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=terse", "--no-password"),
        # Without it a cable that is cut would let the jobs wait for a quarter of an hour.
        f"--dbname={db_config.KEEPALIVES_OF_PSQL}",
    ]
    # What the restore does is no entry of the DDL log that it restores.
    more = {"PGOPTIONS": "-c etl.setup=on -c default_transaction_read_only=off -c statement_timeout=0"}
    if part.role != ADMINISTRATOR_ROLE:
        more["PGUSER"] = part.role
    with (
        subprocess.Popen(read, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reading,
        subprocess.Popen(
            write,
            env=to.environment(passwords, **more),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as writing,
    ):
        assert reading.stdout is not None
        assert writing.stdin is not None
        feeding = threading.Thread(target=_feed, args=(reading.stdout, writing.stdin, part, version), daemon=True)
        feeding.start()
        assert writing.stderr is not None
        try:
            told = writing.stderr.read().decode(errors="replace")
        except BaseException:  # somebody stops the move; psql may wait for a server that is gone
            reading.kill()
            writing.kill()
            raise
        finally:
            feeding.join()
        assert reading.stderr is not None
        problem = reading.stderr.read().decode(errors="replace")
    if writing.returncode != 0:
        _refuse(_TOLD.sub("", _last_error(told)), to, version)
    if reading.returncode != 0:
        raise JobError(f"the dump cannot be read: {_last_line(problem)}")


def _feed(source: IO[bytes], target: IO[bytes], part: Part, version: int) -> None:
    """Pass the statements on; psql that has stopped at an error reads no more."""
    seeks_timeout = version < MAINTAIN_SINCE
    try:
        for line in source:
            if seeks_timeout and line.rstrip() == _TIMEOUT:
                seeks_timeout = False  # once, and so not in the data
                continue
            target.write(for_older_servers(line) if part.are_rights else line)
        target.close()
    except BrokenPipeError:
        with contextlib.suppress(BrokenPipeError):
            target.close()
        for _ in source:
            pass


def for_older_servers(line: bytes) -> bytes:
    """Return a statement about rights without the right that a server before 17 does not know.

    >>> for_older_servers(b"GRANT SELECT,MAINTAIN ON TABLE dba.t TO etl_user;")
    b'GRANT SELECT ON TABLE dba.t TO etl_user;'
    >>> for_older_servers(b"GRANT MAINTAIN ON TABLE dba.t TO etl_user;")
    b''
    """
    found = _GRANT.match(line)
    if found is None or b"MAINTAIN" not in found[2].split(b","):
        return line
    rights = [word for word in found[2].split(b",") if word != b"MAINTAIN"]
    return found[1] + b",".join(rights) + line[found.end(2) :] if rights else b""


def _refuse(told: str, to: Server, version: int) -> None:
    told = on_one_line(told)
    if re.search(r"authentication failed|no password supplied|no pg_hba.conf entry", told):
        raise JobError(f"the new server does not let a role in: {told}")
    if re.search(
        r"connection|terminating|server closed|EOF detected|could not (connect|translate)|timeout expired", told
    ):
        raise TemporaryFailure(f"the new server went away ({told}); when it is back, start the move again")
    if "No space left on device" in told:
        raise JobError(f"the disk of the new server is full ({told}); free some space there, then start the move again")
    raise JobError(
        f"the new server, PostgreSQL {version // 10_000}, refuses a part of the database: {told}; if it is older than the "
        f"former one, move to one that is not. What was restored to {to} is not used, and the next try removes it"
    )


def _last_error(told: str) -> str:
    """Return the error among what psql said, with the words after its place."""
    lines = [line for line in told.splitlines() if line.strip()]
    return next(
        (line for line in lines if "ERROR" in line or "FATAL" in line or "error:" in line),
        lines[-1] if lines else "it said nothing",
    )


def _last_line(told: str) -> str:
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    return on_one_line(next((line for line in lines if "error" in line), lines[-1] if lines else "it said nothing"))


def room_for(folder: Path, size: int) -> None:
    """Warn where the dump may not fit: it is compressed, so that nobody knows."""
    free = site_file.room_below(folder)
    if free < size:
        say(
            f"warning: {folder} has {free >> 20} MiB free, and the database has {size >> 20} MiB; a dump often takes a quarter of that",
            to=sys.stderr,
        )
