"""Killed at any step — before and after each statement, each COMMIT, each change to a directory — the next run finishes the work once.

Each run of the tests kills at every third step, beginning with another one; with ETL_TEST_EVERY_STEP=1 at every one.
"""

import contextlib
import itertools
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions
import pytest
from conftest import Installation, give_way
from test_generic_import import add_import, drop_file, run, wait_for_its_session
from test_import_packed import zip_of
from test_import_rules import add_rule

from systemscripts import whole_files
from systemscripts.importing.files import TRIES

EVERY = 1 if os.environ.get("ETL_TEST_EVERY_STEP") else 3


def steps_to_die_at() -> Iterator[int]:
    return itertools.count(random.randint(1, EVERY), EVERY)


class Steps:
    """Counts the steps of this process and kills it at one of them."""

    def __init__(self, deadly: int) -> None:
        self.deadly = deadly
        self.taken = 0

    def kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def take(self) -> None:
        self.taken += 1
        if self.taken == self.deadly:
            self.kill()

    def around(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*args: Any, **kwargs: Any) -> Any:
            self.take()
            result = work(*args, **kwargs)
            self.take()
            return result

        return stepped


def count_every_step(steps: Steps) -> None:
    """Let every statement, COMMIT and change to a directory of this process be a step."""

    class Cursor(psycopg2.extensions.cursor):
        execute = steps.around(psycopg2.extensions.cursor.execute)
        copy_expert = steps.around(psycopg2.extensions.cursor.copy_expert)

    class Connection(psycopg2.extensions.connection):
        commit = steps.around(psycopg2.extensions.connection.commit)

        def cursor(self, *args: Any, **kwargs: Any) -> Any:
            return super().cursor(*args, cursor_factory=Cursor, **kwargs)

    connect = psycopg2.connect
    psycopg2.connect = lambda dsn: connect(dsn, connection_factory=Connection)
    for name in ("link", "unlink", "rename", "replace", "mkdir", "fsync"):
        setattr(os, name, steps.around(getattr(os, name)))
    whole_files.move = steps.around(whole_files.move)
    for name in ("unlink", "replace", "rename"):
        setattr(Path, name, steps.around(getattr(Path, name)))


def dies_at(step: int, work: Callable[[], object], count: Callable[[Steps], None] = count_every_step) -> bool:
    """Work in a child that is killed at a step; return whether it got that far."""
    child = os.fork()
    if child == 0:
        count(Steps(step))
        try:
            work()
        except BaseException:  # noqa: BLE001
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), f"step {step}: it failed instead of being killed"
    wait_for_its_session()
    return status != 0


def run_and_die_at(step: int) -> bool:
    return dies_at(step, run)


def first_of_all(etl: Installation) -> None:
    drop_file(etl, "a,b\n1,x\n2,y\n")


def replaces_another(etl: Installation) -> None:
    drop_file(etl, "a\n0\n", "clients_20260302_am.csv")
    run()
    drop_file(etl, "a,b\n1,x\n2,y\n", "clients_20260302_pm.csv")


def with_rejects(etl: Installation) -> None:
    etl.query("UPDATE dba.timportconfig SET reject_limit_percent = 50")
    drop_file(etl, "a,b\n1,x\nragged\n2,y\n")


def with_rules(etl: Installation) -> None:
    add_rule(etl, "b", pattern="[xy]")
    drop_file(etl, "a,b\n1,x\n2,y\n")


def a_duplicate(etl: Installation) -> None:
    drop_file(etl, "a,b\n1,x\n2,y\n")
    run()
    drop_file(etl, "a,b\n1,x\n2,y\n", "clients_20260303.csv")


def archived_on_another_disk(etl: Installation) -> None:
    shutil.rmtree(other_disk(etl), ignore_errors=True)
    etl.query("UPDATE dba.timportconfig SET archive_directory = %s", str(other_disk(etl)))
    drop_file(etl, "a,b\n1,x\n2,y\n")


def other_disk(etl: Installation) -> Path:
    return Path("/dev/shm", etl.variables["PGDATABASE"])


SITUATIONS = [first_of_all, replaces_another, with_rejects, with_rules, a_duplicate, archived_on_another_disk]


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda work: work.__name__)
def test_killed_at_any_step_each_file_is_loaded_exactly_once(
    etl: Installation, situation: Callable[[Installation], None]
) -> None:
    for step in steps_to_die_at():
        start_anew(etl)
        situation(etl)
        died = run_and_die_at(step)
        run()

        where = f"killed at step {step}"
        assert etl.query("SELECT a, b FROM public.vclients WHERE a <> '0' ORDER BY a") == [("1", "x"), ("2", "y")], (
            where
        )
        assert etl.query("SELECT count(*) FROM public.tclients WHERE a = '1'") == [(1,)], where
        assert etl.query("SELECT count(*) FROM dba.tdataset WHERE isactive") == [(1,)], where
        loads = etl.query("SELECT count(*) FROM dba.timportfile WHERE status = 'Loaded' AND file_name !~ 'am'")
        assert loads == [(1,)], where
        assert etl.value("SELECT count(*) FROM dba.timportfile WHERE archived_path IS NULL") == 0, where
        assert etl.value("SELECT count(*) FROM dba.timportreject") == (1 if situation is with_rejects else 0), where
        left = [path for path in (etl.home / "file_watcher").rglob("*") if path.is_file()]
        assert left == [], where
        assert not list(etl.home.rglob("*.part")), where
        if situation is archived_on_another_disk:
            assert os.listdir(other_disk(etl)) == ["clients_20260302.csv"], where
        if not died:
            break
    assert step > 20
    shutil.rmtree(other_disk(etl), ignore_errors=True)


def test_killed_at_any_step_the_files_of_an_archive_are_loaded_exactly_once(etl: Installation) -> None:
    content = zip_of({"20260301.csv": b"a,b\n1,x\n", "20260302.csv": b"a,b\n2,y\n"})
    for step in steps_to_die_at():
        start_anew(etl)
        etl.query("UPDATE dba.timportconfig SET file_pattern = '*.zip', member_pattern = '*.csv', datelocation = '0'")
        add_rule(etl, "b", pattern="[xy]")
        drop_file(etl, content, "daily.zip")
        died = run_and_die_at(step)
        run()

        where = f"killed at step {step}"
        assert etl.query("SELECT a, b FROM public.tclients ORDER BY a") == [("1", "x"), ("2", "y")], where
        assert etl.query("SELECT count(*) FROM dba.tdataset WHERE isactive") == [(2,)], where
        states = (
            "SELECT status, count(*)::int FROM dba.timportfile WHERE archived_path IS NOT NULL GROUP BY 1 ORDER BY 1"
        )
        assert etl.query(states) == [("Loaded", 2), ("Unpacked", 1)], where
        assert etl.value("SELECT count(*) FROM dba.timportfile WHERE archived_path IS NULL") == 0, where
        left = [path.name for path in etl.home.rglob("*") if path.is_file() and "logs" not in path.parts]
        assert left == ["daily.zip"], where
        if not died:
            break
    assert step > 20


def start_anew(etl: Installation) -> None:
    etl.query("DROP TABLE IF EXISTS public.tclients CASCADE")
    etl.query(
        "TRUNCATE dba.timportfile, dba.timportconfig, dba.timportdrift, dba.timportreject, dba.timportcolumn, dba.tdataset CASCADE"
    )
    shutil.rmtree(etl.home / "archive")
    (etl.home / "archive").mkdir()
    for path in (etl.home / "file_watcher").iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    add_import(etl, file_pattern=r"clients_\d+(_\w+)?\.csv")


def test_killed_while_a_workbook_is_read_nothing_is_left_of_it(etl: Installation) -> None:
    add_import(etl, file_pattern="clients_*.xls", file_type="XLS")
    rows = "<tr><td>1</td><td>a text of its own</td></tr>" * 50_000
    drop_file(etl, f"<table><tr><th>a</th><th>b</th></tr>{rows}</table>", "clients_20260302.xls")
    importer = os.fork()
    if importer == 0:
        with contextlib.suppress(BaseException):
            run()
        os._exit(0)
    while not (readers := children_of(importer)):
        give_way()
    os.kill(importer, signal.SIGKILL)
    os.waitpid(importer, 0)
    wait_for_its_session()
    while any(Path(f"/proc/{reader}/cmdline").exists() and is_alive(reader) for reader in readers):
        give_way()
    left = [path.name for path in (etl.home / "file_watcher").rglob("*") if path.is_file()]
    assert [name for name in left if not name.startswith(TRIES)] == ["clients_20260302.xls"]
    assert run().counts() == {"Loaded": 1}
    assert etl.value("SELECT count(*) FROM public.tclients") == 50_000


def children_of(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def is_alive(process: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
