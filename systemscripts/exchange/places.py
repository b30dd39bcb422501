"""Where a setting sends a copy: by SFTP, or by rsync over ssh."""

import re
from dataclasses import dataclass

from systemscripts.exchange.config import ExchangeConfig

_HOST = r"[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\]"
_PATH = r"[^\x00-\x1f\x7f]*[^/\x00-\x1f\x7f]"
_SFTP = re.compile(rf"sftp://(?P<user>[^\s:@/]+)@(?P<host>{_HOST})(:(?P<port>[0-9]{{1,5}}))?/(?P<path>{_PATH})")
_RSYNC = re.compile(rf"rsync:(?P<login>[A-Za-z0-9_][^\s:@/]*@({_HOST})):(?P<path>{_PATH})")


@dataclass(frozen=True)
class SftpPlace:
    """A path on a server, such as `sftp://user@host:22/folder/file`; the path is below the login's folder."""

    user: str
    host: str
    port: int
    path: str

    def config(self, name: str) -> ExchangeConfig:
        """Return what logs in there; the password, if any, is that of a row of this name."""
        return ExchangeConfig(
            config_id=0,
            config_name=name,
            host=self.host,
            port=self.port,
            username=self.user,
            key_file=None,
            incoming_path="",
            outgoing_path=None,
            file_pattern="*",
            remove_taken=False,
            local_repository_path="",
            key_setting="the key in ~/.ssh of this user",
        )


@dataclass(frozen=True)
class RsyncPlace:
    """A path on a server, such as `rsync:user@host:folder/file`; `login` is `user@host`."""

    login: str
    path: str


Place = SftpPlace | RsyncPlace


def place_of(text: str) -> Place | None:
    """Return the place that the text names; None if it is no place of these kinds.

    >>> place_of("rsync:me@web:www/page.html")
    RsyncPlace(login='me@web', path='www/page.html')
    """
    if (found := _SFTP.fullmatch(text)) and int(found["port"] or 22) <= 65535:
        return SftpPlace(found["user"], found["host"].strip("[]"), int(found["port"] or 22), found["path"])
    if found := _RSYNC.fullmatch(text):
        return RsyncPlace(found["login"], found["path"])
    return None
