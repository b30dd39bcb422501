"""Where a secret may be told: by processes, in files, in tables, and in a backup."""

import base64
import contextlib
import os
import stat
import subprocess
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

from conftest import Installation

from systemscripts import embedded_postgres
from systemscripts.backups import dump

LOOKS_EVERY_S = 0.02


class Onlooker:
    """Another user of this machine, who reads the command line of every process, and the environments that all may read."""

    def __init__(self) -> None:
        self.looks = 0
        self.seen: set[bytes] = set()
        self._over = threading.Event()

    def look(self) -> None:
        while not self._over.wait(LOOKS_EVERY_S):
            self.looks += 1
            for process in os.scandir("/proc"):
                if process.name.isdigit():
                    self._look_at(Path(process.path))

    def stop(self) -> None:
        self._over.set()

    def _look_at(self, process: Path) -> None:
        with contextlib.suppress(OSError):  # it has ended
            self.seen.add((process / "cmdline").read_bytes())
            if (process / "environ").stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
                self.seen.add((process / "environ").read_bytes())


@contextlib.contextmanager
def onlooker() -> Iterator[Onlooker]:
    """Look on from beginning to end."""
    looking = Onlooker()
    thread = threading.Thread(target=looking.look, daemon=True)
    thread.start()
    try:
        yield looking
    finally:
        looking.stop()
        thread.join(10)


def texts_of(etl: Installation, folder: Path) -> Iterator[bytes]:
    """Yield what the installation has written: its files, and its database as a backup has it, unpacked."""
    for path in etl.home.rglob("*"):
        if path.is_file():
            yield path.read_bytes()
    database = etl.variables["PGDATABASE"]
    folder.mkdir()
    dump.make(database, folder)
    unpacked = [embedded_postgres.binary("pg_restore"), "--file=-", folder / f"{dump.stem_of(database)}.dump"]
    yield subprocess.run(unpacked, capture_output=True, check=True, timeout=60).stdout


def told(secrets: Iterable[str], texts: Iterable[bytes]) -> list[str]:
    """Return the secrets that stand in a text: as they are, as in a URL, or within something in base64."""
    looked_for = [(secret, form) for secret in secrets for form in _forms(secret)]
    return [secret for text in texts for secret, form in looked_for if form in text]


def _forms(secret: str) -> set[bytes]:
    forms = {secret.encode(), quote(secret, safe="").encode()}
    # Base64 of a text that has the secret somewhere: its letters depend on where in a group of three it begins.
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + secret.encode())
        forms.add(whole[4 if before else 0 : len(whole) // 4 * 4 - 4])
    return forms
