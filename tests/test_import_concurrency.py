"""Many importers at once: each content is loaded once, each day has one active dataset, and nobody waits for ever."""

import os
import subprocess
from collections import Counter
from pathlib import Path

from conftest import Installation
from test_generic_import import add_import, drop_file, run

from systemscripts.importing.files import TAKEN

IMPORTERS = 8
FILES = 300

# What each importer does: import until nothing waits, and say what came of each file.
IMPORTER = """
import sys
from systemscripts import db_config
from systemscripts.generic_import import run_import
from systemscripts.importing.config import load_config
sys.stdin.readline()
with db_config.session() as connection:
    config = load_config(connection, "clients")
    while outcomes := run_import(connection, config).files:
        for outcome in outcomes:
            print(outcome.status)
"""


def import_at_once(etl: Installation, importers: int = IMPORTERS) -> Counter[str]:
    """Let several processes, started together, import what waits; return how many files had each outcome."""
    python = Path(etl.environment()["ETL_VENV"], "bin/python")
    running = [
        subprocess.Popen(
            [python, "-c", IMPORTER], env=etl.environment(), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(importers)
    ]  # fmt: skip
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outcomes: Counter[str] = Counter()
    for process in running:
        output, errors = process.communicate(timeout=200)
        assert (process.returncode, errors) == (0, "")
        outcomes.update(output.split())
    return outcomes


def test_each_content_is_loaded_once_and_each_day_has_one_active_dataset(etl: Installation) -> None:
    add_import(etl, file_pattern=r"clients_\d+(_\w+)?\.csv")
    contents = [f"a,c{number % 7}\n{number % 30},x\n" for number in range(FILES)]
    for number, content in enumerate(contents):
        drop_file(etl, content, f"clients_202603{number % 9 + 1:02d}_{number}.csv")

    outcomes = import_at_once(etl)

    assert set(outcomes) == {"Loaded", "Duplicate"}
    assert sorted(os.listdir(etl.home / "file_watcher")) == [TAKEN, "file_watcher_temp"]
    assert os.listdir(etl.home / "file_watcher" / TAKEN) == []
    assert len(os.listdir(etl.home / "archive")) == FILES
    statuses: dict[str, int] = dict(etl.query("SELECT status, count(*) FROM dba.timportfile GROUP BY 1"))
    assert statuses == {"Loaded": len(set(contents)), "Duplicate": FILES - len(set(contents))}
    assert etl.value("SELECT count(*) FROM dba.timportfile WHERE archived_path IS NULL") == 0
    assert etl.value("SELECT count(*) FROM public.tclients") == len(set(contents))
    # Each value stands in the very column that its own file brought.
    columns = [f"c{number}" for number in range(7)]
    filled = " + ".join(f"(c.{name} IS NOT NULL)::int" for name in columns)
    assert etl.query(f"SELECT DISTINCT {filled} FROM public.tclients c") == [(1,)]
    active = etl.query("SELECT datasetdate, count(*) FROM dba.tdataset WHERE isactive GROUP BY 1")
    assert sorted(count for _, count in active) == [1] * 9


def test_two_that_add_the_same_column_at_once_both_keep_their_values(etl: Installation) -> None:
    add_import(etl, file_pattern=r"clients_\d+(_\w+)?\.csv")
    drop_file(etl, "a\n0\n", "clients_20260301.csv")
    run()
    for number in range(16):
        drop_file(etl, f"a,same{number // 8}\n{number},new {number}\n", f"clients_20260302_{number}.csv")
    assert import_at_once(etl, importers=4)["Loaded"] == 16
    assert set(etl.query("SELECT a, coalesce(same0, same1) FROM public.tclients WHERE a <> '0' OR same0 <> ''")) == {
        (str(number), f"new {number}") for number in range(16)
    } | {("0", "new 0")}
    # Each of them may have begun before the first file with the column was there.
    assert {row[0] for row in etl.query("SELECT column_name FROM dba.timportdrift WHERE kind = 'added'")} == {
        "same0",
        "same1",
    }


def test_two_that_adopt_the_same_older_table_at_once_make_one_index(etl: Installation) -> None:
    etl.query("CREATE TABLE public.tclients (tclientsid serial PRIMARY KEY, datasetid integer NOT NULL, a varchar(3))")
    etl.query("ALTER TABLE public.tclients OWNER TO etl_user")
    add_import(etl, file_pattern=r"clients_\d+(_\w+)?\.csv")
    for number in range(16):
        drop_file(etl, f"a\nlonger than three {number}\n", f"clients_20260302_{number}.csv")
    assert import_at_once(etl, importers=4)["Loaded"] == 16
    assert (
        etl.value("SELECT count(*) FROM pg_index WHERE indrelid = 'public.tclients'::regclass AND NOT indisprimary")
        == 1
    )
