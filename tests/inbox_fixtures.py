"""Fixtures: the mail servers of a worker's tests, and a mailbox of each kind."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import gmail_server
import imap_server
import oauth_server
import pytest
from conftest import Installation
from gmail_server import GmailServer
from imap_server import ImapServer
from mailboxes import GmailInbox, ImapInbox, Inbox
from oauth_server import OAuthServer


@pytest.fixture(scope="session")
def gmail_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GmailServer]:
    with gmail_server.gmail(tmp_path_factory.mktemp("gmail")) as server:
        yield server


@pytest.fixture(scope="session")
def rights_provider() -> Iterator[OAuthServer]:
    with oauth_server.oauth_server() as server:
        yield server


@pytest.fixture(scope="session")
def imap_host(rights_provider: OAuthServer) -> Iterator[ImapServer]:
    # Its processes run as another user than root, and sockets have short paths.
    folder = Path(tempfile.mkdtemp(prefix="etl_imap_", dir="/tmp"))
    folder.chmod(0o755)
    try:
        with imap_server.dovecot(folder, rights_provider.http.replace("localhost", "127.0.0.1")) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["gmail", "imap"])
def inbox(request: pytest.FixtureRequest, etl: Installation, tmp_path: Path) -> Inbox:
    """A mailbox of each kind."""
    if request.param == "gmail":
        return GmailInbox(etl, request.getfixturevalue("gmail_api"), tmp_path)
    return ImapInbox(etl, request.getfixturevalue("imap_host"), tmp_path)
