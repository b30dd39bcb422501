"""Rules of the house that a test can keep."""

import ast
import graphlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest
from conftest import PROJECT
from needs import need_programs

# What belongs to an installation, not to the tree; so does what is hidden, but for .ci.
DATA = {"venv", "logs", "archive", "file_watcher", "pgdata", "backups", "demo", "node_modules", "__pycache__"}


def tracked() -> list[str]:
    """Return the files of the tree as git knows them, or without git all that are not data."""
    if shutil.which("git") and (PROJECT / ".git").exists():
        command = ["git", "-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard"]
        return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.splitlines()
    files = (path.relative_to(PROJECT) for path in PROJECT.rglob("*") if path.is_file())
    return [str(file) for file in files if not any(map(is_data, file.parents))]


def is_data(folder: Path) -> bool:
    is_hidden = folder.name.startswith(".") and folder.name != ".ci"
    return is_hidden or (folder.name in DATA and folder != Path("onboarding/demo"))


TRACKED = tracked()
PYTHON = [PROJECT / name for name in TRACKED if name.endswith(".py")]
SHELL = [PROJECT / name for name in TRACKED if name.endswith(".sh") or name in (".ci/run", "jobscripts/etl")]
OURS = [path for path in PYTHON if path.relative_to(PROJECT).parts[0] in ("jobscripts", "systemscripts")]
JOBS = sorted((PROJECT / "jobscripts").glob("*.py"))


# What is imported where it is used, and not at the top: a job that does not use it would start later for it, by 2 to
# 150 milliseconds each. benchmarks/starting.py measures it.
HEAVY = set(
    """
    PIL bs4 charset_normalizer clevercsv cronsim cryptography defusedxml google google_auth_httplib2 google_auth_oauthlib googleapiclient
    httplib2 imapclient msal msoffcrypto numpy pandas protego psycopg2 pyzipper regex requests tqdm urllib3 yaml
    ast bz2 ctypes difflib gzip hashlib http importlib ipaddress json lzma random runpy shutil socket ssl subprocess tempfile
    traceback urllib zlib
    """.split()
)
# Modules of ours that load one of them for all that they do.
HEAVY_OWN = re.compile(
    r"systemscripts\.(cloud\.(rclone|remote)|cron\.slots|db_config|driver|exchange\.((cloud|remote)_\w+|trial)|file_kinds\.workbooks|importing\.(archives|json_records|xml_records|fixed_width)|inbox\.(gmail|graph|imap)|log_sinks\.spool|mail\.smtp|"
    r"reporting\.(charts|parquet_file|sparklines|xlsx_file)|runs\.supervisor|spreadsheets\.\w+|web\.(answers|api|deadline)|xls_to_csv)"
)


def is_sourced(script: Path) -> bool:
    """Tell a file of shell functions from a script."""
    return script.read_text().startswith("# shellcheck shell=bash\n")


def imports(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("job", JOBS, ids=lambda path: path.name)
def test_a_job_is_short_enters_by_the_frame_and_imports_no_job(job: Path) -> None:
    text = job.read_text()
    assert len(text.splitlines()) <= 200
    assert 'if __name__ == "__main__":\n    run_job(main, doc=__doc__' in text
    assert "sys.path" not in text
    other_jobs = {path.stem for path in JOBS}
    assert not {name.split(".")[0] for name in imports(job)} & (other_jobs | {"jobscripts"})


@pytest.mark.parametrize("job", JOBS, ids=lambda path: path.name)
def test_a_job_says_what_it_reads_and_writes_and_who_runs_it(job: Path) -> None:
    doc = ast.get_docstring(ast.parse(job.read_text())) or ""
    for heading in ("Reads ", "Writes ", "Run by "):
        assert heading in doc


@pytest.mark.parametrize("file", OURS, ids=lambda path: path.name)
def test_only_what_is_heavy_is_imported_within_a_function(file: Path) -> None:
    tree = ast.parse(file.read_text())
    # A value that is made when it is asked for (PEP 562) imports what it needs then.
    functions = [part for part in ast.walk(tree) if isinstance(part, ast.FunctionDef) and part.name != "__getattr__"]
    within = [node for part in functions for node in ast.walk(part)]
    late = {alias.name for node in within if isinstance(node, ast.Import) for alias in node.names}
    for node in within:
        if isinstance(node, ast.ImportFrom) and node.module:
            is_package = (PROJECT / node.module.replace(".", "/")).is_dir()
            late |= {f"{node.module}.{alias.name}" for alias in node.names} if is_package else {node.module}
    assert [name for name in late if name.partition(".")[0] not in HEAVY and not HEAVY_OWN.match(name)] == []


def test_the_examples_in_docstrings_are_true() -> None:
    with_examples = [path for path in OURS if ">>> " in path.read_text()]
    modules = [".".join(path.relative_to(PROJECT).with_suffix("").parts) for path in with_examples]
    # A process of its own, because what other tests leave behind, such as a known secret, changes what is shown.
    program = (
        "import doctest, importlib, sys\n"
        "results = [doctest.testmod(importlib.import_module(name)) for name in sys.argv[1:]]\n"
        "sys.exit(any(result.failed or not result.attempted for result in results))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, *modules], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert len(modules) > 10


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = grimp.build_graph("systemscripts")
    below = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    graphlib.TopologicalSorter(below).prepare()  # raises CycleError, which names the circle


def test_only_settings_reads_the_environment() -> None:
    readers = {
        file.name
        for file in (PROJECT / "systemscripts").rglob("*.py")
        if re.search(r"os\.(environ|getenv)|from os import environ", file.read_text())
    }
    # The second is no part of the package where it runs: root's copy of it stands alone.
    assert readers == {"settings.py", "cron_file_writer.py"}


@pytest.mark.parametrize("script", SHELL, ids=lambda path: path.name)
def test_a_shell_script_passes_shellcheck_and_has_the_houses_layout(script: Path) -> None:
    need_programs("shellcheck", "shfmt")
    for tool, *options in (("shellcheck", "-x", f"--source-path={PROJECT}"), ("shfmt", "-i", "2", "-d")):
        result = subprocess.run([tool, *options, str(script)], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("script", [path for path in SHELL if not is_sourced(path)], ids=lambda path: path.name)
def test_a_shell_script_stops_at_errors_and_begins_with_how_it_is_called(script: Path) -> None:
    text = script.read_text()
    assert text.startswith("#!/usr/bin/env bash\n# ")
    assert "\nset -euo pipefail\n" in text
    assert f"# Usage: {script.name if script.name != 'run' else '.ci/run'}" in text


def test_no_secret_and_no_path_of_a_machine_is_tracked() -> None:
    suspicious = re.compile(
        r"-----BEGIN [A-Z ]*PRIVATE KEY|AKIA[0-9A-Z]{16}|ghp_\w{30}|/home/[a-z]\w+/|/[r]oot/|/[w]ork/"
    )
    found = []
    for name in TRACKED:
        path = PROJECT / name
        if name in ("tests/test_house_rules.py", "LICENSE") or not path.is_file():
            continue
        found += [f"{name}: {hit}" for hit in suspicious.findall(path.read_text(errors="replace"))]
    assert found == []


def test_every_file_of_the_seed_is_there() -> None:
    seed = """
        .gitignore env.sh LICENSE README.md requirements.txt
        jobscripts/daily_backup.sh jobscripts/meetmax_url_check.py jobscripts/meetmax_url_download.py
        jobscripts/restore_drill.sh onboarding/sh/restore_backup.sh
        jobscripts/sftp_exchange.py onboarding/sh/setup_sftp.sh
        jobscripts/process_inbox.py onboarding/sh/gmail_api.sh
        onboarding/sh/configure_etl_user.sh onboarding/sh/install_dependencies.sh
        onboarding/sh/disable_power_saving.sh onboarding/sh/CL_onboarding.sh
        jobscripts/run_download_and_import.sh jobscripts/run_import_job.py jobscripts/run_python_etl_script.sh
        jobscripts/send_reports.py jobscripts/update_cron_jobs.py jobscripts/weekly_cleanup_logs.sh
        jobscripts/weekly_cleanup_meetmaxevents.sh onboarding/sh/sql_setupscripts.sh
        onboarding/sql/create_f_get_event_changes.sql onboarding/sql/create_importconfig_table.sql
        onboarding/sql/create_inboxconfig_table.sql onboarding/sql/create_treportmanager.sql
        onboarding/sql/create_tscheduler_procedures.sql onboarding/sql/create_tscheduler.sql
        onboarding/sql/dataset_setup.sql onboarding/sql/log_cleanup.sql onboarding/sql/maintenance_procedures.sql
        onboarding/sql/monitor_long_running_queries.sql onboarding/sql/setup_dba_maintenance.sql
        onboarding/sql/table_index_monitoring.sql onboarding/sql/usefulqueries.sql
        systemscripts/__init__.py systemscripts/credentials.json systemscripts/db_config.py
        systemscripts/directory_management.py systemscripts/generic_import.py systemscripts/log_utils.py
        systemscripts/periodic_utils.py systemscripts/user_utils.py systemscripts/web_utils.py systemscripts/xls_to_csv.py
    """.split()
    assert [name for name in seed if not (PROJECT / name).is_file()] == []


def test_every_requirement_is_pinned_with_a_hash() -> None:
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-parquet.txt", "requirements-cloud.txt"):
        blocks = re.split(r"\n(?=\S)", (PROJECT / name).read_text().strip())
        assert all(re.match(r"[\w.\[\]-]+==\S+", block) and "--hash=sha256:" in block for block in blocks), name
