"""The mail that proves the set-up, by the job as a person starts it, to a real server."""

import base64
import re
from pathlib import Path

import pytest
from conftest import Installation
from smtp_server import OWNER, SENDER, mail_server

A, B = "a@example.com", "b@example.com"


def test_the_test_mail_shows_what_the_query_gave(etl: Installation, tmp_path: Path) -> None:
    with mail_server(tmp_path) as server:
        done = etl.door("testemail.py", **server.variables)
    assert done.returncode == 0, done.stderr
    assert f"sent to {OWNER} by localhost:{server.port}" in done.stdout + done.stderr
    (received,) = server.received
    assert (received.recipients, received.message["To"]) == ([OWNER], OWNER)
    assert received.message["Subject"].startswith("Test mail from ")
    text, html = (received.message.get_body((kind,)).get_content() for kind in ("plain", "html"))
    for body in (text, html):
        assert etl.variables["PGDATABASE"] in body
        assert "etl_report" in body
    assert "<table" in html


def test_the_test_mail_goes_to_whom_and_with_what_it_is_told(etl: Installation, tmp_path: Path) -> None:
    with mail_server(tmp_path, "starttls") as server:
        arguments = ["--to", f"{A}, {B}", "--query", "SELECT '<b>' AS tag, 7 * 6 AS answer"]
        server.answers[f"RCPT {B}"] = ["550 no such user"]
        done = etl.door("testemail.py", *arguments, **server.variables)
    assert done.returncode == 1
    assert re.search(f"{B} is refused .*: 550 no such user", done.stderr)
    assert f"sent to {A} by" in done.stdout + done.stderr
    (received,) = server.received
    assert received.recipients == [A]
    assert "&lt;b&gt;" in received.message.get_body(("html",)).get_content()
    assert "42" in received.message.get_body(("plain",)).get_content()


def test_a_dry_run_prints_the_message_and_sends_nothing(etl: Installation, tmp_path: Path) -> None:
    with mail_server(tmp_path) as server:
        done = etl.door("testemail.py", "--dry-run", **server.variables)
    assert done.returncode == 0, done.stderr
    assert f"From: {SENDER}\nTo: {OWNER}\nSubject: Test mail from" in done.stdout.replace("\r", "")
    assert "Content-Type: multipart/alternative" in done.stdout
    assert server.connections == 0


@pytest.mark.parametrize(
    ("arguments", "variables", "status", "said"),
    [
        ([], {"ETL_EMAIL": ""}, 1, "ETL_EMAIL is not set"),
        ([], {"ETL_EMAIL": "", "ETL_ALERT_EMAIL": ""}, 64, "use --to ADDRESS.*ETL_ALERT_EMAIL or ETL_EMAIL"),
        (["--to", "nobody"], {}, 64, "'nobody' is"),
        (
            ["--query", "SELECT * FROM nowhere"],
            {},
            1,
            '"nowhere".*nothing was sent.* --query',
        ),
        (["--query", "DELETE FROM dba.tscheduler"], {}, 1, "one single SELECT"),
        ([], {"ETL_EMAIL_PASSWORD": "wrong and secret"}, 1, r"login \(535"),
        ([], {"SMTP_PORT": "1"}, 75, r"localhost:1 .*\(Connection refused\)"),
        ([], {"SSL_CERT_FILE": ""}, 75, "does not verify"),
        ([], {"SMTP_SECURITY": "none", "SMTP_HOST": "mail.example.com"}, 1, "SMTP_SECURITY to ssl or starttls"),
    ],
)
def test_every_failure_of_the_test_mail_says_what_to_do(
    etl: Installation, tmp_path: Path, arguments: list[str], variables: dict[str, str], status: int, said: str
) -> None:
    with mail_server(tmp_path) as server:
        done = etl.door("testemail.py", *arguments, **{**server.variables, **variables})
    assert done.returncode == status, done.stderr
    assert re.search(said, done.stderr)
    assert "Traceback" not in done.stderr
    assert server.received == []


def test_the_password_is_nowhere_after_a_run(etl: Installation, tmp_path: Path) -> None:
    secret = "wrong and secret"
    with mail_server(tmp_path) as server:
        done = etl.door("testemail.py", **{**server.variables, "ETL_EMAIL_PASSWORD": secret})
    assert done.returncode == 1
    written = [path.read_text(errors="replace") for path in etl.home.rglob("*") if path.is_file()]
    rows = [str(etl.query(f"SELECT * FROM dba.{table}")) for table in ("tjobrun", "tlogentry")]
    plain = base64.b64encode(f"\0{SENDER}\0{secret}".encode()).decode()
    for text in (done.stdout, done.stderr, *written, *rows):
        assert secret not in text
        assert plain not in text
