"""A backup on its way into a cloud: killed anywhere, the next copy makes it whole, and SHA256SUMS is there only then."""

import hashlib
from pathlib import Path

import cloud_servers
import pytest
from conftest import Installation
from test_import_crashes import Steps, dies_at, steps_to_die_at

from systemscripts.backups import cloud_copy
from systemscripts.cloud import remote
from systemscripts.cloud.remote import Remote

FILES = {"feeds.dump": b"d" * 300_000, "feeds.manifest": b"", "globals.sql.age": b"g" * 1000}


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    folder = tmp_path / "backups/20260302T030000"
    folder.mkdir(parents=True)
    lines = []
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
        lines.append(f"{hashlib.sha256(content).hexdigest()}  {name}\n")
    (folder / "SHA256SUMS").write_text("".join(lines))
    return folder


@pytest.mark.parametrize(("kind", "asked"), [("s3", ("stat", "read", "_send")), ("webdav", ("_send", "move"))])
def test_a_copy_is_whole_wherever_the_one_before_was_killed(
    etl: Installation, backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, asked: tuple[str, ...]
) -> None:
    cloud_servers.need_rclone()
    bucket = tmp_path / "served/bucket"
    bucket.mkdir(parents=True)
    monkeypatch.setenv("ETL_REMOTES_DIR", str(tmp_path / "remotes"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    monkeypatch.setenv("ETL_BACKUP_COPY_TO", "rclone:offsite/bucket/backups")
    section = {"s3": cloud_servers.s3_section, "webdav": cloud_servers.webdav_section}[kind]

    def count(steps: Steps) -> None:
        for name in asked:
            setattr(Remote, name, steps.around(getattr(Remote, name)))

    def copy() -> int:
        with remote.opened("offsite") as cloud:
            return cloud_copy.copy(cloud, backup, "bucket/" + target)

    with cloud_servers.serving(kind, tmp_path / "served", tmp_path / "authority.pem") as address:
        cloud_servers.write_remote(tmp_path / "remotes", "offsite", section("offsite", address))
        for step in steps_to_die_at():
            target = f"backups{step}/{backup.name}"
            was_killed = dies_at(step, copy, count)
            there = bucket / target
            if (there / "SHA256SUMS").exists():
                assert {name: (there / name).read_bytes() for name in FILES} == FILES, step
            copy()
            left = {path.name: path.read_bytes() for path in there.iterdir()}
            assert left == {**FILES, "SHA256SUMS": (backup / "SHA256SUMS").read_bytes()}, step
            assert copy() == 0
            if not was_killed:
                break
    assert step > 15
