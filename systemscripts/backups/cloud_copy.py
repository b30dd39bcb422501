"""Copy a finished backup into the cloud that ETL_BACKUP_COPY_TO names as rclone:NAME/folder.

Usage: python -m systemscripts.backups.cloud_copy check
       python -m systemscripts.backups.cloud_copy FOLDER

Each file is compared there with what was sent, and SHA256SUMS goes last: a copy without it is none. Nothing is deleted
there. What an earlier run has sent is read back, and not sent a second time.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from systemscripts import settings, whole_files
from systemscripts.command_line import run_command, wrong_call
from systemscripts.errors import JobError
from systemscripts.places import CloudPlace, place_of
from systemscripts.plain_text import say

if TYPE_CHECKING:
    from systemscripts.cloud.remote import Remote

SUMS = "SHA256SUMS"


def place() -> CloudPlace:
    """Return the place of the setting; raises SettingError if it is none in a cloud."""
    text = settings.backup_copy_to()
    found = place_of(text)
    if not isinstance(found, CloudPlace):
        raise settings.SettingError(
            f"ETL_BACKUP_COPY_TO must be rclone:NAME/bucket/folder for a copy in a cloud; there was: {text}"
        )
    return found


def copy(cloud: "Remote", folder: Path, target: str) -> int:
    """Copy the folder to the target and return how many files were sent.

    Raises JobError if a file is not what its checksum says, or if another backup is there.
    """
    sums = sums_of(folder)
    sent = 0
    for name, sha256 in [*sums.items(), (SUMS, whole_files.sha256_of(folder / SUMS))]:
        if whole_files.sha256_of(folder / name) != sha256:
            raise JobError(f"{folder / name} is not what its checksum says: the backup was changed or is damaged")
        path = f"{target}/{name}"
        if _is_there(cloud, path, sha256):
            continue
        cloud.put(folder / name, path)
        sent += 1
    return sent


def sums_of(folder: Path) -> dict[str, str]:
    """Return the checksums of the backup's files by their names."""
    lines = [line.split(maxsplit=1) for line in (folder / SUMS).read_text().splitlines()]
    return {name.removeprefix("*"): sha256 for sha256, name in lines}


def _is_there(cloud: "Remote", path: str, sha256: str) -> bool:
    """Return whether the file is there, by its bytes: at a store that locks its objects each sending costs a version."""
    found = cloud.stat(path)
    if found is None:
        return False
    is_ours = cloud.sha256_of(path, found) == sha256
    if not is_ours and path.endswith(f"/{SUMS}"):
        raise JobError(f"there is another backup at {path.removesuffix(f'/{SUMS}')}; is it another machine's?")
    return is_ours


def main(arguments: list[str]) -> int:
    match arguments:
        case ["check"]:
            place()
            return 0
        case [folder]:
            from systemscripts.cloud import remote

            where = place()
            with remote.opened(where.remote) as cloud:
                sent = copy(cloud, Path(folder), f"{where.path}/{Path(folder).name}")
            say(f"copied {Path(folder).name}: {sent} files sent, all compared")
            return 0
    raise wrong_call(__doc__)


if __name__ == "__main__":
    run_command("cloud_copy", main)
