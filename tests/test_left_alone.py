"""A person who looks for a file is told where it is, why nothing takes it, and what to type."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import Installation
from needs import not_as_root
from test_generic_import import add_import, drop_file, run

from systemscripts import db_config, directory_management
from systemscripts.importing.config import active_configs
from systemscripts.importing.files import TAKEN
from systemscripts.importing.left_alone import left_alone
from systemscripts.user_utils import current_user

NAME = "clients_20260302.csv"


@pytest.fixture
def incoming(etl: Installation) -> Path:
    """A directory of one import only."""
    directory = etl.home / "incoming"
    directory.mkdir()
    add_import(etl, source_directory=str(directory))
    return directory


def waiting(etl: Installation) -> list[dict[str, str]]:
    shown = etl.door("show_imports.py", "--waiting", "--json")
    assert shown.returncode == 0, shown.stderr
    return list(json.loads(shown.stdout))


def test_the_feed_that_is_furthest_behind_is_the_first_of_the_newest(etl: Installation) -> None:
    etl.query("UPDATE dba.timportconfig SET is_active = B'0'")
    etl.query("INSERT INTO dba.tdatasettype (typename, description) VALUES ('Prices', 'x'), ('Stock', 'x')")
    add_import(etl)
    add_import(etl, "prices", datasettype="Prices")
    add_import(etl, "stock", datasettype="Stock")
    today = f"{etl.value('SELECT current_date'):%Y%m%d}"
    drop_file(etl, "a\n1\n", f"clients_{today}.csv")
    drop_file(etl, "a\n1\n", "prices_20260302.csv")
    assert (run("clients").counts(), run("prices").counts()) == ({"Loaded": 1}, {"Loaded": 1})
    days = etl.value(
        "SELECT count(*) FROM dba.tcalendardays WHERE isbusday AND fulldate > '2026-03-02' AND fulldate <= current_date"
    )
    stock, prices, clients = etl.door("show_imports.py", "--newest").stdout.splitlines()
    assert stock == "stock: nothing is loaded; no file came yet"
    assert prices.startswith(f"prices: newest 2026-03-02, {days} business days behind; last file ")
    assert clients.startswith("clients: newest ")
    assert ", up to date; last file " in clients
    assert [row["config_name"] for row in json.loads(etl.door("show_imports.py", "--newest", "--json").stdout)] == [
        "stock",
        "prices",
        "clients",
    ]


@pytest.mark.parametrize("more", [["clients"], ["--failed"], ["--last", "3"], ["--newest"]])
def test_what_waits_is_shown_whole_or_the_call_is_refused(etl: Installation, more: list[str]) -> None:
    done = etl.door("show_imports.py", "--waiting", *more)
    assert done.returncode == 64
    assert "--waiting shows all imports, and nothing else" in done.stderr


def test_where_no_file_waits_each_thing_that_lies_there_is_named_with_its_reason(
    etl: Installation, incoming: Path
) -> None:
    for name in ("Clients 1.csv", "clients_1.csv.part", ".clients_2.csv"):
        (incoming / name).write_text("a\n1\n")
    (incoming / "clients_3.csv").symlink_to("/etc/hostname")
    os.mkfifo(incoming / "clients_4.csv")
    (incoming / "folder").mkdir()
    (incoming / ".gitkeep").touch()
    said = etl.door("run_import_job.py", "clients").stderr
    assert "'Clients 1.csv' is not taken: its name does not fit file_pattern clients_*.csv" in said
    assert "'clients_1.csv.part' is not taken: its name is that of a file that is not finished" in said
    assert "'.clients_2.csv' is not taken: its name is that" in said
    assert "'clients_3.csv' is not taken: it is a link" in said
    assert "'clients_4.csv' is not taken: it is a pipe" in said
    assert "folder" not in said
    assert ".gitkeep" not in said


def test_a_file_that_is_open_or_fresh_is_named_with_which_of_both(
    etl: Installation, incoming: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (incoming / "clients_1.csv").open("w") as stream:
        stream.write("a\n")
        stream.flush()
        (incoming / "clients_2.csv").write_text("a\n1\n")
        done = etl.door("run_import_job.py", "clients", ETL_SETTLE_SECONDS="0.5")
        assert "clients_1.csv is still being written: somebody has it open for writing" in done.stderr
        with db_config.session() as connection:
            configs = active_configs(connection)
        monkeypatch.setenv("ETL_SETTLE_SECONDS", "100")
        (incoming / "clients_3.csv").write_text("a\n1\n")
        found = {entry.name: entry.reason for entry in left_alone(incoming, configs)}
    assert found["clients_1.csv"] == "somebody has it open for writing"
    assert "s ago, and must rest for 100 s" in found["clients_3.csv"]


def test_a_file_that_nobody_else_may_read_is_named_with_whose_it_is(etl: Installation, incoming: Path) -> None:
    if os.geteuid() == 0:
        not_as_root("root may read everything")
    (incoming / NAME).write_text("a\n1\n")
    (incoming / NAME).chmod(0o200)
    whose = f"it belongs to {current_user()}, with mode 200"
    done = etl.door("run_import_job.py", "clients")
    assert done.returncode == 1
    assert f"it cannot be read: Permission denied; {whose}, and stays where it is" in done.stderr
    (thing,) = waiting(etl)
    assert (thing["where"], thing["what"]) == (str(incoming), NAME)
    assert (
        f"the jobs' user may not read it: {whose}; let its owner type: chmod g+r {incoming / NAME}" in thing["reason"]
    )
    (incoming / NAME).chmod(0o600)
    assert waiting(etl) == []


@pytest.mark.parametrize(
    ("owner", "group", "mode", "may_read"),
    [(1, 7, 0o440, False), (1, 7, 0o444, True), (1, 5, 0o440, True), (1, 5, 0o404, False), (3, 7, 0o400, True), (3, 5, 0o044, False)],
)  # fmt: skip
def test_for_another_user_of_the_jobs_the_mode_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: int, group: int, mode: int, may_read: bool
) -> None:
    monkeypatch.setattr(directory_management, "other_user_of_the_jobs", lambda: "jobs")
    monkeypatch.setattr(directory_management.pwd, "getpwnam", lambda _: SimpleNamespace(pw_uid=3, pw_gid=4))
    monkeypatch.setattr(directory_management.os, "getgrouplist", lambda *_: [4, 5])
    path = tmp_path / NAME
    path.touch()
    status = SimpleNamespace(st_uid=owner, st_gid=group, st_mode=mode)
    assert directory_management.jobs_may_read(path, status) is may_read


def test_what_another_import_takes_is_not_named(etl: Installation, incoming: Path) -> None:
    add_import(etl, "prices", source_directory=str(incoming))
    (incoming / "prices_20260302.csv").write_text("a\n1\n")
    assert "prices_20260302.csv" not in etl.door("run_import_job.py", "clients").stderr


def test_what_waits_for_a_person_is_listed_with_what_to_type(etl: Installation, incoming: Path) -> None:
    assert waiting(etl) == []
    assert etl.door("show_imports.py", "--waiting").stdout == "nothing waits for a person\n"
    (incoming / NAME).write_text("")
    run()
    (incoming / "Clients 1.csv").write_text("a\n1\n")
    (incoming / "upload.part").write_text("a")
    (incoming / TAKEN / "clients_9.csv").write_text("a\n1\n")
    etl.query("INSERT INTO dba.tinboxconfig (config_name, gmail_account, local_repository_path)"
              " VALUES ('Mail', 'a@example.com', '/srv/in')")  # fmt: skip
    etl.query("INSERT INTO dba.tinboxmessage (account, mailbox_id, config_id, status, reason, sender, subject, mailbox_label)"
              " SELECT 'a@example.com', '1', config_id, 'Failed', 'it has no file', 'b@example.com', 'List', 'Error'"
              " FROM dba.tinboxconfig WHERE config_name = 'Mail'")  # fmt: skip

    refused, stray, taken, mail = waiting(etl)
    assert refused["kind"] == "refused"
    assert refused["reason"] == "it has no header row: the file is empty"
    assert refused["command"].endswith(f"retry_files.py {NAME}")
    assert (stray["what"], stray["kind"]) == ("Clients 1.csv", "no import")
    assert taken["what"] == str(incoming / TAKEN / "clients_9.csv")
    assert taken["command"].endswith("run_import_job.py clients")
    assert (mail["where"], mail["reason"]) == ("label Error", "it has no file")

    lines = etl.door("show_imports.py", "--waiting").stdout.splitlines()
    assert sum(line.startswith("          ") for line in lines) == 6

    (incoming / "Clients 1.csv").unlink()
    drop_file(etl, "a\n1\n", f"failed/clients/{NAME}")
    assert etl.door("retry_files.py", NAME).returncode == 0
    run()
    assert [thing["kind"] for thing in waiting(etl)] == ["refused", "mail"]
