"""What is known as a secret is in no row, log, mail or passed-on output, also where a job prints it that never read it."""

import html
import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from conftest import Installation
from hypothesis import given
from hypothesis import strategies as st
from test_job_runner import add_job

from systemscripts import known_secrets, settings
from systemscripts.known_secrets import Veil, conceal, mask

PASSWORD = "hunter2-'very\"-secret"


@pytest.fixture
def none_known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(known_secrets, "_texts", [])
    monkeypatch.setattr(known_secrets, "_bytes", [])
    return None


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("probe.py", "print(os.environ['ETL_EMAIL_PASSWORD'])\nraise JobError('no login with ' + os.environ['ETL_EMAIL_PASSWORD'])"),
        ("probe.sh", 'echo "$ETL_EMAIL_PASSWORD"\nset -x\n: "$ETL_EMAIL_PASSWORD" "$1"\nexit 1\n'),
    ],
)  # fmt: skip
def test_a_secret_that_a_job_prints_or_is_given_is_nowhere(project_copy: Installation, name: str, body: str) -> None:
    if name.endswith(".py"):
        add_job(project_copy, body)
    else:
        (project_copy.project / "jobscripts" / name).write_text(body)
    arguments = ["--number", "1"] if name.endswith(".py") else [f"--password={PASSWORD}"]
    result = project_copy.door(name, *arguments, ETL_EMAIL_PASSWORD=PASSWORD)
    told = [result.stdout, result.stderr]
    told += [str(project_copy.query(f"SELECT * FROM dba.{table}")) for table in ("tjobrun", "tlogentry")]
    told += [file.read_text() for file in project_copy.home.glob("logs/probe_*")]
    assert result.returncode == 1
    assert "****" in result.stdout
    assert "****" in project_copy.value("SELECT output_tail || reason FROM dba.tjobrun")
    assert [text for text in told if "hunter2" in text] == []


def test_a_secret_that_is_printed_with_a_pause_in_it_is_masked(project_copy: Installation) -> None:
    pause = 'printf "C:%s" "${ETL_EMAIL_PASSWORD:0:3}"; sleep 1.2; printf "%s\\n" "${ETL_EMAIL_PASSWORD:3}"\n'
    (project_copy.project / "jobscripts" / "probe.sh").write_text(pause)
    result = project_copy.door("probe.sh", ETL_EMAIL_PASSWORD=PASSWORD)
    assert result.stdout == "C:****\n"


@pytest.mark.parametrize("secret", [PASSWORD, "pa<ss&wo'rd $x&é\"zz99", "two words\\n", "a=b~c#d;e"])
def test_a_secret_is_known_as_whatever_carries_text_writes_it(none_known: None, secret: str) -> None:
    conceal(secret)
    by_bash = subprocess.run(["bash", "-c", 'printf %q "$1"', "", secret], capture_output=True, text=True, check=True)
    written = {
        "url": quote(secret, safe=""), "form": urlencode({"p": secret})[2:], "json": json.dumps(secret),
        "json in UTF-8": json.dumps(secret, ensure_ascii=False), "html": html.escape(secret),
        "text in html": html.escape(secret, quote=False), "python": repr(secret), "python in a list": repr(["'", secret]),
        "bash": by_bash.stdout, "shlex": shlex.quote(secret),
    }  # fmt: skip
    assert {way: text for way, text in written.items() if "****" not in mask(text)} == {}


def test_two_runs_with_the_same_secret_are_the_same_run(project_copy: Installation) -> None:
    (project_copy.project / "jobscripts" / "probe.sh").write_text("exit 0\n")
    call = ["--scheduled-at", "2026-03-02T05:00:00+00:00", "probe.sh", PASSWORD]
    assert project_copy.door(*call, ETL_EMAIL_PASSWORD=PASSWORD).returncode == 0
    assert "slot is taken" in project_copy.door(*call, ETL_EMAIL_PASSWORD=PASSWORD).stderr


def test_every_secret_that_lies_about_is_known(
    none_known: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lying = {
        "secret.txt": "from a file\nwith two lines\n",
        "sftp_client.password": "sftp-secret",
        "gmail_token_me.json": json.dumps({"refresh_token": "1//refresh", "scopes": ["a-scope"]}),
        "credentials.json": json.dumps({"installed": {"client_secret": "GOCSPX-x", "client_id": "an-id"}}),
        "pgpass": "db:5432:*:etl_user:p\\:g-secret\n",
    }
    for name, text in lying.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(settings, "user_config_dir", lambda: tmp_path)
    monkeypatch.setenv("ETL_IMAP_PASSWORD_FILE", str(tmp_path / "secret.txt"))
    monkeypatch.setenv("PGPASSWORD", "pg-in-the-clear")
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "pgpass"))
    monkeypatch.setenv("ETL_PING_URL", "https://example.com/a-secret-path")
    monkeypatch.setenv("X_TOKEN", "yes")
    settings.conceal_all()
    text = "with two lines|sftp-secret|1//refresh|1%2F%2Frefresh|GOCSPX-x|p:g-secret|pg-in-the-clear|https://example.com/a-secret-path"
    assert mask(text) == "|".join(["****"] * 8)
    assert mask("a-scope an-id yes etl_user") == "a-scope an-id yes etl_user"


def test_of_two_secrets_of_which_one_begins_with_the_other_no_end_is_left(none_known: None) -> None:
    conceal("hunter2")
    conceal("hunter2-and-more")
    assert mask("hunter2-and-more") == "****"


@given(
    st.lists(st.sampled_from([b"hunter2", b"hunt", b"hhunter", b"hunterhunter2", b"2", b"x\n"]), max_size=12), st.data()
)
def test_a_stream_is_masked_however_it_is_cut(words: list[bytes], data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(known_secrets, "_texts", [])
        patch.setattr(known_secrets, "_bytes", [])
        conceal("hunter2")
        whole, veil, passed = b"".join(words), Veil(), b""
        rest = whole
        while rest:
            size = data.draw(st.integers(1, len(rest)))
            passed += veil.pass_on(rest[:size])
            rest = rest[size:]
        assert passed + veil.rest() == whole.replace(b"hunter2", b"****")
