"""A hand-written file of cron's: read once, kept as a dated copy outside of cron's folder, and only then replaced by ours.

The archive belongs to the jobs' user, so a copy is made through the handle of its folder, which is no link, and it
takes no name that is there already.
"""

import contextlib
import os
import shlex
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from systemscripts import directory_management, settings, whole_files
from systemscripts.cron import cron_file
from systemscripts.errors import JobError
from systemscripts.user_utils import current_user

FOLDER = "former_cron_files"  # below ETL_ARCHIVE_DIR
LONGEST = 1_000_000  # bytes


@dataclass(frozen=True)
class HandWritten:
    """The file as it was when it was read."""

    path: Path
    content: bytes
    mode: int

    @property
    def is_ours(self) -> bool:
        return self.content.startswith(cron_file.MARK.encode())

    @property
    def is_in_force(self) -> bool:
        """Whether it lies in cron's folder."""
        return self.path.parent.resolve() == settings.cron_file().parent.resolve()

    @property
    def is_replaced(self) -> bool:
        """Whether our file takes its very place."""
        return self.is_in_force and self.path.name == settings.cron_file().name


def read(path: Path) -> HandWritten:
    """Read a plain file; raises JobError for anything else."""
    try:
        handle = whole_files.open_plain(path)
    except whole_files.NotPlain as found:
        raise JobError(f"{path} is {found.kind}; name the file itself") from None
    except FileNotFoundError:
        told = f"there is no file {path}; if it was adopted before, type: {cron_file.command_for_root()}"
        raise JobError(told) from None
    except OSError as error:
        cure = f"sudo setfacl -m u:{current_user()}:r {shlex.quote(str(path))}"
        raise JobError(f"{path} cannot be read ({error.strerror}); let this user read it: {cure}") from None
    with open(handle, "rb") as stream:
        content, mode = stream.read(LONGEST + 1), stat.S_IMODE(os.fstat(handle).st_mode) & 0o777
    if len(content) > LONGEST:
        raise JobError(f"{path} has more than {LONGEST:,} bytes; that is no crontab")
    return HandWritten(path, content, mode)


def refuse_a_second_one(file: HandWritten) -> None:
    """Raise JobError if another hand-written file has the place of ours."""
    if not file.is_replaced and cron_file.is_foreign(settings.cron_file()):
        first = cron_file.command_to_adopt("--dry-run")
        raise JobError(f"{settings.cron_file()} was not written by update_cron_jobs.py either; begin with it: {first}")


def keep(file: HandWritten) -> Path:
    """Keep a copy byte for byte in the archive, with its mode and a name with the time; return its path.

    If an equal copy is there already, that one is returned.
    """
    archive, name = settings.archive_dir(), directory_management.safe_name(file.path.name)
    directory_management.ensure_directory(archive)
    with _held(archive, archive) as held_archive:
        with contextlib.suppress(FileExistsError):
            (held_archive / FOLDER).mkdir()
            directory_management.hand_over(held_archive / FOLDER)
            (held_archive / FOLDER).chmod(directory_management.DIRECTORY_MODE)
        with _held(held_archive / FOLDER, archive / FOLDER) as folder:
            for former in sorted(folder.iterdir()):
                if former.name.startswith(f"{name}_") and _content_of(former) == file.content:
                    return archive / FOLDER / former.name
            with whole_files.unnamed_file(folder, file.mode) as copy:
                copy.stream.write(file.content)
                wanted = folder / f"{name}_{settings.now():%Y%m%dT%H%M%S}"
                return archive / FOLDER / directory_management.appear_numbered(copy, wanted).name


def replace(file: HandWritten, copy: Path, text: str) -> str:
    """Take the hand-written file out of cron's folder, and write ours; return "".

    Where only root may do so, return the commands for it. Raises JobError if the file is not what was read.
    """
    target = settings.cron_file()
    if not file.is_in_force:
        cron_file.install(text, target)
        return ""
    if read(file.path) != file:
        raise JobError(f"{file.path} has just been changed, and is left as it is; type the same again")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        there, kept = shlex.quote(str(file.path)), shlex.quote(str(copy))
        return f"cmp {kept} {there} && sudo rm {there} && {cron_file.command_for_root()}"
    if file.is_replaced:
        cron_file.replace(text, target)
        return ""
    # First out, then in: no job may be started by both files.
    file.path.unlink()
    cron_file.install(text, target)
    return ""


@contextlib.contextmanager
def _held(folder: Path, shown: Path) -> Iterator[Path]:
    """Yield a path to the folder that stays right; raises JobError for a link, and for root if others own it."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise JobError(
            f"{shown} is no folder for a copy ({error.strerror}); move it away, and type the same again"
        ) from None
    try:
        held = whole_files.by_handle(handle)
        trusted = (0, settings.project_dir().stat().st_uid)
        if os.geteuid() == 0 and (os.fstat(handle).st_uid not in trusted or held.readlink() != shown):
            raise JobError(
                f"{shown} belongs to another user, or is reached by a link, so root writes nothing there; "
                "call this without sudo, as a member of etl_group"
            )
        yield held
    finally:
        os.close(handle)


def _content_of(path: Path) -> bytes | None:
    try:
        return read(path).content
    except JobError:
        return None
