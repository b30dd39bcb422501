"""The private server: set up on first use, by one process, reachable by its owner alone, and psql on it."""

import fcntl
import os
import re
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PROJECT, clean_environment, give_way, server_home

from systemscripts import db_config, embedded_postgres
from systemscripts.errors import JobError

pytestmark = pytest.mark.slow


@pytest.fixture
def own_home(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Path]:
    """An ETL_HOME of its own, whose server is stopped at the end."""
    home = server_home(f"own_{abs(hash(request.node.name))}")
    monkeypatch.setenv("ETL_HOME", str(home))
    yield home
    embedded_postgres.stop()


def test_the_first_that_needs_it_starts_it_and_ten_at_once_start_one(own_home: Path) -> None:
    faults: list[BaseException] = []

    def connect() -> None:
        try:
            with db_config.session("postgres"):
                pass
        except db_config.DatabaseUnavailable as refusal:
            # The server is there; the database feeds is made by the set-up.
            if 'database "feeds" does not exist' not in str(refusal):
                faults.append(refusal)
        except BaseException as fault:  # noqa: BLE001
            faults.append(fault)

    threads = [threading.Thread(target=connect) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert embedded_postgres.is_running()


def test_nobody_else_can_reach_it(own_home: Path) -> None:
    embedded_postgres.ensure_running()
    for directory in (embedded_postgres.base_dir(), embedded_postgres.socket_dir(), embedded_postgres.data_dir()):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    listening = (embedded_postgres.data_dir() / "postgresql.conf").read_text()
    assert "listen_addresses = ''" in listening
    assert (embedded_postgres.data_dir() / "pg_hba.conf").read_text() == "local all all peer map=etl\n"


def test_a_killed_set_up_starts_anew(own_home: Path) -> None:
    half = embedded_postgres.base_dir() / "18.building"
    half.mkdir(parents=True)
    embedded_postgres.base_dir().chmod(0o700)
    os.chown(embedded_postgres.base_dir(), own_home.stat().st_uid, -1)
    (half / "PG_VERSION").write_text("18\n")
    embedded_postgres.ensure_running()
    assert embedded_postgres.is_running()
    assert not half.exists()


def test_a_killed_server_is_started_again(own_home: Path) -> None:
    embedded_postgres.ensure_running()
    pid = int((embedded_postgres.data_dir() / "postmaster.pid").read_text().splitlines()[0])
    os.kill(pid, 9)
    while embedded_postgres.is_running():
        give_way()
    embedded_postgres.ensure_running()
    assert embedded_postgres.is_running()


def test_a_lock_on_the_home_which_anybody_may_take_does_not_keep_it_from_starting(own_home: Path) -> None:
    handle = os.open(own_home, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    embedded_postgres.ensure_running()
    os.close(handle)
    assert embedded_postgres.is_running()


def test_one_that_waits_too_long_for_its_turn_to_start_it_says_what_is_held(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_postgres, "START_TIMEOUT_S", 0)
    with (
        embedded_postgres._start_lock(),
        pytest.raises(embedded_postgres.ServerCannotStart, match=f"the lock on {embedded_postgres.base_dir()}"),
        embedded_postgres._start_lock(),
    ):
        pass
    assert embedded_postgres.base_dir().stat().st_mode & 0o777 == 0o700


def test_a_server_that_cannot_start_says_why(own_home: Path) -> None:
    embedded_postgres.ensure_running()
    embedded_postgres.stop()
    with (embedded_postgres.data_dir() / "postgresql.conf").open("a") as configuration:
        configuration.write("max_connections = some\n")
    with pytest.raises(embedded_postgres.ServerCannotStart, match="max_connections"):
        embedded_postgres.ensure_running()


def test_a_long_path_moves_the_socket_but_not_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    home = server_home("a_" + "long_" * 20)
    monkeypatch.setenv("ETL_HOME", str(home))
    assert len(os.fsencode(embedded_postgres.socket_dir() / embedded_postgres.SOCKET_NAME)) <= 107
    assert embedded_postgres.data_dir().is_relative_to(home)


@pytest.mark.parametrize("name", ["a$(touch owned)", 'a"b', "a`id`", "a\\b"])
def test_a_path_that_a_shell_would_read_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("ETL_HOME", str(server_home(name)))
    with pytest.raises(JobError, match="set ETL_HOME"):
        embedded_postgres.ensure_running()


def test_a_path_with_blanks_and_quotes_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETL_HOME", str(server_home("it's 50% é")))
    embedded_postgres.ensure_running()
    assert embedded_postgres.stop()


def test_a_directory_that_others_can_enter_is_refused(own_home: Path) -> None:
    embedded_postgres.base_dir().mkdir(mode=0o755)
    with pytest.raises(JobError, match="mode 0700"):
        embedded_postgres.ensure_running()
    embedded_postgres.base_dir().rmdir()


def test_psql_opens_on_it_and_one_command_stops_it(own_home: Path) -> None:
    def script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/bash", str(PROJECT / "onboarding/sh" / name), *arguments],
            env=clean_environment(ETL_HOME=str(own_home)), capture_output=True, text=True, check=False, cwd="/",
        )  # fmt: skip

    assert script("embedded_postgres.sh", "status").returncode == 1
    answer = script("psql.sh", "--as", "postgres", "-d", "postgres", "-Atc", "SHOW server_version_num")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith("18")
    assert script("embedded_postgres.sh", "status").returncode == 0
    assert "stopped" in script("embedded_postgres.sh", "stop").stdout
    assert script("embedded_postgres.sh", "jump").returncode == 64


# By these a server notices within two minutes that a machine has lost its power, and lets go of its locks.
NOTICED = "-c tcp_keepalives_idle=60 -c tcp_keepalives_interval=15 -c tcp_keepalives_count=4 -c tcp_user_timeout=120000"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"PGHOST": "/var/run/postgresql"}, {"dbname": "feeds", "user": "etl_user"}),
        ({"PGHOST": "localhost", "PGUSER": "me", "PGDATABASE": "d"}, {"options": NOTICED}),
        (
            {"PGHOST": "db.example.com", "PGOPTIONS": "-c jit=off"},
            {
                "dbname": "feeds",
                "user": "etl_user",
                "options": f"-c jit=off {NOTICED}",
                "sslmode": "verify-full",
                "sslrootcert": "system",
            },
        ),
        (
            {"PGHOST": "db.example.com", "PGSSLMODE": "require"},
            {"dbname": "feeds", "user": "etl_user", "options": NOTICED},
        ),
        ({"PGSERVICE": "etl"}, {}),
    ],
)
def test_libpqs_variables_choose_a_server_and_a_remote_one_is_verified(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    parameters = db_config.connection_parameters()
    assert (parameters["keepalives_idle"], parameters["tcp_user_timeout"]) == ("60", "120000")
    own = re.compile("connect_timeout|application_name|keepalives_.*|tcp_user_timeout")
    assert {name: value for name, value in parameters.items() if not own.fullmatch(name)} == expected


def test_for_a_server_with_tls_the_programs_are_the_systems_newest_because_those_that_come_along_have_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for version in ("9", "15", "17"):
        (tmp_path / version / "bin").mkdir(parents=True)
        (tmp_path / version / "bin/psql").touch()
    bundled = embedded_postgres.binary("psql")
    told = subprocess.run(
        [bundled, "-c", "", "postgresql://localhost/?sslmode=require"], capture_output=True, text=True, check=False
    )
    assert "SSL support is not compiled in" in told.stderr
    monkeypatch.setenv("PGHOST", "db.example.com")
    monkeypatch.setattr(db_config, "SYSTEM_PROGRAMS", tmp_path / "none")
    assert (db_config.program("psql"), db_config.lacks_tls()) == (bundled, True)
    monkeypatch.setattr(db_config, "SYSTEM_PROGRAMS", tmp_path)
    assert (db_config.program("psql"), db_config.lacks_tls()) == (tmp_path / "17/bin/psql", False)
    assert db_config.program("pg_restore") == embedded_postgres.binary("pg_restore")
    monkeypatch.setenv("PGSSLMODE", "disable")
    assert db_config.program("psql") == bundled
