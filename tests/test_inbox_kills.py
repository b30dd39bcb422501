"""Killed at any step, the next run finishes: each file once, each mail labelled once, nothing else touched."""

import pytest
from mailboxes import Inbox
from test_import_crashes import Steps, count_every_step, dies_at, steps_to_die_at

from systemscripts import db_config
from systemscripts.inbox import open_mailbox, taking
from systemscripts.inbox.gmail import GmailMailbox
from systemscripts.inbox.imap import ImapMailbox
from systemscripts.inbox.rules import by_place, load_rules

pytest_plugins = ["inbox_fixtures"]


def take_everything() -> None:
    with db_config.session() as connection:
        for place, rules in by_place(load_rules(connection)).items():
            with open_mailbox(place) as mailbox:
                list(taking.take_mail(connection, mailbox, place, rules, dry_run=False))


def count_with_what_the_mailbox_is_asked(steps: Steps) -> None:
    count_every_step(steps)
    for kind in (GmailMailbox, ImapMailbox):
        for name in ("waiting", "look_at", "content", "put_label"):
            setattr(kind, name, steps.around(getattr(kind, name)))


def run_and_die_at(step: int) -> bool:
    return dies_at(step, take_everything, count_with_what_the_mailbox_is_asked)


@pytest.fixture(autouse=True)
def settings_of_the_mailbox(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in inbox.variables.items():
        monkeypatch.setenv(name, value)


def fill(inbox: Inbox, mails: int, files_each: str = "ab") -> dict[str, bytes]:
    """Let wanted mails come, an unwanted one after each ten, and return the files that are to be there in the end."""
    inbox.rule(subject_pattern="list")
    files = {}
    for number in range(mails):
        own = [(f"{number:03}{letter}.csv", b"%s%d" % (letter.encode(), number)) for letter in files_each]
        files |= dict(own)
        inbox.receive(*own, subject=f"list {number:03}")
        if number % 10 == 0:
            inbox.receive(("other.csv", b"x"), subject=f"other {number:03}")
    return files


def outcome(inbox: Inbox) -> dict[str, object]:
    (messages,) = inbox.etl.query(
        "SELECT count(*) FILTER (WHERE status = 'Saved' AND labelled_at IS NOT NULL), count(*) FILTER (WHERE status <> 'Unmatched')"
        " FROM dba.tinboxmessage"
    )
    (files,) = inbox.etl.query("SELECT count(*) FILTER (WHERE status = 'Saved'), count(*) FROM dba.treceivedfile")
    return {
        "files": inbox.files, "processed": inbox.labelled("processed"), "errors": inbox.labelled("errorprocessed"),
        "kept": len(list((inbox.etl.home / "archive/inbox").rglob("*.eml"))), "messages": messages, "rows": files,
    }  # fmt: skip


def once(files: dict[str, bytes], mails: int) -> dict[str, object]:
    """Return the outcome where each of the mails came once."""
    subjects = [f"list {number:03}" for number in range(mails)]
    return {
        "files": files, "processed": subjects, "errors": [], "kept": mails, "messages": (mails, mails),
        "rows": (len(files), len(files)),
    }  # fmt: skip


def test_killed_at_each_step_the_next_run_finishes_once(inbox: Inbox):
    files = fill(inbox, 1, "a")
    for step in steps_to_die_at():
        if not run_and_die_at(step):
            break
        take_everything()
        take_everything()
        assert outcome(inbox) == once(files, 1), f"step {step}"
        start_over(inbox)
    assert step > 30
    assert outcome(inbox) == once(files, 1)


def start_over(inbox: Inbox) -> None:
    """Make it as if the mail had just come."""
    inbox.etl.query("TRUNCATE dba.tinboxmessage, dba.treceivedfile")
    for path in [*inbox.directory.iterdir(), *(inbox.etl.home / "archive/inbox").rglob("*.eml")]:
        path.unlink()
    inbox.put_back()


def test_forty_mails_through_many_kills(inbox: Inbox):
    files = fill(inbox, 40)
    kills = 0
    for step in range(50, 1_000, 8):
        if not run_and_die_at(step):
            break
        kills += 1
    take_everything()
    take_everything()

    assert kills > 10
    assert outcome(inbox) == once(files, 40)
    assert inbox.untouched() == [f"other {number:03}" for number in range(0, 40, 10)]
