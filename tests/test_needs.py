"""What is said of the tests that were left out, and that the list of packages is whole."""

import re

import pytest
from conftest import PROJECT
from needs import GMAIL, HERE, INSTALL_GMAIL, INSTALL_PYARROW, PACKAGE_OF, PACKAGES, PYARROW, told


@pytest.fixture(autouse=True)
def sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name, **_: f"/usr/bin/{name}" if name == "sudo" else None)


AGE, RSYNC = "Skipped: for want of age: age is not installed", "Skipped: for want of rsync: rsync is not installed"


@pytest.mark.parametrize(
    ("reasons", "line"),
    [
        ([], ""),
        (["Skipped: root may be anybody"], ""),
        ([AGE], "1 test was left out for want of age; this brings it: sudo apt-get install age"),
        (
            [RSYNC, AGE, AGE],
            "3 tests were left out for want of age, rsync; this brings them: sudo apt-get install age rsync",
        ),
        (
            [AGE, f"Skipped: for want of {GMAIL}: it is not installed"],
            f"2 tests were left out for want of age, {GMAIL}; this brings them: sudo apt-get install age npm && {INSTALL_GMAIL}",
        ),
        (
            [AGE, f"Skipped: for want of {PYARROW}: it is not installed"],
            f"2 tests were left out for want of age, {PYARROW}; this brings them: sudo apt-get install age && {INSTALL_PYARROW}",
        ),
        (
            ["Skipped: for want of a user who is not root: initdb refuses"],
            "1 test was left out for want of a user who is not root, which no package brings",
        ),
    ],
)
def test_the_last_line_says_how_many_were_left_out_and_what_brings_them(reasons: list[str], line: str) -> None:
    assert told(reasons) == line


def test_who_has_no_sudo_is_told_to_be_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _name, **_: None)
    assert told([AGE]).endswith("this brings it: apt-get install age (as root)")


def test_every_package_that_a_test_wants_is_in_the_list_that_ci_installs() -> None:
    assert "tests/packages.txt" in (PROJECT / ".ci/run").read_text()
    wanted = set()
    for file in HERE.glob("*.py"):
        for programs in re.findall(r"need_programs\(([^)]+)\)", file.read_text()):
            wanted |= {PACKAGE_OF.get(program, program) for program in re.findall(r'"([\w-]+)"', programs)}
    assert wanted
    assert wanted <= set(PACKAGES)
