"""The copy of the status page on another server or in a cloud: ETL_PAGE_COPY."""

import os
import tempfile
from pathlib import Path

from systemscripts import settings
from systemscripts.errors import JobError, TemporaryFailure
from systemscripts.exchange import rsync
from systemscripts.exchange.config import ExchangeConfig
from systemscripts.places import Place, RsyncPlace, SftpPlace, place_of

# The file of its password is sftp_status_page.password.
_NAME = "status_page"
_MODE = 0o644  # of the new file on a web server, which must read it


def copy(page: bytes) -> str:
    """Put the page where ETL_PAGE_COPY says, whole under its name, and return that; "" if it is not set.

    Raises SettingError if it is no such place, and TemporaryFailure with the cure if the page cannot be copied.
    """
    text = settings.page_copy()
    if not text:
        return ""
    place = place_of(text)
    if place is None:
        # The value is not shown: a password may stand in it.
        password = f"{settings.user_config_dir()}/sftp_{_NAME}.password"
        raise settings.SettingError(
            "ETL_PAGE_COPY must be sftp://user@host/page.html, sftp://user@host:port/folder/page.html, "
            "rsync:user@host:folder/page.html or rclone:NAME/folder/page.html; a password does not belong there, "
            f"but that of SFTP into {password}"
        )
    try:
        _put(page, place)
    except (JobError, OSError) as problem:
        raise TemporaryFailure(f"the page is built, but was not copied to {text}: {problem}") from None
    return text


def _put(page: bytes, place: Place) -> None:
    if isinstance(place, SftpPlace):
        from systemscripts.exchange import remote_folder

        with remote_folder.opened(_config(place)) as folder:
            folder.replace(place.path, page)
        return
    # By the ending of this name a cloud knows that it is a page, which a browser then shows.
    with tempfile.NamedTemporaryFile(suffix=".html") as file:
        file.write(page)
        file.flush()
        os.fchmod(file.fileno(), _MODE)
        if isinstance(place, RsyncPlace):
            rsync.put(file.name, place)
        else:
            from systemscripts.cloud import remote

            with remote.opened(place.remote) as cloud:
                cloud.put(Path(file.name), place.path)


def _config(place: SftpPlace) -> ExchangeConfig:
    return ExchangeConfig(
        config_id=0,
        config_name=_NAME,
        host=place.host,
        port=place.port,
        username=place.user,
        key_file=None,
        incoming_path="",
        outgoing_path=None,
        file_pattern="*",
        remove_taken=False,
        local_repository_path="",
        key_setting="the key in ~/.ssh of this user",
    )
