"""How two databases differ, in sentences: everything that an account holds, and of a table the first key that differs."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from systemscripts.backups.dump import HIDDEN
from systemscripts.moving import row_sums, servers
from systemscripts.moving.account import Account
from systemscripts.moving.copying import MAINTAIN_SINCE
from systemscripts.moving.servers import Server

TOLD_AT_MOST = 20
_MAINTAIN = "MAINTAIN on "
# Their text is the server's own, and each major version writes it in its own way: with other casts, brackets and names of
# tables before columns. What a view reads is compared apart. Of a BETWEEN a restore leaves out brackets, except in a function.
_DEPARSED = ("constraint", "index", "view", "function", "trigger", "rule", "policy", "column")
# A text or a quoted name is what it is: no blank, bracket or dot in it is the server's.
_AS_IT_STANDS = r"""('(?:[^']|'')*'|"(?:[^"]|"")*")"""
_IN_ITS_OWN_WAY = re.compile(
    rf"""(?:\b[a-z_][a-z0-9_]*|"(?:[^"]|"")*")\.(?=["\w])|{_AS_IT_STANDS}|[\s()]+|::[a-z]+( varying)?(\[\])?|\bONLY\b"""
)
_BRACKETS = re.compile(rf"{_AS_IT_STANDS}|[()]+")
# How much of two texts is shown, from a little before the place where they part.
_BEFORE, _SHOWN = 20, 80


def accounts(former: Server, new: Server, passwords: str, roles: list[str], folder: Path) -> tuple[Account, Account]:
    """Return what is in both databases; the two servers reckon at the same time."""
    outputs = [folder / "former.json", folder / "new.json"]
    processes = []
    for server, output in zip((former, new), outputs, strict=True):
        with output.open("w") as stream:
            process = servers.start(server.environment(passwords), "account", output=stream)
        assert process.stdin is not None
        with process.stdin as told:
            json.dump({"roles": roles}, told)
        processes.append(process)
    for process in processes:
        assert process.stderr is not None
        errors = process.stderr.read()
        process.wait()
        servers.settle(process, errors)
    found: list[Account] = [json.loads(output.read_text()) for output in outputs]
    return found[0], found[1]


def differences(
    former: Account, new: Account, there: dict[str, Any], former_version: int
) -> Iterator[tuple[str, str, str]]:
    """Yield section, name and sentence for each difference that is not one of the servers themselves."""
    same_version = former_version // 10_000 == there["version"] // 10_000
    for section, was in former.items():
        is_now = new[section]
        for name in sorted(was.keys() | is_now.keys()):
            old, young = was.get(name), is_now.get(name)
            if old == young or _is_of_the_server(section, name, (old, young), there, former_version):
                continue
            if old is None:
                yield section, name, f"the {section} {name} is only in the new one"
            elif young is None:
                yield section, name, f"the {section} {name} is missing in the new one"
            elif section == "table":
                yield section, name, _of_rows(name, old, young)
            elif _core(section, old, same_version) != _core(section, young, same_version):
                yield section, name, f"the {section} {name} is not the same: {_apart(old, young)}"


def hidden(account: Account) -> list[str]:
    """Return the tables whose rows a policy hides from their owner."""
    return sorted(name for name, text in account["table"].items() if text.split()[1] == HIDDEN[1])


def _of_rows(name: str, old: str, young: str) -> str:
    (rows, _), (new_rows, _) = old.split(), young.split()
    if rows != new_rows:
        return f"the table {name} has {new_rows} rows in the new one, and {rows} in the former"
    return f"the table {name} has {rows} rows in both, with other content"


def _is_of_the_server(
    section: str, name: str, texts: tuple[str | None, str | None], there: dict[str, Any], former_version: int
) -> bool:
    """Return whether the new server only knows less or more than the former, or lets its administrator do less."""
    old, young = texts
    if section == "grant" and name.startswith(_MAINTAIN):
        return bool(min(there["version"], former_version) < MAINTAIN_SINCE)
    if section == "event trigger":
        return young is None and not there["is_superuser"]
    if section == "setting":
        setting = name.partition(" of ")[0]
        return young is None and setting not in there["settings"] and "." not in setting
    if section == "role":
        return not there["is_superuser"] and (old or "").replace(" BYPASSRLS", "") == young
    if section == "membership":
        return young is None and name.split(" in ")[1].startswith("pg_") and not there["is_superuser"]
    return section == "table" and str(HIDDEN[1]) in f"{old} {young}"


def _apart(old: str, young: str) -> str:
    """Return in words where two texts part.

    >>> _apart("integer NOT NULL", "integer")
    "'integer' in the new one, 'integer NOT NULL' in the former"
    """
    parts = next((place for place, pair in enumerate(zip(old, young, strict=False)) if pair[0] != pair[1]), 0)
    start = max(parts - _BEFORE, 0)
    shown = [f"'{'…' if start else ''}{text[start : start + _SHOWN]}'" for text in (young, old)]
    return f"{shown[0]} in the new one, {shown[1]} in the former"


def _core(section: str, text: str, same_version: bool) -> str:
    """Return what of a definition's text counts."""
    if section not in _DEPARSED or (same_version and section == "function"):
        return text
    return (_BRACKETS if same_version else _IN_ITS_OWN_WAY).sub(lambda found: found[1] or "", text)


def first_key(former: Server, new: Server, passwords: str, table: str) -> str:
    """Return where the rows of a table first differ."""
    schema, _, name = table.partition(".")
    processes = []
    for server in (former, new):
        process = servers.start(server.environment(passwords), "rows")
        assert process.stdin is not None
        with process.stdin as told:
            json.dump({"schema": schema, "table": name}, told)
        processes.append(process)
    try:
        return row_sums.first_difference(*processes)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def sentences(found: list[tuple[str, str, str]], former: Server, new: Server, passwords: str) -> list[str]:
    """Return the differences in words, the first ones with the key at which the rows differ."""
    lines = []
    for section, name, told in found[:TOLD_AT_MOST]:
        is_of_rows = section == "table" and "rows in" in told
        where = first_key(former, new, passwords, name) if is_of_rows else ""
        lines.append(f"{told}{': ' if where else ''}{where}")
    if len(found) > TOLD_AT_MOST:
        lines.append(f"and {len(found) - TOLD_AT_MOST} more")
    return lines
