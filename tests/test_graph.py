"""Microsoft Graph in place of IMAP and SMTP: mail is taken once, and it is known who has what was sent."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import Installation
from gmail_server import mail
from graph_server import BROKEN_LINE, GraphServer, graph_server, refusal
from oauth_server import RESET, Answer, OAuthServer
from smtp_server import SENDER

from systemscripts import db_config
from systemscripts.doctor import mail as doctor
from systemscripts.inbox import mailbox_consent, open_mailbox, taking
from systemscripts.inbox.mailbox import MailboxError, MailboxUnavailable
from systemscripts.inbox.rules import by_place, load_rules
from systemscripts.mail import composing, smtp
from systemscripts.mail.composing import MailError, MailUnavailable, OutcomeUnknown
from systemscripts.mail.oauth import kept_rights, rights
from systemscripts.web import api

pytest_plugins = ["inbox_fixtures"]
pytestmark = pytest.mark.slow

BOX = "box@example.com"
A, B, C = "a@example.com", "b@example.com", "c@example.com"
CSV = b"a\n1\n"
PROXY = Answer(200, "<html>log in to the network</html>")


@pytest.fixture
def graph(rights_provider: OAuthServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GraphServer]:
    """Graph, with the rights to a mailbox and to send; nobody waits."""
    rights_provider.troubles.clear()
    rights_provider.forms.clear()
    rights_provider.rotates, rights_provider.lasts = True, 3600
    for memory in (rights._refused, rights._not_before):
        memory.clear()
    monkeypatch.setattr(api, "wait", lambda _seconds: None)
    with graph_server(rights_provider) as server:
        variables = rights_provider.describe(tmp_path / "oauth", "graph", like="graph", api=f"{server.url}/v1.0")
        for name, value in {**variables, "ETL_EMAIL": SENDER, "ETL_SMTP_AUTH": "graph"}.items():
            monkeypatch.setenv(name, value)
        for account in (BOX, SENDER):
            rights_provider.grant(tmp_path / "oauth", account, "graph", scopes=[])
        yield server


# ---- mail that comes -----------------------------------------------------------------------


@pytest.fixture
def folder(etl: Installation, graph: GraphServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a rule for the mailbox."""
    directory = etl.home / "file_watcher" / "calendar"
    directory.mkdir()
    for name, value in etl.variables.items():
        monkeypatch.setenv(name, value)
    etl.query(
        "INSERT INTO dba.tinboxconfig (config_name, gmail_account, auth, sender_filter, local_repository_path, processed_label)"
        " VALUES ('calendar', %s, 'graph', 'client@example.com', %s, 'Done/by us')",
        BOX, str(directory),
    )  # fmt: skip
    return directory


def take() -> list[taking.MailOutcome]:
    with closing(db_config.connect()) as connection:
        ((place, rules),) = by_place(load_rules(connection)).items()
        with open_mailbox(place) as mailbox:
            return list(taking.take_mail(connection, mailbox, place, rules, dry_run=False))


def test_wanted_mail_is_saved_and_moved_and_other_mail_is_left(etl: Installation, graph: GraphServer, folder: Path):
    graph.receive(mail(("a.csv", CSV), subject="wanted"))
    graph.receive(mail(("b.csv", CSV), subject="not wanted", sender="other@example.com"))

    result = etl.door(
        "process_inbox.py", **{name: os.environ[name] for name in ("ETL_OAUTH_DIR", "REQUESTS_CA_BUNDLE")}
    )

    assert result.returncode == 0, result.stderr
    assert [path.name for path in folder.iterdir()] == ["a.csv"]
    assert graph.subjects("by us") == ["wanted"]
    assert graph.subjects("INBOX") == ["not wanted"]
    assert take() == []


def folder_of_rights() -> Path:
    return kept_rights.file_of("graph", BOX).parent.parent


def test_all_pages_are_read_and_tokens_may_die(graph: GraphServer, folder: Path):
    for number in range(60):
        graph.receive(mail((f"{number}.csv", b"%d" % number), subject=f"{number:02}"))
    died: list[str] = []

    def die(request: str) -> None:
        if graph.requests % 50 == 0:
            graph.provider.forget_access()
            died.append(request)

    graph.before = die
    outcomes = take()

    assert [outcome.status for outcome in outcomes] == ["Saved"] * 60
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {f"{n}.csv": b"%d" % n for n in range(60)}
    assert len(graph.subjects("by us")) == 60
    assert len(died) > 2


@pytest.mark.parametrize(
    "trouble", [Answer(429, "", (("Retry-After", "1"),)), Answer(503), Answer(500), RESET], ids=str
)
def test_what_passes_is_asked_again(graph: GraphServer, folder: Path, trouble: Any):
    graph.receive(mail(("a.csv", CSV), subject="one"))
    failed: set[str] = set()

    def once_each(request: str) -> Any:
        if request in failed:
            return None
        failed.add(request)
        return trouble

    graph.before = once_each
    assert [outcome.status for outcome in take()] == ["Saved"]
    assert len(failed) >= 5


@pytest.mark.parametrize(
    ("trouble", "part"),
    [
        (Answer(500), "messages"), (Answer(429, "", (("Retry-After", "600"),)), "$value"), (Answer(200, "{}"), "/messages"),
        (Answer(200, b""), "$value"), (RESET, "/move"), (PROXY, "/move"), (PROXY, "$value"),
        (Answer(200, {"value": [], "@odata.nextLink": "https://example.com/"}), "inbox"),
    ],
    ids=str,
)  # fmt: skip
def test_what_does_not_pass_leaves_the_mail_for_the_next_run(graph: GraphServer, folder: Path, trouble: Any, part: str):
    graph.receive(mail(("a.csv", CSV), subject="one"))
    graph.before = lambda request: trouble if part in request else None
    with pytest.raises(MailboxUnavailable):
        take()
    assert graph.subjects("INBOX") == ["one"]

    graph.before = lambda _request: None
    take()
    assert [path.name for path in folder.iterdir()] == ["a.csv"]
    assert graph.subjects("by us") == ["one"]


def test_a_move_whose_answer_is_lost_is_made_once(graph: GraphServer, folder: Path):
    graph.receive(mail(("a.csv", CSV), subject="one"))
    lost: list[str] = []

    def lose(request: str) -> Any:
        if "/move" in request and not lost:
            lost.append(request)
            return RESET
        return None

    graph.after = lose
    assert [outcome.status for outcome in take()] == ["Saved"]
    assert graph.subjects("by us") == ["one"]


def test_the_mailbox_of_others_is_read_with_a_persons_right(
    graph: GraphServer, folder: Path, rights_provider: OAuthServer
):
    graph.receive(mail(("a.csv", CSV), subject="one"))
    rights_provider.grant(
        folder_of_rights(), BOX, "graph", refresh_token=rights_provider.new_refresh("anna@example.com")
    )
    with pytest.raises(MailboxError, match="--shared"):
        take()
    graph.readable["anna@example.com"] = BOX
    assert [outcome.status for outcome in take()] == ["Saved"]


def test_a_mail_whose_headers_are_not_told_is_known_by_its_content(graph: GraphServer, folder: Path):
    graph.tells_headers = False
    graph.receive(mail(("a.csv", CSV), subject="one"))
    assert [outcome.status for outcome in take()] == ["Saved"]


def test_a_mail_whose_header_python_does_not_read_to_its_end_is_that_mail(
    graph: GraphServer, folder: Path, caplog: pytest.LogCaptureFixture
):
    whole = mail(("a.csv", CSV), subject="one")
    head, found, rest = whole.partition(b"Message-ID: ")
    graph.receive(head + BROKEN_LINE + found + rest)
    assert found
    assert take() == []
    assert "no file in it has a name that fits; the mail is left as it is" in caplog.text


def test_a_folder_that_is_not_there_is_named(etl: Installation, graph: GraphServer, folder: Path):
    etl.query("UPDATE dba.tinboxconfig SET folder = 'Lists'")
    with pytest.raises(MailboxError, match="there is no such folder"):
        take()


# ---- mail that goes out --------------------------------------------------------------------


def send(*recipients: str) -> tuple[dict[str, str], list[list[str]]]:
    """Send a mail; return who was refused, and to whom it was about to be sent."""
    begun: list[list[str]] = []
    with smtp.Mailer() as mailer:
        message = composing.text_mail("Subject", "Hello\n.\nend\n", f"{A}, {B}, {C}")
        return mailer.send(message, recipients or (A,), begun.append), begun


def to(graph: GraphServer) -> list[list[str]]:
    return [[address.addr_spec for address in message["To"].addresses] for message in graph.sent]


def test_a_mail_is_sent_once_to_those_who_are_to_get_it(graph: GraphServer):
    refused, begun = send(A, B)

    assert refused == {}
    assert begun == [[A, B]]
    assert to(graph) == [[A, B]]
    assert graph.sent[0].get_content().splitlines() == ["Hello", ".", "end"]


def test_a_wrong_address_does_not_keep_the_others_from_it(graph: GraphServer):
    graph.bad_addresses.add(B)
    refused, _ = send(A, B, C)
    assert list(refused) == [B]
    assert to(graph) == [[A], [C]]


@pytest.mark.parametrize("trouble", [Answer(429), Answer(503)], ids=str)
def test_what_was_not_begun_is_sent_at_the_second_try(graph: GraphServer, trouble: Answer):
    troubles = [trouble]
    graph.before = lambda _request: troubles.pop() if troubles else None
    assert send() == ({}, [[A], [A]])
    assert to(graph) == [[A]]

    graph.before = lambda _request: trouble
    with pytest.raises(MailUnavailable) as failure:
        send(A, B)
    assert failure.value.waiting == (A, B)
    assert len(graph.sent) == 1


@pytest.mark.parametrize("trouble", [RESET, Answer(500), Answer(504), PROXY], ids=str)
def test_a_lost_answer_leaves_the_outcome_unknown_and_nothing_is_sent_again(graph: GraphServer, trouble: Any):
    graph.after = lambda _request: trouble
    with pytest.raises(OutcomeUnknown) as failure:
        send(A, B)
    assert failure.value.unknown == (A, B)
    assert to(graph) == [[A, B]]


def test_a_token_that_died_is_replaced_before_anything_is_sent(graph: GraphServer):
    send()
    graph.provider.forget_access()
    send()
    assert to(graph) == [[A], [A]]


def test_a_server_that_is_not_there_leaves_the_mail_for_later(
    graph: GraphServer, rights_provider: OAuthServer, monkeypatch: pytest.MonkeyPatch
):
    rights_provider.describe(folder_of_rights(), "graph", like="graph", api="http://127.0.0.1:1/v1.0")
    with pytest.raises(MailUnavailable, match="cannot be reached"):
        send()


def test_a_mail_that_is_too_large_for_graph_is_not_sent(graph: GraphServer):
    with pytest.raises(MailError, match="takes at most 4,000,000"):
        smtp.send(composing.text_mail("Subject", "x" * 3_500_000, A), [A])
    assert graph.requests == 0


def test_a_refusal_says_what_to_do(graph: GraphServer):
    graph.before = lambda _request: refusal(403, "ErrorAccessDenied", "Access is denied.")
    with pytest.raises(MailError, match="Send As"):
        send()


def test_consent_and_doctor_try_it(
    etl: Installation,
    graph: GraphServer,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    assert [finding.state for finding in doctor.granted()] == ["ok"]
    assert next(iter(doctor.smtp())).told == f"Microsoft Graph takes the login of {SENDER}"
    assert mailbox_consent.main(["person@example.com", "--provider", "graph", "--device"]) == 0
    assert "Microsoft Graph works; in its row" in capsys.readouterr().out
