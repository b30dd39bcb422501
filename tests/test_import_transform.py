"""An import's transform: the site's own pandas between the file and its table."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psycopg2.errors
import pytest
from conftest import PROJECT, Installation
from test_generic_import import TRICKY, add_import, as_csv, drop_file, loaded, run
from test_run_policy import SLOT, add_task

from systemscripts import settings
from systemscripts.doctor import rows
from systemscripts.generic_import import FileOutcome
from systemscripts.importing import pieces
from systemscripts.importing.config import ConfigurationError

Write = Callable[..., None]
SAMPLE = (PROJECT / "jobscripts/transforms/sample.py").read_text()


@pytest.fixture
def write(etl: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write the transform `prices`, and an import that uses it; pieces have two records, unless the test says more."""
    monkeypatch.setattr(settings, "project_dir", lambda: tmp_path)
    monkeypatch.setattr(pieces, "PIECE_RECORDS", 2)
    folder = tmp_path / "jobscripts" / "transforms"
    folder.mkdir(parents=True)

    def write_both(*body: str, head: str = "import pandas", **columns: object) -> None:
        lines = [head, "def transform(frame):", *(f"    {line}" for line in body)]
        (folder / "prices.py").write_text("\n".join(lines) + "\n")
        if not etl.query("SELECT 1 FROM dba.timportconfig WHERE config_name = 'clients'"):
            add_import(etl, transform="prices", **columns)

    return write_both


def outcome() -> FileOutcome:
    (found,) = run().files
    return found


def test_the_sample_does_what_its_comment_says(etl: Installation, write: Write, tmp_path: Path) -> None:
    write("return frame")
    (tmp_path / "jobscripts/transforms/prices.py").write_text(SAMPLE)
    drop_file(etl, 'ticker,exchange,net\n00123,XETRA,"1.234,50"\nNA,NYSE,\nTOTAL,,"1.234,50"\nX,LSE,"2,00"\n')

    assert outcome().detail.startswith("3 rows into public.tclients, dataset ")
    assert loaded(etl, "ticker, exchange, net, country, gross") == [
        ("00123", "XETRA", "1234.50", "DE", "1469.0550"),
        ("NA", "NYSE", None, "US", None),
        ("X", "LSE", "2.00", None, "2.3800"),
    ]


def test_what_it_does_not_touch_arrives_byte_for_byte(etl: Installation, write: Write) -> None:
    write("return frame")
    rows = [[value, f"{number}", ""] for number, value in enumerate(TRICKY)]
    drop_file(etl, as_csv([["text", "n", "nothing"], *rows], quoting=1))
    assert outcome().status == "Loaded"
    assert loaded(etl, "text, n, nothing") == [(value, number, None) for value, number, _ in rows]


def test_lines_that_it_drops_are_counted_and_said(etl: Installation, write: Write) -> None:
    write("return frame[frame['n'].astype(int) > 3]")
    drop_file(etl, "n\n1\n2\n3\n4\n5\n")
    assert "2 rows into public.tclients" in (detail := outcome().detail)
    assert "3 lines left out by the transform" in detail
    assert loaded(etl, "n") == [("4",), ("5",)]


def test_when_it_drops_all_lines_the_dataset_is_empty(etl: Installation, write: Write) -> None:
    write("return frame[:0]")
    drop_file(etl, "n\n1\n")
    assert outcome().status == "Empty"


def test_lines_may_become_several_rows_in_an_order_of_its_own(etl: Installation, write: Write) -> None:
    write("frame['tag'] = frame['tag'].str.split()", "return frame.explode('tag')[::-1]")
    drop_file(etl, "n,tag\n1,a b\n2,c\n3,d\n")
    assert "1 rows added by the transform" in outcome().detail
    assert loaded(etl, "n, tag") == [("2", "c"), ("1", "b"), ("1", "a"), ("3", "d")]


def test_columns_that_it_adds_and_takes_away_change_the_table_and_are_drift(etl: Installation, write: Write) -> None:
    write("return frame")
    drop_file(etl, "n,note\n1,x\n")
    assert outcome().status == "Loaded"
    write("frame['Twice N'] = frame['n'] * 2", "return frame.drop(columns='note')")
    drop_file(etl, "n,note\n2,y\n", "clients_20260303.csv")
    assert outcome().status == "Loaded"
    assert loaded(etl, "n, note, twice_n") == [("1", "x", None), ("2", None, "22")]
    assert etl.query("SELECT column_name, kind FROM dba.timportdrift ORDER BY 1") == [
        ("note", "missing"),
        ("twice_n", "added"),
    ]


def test_the_rules_check_what_it_returns_and_rejects_keep_the_line_of_the_file(etl: Installation, write: Write) -> None:
    write(
        "frame['net'] = frame['net'].str.replace(',', '.')",
        "return frame.loc[frame.index.repeat(2)]",
        reject_limit_percent=90,
    )
    etl.query(
        "INSERT INTO dba.timportcolumn (config_id, column_name, data_type) SELECT config_id, 'net', 'numeric'"
        " FROM dba.timportconfig WHERE config_name = 'clients'"
    )
    drop_file(etl, 'name,net\n"two\nlines","1,5"\nragged\nbob,"1,x"\nann,"2,5"\n')
    assert (found := outcome()).status == "Loaded", found.detail
    assert loaded(etl, "name, net::text") == [("two\nlines", "1.5")] * 2 + [("ann", "2.5")] * 2
    assert etl.query("SELECT line_number, column_name, original FROM dba.timportreject ORDER BY 1") == [
        (4, None, "ragged"), (5, "net", 'bob,"1,x"'),
    ]  # fmt: skip


VALUES = {
    "a whole number": ("frame['n'].astype(int)", "1"),
    "whole numbers with gaps": ("frame['n'].astype('Int64').where(frame['n'] == '2')", None),
    "a very large number": ("frame['n'].map(lambda n: int(n) * 10**30)", "1" + "0" * 30),
    "a truth": ("frame['n'] == '1'", "true"),
    "a decimal number": ("frame['n'].map(lambda n: Decimal(n) / 8)", "0.125"),
    "a decimal number without its zeros": ("frame['n'].map(lambda n: Decimal('100').normalize())", "100"),
    "a date": ("pandas.to_datetime('2026-03-0' + frame['n']).dt.date", "2026-03-01"),
    "a time stamp": ("pandas.to_datetime('2026-03-0' + frame['n'], utc=True)", "2026-03-01 00:00:00+00:00"),
    "a category": ("frame['n'].astype('category')", "1"),
    "nothing": ("float('nan')", None),
    "no date": ("pandas.NaT", None),
    "an object of text": ("frame['n'].astype(object)", "1"),
}


@pytest.mark.parametrize(("expression", "text"), VALUES.values(), ids=VALUES)
def test_a_value_with_an_exact_text_becomes_it(
    etl: Installation, write: Write, expression: str, text: str | None
) -> None:
    write(f"frame['made'] = {expression}", "return frame", head="import pandas\nfrom decimal import Decimal")
    drop_file(etl, "n\n1\n2\n")
    assert (found := outcome()).status == "Loaded", found.detail
    assert loaded(etl, "n, made")[0] == ("1", text)


WRONG = {
    "frame['n'] = frame['n'].astype(float); return frame": "line 2, column 'n', 1.0: a float has no exact text: write its digits",
    "frame['n'] = pandas.to_numeric(frame['n'].where(frame['n'] == '2')); return frame": "line 3, column 'n', 2.0: a float has",
    "frame['n'] = frame['n'].str.split(); return frame": "line 2, column 'n', ['1']: make a text of this list",
    "frame['n'] = frame['n'].map(lambda n: 10 ** 5000); return frame": "line 2, column 'n', Exceeds the limit",
    "frame['n'] = chr(0); return frame": "line 2, column 'n', '\\x00': PostgreSQL's text can hold neither NUL",
    "frame['n'] = chr(0xd800); return frame": "line 2, column 'n', '\\ud800': PostgreSQL's text",
    "pass": "returned NoneType, not a DataFrame; its last line must be: return frame",
    "return frame['n']": "returned Series, not a DataFrame",
    "return frame.reset_index(drop=True)": "lost the line numbers for lines 2 to 3 of the file: the index must stay",
    "return frame.reset_index()": "lost the line numbers for lines 2 to 3",
    "return frame.merge(frame)": '.set_index("line number") after them',
    "frame.index += 1; return frame": "returned the line number 4 for lines 2 to 3",
    "return frame.drop(columns='n')": "returned the columns []; each column needs",
    "return pandas.concat([frame, frame], axis=1)": "returned the columns ['n', 'n']",
    "frame[1] = 'x'; return frame": "returned the columns ['n', 1]",
    "if '3' in list(frame['n']): frame['m'] = 'x'\n    return frame": "for line 4 of the file than before: missing none; new m",
    "raise ValueError('the price\\nis odd')": "transforms/prices.py, line 3, raised ValueError: the price is odd; it had lines 2 to 3",
    "raise SystemExit(0)": "line 3, raised SystemExit: 0; it had lines 2 to 3 of the file",
    "bytearray(2 << 30)": "line 3, raised MemoryError; it had lines 2 to 3 of the file; a call may take 1024 MiB",
    "held = []\n    while True: held.append(bytearray(1 << 24))": "line 4, raised MemoryError",
    "return frame.pipe(transform)": "raised RecursionError",
}  # fmt: skip


@pytest.mark.parametrize(("body", "told"), WRONG.items())
def test_what_it_does_wrong_refuses_the_file_with_one_sentence(
    etl: Installation, write: Write, body: str, told: str
) -> None:
    write(body)
    drop_file(etl, "n\n1\n2\n3\n")
    assert (found := outcome()).status == "Failed"
    assert told in found.detail
    assert Path(found.refused_to or "").is_file()
    assert etl.value("SELECT to_regclass('public.tclients')") is None
    assert etl.query("SELECT 1 FROM dba.tdataset WHERE label = 'clients'") == []


def test_one_that_raises_at_row_70000_leaves_nothing_of_the_rows_before(
    etl: Installation, write: Write, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pieces, "PIECE_RECORDS", 10_000)
    write("return frame.assign(n=frame['n'].map(int))")
    drop_file(etl, "n\n" + "".join(f"{n}\n" for n in range(1, 70_000)) + "x\n")
    assert (
        "line 3, raised ValueError: invalid literal for int() with base 10: 'x'; it had lines 60002 to 70001"
        in outcome().detail
    )
    assert etl.value("SELECT to_regclass('public.tclients')") is None
    assert "return frame.assign(n=frame['n'].map(int))" in caplog.text


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1252", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_each_line_has_its_number_where_the_fast_way_ends_and_where_it_is_not_taken(
    etl: Installation, write: Write, encoding: str, newline: str
) -> None:
    write(
        "frame['line'] = frame.index", "return frame", reject_limit_percent=60, encoding=encoding.removesuffix("-sig")
    )
    lines = ['name,"a', 'b"', "é,1", "", '"two', 'lines",2', "c,3", "ragged", 'a 5" nail,4', "d,5"]
    drop_file(etl, newline.join(lines).encode(encoding))
    assert (found := outcome()).status == "Loaded", found.detail
    assert loaded(etl, "name, line") == [
        ("é", "3"), (f"two{newline}lines", "6"), ("c", "7"), ('a 5" nail', "9"), ("d", "10"),
    ]  # fmt: skip
    assert etl.query("SELECT line_number, original FROM dba.timportreject") == [(8, "ragged")]


def test_merging_is_done_with_the_line_numbers_as_a_column(etl: Installation, write: Write) -> None:
    write(
        "names = pandas.DataFrame({'n': ['2', '1'], 'name': ['two', 'one']})",
        "return frame.reset_index().merge(names, how='left', on='n').set_index('line number')",
    )
    drop_file(etl, "n\n1\n2\n3\n")
    assert (found := outcome()).status == "Loaded", found.detail
    assert loaded(etl, "n, name") == [("1", "one"), ("2", "two"), ("3", None)]


def test_a_global_value_lasts_for_a_file_and_no_longer(etl: Installation, write: Write) -> None:
    write("seen.append(len(frame))", "return frame.assign(seen=str(seen))", head="seen = []")
    for day in (2, 3):
        drop_file(etl, f"n\n{day}1\n{day}2\n{day}3\n", f"clients_2026030{day}.csv")
    assert run().counts() == {"Loaded": 2}
    assert loaded(etl, "seen") == [("[2]",), ("[2]",), ("[2, 1]",)] * 2


def test_a_file_without_records_has_its_columns(etl: Installation, write: Write) -> None:
    write("return frame.assign(made='x')")
    drop_file(etl, "n\n")
    assert outcome().status == "Empty"
    assert loaded(etl, "n, made") == []


def test_a_dry_run_shows_lines_before_and_after_within_80_columns(project_copy: Installation) -> None:
    (project_copy.project / "jobscripts/transforms/prices.py").write_text(SAMPLE)
    add_import(project_copy, transform="prices")
    drop_file(project_copy, f'ticker,exchange,net\nA,NYSE,"1.234,50"\nTOTAL,,"9,00"\nB,{"x" * 99},\nC,NYSE,"1,00"\n')
    result = project_copy.door("run_import_job.py", "clients", "--dry-run", "--show", "3")
    assert result.returncode == 0, result.stderr
    shown = result.stdout[result.stdout.index("line ") :].splitlines()
    assert shown == [
        "line     column                before                   after",
        "2        net                   '1.234,50'               '1234.50'",
        "         country                                        'US'",
        "         gross                                          '1469.0550'",
        "3        left out              'TOTAL', '', '9,00'",
        "4        country                                        NULL",
        "         gross                                          NULL",
    ]
    assert max(map(len, shown)) <= 80
    assert project_copy.door("run_import_job.py", "clients", "--show", "3").returncode == 64


MISSING = {
    "nothing there": (None, "cannot be read: No such file or directory"),
    "a mistake in it": ("def transform(frame)\n    return frame\n", "prices.py, line 1: expected ':'"),
    "a NUL byte": ("x = '\0'\n", "null bytes"),
    "a module that is not there": ("import nothere\n", "prices.py, line 1, raised ModuleNotFoundError: No module named 'nothere'"),
    "no function": ("x = 1\n", "has no function transform(frame)"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "told"), MISSING.values(), ids=MISSING)
def test_a_transform_that_cannot_be_used_leaves_the_files_in_place_and_the_doctor_names_it(
    etl: Installation, write: Write, tmp_path: Path, content: str | None, told: str
) -> None:
    write("return frame")
    path = tmp_path / "jobscripts/transforms/prices.py"
    path.unlink()
    if content is not None:
        path.write_text(content)
    file = drop_file(etl, "n\n1\n")
    with pytest.raises(
        ConfigurationError, match="import clients: the transform jobscripts/transforms/prices.py"
    ) as problem:
        run()
    assert told in str(problem.value)
    assert file.is_file()
    found = [finding for finding in rows.patterns() if finding.state == "failed"]
    assert [told in finding.told for finding in found] == [True]


def test_a_link_is_no_transform(etl: Installation, write: Write, tmp_path: Path) -> None:
    write("return frame")
    path = tmp_path / "jobscripts/transforms/prices.py"
    path.rename(tmp_path / "elsewhere.py")
    path.symlink_to(tmp_path / "elsewhere.py")
    drop_file(etl, "n\n1\n")
    with pytest.raises(ConfigurationError, match="is a link"):
        run()


@pytest.mark.parametrize("name", ["../prices", "a/b", "prices.py", "", "Prices", "x\n"])
def test_its_name_cannot_be_a_path(etl: Installation, name: str) -> None:
    with pytest.raises(psycopg2.errors.CheckViolation):
        add_import(etl, transform=name)


@pytest.mark.slow
def test_one_that_never_ends_is_ended_by_the_time_limit_with_nothing_loaded(project_copy: Installation) -> None:
    write_prices(project_copy, "while True: pass")
    task = add_task(project_copy, script="run_import_job.py", scriptargs="clients", timeout_minutes=0.05)
    door = ("--scheduled-at", SLOT, "--task", str(task), "run_import_job.py", "clients")
    assert project_copy.door(*door, ETL_CLOCK=SLOT).returncode == 1
    assert project_copy.query("SELECT status FROM dba.tjobrun") == [("Timeout",)]
    assert_nothing_loaded_yet(project_copy)


@pytest.mark.slow
def test_one_that_never_ends_is_ended_by_ctrl_c_with_nothing_loaded(project_copy: Installation) -> None:
    write_prices(
        project_copy, f"import os; os.kill(os.getppid(), {int(signal.SIGINT)})\n    while True: pass"
    )  # the supervisor gets what the terminal sends
    assert project_copy.door("run_import_job.py", "clients").returncode == 128 + signal.SIGINT
    assert_nothing_loaded_yet(project_copy)


@pytest.mark.slow
def test_a_run_that_is_killed_in_the_middle_is_made_good_by_the_next(project_copy: Installation) -> None:
    write_prices(project_copy, f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})")
    assert project_copy.door("run_import_job.py", "clients").returncode != 0
    assert_nothing_loaded_yet(project_copy)
    write_prices(project_copy, "return frame")
    assert project_copy.door("run_import_job.py", "clients").returncode == 0
    assert loaded(project_copy, "n") == [("1",), ("2",), ("3",)]


def test_the_log_of_the_import_has_its_traceback_line_by_line(project_copy: Installation) -> None:
    write_prices(project_copy, "raise ValueError('odd')")
    assert project_copy.door("run_import_job.py", "clients").returncode == 1
    said = project_copy.door("show_log.py", "clients").stdout.splitlines()
    begin = said.index("    | Traceback (most recent call last):")
    assert said[begin + 1].endswith('jobscripts/transforms/prices.py", line 5, in transform')
    assert said[begin + 3] == "    | ValueError: odd"


def write_prices(etl: Installation, what: str) -> None:
    (etl.project / "jobscripts/transforms/prices.py").write_text(
        "from systemscripts.importing import pieces\npieces.PIECE_RECORDS = 2\n"
        f"def transform(frame):\n    if '3' not in list(frame['n']): return frame\n    {what}\n"
    )
    if not etl.query("SELECT 1 FROM dba.timportconfig WHERE config_name = 'clients'"):
        add_import(etl, transform="prices")
        drop_file(etl, "n\n1\n2\n3\n")


def assert_nothing_loaded_yet(etl: Installation) -> None:
    assert etl.value("SELECT to_regclass('public.tclients')") is None
    assert os.listdir(etl.home / "file_watcher")
    assert (etl.home / "file_watcher" / "clients_20260302.csv").is_file()
