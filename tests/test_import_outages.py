"""When the database, the disk or the archive is not there, the file stays where it is, and a later run finishes the work once."""

import contextlib
import ctypes
import gzip
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from conftest import PROJECT, Installation, server_home, set_up
from needs import missing
from test_generic_import import add_import, drop_file, run
from test_import_crashes import Steps, count_every_step, steps_to_die_at

from systemscripts import embedded_postgres
from systemscripts.importing.files import TAKEN

pytestmark = pytest.mark.slow


class ServerKiller(Steps):
    """Kills the database server, every process of it, after one of the steps."""

    def around(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*args: Any, **kwargs: Any) -> Any:
            result = work(*args, **kwargs)
            self.take()
            return result

        return stepped

    def kill(self) -> None:
        server = postmaster()
        children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
        os.kill(server, signal.SIGSTOP)  # it must not tidy up after its children
        for process in (*map(int, children), server):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


@pytest.fixture
def own_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """An installation with an embedded server of its own, which a test may kill."""
    adopt_orphans(True)
    home = server_home("killed")
    monkeypatch.setenv("ETL_HOME", str(home))
    monkeypatch.setenv("ETL_SETTLE_SECONDS", "0")
    set_up(PROJECT, {}, home)
    for folder in ("archive", "file_watcher"):
        (home / folder).mkdir(exist_ok=True)
    variables = {"ETL_HOME": str(home), "PGHOST": str(embedded_postgres.socket_dir()), "PGDATABASE": "feeds"}
    yield Installation(home, variables)
    embedded_postgres.stop()
    shutil.rmtree(home)
    adopt_orphans(False)


def adopt_orphans(yes: bool) -> None:
    """Become the parent of a killed server's processes, so that they need not wait for init to be taken note of."""
    pr_set_child_subreaper = 36
    assert ctypes.CDLL(None).prctl(pr_set_child_subreaper, int(yes), 0, 0, 0) == 0


def postmaster() -> int:
    return int((embedded_postgres.data_dir() / "postmaster.pid").read_text().split()[0])


def test_the_server_killed_at_any_step_each_file_is_loaded_exactly_once(own_server: Installation) -> None:
    for step in steps_to_die_at():
        start_anew(own_server)
        drop_file(own_server, "a\n0\n", "clients_20260302_am.csv")
        run()
        drop_file(own_server, "a,b\n1,x\n2,y\n", "clients_20260302_pm.csv")
        died = run_until_the_server_is_killed(step)
        embedded_postgres.ensure_running()
        run()

        where = f"killed at step {step}"
        assert own_server.query("SELECT a, b FROM public.vclients ORDER BY a") == [("1", "x"), ("2", "y")], where
        assert own_server.value("SELECT count(*) FROM public.tclients") == 3, where
        assert own_server.value("SELECT count(*) FROM dba.tdataset WHERE isactive") == 1, where
        assert own_server.value("SELECT count(*) FROM dba.timportfile WHERE status = 'Loaded'") == 2, where
        assert own_server.value("SELECT count(*) FROM dba.timportfile WHERE archived_path IS NULL") == 0, where
        assert sorted(os.listdir(own_server.home / "archive")) == ["clients_20260302_am.csv", "clients_20260302_pm.csv"]
        assert not [path for path in (own_server.home / "file_watcher").rglob("*") if path.is_file()], where
        if not died:
            break
    assert step > 20


def start_anew(etl: Installation) -> None:
    etl.query("DROP TABLE IF EXISTS public.tclients CASCADE")
    etl.query(
        "TRUNCATE dba.timportfile, dba.timportconfig, dba.timportdrift, dba.timportreject, dba.timportcolumn, dba.tdataset CASCADE"
    )
    for path in (etl.home / "archive").iterdir():
        path.unlink()
    add_import(etl, file_pattern=r"clients_\d+(_\w+)?\.csv")


def run_until_the_server_is_killed(step: int) -> bool:
    """Run the import in a child that kills the server at a step; return whether it got that far."""
    server = postmaster()
    child = os.fork()
    if child == 0:
        killer = ServerKiller(step)
        count_every_step(killer)
        try:
            run()
        except (psycopg2.OperationalError, psycopg2.InterfaceError):
            os._exit(75)
        except BaseException:  # noqa: BLE001
            os._exit(1)
        os._exit(0 if killer.taken < step else 75)
    ended: set[int] = set()
    while child not in ended:
        process, status = os.waitpid(-1, 0)
        ended.add(process)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, 75), f"step {step}: the import failed in another way"
    if code == 75 and server not in ended:
        with contextlib.suppress(ChildProcessError):  # it is no child of ours where it was started before
            os.waitpid(server, 0)
    return code == 75


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("53100", "short of resources: no space left"),
        ("40P01", "another transaction: no space left"),
        ("58030", "disk has trouble: no space left"),
    ],
)
def test_a_database_in_trouble_leaves_the_file_and_ends_with_75(etl: Installation, code: str, told: str) -> None:
    add_import(etl)
    drop_file(etl, "a\n0\n", "clients_20260301.csv")
    run()
    etl.query(
        "CREATE FUNCTION public.full() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = '{code}'; END $$"
    )
    etl.query("CREATE TRIGGER no_room BEFORE INSERT ON public.tclients EXECUTE FUNCTION public.full()")
    path = drop_file(etl, "a\n1\n")
    result = etl.door("run_import_job.py", "clients")
    assert result.returncode == 75
    assert told in result.stderr
    assert "Traceback" not in result.stderr
    assert path.exists()
    etl.query("DROP TRIGGER no_room ON public.tclients")
    assert run().counts() == {"Loaded": 1}


def test_an_archive_directory_that_is_not_there_is_made(etl: Installation) -> None:
    shutil.rmtree(etl.home / "archive")
    add_import(etl)
    drop_file(etl, "a\n1\n")
    assert run().counts() == {"Loaded": 1}
    assert os.listdir(etl.home / "archive") == ["clients_20260302.csv"]


def test_an_archive_that_cannot_be_made_keeps_the_file_waiting_loaded_once(etl: Installation) -> None:
    shutil.rmtree(etl.home / "archive")
    (etl.home / "archive").write_text("a file is in the way")
    add_import(etl)
    path = drop_file(etl, "a\n1\n")
    for _ in range(2):
        result = etl.door("run_import_job.py", "clients", ETL_ARCHIVE_DIR=str(etl.home / "other"))
        assert result.returncode == 75
        assert "clients_20260302.csv cannot be moved to" in result.stderr
        assert (path.parent / TAKEN / path.name).exists()
    (etl.home / "archive").unlink()
    assert run().counts() == {"Archived": 1}
    assert etl.value("SELECT count(*) FROM public.tclients") == 1
    assert not path.exists()


# A tmpfs of one's own takes a namespace of mounts, and who is not root needs one of users for that.
NOT_AS_ROOT = [] if os.geteuid() == 0 else ["--user", "--map-current-user", "--keep-caps"]
SMALL_DISK = ["unshare", *NOT_AS_ROOT, "--mount", "/bin/bash", "-c"]


NO_ROOM_FOR_STEPS = "mount -t tmpfs -o size=64k none $ETL_HOME/file_watcher/file_watcher_temp"


@pytest.mark.parametrize(
    ("kind", "situation", "told"),
    [
        ("XLS", NO_ROOM_FOR_STEPS, "its CSV cannot be written"),
        ("JSON", NO_ROOM_FOR_STEPS, "No space left on device"),
        ("gzip", NO_ROOM_FOR_STEPS, "No space left on device"),
        ("XLS", "mount -t tmpfs -o size=64k none $ETL_HOME/archive", "cannot be moved to"),
    ],
)
def test_a_full_disk_leaves_the_file_and_nothing_half_written(
    etl: Installation, kind: str, situation: str, told: str
) -> None:
    if subprocess.run([*SMALL_DISK, "mount -t tmpfs none /mnt"], capture_output=True, check=False).returncode:
        missing("no tmpfs can be mounted in a namespace of one's own", "namespaces")
    add_import(etl, file_pattern="clients_*.xls", file_type="CSV" if kind == "gzip" else kind)
    content = {
        "XLS": html_table(rows=5_000).encode(),
        "JSON": b'{"a": 1, "b": "a text of its own"}\n' * 5_000,
        "gzip": gzip.compress(b"a,b\n" + b"1,a text of its own\n" * 5_000),
    }[kind]
    path = drop_file(etl, content, "clients_20260302.xls")
    job = f"/bin/bash {etl.project}/jobscripts/run_python_etl_script.sh run_import_job.py clients"
    look = 'ls -A "$ETL_HOME/archive" "$ETL_HOME/file_watcher/file_watcher_temp" | grep -v :; exit $status'
    result = subprocess.run(
        [*SMALL_DISK, f"{situation} && {job}; status=$?; {look}"],
        env=etl.environment(), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert result.returncode == 75, result.stderr
    assert told in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout.split() == []
    assert path.exists() or (path.parent / TAKEN / path.name).exists()
    assert set(run().counts()) <= {"Loaded", "Archived"}
    assert etl.value("SELECT count(*) FROM public.tclients") == 5_000
    assert not path.exists()


def html_table(rows: int) -> str:
    return "<table><tr><th>a</th><th>b</th></tr>" + "<tr><td>1</td><td>a text of its own</td></tr>" * rows + "</table>"
