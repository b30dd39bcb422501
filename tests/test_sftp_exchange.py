"""Files by SFTP: each is taken once and whole from whatever a client does to its folder, and gets its receipt."""

import contextlib
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest
from conftest import PROJECT, Installation, clean_environment
from needs import not_as_root
from ssh_server import Machine, Server, make_key, running_machine, running_server
from test_generic_import import add_import
from test_import_crashes import Steps, count_every_step, dies_at, steps_to_die_at

from systemscripts import db_config, whole_files
from systemscripts.errors import JobError, TemporaryFailure
from systemscripts.exchange import local_folder, remote_folder
from systemscripts.exchange.config import alone, load_configs
from systemscripts.exchange.receipts import put_receipts
from systemscripts.exchange.remote_folder import RemoteFolder
from systemscripts.exchange.sftp_client import Client
from systemscripts.exchange.taking import take_files

CSV = b"EventID,Name\n1,Ann\n2,Bob\n"


class Desk:
    """An incoming and an outgoing folder, and the folder of the import that the files go to."""

    table = "tsftpconfig"  # the former name of dba.texchangeconfig, which rows of SFTP may go on to use

    def __init__(self, etl: Installation, **columns: Any) -> None:
        self.etl = etl
        self.incoming, self.outgoing, self.feed = (etl.home / name for name in ("in", "out", "feed"))
        for folder in (self.incoming, self.outgoing, self.feed):
            folder.mkdir()
        self.row(**columns)

    def row(self, **columns: Any) -> None:
        values = {
            "config_name": "acme", "incoming_path": str(self.incoming), "outgoing_path": str(self.outgoing),
            "file_pattern": "*.csv", "local_repository_path": str(self.feed), **columns,
        }  # fmt: skip
        names, marks = ", ".join(values), ", ".join(["%s"] * len(values))
        self.etl.query(f"INSERT INTO dba.{self.table} ({names}) VALUES ({marks})", *values.values())

    def put(self, name: str = "list.csv", content: bytes = CSV) -> Path:
        (self.incoming / name).write_bytes(content)
        return self.incoming / name

    def job(self, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        return self.etl.door("sftp_exchange.py", *arguments, **{"ETL_SFTP_SETTLE_SECONDS": "0", **variables})

    def import_says(self, status: str, rows: int | None = None, error: str | None = None) -> None:
        """Make it as if the import had looked at every file that was put into its folder."""
        dataset = None
        if status == "Loaded":
            dataset = self.etl.value(
                "INSERT INTO dba.tdataset (datasetdate, label, datasettypeid, datasourceid, datastatusid)"
                " SELECT current_date, 'x', min(datasettypeid), (SELECT min(datasourceid) FROM dba.tdatasource), 2"
                " FROM dba.tdatasettype RETURNING datasetid"
            )
        self.etl.query(
            "INSERT INTO dba.timportfile (config_id, file_name, source_path, file_size, sha256, status, row_count, error, datasetid)"
            " SELECT 1, file_name, saved_path, file_size, sha256, %s, %s, %s, %s FROM dba.treceivedfile WHERE status = 'Saved'",
            status, rows, error, dataset,
        )  # fmt: skip

    @property
    def taken(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.feed.iterdir()}

    @property
    def left(self) -> list[str]:
        return sorted(path.name for path in self.incoming.iterdir())

    @property
    def receipts(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.outgoing.iterdir()}

    @property
    def rows(self) -> list[tuple[str, str]]:
        return self.etl.query("SELECT name, status FROM dba.treceivedfile ORDER BY receivedfileid")


@pytest.fixture
def desk(etl: Installation, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("ETL_SFTP_SETTLE_SECONDS", "0")
    return Desk(etl)


def exchange() -> list[tuple[str, str]]:
    """Do in this process what the job does with its only row."""
    with db_config.session() as connection:
        (config,) = load_configs(connection, None)
        opened = remote_folder.opened if config.host else local_folder.opened
        with alone(connection, config) as is_ours, opened(config) as folder:
            assert is_ours
            outcomes = [(it.file, it.status) for it in take_files(connection, config, folder, dry_run=False)]
            put_receipts(connection, config, folder)
            return outcomes


# ---- a folder on this machine ------------------------------------------------------------------


def test_a_file_is_taken_imported_and_its_receipt_says_so(desk: Desk):
    add_import(desk.etl, source_directory=str(desk.feed))
    desk.put("clients_20260302.csv")
    desk.put("clients_20260303.csv", b"EventID,Name\n1,2,3\n")
    taken = desk.job("--json")
    assert taken.returncode == 0, taken.stderr
    assert json.loads(taken.stdout)["files"][0] == {
        "folder": "acme", "file": "clients_20260302.csv", "status": "Saved", "detail": "25 bytes",
    }  # fmt: skip
    assert (desk.left, desk.receipts) == ([], {})  # no import has looked at them yet
    desk.etl.door("run_import_job.py", "clients")
    assert desk.job("--receipts").returncode == 0
    assert desk.job("acme").returncode == 0  # nobody is told twice

    receipts = desk.receipts
    loaded, rejected = receipts["clients_20260302.csv.1.receipt.txt"], receipts["clients_20260303.csv.2.receipt.txt"]
    assert len(receipts) == 2
    assert loaded.startswith("clients_20260302.csv: loaded, 2 rows\n")
    assert "\n\nReceived  " in loaded
    assert "Size      25 bytes\nSHA-256   " in loaded
    assert rejected.startswith("clients_20260303.csv: rejected: ")
    assert str(desk.etl.home) not in rejected
    assert desk.etl.value("SELECT count(*) FROM public.tclients") == 2
    assert desk.etl.value("SELECT bool_and(told_at IS NOT NULL) FROM dba.treceivedfile")


def test_a_rejected_file_says_why_and_not_where_it_lay(desk: Desk):
    desk.put()
    exchange()
    desk.import_says("Failed", error=f"{desk.feed}/list.csv: line 2 has 3 fields, the header 2")
    exchange()

    assert (
        "list.csv: rejected: list.csv: line 2 has 3 fields, the header 2\n" in desk.receipts["list.csv.1.receipt.txt"]
    )
    assert str(desk.etl.home) not in desk.receipts["list.csv.1.receipt.txt"]


def test_the_same_file_sent_again_is_a_duplicate_and_a_new_one_of_its_name_waits(desk: Desk):
    desk.put()
    assert exchange() == [("list.csv", "Saved")]
    desk.put()
    assert exchange() == [("list.csv", "Duplicate")]
    desk.etl.query(
        "UPDATE dba.timportconfig SET source_directory = %s, file_pattern = 'list.csv' WHERE config_id = 1",
        str(desk.feed),
    )
    desk.put(content=b"other\n")
    assert exchange() == [("list.csv", "Waiting")]
    assert exchange() == [("list.csv", "Waiting")]
    (desk.feed / "list.csv").unlink()
    assert exchange() == [("list.csv", "Saved")]

    assert desk.rows == [("list.csv", "Saved"), ("list.csv", "Duplicate"), ("list.csv", "Saved")]
    assert (desk.taken, desk.left) == ({"list.csv": b"other\n"}, [])


@pytest.mark.parametrize(
    "name", ["list.csv.part", "list.csv.filepart", "list.tmp", ".list.csv", "list.csv.crdownload", "list.txt"]
)
def test_what_is_unfinished_or_not_wanted_stays(desk: Desk, name: str):
    desk.put(name)

    assert exchange() == []
    assert desk.left == [name]


def test_what_came_a_moment_ago_stays(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ETL_SFTP_SETTLE_SECONDS", "60")
    file = desk.put()
    os.utime(file, (1, 1))  # its own time is the client's to set

    assert exchange() == []


def test_links_pipes_and_folders_are_named_and_left(desk: Desk, caplog: pytest.LogCaptureFixture):
    secret = desk.etl.home / "secret"
    secret.write_text("secret")
    (desk.incoming / "symlink.csv").symlink_to(secret)
    os.link(secret, desk.incoming / "hardlink.csv")
    os.mkfifo(desk.incoming / "pipe.csv")
    (desk.incoming / "folder.csv").mkdir()
    desk.put("good.csv")

    assert exchange() == [("good.csv", "Saved")]
    assert desk.taken == {"good.csv": CSV}
    assert desk.left == ["folder.csv", "hardlink.csv", "pipe.csv", "symlink.csv"]
    for name in ("symlink.csv", "hardlink.csv", "pipe.csv"):
        assert any(repr(name) in record.getMessage() for record in caplog.records if record.levelname == "WARNING")


@pytest.mark.parametrize("change", ["a link", "a pipe", "other content", "gone"])
def test_what_changes_between_two_looks_at_it_is_not_taken(desk: Desk, monkeypatch: pytest.MonkeyPatch, change: str):
    desk.put()
    fetch = local_folder.LocalFolder.fetch

    def changed_then_fetched(self: Any, file: Any, target: Any) -> str:
        path = desk.incoming / f".taken.{file.name}"
        path.unlink()
        if change == "a link":
            path.symlink_to("/etc/passwd")
        elif change == "a pipe":
            os.mkfifo(path)
        elif change == "other content":
            path.write_bytes(CSV)
        return fetch(self, file, target)

    monkeypatch.setattr(local_folder.LocalFolder, "fetch", changed_then_fetched)
    ((_, status),) = exchange()

    assert status in ("Unfinished", "Refused")
    assert (desk.taken, desk.rows) == ({}, [])


def test_what_takes_the_place_of_a_file_after_it_was_copied_is_not_removed(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    desk.put()
    remove = local_folder.LocalFolder.remove

    def replaced_then_removed(self: Any, file: Any) -> None:
        path = desk.incoming / f".taken.{file.name}"
        path.unlink()
        path.write_bytes(CSV + b"3,new\n")
        remove(self, file)

    with monkeypatch.context() as patch:
        patch.setattr(local_folder.LocalFolder, "remove", replaced_then_removed)
        exchange()
    exchange()

    assert sorted(desk.taken.values()) == [CSV, CSV + b"3,new\n"]


def test_a_file_that_goes_back_to_its_name_replaces_none(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    former = desk.put()
    busy = iter([set(), {".taken.list.csv"}])
    move = whole_files.move

    def put_then_moved(source: Path, target: Path) -> None:
        if target.name == "list.csv":
            desk.put(content=b"a new one\n")
        move(source, target)

    monkeypatch.setattr(local_folder, "being_written", lambda *_: next(busy))
    monkeypatch.setattr(whole_files, "move", put_then_moved)
    exchange()

    assert former.read_bytes() == b"a new one\n"
    assert (desk.incoming / ".taken.list.csv").read_bytes() == CSV


def test_a_file_that_is_too_large_is_a_failure_and_the_others_are_taken(desk: Desk):
    with desk.put("huge.csv").open("wb") as stream:
        stream.truncate((1 << 20) + 1)
    desk.put("good.csv")
    ended = desk.job(ETL_SFTP_MAX_MB="1")

    assert ended.returncode == 1
    assert re.search("'huge.csv' Refused, .*1,048,577 bytes.* ETL_SFTP_MAX_MB=1 ", ended.stderr)
    assert (list(desk.taken), desk.left) == (["good.csv"], ["huge.csv"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
def test_a_file_that_cannot_be_read_is_named_and_keeps_its_name(desk: Desk):
    desk.put().chmod(0)
    ended = desk.job()

    assert ended.returncode == 1
    assert re.search("'list.csv' Refused, .*Permission denied", ended.stderr)
    assert desk.left == ["list.csv"]


@pytest.mark.parametrize("name", ["two\nlines.csv", b"\xff\xfe.csv", "a b;$(id).csv", "-rf.csv", "é" * 120 + ".csv"])
def test_a_hostile_name_does_no_harm_here_or_in_the_receipt(desk: Desk, name: str | bytes):
    desk.put(os.fsdecode(name))
    assert [status for _, status in exchange()] == ["Saved"]
    desk.import_says("Loaded", rows=2)
    exchange()

    ((receipt, text),) = desk.receipts.items()
    assert receipt.endswith(".1.receipt.txt")
    assert text.splitlines()[0].endswith(".csv: loaded, 2 rows")
    assert list(desk.taken.values()) == [CSV]


def test_a_receipt_never_replaces_a_file(desk: Desk):
    desk.put()
    exchange()
    (desk.outgoing / "list.csv.1.receipt.txt").write_text("mine")
    desk.import_says("Loaded", rows=2)
    exchange()

    assert desk.receipts == {"list.csv.1.receipt.txt": "mine"}


def test_a_dry_run_changes_nothing(desk: Desk):
    desk.put()
    ended = desk.job("--dry-run")

    assert ended.returncode == 0
    assert "'list.csv' Ready, 25 bytes" in ended.stderr
    assert (desk.taken, desk.left, desk.rows) == ({}, ["list.csv"], [])


def test_one_rows_trouble_does_not_stop_the_others_and_counts(desk: Desk):
    desk.etl.query("UPDATE dba.tsftpconfig SET incoming_path = '/nonexistent'")
    desk.row(config_name="beta")
    desk.put()
    ended = desk.job()

    assert ended.returncode == 1
    assert re.search("acme: .*/nonexistent .*No such file", ended.stderr)
    assert desk.taken == {"list.csv": CSV}
    assert desk.job("nobody").returncode == 64


def test_a_pattern_that_is_none_is_named(desk: Desk):
    desk.etl.query("UPDATE dba.tsftpconfig SET file_pattern = '(.+csv'")
    desk.put()
    ended = desk.job()

    assert ended.returncode == 1
    assert "acme: the file_pattern '(.+csv' " in ended.stderr
    assert desk.left == ["list.csv"]


def test_two_runs_are_never_at_one_folder(desk: Desk):
    desk.put()
    with db_config.session() as connection:
        (config,) = load_configs(connection, None)
        with alone(connection, config):
            ended = desk.job()

    assert ended.returncode == 75
    assert "acme: another run" in ended.stderr
    assert exchange() == [("list.csv", "Saved")]


def count_what_the_server_is_asked(steps: Steps) -> None:
    for name in ("listing", "lstat", "open", "remove", "rename"):
        setattr(Client, name, steps.around(getattr(Client, name)))


def finishes_once_whenever_killed(desk: Desk, count: Callable[[Steps], None]) -> int:
    """Kill the exchange at each of its steps, while it takes a file and while it puts the receipt; return their number."""
    in_taking = in_receipt = True
    for step in steps_to_die_at():
        desk.put()
        in_taking = in_taking and dies_at(step, exchange, count)
        exchange()
        assert (desk.taken, desk.rows, desk.left) == ({"list.csv": CSV}, [("list.csv", "Saved")], []), f"step {step}"
        desk.import_says("Loaded", rows=2)
        in_receipt = in_receipt and dies_at(step, exchange, count)
        exchange()
        ((name, text),) = desk.receipts.items()
        assert text.startswith("list.csv: loaded, 2 rows\n"), f"step {step}"
        assert desk.etl.value("SELECT told_at IS NOT NULL FROM dba.treceivedfile")
        desk.etl.query("TRUNCATE dba.treceivedfile, dba.timportfile CASCADE")
        (desk.feed / "list.csv").unlink()
        (desk.outgoing / name).unlink()
        if not (in_taking or in_receipt):
            return step
    raise AssertionError("there is no end of numbers")


def test_killed_at_each_step_the_next_run_finishes_once(desk: Desk):
    assert finishes_once_whenever_killed(desk, count_every_step) > 30


# ---- a server elsewhere ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture
def far(etl: Installation, sshd: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A desk whose folders are reached through a server that is known."""
    known = tmp_path / "known_hosts"
    known.write_text(sshd.known_host)
    for name, value in (("ETL_SFTP_SETTLE_SECONDS", "0"), ("ETL_SFTP_KNOWN_HOSTS", str(known))):
        monkeypatch.setenv(name, value)
        etl.variables[name] = value
    return Desk(etl, host="127.0.0.1", port=sshd.port, username=sshd.user, key_file=str(sshd.key))


def test_a_file_of_a_server_is_taken_and_its_receipt_uploaded(far: Desk):
    far.put()
    far.put("empty.csv", b"")
    ended = far.job()
    assert ended.returncode == 0, ended.stderr
    assert len(ended.stderr.splitlines()) == 2  # a line a file, and none of the library's own
    far.import_says("Loaded", rows=2)
    assert far.job("--receipts").returncode == 0

    assert (far.taken, far.left) == ({"list.csv": CSV, "empty.csv": b""}, [])
    assert sorted(far.receipts) == ["empty.csv.1.receipt.txt", "list.csv.2.receipt.txt"] or sorted(far.receipts) == [
        "empty.csv.2.receipt.txt", "list.csv.1.receipt.txt",
    ]  # fmt: skip


def test_what_stays_on_the_server_is_taken_once_and_again_when_it_changes(far: Desk):
    far.etl.query("UPDATE dba.tsftpconfig SET remove_taken = false")
    far.put()
    assert exchange() == [("list.csv", "Saved")]
    assert exchange() == []
    far.put(content=b"changed\n")
    assert exchange() == [("list.csv", "Saved")]

    assert far.left == ["list.csv"]
    assert sorted(far.taken.values()) == [CSV, b"changed\n"]


def test_a_file_is_taken_only_when_this_machine_has_seen_it_rest(far: Desk, monkeypatch: pytest.MonkeyPatch):
    from systemscripts.exchange import seen_before

    now = [1_000_000.0]
    monkeypatch.setattr(seen_before.time, "time", lambda: now[0])
    monkeypatch.setenv("ETL_SFTP_SETTLE_SECONDS", "60")
    file = far.put()
    os.utime(file, (1, 1))  # the server's clock says nothing
    assert exchange() == []
    now[0] += 59
    assert exchange() == []
    far.put(content=CSV + b"3,Cy\n")  # it grows
    now[0] += 2
    assert exchange() == []
    now[0] += 60
    assert exchange() == [("list.csv", "Saved")]


def test_a_file_that_changes_during_the_download_is_not_taken(far: Desk, monkeypatch: pytest.MonkeyPatch):
    file = far.put()
    make_sure = RemoteFolder.make_sure

    def then_it_grows(self: Any, found: Any) -> Any:
        sure = make_sure(self, found)
        file.write_bytes(CSV * 2)
        return sure

    monkeypatch.setattr(RemoteFolder, "make_sure", then_it_grows)

    assert exchange() == [("list.csv", "Unfinished")]
    assert (far.taken, far.rows, far.left) == ({}, [], ["list.csv"])


@pytest.mark.parametrize("name", ["../evil.csv", "/etc/evil.csv", "a/../../evil.csv", "nul\0.csv"])
def test_a_servers_hostile_name_is_refused(
    far: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
):
    far.put()
    listed = Client.listing

    def lying(self: Any, path: str) -> Any:
        for entry in listed(self, path):
            entry.filename = name
            yield entry

    monkeypatch.setattr(Client, "listing", lying)

    assert exchange() == []
    assert "possible file name" in caplog.text
    assert far.taken == {}


def test_a_server_that_lists_without_end_is_a_problem_of_its_own_row(far: Desk, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(remote_folder, "MOST_ENTRIES", 10)
    for number in range(11):
        far.put(f"{number}.csv")
    with pytest.raises(JobError, match="more than 10 entries"):
        exchange()
    assert far.taken == {}


def test_a_server_that_draws_out_its_answers_is_left(far: Desk, monkeypatch: pytest.MonkeyPatch):
    """A byte now and then is no silence."""
    monkeypatch.setenv("ETL_SFTP_TIMEOUT", "1")
    far.put()

    def endless(self: paramiko.SFTPClient, _path: str) -> Any:
        while not self.get_channel().closed:
            time.sleep(0.02)
        raise EOFError
        yield

    monkeypatch.setattr(Client, "listing", endless)
    with pytest.raises(TemporaryFailure, match="the connection was cut"):
        exchange()


def test_a_clock_that_is_set_back_only_begins_the_wait_anew(far: Desk, monkeypatch: pytest.MonkeyPatch):
    from systemscripts.exchange import seen_before

    now = [4_000_000_000.0]
    monkeypatch.setattr(seen_before.time, "time", lambda: now[0])
    monkeypatch.setenv("ETL_SFTP_SETTLE_SECONDS", "60")
    far.put()
    assert exchange() == []
    now[0] = 1_000_000.0
    assert exchange() == []
    now[0] += 60
    assert exchange() == [("list.csv", "Saved")]


def test_a_link_on_the_server_is_left(far: Desk):
    (far.incoming / "link.csv").symlink_to("/etc/passwd")

    assert exchange() == []
    assert far.left == ["link.csv"]


def test_an_unknown_server_is_refused_with_what_to_type(far: Desk, sshd: Server, tmp_path: Path):
    (tmp_path / "known_hosts").write_text("")
    ended = far.job()

    fingerprint = subprocess.run(
        ["ssh-keygen", "-l", "-f", str(sshd.host_key)], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    assert ended.returncode == 1
    assert "not known here" in ended.stderr
    assert fingerprint in ended.stderr
    assert f"ssh-keyscan -p {sshd.port} -t ed25519 127.0.0.1 >> {tmp_path}/known_hosts" in ended.stderr


def test_a_server_with_another_key_than_before_is_refused(far: Desk, sshd: Server, tmp_path: Path):
    other = make_key(tmp_path / "other").with_suffix(".pub").read_text()
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{sshd.port} {other}")
    ended = far.job()

    assert ended.returncode == 1
    assert "another key than before" in ended.stderr
    assert f"ssh-keygen -R '[127.0.0.1]:{sshd.port}' -f {tmp_path}/known_hosts" in ended.stderr


def test_a_login_that_is_refused_fails_and_a_server_that_is_away_passes(far: Desk, tmp_path: Path):
    far.etl.query("UPDATE dba.tsftpconfig SET key_file = %s", str(make_key(tmp_path / "wrong")))
    refused = far.job()
    far.etl.query("UPDATE dba.tsftpconfig SET port = 1")
    away = far.job()

    assert refused.returncode == 1
    assert "refuses the login as" in refused.stderr
    assert away.returncode == 75
    assert "cannot be reached" in away.stderr


def test_a_key_that_others_can_read_is_not_used(far: Desk, tmp_path: Path):
    key = make_key(tmp_path / "open")
    key.chmod(0o640)
    far.etl.query("UPDATE dba.tsftpconfig SET key_file = %s", str(key))
    ended = far.job()

    assert ended.returncode == 1
    assert f"; type: chmod 600 {key}" in ended.stderr


# paramiko's own thread, which asks ahead, ends with the connection.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_connection_that_is_cut_leaves_nothing_half_taken(far: Desk, monkeypatch: pytest.MonkeyPatch):
    far.put(content=os.urandom(3 << 20))
    read, folders = paramiko.SFTPFile.read, []

    def cut(self: Any, *arguments: Any) -> bytes:
        folders.append(1)
        if len(folders) == 2:
            self.sftp.get_channel().get_transport().close()
        return read(self, *arguments)

    monkeypatch.setattr(paramiko.SFTPFile, "read", cut)
    with pytest.raises(remote_folder.TemporaryFailure, match="the connection was cut"):
        exchange()

    assert (far.taken, far.rows, far.left) == ({}, [], ["list.csv"])


def test_killed_at_each_step_the_next_run_finishes_once_on_a_server(far: Desk):
    assert finishes_once_whenever_killed(far, count_what_the_server_is_asked) > 12


# ---- a machine set up by setup_sftp.sh, as its job user ----------------------------------------


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    if os.geteuid() == 0:
        not_as_root("the job user is an ordinary one")
    with running_machine(tmp_path_factory.mktemp("machine")) as made:
        made.add("acme")
        made.start_sshd()
        yield made


@pytest.fixture
def real(machine: Machine, etl: Installation) -> Iterator[Desk]:
    desk = Desk(etl, incoming_path="/srv/sftp/sftp_acme/incoming", outgoing_path="/srv/sftp/sftp_acme/outgoing")
    (machine.folder / "list.csv").write_bytes(CSV)
    yield desk
    machine.root("find", "/srv/sftp/sftp_acme", "-mindepth", "2", "-delete")


def run_job(machine: Machine, desk: Desk, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the job on the machine, as its user and with nothing but what sudo allows it."""
    variables = clean_environment(**desk.etl.variables, ETL_SFTP_SETTLE_SECONDS="0")
    door = ["/bin/bash", str(PROJECT / "jobscripts/run_python_etl_script.sh"), "sftp_exchange.py", *arguments]
    command = machine.as_job("env", "-i", *(f"{name}={value}" for name, value in variables.items()), *door)
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd="/")


def test_what_is_in_the_way_of_a_claim_is_a_failure(desk: Desk):
    desk.put()
    desk.put("other.csv")
    desk.put("x" * 245 + ".csv")
    (desk.incoming / ".taken.list.csv").mkdir()

    ended = desk.job("--json")

    assert ended.returncode == 1
    told = {file["file"]: (file["status"], file["detail"]) for file in json.loads(ended.stdout)["files"]}
    refused, too_long = told["list.csv"], told["x" * 245 + ".csv"]
    assert (refused[0], too_long[0]) == ("Refused", "Refused")
    assert refused[1].startswith("'.taken.list.csv', ")
    assert "248 bytes" in too_long[1]
    assert desk.taken == {"other.csv": CSV}


def test_a_client_puts_a_file_whatever_its_mode_and_reads_its_receipt(machine: Machine, real: Desk):
    (machine.folder / "list.csv").chmod(0o600)
    (machine.folder / "other.csv").write_bytes(b"other\n")
    sent = machine.sftp(
        "acme", "put list.csv incoming/a.csv", "put other.csv incoming/b.csv", "chmod 000 incoming/b.csv"
    )
    assert sent.returncode == 0, sent.stderr
    ended = run_job(machine, real)
    assert ended.returncode == 0, ended.stderr
    assert real.taken == {"a.csv": CSV, "b.csv": b"other\n"}
    real.import_says("Loaded", rows=2)
    assert run_job(machine, real, "--receipts").returncode == 0

    got = machine.sftp("acme", "get outgoing/a.csv.*.receipt.txt receipt", "ls incoming")
    assert got.returncode == 0, got.stderr
    assert (machine.folder / "receipt").read_text().startswith("a.csv: loaded, 2 rows\n")
    assert ".csv" not in got.stdout.split("ls incoming")[1]


def test_an_upload_that_has_stalled_is_not_taken_before_it_ends(machine: Machine, real: Desk):
    client = paramiko.SSHClient()
    client.load_host_keys(str(machine.known_hosts))
    client.connect("127.0.0.1", machine.port, "sftp_acme", key_filename=str(machine.folder / "acme"), allow_agent=False)
    with contextlib.closing(client), client.open_sftp() as sftp:
        with sftp.open("incoming/slow.csv", "wb") as stream:
            stream.write(CSV[:10])
            stream.flush()
            machine.sftp("acme", "put list.csv incoming/done.csv", "put list.csv incoming/done.csv.part")
            first = run_job(machine, real)
            assert first.returncode == 0, first.stderr
            assert real.taken == {"done.csv": CSV}
            assert "'slow.csv' is still" in first.stderr
            stream.write(CSV[10:])
        assert run_job(machine, real).returncode == 0

    assert real.taken == {"done.csv": CSV, "slow.csv": CSV}


def test_a_clients_link_to_a_file_of_the_machine_is_left(machine: Machine, real: Desk):
    machine.sftp(
        "acme",
        "symlink /etc/shadow incoming/x.csv",
        "symlink /etc/hostname incoming/y.csv",
        "put list.csv incoming/z.csv",
    )
    ended = run_job(machine, real)

    assert ended.returncode == 0, ended.stderr
    assert real.taken == {"z.csv": CSV}
    assert "'x.csv' is a link" in ended.stderr
    assert machine.root("stat", "-c", "%a", "/etc/shadow").stdout == "640\n"


def test_without_its_sudo_rule_nothing_is_taken_and_the_log_says_what_to_do(machine: Machine, real: Desk):
    machine.sftp("acme", "put list.csv incoming/a.csv")
    machine.root("mv", "/etc/sudoers.d/etl_sftp_acme", "/etc/kept_rule")
    ended = run_job(machine, real)
    machine.root("mv", "/etc/kept_rule", "/etc/sudoers.d/etl_sftp_acme")

    assert ended.returncode == 1
    assert "none was taken" in ended.stderr
    assert "setup_sftp.sh add acme --key FILE" in ended.stderr
    assert real.taken == {}


def test_the_same_file_sent_again_after_a_refusal_is_taken_again(far: Desk):
    os.utime(far.put(), (1_000_000_000, 1_000_000_000))
    far.job()
    far.import_says("Failed", error="no rows")
    (far.feed / "list.csv").unlink()  # as the import does
    far.job("--receipts")
    os.utime(far.put(), (1_000_000_000, 1_000_000_000))

    ended = far.job()

    assert ended.returncode == 0, ended.stderr
    assert far.taken == {"list.csv": CSV}
    assert far.etl.value("SELECT count(*) FROM dba.treceivedfile WHERE status = 'Saved'") == 2


def test_a_claim_that_a_client_makes_itself_has_to_settle_like_any_file(desk: Desk):
    desk.put(".taken.list.csv")

    ended = desk.job(ETL_SFTP_SETTLE_SECONDS="600")

    assert ended.returncode == 0
    assert desk.taken == {}


@pytest.mark.parametrize(
    ("subsystem", "told", "status"),
    [("/bin/echo Welcome to this server", "gives no SFTP", 1), ("/bin/sleep 60", "then said nothing for 1 s", 75)],
)
def test_a_server_without_sftp_stops_no_other_row(far: Desk, tmp_path: Path, subsystem: str, told: str, status: int):
    with running_server(tmp_path / "odd", subsystem) as odd:
        known = Path(far.etl.variables["ETL_SFTP_KNOWN_HOSTS"])
        known.write_text(known.read_text() + "\n" + odd.known_host)
        far.etl.query("UPDATE dba.tsftpconfig SET port = %s, key_file = %s", odd.port, str(odd.key))
        near = far.incoming.parent / "near"
        near.mkdir()
        (near / "near.csv").write_bytes(CSV)
        far.row(config_name="near", incoming_path=str(near))
        ended = far.job(ETL_SFTP_TIMEOUT="1")

    assert ended.returncode == status, ended.stderr
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr
    assert far.taken == {"near.csv": CSV}
