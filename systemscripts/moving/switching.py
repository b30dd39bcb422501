"""The switch to the new server, in one step, and what follows it; all that follows may be done again."""

import os
import shutil
from datetime import datetime
from pathlib import Path

from systemscripts import embedded_postgres, job_catalog, settings
from systemscripts.errors import JobError
from systemscripts.moving import afterwards, servers, site_file
from systemscripts.moving.servers import Server
from systemscripts.moving.site_file import MOVED, SWITCHING, Note
from systemscripts.plain_text import say

# How the directory of the dump is called; its name goes on at random.
FOLDER = "etl_move_"


def switch(site: Path, note: Note) -> None:
    """Replace site.env: with this step the new server is the one in use."""
    moment = settings.now()
    former_file = site_file.keep_former(site, moment)
    note = note._replace(phase=SWITCHING, former_file=former_file, moved_at=moment.isoformat())
    site_file.write_note(site, note)
    site_file.switch(site, site_file.rewritten(site_file.read(site), note.site))
    say(f"switched: {site} names {note.target}{f'; the former file is {former_file} beside it' if former_file else ''}")


def leave(note: Note, at_former: dict[str, str], at_new: dict[str, str]) -> None:
    """Leave the former database so that nobody writes to it by mistake, and take the mark from the new one."""
    try:
        servers.ask(at_former, "retire", told={})
        servers.ask(at_new, "reinstate", told={"comment": note.comment})
    except JobError as problem:
        raise type(problem)(
            f"{problem}; the switch itself is done: type the same command again, for what comes after it"
        ) from None


def finish(site: Path, began: datetime) -> None:
    """Stop the embedded server if it was left, say what to do next, and let the doctor look; `began` is when jobs were first refused."""
    note = site_file.read_note(site)
    assert note is not None, "it was written before the switch"
    former = Server(note.former)
    if former.is_embedded and embedded_postgres.stop():
        say("the embedded server is stopped; its data stays")
    site_file.write_note(site, note._replace(phase=MOVED, folder=""))
    say(f"{former} keeps all its rows, for reading only. To go back, type: {site_file.SCRIPT} --undo")
    say(f"cron's file needs no change; make a backup of the new server now: {job_catalog.typed('daily_backup.sh')}")
    afterwards.tell_missed(began)
    afterwards.run_doctor()


def remove_folder(folder: str) -> None:
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
