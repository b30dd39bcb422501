"""env.sh: the files of settings are read, not run, and what is set already stays, in bash and in cron's /bin/sh."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import PROJECT, copy_code
from needs import need_programs

SHELLS = ("bash", "dash")


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    need_programs(request.param)
    return str(request.param)


def source(
    shell: str, secrets: Path, site: Path = Path("/nonexistent"), **variables: str
) -> subprocess.CompletedProcess[str]:
    told = 'printf "%s|" "${SMTP_PASSWORD-unset}" "${PGUSER-unset}" "$ETL_HOME"'
    return run(shell, f'. "{PROJECT}/env.sh" && {told}', Path("/"), secrets, site, **variables)


def run(
    shell: str, program: str, cwd: Path, secrets: Path, site: Path = Path("/nonexistent"), **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "ETL_SECRETS_FILE": str(secrets), "ETL_SITE_FILE": str(site), **variables}
    return subprocess.run([shell, "-c", program], cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("SMTP_PASSWORD=abcd efgh ijkl mnop", "abcd efgh ijkl mnop"),
        ("SMTP_PASSWORD=a#b&c;d$HOME$(touch /tmp/x)`id`", "a#b&c;d$HOME$(touch /tmp/x)`id`"),
        ("SMTP_PASSWORD='quoted it'", "quoted it"),
        ('SMTP_PASSWORD="it\'s"', "it's"),
        ("SMTP_PASSWORD=it's", "it's"),
        ("export SMTP_PASSWORD=x", "x"),
        ("export \t SMTP_PASSWORD=a=b", "a=b"),
        ("SMTP_PASSWORD='", "'"),
        ("SMTP_PASSWORD=\\n\\x", "\\n\\x"),
        ("# a comment\n\nSMTP_PASSWORD=x\r", "x"),
    ],
)
def test_a_value_is_taken_as_it_stands(shell: str, tmp_path: Path, line: str, value: str) -> None:
    secrets = tmp_path / "secrets.env"
    secrets.write_text(line)
    secrets.chmod(0o600)
    assert source(shell, secrets).stdout.split("|")[0] == value


def test_what_is_set_already_stays(shell: str, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets.env"
    secrets.write_text("PGUSER=from_file\n")
    secrets.chmod(0o600)
    assert source(shell, secrets, PGUSER="from_caller").stdout.split("|")[1] == "from_caller"


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [
        ("SMTP_PASSWORD=x\n", 0o640, "can be read by others; type: chmod 600"),
        ("hunter2\n", 0o600, "is not of the form NAME=value"),
        ("lower=hunter2\n", 0o600, "is not of the form NAME=value"),
        ("A-B=hunter2\n", 0o600, "is not of the form NAME=value"),
    ],
)
def test_a_file_that_cannot_be_trusted_or_read_is_refused_without_showing_it(
    shell: str, tmp_path: Path, content: str, mode: int, told: str
) -> None:
    secrets = tmp_path / "secrets.env"
    secrets.write_text(content)
    secrets.chmod(mode)
    result = source(shell, secrets)
    assert result.returncode == 1
    assert told in result.stderr
    assert "hunter2" not in result.stderr


def test_the_user_s_own_file_outranks_the_one_for_all_which_may_say_where_the_data_lies(
    shell: str, tmp_path: Path
) -> None:
    secrets, site = tmp_path / "secrets.env", tmp_path / "site.env"
    secrets.write_text("PGUSER=mine\n")
    secrets.chmod(0o600)
    site.write_text("PGUSER=everybody's\nSMTP_PASSWORD=x\nETL_HOME=/srv/etl\n")
    site.chmod(0o644)

    assert source(shell, secrets, site).stdout == "x|mine|/srv/etl|"


def test_a_file_for_all_that_others_can_write_is_refused(shell: str, tmp_path: Path) -> None:
    site = tmp_path / "site.env"
    site.write_text("ETL_HOME=/srv/etl\n")
    site.chmod(0o664)

    result = source(shell, Path("/nonexistent"), site)

    assert result.returncode == 1
    assert f"{site} can be written by others; type: chmod 644" in result.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose path has a blank in it."""
    return copy_code(tmp_path / "a checkout")


@pytest.mark.parametrize(
    ("cwd", "program"),
    [
        (".", '. "{checkout}/env.sh"'),
        ("a checkout", ". ./env.sh"),
        ("a checkout/jobscripts", ". ../env.sh"),
        (".", "set -eu; . '{checkout}/env.sh'"),
        (".", '. "{checkout}/env.sh"; . "{checkout}/env.sh"'),
        (".", '. "./link to env"'),
        (".", 'exec 4<"{other}/env.sh"; . "{checkout}/env.sh"'),
    ],
)
def test_it_knows_where_it_lies_and_sets_the_same_in_every_shell(
    shell: str, tmp_path: Path, checkout: Path, cwd: str, program: str
) -> None:
    (tmp_path / "link to env").symlink_to(checkout)
    other = tmp_path / "other"
    other.mkdir()
    (other / "env.sh").touch()
    call = program.format(checkout=checkout, other=other).replace("link to env", "link to env/env.sh")

    result = run(shell, f"{call} && env -0", tmp_path / cwd, Path("/nonexistent"), HOME="/")

    assert (result.returncode, result.stderr) == (0, "")
    variables = dict(line.split("=", 1) for line in result.stdout.split("\0") if line)
    ours = {name: value for name, value in variables.items() if name.startswith("ETL_")}
    assert ours == {
        "ETL_SECRETS_FILE": "/nonexistent",
        "ETL_SITE_FILE": "/nonexistent",
        "ETL_PROJECT": str(checkout),
        "ETL_VENV": f"{checkout}/venv",
        "ETL_HOME": str(checkout),
        **{
            f"ETL_{name}_DIR": f"{checkout}/{folder}"
            for name, folder in {
                "LOGS": "logs",
                "ARCHIVE": "archive",
                "FILE_WATCHER": "file_watcher",
                "BACKUP": "backups",
            }.items()
        },
    }


def test_a_subshell_of_sh_knows_where_it_lies_too(shell: str, tmp_path: Path, checkout: Path) -> None:
    result = run(shell, f'(. "{checkout}/env.sh"; echo "$ETL_PROJECT")', tmp_path, Path("/nonexistent"))
    assert (result.stdout, result.stderr) == (f"{checkout}\n", "")


def test_sh_says_what_to_type_where_it_cannot_know_the_place(tmp_path: Path, checkout: Path) -> None:
    need_programs("dash")
    shutil.copy(checkout / "env.sh", tmp_path / "elsewhere.sh")

    lost = run("dash", '. ./elsewhere.sh; echo "$?|${ETL_HOME-unset}"', tmp_path, Path("/nonexistent"))
    assert lost.stdout == "1|unset\n"
    assert lost.stderr.endswith(f"it is not in {tmp_path}; type: cd to its directory, then . ./env.sh\n")

    there = run("dash", '. ../elsewhere.sh; echo "$ETL_PROJECT"', checkout, Path("/nonexistent"))
    assert (there.stdout, there.stderr) == (f"{checkout}\n", "")


def test_a_terminal_gets_the_command_and_no_settings(shell: str, tmp_path: Path, checkout: Path) -> None:
    secrets = tmp_path / "secrets.env"
    secrets.write_text("SMTP_PASSWORD=x\n")
    secrets.chmod(0o600)
    program = f'. "{checkout}/env.sh"; . "{checkout}/env.sh"; echo "$PATH|${{SMTP_PASSWORD-unset}}|${{ETL_HOME-unset}}"'

    result = subprocess.run(
        [shell, *(["--norc"] if shell == "bash" else []), "-i", "-c", program],
        env={"PATH": "/usr/bin:/bin", "ETL_SECRETS_FILE": str(secrets), "HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.stdout == f"/usr/bin:/bin:{checkout}/jobscripts|unset|unset\n"


def test_without_home_the_secrets_are_found_by_the_password_database(shell: str) -> None:
    program = f'. "{PROJECT}/env.sh" && echo "$ETL_SECRETS_FILE"'
    result = subprocess.run(
        [shell, "-c", program], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True
    )
    home = pwd.getpwuid(os.geteuid()).pw_dir
    assert result.stdout == f"{home}/.config/client_etl_workflow/secrets.env\n"
