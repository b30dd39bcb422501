"""One mailbox, by Gmail's API or by IMAP, as the tests of the inbox see it."""

import itertools
from pathlib import Path
from typing import Any

import gmail_server
import imap_server
from conftest import Installation
from gmail_server import GmailServer, mail
from imap_server import ImapServer

_numbers = itertools.count()


class Inbox:
    """A mailbox, the rules for it, and the directory that they save to."""

    account: str
    imap_server: str | None = None
    variables: dict[str, str]

    def __init__(self, etl: Installation) -> None:
        self.etl = etl
        self.directory = etl.home / "file_watcher" / "calendar"
        self.directory.mkdir()

    def deliver(self, raw: bytes) -> None:
        """Let a mail arrive."""
        raise NotImplementedError

    def labelled(self, name: str) -> list[str]:
        """Return the subjects of the mails with that label, or in that folder."""
        raise NotImplementedError

    def untouched(self) -> list[str]:
        """Return the subjects of the mails that are as they came: unread, and without a label of ours."""
        raise NotImplementedError

    def put_back(self) -> None:
        """Take the label off again, or move the mails back."""
        raise NotImplementedError

    def receive(self, *files: tuple[str, bytes], **headers: str) -> None:
        self.deliver(mail(*files, **headers))

    def rule(self, name: str = "calendar", **values: Any) -> int:
        columns = {
            "config_name": name, "gmail_account": self.account, "imap_server": self.imap_server,
            "sender_filter": "client@example.com", "local_repository_path": str(self.directory), **values,
        }  # fmt: skip
        names = ", ".join(columns)
        statement = (
            f"INSERT INTO dba.tinboxconfig ({names}) VALUES ({', '.join(['%s'] * len(columns))}) RETURNING config_id"
        )
        return int(self.etl.value(statement, *columns.values()))

    def run(self, *arguments: str, **more: str) -> Any:
        return self.etl.door("process_inbox.py", *arguments, **{**self.variables, **more})

    @property
    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.directory.iterdir()}

    @property
    def rows(self) -> list[str]:
        """Return the statuses of the mails that were looked at."""
        return [row[0] for row in self.etl.query("SELECT status FROM dba.tinboxmessage ORDER BY messageid")]


class GmailInbox(Inbox):
    def __init__(self, etl: Installation, server: GmailServer, folder: Path) -> None:
        super().__init__(etl)
        self.box = server.mailbox(folder)
        self.account, self.variables = self.box.account, self.box.variables

    def deliver(self, raw: bytes) -> None:
        self.box.receive(raw)

    def labelled(self, name: str) -> list[str]:
        return sorted(found["subject"] for found in self._mails() if name in found["labels"])

    def untouched(self) -> list[str]:
        return sorted(found["subject"] for found in self._mails() if found["labels"] == {"INBOX", "UNREAD"})

    def put_back(self) -> None:
        for found in self._mails():
            self.box.take_label_off(found["id"], "processed")

    def _mails(self) -> list[dict[str, Any]]:
        names = {label["id"]: label["name"] for label in self.box.call("GET", "/labels")["labels"]}
        found = []
        for listed in self.box.call("GET", "/messages?maxResults=500").get("messages", []):
            told = self.box.call("GET", f"/messages/{listed['id']}?format=metadata")
            subjects = [header["value"] for header in told["payload"]["headers"] if header["name"] == "Subject"]
            labels = {names[label] for label in told["labelIds"]}
            found.append({"id": listed["id"], "subject": "".join(subjects), "labels": labels})
        return found


class ImapInbox(Inbox):
    def __init__(self, etl: Installation, server: ImapServer, folder: Path) -> None:
        super().__init__(etl)
        self.server = server
        self.account, self.imap_server = f"box{next(_numbers)}@example.com", server.name
        password = gmail_server.write_secret(folder / "imap_password", imap_server.PASSWORD)
        authority = server.folder / "authority.pem"
        self.variables = {"ETL_IMAP_PASSWORD_FILE": str(password), "SSL_CERT_FILE": str(authority)}

    def deliver(self, raw: bytes) -> None:
        self.server.receive(self.account, raw)

    def labelled(self, name: str) -> list[str]:
        return sorted(self.server.subjects(self.account, name))

    def untouched(self) -> list[str]:
        assert not any(b"\\Seen" in flags for flags in self.server.flags(self.account))
        return sorted(self.server.subjects(self.account, "INBOX"))

    def put_back(self) -> None:
        with self.server.login(self.account) as client:
            client.select_folder("processed")
            client.move(client.search(), "INBOX")
