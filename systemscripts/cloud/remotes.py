"""The files that hold the remotes: one file for each, with only its own secrets, which only its owner can read."""

import contextlib
import os
import re
import shlex
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from systemscripts import known_secrets, settings
from systemscripts.errors import JobError
from systemscripts.user_utils import current_user

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")

# rclone's names of the clouds that we take files from, with ours.
KINDS = {
    "s3": "S3",
    "azureblob": "Azure Blob Storage",
    "google cloud storage": "Google Cloud Storage",
    "webdav": "WebDAV",
    "onedrive": "OneDrive or SharePoint",
    "drive": "Google Drive",
    "dropbox": "Dropbox",
}

# Such a setting names a program, or a file that may name one; one with a dot changes rclone as a whole.
_STARTS_A_PROGRAM = re.compile(r".*(command|mapper).*|.*\..*|use_az|shared_credentials_file|profile|unix_socket")

# As all of rclone's settings are called. What looks otherwise is a piece of a value that was broken into lines.
_SETTING = re.compile(r"[a-z][a-z0-9_.]*")


class BadRemote(JobError):
    """The file of a remote is not there, or holds what is not allowed."""


def file_of(name: str) -> Path:
    """Return the file of the remote with this name; raises BadRemote if the name is none."""
    if not NAME.fullmatch(name):
        raise BadRemote(
            f"{name!r} is no name of a remote; it must be letters, digits, _ and -, and begin with a letter or digit"
        )
    return settings.remotes_dir() / f"{name}.conf"


def check_file(name: str) -> Path:
    """Return the remote's file; raises BadRemote if it is missing, a link, another's, or readable by others."""
    file = file_of(name)
    quoted = shlex.quote(str(file))
    try:
        status = file.lstat()
    except FileNotFoundError:
        # rclone takes the file away for a moment when it writes a renewed token.
        if (old := file.with_name(f"{file.name}.old")).is_file():
            raise BadRemote(
                f"the remote {name}: {file} is missing, because rclone died while it wrote a token; type: mv"
                f" {shlex.quote(str(old))} {quoted}"
            ) from None
        raise BadRemote(
            f"there is no remote {name}: {file} is missing; docs/clouds.md says how it is made for each cloud"
        ) from None
    except OSError as error:
        raise BadRemote(f"the remote {name}: {file} cannot be looked at: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        raise BadRemote(f"the remote {name}: {file} is no plain file; write the remote's section into a file there")
    if status.st_uid != os.geteuid():
        raise BadRemote(
            f"the remote {name}: {file} belongs to another user; type: sudo chown {current_user()} {quoted}"
        )
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise BadRemote(f"the remote {name}: {file} can be read by others; type: chmod 600 {quoted}")
    if b"RCLONE_ENCRYPT_V0:" in file.read_bytes():
        raise BadRemote(
            f"the remote {name}: {file} is encrypted with a password, which a job cannot type; type: rclone config encryption"
            f" remove --config {quoted}"
        )
    return file


def not_understood(name: str) -> BadRemote:
    """Return what to raise for a file with a line that is no setting; the line is not told, because it may be secret."""
    return BadRemote(
        f"the remote {name}: {file_of(name)} has a line that is not NAME = value; write each value on one line, also a token or"
        " the JSON of a key"
    )


def check_sections(name: str, sections: Mapping[str, Mapping[str, str]]) -> str:
    """Check the sections of the remote's file, as rclone reads them, and return the kind of the remote's cloud."""
    file = file_of(name)
    if list(sections) != [name]:
        told = ", ".join(f"[{section}]" for section in sections) or "none"
        raise BadRemote(f"the remote {name}: {file} must have one section, [{name}]; it has {told}")
    section = sections[name]
    kind = section.get("type", "")
    if kind == "sftp":
        raise BadRemote(
            f"the remote {name}: its type is sftp; a server by SFTP is a row with kind = 'sftp' and its host,"
            " because there the key of the host is checked"
        )
    if kind not in KINDS:
        raise BadRemote(f"the remote {name}: its type in {file} is {kind!r}; it must be one of {', '.join(KINDS)}")
    for setting in section:
        if not _SETTING.fullmatch(setting):
            raise not_understood(name)
        if _STARTS_A_PROGRAM.fullmatch(setting):
            raise BadRemote(
                f"the remote {name}: {file} has the setting {setting}, which can start a program or change all of rclone;"
                " take that line out, and use keys or a token instead"
            )
    # It is written beside the file and renamed. What is not kept may be the only token that the cloud still takes.
    if "token" in section and not os.access(file.parent, os.W_OK | os.X_OK):
        raise BadRemote(
            f"the remote {name}: its token is renewed from time to time and kept in {file}, but {file.parent} cannot be written;"
            f" type: chmod u+w {shlex.quote(str(file.parent))}"
        )
    return kind


@contextlib.contextmanager
def secrets_masked(name: str) -> Iterator[None]:
    """Mask the remote's secrets in all output, also those of a token that is renewed during the block."""
    known_secrets.conceal_file(file_of(name))
    try:
        yield
    finally:
        known_secrets.conceal_file(file_of(name))
