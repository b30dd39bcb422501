"""The command that a person types: its verbs are the jobs, and it can be completed."""

import argparse
import functools
import getpass
import json
import os
import re
import runpy
import shutil
import subprocess
import tempfile
from datetime import datetime
from pathlib import Path

import pytest
from conftest import PROJECT, Installation
from test_generic_import import add_import, drop_file

from systemscripts import job_catalog, settings
from systemscripts.importing import config

ETL = PROJECT / "jobscripts/etl"
VERBS = re.search(r"^readonly VERBS=\((.*)\)$", ETL.read_text(), re.MULTILINE)[1].split()  # type: ignore[index]


def typed(etl: Installation, command: Path, *words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["/bin/bash", str(command), *words],
        env=etl.environment(**variables), cwd="/", capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@functools.cache
def told_at_the_door() -> Path:
    """Return the command in a tree whose door prints what it is called with: the warm one then takes it."""
    tree = Path(tempfile.mkdtemp(prefix="etl_tree_", dir=os.environ["ETL_TEST_ROOT"]))
    (tree / "jobscripts").mkdir()
    for script in ETL.parent.iterdir():
        (tree / "jobscripts" / script.name).symlink_to(script)
    (tree / "onboarding").symlink_to(PROJECT / "onboarding")
    for copied in (ETL, PROJECT / "env.sh"):
        (tree / copied.relative_to(PROJECT)).unlink(missing_ok=True)
        shutil.copy(copied, tree / copied.relative_to(PROJECT))
    door = tree / "jobscripts/run_python_etl_script.sh"
    door.unlink()
    door.write_text(f"printf '%s\\0' '{DOOR}' \"$@\"\n")
    return tree / "jobscripts/etl"


DOOR = "to the door"


def etl_says(etl: Installation, *words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Type the command, and let what it starts come in by the door of the tests."""
    said = typed(etl, told_at_the_door(), *words, **variables)
    if not said.stdout.startswith(f"{DOOR}\0"):
        return said
    return etl.door(*said.stdout.split("\0")[1:-1], **variables)


def completed(etl: Installation, line: str, word: str) -> list[str]:
    """Return what bash would offer for the word at the end of the line (complete -C)."""
    variables = {"COMP_LINE": line, "COMP_POINT": str(len(line))}
    return typed(etl, ETL, "etl", word, "", **variables).stdout.splitlines()


def test_the_state_is_nine_lines_of_a_terminal_and_the_verbs(etl: Installation) -> None:
    add_import(etl)
    drop_file(etl, "a\n1\n")
    typed(etl, ETL, "import", "clients", "--file", "nothing.csv")

    said = typed(etl, ETL)

    assert said.returncode == 0, said.stderr
    state, verbs = said.stdout.split("\n\n")
    assert len(state.splitlines()) == 9
    assert max(map(len, said.stdout.splitlines())) <= 80
    lines = {line[:10].strip(): line[11:] for line in state.splitlines()[1:]}
    assert "run_import_job.py clients" in lines["failed"]
    assert lines["files wait"] == "clients: 1"
    assert [verb for verb in VERBS if verb not in verbs] == []


def test_the_state_asks_for_the_active_imports_once(etl: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(config, "active_configs", lambda connection: asked.append(connection) or [])
    state = runpy.run_path(str(PROJECT / "jobscripts/show_state.py"))
    assert state["main"](argparse.Namespace(json=True)) == 0
    assert len(asked) == 1


def test_without_a_refused_file_there_is_no_word_of_none_imported(etl: Installation) -> None:
    add_import(etl)
    drop_file(etl, "a\n1\n")
    etl_says(etl, "import", "clients")
    assert etl_says(etl, "imports", "--failed").stdout == "no file was refused\n"


def test_the_state_names_a_file_that_no_import_takes_and_says_that_cron_starts_nothing(etl: Installation) -> None:
    add_import(etl)
    drop_file(etl, "a\n1\n", "Clients 20260302.csv")
    state = json.loads(etl_says(etl, "--json").stdout)
    assert [Path(path).name for path in state["unwanted"]] == ["Clients 20260302.csv"]
    assert state["waiting"] == {}
    assert "1 fits no import (etl imports --waiting)\n" in etl_says(etl).stdout
    assert state["cron"].endswith("is missing; type: etl cron write")
    said = etl_says(etl, "import", "clients").stderr
    assert "'Clients 20260302.csv' is not taken: its name does not fit file_pattern clients_*.csv" in said


def test_without_a_cron_file_something_else_may_start_the_jobs(etl: Installation) -> None:
    etl.query("UPDATE dba.tscheduler SET datastatusid = 2")
    etl.query(
        "INSERT INTO dba.tscheduler (taskname, frequency, scriptpath) VALUES ('Hourly', '0 * * * *', 'show_log.py')"
    )
    variables = {"ETL_CLOCK": "2026-03-02T09:20:00", "ETL_CRON_USER": getpass.getuser()}
    assert json.loads(etl_says(etl, "--json", **variables).stdout)["cron"].endswith("type: etl cron write")
    began = datetime(2026, 3, 2, 9).astimezone()
    etl.query(
        "INSERT INTO dba.tjobrun (run_uuid, job, schedulerid, scheduled_at, host, status, ended_at)"
        " SELECT gen_random_uuid(), 'show_log.py', max(schedulerid), %s, 'box-2', 'Succeeded', now() FROM dba.tscheduler",
        began,
    )
    assert json.loads(etl_says(etl, "--json", **variables).stdout)["cron"] is None
    assert "starts nothing" not in etl_says(etl, "check", **variables).stderr
    told = etl_says(etl, "doctor", **variables).stdout
    assert "something else starts the jobs: the slot of Mon 09:00 was begun on box-2" in told, told
    variables["ETL_CLOCK"] = "2026-03-02T10:20:00"
    assert "starts nothing" in etl_says(etl, "check", **variables).stderr


def test_the_state_does_not_name_what_runs_every_few_minutes(etl: Installation) -> None:
    (etl.home / "cron").write_text("")
    etl.query("UPDATE dba.tscheduler SET frequency = '*/15 * * * *' WHERE schedulerid = 1")
    state = json.loads(etl_says(etl, "--json", ETL_CRON_FILE=str(etl.home / "cron")).stdout)
    names = {name for (name,) in etl.query("SELECT taskname FROM dba.tscheduler WHERE schedulerid = 1")}
    assert state["cron"] is None
    assert state["often"] >= 1
    assert not names & {row["name"] for row in state["next"]}


def test_a_refused_file_is_told_with_its_value_its_place_and_the_next_step(etl: Installation) -> None:
    add_import(etl)
    drop_file(etl, "a,b\n1,2\n3\n")
    said = etl_says(etl, "import", "clients").stderr
    assert "line 3: it has 1 field, and the header row has 2: '3'" in said
    failed = etl.home / "file_watcher/failed/clients"
    assert f"refused files are in {failed}, each with its reason" in said
    assert re.search(r"then type: .*(etl retry|retry_files\.py) clients_20260302\.csv$", said, re.MULTILINE)


def test_the_state_can_be_read_by_a_program(etl: Installation) -> None:
    state = json.loads(etl_says(etl, "run", "show_state.py", "--json").stdout)
    assert {"runs", "next", "waiting", "counts"} <= state.keys()
    assert state["next"][0]["name"]


def test_the_columns_of_a_configuration_fit_a_terminal_and_all_say_what_they_mean(etl: Installation) -> None:
    for kind in ("imports", "reports", "jobs", "inbox", "feeds"):
        said = etl_says(etl, "describe", kind)
        assert said.returncode == 0, said.stderr
        assert max(map(len, said.stdout.splitlines())) <= 80


def test_the_log_of_a_row_is_that_of_its_last_run(etl: Installation) -> None:
    etl.query("UPDATE dba.tscheduler SET scriptpath = 'show_imports.py', scriptargs = NULL WHERE schedulerid = 8")
    assert etl_says(etl, "run", "schedule check").returncode == 0
    said = etl_says(etl, "log", "Schedule Check")
    assert said.stdout.splitlines()[0] == "show_imports.py"
    assert "Succeeded" in said.stdout.splitlines()[1]
    assert re.search(r"^\d\d:\d\d:\d\d  started: show_imports\.py$", said.stdout, re.MULTILINE)
    assert etl_says(etl, "log", "run_import_job.py").returncode == 64
    etl_says(etl, "import", "MeetMaxURLCheckImport")
    said = etl_says(etl, "log", "MeetMaxURLCheckImport")
    assert said.stdout.splitlines()[0] == "run_import_job.py MeetMaxURLCheckImport"


def test_a_name_of_a_row_and_of_an_import_means_the_runs_of_both(etl: Installation) -> None:
    add_import(etl)
    etl.query(
        "UPDATE dba.tscheduler SET taskname = 'Clients', scriptpath = 'show_imports.py', scriptargs = NULL WHERE schedulerid = 8"
    )
    number = etl.value("SELECT config_id FROM dba.timportconfig WHERE config_name = 'clients'")
    etl_says(etl, "import", "clients")
    assert etl_says(etl, "log", "clients").stdout.split("\n")[3] == "run_import_job.py clients"
    etl_says(etl, "run", "clients")

    said = etl_says(etl, "log", "clients").stdout.splitlines()

    assert said[0] == f"'clients' is row 8 of the schedule and import {number}; the runs of both count."
    assert said[1].endswith("etl log 8")
    assert said[3] == "show_imports.py"
    assert etl_says(etl, "log", "clients", "--run", "2").stdout.split("\n")[3] == "run_import_job.py clients"
    assert etl_says(etl, "log", "8").stdout.split("\n")[0] == "show_imports.py"
    runs = json.loads(etl_says(etl, "runs", "clients", "--json").stdout)
    assert [run["job"] for run in runs] == ["show_imports.py", "run_import_job.py"]
    runs = json.loads(etl_says(etl, "runs", "run_import_job.py", "--json").stdout)
    assert [run["arguments"] for run in runs] == [["clients"]]


def test_the_next_runs_of_one_row(etl: Installation) -> None:
    said = etl_says(etl, "next", "2", "schedule check")
    assert len([line for line in said.stdout.splitlines() if "Schedule Check" in line]) == 2
    assert len(said.stdout.splitlines()) == 3
    assert "there are: 1 " in etl_says(etl, "next", "nothing").stderr


def test_an_import_and_a_report_are_called_by_their_names(etl: Installation, tmp_path: Path) -> None:
    add_import(etl)
    drop_file(etl, "a\n1\n")
    assert etl_says(etl, "import", "clients").returncode == 0
    assert etl.value("SELECT count(*) FROM public.tclients") == 1
    page = tmp_path / "page.html"
    assert etl_says(etl, "report", "imports of the day", "--preview", str(page)).returncode == 0
    assert "clients" in page.read_text()


WRONG_CALLS = [
    (["imprt"], "there is no verb 'imprt'; there are: jobs next"),
    (["logs", "clients"], "there is no verb 'logs'; did you mean etl log? There are: jobs next"),
    (
        ["show_log.py"],
        "to run a script, type: etl run show_log.py; to see its last run: etl log show_log.py. There",
    ),
    (["run"], "the name is missing"),
    (["cron", "edit"], "it must be diff, write, list or adopt"),
    (["run", "show_import.py"], "did you mean show_imports.py?"),
    (["import", "nothing"], "there are: "),
    (["import"], "name an import; there are: "),
    (["report", "nothing"], "it has 1 ("),
    (["report"], "report which?"),
    (["imports", "nothing"], "there are: "),
    (["log", "nothing"], "there are: 1 "),
    (["runs", "nothing"], "there are: 1 "),
]


def test_a_wrong_call_says_what_there_is(etl: Installation) -> None:
    for words, told in WRONG_CALLS:
        said = etl_says(etl, *words)
        assert (said.returncode, told in said.stderr) == (64, True), f"{words}: {said.stderr}"


def test_every_verb_has_its_help(etl: Installation) -> None:
    without = []
    asked: dict[str, str] = {}
    for verb in VERBS[: VERBS.index("help")]:
        said = typed(etl, told_at_the_door(), "help", verb).stdout
        if said.startswith(f"{DOOR}\0") and said not in asked:
            asked[said] = etl.door(*said.split("\0")[1:-1]).stdout
        without += [verb] if "usage" not in asked.get(said, said).lower() else []
    assert without == []


def test_it_completes_verbs_names_and_options(etl: Installation) -> None:
    assert completed(etl, "etl ", "") == VERBS
    assert completed(etl, "etl pau", "pau") == ["pause"]
    assert completed(etl, "etl pause MeetMax\\ U", "MeetMax\\ U") == ["MeetMax\\ URL\\ Check"]
    assert "MeetMaxURLCheckImport" in completed(etl, "etl import ", "")
    assert completed(etl, "etl import clients --d", "--d") == ["--dry-run"]
    assert completed(etl, "etl describe r", "r") == ["reports"]
    assert completed(etl, "etl cron a", "a") == ["adopt"]
    assert completed(etl, "etl report MeetMax", "MeetMax") == ["MeetMax\\ event\\ changes"]


def test_messages_name_the_short_command_where_it_can_be_typed(etl: Installation) -> None:
    door = str(PROJECT / "jobscripts/run_python_etl_script.sh")
    call = ["/bin/bash", door, "meetmax_url_download.py"]
    long = subprocess.run(call, env=etl.environment(), capture_output=True, text=True, check=False).stderr
    assert f"bash {door} meetmax_url_check.py" in long
    path = f"{os.environ['PATH']}:{PROJECT / 'jobscripts'}"
    short = subprocess.run(call, env=etl.environment(PATH=path), capture_output=True, text=True, check=False).stderr
    assert "type: etl run meetmax_url_check.py, and then: etl import MeetMaxURLCheckImport" in short


def test_a_row_is_run_by_its_number_alone_where_the_short_command_can_be_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert job_catalog.typed("jobs.py", "run", "15").endswith("/run_python_etl_script.sh jobs.py run 15")
    monkeypatch.setattr(settings, "has_short_command", lambda _places: True)
    assert job_catalog.typed("jobs.py", "run", "15") == "etl run 15"
