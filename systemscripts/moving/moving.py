"""Move the installation's database to another server: dump, restore, compare, switch; see onboarding/sh/move_database.sh.

    python -P -m systemscripts.moving.moving SITE_FILE SECRETS_FILE [--dry-run] NAME=VALUE …
    python -P -m systemscripts.moving.moving SITE_FILE SECRETS_FILE --undo [--lose-what-is-newer] [NAME=VALUE …]

Until site.env is replaced, in one step and at the very end, the former database is the one in use, and nothing of it is
changed. What a killed move has left is a database at the new server with a mark, which the next try makes anew.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from typing import Any

from systemscripts import embedded_postgres, job_catalog, settings
from systemscripts.backups.dump import WHY_HIDDEN
from systemscripts.command_line import run_command, wrong_call
from systemscripts.errors import JobError, TemporaryFailure, WrongCall
from systemscripts.moving import afterwards, checks, comparing, copying, password_files, servers, site_file, undoing
from systemscripts.moving.fencing import fenced
from systemscripts.moving.looking import OUR_ROLES
from systemscripts.moving.servers import Server
from systemscripts.moving.site_file import COPYING, MOVED, SWITCHING, Note
from systemscripts.plain_text import say

SCRIPT = "bash onboarding/sh/move_database.sh"
FOLDER = "etl_move_"


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

    def at_new(self) -> dict[str, str]:
        return self.to.environment(self.passwords)


def move(site: Path, secrets: Path, to: Server, *, is_trial: bool) -> None:
    """Move the database, or say what a move would do."""
    current = site_file.variables_in(site_file.read(site))
    note = site_file.read_note(site)
    if current == to.site:
        _go_on(site, secrets, note, to)
        return
    site_file.refuse_other_places(site, secrets, current)
    former = Server(current, {"PGUSER": site_file.administrator_here(site)})
    files = [password_files.of_administrator(to), password_files.of_jobs(site, secrets)]
    earlier, note = note, _new_note(note, former, to)
    with servers.passwords(*files) as passwords, servers.passwords(files[-1]) as jobs_passwords:
        known = servers.ask(former.environment(passwords), "describe")
        there = _look(to, passwords, files)
        if known["system"] and known["system"] == there["system"] and known["name"] == to.database:
            raise WrongCall(f"{to} is the database that is used already, by another name of its server")
        checks.begin(known, to, there, note.mark)
        _refuse_used(earlier, note, to, there, passwords)
        moving = Move(site, former, to, note, files, passwords, jobs_passwords, known, there)
        _introduce(moving)
        if is_trial:
            _tell_plan(moving)
            return
        if earlier is not None:
            _remove_folder(earlier.folder)
        _copy_and_switch(moving)


def _new_note(note: Note | None, former: Server, to: Server) -> Note:
    """Return the note of this move; it keeps the mark of an earlier try, whose database is then made anew."""
    if note is not None:
        if note.phase != MOVED and note.site == to.site:
            return note._replace(phase=COPYING, former=former.site, administrator=to.administrator, folder="")
        if note.phase in (COPYING, SWITCHING):
            say(f"an earlier move to {note.target} did not end; what it has left there is not used, and stays there")
    return Note(token_hex(8), COPYING, former.site, to.site, to.administrator)


def _refuse_used(earlier: Note | None, note: Note, to: Server, there: dict[str, Any], passwords: str) -> None:
    """Raise JobError if jobs have used what an earlier try has left: it was killed at the switch, and site.env was changed since."""
    if earlier is None or earlier.phase != SWITCHING or there["comment"] != note.mark:
        return
    if servers.ask(to.environment(passwords), "runs-since", told=earlier.moved_at):
        raise JobError(
            f"jobs have used {to} since an earlier move was killed at the switch; write its lines into site.env and start the move "
            "again, which then ends that one, or, if nobody needs what they wrote, drop that database by hand"
        )


def _remove_folder(folder: str) -> None:
    """Remove the dump that a killed move has left."""
    found = Path(folder)
    if (
        found.name.startswith(FOLDER)
        and found.is_dir()
        and not found.is_symlink()
        and found.stat().st_uid == os.geteuid()
    ):
        shutil.rmtree(found)
        say(f"removed {found}, which a move that was killed had left")


def _look(to: Server, passwords: str, files: list[Path]) -> dict[str, Any]:
    try:
        found: dict[str, Any] = servers.ask(to.environment(passwords), "look", told=to.database)
    except TemporaryFailure as refusal:
        told = checks.plainly(str(refusal))
        what_to_do = checks.what_it_means(told, files)
        raise TemporaryFailure(
            f"the new server does not let {to.administrator.get('PGUSER', 'postgres')} in: {told}; {what_to_do}"
        ) from None
    return found


def _introduce(move: Move) -> None:
    known, there = move.known, move.there
    say(f"from {move.former}: PostgreSQL {known['version'] // 10_000}, {known['size'] / 1e6:,.1f} MB")
    over_socket = move.to.site["PGHOST"].startswith("/")
    secret = "over its socket" if over_socket else "TLS" if there["is_secret"] else "no TLS"
    say(f"to   {move.to}: PostgreSQL {there['version'] // 10_000}, as {there['administrator']}, {secret}")
    if there["version"] // 10_000 < known["version"] // 10_000:
        say(
            "the new server is older than the former one: what it does not understand ends the move before anything is switched"
        )
    if not there["is_superuser"] and known["event_triggers"]:
        say(
            f"{there['administrator']} is no superuser there: the event triggers {', '.join(known['event_triggers'])} stay behind, so that "
            "changes of tables are not recorded in dba.tddllogs; etl_backup gets no BYPASSRLS, so that a table with row security "
            "of yours fails the backup"
        )
    if known["other_databases"]:
        say(f"other databases stay where they are: {', '.join(known['other_databases'])}")


def _tell_plan(move: Move) -> None:
    missing = [role["name"] for role in move.known["roles"] if role["name"] not in move.there["roles"]]
    no_password = [name for name in missing if name in OUR_ROLES and not _password(move, name)]
    say(f"would make the roles {', '.join(missing)}" if missing else "the roles are there already")
    if no_password:
        say(f"  no password is known for {', '.join(no_password)}: they are let in only if that server asks for none")
    running = move.known["running"]
    say(f"would wait for {', '.join(running)}" if running else "no job runs now")
    say(
        f"would {'use the empty' if move.there['is_there'] else 'make the'} database {move.to.database}, dump, restore and compare"
    )
    lines = " ".join(f"{name}={value}" for name, value in move.to.site.items())
    say(f"would write into {move.site}: {lines}", "dry run: nothing was changed")


def _password(move: Move, role: str) -> str:
    return servers.password_of(move.files, move.to, role)


def _copy_and_switch(move: Move) -> None:
    folder = Path(tempfile.mkdtemp(prefix=FOLDER, dir=settings.temporary_directory()))
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
            )  # fmt: skip
            settled = {
                "name": move.to.database,
                "administrators": move.known["administrators"],
                "description": move.known["database"],
            }
            servers.ask(move.at_new(), "settle", told=settled)
            say("restored")
            _compare(move, folder)
            fence.check()
            _switch(move)
            _leave(move.note, move.at_former(), move.at_new())
        say(f"the jobs were kept waiting for {time.monotonic() - clock:,.0f} seconds")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _finish(move.site, move.note, began)


def _make_room(move: Move) -> None:
    """Make the roles and the empty database, and see whether the jobs will be let in."""
    passwords = {role["name"]: _password(move, role["name"]) for role in move.known["roles"]}
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
        raise JobError(f"the new server does not let {roles} in: {told_first}; {what_to_do}. Then start the move again")


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
        "changed the former one meanwhile, start the move again"
    )


def _switch(move: Move) -> None:
    """Replace site.env: with this step the new server is the one in use."""
    moment = settings.now()
    former_file = site_file.keep_former(move.site, moment)
    note = move.note._replace(phase=SWITCHING, former_file=former_file, moved_at=moment.isoformat())
    site_file.write_note(move.site, note)
    site_file.switch(move.site, site_file.rewritten(site_file.read(move.site), move.to.site))
    say(
        f"switched: {move.site} names {move.to}{f'; the former file is {former_file} beside it' if former_file else ''}"
    )


def _leave(note: Note, at_former: dict[str, str], at_new: dict[str, str]) -> None:
    """Leave the former database so that nobody writes to it by mistake, and take the mark from the new one."""
    servers.ask(at_former, "retire", told={})
    servers.ask(at_new, "reinstate", told={"comment": note.comment})


def _finish(site: Path, note: Note, began: datetime) -> None:
    """Do what comes after the switch; every step may be done again."""
    known = site_file.read_note(site)
    if known is not None:
        note = known
    former = Server(note.former)
    if former.is_embedded and embedded_postgres.stop():
        say("the embedded server is stopped; its data stays")
    site_file.write_note(site, note._replace(phase=MOVED, folder=""))
    say(f"{former} keeps all its rows, for reading only. To go back, type: {SCRIPT} --undo")
    say(f"cron's file needs no change; make a backup of the new server now: {job_catalog.typed('daily_backup.sh')}")
    afterwards.tell_missed(began)
    afterwards.run_doctor()


def _go_on(site: Path, secrets: Path, note: Note | None, to: Server) -> None:
    """Finish a move that was killed after the switch."""
    if note is None or note.phase not in (SWITCHING, MOVED) or note.site != to.site:
        raise WrongCall(f"the jobs use {to} already; nothing is to be done")
    say(f"the jobs use {to} already; this does again what comes after the switch")
    with servers.passwords(password_files.of_administrator(to), password_files.of_jobs(site, secrets)) as passwords:
        former = Server(note.former, {"PGUSER": site_file.administrator_here(site)})
        _leave(note, former.environment(passwords), to.environment(passwords))
    _remove_folder(note.folder)
    _finish(site, note, datetime.fromisoformat(note.moved_at))


@contextlib.contextmanager
def _alone(site: Path) -> Iterator[None]:
    """Let one process at a time move this installation; the lock ends with the process."""
    handle = os.open(site.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TemporaryFailure("another move of this installation runs; to see it, type: lslocks") from None
        yield
    finally:
        os.close(handle)


def main(arguments: list[str]) -> int:
    if len(arguments) < 2:
        raise wrong_call(__doc__)
    site, secrets, words = Path(arguments[0]), Path(arguments[1]), arguments[2:]
    options = {word for word in words if word.startswith("-")}
    named = [word for word in words if not word.startswith("-")]
    if unknown := sorted(options - {"--dry-run", "--undo", "--lose-what-is-newer"}):
        raise WrongCall(f"'{unknown[0]}' is not understood; type: {SCRIPT} --help")
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, lambda number, _frame: sys.exit(128 + number))
    with _alone(site):
        if "--undo" in options:
            undoing.undo(site, secrets, named, loses="--lose-what-is-newer" in options, is_trial="--dry-run" in options)
        elif "--lose-what-is-newer" in options:
            raise WrongCall("--lose-what-is-newer goes only with --undo")
        else:
            move(site, secrets, servers.target(named), is_trial="--dry-run" in options)
    return 0


if __name__ == "__main__":
    run_command("move_database.sh", main)
