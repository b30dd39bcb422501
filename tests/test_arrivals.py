"""Files from outside: what they are called here, and that each appears once, whole, and over no other."""

import json
import os
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from conftest import Installation
from hypothesis import given
from hypothesis import strategies as st

from systemscripts import db_config, directory_management
from systemscripts.arrivals import ledger, saving
from systemscripts.arrivals.ledger import Origin, ReceivedFile
from systemscripts.arrivals.names import LONGEST_BYTES, name_in_directory


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.csv", "a.csv"),
        ("../../etc/passwd.csv", "passwd.csv"),
        ("%2e%2e%2fx.csv", "_2e_2e_2fx.csv"),
        ("C:\\Users\\me\\x.csv", "x.csv"),
        ("x.csv/../../y.csv", "y.csv"),
        ("a/..", "a"),
        (".bashrc", "_.bashrc"),
        (".csv", "_.csv"),
        (".", "unnamed"),
        ("", "unnamed"),
        ("/", "unnamed"),
        ("x.csv\0.exe", "x.csv_.exe"),
        ("$(id).csv", "__id_.csv"),
        ("-rf.csv", "_-rf.csv"),
        ("x.csv.", "x.csv"),
        ("x.csv ", "x.csv"),
        ("cafe\u0301.csv", "café.csv"),
        ("日本語の名前.xls", "日本語の名前.xls"),
        ("x.csv.part", "x.csv.part_"),
        ("x\u202excod.csv", "x_xcod.csv"),
        ("a\nb.csv", "a_b.csv"),
    ],
)
def test_a_name_from_outside_becomes_one_safe_name(name: str, expected: str):
    assert name_in_directory(name) == expected


@given(st.text(max_size=400))
def test_no_name_leaves_its_directory_or_hides_in_it(name: str):
    safe = name_in_directory(name)

    assert safe
    assert Path("/in", safe).parent == Path("/in")
    assert os.path.normpath(f"/in/{safe}") == f"/in/{safe}"
    assert not safe.startswith((".", "-"))
    assert not safe.endswith(directory_management.UNFINISHED_SUFFIXES)
    assert len(safe.encode()) <= LONGEST_BYTES + 1
    assert not set(safe) & set("/\\\0\n\r \"'`$;&|<>*?~")


def test_a_long_name_keeps_its_ending():
    assert name_in_directory("é" * 300 + ".csv") == "é" * 98 + ".csv"
    assert len(name_in_directory("a" * 300).encode()) == LONGEST_BYTES


def test_the_hostile_names_of_the_corpus_stay_within_the_directory(corpus_dir: Path, tmp_path: Path):
    for name in json.loads((corpus_dir / "hostile/file_names.json").read_text())["names"]:
        (tmp_path / name_in_directory(name)).write_text(name)
    assert all(path.parent == tmp_path for path in tmp_path.rglob("*"))


# ---- into the directory --------------------------------------------------------------------


class Desk:
    """A directory, an SFTP folder that files come from, and a connection."""

    def __init__(self, etl: Installation, connection: Any, directory: Path) -> None:
        self.etl, self.connection, self.directory = etl, connection, directory
        (self.folder,) = etl.query(
            "INSERT INTO dba.texchangeconfig (config_name, incoming_path, local_repository_path)"
            " VALUES ('desk', '/in', %s) RETURNING config_id",
            str(directory),
        )[0]

    def receive(self, name: str, content: bytes) -> ReceivedFile:
        origin = Origin("sftp_config_id", self.folder)
        digest = sha256(content).hexdigest()
        return ledger.record(self.connection, origin, name, self.directory, len(content), digest)

    def put(self, file: ReceivedFile, content: bytes) -> str:
        return saving.put(self.connection, file, lambda stream: stream.write(content) and None)

    def again(self, file: ReceivedFile) -> ReceivedFile:
        """Return the row as the next run finds it."""
        rows = ledger.files_of(self.connection, Origin("sftp_config_id", self.folder))
        return next(row for row in rows if row.id == file.id)

    @property
    def names(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir())


@pytest.fixture
def desk(etl: Installation) -> Iterator[Desk]:
    with closing(db_config.connect()) as connection:
        directory = etl.home / "file_watcher" / "desk"
        directory.mkdir()
        yield Desk(etl, connection, directory)


def an_import(desk: Desk, pattern: str) -> None:
    desk.etl.query(
        "UPDATE dba.timportconfig SET source_directory = %s, file_pattern = %s WHERE config_id = 1",
        str(desk.directory), pattern,
    )  # fmt: skip


def test_a_file_is_put_once(desk: Desk):
    file = desk.receive("a b.csv", b"x\n1\n")

    assert desk.put(file, b"x\n1\n") == "Saved"
    assert desk.put(desk.again(file), b"x\n1\n") == "Saved"

    assert desk.names == ["a_b.csv"]
    assert (desk.directory / "a_b.csv").read_bytes() == b"x\n1\n"
    assert desk.again(file).path == desk.directory / "a_b.csv"
    assert (desk.directory / "a_b.csv").stat().st_mode & 0o777 == 0o660


def test_another_content_of_the_same_name_gets_a_number(desk: Desk):
    for content in (b"1", b"2", b"3"):
        assert desk.put(desk.receive("a.csv", content), content) == "Saved"

    assert desk.names == ["a.2.csv", "a.3.csv", "a.csv"]
    assert (desk.directory / "a.csv").read_bytes() == b"1"


def test_a_name_that_no_import_would_see_waits_for_its_turn(desk: Desk):
    an_import(desk, r"a\.csv")
    first, second = desk.receive("a.csv", b"1"), desk.receive("a.csv", b"2")
    desk.put(first, b"1")

    assert desk.put(second, b"2") == "Waiting"
    assert desk.names == ["a.csv"]

    (desk.directory / "a.csv").unlink()  # as the import does
    assert desk.put(desk.again(second), b"2") == "Saved"
    assert (desk.directory / "a.csv").read_bytes() == b"2"


def test_a_number_is_no_hindrance_where_the_import_takes_it(desk: Desk):
    an_import(desk, "*.csv")
    for content in (b"1", b"2"):
        assert desk.put(desk.receive("a.csv", content), content) == "Saved"
    assert desk.names == ["a.2.csv", "a.csv"]


def test_the_same_file_again_is_a_duplicate_and_adds_nothing(desk: Desk):
    first = desk.receive("a.csv", b"1")
    desk.put(first, b"1")
    second = desk.receive("a.csv", b"1")

    assert desk.put(second, b"1") == "Duplicate"
    assert desk.names == ["a.csv"]
    assert desk.etl.value("SELECT original_id FROM dba.treceivedfile WHERE receivedfileid = %s", second.id) == first.id


def test_a_file_that_an_import_refused_may_come_again(desk: Desk):
    an_import(desk, "*.csv")
    first = desk.receive("a.csv", b"1")
    desk.put(first, b"1")
    desk.etl.query(
        "INSERT INTO dba.timportfile (config_id, file_name, sha256, status, error, source_path)"
        " VALUES (1, 'a.csv', %s, 'Failed', 'no rows', %s)",
        first.sha256, str(desk.directory / "a.csv"),
    )  # fmt: skip
    (desk.directory / "a.csv").unlink()

    assert desk.put(desk.receive("a.csv", b"1"), b"1") == "Saved"


@pytest.mark.parametrize("taken", [False, True])
def test_a_run_killed_after_the_file_appeared_does_not_put_it_twice(desk: Desk, taken: bool):
    an_import(desk, "*.csv")
    file = desk.receive("a.csv", b"1")
    desk.put(file, b"1")
    desk.etl.query("UPDATE dba.treceivedfile SET status = 'Planned'")  # the last commit did not happen
    if taken:
        (desk.directory / "a.csv").unlink()
        desk.etl.query(
            "INSERT INTO dba.timportfile (config_id, file_name, sha256, status, error, source_path)"
            " VALUES (1, 'a.csv', %s, 'Failed', 'x', %s)",
            file.sha256, str(desk.directory / "a.csv"),
        )  # fmt: skip

    assert desk.put(desk.again(file), b"1") == "Saved"
    assert desk.names == ([] if taken else ["a.csv"])


def test_a_run_killed_before_the_file_appeared_is_gone_on_with(desk: Desk):
    file = desk.receive("a.csv", b"1")
    ledger.note(desk.connection, file, "Planned", desk.directory / "a.csv")

    assert desk.put(desk.again(file), b"1") == "Saved"
    assert desk.names == ["a.csv"]
    assert (desk.directory / "a.csv").read_bytes() == b"1"


def test_a_link_of_that_name_is_neither_followed_nor_replaced(desk: Desk, tmp_path: Path):
    (desk.directory / "a.csv").symlink_to(tmp_path / "elsewhere")

    assert desk.put(desk.receive("a.csv", b"1"), b"1") == "Saved"

    assert desk.names == ["a.2.csv", "a.csv"]
    assert not (tmp_path / "elsewhere").exists()


def test_a_full_disk_leaves_no_file_and_the_row_planned(desk: Desk):
    file = desk.receive("a.csv", b"1")

    def full(_stream: Any) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        saving.put(desk.connection, file, full)
    assert desk.names == []
    assert desk.put(desk.again(file), b"1") == "Saved"
