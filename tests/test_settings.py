"""Settings: typed readers that refuse nonsense, and secrets that do not leak."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from systemscripts import settings
from systemscripts.settings import SettingError


@pytest.mark.parametrize(
    ("read", "value", "expected"),
    [
        (lambda: settings.integer("X", 5), None, 5),
        (lambda: settings.integer("X", 5), "", 5),
        (lambda: settings.integer("X", 5), "12", 12),
        (lambda: settings.seconds("X", 1.5), "0.25", 0.25),
        (lambda: settings.seconds("X", 1.5), "0", 0.0),
        (lambda: settings.choice("X", ("ssl", "none"), "ssl"), "NONE", "none"),
        (lambda: settings.switch("X", False), "Yes", True),
        (lambda: settings.switch("X", True), "off", False),
        (lambda: settings.path("X", Path("/a")), "/b/c", Path("/b/c")),
    ],
)
def test_a_reader_returns_the_typed_value(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[], object], value: str | None, expected: object
) -> None:
    if value is not None:
        monkeypatch.setenv("X", value)
    assert read() == expected


@pytest.mark.parametrize(
    ("read", "value", "expected"),
    [
        (lambda: settings.integer("X", 5), "many", "whole number from 0"),
        (lambda: settings.integer("X", 5, 1, 9), "10", "from 1 to 9"),
        (lambda: settings.seconds("X", 5), "-1", "seconds"),
        (lambda: settings.seconds("X", 5), "inf", "seconds"),
        (lambda: settings.seconds("X", 5), "nan", "seconds"),
        (lambda: settings.choice("X", ("ssl", "none"), "ssl"), "tls", "ssl, none"),
        (lambda: settings.switch("X", False), "maybe", "yes or no"),
        (lambda: settings.path("X", Path("/a")), "relative", "absolute path"),
        (lambda: settings.path("X", Path("/a")), "/a\nb", "absolute path"),
    ],
)
def test_a_reader_refuses_nonsense_and_says_what_it_expected(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[], object], value: str, expected: str
) -> None:
    monkeypatch.setenv("X", value)
    with pytest.raises(SettingError) as refusal:
        read()
    given, _, told = str(refusal.value).partition("; ")
    assert given in (f"X is {value!r}", f"X is {value}")
    assert expected in told


def test_the_home_directory_is_known_without_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setenv("X", "~/somewhere")
    assert settings.path("X", Path("/a")) == settings.user_config_dir().parent.parent / "somewhere"


def test_a_secret_comes_from_a_file_that_only_its_owner_reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("p4ssw0rd in a file\n")
    file.chmod(0o600)
    monkeypatch.setenv("X_FILE", str(file))
    assert settings.secret("X") == "p4ssw0rd in a file"
    assert settings.mask("login with p4ssw0rd in a file failed") == "login with **** failed"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_secret_file_that_others_can_read_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: int
) -> None:
    file = tmp_path / "password"
    file.write_text("p4ssw0rd")
    file.chmod(mode)
    monkeypatch.setenv("X_FILE", str(file))
    with pytest.raises(SettingError, match="others; type: chmod 600"):
        settings.secret("X")


def test_a_secret_given_twice_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("X", "one")
    monkeypatch.setenv("X_FILE", str(tmp_path / "two"))
    with pytest.raises(SettingError, match="both set"):
        settings.secret("X")


@pytest.mark.parametrize("variable", ["PGHOST", "PGPORT", "PGSERVICE", "PGUSER", "PGDATABASE"])
def test_any_of_libpqs_variables_names_a_server(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    assert not settings.names_a_server()
    monkeypatch.setenv(variable, "x")
    assert settings.names_a_server()


def test_a_place_of_the_path_that_may_not_be_looked_into_has_no_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", refuse)
        assert not settings.has_short_command(str(tmp_path))
