"""Files from clouds: each is taken once and whole from a store that lies, and gets its receipt."""

import contextlib
import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cloud_servers import need_rclone, serving, webdav_section, write_remote
from conftest import PROJECT, Installation
from lying_s3 import SECRET, Answer, Asked, Store, headers_of, lying, refused
from test_cloud_remotes import REFUSALS
from test_etl_command import etl_says
from test_sftp_exchange import CSV, Desk

from systemscripts import db_config
from systemscripts.cloud import batches
from systemscripts.cloud import remote as remote_module
from systemscripts.cloud.remote import Remote
from systemscripts.errors import TemporaryFailure
from systemscripts.exchange import cloud_folder, cloud_reading, groups
from systemscripts.exchange.config import load_configs
from systemscripts.exchange.folder import FoundFile
from systemscripts.exchange.receipts import put_receipts
from systemscripts.exchange.taking import take_files

need_rclone()

IN_PARTS = "0" * 32 + "-2"  # the ETag of an object without a hash of its content


@pytest.fixture(scope="module")
def liar() -> Iterator[Store]:
    with lying() as store:
        yield store


class Cloud(Desk):
    """A row for a folder of the lying store, and the folder of the import that the files go to."""

    table = "texchangeconfig"

    def __init__(self, etl: Installation, store: Store, **columns: Any) -> None:
        super().__init__(
            etl,
            **{
                "kind": "rclone",
                "remote": "far",
                "incoming_path": "bucket/in",
                "outgoing_path": "bucket/out",
                **columns,
            },
        )
        self.store = store

    def take(self, dry_run: bool = False) -> list[tuple[str, str]]:
        """Take the files in this process, and return the name and the result of each."""
        with db_config.session() as connection:
            (config,) = load_configs(connection, "acme")
            with cloud_folder.opened(config) as folder:
                return [(told.file, told.status) for told in take_files(connection, config, folder, dry_run)]

    def tell(self) -> list[str]:
        with db_config.session() as connection:
            (config,) = load_configs(connection, "acme")
            with cloud_folder.opened(config) as folder:
                return put_receipts(connection, config, folder)

    def files(self) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in self.feed.iterdir()}


@pytest.fixture
def cloud(etl: Installation, liar: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """An empty store that tells the truth."""
    for kept in (liar.objects, liar.asked, liar.lies):
        kept.clear()
    monkeypatch.setenv("ETL_REMOTES_DIR", str(tmp_path / "remotes"))
    etl.variables["ETL_REMOTES_DIR"] = str(tmp_path / "remotes")
    monkeypatch.setattr(remote_module, "PATIENCE_SECONDS", 0.2)
    write_remote(tmp_path / "remotes", "far", liar.remote("far"))
    return Cloud(etl, liar)


def test_files_are_taken_once_moved_away_and_get_their_receipts(cloud: Cloud) -> None:
    for name in ("a.csv", "b.csv", "c.txt", ".d.csv", "e.csv.part", "sub/f.csv"):
        cloud.store.keep(f"bucket/in/{name}", name.encode())
    cloud.store.keep("bucket/in/", b"")
    listed = etl_says(cloud.etl, "exchange", "list", "acme")
    assert "'a.csv' Ready, 5 bytes" in listed.stderr
    assert cloud.files() == {}
    told = etl_says(cloud.etl, "exchange", "take", "acme", "--json")
    assert told.returncode == 0, told.stderr
    assert [(file["file"], file["status"]) for file in json.loads(told.stdout)["files"]] == [
        ("a.csv", "Saved"),
        ("b.csv", "Saved"),
    ]
    assert cloud.files() == {"a.csv": b"a.csv", "b.csv": b"b.csv"}
    rows = cloud.etl.query("SELECT came_by, name FROM dba.vreceivedfile WHERE told_at IS NULL ORDER BY 2")
    assert rows == [("cloud", "a.csv"), ("cloud", "b.csv")]
    stored = cloud.etl.query(
        "SELECT name, store_identity, left(sha256, 12), removed_at IS NULL FROM dba.treceivedfile ORDER BY 1"
    )
    assert [(name, identity, gone) for name, identity, _, gone in stored] == [
        (name, f"md5:{cloud.store.objects[f'bucket/in/taken/{name[0]}.{sha256}.csv'].etag}", False)
        for name, _, sha256, _ in stored
    ]
    assert cloud.store.names("bucket/in") == ["", ".d.csv", "c.txt", "e.csv.part", "sub/f.csv"] + [
        f"taken/{name[0]}.{sha256}.csv" for name, _, sha256, _ in stored
    ]
    left = etl_says(cloud.etl, "exchange", "list", "acme")
    assert re.search(r"acme: nothing to take in bucket/in that fits '.*csv'", left.stderr), left.stderr
    cloud.import_says("Loaded", 2)
    assert cloud.job("acme", "--receipts").returncode == 0
    receipts = {name: kept.content for name, kept in cloud.store.objects.items() if name.startswith("bucket/out/")}
    assert len(receipts) == 2
    assert all(b"loaded, 2 rows" in receipt for receipt in receipts.values())
    assert cloud.tell() == []
    assert cloud.take() == []


def test_what_stays_in_the_cloud_is_remembered_and_taken_again_when_it_changes(cloud: Cloud) -> None:
    cloud.etl.query("UPDATE dba.texchangeconfig SET remove_taken = false")
    cloud.store.keep("bucket/in/a.csv", CSV, changed_at=10**9)
    cloud.store.keep("bucket/in/parts.csv", CSV + b"3,X\n", IN_PARTS, changed_at=10**9)
    assert [status for _, status in cloud.take()] == ["Saved", "Saved"]
    cloud.store.asked.clear()
    assert cloud.take() == []
    assert [asked.method for asked in cloud.store.asked] == ["GET"]  # the listing
    cloud.store.keep("bucket/in/a.csv", CSV + b"4,Y\n")
    for file in cloud.feed.iterdir():
        file.unlink()
    assert cloud.take() == [("a.csv", "Saved")]
    assert cloud.files() == {"a.csv": CSV + b"4,Y\n"}


@pytest.mark.parametrize(("etag", "newer"), [("", CSV + b"9,New\n"), ("", CSV[::-1]), (IN_PARTS, CSV[::-1])])
def test_what_is_replaced_before_it_is_moved_away_is_given_back_and_taken_too(
    etag: str, newer: bytes, cloud: Cloud
) -> None:
    cloud.store.keep("bucket/in/a.csv", CSV, etag, changed_at=10**9)
    moved = []

    def replaced(asked: Asked) -> None:
        if asked.method == "PUT" and "x-amz-copy-source" in asked.headers and not moved:
            moved.append(asked.path)
            cloud.store.keep("bucket/in/a.csv", newer, etag and "1" * 32 + "-2")

    cloud.store.lies.append(replaced)
    assert cloud.take()[0] == ("a.csv", "Saved")
    assert cloud.store.objects["bucket/in/a.csv"].content == newer
    for file in cloud.feed.iterdir():
        assert file.read_bytes() == CSV
        file.unlink()
    assert cloud.take() == [("a.csv", "Saved")]
    assert cloud.files() == {"a.csv": newer}


def test_each_trap_of_one_object_is_told_and_the_others_are_taken(cloud: Cloud) -> None:
    for name in ("gone", "kms", "cut", "good"):
        cloud.store.keep(f"bucket/in/{name}.csv", CSV + name.encode(), etag="0" * 32 if name == "kms" else "")

    def lie(asked: Asked) -> Answer | None:
        if asked.path.endswith("/gone.csv"):
            return refused(404, "NoSuchKey")
        return None

    cloud.store.lies.append(lie)
    told = dict(cloud.take())
    assert told == {"gone.csv": "Unfinished", "kms.csv": "Refused", "cut.csv": "Saved", "good.csv": "Saved"}
    assert sorted(cloud.files()) == ["cut.csv", "good.csv"]
    assert cloud.store.names("bucket/in")[:2] == ["gone.csv", "kms.csv"]


def test_a_cloud_that_is_busy_ends_the_run_for_now(cloud: Cloud) -> None:
    cloud.store.keep("bucket/in/a.csv", CSV)
    cloud.store.lies.append(lambda asked: refused(429, "TooManyRequests") if asked.path.endswith("a.csv") else None)
    with pytest.raises(TemporaryFailure, match="is busy or out of order, and asks to come again later"):
        cloud.take()
    assert cloud.job("acme").returncode == 75
    cloud.store.lies.clear()
    assert cloud.take() == [("a.csv", "Saved")]


def test_what_is_not_plainly_new_in_a_group_goes_the_usual_way(cloud: Cloud) -> None:
    (cloud.feed / "there.csv").write_bytes(b"of another")
    for number, (name, content) in enumerate([("a.csv", CSV), ("b.csv", CSV), ("there.csv", b"1"), ("new.csv", b"2")]):
        cloud.store.keep(f"bucket/in/{name}", content, changed_at=10**9 + number)
    assert cloud.take() == [("a.csv", "Saved"), ("b.csv", "Saved"), ("there.csv", "Saved"), ("new.csv", "Saved")]
    assert cloud.files() == {
        "a.csv": CSV, "b.csv": CSV, "there.csv": b"of another", "there.2.csv": b"1", "new.csv": b"2",
    }  # fmt: skip
    cloud.store.keep("bucket/in/a.csv", CSV)  # sent again
    cloud.store.keep("bucket/in/c.csv", b"3")
    assert sorted(cloud.take()) == [("a.csv", "Duplicate"), ("c.csv", "Saved")]
    rows = cloud.etl.query(
        "SELECT name, status, removed_at IS NULL, saved_path IS NULL FROM dba.treceivedfile ORDER BY 1, 2"
    )
    assert [row for row in rows if row[1:] != ("Saved", False, False)] == [("a.csv", "Duplicate", False, True)]


def test_a_group_ends_with_a_large_file() -> None:
    sizes = [1, 2, 64 << 20, 3, *[4] * 30]
    found = [FoundFile(str(number), size, 0) for number, size in enumerate(sizes)]
    assert [len(group) for group in groups.of_files(found)] == [3, 31]
    assert groups.of_files([]) == []


def test_what_was_moved_before_the_cloud_went_away_is_noted(cloud: Cloud) -> None:
    for number in range(3):
        cloud.store.keep(f"bucket/in/{number}.csv", f"{number}".encode(), changed_at=10**9 + number)
    cloud.store.lies.append(
        lambda asked: (
            refused(429, "TooManyRequests") if (asked.method, asked.path) == ("DELETE", "bucket/in/2.csv") else None
        )
    )
    with pytest.raises(TemporaryFailure):
        cloud.take()
    assert cloud.etl.query("SELECT name, removed_at IS NULL FROM dba.treceivedfile ORDER BY 1") == [
        ("0.csv", False),
        ("1.csv", False),
        ("2.csv", True),
    ]


def test_an_object_that_cannot_be_had_for_now_keeps_no_other_waiting(cloud: Cloud) -> None:
    for number in range(4):
        cloud.store.keep(f"bucket/in/{number}.csv", f"{number}".encode(), changed_at=10**9 + number)
    cloud.store.lies.append(
        lambda asked: (
            refused(429, "TooManyRequests") if (asked.method, asked.path) == ("GET", "bucket/in/0.csv") else None
        )
    )
    told = cloud.job("acme")
    assert told.returncode == 75, told.stderr
    assert "'0.csv' Unfinished, the remote far is busy or out of order" in told.stderr
    assert sorted(cloud.files()) == ["1.csv", "2.csv", "3.csv"]


def test_many_small_objects_cost_one_question_each(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud_reading, "BATCH_FILES", 8)
    cloud.etl.query("UPDATE dba.texchangeconfig SET remove_taken = false")
    contents = {f"{number:02}-a.csv": f"{number}".encode() for number in range(20)}
    for number, (name, content) in enumerate(contents.items()):
        cloud.store.keep(f"bucket/in/{name}", content, changed_at=10**9 + number)
    assert cloud.take() == [(name, "Saved") for name in contents]
    assert cloud.files() == contents
    asked = sorted(asked.path for asked in cloud.store.asked if asked.path.startswith("bucket/in/"))
    assert asked == [f"bucket/in/{name}" for name in contents]
    # Where few of many are wanted, a batch would list them all twice.
    for number in range(40):
        cloud.store.keep(f"bucket/in/{number}.txt", b"")
    cloud.store.keep("bucket/in/last.csv", CSV)
    cloud.store.asked.clear()
    assert cloud.take() == [("last.csv", "Saved")]
    assert [asked.method for asked in cloud.store.asked] == ["GET", "HEAD", "GET", "HEAD"]


def test_what_a_batch_does_not_prove_is_read_by_itself(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud_reading, "BATCH_FILES", 4)
    names = ["good", "replaced", "other", "short", "unproved", "vanished", "late", "\u00e9"]
    for number, name in enumerate(names):
        etag = IN_PARTS if name == "unproved" else ""
        cloud.store.keep(f"bucket/in/{name}.csv", CSV + name.encode(), etag, changed_at=10**9 + number)
    answered: set[str] = set()

    def lie_once(asked: Asked) -> Answer | None:
        name = asked.path.removeprefix("bucket/in/").removesuffix(".csv")
        if asked.method != "GET" or asked.lists or name in answered:
            return None
        answered.add(name)
        path = f"bucket/in/{name}.csv"
        kept = cloud.store.objects[path]
        if name in ("replaced", "unproved"):  # by one of the same size, after it was read
            answer = Answer(200, kept.content, headers_of(kept))
            cloud.store.keep(path, kept.content[::-1], "1" * 32 + "-2" if name == "unproved" else "")
            return answer
        if name == "vanished":
            del cloud.store.objects[path]
            return Answer(200, kept.content, headers_of(kept))
        if name == "other":
            return Answer(200, kept.content[::-1], headers_of(kept))
        if name == "short":
            return Answer(200, kept.content[:-1], headers_of(kept))
        return refused(403, "AccessDenied") if name == "late" else None

    cloud.store.lies.append(lie_once)
    assert dict(cloud.take()) == {f"{name}.csv": "Saved" for name in names} | {
        "unproved.csv": "Unfinished",
        "vanished.csv": "Unfinished",
    }
    assert cloud.files() == {
        f"{name}.csv": CSV + name.encode() for name in ("good", "other", "short", "late", "\u00e9")
    } | {"replaced.csv": (CSV + b"replaced")[::-1]}


def test_a_batch_that_fails_keeps_nothing_from_being_read(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(12):
        cloud.store.keep(f"bucket/in/{number}.csv", f"{number}".encode())

    def failing(*_: Any) -> Any:
        raise TemporaryFailure("the cloud was away for a moment")

    monkeypatch.setattr(batches, "read", failing)
    assert {status for _, status in cloud.take()} == {"Saved"}
    assert sorted(cloud.files().values()) == sorted(f"{number}".encode() for number in range(12))


def test_a_document_without_a_size_is_refused(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.store.keep("bucket/in/a.csv", CSV)
    listed = Remote.list
    monkeypatch.setattr(Remote, "list", lambda self, *what: [found._replace(size=-1) for found in listed(self, *what)])
    assert cloud.take() == [("a.csv", "Refused")]


def test_names_that_are_nearly_the_same_all_arrive(cloud: Cloud) -> None:
    names = ["A.csv", "a.csv", "e\u0301.csv", "\u00e9.csv", "a\\b.csv", " a.csv"]
    cloud.etl.query("UPDATE dba.texchangeconfig SET file_pattern = '*'")
    for number, name in enumerate(names):
        cloud.store.keep(f"bucket/in/{name}", f"{number}".encode(), changed_at=10**9 + number)
    assert cloud.take() == [(name, "Saved") for name in names]
    assert sorted(cloud.files().values()) == [f"{number}".encode() for number in range(len(names))]
    assert not [name for name in cloud.store.names("bucket/in") if not name.startswith("taken/")]


def test_objects_of_one_name_are_refused_because_none_of_them_can_be_meant(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.store.keep("bucket/in/a.csv", CSV)
    cloud.store.keep("bucket/in/b.csv", CSV)
    listed = Remote.list
    monkeypatch.setattr(
        Remote, "list", lambda self, *what, **how: [*listed(self, *what, **how), *listed(self, *what, **how)[:1]]
    )  # as at Google Drive
    assert sorted(cloud.take(dry_run=True)) == [("a.csv", "Refused"), ("b.csv", "Ready")]
    assert cloud.take() == [("a.csv", "Refused"), ("b.csv", "Saved")]
    assert "a.csv" in cloud.store.names("bucket/in")


def test_when_the_disk_is_full_what_is_saved_already_is_still_moved_away(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        cloud.store.keep(f"bucket/in/{number}.csv", b"%d" % number)
    monkeypatch.setattr(groups, "FILES", 2)
    put, calls = groups.many.put_new, []

    def full_at_the_third(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return put(*arguments)

    monkeypatch.setattr(groups.many, "put_new", full_at_the_third)
    cloud.store.latency = 0.1  # no move is done before the disk is full
    with pytest.raises(TemporaryFailure, match="No space left on device"):
        cloud.take()
    cloud.store.latency = 0
    assert sorted(cloud.files()) == ["0.csv", "1.csv", "2.csv", "3.csv"]
    assert [name for name in cloud.store.names("bucket/in") if "taken" not in name] == ["4.csv", "5.csv"]
    assert cloud.etl.value("SELECT count(*) FROM dba.treceivedfile WHERE removed_at IS NULL") == 0


def test_a_remote_that_cannot_be_used_is_known_before_the_first_run(cloud: Cloud, tmp_path: Path) -> None:
    with db_config.session() as connection:
        (config,) = load_configs(connection, "acme")
    assert list(config.problems()) == []
    (tmp_path / "remotes/far.conf").chmod(0o644)
    ((column, problem),) = config.problems()
    assert column == "remote"
    assert str(problem).startswith("folder acme: the remote far: ")
    assert "can be read by others; type: chmod 600" in str(problem)


def engines(remotes: str) -> Iterator[int]:
    """Yield the processes of rclone that know these remotes."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "comm").read_text() == "rclone\n" and remotes.encode() in (process / "environ").read_bytes():
                yield int(process.name)


@pytest.mark.parametrize(("what", "lasts"), [("job", (1, 4, 9, 15, 22)), ("rclone", (1, 9, 22)), ("store", (9,))])
def test_each_file_is_taken_once_though_the_job_rclone_or_the_store_dies_at_any_request(
    what: str, lasts: tuple[int, ...], cloud: Cloud
) -> None:
    """The 1st request is the listing; later ones read, look again, copy to taken/ and delete."""
    names = [f"{number:02}.csv" for number in range(4)]
    for name in names:
        cloud.store.keep(f"bucket/in/{name}", name.encode())
    environment = cloud.etl.environment(ETL_SFTP_SETTLE_SECONDS="0", PYTHONPATH=str(PROJECT), ETL_CLOUD_TIMEOUT="5")
    command = [sys.executable, "-P", str(PROJECT / "jobscripts/sftp_exchange.py"), "acme"]
    for last in lasts:
        asked_before = len(cloud.store.asked)
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as job:

            def die(_: Asked, at: int = asked_before + last, job: "subprocess.Popen[bytes]" = job) -> None:
                if len(cloud.store.asked) < at:
                    return
                if what == "store":
                    raise ConnectionError
                if len(cloud.store.asked) == at:
                    for process in [job.pid] if what == "job" else engines(environment["ETL_REMOTES_DIR"]):
                        os.kill(process, signal.SIGKILL)

            cloud.store.lies[:] = [die]
        assert job.returncode == (-signal.SIGKILL if what == "job" else 75) or not cloud.take(dry_run=True)
        ends = time.monotonic() + 20
        while engine := list(engines(environment["ETL_REMOTES_DIR"])):  # a killed supervisor's guard ends the job
            assert time.monotonic() < ends, engine
    cloud.store.lies.clear()
    cloud.take()
    assert cloud.files() == {name: name.encode() for name in names}
    assert cloud.etl.query("SELECT name, status FROM dba.treceivedfile ORDER BY 1, 2") == [
        (name, "Saved") for name in names
    ]
    assert all(name.startswith("taken/") for name in cloud.store.names("bucket/in"))


RIGHTS = {
    "list": ("GET", "bucket", "list   bucket/in: the remote far does not allow it for 'bucket/in'"),
    "write": ("PUT", "bucket/in/.etl-test", "write  bucket/in: the remote far does not allow it"),
    "move": ("PUT", "bucket/in/taken/.etl-test", "move   bucket/in/taken: the remote far does not allow it"),
    "receipts": ("PUT", "bucket/out/.etl-test", "write  bucket/out: the remote far does not allow it"),
}


def test_the_trial_says_which_right_is_missing_and_leaves_nothing(cloud: Cloud) -> None:
    told = etl_says(cloud.etl, "exchange", "test", "acme")
    assert told.returncode == 0, told.stdout + told.stderr
    assert [line.split()[1] for line in told.stdout.splitlines()] == [
        "list",
        "write",
        "list",
        "read",
        "move",
        "delete",
        "write",
        "list",
        "read",
        "delete",
    ]
    assert cloud.store.names("bucket") == []
    for method, path, words in RIGHTS.values():
        cloud.store.lies[:] = [
            lambda asked, method=method, path=path: (
                refused(403, "AccessDenied")
                if asked.method == method and asked.path.startswith(path) and (asked.lists or "/" in path)
                else None
            )
        ]
        told = cloud.job("acme", "--test")
        assert told.returncode == 1
        assert f"acme: {words}" in told.stdout
    assert etl_says(cloud.etl, "exchange", "test").returncode == 64
    assert etl_says(cloud.etl, "exchange", "send").returncode == 64


FILES = {
    "missing": (None, 0o600, "is missing; docs/clouds.md says how it is made"),
    "open": ("[open]\ntype = s3\n", 0o644, "can be read by others; type: chmod 600"),
    "sftp": ("[sftp]\ntype = sftp\n", 0o600, "a row with kind = 'sftp' and its host"),
    "local": ("[local]\ntype = local\n", 0o600, "it must be one of s3, azureblob"),
    "program": ("[program]\ntype = webdav\nbearer_token_command = id\n", 0o600, "take that line out"),
    "two": ("[two]\ntype = s3\n[far]\ntype = s3\n", 0o600, "must have one section, [two]; it has [far], [two]"),
}  # fmt: skip


def test_twenty_rows_that_cannot_work_are_twenty_sentences_and_the_next_row_works(cloud: Cloud, tmp_path: Path) -> None:
    answers = {
        f"b{number}": case
        for number, case in enumerate(case for case in REFUSALS.values() if case[1] is not TemporaryFailure)
    }
    for bucket in answers:
        cloud.row(config_name=bucket, kind="rclone", remote="far", incoming_path=f"{bucket}/in", outgoing_path=None)
    for remote, (section, mode, _) in FILES.items():
        if section is not None:
            write_remote(tmp_path / "remotes", remote, section).chmod(mode)
        cloud.row(config_name=f"f_{remote}", kind="rclone", remote=remote, incoming_path="x/in", outgoing_path=None)
    cloud.row(config_name="works", kind="rclone", remote="far", incoming_path="bucket/last", outgoing_path=None)
    cloud.store.keep("bucket/last/a.csv", CSV)
    cloud.store.lies.append(
        lambda asked: (
            answers[asked.path.partition("/")[0]][0]
            if asked.path.startswith("b") and asked.path[1:2].isdigit()
            else None
        )
    )
    assert len(answers) + len(FILES) == 20
    told = cloud.job()
    assert told.returncode == 1
    lines = told.stderr.splitlines()
    for name, (_, _, words) in [*answers.items(), *((f"f_{name}", case) for name, case in FILES.items())]:
        (line,) = [line for line in lines if f" {name}: " in line]
        is_pattern = name in answers
        assert re.search(words.replace("bucket/in", f"{name}/in") if is_pattern else re.escape(words), line), line
    assert cloud.files() == {"a.csv": CSV}
    assert SECRET not in told.stderr


def test_a_wrong_key_is_one_sentence_and_the_secret_is_nowhere(cloud: Cloud) -> None:
    cloud.store.lies.append(lambda _: refused(403, "SignatureDoesNotMatch", f"you signed with {SECRET}"))
    told = cloud.job("acme")
    assert told.returncode == 1
    assert "acme: the remote far refuses the keys of" in told.stderr
    everything = [
        told.stdout,
        told.stderr,
        str(cloud.etl.query("SELECT * FROM dba.tjobrun")),
        str(cloud.etl.query("SELECT * FROM dba.tlogentry")),
    ]
    everything += [file.read_text() for file in cloud.etl.home.glob("logs/*") if file.is_file()]
    assert any("****" in text for text in everything)
    assert not [text for text in everything if SECRET in text]


def test_a_webdav_folder_is_taken_when_its_files_were_seen_unchanged(
    etl: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETL_REMOTES_DIR", str(tmp_path / "remotes"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    (tmp_path / "cloud/in").mkdir(parents=True)
    (tmp_path / "cloud/in/a.csv").write_bytes(CSV)
    with serving("webdav", tmp_path / "cloud", tmp_path / "ca.pem") as address:
        write_remote(tmp_path / "remotes", "dav", webdav_section("dav", address))
        cloud = Cloud(etl, Store(), remote="dav", incoming_path="in", outgoing_path="out")
        assert cloud.take() == []  # a minute has not passed
        monkeypatch.setenv("ETL_SFTP_SETTLE_SECONDS", "0")
        assert cloud.take() == [("a.csv", "Saved")]
        assert cloud.files() == {"a.csv": CSV}
        (taken,) = (tmp_path / "cloud/in/taken").iterdir()
        assert taken.read_bytes() == CSV
        cloud.import_says("Loaded", 2)
        assert len(cloud.tell()) == 1
        assert [b"loaded" in file.read_bytes() for file in (tmp_path / "cloud/out").iterdir()] == [True]


def test_a_feed_may_come_from_a_cloud_folder(cloud: Cloud) -> None:
    assert cloud.etl.value("SELECT dba.f_came_by('cloud:acme', NULL, NULL, 'acme')")
    assert not cloud.etl.value("SELECT dba.f_came_by('cloud:other', NULL, NULL, 'acme')")
