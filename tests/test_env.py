"""env.sh: the files of settings are read, not run, and what is set already stays."""

import subprocess
from pathlib import Path

import pytest
from conftest import PROJECT


def source(secrets: Path, site: Path = Path("/nonexistent"), **variables: str) -> subprocess.CompletedProcess[str]:
    program = f'source "{PROJECT}/env.sh" && printf "%s|" "${{SMTP_PASSWORD-unset}}" "${{PGUSER-unset}}" "$ETL_HOME"'
    environment = {"PATH": "/usr/bin:/bin", "ETL_SECRETS_FILE": str(secrets), "ETL_SITE_FILE": str(site), **variables}
    return subprocess.run(["bash", "-c", program], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("SMTP_PASSWORD=abcd efgh ijkl mnop", "abcd efgh ijkl mnop"),
        ("SMTP_PASSWORD=a#b&c;d$HOME$(touch /tmp/x)`id`", "a#b&c;d$HOME$(touch /tmp/x)`id`"),
        ("SMTP_PASSWORD='quoted it'", "quoted it"),
        ('SMTP_PASSWORD="it\'s"', "it's"),
        ("SMTP_PASSWORD=it's", "it's"),
        ("export SMTP_PASSWORD=x", "x"),
        ("# a comment\n\nSMTP_PASSWORD=x\r", "x"),
    ],
)
def test_a_value_is_taken_as_it_stands(tmp_path: Path, line: str, value: str) -> None:
    secrets = tmp_path / "secrets.env"
    secrets.write_text(line)
    secrets.chmod(0o600)
    assert source(secrets).stdout.split("|")[0] == value


def test_what_is_set_already_stays(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets.env"
    secrets.write_text("PGUSER=from_file\n")
    secrets.chmod(0o600)
    assert source(secrets, PGUSER="from_caller").stdout.split("|")[1] == "from_caller"


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [
        ("SMTP_PASSWORD=x\n", 0o640, "can be read by others; type: chmod 600"),
        ("hunter2\n", 0o600, "is not of the form NAME=value"),
    ],
)
def test_a_file_that_cannot_be_trusted_or_read_is_refused_without_showing_it(
    tmp_path: Path, content: str, mode: int, told: str
) -> None:
    secrets = tmp_path / "secrets.env"
    secrets.write_text(content)
    secrets.chmod(mode)
    result = source(secrets)
    assert result.returncode == 1
    assert told in result.stderr
    assert "hunter2" not in result.stderr


def test_the_user_s_own_file_outranks_the_one_for_all_which_may_say_where_the_data_lies(tmp_path: Path) -> None:
    secrets, site = tmp_path / "secrets.env", tmp_path / "site.env"
    secrets.write_text("PGUSER=mine\n")
    secrets.chmod(0o600)
    site.write_text("PGUSER=everybody's\nSMTP_PASSWORD=x\nETL_HOME=/srv/etl\n")
    site.chmod(0o644)

    assert source(secrets, site).stdout == "x|mine|/srv/etl|"


def test_a_file_for_all_that_others_can_write_is_refused(tmp_path: Path) -> None:
    site = tmp_path / "site.env"
    site.write_text("ETL_HOME=/srv/etl\n")
    site.chmod(0o664)

    result = source(Path("/nonexistent"), site)

    assert result.returncode == 1
    assert f"{site} can be written by others; type: chmod 644" in result.stderr
