"""An object in a cloud as its store tells of it, its path, and the hashes of a file to compare it with."""

from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from systemscripts.cloud import content_hashes
from systemscripts.errors import JobError

_PIECE = 1 << 20


class CloudObject(NamedTuple):
    """An object as the store tells of it."""

    name: str
    size: int
    changed_at: datetime
    hashes: tuple[tuple[str, str], ...] = ()
    store_id: str = ""

    @property
    def identity(self) -> str:
        """Return what the store has to tell this object from another: its number and hashes, as one text.

        >>> CloudObject("a", 1, datetime.now(), (("md5", "0f"),), "7").identity
        'id:7 md5:0f'
        """
        return " ".join([f"id:{self.store_id}"][: bool(self.store_id)] + [":".join(pair) for pair in self.hashes])

    def has_bytes_of(self, other: "CloudObject") -> bool | None:
        """Return whether both have the same bytes; None if the store has no hash to tell by."""
        if self.size != other.size:
            return False
        ours, theirs = dict(self.hashes), dict(other.hashes)
        common = ours.keys() & theirs.keys()
        return all(ours[kind] == theirs[kind] for kind in common) if common else None

    def is_same(self, other: "CloudObject") -> bool:
        """Return whether it is the same object, as far as the store lets us know.

        Some stores tell the time to the second only, and only in a listing more exactly.
        """
        return (
            self.changed_at.replace(microsecond=0) == other.changed_at.replace(microsecond=0)
            and (not self.store_id or not other.store_id or self.store_id == other.store_id)
            and self.has_bytes_of(other) is not False
        )


def of_entry(entry: dict[str, Any]) -> CloudObject:
    """Return the object of an entry of rclone's lists."""
    hashes = tuple(sorted((kind, value) for kind, value in (entry.get("Hashes") or {}).items() if value))
    return CloudObject(
        entry["Name"], entry["Size"], datetime.fromisoformat(entry["ModTime"]), hashes, entry.get("ID", "")
    )


def clean(path: str) -> str:
    """Return the path without slashes at its ends; raises JobError for one that names something else than it shows.

    >>> clean("/bucket/folder/")
    'bucket/folder'
    """
    parts = path.strip("/").split("/")
    if any(part in ("", ".", "..") for part in parts) or "\0" in path:
        raise JobError(
            f"{path!r} is no path in a cloud; it must be such as bucket/folder, without empty parts, . and .."
        )
    return "/".join(parts)


def hashes_of(file: Path, kinds: list[str]) -> dict[str, str]:
    """Return the hashes of a file's bytes by their kinds."""
    hashers = {kind: content_hashes.hasher(kind) for kind in kinds}
    with file.open("rb") as stream:
        while piece := stream.read(_PIECE):
            for hasher in hashers.values():
                hasher.update(piece)
    return {kind: hasher.hexdigest() for kind, hasher in hashers.items()}
