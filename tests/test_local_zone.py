"""The machine's time zone, by whatever says which it is."""

import re
from pathlib import Path
from zoneinfo import TZPATH

import pytest
from needs import missing

from systemscripts import local_zone
from systemscripts.local_zone import NamelessZone, machine_zone, zone_name

BERLIN = next((file for folder in TZPATH if (file := Path(folder, "Europe/Berlin")).exists()), None)


@pytest.fixture
def local_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A link to Berlin in place of /etc/localtime."""
    if BERLIN is None:
        missing("this machine has no time zone files", "tzdata")
    link = tmp_path / "localtime"
    link.symlink_to(str(BERLIN))
    monkeypatch.setattr(local_zone, "LOCAL_TIME", link)
    monkeypatch.delenv("TZ", raising=False)
    return link


def test_it_is_where_localtime_points_to(local_time: Path) -> None:
    assert machine_zone() == "Europe/Berlin"
    local_time.unlink()
    assert machine_zone() == "UTC"


@pytest.mark.parametrize(
    ("variable", "name"),
    [
        ("America/New_York", "America/New_York"),
        (":America/New_York", "America/New_York"),
        ("", "UTC"),
        (f":{BERLIN}", "Europe/Berlin"),
    ],
)
def test_tz_goes_before_it(local_time: Path, monkeypatch: pytest.MonkeyPatch, variable: str, name: str) -> None:
    monkeypatch.setenv("TZ", variable)
    assert machine_zone() == name


def test_tz_may_name_the_link(local_time: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", f":{local_time}")
    assert machine_zone() == "Europe/Berlin"


@pytest.mark.parametrize(
    "variable", ["CET-1CEST", "<+03>-3", "Mars/Phobos", "../etc/passwd", "/etc/passwd", "Europe", "a\nb"]
)
def test_what_has_no_name_is_refused(local_time: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv("TZ", variable)
    with pytest.raises(NamelessZone, match=f"TZ is {re.escape(repr(variable))}"):
        machine_zone()


def test_a_copy_is_known_by_what_debian_calls_it(local_time: Path, tmp_path: Path) -> None:
    local_time.unlink()
    local_time.write_bytes(Path(str(BERLIN)).read_bytes())
    debians = tmp_path / "timezone"
    assert zone_name(local_time, debians) == ""
    debians.write_text("Europe/Berlin\n")
    assert zone_name(local_time, debians) == "Europe/Berlin"
    debians.write_text("America/New_York\n")
    assert zone_name(local_time, debians) == ""
