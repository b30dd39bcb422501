"""Read many small objects of one folder at once: rclone copies them, and one listing afterwards tells what each is now.

One by one an object costs three questions: what it is, its bytes, and what it is afterwards. In a batch it costs one.
"""

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

from systemscripts.cloud.objects import CloudObject
from systemscripts.cloud.remote import Remote
from systemscripts.errors import JobError

# Such names mean the same to every store, to rclone and to this machine; others are read one by one.
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+() ")


class Copied(NamedTuple):
    """An object's bytes, and the object as it was afterwards."""

    content: bytes
    sha256: str
    now: CloudObject


def takes(name: str) -> bool:
    """Return whether an object of this name may be read in a batch.

    >>> takes("list 1.csv"), takes("Zürich.csv"), takes(" list.csv"), takes("-"), takes("..")
    (True, False, False, True, False)
    """
    return _PLAIN.issuperset(name) and name == name.strip() and name.strip(".") != ""


def read(remote: Remote, folder: str, listed: list[CloudObject]) -> dict[str, Copied]:
    """Return, by name, those objects of a folder that are proved to be whole and what the store has; others are left out.

    Proof is what it is for `Remote.read`: the hash that the store tells afterwards, or, if it tells none, that the
    object is the listed one still. Why another is left out is told by `Remote.read`.
    """
    into = Path(tempfile.mkdtemp(dir=remote.private_directory))
    try:
        # Of those that cannot be had rclone tells one only, when it has copied the others.
        with contextlib.suppress(JobError):
            remote.copy_many(folder, [found.name for found in listed], sum(found.size for found in listed), into)
        now = {found.name: found for found in remote.list(folder, with_hashes=True)}
        copied = (_copied(remote, into / found.name, found, now.get(found.name)) for found in listed)
        return {one.now.name: one for one in copied if one is not None}
    finally:
        shutil.rmtree(into, ignore_errors=True)


def _copied(remote: Remote, file: Path, listed: CloudObject, now: CloudObject | None) -> Copied | None:
    if now is None or now.size != listed.size:
        return None
    hashers = remote.hashers()
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return None
    for hasher in hashers.values():
        hasher.update(content)
    told = {kind: value for kind, value in now.hashes if kind in hashers}
    proved = all(hashers[kind].hexdigest() == value for kind, value in told.items()) if told else now.is_same(listed)
    return Copied(content, hashers["sha256"].hexdigest(), now) if proved and len(content) == now.size else None
