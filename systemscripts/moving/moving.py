"""Move the installation's database to another server: dump, restore, compare, switch; see onboarding/sh/move_database.sh.

    python -P -m systemscripts.moving.moving SITE_FILE SECRETS_FILE [--dry-run] NAME=VALUE …
    python -P -m systemscripts.moving.moving SITE_FILE SECRETS_FILE --undo [--lose-what-is-newer] [NAME=VALUE …]

Until site.env is replaced, in one step and at the very end, the former database is the one in use, and nothing of it is
changed. What a killed move has left is a database at the new server with a mark, which the next try makes anew.
"""

import contextlib
import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from types import FrameType
from typing import Any

from systemscripts.command_line import run_command, wrong_call
from systemscripts.errors import JobError, TemporaryFailure, WrongCall
from systemscripts.moving import checks, password_files, servers, site_file, switching, undoing
from systemscripts.moving.carrying import Move, copy_and_switch
from systemscripts.moving.looking import OUR_ROLES
from systemscripts.moving.servers import JOBS_ROLES, Server
from systemscripts.moving.site_file import COPYING, MOVED, SWITCHING, Note
from systemscripts.plain_text import say


def move(site: Path, secrets: Path, words: list[str], *, is_trial: bool) -> None:
    """Move the database, or say what a move would do."""
    current = site_file.variables_in(site_file.read(site))
    to = servers.target(words, Server(current).database)
    note = site_file.read_note(site)
    if current == to.site:
        _go_on(site, secrets, note, to, is_trial=is_trial)
        return
    site_file.refuse_other_places(site, secrets, current)
    former = Server(current, {"PGUSER": site_file.administrator_here(site)})
    files = [password_files.of_administrator(to), password_files.of_jobs(site, secrets)]
    earlier, note = note, _new_note(note, former, to)
    administrator, jobs = files
    with servers.passwords(jobs, administrator, (to, former)) as passwords, servers.passwords(jobs) as jobs_passwords:
        known = servers.ask(former.environment(passwords), "describe")
        there = _look(to, passwords, files)
        if known["system"] and known["system"] == there["system"]:
            if known["name"] == to.database:
                raise WrongCall(f"{to} is the database that is used already, by another name of its server")
            if former.is_embedded:
                raise WrongCall(
                    f"{to} is on the embedded server, which a move leaves and stops; give PGHOST of the server after it"
                )
        checks.begin(known, to, there, note.mark)
        _refuse_used(earlier, note, to, there, passwords)
        moving = Move(site, former, to, note, files, passwords, jobs_passwords, known, there)
        lacking = [role for role in JOBS_ROLES if role not in there["roles"] and not moving.password(role)]
        checks.passwords(there, lacking, files[-1])
        _introduce(moving)
        if is_trial:
            _tell_plan(moving)
            return
        if earlier is not None:
            switching.remove_folder(earlier.folder)
        copy_and_switch(moving)


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
    if there["sorts_by"] not in ("", known["sorts_by"]) and there["comment"] != move.note.mark:
        say(
            f"{move.to.database} sorts texts by {there['sorts_by']} there, and by {known['sorts_by']} here, so reports may have another "
            "order; to keep it, drop that empty database, and let the move make it"
        )
    if known["other_databases"]:
        say(f"other databases stay where they are: {', '.join(known['other_databases'])}")


def _tell_plan(move: Move) -> None:
    missing = [role["name"] for role in move.known["roles"] if role["name"] not in move.there["roles"]]
    no_password = [name for name in missing if name in OUR_ROLES and not move.password(name)]
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


def _go_on(site: Path, secrets: Path, note: Note | None, to: Server, *, is_trial: bool) -> None:
    """Finish a move that was killed after the switch."""
    if note is None or note.phase not in (SWITCHING, MOVED) or note.site != to.site:
        raise WrongCall(f"the jobs use {to} already; nothing is to be done")
    if is_trial:
        say(f"the jobs use {to} already; would do again what comes after the switch", "dry run: nothing was changed")
        return
    say(f"the jobs use {to} already; this does again what comes after the switch")
    former = Server(note.former, {"PGUSER": site_file.administrator_here(site)})
    files = password_files.of_jobs(site, secrets), password_files.of_administrator(to)
    with servers.passwords(*files, (to, former)) as passwords:
        switching.leave(note, former.environment(passwords), to.environment(passwords))
    switching.remove_folder(note.folder)
    switching.finish(site, datetime.fromisoformat(note.moved_at))


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


def _stop(number: int, _frame: FrameType | None) -> None:
    say("stopped; type the same command again, which says how far it had come", to=sys.stderr)
    sys.exit(128 + number)


def main(arguments: list[str]) -> int:
    if len(arguments) < 2:
        raise wrong_call(__doc__)
    site, secrets, words = Path(arguments[0]), Path(arguments[1]), arguments[2:]
    options = {word for word in words if word.startswith("-")}
    named = [word for word in words if not word.startswith("-")]
    if unknown := sorted(options - {"--dry-run", "--undo", "--lose-what-is-newer"}):
        raise WrongCall(f"'{unknown[0]}' is not understood; type: {site_file.SCRIPT} --help")
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, _stop)
    with _alone(site):
        if "--undo" in options:
            undoing.undo(site, secrets, named, loses="--lose-what-is-newer" in options, is_trial="--dry-run" in options)
        elif "--lose-what-is-newer" in options:
            raise WrongCall("--lose-what-is-newer goes only with --undo")
        else:
            move(site, secrets, named, is_trial="--dry-run" in options)
    return 0


if __name__ == "__main__":
    run_command("move_database.sh", main)
