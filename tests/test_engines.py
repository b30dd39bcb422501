"""The rows of the schedule for other engines: the same times, the same words for the door, nothing of others touched."""

import ast
import json
import os
import re
import shlex
import subprocess
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jinja2
import pytest
from conftest import PROJECT, Installation, clean_environment
from needs import need_programs

from systemscripts import settings
from systemscripts.cron.cron_file import REPORT_TABLE, TASK_TABLE, ScheduledJob
from systemscripts.cron.expression import next_fires
from systemscripts.cron.slots import LATEST_START, slot_at
from systemscripts.engines import airflow, folder, kubernetes, systemd, writing
from systemscripts.engines.calendar import calendar_lines
from systemscripts.engines.five_fields import five_fields, in_the_night
from systemscripts.engines.rows import MARK, PlannedJob
from systemscripts.engines.times import Nights, times_of
from systemscripts.errors import JobError
from systemscripts.runs.policy import RunPolicy

ZURICH = ZoneInfo("Europe/Zurich")
NOW = datetime(2026, 1, 15, tzinfo=UTC)
NIGHTS = Nights(ZURICH, NOW)
# Rows that meet the clock change, beside those of the collection.
AROUND_THE_CHANGE = [
    "30 2 * * *",
    "0 2 * * 0",
    "15,45 1,2,3 * * *",
    "5 2 28 3 0",
    "*/7 2 * * *",
    "30 2 26-31 * */7",
    "*/20 * * * *",
]
HOSTILE = "%n 100% $(id) \\"


def planned(
    frequency: str = "0 5 * * *", script: str = "run_maintenance.py", arguments: str = "", **policy: Any
) -> PlannedJob:
    job = ScheduledJob(TASK_TABLE, 7, HOSTILE, frequency, script, arguments)
    return PlannedJob(job, RunPolicy(**policy))


# ---- the times -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frequency", "lines"),
    [
        ("0 5,17 * * 1-5", ["Mon,Tue,Wed,Thu,Fri *-*-* 05,17:00:00"]),
        ("0 8 1 * mon", ["*-*-01 08:00:00", "Mon *-*-* 08:00:00"]),
        ("0 8 */2 * mon", ["Mon *-*-01,03,05,07,09,11,13,15,17,19,21,23,25,27,29,31 08:00:00"]),
        ("30 2 * * *", ["*-*-* 02:30:00", "Sun *-03-25..31 03:00:00"]),
        ("30 2 1-10 * *", ["*-*-01..10 02:30:00"]),
        ("*/20 * * * *", ["*-*-* *:00,20,40:00", "Sun *-10-25..31 01:00,20,40:00 UTC"]),
    ],
)
def test_an_expression_becomes_lines_of_a_timer(frequency: str, lines: list[str]):
    assert calendar_lines(frequency, NIGHTS) == lines


def test_a_zone_whose_changes_have_no_yearly_rule_gets_a_line_for_each_night():
    lines = calendar_lines("30 2 * * *", Nights(ZoneInfo("Africa/Casablanca"), datetime(2023, 6, 1, tzinfo=UTC)))

    assert lines[:4] == [
        "*-*-* 02:30:00",
        *(f"Sun {day} 03:00:00" for day in ("2023-04-23", "2024-04-14", "2025-04-06")),
    ]


@pytest.mark.parametrize(
    ("frequency", "told"), [("@reboot", "is no time"), ("0 0 30 2 *", "it never runs"), ("61 * * * *", "'61'")]
)
def test_what_has_no_time_is_refused(frequency: str, told: str):
    with pytest.raises(JobError, match=told):
        times_of(frequency)


@pytest.mark.parametrize(
    ("zone", "start"),
    [
        ("UTC", "2026-01-15T12:00"),
        *(("Europe/Zurich", start) for start in ("2026-03-28T23:10", "2026-10-24T23:10", "2026-10-25T01:30")),
        *(("America/New_York", start) for start in ("2026-03-07T23:10", "2026-10-31T23:10", "2026-11-01T01:30")),
    ],
)
def test_systemd_has_the_next_ten_runs_of_cron(corpus_dir: Path, zone: str, start: str):
    need_programs("systemd-analyze")
    collected = [entry["expr"] for entry in json.loads((corpus_dir / "cron" / "expressions.json").read_text())]
    after, nights = datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(zone)), Nights(ZoneInfo(zone), NOW)
    lines = dict(_with_lines(collected + AROUND_THE_CHANGE, nights))
    found = _elapses({line for several in lines.values() for line in several}, zone, after)

    assert len(lines) > 100
    for expression, several in lines.items():
        expected = [
            time.astimezone(UTC).strftime("%F %T") for time in next_fires(expression, after, 10, ZoneInfo(zone))
        ]
        assert sorted({time for line in several for time in found[line]})[:10] == expected, (expression, several)


def _with_lines(expressions: Iterable[str], nights: Nights) -> Iterable[tuple[str, list[str]]]:
    for expression in expressions:
        try:
            yield expression, calendar_lines(expression, nights)
        except JobError:
            continue


def _elapses(lines: set[str], zone: str, after: datetime) -> dict[str, list[str]]:
    """Return the next ten times of each line, in UTC, as systemd itself reckons them."""
    command = [
        "systemd-analyze",
        "calendar",
        "--iterations=10",
        f"--base-time=@{after.timestamp():.0f}",
        *sorted(lines),
    ]
    environment = {"TZ": zone, "LC_ALL": "C", "PATH": os.environ["PATH"]}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    found: defaultdict[str, list[str]] = defaultdict(list)
    blocks = result.stdout.strip().split("\n\n")
    for line, block in zip(sorted(lines), blocks, strict=True):
        found[line] = re.findall(r"(?:Next elapse|\(in UTC\)|Iter\. #\d+): \w+ (\S+ \S+) UTC", block)
    return found


# ---- the units -----------------------------------------------------------------------------


def test_a_row_becomes_a_timer_and_a_service(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PGHOST", "db.example")
    monkeypatch.setenv("ETL_HOME", "/srv/50% etl")
    files = systemd.units(
        [planned("30 6 * * 1-5", arguments="'a b' '100%' '$HOME' 'x\"y\\'")], NIGHTS, "etl_user"
    ).files
    service = files["etl-task-7.service"]

    assert sorted(files) == ["etl-schedule.target", "etl-task-7.service", "etl-task-7.timer"]
    assert files["etl-task-7.timer"] == (
        f"# {MARK}\n[Unit]\nDescription=When: %%n 100%% $(id) \\ (dba.tscheduler 7)\nPartOf=etl-schedule.target\n\n"
        "[Timer]\nOnCalendar=Mon,Tue,Wed,Thu,Fri *-*-* 06:30:00\nAccuracySec=1s\nPersistent=no\nUnit=etl-task-7.service\n"
    )
    door = settings.project_dir() / "jobscripts/run_python_etl_script.sh"
    assert (
        f'\nExecStart=/bin/bash "{door}" "--due" "--task" "7" "run_maintenance.py" "a b" "100%%" "$$HOME" "x\\"y\\\\"\n'
        in service
    )
    assert '"-/srv/50%% etl/logs"' in service
    assert {"Type=oneshot", "User=etl_user", "NoNewPrivileges=yes", "PrivateTmp=yes", "SuccessExitStatus=75"} <= {
        *service.split("\n")
    }
    assert "Wants=etl-task-7.timer\n" in files["etl-schedule.target"]


def test_a_job_that_asks_sudo_keeps_its_way_to_it():
    service = systemd.units([planned(script="receive_and_import.sh", arguments="Calendar")], NIGHTS, "u").files[
        "etl-task-7.service"
    ]

    assert "ProtectSystem=full" in service
    assert "NoNewPrivileges" not in service
    assert "Restrict" not in service


def test_the_own_database_is_started_by_a_service_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("ETL_HOME", str(tmp_path))
    for name in ("PGHOST", "PGDATABASE"):
        monkeypatch.delenv(name, raising=False)
    files = systemd.units([planned()], NIGHTS, "etl_user").files

    assert "After=etl-database.service\n" in files["etl-task-7.service"]
    assert 'onboarding/sh/embedded_postgres.sh" start\n' in files["etl-database.service"]


def test_a_report_and_a_row_that_cannot_be():
    report = PlannedJob(ScheduledJob(REPORT_TABLE, 2, "Changes", "0 7 * * *", "send_reports.py", "2"), RunPolicy())
    files, refused = systemd.units([planned("@reboot"), planned(script="gone.py"), report], NIGHTS, "etl_user")

    assert {"etl-report-2.service", "etl-report-2.timer"} < set(files)
    assert not any("task" in name for name in files)
    assert [sentence.split(": ")[1:3] for sentence in refused] == [
        [
            "systemd does not get it",
            "@reboot is no time, and only cron starts such a row; to pause it until that is corrected, type",
        ],
        [
            "systemd does not get it",
            "there is no script 'gone.py' in jobscripts/ or systemscripts/; to pause it until that is corrected, type",
        ],
    ]


def test_the_time_that_an_engine_gives_covers_all_waits_and_attempts():
    row = planned(timeout=600.0, retries=2, retry_delay=60.0, depends_on=1, jitter=30.0)

    assert row.longest_seconds == 30 + 2 * 600 + 3600 + 3 * 600 + 2 * 60
    assert planned(retries=2).longest_seconds is None


# ---- Kubernetes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frequency", "fields"),
    [
        ("@daily", "0 0 * * *"),
        ("*/20 8-10 * jan,feb 5-7", "0,20,40 8-10 * 1,2 0,5,6"),
        ("0 8 1 * mon", "0 8 1 * 1"),
        ("0 8 1-31 * mon", "0 8 * * *"),
        ("0 8 5-1 * mon#2", "0 8 * * 1"),
        ("0 8 */2 * *", "0 8 1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31 * *"),
    ],
)
def test_an_expression_becomes_five_fields_that_have_one_meaning(frequency: str, fields: str):
    assert five_fields(times_of(frequency)) == fields


def test_five_fields_cannot_ask_for_both_kinds_of_day():
    with pytest.raises(JobError, match="can only say that either is enough"):
        five_fields(times_of("0 8 */2 * mon"))


@pytest.mark.parametrize(
    ("frequency", "fields"),
    [
        ("30 2 * * *", ["0 3 25-31 3 *"]),
        ("0 2 * * 0", ["0 3 * 3 0"]),
        ("0 2 28 * *", ["0 3 28 3 *"]),
        ("0 2 28 * 0", ["0 3 28 3 *", "0 3 * 3 0"]),
        ("0 2 * * 1", []),
        ("0 5 * * *", []),
    ],
)
def test_a_start_after_the_skipped_hour_has_a_slot_before_it_on_each_day(frequency: str, fields: list[str]):
    times = times_of(frequency)
    fitting = [time for text in in_the_night(times, NIGHTS.skipped) for time in next_fires(text, NOW, 40, ZURICH)]

    assert in_the_night(times, NIGHTS.skipped) == fields
    for time in fitting:
        slot = slot_at(frequency, time, ZURICH)
        assert slot is not None
        assert time - slot.time <= LATEST_START


def test_a_start_that_might_have_no_slot_is_refused():
    with pytest.raises(JobError, match="which five fields cannot say"):
        in_the_night(times_of("0 2 * 3 0"), NIGHTS.skipped)


def test_a_row_becomes_a_cron_job_and_one_more_for_the_skipped_hour():
    rows = [planned("30 2 * * *", arguments="'$(HOME)' 'a b'", timeout=600.0, retries=1), planned("0 8 */2 * mon")]
    files, refused = kubernetes.manifests(rows, NIGHTS, ZURICH)
    usual, skipped = (json.loads(files[f"etl-task-7{end}.json"]) for end in ("", "-clock"))
    job = usual["spec"]["jobTemplate"]["spec"]
    container = job["template"]["spec"]["containers"][0]

    assert len(refused) == 1
    assert [manifest["spec"]["schedule"] for manifest in (usual, skipped)] == ["30 2 * * *", "0 3 25-31 3 *"]
    assert {name: usual["spec"][name] for name in ("timeZone", "concurrencyPolicy", "startingDeadlineSeconds")} == {
        "timeZone": "Europe/Zurich", "concurrencyPolicy": "Forbid", "startingDeadlineSeconds": 900,
    }  # fmt: skip
    assert (job["backoffLimit"], job["activeDeadlineSeconds"]) == (0, 600 + 3600 + 2 * 600)
    assert container["args"] == ["--task", "7", "run_maintenance.py", "$$(HOME)", "a b"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert "  - etl-task-7-clock.json\n  - etl-task-7.json\n" in files["kustomization.yaml"]
    assert "zoneinfo/Europe/Zurich /etc/localtime" in files["Containerfile"]
    assert all(MARK in text for text in files.values())


@pytest.mark.parametrize(
    ("name", "status", "expected"),
    [
        # 29,403,780 minutes after 1970.
        ("etl-task-7-29403780", 0, "--scheduled-at 2025-11-27T07:00:00+00:00 --task 7 x.py a b\n"),
        ("etl-task-7-by-hand", 75, "--task 7 x.py a b\n"),
        ("etl-task-77-29403780", 3, "--task 7 x.py a b\n"),
    ],
)
def test_the_image_finds_its_slot_in_the_name_of_the_job(tmp_path: Path, name: str, status: int, expected: str):
    ended = entered(tmp_path, f'printf "%s\n" "$*"; exit {status}', name)
    told, _ = ended.communicate(timeout=20)

    assert (told, ended.returncode) == (expected, 0 if status == 75 else status)


def test_the_image_passes_on_a_stop_and_waits_for_the_end(tmp_path: Path):
    ended = entered(
        tmp_path, "trap 'echo stopped; exit 143' TERM; echo begun; while :; do read -t 1 <> <(:); done", "by-hand"
    )
    assert ended.stdout
    assert ended.stdout.readline() == "begun\n"
    ended.terminate()

    assert ended.communicate(timeout=20)[0] == "stopped\n"
    assert ended.returncode == 143


def entered(checkout: Path, door: str, name: str) -> subprocess.Popen[str]:
    """Start the image's entry point in a checkout whose door is this script."""
    for folder_name in ("onboarding/engines", "jobscripts"):
        (checkout / folder_name).mkdir(parents=True)
    script = checkout / "onboarding/engines/entrypoint.sh"
    script.write_bytes((PROJECT / "onboarding/engines/entrypoint.sh").read_bytes())
    (checkout / "jobscripts/run_python_etl_script.sh").write_text(door)
    environment = clean_environment(ETL_CRONJOB="etl-task-7", ETL_JOB_NAME=name)
    command = ["/bin/bash", str(script), "--task", "7", "x.py", "a b"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


# ---- Airflow -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frequency", "dags"),
    [
        ("0 5,17 * * 1-5", {"etl-task-7": ["0 5,17 * * 1-5"]}),
        ("30 2 * * *", {"etl-task-7": ["30 2 * * *", "0 3 25-31 3 *"]}),
        ("*/30 * * * 1", {"etl-task-7": ["0,30 0-11 * * 1", "0,30 12-23 * * 1"]}),
        (
            "*/30 * * * *",
            {"etl-task-7": ["0,30 0-11 * * *", "0,30 12-23 * * *"], "etl-task-7-clock": ["0,30 0 25-31 10 *"]},
        ),
    ],
)
def test_a_row_becomes_a_dag_and_one_more_for_the_first_of_two_equal_hours(frequency: str, dags: dict[str, list[str]]):
    files, refused = airflow.dags(
        [planned(frequency, arguments="'{{ ds }}'", depends_on=3, timeout=60.0)], NIGHTS, ZURICH
    )
    made = json.loads(files["etl_schedule.json"])["dags"]

    assert refused == []
    assert {dag["dag_id"]: dag["crons"] for dag in made} == dags
    assert [dag["zone"] for dag in made] == ["Europe/Zurich", "UTC"][: len(dags)]
    assert made[0]["arguments"] == ["--task", "7", "run_maintenance.py", "{{ ds }}"]
    assert (made[0]["depends_on"], made[0]["longest_seconds"]) == ("etl-task-3", 2 * 60 + 3600 + 60)


@pytest.mark.parametrize(("frequency", "told"), [("*/7 2 * * *", "without a slot"), ("15,45 2 * * *", "shows twice")])
def test_what_airflow_would_start_wrongly_in_the_night_is_refused(frequency: str, told: str):
    files, refused = airflow.dags([planned(frequency)], NIGHTS, ZURICH)

    assert json.loads(files["etl_schedule.json"])["dags"] == []
    assert len(refused) == 1
    assert told in refused[0]


def test_the_file_of_dags_compiles_and_lets_no_text_of_a_row_become_a_template():
    program = airflow.dags([], NIGHTS, ZURICH).files["etl_schedule.py"]
    tree = ast.parse(program)
    function = next(part for part in tree.body if isinstance(part, ast.FunctionDef) and part.name == "literal")
    names: dict[str, Any] = {"shlex": shlex}
    exec(compile(ast.Module([function], []), "literal", "exec"), names)
    words = ["{{ ds }}", "{% raw %}", "{# it's", "a b.sh"]

    assert shlex.split(jinja2.Template(names["literal"](words)).render()) == words
    assert MARK in program.split("\n")[0]


# ---- the directory -------------------------------------------------------------------------


def test_only_what_changed_is_written_and_only_ours_is_removed(tmp_path: Path):
    ours = re.compile("etl-.*")
    (tmp_path / "etl-own.timer").write_text("by hand")
    assert folder.put(tmp_path, {"etl-1": f"{MARK} 1", "etl-2": f"{MARK} 2"}, ours, MARK).written == ["etl-1", "etl-2"]
    before = (tmp_path / "etl-1").stat()

    changes = folder.put(tmp_path, {"etl-1": f"{MARK} 1"}, ours, MARK)

    assert changes == ([], ["etl-2"], ["etl-1"])
    assert (tmp_path / "etl-1").stat() == before
    assert before.st_mode & 0o777 == 0o644
    assert (tmp_path / "etl-own.timer").read_text() == "by hand"


@pytest.mark.parametrize("is_link", [False, True])
def test_a_file_of_somebody_else_is_not_replaced(tmp_path: Path, is_link: bool):
    if is_link:
        (tmp_path / "mine").write_text(MARK)
        (tmp_path / "etl-1").symlink_to("mine")
    else:
        (tmp_path / "etl-1").write_text("by hand")
    with pytest.raises(JobError, match=r"etl-1 was not written by update_cron_jobs\.py.*nothing was changed"):
        folder.put(tmp_path, {"etl-0": MARK, "etl-1": MARK}, re.compile("etl-.*"), MARK)

    assert not (tmp_path / "etl-0").exists()


def test_the_rows_of_the_database_become_units_that_systemd_takes(etl: Installation, tmp_path: Path):
    output = tmp_path / "units"
    output.mkdir()
    etl.query(
        "INSERT INTO dba.tscheduler (taskname, frequency, scriptpath, scriptargs) VALUES (%s, '@reboot', 'doctor.py', NULL)",
        HOSTILE,
    )
    etl.query(
        "INSERT INTO dba.tscheduler (taskname, frequency, scriptpath, scriptargs) VALUES (%s, '7 2 1 * mon', 'doctor.py', %s)",
        HOSTILE,
        "'$A' '%n' '\\'",
    )

    result = etl.door("update_cron_jobs.py", "--target", "systemd", "--output", str(output), ETL_CRON_USER="root")

    assert result.returncode == 1
    assert result.stderr.count("systemd does not get it: @reboot is no time") == 1
    assert "sudo systemctl daemon-reload && sudo systemctl enable etl-schedule.target" in result.stderr
    active = etl.value("SELECT count(*) FROM dba.tscheduler WHERE datastatusid = 1") - 1
    assert len(list(output.glob("etl-task-*.timer"))) == active
    need_programs("systemd-analyze")
    command = ["systemd-analyze", "verify", "--man=no", *sorted(map(str, output.iterdir()))]
    verified = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")


def test_cron_is_a_target_too(etl: Installation, tmp_path: Path):
    assert (
        etl.door(
            "update_cron_jobs.py", "--target", "cron", "--output", str(tmp_path / "out"), ETL_CRON_USER="root"
        ).returncode
        == 0
    )
    assert (tmp_path / "out/etl_jobs").read_text().count("--due --task") > 3


@pytest.mark.parametrize(
    "words", [("--target", "cron"), ("--output", "x"), ("--target", "cron", "--output", "x", "--diff")]
)
def test_a_target_needs_its_directory_and_nothing_else(etl: Installation, words: tuple[str, ...]):
    assert etl.door("update_cron_jobs.py", *words).returncode == 64
    assert set(writing.TARGETS) == {"cron", "systemd", "kubernetes", "airflow"}
