"""The documents: links resolve, scripts and jobs are there, verbs and options exist, tables are whole."""

import argparse
import ast
import functools
import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from conftest import PROJECT

DOCUMENTS = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").glob("*.md"))]

# The verbs of etl, and the job or script that each of them is.
# The script behind each verb of the command that a person types, as jobscripts/etl has it.
ETL = (PROJECT / "jobscripts/etl").read_text()
VERBS = {
    verb: "jobs.py" if script == "jobs.py $1" else script.split()[0]
    for verbs, script in re.findall(r"^  ([a-z |]+)\) echo \"?([^\";]+)\"? ;;$", ETL, re.MULTILINE)
    for verb in verbs.split(" | ")
} | {"run": "jobs.py", "cron": "update_cron_jobs.py", "sql": "psql.sh", "help": "jobs.py"}
CRON_WORDS = ("diff", "write", "list", "adopt")
DESCRIBED = ("imports", "reports", "jobs", "inbox", "feeds")
# What psql takes itself.
PSQL = {"-c", "-d", "-f"}

DESCRIBED_IN = {
    "timportconfig": "feeds.md", "timportcolumn": "feeds.md", "tinboxconfig": "feeds.md", "texchangeconfig": "feeds.md",
    "treportmanager": "reports.md", "treportrecipient": "reports.md", "tscheduler": "schedule.md", "tfeed": "schedule.md",
}  # fmt: skip


def load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"documented_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def prose(document: Path) -> str:
    """Return the text without its blocks of code."""
    return re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)


def code(document: Path) -> Iterator[str]:
    """Yield what stands as code: each span, and each line of a block of shell."""
    yield from (span.replace("\\|", "|") for span in re.findall(r"`([^`\n]+(?:\n[^`\n]+)?)`", prose(document)))
    for block in re.findall(r"^```bash\n(.*?)^```", document.read_text(), flags=re.MULTILINE | re.DOTALL):
        yield from block.replace("\\\n", " ").splitlines()


def words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return command.split()


def anchors(document: Path) -> set[str]:
    """Return the anchors that GitHub makes of the headings."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} (.+)$", prose(document), flags=re.MULTILINE):
        found.add(re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-"))
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_resolves(document: Path) -> None:
    for plain, angled in re.findall(r"\]\((?:([^)<\s]+)|<([^>]+)>)\)", prose(document)):
        target = plain or angled
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        file = (document.parent / name).resolve() if name else document
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def script_of(path: str) -> Path | None:
    """Return the script that a document names, None where there is none."""
    file = PROJECT / path
    return file if file.is_file() else None


@functools.cache
def options_of(script: Path) -> set[str]:
    """Return the options that a job's parser has, or those that a shell script's text names."""
    if script.suffix == ".sh":
        return set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", script.read_text())) | (
            PSQL if script.stem == "psql" else set()
        )
    parser = argparse.ArgumentParser()
    module = load(script)
    if hasattr(module, "add_arguments"):
        module.add_arguments(parser)
    return all_options(parser)


def all_options(parser: argparse.ArgumentParser) -> set[str]:
    found = {"-h", "--help"}
    for action in parser._actions:
        found |= set(action.option_strings)
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                found |= all_options(command)
    return found


def job(name: str) -> Path | None:
    return script_of(f"jobscripts/{name}") or script_of(f"systemscripts/{name}")


def is_placeholder(word: str) -> bool:
    return word.isupper() or word.startswith(("<", "NAME", "[")) or word == "…"


def called(command: list[str], document: Path) -> tuple[Path, list[str]] | None:
    """Return the script that a command runs and its arguments, None for a command that is not ours."""
    while command and (command[0] in ("sudo", "-H", "-u", "etl_user") or re.fullmatch(r"[A-Z_]+=\S*", command[0])):
        command = command[1:]
    if command[:1] == ["etl"]:
        return called_by_etl(command[1:], document)
    if command[:1] != ["bash"] or len(command) < 2:
        return None
    script = script_of(command[1])
    assert script is not None or not command[1].endswith(".sh"), f"{document.name}: there is no {command[1]}"
    if script is None:
        return None
    if script.name == "run_python_etl_script.sh" and len(command) > 2 and not is_placeholder(command[2]):
        found = job(command[2].rstrip(",")) if not command[2].startswith("<") else None
        assert found is not None or command[2].startswith("<"), f"{document.name}: there is no job {command[2]}"
        return (found, command[3:]) if found else None
    return script, command[2:]


def called_by_etl(arguments: list[str], document: Path) -> tuple[Path, list[str]] | None:
    if not arguments:
        return None
    verb, *rest = arguments
    assert verb in VERBS, f"{document.name}: etl has no verb {verb!r}"
    if (
        verb == "run"
        and rest
        and rest[0].endswith((".py", ".sh"))
        and not is_placeholder(rest[0])
        and "<" not in rest[0]
    ):
        found = job(rest[0])
        assert found is not None, f"{document.name}: there is no job {rest[0]}"
        return found, rest[1:]
    if verb == "cron":
        assert rest[0].rstrip(",") in CRON_WORDS, f"{document.name}: etl cron {rest[0]}"
    if verb == "describe":
        assert rest[0] in DESCRIBED, f"{document.name}: etl describe {rest[0]}"
    name = VERBS[verb]
    return (script_of(f"onboarding/sh/{name}") if name == "psql.sh" else job(name)) or Path(), rest


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_names_what_is_there_and_options_that_it_has(document: Path) -> None:
    commands = 0
    for line in code(document):
        found = called(words(line), document)
        if found is None:
            continue
        commands += 1
        script, arguments = found
        if script.name == "run_tests.sh":
            continue  # the rest goes to pytest
        wrong = {word for word in arguments if re.match(r"--?[a-z]", word)} - options_of(script)
        assert not wrong, f"{line}: {script.name} has no {wrong}"
    assert commands or document.name in ("settings.md", "architecture.md")


def test_the_pictures_of_the_rooms_are_those_of_the_import_rules() -> None:
    contract = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    floors = [
        [room.strip().removeprefix("systemscripts.") for room in layer.split("|")] for layer in contract["layers"]
    ]
    picture = (PROJECT / "docs/architecture.md").read_text()
    drawn = re.findall(r"subgraph F\d+.*?\n(.*?)\n  end", picture)
    assert [re.findall(r"\[(\w+)\]", floor) for floor in drawn] == floors
    table = (PROJECT / "CONTRIBUTING.md").read_text().partition("| layer | rooms |")[2].partition("\n\n")[0]
    rows = [re.findall(r"`(\w+)/?`", row) for row in table.splitlines() if "`" in row]
    assert rows == floors


def test_the_readme_is_short() -> None:
    assert len((PROJECT / "README.md").read_text().splitlines()) <= 120


def test_the_pictures_are_small() -> None:
    for picture in (PROJECT / "docs/pictures").iterdir():
        assert picture.stat().st_size < 150_000


def test_the_page_of_settings_is_what_the_code_reads() -> None:
    page = load(PROJECT / "docs/make_settings.py").page()
    assert (PROJECT / "docs/settings.md").read_text() == page, "run: venv/bin/python docs/make_settings.py"


@pytest.mark.parametrize("table", DESCRIBED_IN)
def test_every_column_of_a_configuration_table_is_described(table: str) -> None:
    sql = "\n".join(path.read_text() for path in sorted((PROJECT / "onboarding/sql").glob("*.sql")))
    body = re.search(rf"CREATE TABLE IF NOT EXISTS dba\.{table} \((.*?)\n\);", sql, flags=re.DOTALL)
    assert body is not None
    columns = set(re.findall(r"^    ([a-z_]+) [a-z]", body[1], flags=re.MULTILINE))
    for change in re.findall(rf"ALTER TABLE dba\.{table}\b(.*?);", sql, flags=re.DOTALL):
        columns |= set(re.findall(r"ADD COLUMN (?:IF NOT EXISTS )?([a-z_]+)", change))
    page = (PROJECT / "docs" / DESCRIBED_IN[table]).read_text()
    kept_by_the_database = {"created_at", "last_modified_at", "createddate", "createduser"}
    not_described = {column for column in columns if f"`{column}`" not in page}
    assert not_described - kept_by_the_database - {"config_id"} == set()


@functools.cache
def messages_of_the_code() -> str:
    """Return all texts of the import's code, f-strings with a gap in place of each value."""
    found: list[str] = []
    rooms = ("importing", "file_kinds", "spreadsheets", "arrivals")
    files = [file for room in rooms for file in (PROJECT / "systemscripts" / room).glob("*.py")]
    files += [
        PROJECT / "systemscripts" / name
        for name in ("generic_import.py", "patterns.py", "settings.py", "xls_to_csv.py")
    ]
    files.append(PROJECT / "jobscripts/run_import_job.py")
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "\0" for part in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_every_refusal_in_the_table_is_a_message_of_the_code() -> None:
    page = (PROJECT / "docs/feeds.md").read_text()
    table = page.partition("## The table of refusals")[2].partition("\n## ")[0]
    rows = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| `")]
    assert len(rows) > 40
    unknown = []
    for message in (span for row in rows for span in re.findall(r"`([^`]+)`", row)):
        # Placeholders, and what an example has in their place, are no part of the message.
        pieces = re.split(
            r"…|'[^']*'|\b[A-Z]\b|\bNAME\b|\bTYPE\b|\b0xNN\b|\b\d+\b|\b(?:less|more) than\b|\bdate\b|,", message
        )
        piece = max(pieces, key=len).strip(" :;,.()")
        if piece not in messages_of_the_code():
            unknown.append((message, piece))
    assert unknown == []
