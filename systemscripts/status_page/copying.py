"""The copy of the status page on another server, by SFTP: ETL_PAGE_COPY."""

import re

from systemscripts import settings
from systemscripts.errors import JobError, TemporaryFailure
from systemscripts.exchange.config import ExchangeConfig

_PLACE = re.compile(
    r"sftp://(?P<user>[^\s:@/]+)@(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?/(?P<path>[^\x00-\x1f\x7f]*[^/\x00-\x1f\x7f])"
)
# The file of its password is sftp_status_page.password.
_NAME = "status_page"


def copy(page: bytes) -> str:
    """Put the page where ETL_PAGE_COPY says, whole under its name, and return that; "" if it is not set.

    Raises SettingError if it is no such place, and TemporaryFailure with the cure if the page cannot be copied.
    """
    place = settings.page_copy()
    if not place:
        return ""
    config, path = _server_and_path(place)
    from systemscripts.exchange import remote_folder

    try:
        with remote_folder.opened(config) as folder:
            folder.replace(path, page)
    except (JobError, OSError) as problem:
        raise TemporaryFailure(f"the page is built, but was not copied to {place}: {problem}") from None
    return place


def _server_and_path(place: str) -> tuple[ExchangeConfig, str]:
    found = _PLACE.fullmatch(place)
    if not found or int(found["port"] or 22) > 65535:
        # The value is not shown: a password may stand in it.
        password = f"{settings.user_config_dir()}/sftp_{_NAME}.password"
        raise settings.SettingError(
            "ETL_PAGE_COPY must be sftp://user@host/page.html or sftp://user@host:port/folder/page.html; "
            f"a password does not belong there, but into {password}"
        )
    config = ExchangeConfig(
        config_id=0,
        config_name=_NAME,
        host=found["host"].strip("[]"),
        port=int(found["port"] or 22),
        username=found["user"],
        key_file=None,
        incoming_path="",
        outgoing_path=None,
        file_pattern="*",
        remove_taken=False,
        local_repository_path="",
        key_setting="the key in ~/.ssh of this user",
    )
    return config, found["path"]
