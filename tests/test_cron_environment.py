"""What is set in a terminal alone reaches no job that cron starts, and is named with the file that it belongs into."""

import shutil
from pathlib import Path

import pytest
from conftest import PROJECT

from systemscripts import settings
from systemscripts.cron import environment


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose site.env names a database and a directory, and a user without secrets."""
    shutil.copy(PROJECT / "env.sh", tmp_path)
    (tmp_path / "site.env").write_text("PGDATABASE=feeds\nETL_ARCHIVE_DIR=/srv/archive\n")
    (tmp_path / "site.env").chmod(0o644)
    monkeypatch.setattr(settings, "project_dir", lambda: tmp_path)
    monkeypatch.setattr(environment, "home_directory", lambda: str(tmp_path))
    return tmp_path


def told(monkeypatch: pytest.MonkeyPatch, **terminal: str) -> list[str]:
    """Return what is said of a terminal with these settings, after env.sh."""
    after = environment.by_cron(**terminal)
    monkeypatch.setattr(settings, "child_environment", lambda: after)
    return [f"{setting.told}; {setting.cure}" for setting in environment.only_here()]


def test_what_the_files_say_is_no_finding(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch) == []
    assert told(monkeypatch, PGDATABASE="feeds", ETL_HOME=str(checkout), ETL_RUN_UUID="x", LANG="C") == []


def test_what_each_session_of_the_machine_has_cron_has_too(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = checkout / "environment"
    sessions.write_text('# all\nexport PGHOST="db.example.com"\nEDITOR=vi\nPGPORT=5433\n')
    monkeypatch.setattr(environment, "SESSIONS", sessions)
    assert told(monkeypatch) == []
    sessions.write_text("PGPORT=5433")
    assert [line.partition(" is ")[0] for line in told(monkeypatch, PGHOST="x")] == ["PGHOST=x"]


@pytest.mark.parametrize(
    ("name", "value", "by_cron"),
    [
        ("ETL_HOME", "/opt/old", "{checkout}"),
        ("ETL_FILE_WATCHER_DIR", "/opt/old/file_watcher", "{checkout}/file_watcher"),
        ("ETL_ARCHIVE_DIR", "/opt/old/archive", "/srv/archive"),
        ("PGDATABASE", "feeds_try", "feeds"),
        ("PGHOST", "db.example.com", "no such setting"),
        ("SMTP_HOST", "mail.example.com", "no such setting"),
    ],
)
def test_a_setting_of_the_terminal_alone_is_named_once_with_the_file_it_belongs_into(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, by_cron: str
) -> None:
    (line,) = told(monkeypatch, **{name: value})
    assert line == (
        f"{name}={value} is set in this terminal only; a job that cron starts has {by_cron.format(checkout=checkout)}; "
        f"write {name}={value} into {checkout}/site.env, or type: unset {name}"
    )


def test_the_value_of_a_secret_is_not_shown(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = told(monkeypatch, ETL_EMAIL_PASSWORD="hunter2")
    assert line.startswith("ETL_EMAIL_PASSWORD is set in this terminal only")
    assert "/.config/client_etl_workflow/secrets.env (mode 600)" in line
    assert "hunter2" not in line


def test_where_env_sh_refuses_its_files_nothing_is_said(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / "site.env").chmod(0o666)
    monkeypatch.setattr(settings, "child_environment", lambda: {"PGHOST": "x"})
    assert environment.only_here() == []
