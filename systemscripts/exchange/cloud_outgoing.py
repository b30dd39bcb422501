"""The folder in a cloud that files are put into: one put each, which the store shows whole or not at all."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from systemscripts.cloud import remote
from systemscripts.errors import TemporaryFailure


@contextlib.contextmanager
def opened(name: str, path: str) -> Iterator["CloudOutgoing"]:
    """Yield the folder at the remote; raises JobError if the remote's file is not as it must be."""
    with remote.opened(name) as cloud:
        yield CloudOutgoing(cloud, path)


class CloudOutgoing:
    """A folder of a remote; it need not be there, because most clouds know no folders."""

    def __init__(self, cloud: remote.Remote, path: str) -> None:
        self._cloud, self._folder = cloud, path

    def sha256_of(self, name: str) -> str | None:
        path = f"{self._folder}/{name}"
        found = self._cloud.stat(path)
        return None if found is None else self._cloud.sha256_of(path, found)

    def put(self, name: str, source: Path, sha256: str) -> None:  # noqa: ARG002 — it is compared by what the store tells
        path = f"{self._folder}/{name}"
        # The store would replace it.
        if self._cloud.stat(path) is not None:
            raise TemporaryFailure(f"{self._folder} got another file {name} at this moment")
        self._cloud.put(source, path)

    def discard(self, name: str) -> None:
        self._cloud.delete(f"{self._folder}/{name}")
