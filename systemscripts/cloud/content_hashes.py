"""The hashes that clouds tell of their objects, computed from the bytes that we have.

Dropbox: https://www.dropbox.com/developers/reference/content-hash
OneDrive: https://learn.microsoft.com/onedrive/developer/code-snippets/quickxorhash
"""

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Protocol

_DROPBOX_BLOCK = 4 << 20
# Byte number i is added at bit 11 * i of 160, so bytes that are 160 apart are added at the same bit.
_QUICK_BITS, _QUICK_STEP, _QUICK_PERIOD = 160, 11, 160


class Hasher(Protocol):
    def update(self, data: bytes, /) -> object: ...
    def hexdigest(self) -> str: ...


class DropboxHash:
    """SHA-256 of the SHA-256 of each block of 4 MiB."""

    def __init__(self) -> None:
        self._whole, self._block, self._room = hashlib.sha256(), hashlib.sha256(), _DROPBOX_BLOCK

    def update(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            part = rest[: self._room]
            self._block.update(part)
            self._room -= len(part)
            rest = rest[len(part) :]
            if not self._room:
                self._whole.update(self._block.digest())
                self._block, self._room = hashlib.sha256(), _DROPBOX_BLOCK

    def hexdigest(self) -> str:
        whole = self._whole.copy()
        if self._room < _DROPBOX_BLOCK:
            whole.update(self._block.digest())
        return whole.hexdigest()


class QuickXorHash:
    """Each byte is added by XOR, 11 bits further in a ring of 160 bits; the length comes last."""

    def __init__(self) -> None:
        self._folded, self._length = 0, 0

    def update(self, data: bytes) -> None:
        lead = self._length % _QUICK_PERIOD
        padded = bytes(lead) + data
        padded += bytes(-len(padded) % _QUICK_PERIOD)
        while len(padded) > _QUICK_PERIOD:
            half = -(-len(padded) // (2 * _QUICK_PERIOD)) * _QUICK_PERIOD
            first, second = int.from_bytes(padded[:half], "little"), int.from_bytes(padded[half:], "little")
            padded = (first ^ second).to_bytes(half, "little")
        self._folded ^= int.from_bytes(padded, "little")
        self._length += len(data)

    def hexdigest(self) -> str:
        ring = 0
        for number, byte in enumerate(self._folded.to_bytes(_QUICK_PERIOD, "little")):
            ring ^= byte << (number * _QUICK_STEP % _QUICK_BITS)
        ring = (ring & ((1 << _QUICK_BITS) - 1)) ^ (ring >> _QUICK_BITS)
        ring ^= self._length << (_QUICK_BITS - 64)
        return ring.to_bytes(_QUICK_BITS // 8, "little").hex()


# By rclone's names. What is not here is not compared.
_HASHERS: dict[str, Callable[[], Hasher]] = {
    "md5": partial(hashlib.md5, usedforsecurity=False),
    "sha1": partial(hashlib.sha1, usedforsecurity=False),
    "sha256": hashlib.sha256,
    "dropbox": DropboxHash,
    "quickxor": QuickXorHash,
}
KNOWN = tuple(_HASHERS)
# Those that each kind of cloud may tell, besides SHA-256.
OF_KIND = {
    "s3": ("md5",),
    "azureblob": ("md5",),
    "google cloud storage": ("md5",),
    "webdav": ("md5", "sha1"),
    "onedrive": ("sha1", "quickxor"),
    "drive": ("md5", "sha1"),
    "dropbox": ("dropbox",),
}


def hasher(kind: str) -> Hasher:
    """Return a new hasher of this kind; raises KeyError if it is not KNOWN."""
    return _HASHERS[kind]()
