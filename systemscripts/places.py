"""Where a setting sends copies: a server by SFTP or by rsync over ssh, or a cloud."""

import re
from dataclasses import dataclass

_HOST = r"[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\]"
_PATH = r"[^\x00-\x1f\x7f]*[^/\x00-\x1f\x7f]"
_SFTP = re.compile(rf"sftp://(?P<user>[^\s:@/]+)@(?P<host>{_HOST})(:(?P<port>[0-9]{{1,5}}))?/(?P<path>{_PATH})")
_RSYNC = re.compile(rf"rsync:(?P<login>[A-Za-z0-9_][^\s:@/]*@({_HOST})):(?P<path>{_PATH})")
# A name of our own in front, because rsync takes NAME:path for a host.
_CLOUD = re.compile(rf"rclone:(?P<remote>[A-Za-z0-9][A-Za-z0-9_-]*)/(?P<path>{_PATH})")


@dataclass(frozen=True)
class SftpPlace:
    """A path on a server, such as `sftp://user@host:22/folder/file`; the path is below the login's folder."""

    user: str
    host: str
    port: int
    path: str


@dataclass(frozen=True)
class RsyncPlace:
    """A path on a server, such as `rsync:user@host:folder/file`; `login` is `user@host`."""

    login: str
    path: str


@dataclass(frozen=True)
class CloudPlace:
    """A path in a cloud, such as `rclone:offsite/bucket/folder`; `remote` is the name of the remote's file."""

    remote: str
    path: str


Place = SftpPlace | RsyncPlace | CloudPlace


def place_of(text: str) -> Place | None:
    """Return the place that the text names; None if it is no place of these kinds.

    >>> place_of("rclone:offsite/bucket/backups")
    CloudPlace(remote='offsite', path='bucket/backups')
    """
    if (found := _SFTP.fullmatch(text)) and int(found["port"] or 22) <= 65535:
        return SftpPlace(found["user"], found["host"].strip("[]"), int(found["port"] or 22), found["path"])
    if found := _RSYNC.fullmatch(text):
        return RsyncPlace(found["login"], found["path"])
    if found := _CLOUD.fullmatch(text):
        return CloudPlace(found["remote"], found["path"])
    return None
