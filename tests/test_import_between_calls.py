"""Between any two system calls of an import somebody else acts on its file: nothing is archived unloaded, lost, or loaded twice.

ETL_TEST_ACTOR_ROUNDS=2000 bash onboarding/sh/run_tests.sh tests/test_import_between_calls.py -s
plays as many rounds in random order and says how they ended; each round's seed is in its message.
"""

import contextlib
import os
import random
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Installation
from needs import missing
from test_generic_import import add_import, run
from traced import Traced, stop_here

from systemscripts import db_config
from systemscripts.generic_import import run_import
from systemscripts.importing.config import load_config
from systemscripts.importing.files import TAKEN
from systemscripts.whole_files import sha256_of

ROUNDS = int(os.environ.get("ETL_TEST_ACTOR_ROUNDS", "60"))
# An import of one file takes some 300 calls; later stops find it ended, and the actor comes too late.
CALLS = 320


def append(path: Path, content: str) -> None:
    with path.open("a") as stream:
        stream.write(content.partition("\n")[2])


def replace(path: Path, content: str) -> None:
    beside = path.with_name(".beside")
    beside.write_text(content)
    beside.rename(path)


def truncate(path: Path, _content: str) -> None:
    os.truncate(path, 6)


def rewrite(path: Path, content: str) -> None:
    status = path.stat()
    with path.open("r+") as stream:
        stream.write(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def delete(path: Path, _content: str) -> None:
    path.unlink()


def rename(path: Path, _content: str) -> None:
    path.rename(path.with_stem(path.stem + "_renamed"))


def touch(path: Path, _content: str) -> None:
    path.chmod(0o600)
    os.utime(path)


def hold_open(path: Path, content: str) -> Callable[[], str]:
    """Open the file now, and write later; that returns the whole content."""
    handle = os.open(path, os.O_RDWR | os.O_APPEND)

    def write() -> str:
        os.write(handle, content.partition("\n")[2].encode())
        whole = os.pread(handle, 1000, 0).decode()
        os.close(handle)
        return whole

    return write


ACTORS = [append, replace, truncate, rewrite, delete, rename, touch, hold_open]


@pytest.fixture(params=["one file system", "two file systems"])
def archive(etl: Installation, request: pytest.FixtureRequest) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(dir="/dev/shm")) if request.param == "two file systems" else etl.home / "archive"
    add_import(etl, archive_directory=str(folder), file_pattern=r"clients_\d+_\w+\.csv")
    yield folder
    shutil.rmtree(folder)


class Round:
    """One import of one file, and one actor at two of its calls."""

    def __init__(self, etl: Installation, archive: Path, number: int) -> None:
        self.random = random.Random(number)
        self.number = number
        self.etl, self.archive = etl, archive
        self.watched = etl.home / "file_watcher"
        self.path = self.watched / f"clients_20260302_{number}.csv"
        self.is_bad = self.random.random() < 0.25
        self.original = f"x,y\n{number},{'1' if not self.is_bad else '1,1'}\n"
        self.latter = f"x,y\n{number},{'2' if not self.is_bad else '2,2'}\n"
        self.actor = self.random.choice(ACTORS)
        self.must_stay: set[str] = set()

    def play(self) -> str:
        """Import, act, let it end, import what is left; return what the first run came to."""
        self.path.write_text(self.original)
        child = Traced(self._import)
        first, second = self.random.randrange(1, CALLS), self.random.randrange(1, 60)
        child.go_on(first)
        if not self.path.exists():
            self.must_stay.add(self.original)
        later = self._act(child)
        if later is not None:
            child.go_on(second)
            self.must_stay.add(later())
        # What lies there after the actor is done has to end in the archive, or in failed/.
        self.must_stay |= {path.read_text() for path in self._waiting()}
        status = child.let_go()
        for _ in range(4):
            if self._waiting() or self._taken():
                run()
        return f"{self.actor.__name__}, {'was in time' if status else 'done'}"

    def _act(self, child: Traced) -> Callable[[], str] | None:
        """Let the actor work; while the import's lease makes it wait, the import goes on."""
        done: list[Callable[[], str] | None] = [None]

        def act() -> None:
            with contextlib.suppress(FileNotFoundError):
                done.append(self.actor(self.path, self.latter))

        actor = threading.Thread(target=act)
        actor.start()
        actor.join(0.1)
        while actor.is_alive() and child.go_on(1):
            actor.join(0.001)
        actor.join()
        return done[-1]

    @staticmethod
    def _import() -> None:
        with db_config.session() as connection:
            config = load_config(connection, "clients")
            stop_here()
            report = run_import(connection, config)
        if report.counts().keys() - {"Loaded", "Failed"}:
            os._exit(75)

    def _waiting(self) -> list[Path]:
        return [path for path in self.watched.iterdir() if path.is_file() and not path.name.startswith(".")]

    def _taken(self) -> list[str]:
        """Return what lies in .taken/, which the first import makes that finds a file."""
        taken = self.watched / TAKEN
        return os.listdir(taken) if taken.exists() else []

    def check(self) -> None:
        where = f"round {self.number}, {self.actor.__name__}"
        rows = self.etl.query("SELECT status, sha256, datasetid, archived_path FROM dba.timportfile")
        loaded = [sha256 for status, sha256, _, _ in rows if status in ("Loaded", "Empty")]
        assert len(loaded) == len(set(loaded)), f"{where}: loaded twice"
        archived = {sha256_of(path) for path in self.archive.iterdir()}
        assert archived == set(loaded), f"{where}: the archive is not what was loaded"
        failed_files = [path for path in (self.watched / "failed").rglob("*.csv") if path.is_file()]
        failed = {sha256_of(path) for path in failed_files}
        assert failed == {sha256 for status, sha256, _, _ in rows if status == "Failed"}, f"{where}: failed/"
        kept = {path.read_text() for path in [*self.archive.iterdir(), *failed_files]}
        assert self.must_stay <= kept, f"{where}: lost {self.must_stay - kept}"
        for status, _, datasetid, path in rows:
            if status == "Loaded":
                records = self.etl.query(
                    "SELECT coalesce(x, '') || ',' || coalesce(y, '') FROM public.tclients WHERE datasetid = %s",
                    datasetid,
                )
                assert sorted(Path(path).read_text().splitlines()[1:]) == sorted(text for (text,) in records), where
        assert not self._waiting(), f"{where}: left"
        assert self._taken() == [], f"{where}: left"
        for path in [*self.archive.iterdir(), *failed_files]:
            path.unlink()
        self.etl.query("TRUNCATE dba.timportfile CASCADE")


@pytest.mark.timeout(300 + ROUNDS)
def test_whoever_acts_between_two_calls_nothing_is_lost_or_doubled(etl: Installation, archive: Path) -> None:
    first = random.SystemRandom().randrange(10**9)
    outcomes: Counter[str] = Counter()
    for number in range(first, first + ROUNDS // 2):
        game = Round(etl, archive, number)
        try:
            outcomes[game.play()] += 1
        except PermissionError as error:
            missing(f"no process can be traced here: {error}", "the right to trace processes")
        game.check()
    print(*sorted(outcomes.items()), sep="\n")
    assert outcomes.total() == ROUNDS // 2
