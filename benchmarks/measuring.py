"""What the benchmarks share: the time and memory of a command, the command line, the tables at the end."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from memory_watch import MemoryWatch

Row = Mapping[str, object]


class CommandFailed(Exception):
    """A measured command did not end with 0; the message has the end of its output."""


class Usage(NamedTuple):
    """What one command took, or several in the middle."""

    seconds: float
    memory_mb: float


def measure(command: Sequence[str | Path], environment: Mapping[str, str], watch_memory: bool = True) -> Usage:
    """Run a command to its end and return its wall time and the peak memory of all its processes together.

    Watching takes a few hundredths of a core; where milliseconds count it is left out, and the memory is 0.
    """
    with tempfile.TemporaryFile() as output, MemoryWatch() as memory:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, env=environment, cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        if watch_memory:
            memory.follow(process.pid)
        status = process.wait()
        seconds = time.perf_counter() - began
        if status != 0:
            output.seek(0)
            told = " / ".join(output.read().decode(errors="replace").split("\n")[-4:])
            raise CommandFailed(f"{Path(command[0]).name} ended with status {status}: {told[-300:].strip(' /')}")
    return Usage(seconds, memory.peak_mb)


def middle(usages: Sequence[Usage]) -> Usage:
    """Return the median time and the largest memory."""
    return Usage(statistics.median(usage.seconds for usage in usages), max(usage.memory_mb for usage in usages))


# ---- the command line and the tables -------------------------------------------------------


def command_line(doc: str | None, rounds: int) -> argparse.ArgumentParser:
    """Return a parser with what all benchmarks take."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds, metavar="N", help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output, not tables")
    return parser


def tell(progress: str) -> None:
    print(progress, file=sys.stderr, flush=True)


class Report:
    """What was measured, what the goals say of it, and what was left out."""

    def __init__(self) -> None:
        self.machine = {
            "cores": os.cpu_count(),
            "load": round(os.getloadavg()[0], 2),
            "python": platform.python_version(),
            "system": platform.system() + " " + platform.release(),
        }
        self.figures: list[Row] = []
        self.goals: list[Row] = []
        self.left_out: list[str] = []

    def at_most(self, what: str, measured: float, limit: float, unit: str = "") -> None:
        self.goals.append(_goal(what, measured, unit, f"at most {limit:g}", measured <= limit))

    def at_least(self, what: str, measured: float, limit: float, unit: str = "") -> None:
        self.goals.append(_goal(what, measured, unit, f"at least {limit:g}", measured >= limit))

    def show(self, as_json: bool) -> None:
        """Print everything on standard output."""
        if as_json:
            print(json.dumps(vars(self), indent=1))
            return
        print(", ".join(f"{name} {value}" for name, value in self.machine.items()) + "\n")
        for table in (self.figures, self.goals):
            print_table(table)
            print()
        for reason in self.left_out:
            print(f"left out: {reason}")


def _goal(what: str, measured: float, unit: str, limit: str, is_met: bool) -> Row:
    return {"goal": what, "measured": measured, "unit": unit, "wanted": limit, "met": is_met}


def print_table(rows: Sequence[Row]) -> None:
    """Print rows of the same or fewer columns under their names; numbers to the right."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([_cell(row.get(name)) for name in names] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        padded = [_padded(cell, width) for cell, width in zip(line, widths, strict=True)]
        print("  ".join(padded).rstrip())


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
    return str(value)


def _padded(cell: str, width: int) -> str:
    is_number = cell.replace(",", "").replace(".", "").isdigit()
    return cell.rjust(width) if is_number else cell.ljust(width)
