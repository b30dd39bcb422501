"""The files within a zip or tar archive; none of them is ever written under its own name, which may be made to harm."""

import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from io import BufferedReader, FileIO
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

from systemscripts import patterns
from systemscripts.errors import JobError
from systemscripts.importing import packed
from systemscripts.importing.config import ConfigurationError, ImportConfig
from systemscripts.importing.files import is_unfinished

MOST_MEMBERS = 10_000
MOST_NAMED = 10
MOST_READ = 16 << 20

# Documents of other programs are zip archives too, whatever their first part is called.
_DOCUMENT = re.compile(r"\[Content_Types\]\.xml|mimetype|xl/workbook\.(xml|bin)|Index/.*\.iwa", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# The method by which a zip archive says that a file of it is protected with AES.
_AES = 99
_LEADS_OUT = re.compile(r"/|[A-Za-z]:|(.*/)?\.\.(/|$)")


class Member(NamedTuple):
    """A file of an archive: its name, with its folders; its size as the archive states it; `fault` if it is no plain file."""

    name: str
    size: int
    entry: Any
    fault: str = ""

    @property
    def base_name(self) -> str:
        return self.name.rpartition("/")[2]


class Archive:
    """An open archive. `members` are its files without folders, and without those that no import takes, such as `.x`."""

    def __init__(self, path: Path, kind: str, password: Callable[[], str]) -> None:
        self.kind = kind
        self._password = password
        self._packed_bytes = path.stat().st_size
        with packed.refusing_damage(kind):
            if kind == "zip":
                self._zip = _open_zip(path)
                found: Iterator[Member] = (_of_zip(entry) for entry in self._zip.infolist() if not entry.is_dir())
            else:
                self._tar = tarfile.open(fileobj=_SmallReads(FileIO(path)), mode="r:")  # noqa: SIM115 — closed by close()
                found = _of_tar(self._tar)
            members = list(islice(found, MOST_MEMBERS + 1))
        if len(members) > MOST_MEMBERS:
            raise JobError(f"it is a {kind} archive of more than {MOST_MEMBERS:,} files")
        self.members = [member for member in members if not is_unfinished(member.base_name)]

    @property
    def is_document(self) -> bool:
        """Return whether it is a document, such as a workbook, that only its own reader understands."""
        return self.kind == "zip" and any(_DOCUMENT.fullmatch(member.name) for member in self.members)

    def wanted(self, config: ImportConfig) -> list[Member]:
        """Return the members that fit member_pattern, in the archive's order; without it the only member there is.

        Raises JobError if there is none, or if one of them is not what its name says.
        """
        pattern = config.member_pattern
        what = f"it is a {self.kind} archive"
        if pattern is None:
            wanted = self.members
            if len(wanted) != 1:
                raise JobError(
                    f"{what} of {len(wanted)} files{_listed(self.members)}; set member_pattern to what they are called"
                )
        else:
            try:
                wanted = [member for member in self.members if patterns.fits(pattern, member.base_name)]
            except patterns.BadPattern as problem:
                raise ConfigurationError(f"import {config.config_name}: member_pattern {pattern!r} {problem}") from None
            if not wanted:
                raise JobError(f"{what}, and no file in it fits member_pattern {pattern}{_listed(self.members)}")
        names: set[str] = set()
        for member in wanted:
            if fault := member.fault or (member.name in names and "comes twice"):
                raise JobError(f"{what} made by mistake or to harm: its file {member.name!r} {fault}")
            names.add(member.name)
        packed.check_size(sum(member.size for member in wanted), self._packed_bytes)
        return wanted

    def write(self, member: Member, output: IO[bytes]) -> None:
        """Write the member's content; raises JobError for a damaged archive, and for one beyond the limits."""
        try:
            with packed.refusing_damage(self.kind):
                size = packed.write(self._chunks(member), self._packed_bytes, output)
        except packed.Damaged as damage:
            if self.kind == "zip" and member.entry.flag_bits & 1:
                raise JobError(
                    "it is protected with another password than the one that password_name stands for, or it is damaged"
                ) from damage
            raise
        if size != member.size:
            raise JobError(f"it is damaged: its file {member.name!r} has {size:,} bytes in place of {member.size:,}")

    def _chunks(self, member: Member) -> Iterator[bytes]:
        if self.kind == "zip":
            is_protected = member.entry.flag_bits & 1
            stream = self._zip.open(member.entry, pwd=self._password().encode() if is_protected else None)
        else:
            found = self._tar.extractfile(member.entry)
            assert found is not None, "only plain files are wanted"
            stream = found
        with stream:
            yield from iter(lambda: stream.read(packed.CHUNK_BYTES), b"")

    def close(self) -> None:
        if self.kind == "zip":
            self._zip.close()
        else:
            assert self._tar.fileobj is not None, "it is closed once"
            self._tar.fileobj.close()


class _SmallReads(BufferedReader):
    """A tar archive, whose reader would take a name of any length into memory."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MOST_READ:
            raise JobError(f"it is a tar archive made to harm: a name in it has {size:,} bytes")
        return super().read(size)


def _open_zip(path: Path) -> Any:
    """Open a zip archive with the standard library, or with pyzipper where AES is used, which only that one reads."""
    archive = zipfile.ZipFile(path)
    if all(entry.compress_type != _AES for entry in archive.infolist()):
        return archive
    import pyzipper

    archive.close()
    return pyzipper.AESZipFile(path)


def _of_zip(entry: Any) -> Member:
    name = entry.filename.replace("\\", "/")  # as some programs of Windows write it
    return Member(name, entry.file_size, entry, _fault_of(name))


def _of_tar(archive: tarfile.TarFile) -> Iterator[Member]:
    for entry in archive:
        if not entry.isdir():
            # A name that is not UTF-8 comes with surrogates.
            name = entry.name.encode("utf-8", "surrogateescape")
            shown = name.decode("cp1252" if re.search("[\ud800-\udfff]", entry.name) else "utf-8", "replace")
            kind = "" if entry.isreg() else "is a link" if entry.islnk() or entry.issym() else "is a device or a pipe"
            yield Member(shown, entry.size, entry, kind or _fault_of(shown))
    # The library takes a damaged header, and a cut between two files, for the end.
    assert archive.fileobj is not None, "it was opened a moment ago"
    archive.fileobj.seek(archive.offset)
    if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise JobError("it is cut off or damaged: its tar archive has no end; ask the sender for it again")


def _fault_of(name: str) -> str:
    return (
        "has a control character in its name" if _CONTROL.search(name)
        else "has a name that leads out of the archive" if _LEADS_OUT.match(name)
        else ""
    )  # fmt: skip


def _listed(members: list[Member]) -> str:
    names = [repr(member.name[:80]) for member in members[:MOST_NAMED]]
    if len(members) > MOST_NAMED:
        names.append(f"and {len(members) - MOST_NAMED} more")
    return f": {', '.join(names)}" if names else ""
