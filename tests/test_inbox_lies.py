"""A server that gives another mail than the one it told of, or not all of it: nothing of that is saved, and no mail is lost."""

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Installation
from gmail_server import mail
from imap_server import ImapServer
from lying_imap import Lie, literal, lying
from mailboxes import ImapInbox

pytest_plugins = ["inbox_fixtures"]

CSV = b"a,b\n" + b"1,x\n" * 300
OTHER = mail(("two.csv", b"a,b\n2,y\n"), subject="two", message_id="<two@example.com>")


@pytest.fixture
def box(etl: Installation, imap_host: ImapServer, tmp_path: Path) -> ImapInbox:
    """A mailbox with two mails that a rule wants; the first is one text, and so has no mark at its end."""
    inbox = ImapInbox(etl, imap_host, tmp_path)
    inbox.rule(processed_label="processed")
    head = b"From: client@example.com\r\nSubject: one\r\nMessage-ID: <one@example.com>\r\nContent-Type: text/csv\r\n"
    inbox.deliver(head + b"Content-Disposition: attachment; filename=one.csv\r\n\r\n" + CSV.replace(b"\n", b"\r\n"))
    inbox.deliver(OTHER)
    return inbox


def of_the_first(lie: Callable[[bytes], bytes]) -> Lie:
    return lambda content: lie(content) if b"Subject: one" in content else None


LIES = {
    "half of it": lambda content: literal(content[: len(content) // 2]),
    "all but its last byte": lambda content: literal(content[:-1]),
    "more than it has": lambda content: literal(content + b"9,z\r\n"),
    "nothing": lambda _content: literal(b""),
    "NIL": lambda _content: b"BODY[] NIL",
    "no content at all": lambda _content: b"FLAGS ()",
    "another mail": lambda _content: literal(OTHER.replace(b"\n", b"\r\n")),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_what_is_not_the_mail_or_not_all_of_it_is_asked_for_again(box: ImapInbox, imap_host: ImapServer, lie):
    with lying(imap_host, of_the_first(lie)) as name:
        box.etl.query("UPDATE dba.tinboxconfig SET imap_server = %s", name)
        first = box.run()

    assert first.returncode == 75
    assert f"{name} sent" in first.stderr or "content of another mail" in first.stderr
    assert sorted(box.files) == ["two.csv"]
    assert (box.untouched(), box.labelled("processed")) == (["one"], ["two"])
    assert box.rows == ["Saved"]

    box.etl.query("UPDATE dba.tinboxconfig SET imap_server = %s", imap_host.name)
    assert box.run().returncode == 0
    assert box.files["one.csv"].replace(b"\r\n", b"\n") == CSV
    assert box.untouched() == []


def test_another_mail_of_the_same_size_is_known_by_its_message_id(box: ImapInbox, imap_host: ImapServer):
    with lying(imap_host, of_the_first(lambda content: literal(content.replace(b"<one@", b"<six@")))) as name:
        box.etl.query("UPDATE dba.tinboxconfig SET imap_server = %s", name)
        result = box.run()

    assert result.returncode == 75
    assert "another mail, with Message-ID <six@example.com>" in result.stderr
    assert box.untouched() == ["one"]


def test_a_lie_that_is_told_once_is_asked_about_at_once(box: ImapInbox, imap_host: ImapServer):
    told: list[bytes] = []

    def once(content: bytes) -> bytes | None:
        told.append(content)
        return b"BODY[] NIL" if len(told) == 1 else None

    with lying(imap_host, once) as name:
        box.etl.query("UPDATE dba.tinboxconfig SET imap_server = %s", name)
        assert box.run().returncode == 0

    assert sorted(box.files) == ["one.csv", "two.csv"]


def test_a_folder_that_is_made_anew_while_it_is_read_gives_its_mails_to_the_next_run(
    etl: Installation, imap_host: ImapServer, tmp_path: Path
):
    """The new one may give the old numbers to other mails: none of them is taken for one that was read before."""
    inbox = ImapInbox(etl, imap_host, tmp_path)
    inbox.rule(processed_label="processed", folder="Feeds")

    def fill(content: bytes) -> None:
        with imap_host.login(inbox.account) as client:
            if client.folder_exists("Feeds"):
                client.delete_folder("Feeds")
            client.create_folder("Feeds")
            client.append("Feeds", content)

    fill(mail(("one.csv", CSV), subject="one"))
    with lying(imap_host, lambda _: fill(OTHER)) as name:
        etl.query("UPDATE dba.tinboxconfig SET imap_server = %s", name)
        first = inbox.run()
    etl.query("UPDATE dba.tinboxconfig SET imap_server = %s", imap_host.name)
    second = inbox.run()

    assert (first.returncode, second.returncode) == (75, 0)
    assert "deleted and made again" in first.stderr
    assert sorted(inbox.files) == ["one.csv", "two.csv"]
    assert inbox.labelled("processed") == ["two"]


def test_a_server_that_estimates_sizes_is_taken_at_its_word_where_a_setting_says_so(
    box: ImapInbox, imap_host: ImapServer
):
    longer = of_the_first(lambda content: literal(content + b"\r\n"))
    with lying(imap_host, longer) as name:
        box.etl.query("UPDATE dba.tinboxconfig SET imap_server = %s", name)
        asked = box.run()
        taken = box.run(ETL_IMAP_EXACT_SIZES="no")

    assert "ETL_IMAP_EXACT_SIZES=no" in asked.stderr
    assert (asked.returncode, taken.returncode) == (75, 0)
    assert sorted(box.files) == ["one.csv", "two.csv"]


@pytest.mark.parametrize(
    "header",
    [
        "multipart/mixed; boundary*=a; boundary*0=b",
        "multipart/mixed; boundary*=idna'en'x",
        f"multipart/mixed; boundary*{'1' * 5000}=b",
        'text/plain; charset="a\0b"',
    ],
)
def test_a_mail_whose_headers_make_no_sense_stops_no_other(
    etl: Installation, imap_host: ImapServer, tmp_path: Path, header: str
):
    inbox = ImapInbox(etl, imap_host, tmp_path)
    inbox.rule(processed_label="processed")
    inbox.deliver(f"From: stranger@example.com\r\nSubject: x\r\nContent-Type: {header}\r\n\r\nx\r\n".encode())
    inbox.deliver(OTHER)

    assert inbox.run().returncode == 0
    assert sorted(inbox.files) == ["two.csv"]
