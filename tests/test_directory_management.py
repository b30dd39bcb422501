"""Files appear whole or not at all, and nothing is overwritten."""

import os
import stat
from pathlib import Path

import pytest

from systemscripts import directory_management, whole_files


def test_a_new_file_appears_whole_with_its_mode(tmp_path: Path) -> None:
    target = tmp_path / "a.csv"
    with directory_management.new_file(target) as stream:
        stream.write(b"half")
        assert not target.exists()
        stream.write(b" and half")
    assert target.read_bytes() == b"half and half"
    assert stat.S_IMODE(target.stat().st_mode) == 0o660
    assert os.listdir(tmp_path) == ["a.csv"]


def test_a_failure_leaves_neither_the_file_nor_a_part_of_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="midway"), directory_management.new_file(tmp_path / "a.csv") as stream:
        stream.write(b"half")
        raise ValueError("midway")
    assert os.listdir(tmp_path) == []


def test_directories_are_for_the_group_and_hand_it_on(tmp_path: Path) -> None:
    made = directory_management.ensure_directory(tmp_path / "a/b")
    for directory in (made, made.parent):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o2770


def test_an_existing_directory_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    directory_management.ensure_directory(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_a_move_never_overwrites(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    moved = []
    for content in ("one", "two", "three"):
        (tmp_path / "a.tar.gz").write_text(content)
        moved.append(directory_management.move_without_overwriting(tmp_path / "a.tar.gz", archive))
    assert [(path.name, path.read_text()) for path in moved] == [
        ("a.tar.gz", "one"),
        ("a.2.tar.gz", "two"),
        ("a.3.tar.gz", "three"),
    ]
    assert os.listdir(tmp_path) == ["archive"]


@pytest.mark.parametrize(
    ("name", "second"),
    [
        ("a.csv", "a.2.csv"),
        ("a.b.csv.gz", "a.b.2.csv.gz"),
        ("a.2026.gz", "a.2026.2.gz"),
        ("a.CSV.GZ", "a.2.CSV.GZ"),
        ("a", "a.2"),
        (".csv.gz", ".csv.gz.2"),
        ("..csv", "..csv.2"),
    ],
)
def test_the_number_stands_before_the_whole_ending(name: str, second: str) -> None:
    names = directory_management.numbered_names(Path("/x") / name)
    assert [next(names).name, next(names).name] == [name, second]


@pytest.mark.parametrize("place", ["a.csv.gz", "a.2.csv.gz", "a.3.csv.gz", "a.csv.2.gz", "a.csv.3.gz"])
def test_a_file_is_found_by_its_content_under_the_names_of_earlier_versions_too(tmp_path: Path, place: str) -> None:
    for name in ("a.csv.gz", "a.2.csv.gz", "a.3.csv.gz", "a.csv.2.gz", "a.csv.3.gz"):
        (tmp_path / name).write_text("wanted" if name == place else name)
    sha256 = whole_files.sha256_of(tmp_path / place)
    assert directory_management.find_numbered(tmp_path / "a.csv.gz", sha256) == tmp_path / place
    assert directory_management.find_numbered(tmp_path / "a.csv.gz", "0" * 64) is None


def test_a_move_interrupted_after_the_link_is_finished(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    source = tmp_path / "a.csv"
    source.write_text("one")
    os.link(source, archive / "a.csv")
    assert directory_management.move_without_overwriting(source, archive) == archive / "a.csv"
    assert not source.exists()
    assert os.listdir(archive) == ["a.csv"]


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a b.csv", "a_b.csv"),
        ("../../etc/passwd", ".._.._etc_passwd"),
        ("..", "_.."),
        ("", "_"),
        ("a\nb\0c", "a_b_c"),
        ("é.csv", "é.csv"),
    ],
)
def test_a_safe_name_is_one_path_component(name: str, safe: str) -> None:
    assert directory_management.safe_name(name) == safe
