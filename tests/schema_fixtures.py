"""The two servers that the schema is tested on, and the databases, connections and cursors in them."""

import contextlib
import fcntl
import os
import pwd
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import TEMPLATE, Installation, server_home
from needs import missing, system_postgres
from schema_helpers import Cluster, locked

DEBIAN = system_postgres() or Path("/nonexistent")


def debian_program(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    as_root = os.geteuid() == 0
    return subprocess.run(
        [DEBIAN / name, *arguments],
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        user="nobody" if as_root else None,
        group=pwd.getpwnam("nobody").pw_gid if as_root else None,
        extra_groups=[] if as_root else None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
        umask=0o077,
    )


def start_debian_server(home: Path) -> None:
    data = home / "data"
    if not data.exists():
        assert debian_program("initdb", "-D", data, "-U", "postgres", "-E", "UTF8", "-A", "trust").returncode == 0
        with (data / "postgresql.conf").open("a") as stream:
            stream.write(
                f"listen_addresses = ''\nunix_socket_directories = '{data}'\nunix_socket_permissions = 0700\n"
                "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\nmax_connections = 200\n"
            )
    if debian_program("pg_ctl", "status", "-D", data).returncode != 0:
        assert debian_program("pg_ctl", "start", "-w", "-s", "-D", data, "-l", home / "server.log").returncode == 0


@pytest.fixture(scope="session")
def debian_server() -> Iterator[Path]:
    """The socket directory of PostgreSQL 15; whoever uses it last stops it."""
    if not (DEBIAN / "postgres").exists():
        missing("the system has no PostgreSQL of its own", "postgresql")
    home = server_home("server15")
    use = os.open(home / "in_use", os.O_RDWR | os.O_CREAT)
    fcntl.flock(use, fcntl.LOCK_SH)
    with locked(home):
        start_debian_server(home)
    yield home / "data"
    with locked(home), contextlib.suppress(BlockingIOError):
        fcntl.flock(use, fcntl.LOCK_EX | fcntl.LOCK_NB)
        debian_program("pg_ctl", "stop", "-w", "-m", "fast", "-D", home / "data")
    os.close(use)


@pytest.fixture(scope="session", params=["server", "debian_server"], ids=["embedded", "debian15"])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """Each of the two servers, with the template database."""
    home = server_home(f"{request.param}_installations")
    cluster = Cluster(request.getfixturevalue(request.param), home)
    if request.param == "debian_server":
        with locked(cluster.socket):
            if not cluster.installation("postgres").query("SELECT FROM pg_database WHERE datname = %s", TEMPLATE):
                result = cluster.set_up(TEMPLATE)
                assert result.returncode == 0, result.stderr
    return cluster


@pytest.fixture(scope="session")
def shared(cluster: Cluster) -> Installation:
    """A database for tests that leave nothing behind."""
    return cluster.installation(cluster.make_database())


@pytest.fixture
def database(cluster: Cluster) -> Iterator[Installation]:
    """A database for one test."""
    installation = cluster.installation(cluster.make_database())
    yield installation
    cluster.installation("postgres").query(f"DROP DATABASE {installation.variables['PGDATABASE']} WITH (FORCE)")


@pytest.fixture(scope="session")
def connection(shared: Installation) -> Iterator[Any]:
    """A connection that is never committed."""
    with contextlib.closing(shared.connect()) as connection:
        connection.autocommit = False
        yield connection


@pytest.fixture
def cursor(connection: Any) -> Iterator[Any]:
    """A cursor in a transaction that is rolled back."""
    with connection.cursor() as cursor:
        yield cursor
    connection.rollback()
