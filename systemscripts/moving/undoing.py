"""The way back to the former server, as long as nothing was written to the new one, or when that may be lost."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from systemscripts import embedded_postgres, settings
from systemscripts.errors import JobError, TemporaryFailure
from systemscripts.moving import afterwards, comparing, password_files, servers, site_file
from systemscripts.moving.fencing import Fence, fenced
from systemscripts.moving.servers import MOVE_VARIABLES, Server
from systemscripts.moving.site_file import MOVED, SWITCHING, UNDONE, Note
from systemscripts.plain_text import say

LOSE = "--lose-what-is-newer"
# The runs of the doctor that follows the switch, and their log, are no work that could be lost.
_LEDGER = ("dba.tjobrun", "dba.tlogentry")


def undo(site: Path, secrets: Path, words: list[str], *, loses: bool, is_trial: bool) -> None:
    """Go back to the former server; raises JobError with what would be lost if something was written since."""
    note = site_file.read_note(site)
    current = site_file.variables_in(site_file.read(site))
    if note is None or note.phase not in (SWITCHING, MOVED, UNDONE) or current != note.site:
        raise JobError(
            f"there is no move to take back: {site} names "
            f"{Server(current)}{'' if note is None else f', and the last move was to {note.target}'}"
        )
    new = Server(note.site, {**note.administrator, **servers.parse(words, MOVE_VARIABLES)})
    former = Server(note.former, {"PGUSER": site_file.administrator_here(site)})
    files = password_files.of_jobs(site, secrets), password_files.of_administrator(new)
    with servers.passwords(*files, (new, former)) as passwords, _stopped_again(former, site):
        at_former, at_new = former.environment(passwords), new.environment(passwords)
        known = servers.ask(at_former, "describe")
        with _fenced_or_away(at_new, loses) as fence:
            newer = ["what is there cannot be seen"] if fence is None else _newer(former, new, passwords, known, note)
            for line in newer:
                say(f"  {line}")
            if newer and not loses:
                raise JobError(
                    f"{new} has {len(newer)} things that {former} has not (above), and they would not be used any more; nothing was "
                    f"changed. To go back all the same, type: {site_file.SCRIPT} --undo {LOSE}"
                )
            if is_trial:
                say(f"would go back to {former}; dry run: nothing was changed")
                return
            servers.ask(at_former, "reinstate", told={})
            if fence is not None:
                fence.check()
            site_file.write_note(site, note._replace(phase=UNDONE))
            _switch_back(site, note)
            say(f"switched back: {site} names {former}")
            _leave(new, at_new, "" if newer else note.mark)
    afterwards.run_doctor()


@contextlib.contextmanager
def _stopped_again(former: Server, site: Path) -> Iterator[None]:
    """Stop the embedded server, which looking at it has started, unless it is the one in use by then."""
    was_running = former.is_embedded and embedded_postgres.is_running()
    try:
        yield
    finally:
        is_used = site_file.variables_in(site_file.read(site)) == former.site
        if former.is_embedded and not was_running and not is_used:
            embedded_postgres.stop()


@contextlib.contextmanager
def _fenced_or_away(environment: dict[str, str], loses: bool) -> Iterator[Fence | None]:
    """Yield the fence around the new database; None if it cannot be reached and that does not matter."""
    with contextlib.ExitStack() as stack:
        try:
            fence = stack.enter_context(fenced(environment))
        except TemporaryFailure as away:
            if not loses:
                raise TemporaryFailure(
                    f"{away}; to go back without looking what was written there, type: {site_file.SCRIPT} --undo {LOSE}"
                ) from None
            say(f"the new server cannot be asked: {away}")
            yield None
            return
        yield fence


def _newer(former: Server, new: Server, passwords: str, known: dict[str, Any], note: Note) -> list[str]:
    """Return in words what the new database has and the former has not."""
    there = servers.ask(new.environment(passwords), "look", told=new.database)
    roles = [role["name"] for role in known["roles"]]
    with tempfile.TemporaryDirectory(prefix="etl_move_", dir=settings.temporary_directory()) as folder:
        was, is_now = comparing.accounts(former, new, passwords, roles, Path(folder))
    found = [line for line in comparing.differences(was, is_now, there, known["version"]) if line[0] != "sequence"]
    if {name for _, name, _ in found} <= {*_LEDGER}:
        of_doctor = servers.ask(new.environment(passwords), "of-doctor", told=note.moved_at)
        found = [line for line in found if _rows(is_now, line[1]) - _rows(was, line[1]) != of_doctor[line[1]]]
    return comparing.sentences(found, former, new, passwords)


def _rows(account: dict[str, dict[str, str]], table: str) -> int:
    return int(account["table"].get(table, "0").split()[0])


def _switch_back(site: Path, note: Note) -> None:
    """Put the former lines back; a site.env that nobody has changed since becomes what it was, to the letter."""
    text = site_file.read(site)
    former_text = site_file.read(site.with_name(note.former_file)) if note.former_file else ""
    site_file.keep_former(site, settings.now())
    if text != site_file.rewritten(former_text, note.site):
        site_file.switch(site, site_file.rewritten(text, note.former))
    elif note.former_file:
        site_file.switch(site, former_text)
    else:
        os.unlink(site)  # noqa: PTH108 — there was none


def _leave(new: Server, at_new: dict[str, str], mark: str) -> None:
    try:
        servers.ask(at_new, "retire", told={"mark": mark})
    except JobError as problem:
        say(f"{new} could not be made read-only: {problem}")
        return
    say(
        f"{new} stays there, for reading only{'; a further move there begins anew' if mark else ', and no move overwrites it'}"
    )
