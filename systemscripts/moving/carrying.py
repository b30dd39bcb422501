"""The move itself, once all is known: room at the new server, the copy behind the fence, the comparison, the switch."""

import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from systemscripts import settings
from systemscripts.backups.dump import WHY_HIDDEN
from systemscripts.db_config import BACKUP_ROLE
from systemscripts.errors import JobError
from systemscripts.moving import checks, comparing, copying, servers, site_file, switching
from systemscripts.moving.fencing import fenced
from systemscripts.moving.servers import JOBS_ROLES, Server
from systemscripts.moving.site_file import Note
from systemscripts.plain_text import say


@dataclass(frozen=True)
class Move:
    """All that a move knows: the two servers, what was seen at them, the files with passwords."""

    site: Path
    former: Server
    to: Server
    note: Note
    files: list[Path]
    passwords: str
    jobs_passwords: str
    known: dict[str, Any]
    there: dict[str, Any]

    def at_former(self) -> dict[str, str]:
        return self.former.environment(self.passwords)

    def password(self, role: str) -> str:
        """Return the password that the role will have: the jobs' own, or that of a line which names the role."""
        if role in JOBS_ROLES:
            return servers.password_of(self.files[-1:], self.to, role)
        return servers.password_of(self.files, self.to, role, is_named=True)

    def at_new(self) -> dict[str, str]:
        return self.to.environment(self.passwords)


def copy_and_switch(move: Move) -> None:
    """Copy the database and switch to the copy; raises JobError, with the former one in use as before, if anything is not as it must be."""
    folder = Path(tempfile.mkdtemp(prefix=switching.FOLDER, dir=settings.temporary_directory()))
    note = move.note._replace(folder=str(folder), comment=move.known["database"]["comment"])
    move = replace(move, note=note)
    site_file.write_note(move.site, move.note)
    try:
        _make_room(move)
        began, clock = settings.now(), time.monotonic()
        with fenced(move.at_former()) as fence:
            say("nothing is written here from now on")
            copying.room_for(folder, move.known["size"])
            copying.dump(move.known["dumped_by"], move.former, move.passwords, folder / "database.dump")
            say(f"dumped: {(folder / 'database.dump').stat().st_size / 1e6:,.1f} MB")
            copying.restore(
                folder / "database.dump", move.to, move.passwords,
                version=move.there["version"], is_superuser=move.there["is_superuser"],
                roles=move.known["roles"],
            )  # fmt: skip
            settled = {
                "name": move.to.database,
                "administrators": move.known["administrators"],
                "description": move.known["database"],
            }
            servers.ask(move.at_new(), "settle", told=settled)
            say("restored")
            _compare(move, folder)
            _tell_unreadable(move)
            fence.check()
            switching.switch(move.site, move.note)
            switching.leave(move.note, move.at_former(), move.at_new())
        say(f"the jobs were kept waiting for {time.monotonic() - clock:,.0f} seconds")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    switching.finish(move.site, began)


def _make_room(move: Move) -> None:
    """Make the roles and the empty database, and see whether the jobs will be let in."""
    passwords = {role["name"]: move.password(role["name"]) for role in move.known["roles"]}
    told = {
        "database": move.to.database, "roles": move.known["roles"], "memberships": move.known["memberships"],
        "passwords": {name: password for name, password in passwords.items() if password},
    }  # fmt: skip
    for role in servers.ask(move.at_new(), "roles", told=told):
        say(f"role {role}: made, {'with the password of its line' if passwords[role] else 'without a password'}")
    database = {
        "name": move.to.database, "mark": move.note.mark, "description": move.known["database"],
        "makes_databases": move.there["makes_databases"],
    }  # fmt: skip
    say(f"database {move.to.database}: {servers.ask(move.at_new(), 'database', told=database)}")
    # With the passwords that the jobs will have, not the administrator's.
    as_the_jobs = move.to.environment(move.jobs_passwords, PGUSER="")
    if refused := servers.ask(as_the_jobs, "log-in", told=move.to.database):
        told_first = checks.plainly(refused[0].partition(": ")[2])
        what_to_do = checks.what_it_means(told_first, move.files[-1:])
        roles = ", ".join(line.partition(":")[0] for line in refused)
        is_password = "password authentication failed" in told_first
        or_there = "; or give them these passwords there, in psql: \\password ROLE" if is_password else ""
        raise JobError(
            f"the new server does not let {roles} in: {told_first}; {what_to_do}{or_there}. Then start the move again"
        )


def _compare(move: Move, folder: Path) -> None:
    roles = [role["name"] for role in move.known["roles"]]
    was, is_now = comparing.accounts(move.former, move.to, move.passwords, roles, folder)
    found = list(comparing.differences(was, is_now, move.there, move.known["version"]))
    for table in comparing.hidden(was):
        say(f"the table {table} is restored, and not compared: {WHY_HIDDEN}")
    if not found:
        rows = sum(max(int(text.split()[0]), 0) for text in was["table"].values())
        others = sum(len(names) for section, names in was.items() if section != "table")
        say(f"compared: {len(was['table'])} tables with {rows:,} rows, and {others:,} other things, are the same")
        return
    for line in comparing.sentences(found, move.former, move.to, move.passwords):
        say(f"  {line}", to=sys.stderr)
    raise JobError(
        f"the new database is not the same as the former one, in {len(found)} things (above), so the former one stays in use; if somebody "
        "changed the former one meanwhile, start the move again; what was left out (above) take away here, or let a superuser give it there"
    )


def _tell_unreadable(move: Move) -> None:
    """Say so if the backup will fail at the new server, where only a superuser may let a role read everything."""
    if not (tables := servers.ask(move.at_new(), "unreadable", told=BACKUP_ROLE)):
        return
    more = f" and {len(tables) - 1} more" if len(tables) > 1 else ""
    say(
        f"warning: {BACKUP_ROLE} may not read {tables[0]}{more} there, so that backups fail; type there, as somebody who may: "
        f"GRANT pg_read_all_data TO {BACKUP_ROLE}",
        to=sys.stderr,
    )
