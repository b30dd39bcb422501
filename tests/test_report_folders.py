"""Reports that go into a folder: each slot's files once and whole, whoever starts, dies or puts something in the way."""

import argparse
import json
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cloud_servers
import pytest
from conftest import Installation
from openpyxl import load_workbook
from smtp_server import mail_server
from ssh_server import running_server
from test_import_crashes import Steps, dies_at, steps_to_die_at
from test_report_delivery import NOON, A, add_report, change, history, reasons, states, to_clients
from test_report_waiting import DAY, dataset, the_job

from systemscripts import directory_management
from systemscripts.cloud.remote import Remote
from systemscripts.doctor.reports import reports as doctor_reports
from systemscripts.exchange.outgoing import LocalOutgoing
from systemscripts.exchange.sftp_client import Client
from systemscripts.reporting.deliveries import Deliveries

FOLDER = "folder:acme/weekly"
TWO_FILES = [
    {"name": "moments_{timestamp}.csv", "query": "SELECT n FROM public.tmoment"},
    {"name": "moments_{timestamp}.xlsx", "query": "SELECT n FROM public.tmoment"},
]


@pytest.fixture
def outgoing(etl: Installation) -> Path:
    """A client's folder on this machine, and a table whose one row is another at each moment."""
    return with_folder(etl)


def with_folder(etl: Installation, **columns: object) -> Path:
    folder = etl.home / "out"
    folder.mkdir()
    values = {"config_name": "acme", "outgoing_path": str(folder), **columns}
    names, marks = ", ".join(values), ", ".join(["%s"] * len(values))
    etl.query(f"INSERT INTO dba.texchangeconfig ({names}) VALUES ({marks})", *values.values())
    etl.query("CREATE TABLE public.tmoment (n integer); INSERT INTO public.tmoment VALUES (1)")
    etl.query("GRANT SELECT ON public.tmoment TO etl_report")
    return folder


def folder_report(etl: Installation, to: str | None = None, **columns: object) -> int:
    etl.query("UPDATE dba.treportmanager SET datastatusid = 2")
    files = columns.pop("files", TWO_FILES)
    made = {"deliver_to": "acme/weekly", "hasattachment": True, "attachmentqueries": json.dumps(files), **columns}
    return add_report(etl, to, **made)


def send(etl: Installation, *words: object, clock: str = NOON, **variables: str):
    return etl.door("send_reports.py", *map(str, words), ETL_CLOCK=clock, **variables)


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def rows_of(folder: Path) -> list[str]:
    """Return the number in each file, whatever its kind."""
    found = []
    for path in sorted(folder.rglob("moments*")):
        if path.suffix == ".csv":
            found.append(path.read_text("utf-8-sig").split()[1])
        else:
            found.append(str(load_workbook(path).active["A2"].value))
    return found


def call(report: int, again: str | None = None) -> int:
    """Run the job in this process, where a test can kill it."""
    chosen = {"preview": None, "to": None, "again": again, "edition": None, "postponed": False}
    return int(the_job().main(argparse.Namespace(report=str(report), **chosen)))


# ---- once -------------------------------------------------------------------------------------


def test_the_files_of_a_slot_go_into_the_folder_once_and_the_mail_goes_too(
    etl: Installation, outgoing: Path, tmp_path: Path
) -> None:
    report = folder_report(etl, A)
    with mail_server(tmp_path) as mail:
        first = send(etl, report, **mail.variables)
        again = send(etl, report, clock="2026-03-02T12:30:00", **mail.variables)
        next_slot = send(etl, report, clock="2026-03-03T11:00:00", **mail.variables)
        (received, _) = mail.received
    assert [first.returncode, again.returncode, next_slot.returncode] == [0, 0, 0], first.stderr + next_slot.stderr
    assert "put into acme/weekly: moments_20260302T120000.csv, moments_20260302T120000.xlsx" in first.stderr
    assert ": 2 Sent" in again.stderr
    days = ("20260302T120000", "20260303T110000")
    assert names(outgoing) == [f"weekly/moments_{day}.{kind}" for day in days for kind in ("csv", "xlsx")]
    assert (outgoing / "weekly").stat().st_mode & 0o777 == 0o750
    attached = {part.get_filename(): part.get_payload(decode=True) for part in received.message.iter_attachments()}
    for name, content in attached.items():
        assert (outgoing / "weekly" / name).read_bytes() == content
        assert (outgoing / "weekly" / name).stat().st_mode & 0o777 == 0o640
    assert states(etl, report) == {A: "Sent", FOLDER: "Sent"}
    assert os.listdir(directory_management.temp_dir()) == []


def test_a_report_without_readers_needs_no_mail_server(etl: Installation, outgoing: Path) -> None:
    report = folder_report(etl, deliver_to="acme", files=[{"name": "sums.csv", "query": "SELECT 1 AS a"}])
    preview = send(etl, report, "--preview", str(etl.home / "x.html"))
    assert "into the folder acme it would put sums.csv (9 bytes); by mail for nobody" in preview.stderr
    assert names(outgoing) == []
    assert send(etl, report).returncode == 0
    assert names(outgoing) == ["sums.csv"]
    # The same content under the same name was put before; another one is in its way.
    assert send(etl, report, "--again").returncode == 0
    etl.query(
        "UPDATE dba.treportmanager SET attachmentqueries = replace(attachmentqueries::text, '1 AS', '2 AS')::jsonb"
    )
    refused = send(etl, report, "--again", "FOLDER:acme")
    assert refused.returncode == 1
    assert "acme has another file sums.csv already, and nothing is overwritten there" in refused.stderr
    assert (outgoing / "sums.csv").read_text("utf-8-sig") == "a\n1\n"
    assert history(etl, report) == [
        ("folder:acme", 0, "Sent", 1), ("folder:acme", 1, "Sent", 1), ("folder:acme", 2, "Waiting", 0),
    ]  # fmt: skip
    assert send(etl, report, "--again", "folder:other").returncode == 64
    (outgoing / "sums.csv").unlink()
    assert send(etl, report, clock="2026-03-03T12:00:00").returncode == 0
    assert (outgoing / "sums.csv").read_text("utf-8-sig") == "a\n2\n"


def test_each_client_gets_its_own_files_in_its_own_folder(etl: Installation, outgoing: Path, tmp_path: Path) -> None:
    one = [{"name": "{client}.csv", "query": "SELECT current_setting('report.client') AS c"}]
    report = folder_report(etl, A, deliver_to=None, files=one)
    etl.query(
        "INSERT INTO dba.treportrecipient (reportid, toheader, deliver_to, parameters) VALUES"
        """ (%(r)s, NULL, 'acme/bern', '{"client": "Bern"}'), (%(r)s, %(a)s, NULL, '{"client": "Basel"}'),"""
        """ (%(r)s, %(a)s, 'nowhere', '{"client": "Biel"}')""".replace("%(r)s", str(report)).replace("%(a)s", f"'{A}'")
    )
    with mail_server(tmp_path) as mail:
        done = send(etl, report, **mail.variables)
    # What cannot be put does not keep the mail from going, nor the others from theirs.
    assert done.returncode == 1
    assert "no active row with the config_name 'nowhere'" in done.stderr
    assert to_clients(mail) == [[A], [A]]
    assert names(outgoing) == ["bern/Bern.csv"]
    assert states(etl, report) == {"folder:acme/bern": "Sent", A: "Sent", "folder:nowhere": "Waiting"}


def test_it_waits_and_is_skipped_as_a_mail_is(etl: Installation, outgoing: Path) -> None:
    empty = [{"name": "x.csv", "query": "SELECT 1 AS a WHERE false"}]
    report = folder_report(etl, files=empty)
    assert send(etl, report).returncode == 0
    assert "no file has a row" in reasons(etl, report)
    change(etl, report, skip_if_empty=True, emailbodyqueries='{"grid1": "SELECT 1 AS a WHERE false"}')
    assert send(etl, report).returncode == 0
    assert "min_rows is 1" in reasons(etl, report)
    change(etl, report, skip_if_empty=False, required_datasets=["MeetMaxEvents"], wait_until="23:00")
    change(etl, report, attachmentqueries=json.dumps(TWO_FILES))
    send(etl, report, clock=f"{DAY}T12:00:00")
    assert "Postponed" in states(etl, report).values()
    assert names(outgoing) == []
    dataset(etl)
    assert send(etl, report, clock=f"{DAY}T13:00:00").returncode == 0
    assert states(etl, report) == {FOLDER: "Sent"}
    assert len(names(outgoing)) == 2


def test_from_a_folder_that_files_only_go_to_nothing_is_taken(etl: Installation, outgoing: Path) -> None:
    assert etl.door("sftp_exchange.py").returncode == 0
    named = etl.door("sftp_exchange.py", "acme")
    assert (named.returncode, "nothing is taken from 'acme': incoming_path is null" in named.stderr) == (64, True)
    tried = etl.door("sftp_exchange.py", "acme", "--test")
    assert [line.split(":")[0] + line[-4:] for line in tried.stdout.splitlines()] == ["acme: ok"] * 3, tried.stderr
    outgoing.chmod(0o500)
    closed = etl.door("sftp_exchange.py", "acme", "--test")
    outgoing.chmod(0o700)
    assert (closed.returncode, "cannot be written: Permission denied" in closed.stdout) == (1, True)
    assert names(outgoing) == []
    for columns, words in {
        "incoming_path = '/srv/in'": "must both be set, or both be null",
        "outgoing_path = NULL": "incoming_path or outgoing_path must be set",
    }.items():
        with pytest.raises(Exception, match=words):
            etl.query(f"UPDATE dba.texchangeconfig SET {columns}")


# ---- killed, and twice at once ------------------------------------------------------------------


def once_wherever_it_is_killed(
    etl: Installation, folder: Path, monkeypatch: pytest.MonkeyPatch, count: Callable[[Steps], None]
) -> int:
    """Kill the job at each of its steps; return their number. What the queries return is another at each start."""
    for step in steps_to_die_at():
        etl.query("TRUNCATE dba.treportdelivery")
        etl.query("DELETE FROM dba.treportmanager")
        report = folder_report(etl)
        monkeypatch.setenv("ETL_CLOCK", NOON)
        was_killed = dies_at(step, lambda report=report: call(report), count)
        before = {name: (folder / name).read_bytes() for name in names(folder) if not Path(name).name.startswith(".")}
        etl.query("UPDATE public.tmoment SET n = n + 1")
        monkeypatch.setenv("ETL_CLOCK", "2026-03-02T12:10:00")
        assert call(report) == 0, step
        # Both files are of one moment, and what was there has stayed.
        assert len(rows_of(folder)) == 2, (step, names(folder))
        assert len(set(rows_of(folder))) == 1, step
        assert len({Path(name).stem for name in names(folder)}) == 1, (step, names(folder))
        assert all((folder / name).read_bytes() == content for name, content in before.items()), step
        assert states(etl, report) == {FOLDER: "Sent"}, step
        assert os.listdir(directory_management.temp_dir()) == [], step
        for name in names(folder):
            (folder / name).unlink()
        if not was_killed:
            return step
    raise AssertionError("there is no end of numbers")


def count_what_is_noted_and_put(steps: Steps) -> None:
    for name in ("open", "begin_files", "note_files", "end_files"):
        setattr(Deliveries, name, steps.around(getattr(Deliveries, name)))
    for name in ("link", "mkdir", "fsync", "unlink"):
        setattr(os, name, steps.around(getattr(os, name)))


def test_a_slot_is_put_once_wherever_the_job_is_killed(
    etl: Installation, outgoing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert once_wherever_it_is_killed(etl, outgoing, monkeypatch, count_what_is_noted_and_put) > 30


def count_what_the_server_is_asked(steps: Steps) -> None:
    for name in ("lstat", "open", "mkdir", "putfo", "rename", "remove"):
        setattr(Client, name, steps.around(getattr(Client, name)))


def test_a_slot_is_put_once_on_a_server_wherever_the_job_is_killed(
    etl: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_server(tmp_path / "sshd") as sshd:
        folder = with_folder(
            etl, host="127.0.0.1", port=sshd.port, username=sshd.user, key_file=str(sshd.key)
        )  # fmt: skip
        (tmp_path / "known_hosts").write_text(sshd.known_host)
        monkeypatch.setenv("ETL_SFTP_KNOWN_HOSTS", str(tmp_path / "known_hosts"))
        assert once_wherever_it_is_killed(etl, folder, monkeypatch, count_what_the_server_is_asked) > 8
        tried = etl.door("sftp_exchange.py", "acme", "--test", ETL_SFTP_KNOWN_HOSTS=str(tmp_path / "known_hosts"))
        assert (tried.stdout.count(": ok"), names(folder)) == (3, []), tried.stdout + tried.stderr
        report = etl.value("SELECT reportid FROM dba.treportmanager")
        sshd.stop()
        away = send(etl, report, clock="2026-03-03T12:00:00", ETL_SFTP_KNOWN_HOSTS=str(tmp_path / "known_hosts"))
    assert away.returncode == 75
    assert "cannot be reached" in away.stderr
    assert states(etl, report)[FOLDER] == "Waiting"
    assert os.listdir(directory_management.temp_dir()) == []


@pytest.mark.parametrize(("kind", "asked"), [("s3", ("stat", "_send", "put")), ("webdav", ("_send", "move"))])
def test_a_slot_is_put_once_into_a_cloud_wherever_the_job_is_killed(
    etl: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, asked: tuple[str, ...]
) -> None:
    cloud_servers.need_rclone()
    folder = with_folder(etl, remote="acme", outgoing_path="out/files")
    monkeypatch.setenv("ETL_REMOTES_DIR", str(tmp_path / "remotes"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    section = {"s3": cloud_servers.s3_section, "webdav": cloud_servers.webdav_section}[kind]

    def count(steps: Steps) -> None:
        for name in asked:
            setattr(Remote, name, steps.around(getattr(Remote, name)))

    with cloud_servers.serving(kind, etl.home, tmp_path / "authority.pem") as address:
        cloud_servers.write_remote(tmp_path / "remotes", "acme", section("acme", address))
        assert once_wherever_it_is_killed(etl, folder, monkeypatch, count) > 6
        report = etl.value("SELECT reportid FROM dba.treportmanager")
        variables = {name: os.environ[name] for name in ("ETL_REMOTES_DIR", "SSL_CERT_FILE")}
        assert send(etl, report, clock="2026-03-03T12:00:00", **variables).returncode == 0
        ((kept,), (again,)) = etl.query("SELECT files FROM dba.treportdelivery ORDER BY slot")
    assert [file["put"] for file in kept + again] == [True] * 4
    away = send(etl, report, clock="2026-03-04T12:00:00", **variables)
    assert away.returncode == 75, away.stderr
    for told in (away.stderr, reasons(etl, report)):
        assert cloud_servers.SECRET not in told
        assert cloud_servers.PASSWORD not in told
    assert etl.value("SELECT status FROM dba.treportdelivery ORDER BY slot DESC LIMIT 1") == "Waiting"
    (tmp_path / "remotes/acme.conf").chmod(0o644)
    open_ = send(etl, report, clock="2026-03-05T12:00:00", **variables)
    assert (open_.returncode, "can be read by others; type: chmod 600" in open_.stderr) == (1, True)


def test_two_at_once_put_one_file_a_slot(etl: Installation, outgoing: Path) -> None:
    report = folder_report(etl)
    with ThreadPoolExecutor(3) as pool:
        calls = [(report,), (report, "--again", "folder:acme/weekly"), ()]
        ends = list(pool.map(lambda words: send(etl, *words).returncode, calls))
    assert set(ends) <= {0, 1, 75}
    assert len(names(outgoing)) == 2


def half_put(etl: Installation, report: int, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Leave it as a job does that died between its two files, on a machine that is not this one."""
    monkeypatch.setenv("ETL_CLOCK", NOON)

    def count(steps: Steps) -> None:
        LocalOutgoing.put = steps.around(LocalOutgoing.put)

    assert dies_at(3, lambda: call(report), count)
    assert len(names(folder)) == 1
    (kept,) = directory_management.temp_dir().iterdir()
    for file in kept.iterdir():
        file.unlink()


def test_what_another_machine_did_not_finish_is_unknown(
    etl: Installation, outgoing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = folder_report(etl)
    half_put(etl, report, monkeypatch, outgoing)
    done = send(etl, report)
    assert done.returncode == 1
    assert "moments_20260302T120000.xlsx is neither there nor kept on this machine" in done.stderr
    assert states(etl, report) == {FOLDER: "Unknown"}
    assert len(names(outgoing)) == 1
    assert send(etl, report, "--again", FOLDER, clock="2026-03-02T12:30:00").returncode == 0
    assert len(names(outgoing)) == 3


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"hasattachment": False}, "deliver_to needs files: fill attachmentqueries"),
        ({"attachmentqueries": "[]"}, "deliver_to needs files: fill attachmentqueries"),
        ({"attachmentqueries": None}, "deliver_to needs files: fill attachmentqueries"),
        ({"deliver_to": "/srv/acme"}, "deliver_to must be the config_name of a row"),
        ({"deliver_to": "acme/../bern"}, "deliver_to must be the config_name of a row"),
        ({"deliver_to": "acme/"}, "deliver_to must be the config_name of a row"),
        ({"deliver_to": "ac\nme"}, "deliver_to must be the config_name of a row"),
        ({"deliver_to": ""}, "deliver_to must be the config_name of a row"),
    ],
)
def test_the_table_refuses_what_cannot_be_put(etl: Installation, columns: dict[str, object], words: str) -> None:
    with pytest.raises(Exception, match=words):
        folder_report(etl, **columns)


def test_a_folder_that_cannot_be_used_is_told_with_its_cure(etl: Installation, outgoing: Path, tmp_path: Path) -> None:
    (outgoing / "link").symlink_to(tmp_path)
    (outgoing / "closed").mkdir(mode=0o500)
    (outgoing / "full" / "moments_20260302T120000.csv").mkdir(parents=True)
    etl.query(
        "INSERT INTO dba.texchangeconfig (config_name, incoming_path, local_repository_path) VALUES ('deaf', '/srv/x', '/srv/y')"
    )
    report = folder_report(etl)
    for folder, words in {
        "nobody/x": "no active row with the config_name 'nobody'",
        "deaf": "the row 'deaf' of dba.texchangeconfig has no outgoing_path",
        "acme/link": "link cannot be opened: .*; check deliver_to",
        "acme/full": "acme/full has another file moments_20260302T120000.csv already",
        "acme/closed": "closed/moments_20260302T120000.csv cannot be written: Permission denied",
    }.items():
        change(etl, report, deliver_to=folder)
        done = send(etl, report)
        assert done.returncode == 1
        assert re.search(words, done.stderr), (folder, done.stderr)
        assert "Traceback" not in done.stderr
    assert names(outgoing) == []
    change(etl, report, deliver_to="deaf")
    (finding,) = doctor_reports()
    assert (finding.state, "the row 'deaf' of dba.texchangeconfig has no outgoing_path" in finding.told) == (
        "failed",
        True,
    )
    change(etl, report, deliver_to="acme/weekly")
    assert send(etl, report).returncode == 0
    assert len(names(outgoing)) == 2
    assert os.listdir(directory_management.temp_dir()) == []
    change(etl, report, deliver_to=None, hasattachment=False)
    etl.query(f"INSERT INTO dba.treportrecipient (reportid, deliver_to) VALUES ({report}, 'acme')")
    assert "but the report makes no file: fill attachmentqueries" in send(etl, report).stderr
    with pytest.raises(Exception, match="toheader or deliver_to must be set"):
        etl.query("UPDATE dba.treportrecipient SET deliver_to = NULL")
