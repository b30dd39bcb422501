"""A long day with Microsoft Graph, which misbehaves while tokens die: each file once, each report once, no token told."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from conftest import Installation
from gmail_server import mail
from graph_server import GraphServer, graph_server, refusal
from oauth_server import RESET, Answer, OAuthServer
from secrets_told import onlooker, texts_of, told
from smtp_server import OWNER, SENDER
from test_report_delivery import NOON, add_report

pytest_plugins = ["inbox_fixtures"]
pytestmark = pytest.mark.slow

MAILS, REPORTS = 15, 5  # 500 and 200 go as well; it takes minutes
MOST_RUNS = 20
BOX = "box@example.com"

AT_ONCE = (("Retry-After", "0"),)  # without this each costs a second
NOT_NOW = (Answer(429, "", AT_ONCE), Answer(503, "", AT_ONCE))
BROKEN = Answer(500, "<html>oh</html>", AT_ONCE)


class Misbehaving:
    """What goes wrong, by a seed: tokens die, the service is busy or broken, answers are lost, the provider fails."""

    def __init__(self, graph: GraphServer) -> None:
        self._dice = random.Random(11)
        self._graph = graph
        self.deaths = 0
        self.refused = 0
        self.renewals = 0

    def before(self, request: str) -> Any:
        if self._dice.random() < 0.1:
            self.deaths += 1
            self._graph.provider.forget_access()
        if self._dice.random() < 0.15:
            self.refused += 1
            # What breaks before a mail is sent cannot be told from what breaks after it, so it is not sent again.
            odd = () if "/sendMail" in request else (BROKEN, Answer(200, "{"))
            return self._dice.choice((*NOT_NOW * 4, *odd, refusal(401, "InvalidAuthenticationToken", "expired")))
        return None

    def after(self, _request: str) -> Any:
        """Lose an answer to what was done."""
        return RESET if self._dice.random() < 0.02 else None

    def token(self, form: dict[str, str]) -> Any:
        self.renewals += 1
        if self._dice.random() < 0.3:
            return self._dice.choice([*NOT_NOW * 2, BROKEN, Answer(200, "{")])
        return OAuthServer.token(self._graph.provider, form)


def test_each_file_and_each_report_comes_once_and_no_token_is_told(
    etl: Installation, rights_provider: OAuthServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rights_provider.rotates, rights_provider.lasts = True, 3600
    rights_provider.troubles.clear()
    rights_provider.secrets.clear()
    folder = etl.home / "file_watcher" / "calendar"
    folder.mkdir()
    etl.query(
        "INSERT INTO dba.tinboxconfig (config_name, gmail_account, auth, sender_filter, local_repository_path)"
        " VALUES ('calendar', %s, 'graph', 'client@example.com', %s)",
        BOX, str(folder),
    )  # fmt: skip
    etl.query("UPDATE dba.treportmanager SET datastatusid = 2")
    reports = [add_report(etl, f"r{n}@example.com", reportname=f"R{n}") for n in range(REPORTS)]
    said: list[bytes] = []

    with graph_server(rights_provider) as graph, onlooker() as looking:
        described = rights_provider.describe(tmp_path / "oauth", "graph", like="graph", api=f"{graph.url}/v1.0")
        settings = {
            **described,
            "ETL_EMAIL": SENDER,
            "ETL_ALERT_EMAIL": OWNER,
            "ETL_SMTP_AUTH": "graph",
            "ETL_CLOCK": NOON,
        }
        for account in (BOX, SENDER):
            rights_provider.grant(tmp_path / "oauth", account, "graph", scopes=[])
        for number in range(MAILS):
            graph.receive(mail((f"{number}.csv", b"%d" % number), subject=f"{number:03}"))
        misbehaving = Misbehaving(graph)
        graph.before, graph.after = misbehaving.before, misbehaving.after
        monkeypatch.setattr(rights_provider, "token", misbehaving.token)

        def run(job: str) -> int:
            result = etl.door(job, **settings)
            said.append((result.stdout + result.stderr).encode())
            return result.returncode

        statuses = [run("process_inbox.py") for _ in range(MOST_RUNS) if graph.subjects("INBOX")]
        for _ in range(MOST_RUNS):
            statuses.append(run("send_reports.py"))
            if not etl.value("SELECT count(*) FROM dba.treportdelivery WHERE status NOT IN ('Sent', 'Unknown')"):
                break

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {f"{n}.csv": b"%d" % n for n in range(MAILS)}
    assert graph.subjects("processed") == [f"{n:03}" for n in range(MAILS)]
    to = Counter(address.addr_spec for message in graph.sent for address in message["To"].addresses)
    del to[OWNER]
    assert to == {f"r{n}@example.com": 1 for n in range(REPORTS)}
    found = etl.query("SELECT DISTINCT reportid FROM dba.treportdelivery WHERE reportid = ANY (%s)", reports)
    assert len(found) == REPORTS
    assert set(statuses) <= {0, 1, 75}
    assert min(misbehaving.deaths, misbehaving.refused) > 5
    # A token that is refused twice is final for a run, and for a renewal the provider is asked three times at most.
    assert misbehaving.renewals <= 3 * (misbehaving.deaths + misbehaving.refused + len(statuses))

    assert looking.looks > 20
    for name, value in etl.variables.items():
        monkeypatch.setenv(name, value)
    texts = [*looking.seen, *said, *(message.as_bytes() for message in graph.sent), *texts_of(etl, tmp_path / "backup")]
    assert len(rights_provider.secrets) > 5
    assert told(rights_provider.secrets, texts) == []
    assert told(["12345"], texts) != []  # what is in the reports is found
