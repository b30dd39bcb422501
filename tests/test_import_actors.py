"""Somebody else acts between two steps of an import: the archive has what was loaded, and nothing is lost or loaded twice."""

import contextlib
import errno
import getpass
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Installation, give_way
from test_generic_import import add_import, drop_file, in_child, loaded, run
from test_import_rules import add_rule

from systemscripts import directory_management
from systemscripts.errors import TemporaryFailure
from systemscripts.importing import filing, held, leases, ledger, load, staging
from systemscripts.importing.config import ConfigurationError
from systemscripts.importing.files import TAKEN, TRIES
from systemscripts.whole_files import sha256_of

NAME = "clients_20260302.csv"


@pytest.fixture
def other_disk(etl: Installation) -> Iterator[Path]:
    """A directory on another file system than the watched one, which is the archive of the import `clients`."""
    folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
    folder.chmod(0o777)
    assert folder.stat().st_dev != etl.home.stat().st_dev
    add_import(etl, archive_directory=str(folder))
    yield folder
    shutil.rmtree(folder)


@contextlib.contextmanager
def acting(module: Any, name: str, act: Callable[[], object], *, before: bool = False) -> Iterator[None]:
    """Let somebody act once, just before or just after the first call of a function."""
    work = getattr(module, name)
    acts = iter([act])

    def with_actor(*args: Any, **kwargs: Any) -> Any:
        if before:
            next(acts, lambda: None)()
        result = work(*args, **kwargs)
        if not before:
            next(acts, lambda: None)()
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, with_actor)
        yield


def archive_is_what_was_loaded(etl: Installation, archive: Path | None = None) -> bool:
    """Compare the content of each archived file with the SHA-256 that was loaded under its path."""
    archive = archive or etl.home / "archive"
    told = dict(etl.query("SELECT archived_path, sha256 FROM dba.timportfile WHERE status = 'Loaded'"))
    return told == {str(path): sha256_of(path) for path in archive.iterdir()}


def rewrite_secretly(path: Path, content: str) -> None:
    """Rewrite the file in place, with as many bytes and the same time of its last write."""
    status = path.stat()
    path.write_text(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace(path: Path, content: str) -> None:
    beside = path.with_name(".new")
    beside.write_text(content)
    beside.replace(path)


def test_a_file_rewritten_with_its_size_and_time_kept_is_not_taken_for_what_was_loaded(etl: Installation) -> None:
    add_import(etl)
    path = drop_file(etl, "x,y\n1,2\n")
    with acting(load, "load_records", lambda: rewrite_secretly(path, "y,x\n9,8\n")):
        assert run().counts() == {"Changed": 1}
    assert etl.value("SELECT count(*) FROM dba.timportfile") == 0
    assert run().counts() == {"Loaded": 1}
    assert loaded(etl, "y, x") == [("9", "8")]
    assert archive_is_what_was_loaded(etl)


def test_a_file_that_is_only_touched_meanwhile_is_loaded(etl: Installation) -> None:
    add_import(etl)
    path = drop_file(etl, "x,y\n1,2\n")
    with acting(load, "load_records", lambda: (path.chmod(0o600), os.utime(path))):
        assert run().counts() == {"Loaded": 1}
    assert archive_is_what_was_loaded(etl)


def test_a_file_that_is_torn_while_it_is_read_is_not_refused(etl: Installation) -> None:
    add_import(etl)
    path = drop_file(etl, "x,y\n1,2\n")

    def append(text: str) -> None:
        with path.open("a") as stream:
            stream.write(text)

    with acting(load, "load_records", lambda: append("3,4\n5"), before=True):
        assert run().counts() == {"Changed": 1}
    append(",6\n")
    assert run().counts() == {"Loaded": 1}
    assert loaded(etl, "x, y") == [("1", "2"), ("3", "4"), ("5", "6")]
    assert not (etl.home / "file_watcher/failed").exists()


def test_a_bad_file_that_is_mended_while_it_is_refused_stays_and_is_loaded(etl: Installation) -> None:
    add_import(etl)
    path = drop_file(etl, "x,y\nragged\n")
    with acting(load, "_load_rewritten", lambda: replace(path, "x,y\n1,2\n"), before=True):
        assert run().counts() == {"Changed": 1}
    assert run().counts() == {"Loaded": 1}
    assert loaded(etl, "x, y") == [("1", "2")]


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "directory"])
def test_what_takes_the_place_of_a_listed_file_is_not_opened_and_the_others_go_on(
    etl: Installation, make: Callable[[Path], None]
) -> None:
    add_import(etl, file_pattern=r"clients_\d+_\w\.csv")
    for letter in "abc":
        drop_file(etl, f"x\n{letter}\n", f"clients_20260302_{letter}.csv")
    second = etl.home / "file_watcher/clients_20260302_b.csv"
    with acting(load, "load_records", lambda: (second.unlink(), make(second))):
        outcomes = run().files
    assert [outcome.status for outcome in outcomes] == ["Loaded", "Failed", "Loaded"]
    assert second.exists()


def test_a_file_put_in_place_after_the_load_stays_for_the_next_run(etl: Installation) -> None:
    add_import(etl)
    path = drop_file(etl, "x\nformer\n")
    with acting(filing, "archive", lambda: path.write_text("x\nlatter\n"), before=True):
        assert run().counts() == {"Loaded": 1}
    assert path.read_text() == "x\nlatter\n"
    assert run().counts() == {"Loaded": 1}
    assert loaded(etl, "x") == [("former",), ("latter",)]
    assert archive_is_what_was_loaded(etl)


def test_a_file_replaced_just_before_it_is_taken_stays_for_the_next_run(etl: Installation) -> None:
    add_import(etl)
    path = drop_file(etl, "x\nformer\n")
    with acting(held.os, "rename", lambda: replace(path, "x\nlatter\n"), before=True):
        assert run().counts() == {"Changed": 1}
    assert path.read_text() == "x\nlatter\n"
    assert run().counts() == {"Loaded": 1}
    assert loaded(etl, "x") == [("latter",)]


@pytest.mark.parametrize("content", ["x\nlatter\n", "x\nragged,line\n"])
def test_while_a_file_is_copied_to_another_disk_its_place_is_free_for_the_next(
    etl: Installation, other_disk: Path, content: str
) -> None:
    path = drop_file(etl, "x\nformer\n")
    with acting(directory_management, "appear_numbered", lambda: path.write_text(content), before=True):
        assert run().counts() == {"Loaded": 1}
    assert path.read_text() == content
    assert [file.read_text() for file in other_disk.iterdir()] == ["x\nformer\n"]
    run()
    assert archive_is_what_was_loaded(etl, other_disk)
    assert not path.exists()


def test_a_file_with_a_second_name_is_archived_as_it_was_loaded(etl: Installation) -> None:
    add_import(etl)
    path = drop_file(etl, "x\n1\n")
    second = etl.home / "second"
    os.link(path, second)
    assert run().counts() == {"Loaded": 1}
    second.write_text("x\n2\n")
    assert archive_is_what_was_loaded(etl)


class LateWriter:
    """Opens a file for writing in another process, in whatever moment, and writes when it has it."""

    def __init__(self, path: Path, content: str, mode: str) -> None:
        self._child = 0
        self._path, self._content, self._mode = path, content, mode

    def begin(self) -> None:
        """Return when the other process waits in open(2), or has the file open."""
        read, write = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            os.write(write, b"x")
            with self._path.open(self._mode) as stream:
                stream.write(self._content)
            os._exit(0)
        os.read(read, 1)
        os.close(read)
        os.close(write)
        while leases.is_written(self._path) is not True and self._path.exists():
            give_way()

    def end(self) -> None:
        assert os.waitpid(self._child, 0)[1] == 0


@pytest.mark.parametrize("mode", ["a", "w"])
@pytest.mark.parametrize("disk", ["one", "other"])
def test_a_writer_who_waited_for_the_lease_writes_into_its_own_file(
    etl: Installation, request: pytest.FixtureRequest, disk: str, mode: str
) -> None:
    """It has found the file by its name, and the kernel lets it in when the lease ends: in the archive, it would be."""
    archive = request.getfixturevalue("other_disk") if disk == "other" else etl.home / "archive"
    if disk == "one":
        add_import(etl)
    path = drop_file(etl, "x,y\n1,2\n")
    sender = LateWriter(path, "x,y\n3,4\n" if mode == "w" else "3,4\n", mode)
    with acting(held.HeldFile, "_is_as_opened", sender.begin):
        first = run()
    sender.end()

    assert first.counts() == {"Changed": 1}
    assert path.read_text() == ("x,y\n3,4\n" if mode == "w" else "x,y\n1,2\n3,4\n")
    assert run().counts() == {"Loaded": 1}
    assert archive_is_what_was_loaded(etl, archive)


@pytest.mark.parametrize("disk", ["one", "other"])
def test_a_writer_who_comes_after_the_commit_gets_its_file_back(
    etl: Installation, request: pytest.FixtureRequest, disk: str
) -> None:
    archive = request.getfixturevalue("other_disk") if disk == "other" else etl.home / "archive"
    if disk == "one":
        add_import(etl)
    path = drop_file(etl, "x,y\n1,2\n")
    sender = LateWriter(path.parent / TAKEN / path.name, "3,4\n", "a")
    with acting(filing, "archive", sender.begin, before=True):
        assert run().counts() == {"Loaded": 1}
    sender.end()

    assert path.read_text() == "x,y\n1,2\n3,4\n"
    assert archive_is_what_was_loaded(etl, archive)
    assert run().counts() == {"Loaded": 1}
    assert etl.query("SELECT x, y FROM public.vclients ORDER BY 1") == [("1", "2"), ("3", "4")]


def test_a_file_written_to_through_a_second_name_is_archived_as_it_was_loaded(etl: Installation) -> None:
    add_import(etl)
    path = drop_file(etl, "x,y\n1,2\n")
    os.link(path, etl.home / "k")
    sender = LateWriter(etl.home / "k", "late,line\n", "a")
    with acting(filing, "archive", sender.begin, before=True):
        assert run().counts() == {"Loaded": 1}
    sender.end()

    assert archive_is_what_was_loaded(etl)
    assert path.read_text() == "x,y\n1,2\nlate,line\n"


def test_what_was_written_after_the_load_is_not_taken_for_it(
    etl: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the kernel keeps nobody away, a copy with another hash than the ledger's is none."""
    monkeypatch.setattr("systemscripts.importing.leases._take", lambda _handle: False)
    add_import(etl)
    path = drop_file(etl, "x,y\n1,2\n")
    taken = path.parent / TAKEN / path.name
    with acting(filing, "archive", lambda: taken.write_text("x,y\n9,9\n"), before=True):
        assert run().counts() == {"Changed": 1}

    assert os.listdir(etl.home / "archive") == []
    assert path.read_text() == "x,y\n9,9\n"
    assert run().counts() == {"Loaded": 1}
    assert etl.query("SELECT x, y FROM public.vclients ORDER BY 1") == [("9", "9")]


def test_a_file_that_somebody_has_open_for_writing_is_not_taken(etl: Installation) -> None:
    add_import(etl)
    path = drop_file(etl, "x\n1\n")
    with path.open("a"):
        assert run().files == []
    with contextlib.ExitStack() as stack, acting(load, "load_records", lambda: stack.enter_context(path.open("a"))):
        assert run().counts() == {"Changed": 1}
    assert etl.value("SELECT count(*) FROM dba.timportfile") == 0
    assert run().counts() == {"Loaded": 1}


def test_a_file_that_cannot_be_archived_yet_holds_no_other_up(
    etl: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_import(etl)
    drop_file(etl, "x\n1\n")
    drop_file(etl, "x\n2\n", "clients_20260303.csv")
    drop_file(etl, "x\nragged,line\n", "clients_20260304.csv")
    move = held.HeldFile.move

    def no_space_for_the_first(self: held.HeldFile, directory: Path) -> Path:
        if self.name == NAME:
            raise OSError(errno.ENOSPC, "No space left on device")
        return move(self, directory)

    with monkeypatch.context() as patch:
        patch.setattr(held.HeldFile, "move", no_space_for_the_first)
        assert run().counts() == {"Not filed": 1, "Loaded": 1, "Failed": 1}
    assert run().counts() == {"Archived": 1}
    assert archive_is_what_was_loaded(etl)


@pytest.mark.parametrize("has_lease", [True, False])
def test_a_machine_that_comes_back_leaves_alone_what_another_has_taken_since(
    etl: Installation, monkeypatch: pytest.MonkeyPatch, has_lease: bool
) -> None:
    """It was cut off between its commit and the move, and so lost its locks."""
    add_import(etl)
    taken = drop_file(etl, "x\n1\n").parent / TAKEN / NAME

    def another_machine() -> None:
        taken.rename(etl.home / "archive" / NAME)
        taken.write_text("x\n2\n")

    with monkeypatch.context() as patch:
        if not has_lease:
            patch.setattr(leases, "_take", lambda _handle: False)
        with acting(filing, "archive", another_machine, before=True):
            report = run()
    assert report.counts() == {"Not filed": 1}
    assert "another run took this one for lost, and filed it" in report.files[0].detail
    assert taken.read_text() == "x\n2\n"
    assert run().counts() == {"Loaded": 1}
    assert sorted(path.read_text() for path in (etl.home / "archive").iterdir()) == ["x\n1\n", "x\n2\n"]


def test_a_file_removed_just_before_it_is_taken_leaves_nothing_loaded(etl: Installation) -> None:
    add_import(etl)
    path = drop_file(etl, "x\n1\n")
    with acting(held.os, "rename", path.unlink, before=True):
        assert run().counts() == {"Changed": 1}
    assert etl.value("SELECT count(*) FROM dba.timportfile") == 0
    assert run().files == []


def test_a_file_cut_while_its_rejects_are_explained_is_not_refused(etl: Installation) -> None:
    add_import(etl, reject_limit_percent=90)
    add_rule(etl, "y", data_type="integer")
    path = drop_file(etl, "x,y\n1,1\n2,two\n")
    with acting(staging, "_faults", lambda: os.truncate(path, 8), before=True):
        assert run().counts() == {"Changed": 1}
    path.write_text("x,y\n1,1\n2,2\n")
    assert run().counts() == {"Loaded": 1}


def test_without_the_kernels_word_on_writers_the_content_decides(
    etl: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("systemscripts.importing.leases._take", lambda _handle: False)
    add_import(etl)
    path = drop_file(etl, "x,y\n1,2\n")
    with acting(held.os, "rename", lambda: rewrite_secretly(path, "y,x\n9,8\n"), before=True):
        assert run().counts() == {"Changed": 1}
    assert path.read_text() == "y,x\n9,8\n"
    assert run().counts() == {"Loaded": 1}
    assert archive_is_what_was_loaded(etl)


def test_a_commit_that_fails_gives_the_file_back(etl: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    add_import(etl)
    path = drop_file(etl, "x\n1\n")
    with monkeypatch.context() as patch, pytest.raises(TemporaryFailure):
        patch.setattr(ledger, "write_file_row", lambda *_: (_ for _ in ()).throw(TemporaryFailure("away")))
        run()
    assert path.read_text() == "x\n1\n"
    assert run().counts() == {"Loaded": 1}


def test_a_file_taken_by_a_killed_run_and_the_next_of_its_name_are_both_loaded(etl: Installation) -> None:
    add_import(etl)
    path = drop_file(etl, "x\nformer\n")
    with acting(ledger, "write_file_row", lambda: os.kill(os.getpid(), signal.SIGKILL)):
        assert in_child(run) == -signal.SIGKILL
    assert not path.exists()
    drop_file(etl, "x\nlatter\n")
    assert run().counts() == {"Loaded": 2}
    assert loaded(etl, "x") == [("former",), ("latter",)]
    assert archive_is_what_was_loaded(etl)
    assert os.listdir(path.parent / TAKEN) == []


def test_a_file_on_which_three_runs_died_is_set_aside_and_the_feed_goes_on(etl: Installation) -> None:
    add_import(etl, file_pattern=r"clients_\d+_\w+\.csv")
    drop_file(etl, "x\n1\n", "clients_20260302_deadly.csv")
    drop_file(etl, "x\n2\n", "clients_20260303_good.csv")
    for _ in range(3):
        with acting(load, "load_records", lambda: os.kill(os.getpid(), signal.SIGKILL)):
            assert in_child(run) == -signal.SIGKILL
    with acting(load, "load_records", lambda: None):
        outcomes = run().files
    assert [(outcome.file, outcome.status) for outcome in outcomes] == [
        ("clients_20260302_deadly.csv", "Failed"),
        ("clients_20260303_good.csv", "Loaded"),
    ]
    assert "3 runs died while they read it" in outcomes[0].detail
    assert not list((etl.home / "file_watcher" / TAKEN).glob(f"{TRIES}*"))


@pytest.mark.parametrize("with_rejects", [False, True])
def test_a_record_without_end_is_refused_before_it_fills_the_memory(
    etl: Installation, monkeypatch: pytest.MonkeyPatch, with_rejects: bool
) -> None:
    monkeypatch.setenv("ETL_CSV_MAX_RECORD_MB", "1")
    add_import(etl, reject_limit_percent=50 if with_rejects else None)
    drop_file(etl, "x,y\n1,2\n1,2,3\n1," + "a" * (2 << 20))
    (outcome,) = run().files
    told = "line 4: its record is longer than 1 MiB" if with_rejects else "line 3: it has 3 fields"
    assert told in outcome.detail


def test_a_quote_without_a_partner_is_refused_at_the_line_where_its_record_begins(
    etl: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETL_CSV_MAX_RECORD_MB", "1")
    add_import(etl)
    drop_file(etl, 'x,y\n1,2\n3,"' + "a\n" * (1 << 20))
    (outcome,) = run().files
    assert "line 3: its record is longer than 1 MiB" in outcome.detail


def test_a_directory_that_somebody_else_made_is_not_used(etl: Installation) -> None:
    add_import(etl)
    path = drop_file(etl, "x\n1\n")
    (path.parent / TAKEN).mkdir(mode=0o777)
    (path.parent / TAKEN).chmod(0o777)
    with pytest.raises(ConfigurationError) as refusal:
        run()
    me = getpass.getuser()
    assert f"belongs to {me} with mode 777; it must belong to {me} with mode 700" in str(refusal.value)
    assert str(refusal.value).endswith(f"; type: sudo -u {me} chmod 700 {path.parent / TAKEN}")
    (path.parent / TAKEN).rmdir()
    (path.parent / TAKEN).symlink_to(etl.home)
    with pytest.raises(ConfigurationError, match="cannot be made or opened there"):
        run()
    assert path.exists()
