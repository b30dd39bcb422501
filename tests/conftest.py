"""Shared fixtures: one real PostgreSQL for the whole run, a fresh database and a fresh ETL_HOME for each test.

The server is the embedded one, set up by the script that an administrator runs. Where the tests
run as root it belongs to `nobody`, because PostgreSQL refuses to run as root.
"""

import contextlib
import fcntl
import functools
import os
import pwd
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import needs
import psycopg2
import pytest
from needs import missing
from warm_door import WarmDoor, warm_door

from systemscripts import embedded_postgres

PROJECT = Path(__file__).resolve().parent.parent
TEMPLATE = "etl_template"
DAY = 86_400  # seconds
SESSION_ENDED = "57P"  # how SQLSTATE begins where the server has ended the session; it may go without a word, too
MEMORY_OF_SERVERS = 4 << 30  # bytes


def pytest_configure(config: pytest.Config) -> None:
    """Make the directory of the shared server, in the process that the workers come from."""
    if not hasattr(config, "workerinput"):
        root = Path(tempfile.mkdtemp(prefix="etl_tests_", dir=_servers_place()))
        root.chmod(0o755)
        os.environ["ETL_TEST_ROOT"] = str(root)
    for name in list(os.environ):
        if name.startswith(("PG", "SMTP_", "MEETMAX_")) or (name.startswith("ETL_") and not name.startswith(_OURS)):
            del os.environ[name]


def _servers_place() -> str:
    """Return where servers keep their data: in memory, where a database is made in a seventh of the time, if there is much."""
    memory = Path("/dev/shm")
    is_roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > MEMORY_OF_SERVERS
    return str(memory) if is_roomy else "/tmp"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="only tests that start nothing and are not marked as slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("begins_first") is None)
    if not config.getoption("--quick"):
        return

    def is_quick(item: pytest.Item) -> bool:
        started = {"server", "debian_server", "cluster", "machine", "corpus_dir"} & set(
            getattr(item, "fixturenames", ())
        )
        return not started and item.get_closest_marker("slow") is None

    config.hook.pytest_deselected(items=[item for item in items if not is_quick(item)])
    items[:] = [item for item in items if is_quick(item)]


_OURS = ("ETL_TEST_", "ETL_REQUIRE_ALL_TESTS", "ETL_CORPUS_DIR", "ETL_VENV")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the servers, remove what the tests left, and say which were left out for want of what."""
    _worker.close()
    if hasattr(config, "workerinput") or "ETL_TEST_ROOT" not in os.environ:
        return
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    skipped = [report.longrepr[2] for report in reporter.stats.get("skipped", [])] if reporter else []
    if reporter and (line := needs.told(skipped)):
        reporter.write_line(line)
    root = Path(os.environ.pop("ETL_TEST_ROOT"))
    with home_is(root / "server"):
        if (root / "server").exists():
            embedded_postgres.stop()
    shutil.rmtree(root, ignore_errors=True)


@contextlib.contextmanager
def home_is(home: Path) -> Iterator[None]:
    former = os.environ.get("ETL_HOME")
    os.environ["ETL_HOME"] = str(home)
    try:
        yield
    finally:
        del os.environ["ETL_HOME"]
        if former is not None:
            os.environ["ETL_HOME"] = former


def server_home(name: str) -> Path:
    """Return a home whose owner PostgreSQL can run as."""
    home = Path(os.environ["ETL_TEST_ROOT"]) / name
    home.mkdir(exist_ok=True, mode=0o755)
    if os.geteuid() == 0:
        os.chown(home, pwd.getpwnam("nobody").pw_uid, -1)
    return home


@pytest.fixture(scope="session")
def corpus_dir() -> Path:
    """The collection of real files, named by ETL_CORPUS_DIR."""
    folder = os.environ.get("ETL_CORPUS_DIR")
    if not folder or not Path(folder).is_dir():
        missing("ETL_CORPUS_DIR names no directory of real files", "ETL_CORPUS_DIR (a directory of real files)")
    return Path(folder)


@pytest.fixture(scope="session")
def server() -> Path:
    """The socket directory of the shared server, which has the template database."""
    home = server_home("server")
    handle = os.open(home.parent, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        with home_is(home):
            socket_dir = embedded_postgres.socket_dir()
            if not (home / "ready").exists():
                embedded_postgres.ensure_running()
                configuration = embedded_postgres.data_dir() / "postgresql.conf"
                with configuration.open("a") as stream:
                    stream.write(
                        "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\nmax_connections = 200\nmax_wal_size = 256MB\n"
                    )
                embedded_postgres.stop()
                embedded_postgres.ensure_running()
                set_up(PROJECT, {"PGHOST": str(socket_dir), "PGDATABASE": TEMPLATE, "PGUSER": "postgres"}, home)
                (home / "ready").touch()
    finally:
        os.close(handle)
    return socket_dir


def set_up(project: Path, variables: dict[str, str], home: Path) -> str:
    """Run the script that an administrator runs, and return what it printed."""
    result = subprocess.run(
        ["/bin/bash", str(project / "onboarding/sh/sql_setupscripts.sh")],
        env=clean_environment(ETL_HOME=str(home), **variables),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def give_way() -> None:
    """Wait a moment before another look; without a pause that would take half a processor from what is waited for."""
    time.sleep(0.01)


def aged(path: Path, days: float) -> Path:
    """Make a file that was last changed so many days ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    moment = time.time() - days * DAY
    os.utime(path, (moment, moment))
    return path


def clean_environment(**variables: str) -> dict[str, str]:
    """Return an environment as empty as cron's, with the given variables and this Python's venv."""
    return {
        "PATH": "/usr/bin:/bin",
        "ETL_VENV": sys.prefix,
        "ETL_SECRETS_FILE": "/nonexistent",
        "ETL_SITE_FILE": "/nonexistent",
        **variables,
    }


def _rows(connection: Any, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []


_begun: set[str] = set()
_worker = contextlib.ExitStack()


@functools.cache
def _warm_door() -> WarmDoor:
    folder = _worker.enter_context(tempfile.TemporaryDirectory(prefix="etl_door_"))
    return _worker.enter_context(warm_door(Path(folder) / "door"))


def _may_be_warm(environment: dict[str, str], project: Path) -> bool:
    """Tell whether the environment has nothing that the door's script, or Python as it starts, looks at."""
    usual = clean_environment()
    if project != PROJECT and environment.get("PYTHONPATH") == str(project):
        environment = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    looked_at = ("LANG", "LC_", "LD_", "MPL", "PYTHON", "XDG_")
    is_usual = all(environment.get(name) == value for name, value in usual.items())
    asks = any(name.startswith(looked_at) for name in environment)
    return is_usual and not asks and os.geteuid() != 0 and os.environ.get("ETL_TEST_REAL_DOOR") != "1"


@dataclass
class Installation:
    """A fresh database and ETL_HOME, and the ways to work on them."""

    home: Path
    variables: dict[str, str]
    project: Path = PROJECT
    _session: dict[int, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def environment(self, **more: str) -> dict[str, str]:
        return clean_environment(**{**self.variables, **more})

    def door(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a job as cron does, and return how it ended.

        What a worker starts for the first time goes through the real door, with its script and all imports, and so
        does what would look at them; the rest goes through the warm one, and with ETL_TEST_REAL_DOOR=1 nothing.
        """
        environment = self.environment(**more)
        script = next((word for word in arguments if word.endswith((".py", ".sh"))), "")
        if script not in _begun or not _may_be_warm(environment, self.project):
            _begun.add(script)
            return self.real_door(*arguments, **more)
        environment["ETL_PROJECT"] = str(self.project)  # as env.sh would
        return _warm_door().run(list(arguments), environment, self.project)

    def real_door(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/bash", str(self.project / "jobscripts/run_python_etl_script.sh"), *arguments],
            env=self.environment(**more),
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def connect(self, user: str = "postgres") -> Any:
        connection = psycopg2.connect(host=self.variables["PGHOST"], dbname=self.variables["PGDATABASE"], user=user)
        connection.autocommit = True
        return connection

    def query(self, statement: str, *values: Any, user: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement as a role and return its rows."""
        if user == "postgres":
            return self._in_session(statement, values)
        with contextlib.closing(self.connect(user)) as connection:
            return _rows(connection, statement, values)

    def _in_session(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Run it in a session that is kept, because beginning one costs more than most statements do."""
        kept = self._session.get(os.getpid())  # a child that was forked off has one of its own
        if kept is not None:
            try:
                return _rows(kept, statement, values)
            except psycopg2.Error as error:
                if not (error.pgcode or SESSION_ENDED).startswith(SESSION_ENDED):
                    raise
        self._session[os.getpid()] = self.connect()
        return _rows(self._session[os.getpid()], statement, values)

    def leave(self) -> None:
        """End the session that is kept."""
        if kept := self._session.pop(os.getpid(), None):
            kept.close()

    def value(self, statement: str, *values: Any, user: str = "postgres") -> Any:
        rows = self.query(statement, *values, user=user)
        return rows[0][0] if rows else None


@pytest.fixture(scope="session")
def administrator(server: Path) -> Iterator[Installation]:
    """The database from which others are made and dropped."""
    installation = Installation(server, {"PGHOST": str(server), "PGDATABASE": "postgres"})
    yield installation
    installation.leave()


@pytest.fixture
def etl(
    server: Path, administrator: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Installation]:
    """A fresh installation; this process's own environment points at it as well."""
    name = f"test_{secrets.token_hex(6)}"
    home = tmp_path / "home"
    for folder in ("logs", "archive", "file_watcher/file_watcher_temp"):
        (home / folder).mkdir(parents=True)
    administrator.query(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY")
    variables = {
        "ETL_HOME": str(home),
        "PGHOST": str(server),
        "PGDATABASE": name,
        "ETL_SETTLE_SECONDS": "0",
        "ETL_REQUEST_INTERVAL": "0",
    }
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    installation = Installation(home, variables)
    # A job that fails would build the page; a test that is about that makes its row active.
    installation.query(
        "UPDATE dba.tscheduler SET datastatusid = 2 WHERE scriptpath = 'build_status_page.py';"
        "UPDATE dba.timportconfig SET source_directory = %s, archive_directory = %s",
        str(home / "file_watcher"),
        str(home / "archive"),
    )
    yield installation
    installation.leave()
    administrator.query(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def project_copy(tmp_path: Path, etl: Installation) -> Installation:
    """The installation with a copy of the code, to which a test adds jobs of its own in jobscripts/."""
    copy = copy_code(tmp_path / "checkout")
    return Installation(etl.home, {**etl.variables, "PYTHONPATH": str(copy)}, copy)


def copy_code(target: Path) -> Path:
    """Make a copy of the code, to which a test adds jobs of its own in jobscripts/."""
    target.mkdir()
    shutil.copytree(PROJECT / "jobscripts", target / "jobscripts")
    shutil.copytree(PROJECT / "systemscripts", target / "systemscripts", copy_function=_linked_or_copied)
    shutil.copy(PROJECT / "env.sh", target)
    return target


def _linked_or_copied(source: str, target: str) -> None:
    """Give the copy the same file, which no test writes to; another file system, or owner, wants one of its own."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
