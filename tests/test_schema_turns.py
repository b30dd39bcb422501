"""A set-up waits for another set-up and for jobs, says for whom, and not for ever."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import PROJECT, Installation, clean_environment
from schema_helpers import Cluster, locked
from test_schema_setup import copy_of_onboarding

pytestmark = pytest.mark.slow

pytest_plugins = ["schema_fixtures"]

# What a set-up holds until its end, on the whole server.
TURN = "COMMENT ON ROLE etl_owner IS 'held'"
# Where the server plays no part in what is shown.
ONE_SERVER = pytest.mark.parametrize("cluster", ["server"], indirect=True, ids=["embedded"])


def begin(cluster: Cluster, name: str, project: Path = PROJECT) -> subprocess.Popen[str]:
    """Start a set-up without waiting for others, as `Cluster.set_up` does."""
    variables = {**cluster.installation(name).variables, "PGUSER": "postgres"}
    return subprocess.Popen(
        ["/bin/bash", str(project / "onboarding/sh/sql_setupscripts.sh")],
        env=clean_environment(**variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextlib.contextmanager
def held(installation: Installation, statement: str) -> Iterator[Any]:
    """Hold what a statement locks, in a session with a name; give its number."""
    with contextlib.closing(installation.connect()) as connection, connection.cursor() as cursor:
        connection.autocommit = False
        cursor.execute("SET application_name = 'etl run_import_job.py'; SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
        cursor.execute(statement)
        yield pid
        connection.rollback()


@pytest.mark.parametrize(
    ("cluster", "statement", "what"),
    [
        ("server", TURN, "another set-up on this server"),
        ("server", "LOCK TABLE dba.timportconfig IN ACCESS EXCLUSIVE MODE", "a table that it changes"),
        ("debian_server", "LOCK TABLE dba.tdataset IN ACCESS SHARE MODE", "a table that it changes"),
    ],
    indirect=["cluster"],
)
def test_it_says_for_whom_it_waits_and_goes_on(cluster: Cluster, database: Installation, statement: str, what: str):
    with locked(cluster.home):
        with held(database, statement) as pid:
            waiting = begin(cluster, database.variables["PGDATABASE"])
            assert waiting.stderr is not None
            told = waiting.stderr.readline()
        _, rest = waiting.communicate()

    assert told.startswith(f"The set-up waits for {what}: pid {pid} (user postgres, etl run_import_job.py")
    assert waiting.returncode == 0, rest


@ONE_SERVER
def test_set_ups_at_once_follow_one_another(cluster: Cluster, database: Installation):
    name, other = database.variables["PGDATABASE"], cluster.make_database()
    with locked(cluster.home):
        all_of_them = [begin(cluster, of) for of in (name, other, name)]
        told = [set_up.communicate()[1] for set_up in all_of_them]

    assert [set_up.returncode for set_up in all_of_them] == [0] * 3, told
    cluster.installation("postgres").query(f"DROP DATABASE {other} WITH (FORCE)")


@ONE_SERVER
def test_after_a_while_it_gives_up(cluster: Cluster, database: Installation, tmp_path: Path):
    project = copy_of_onboarding(tmp_path)
    file = project / "onboarding/sql/wait_for_turn.sql"
    file.write_text(file.read_text().replace("interval := '10 minutes'", "interval := '0'"))

    with locked(cluster.home), held(database, "LOCK TABLE dba.tdataset IN ACCESS SHARE MODE") as pid:
        waiting = begin(cluster, database.variables["PGDATABASE"], project)
        _, told = waiting.communicate()

    assert waiting.returncode == 75
    assert f"pid {pid}" in told
    assert "nothing was changed, because somebody else used" in told.splitlines()[-1]
