"""A real dovecot over TLS, run by an ordinary user, with a mailbox for each test."""

import contextlib
import getpass
import grp
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imapclient import IMAPClient
from needs import missing
from smtp_server import authority

PASSWORD = "password-of-the-tests"

CONFIGURATION = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
protocols = imap
default_login_user = {user}
default_internal_user = {user}
default_internal_group = {group}
mail_location = maildir:{folder}/mail/%u
mail_uid = {uid}
mail_gid = {gid}
first_valid_uid = 0
first_valid_gid = 0
ssl = required
ssl_cert = <{folder}/server.pem
ssl_key = <{folder}/server.pem
disable_plaintext_auth = yes
auth_mechanisms = plain xoauth2 oauthbearer
auth_failure_delay = 0
passdb {{
  driver = static
  mechanisms = plain
  args = password={password}
}}
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {folder}/oauth2.conf
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={folder}/mail/%u
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = 0
  }}
  inet_listener imaps {{
    address = 127.0.0.1
    port = {port}
  }}
}}
service anvil {{
  chroot =
  # Without this a refused login delays the next ones from the same address.
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  chroot =
}}
namespace inbox {{
  inbox = yes
}}
"""

OAUTH2 = """
introspection_mode = post
introspection_url = {provider}/introspect
username_attribute = username
active_attribute = active
active_value = true
"""


@dataclass
class ImapServer:
    port: int
    folder: Path

    @property
    def name(self) -> str:
        return f"localhost:{self.port}"

    @contextlib.contextmanager
    def login(self, account: str) -> Iterator[IMAPClient]:
        with IMAPClient("localhost", self.port, ssl_context=trusting(self.folder), timeout=10) as client:
            client.login(account, PASSWORD)
            yield client

    def receive(self, account: str, *mails: bytes) -> None:
        with self.login(account) as client:
            for raw in mails:
                client.append("INBOX", raw)

    def subjects(self, account: str, folder: str) -> list[str]:
        """Return the subjects of the mails in a folder; none where there is no such folder."""
        with self.login(account) as client:
            if not client.folder_exists(folder):
                return []
            client.select_folder(folder, readonly=True)
            found = client.fetch(client.search(), ["ENVELOPE"])
            return [found[uid][b"ENVELOPE"].subject.decode() for uid in sorted(found)]

    def flags(self, account: str) -> list[tuple[bytes, ...]]:
        with self.login(account) as client:
            client.select_folder("INBOX", readonly=True)
            found = client.fetch(client.search(), ["FLAGS"])
            return [found[uid][b"FLAGS"] for uid in sorted(found)]


def trusting(folder: Path) -> object:
    import ssl

    return ssl.create_default_context(cafile=str(folder / "authority.pem"))


@contextlib.contextmanager
def dovecot(folder: Path, provider: str) -> Iterator[ImapServer]:
    """Run dovecot; it asks the provider of rights whose a token is."""
    program = shutil.which("dovecot", path="/usr/sbin:/usr/bin")
    if program is None or not Path("/usr/lib/dovecot/imap").exists():
        missing("dovecot-imapd is not installed", "dovecot-imapd")
    authority().cert_pem.write_to_path(folder / "authority.pem")
    authority().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        server = ImapServer(probe.getsockname()[1], folder)
    user = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwnam(getpass.getuser())
    (folder / "mail").mkdir()
    os.chown(folder / "mail", user.pw_uid, user.pw_gid)
    configuration = folder / "dovecot.conf"
    configuration.write_text(
        CONFIGURATION.format(
            folder=folder, user=user.pw_name, group=grp.getgrgid(user.pw_gid).gr_name, uid=user.pw_uid, gid=user.pw_gid,
            password=PASSWORD, port=server.port,
        )
    )  # fmt: skip
    (folder / "oauth2.conf").write_text(OAUTH2.format(provider=provider))
    process = subprocess.Popen([str(program), "-F", "-c", str(configuration)], stderr=subprocess.PIPE)
    try:
        _wait_until_it_listens(server, process)
        yield server
    finally:
        process.terminate()
        process.wait(10)


def _wait_until_it_listens(server: ImapServer, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError((process.stderr.read() if process.stderr else b"").decode())
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", server.port), 1):
            return
        time.sleep(0.02)
    raise AssertionError("dovecot does not listen")
