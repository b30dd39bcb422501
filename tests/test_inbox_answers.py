"""Answers to those who sent mail: once, when it is known what came of the files, and never in circles."""

from pathlib import Path
from typing import Any

import pytest
from conftest import Installation
from gmail_server import mail
from imap_server import ImapServer
from mailboxes import ImapInbox
from smtp_server import SENDER, MailServer, mail_server

from systemscripts.arrivals.outcomes import for_outsiders

pytest_plugins = ["inbox_fixtures"]

NAME = "20260302T050000_MeetMaxURLCheck.csv"
CSV = b"EventID,URL\n1,u\n2,v\n"


class Desk:
    """A mailbox whose rule answers, the import of its files, and a mail server."""

    def __init__(self, inbox: ImapInbox, server: MailServer) -> None:
        self.inbox, self.server, self.etl = inbox, server, inbox.etl
        # Each of the two servers of the tests has the same authority.
        self.variables = {**server.variables, **inbox.variables}
        inbox.etl.query("UPDATE dba.timportconfig SET source_directory = %s WHERE config_id = 1", str(inbox.directory))
        inbox.rule(answer_sender=True, sender_filter="@example.com")

    def run(self, *arguments: str, **more: str) -> Any:
        return self.inbox.run(*arguments, **{**self.variables, **more})

    def take_and_import(self) -> Any:
        self.run()
        self.etl.door("run_import_job.py", "1")
        return self.run("--answers")

    @property
    def texts(self) -> list[str]:
        return [received.message.get_content() for received in self.server.received]

    @property
    def noted(self) -> list[str | None]:
        return [row[0] for row in self.etl.query("SELECT answer FROM dba.tinboxmessage ORDER BY messageid")]


@pytest.fixture
def desk(etl: Installation, imap_host: ImapServer, tmp_path: Path) -> Any:
    with mail_server(tmp_path) as server:
        yield Desk(ImapInbox(etl, imap_host, tmp_path), server)


def test_the_sender_is_told_what_came_of_each_file(desk: Desk):
    desk.inbox.receive((NAME, CSV), ("20260303T050000_MeetMaxURLCheck.csv", b"EventID\n1,2,3\n"), message_id="<m@x>")

    assert desk.run().returncode == 0
    assert desk.server.received == []  # no import has looked at them yet
    desk.etl.door("run_import_job.py", "1")
    assert desk.run("--answers").returncode == 0
    assert desk.run().returncode == 0  # nobody is told twice

    (received,) = desk.server.received
    assert received.recipients == ["client@example.com"]
    assert f"{NAME}: loaded, 2 rows" in desk.texts[0]
    assert "20260303T050000_MeetMaxURLCheck.csv: rejected: " in desk.texts[0]
    assert str(desk.etl.home) not in desk.texts[0]
    assert received.message["Subject"] == "Re: conference calendar"
    assert received.message["In-Reply-To"] == "<m@x>"
    assert received.message["Auto-Submitted"] == "auto-replied"
    assert desk.noted == ["Sent"]
    assert desk.etl.value("SELECT bool_and(told_at IS NOT NULL) FROM dba.treceivedfile")


def test_a_mail_that_was_rejected_is_answered_at_once(desk: Desk):
    whole = mail((NAME, CSV))
    desk.inbox.deliver(whole[: whole.rindex(b"--")])

    desk.run()

    assert "rejected: it was cut" in desk.texts[0]


def test_the_same_file_again_is_answered_too(desk: Desk):
    desk.inbox.receive((NAME, CSV))
    desk.take_and_import()
    desk.inbox.receive((NAME, CSV))
    desk.take_and_import()

    assert "received before" in desk.texts[1]


@pytest.mark.parametrize(
    "headers",
    [
        {"Auto-Submitted": "auto-replied"},
        {"Precedence": "bulk"},
        {"List-Id": "<list.example.com>"},
        {"Return-Path": "<>"},
        {"X-Auto-Response-Suppress": "All"},
        {"sender": "no-reply@example.com"},
        {"sender": "MAILER-DAEMON@example.com"},
        {"sender": "calendar-noreply@example.com"},
        {"sender": SENDER},
    ],
    ids=str,
)
def test_a_program_is_not_answered(desk: Desk, headers: dict[str, str]):
    desk.inbox.receive((NAME, CSV), **headers)

    assert desk.take_and_import().returncode == 0
    assert desk.inbox.rows == ["Saved"]
    assert desk.noted == ["None"]
    assert desk.server.received == []


def test_our_own_answer_coming_back_is_not_answered(desk: Desk):
    desk.inbox.receive((NAME, CSV))
    desk.take_and_import()
    answer = desk.server.received[0].message
    answer.replace_header("From", "client@example.com")
    answer.make_mixed()
    answer.add_attachment(b"EventID\n9\n", "text", "csv", filename="20260304T050000_MeetMaxURLCheck.csv")
    desk.inbox.deliver(answer.as_bytes())
    desk.take_and_import()

    assert desk.noted == ["Sent", "None"]
    assert len(desk.server.received) == 1


def test_one_sender_gets_so_many_answers_a_day(desk: Desk):
    desk.etl.query(
        "INSERT INTO dba.tinboxmessage (account, mailbox_id, config_id, status, sender, answer, answered_at)"
        " SELECT 'x', n::text, (SELECT max(config_id) FROM dba.tinboxconfig), 'Saved', 'client@example.com', 'Sent', now()"
        " FROM generate_series(1, 49) AS n"
    )
    for number in (4, 5):
        desk.inbox.receive((f"2026030{number}T050000_MeetMaxURLCheck.csv", CSV))
    desk.take_and_import()

    assert len(desk.server.received) == 1
    assert desk.noted[-2:] == ["Sent", "None"]


def test_a_file_that_no_import_takes_is_told_of_after_a_day(desk: Desk):
    desk.inbox.receive(("readme.txt", b"x"))
    desk.run()
    assert desk.server.received == []
    desk.etl.query("UPDATE dba.treceivedfile SET created_at = now() - interval '2 days'")

    desk.run("--answers")

    assert "readme.txt: received; " in desk.texts[0]


def test_a_mail_server_that_is_away_is_tried_by_the_next_run(desk: Desk):
    desk.inbox.receive((NAME, CSV))
    desk.run()
    desk.etl.door("run_import_job.py", "1")

    away = desk.run("--answers", SMTP_PORT="1")
    assert away.returncode == 75
    assert desk.noted == [None]
    assert desk.run("--answers").returncode == 0
    assert len(desk.server.received) == 1


def test_an_answer_that_may_have_got_there_is_not_sent_again(desk: Desk):
    desk.inbox.receive((NAME, CSV))
    desk.run()
    desk.etl.door("run_import_job.py", "1")
    desk.etl.query("UPDATE dba.tinboxmessage SET answer = 'Sending'")  # killed while the text was on its way

    result = desk.run("--answers")

    assert "is unknown" in result.stderr
    assert desk.noted == ["Unknown"]
    assert desk.server.received == []


def test_a_refused_address_is_noted(desk: Desk):
    desk.server.answers["RCPT client@example.com"] = ["550 no such user"]
    desk.inbox.receive((NAME, CSV))

    assert desk.take_and_import().returncode == 1
    assert desk.noted == ["Refused"]


def test_answers_to_anybody_cannot_be_configured(desk: Desk):
    with pytest.raises(Exception, match="answer_sender needs a sender_filter"):
        desk.inbox.rule("open", answer_sender=True, sender_filter=None)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("/srv/in/a.csv: line 3", "a.csv: line 3"),
        ("bad\r\nBcc: x@y", "bad Bcc: x@y"),
        ("column 1/2 is short", "column 1/2 is short"),
        ("x" * 400, "x" * 299 + "…"),
    ],
)
def test_reasons_for_outsiders(reason: str, expected: str):
    assert for_outsiders(reason) == expected
