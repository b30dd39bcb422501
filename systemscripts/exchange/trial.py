"""Try an exchange folder: write, list, read, move and remove a small file, and say which right is missing."""

import hashlib
import io
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from systemscripts.cloud.remote import Remote, opened
from systemscripts.errors import JobError
from systemscripts.exchange import outgoing
from systemscripts.exchange.cloud_folder import TAKEN
from systemscripts.exchange.config import ExchangeConfig

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

CONTENT = b"This file was written to try whether the folder can be used; it may be deleted.\n"


# The right, the folder, and what needs the right there.
_ToTry = tuple[str, str, Callable[[], object]]


class Step(NamedTuple):
    """One right in one folder; `problem` says what is wrong, "" if it is there."""

    right: str
    folder: str
    problem: str = ""


def put_tried(connection: "Connection", config: ExchangeConfig) -> Iterator[Step]:
    """Yield the result of each step in the outgoing folder on this machine or on a server; raises JobError if it cannot be opened."""
    name = f".etl-test-{uuid.uuid4().hex[:12]}.txt"
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    with outgoing.opened(connection, config.config_name) as place, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        file.write_bytes(CONTENT)

        def read() -> None:
            if place.sha256_of(name) != sha256:
                raise JobError(f"{name!r} has other bytes than were written, or is not there")

        where = config.outgoing_path or ""
        yield from _run(
            [("write", where, lambda: place.put(name, file, sha256)), ("read", where, read),
             ("delete", where, lambda: place.discard(name))]
        )  # fmt: skip


def tried(config: ExchangeConfig) -> Iterator[Step]:
    """Yield the result of each step in the folders that the row needs; raises JobError if the remote cannot be used."""
    with opened(config.remote or "") as remote:
        if config.incoming_path:
            yield from _run([("list", config.incoming_path, lambda: remote.list(config.incoming_path))])
        if config.incoming_path and config.remove_taken:
            yield from _run(_steps(remote, config.incoming_path, f"{config.incoming_path}/{TAKEN}"))
        if config.outgoing_path is not None:
            yield from _run(_steps(remote, config.outgoing_path))


def _steps(remote: Remote, folder: str, other: str = "") -> Iterator[_ToTry]:
    # A dotfile is taken by nobody.
    name = f".etl-test-{uuid.uuid4().hex[:12]}.txt"
    path = f"{folder}/{name}"
    yield "write", folder, lambda: _write(remote, path)
    yield "list", folder, lambda: _find(remote, folder, name)
    yield "read", folder, lambda: _read(remote, folder, name)
    if other:
        yield "move", other, lambda: _move(remote, path, f"{other}/{name}")
        yield "delete", other, lambda: remote.delete(f"{other}/{name}")
    else:
        yield "delete", folder, lambda: remote.delete(path)


def _run(steps: Iterable[_ToTry]) -> Iterator[Step]:
    """Run the steps until one fails, because the next ones need it."""
    for right, folder, step in steps:
        try:
            step()
        except JobError as problem:
            yield Step(right, folder, str(problem))
            return
        yield Step(right, folder)


def _write(remote: Remote, path: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "test.txt"
        file.write_bytes(CONTENT)
        remote.put(file, path)


def _find(remote: Remote, folder: str, name: str) -> None:
    if not any(found.name == name for found in remote.list(folder)):
        raise JobError(f"{name!r} was written to {folder!r}, and a listing does not show it; try again in a minute")


def _read(remote: Remote, folder: str, name: str) -> None:
    found = remote.stat(f"{folder}/{name}")
    content = io.BytesIO()
    if found is not None:
        remote.read(f"{folder}/{name}", found, content)
    if content.getvalue() != CONTENT:
        raise JobError(f"{name!r} in {folder!r} has other bytes than were written")


def _move(remote: Remote, source: str, target: str) -> None:
    found = remote.stat(source)
    if found is not None:
        remote.move(source, target, found)
